package sandbox_test

import (
	"log"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"maas-netmon/sandbox"
)

// Use a capability for one call and drop it. internal/example is a complete program.
func ExampleWithCapability() {
	if err := sandbox.ClearEffective(); err != nil {
		log.Fatal(err)
	}
	var socket int
	err := sandbox.WithCapability(cap.NET_RAW, func() (err error) {
		socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	// Whether the call succeeded or not.
	if err := sandbox.Drop(); err != nil {
		log.Fatal(err)
	}
	if err != nil {
		log.Fatal(err)
	}
	log.Println("opened, and cannot open another one:", socket)
}

// Confine the process that reads untrusted input, before it receives any.
func ExampleConfineParser() {
	const control = 3 // a socket to the other process
	confined, err := sandbox.ConfineParser(sandbox.ParserGrant{
		Write:   []int{unix.Stdout, unix.Stderr, control},
		Receive: []int{control},
		Files:   1,         // received later over control
		Memory:  256 << 20, // bytes by which the process may grow
	})
	if err != nil {
		log.Fatal(err)
	}
	// Here it receives the file over control.
	if err := confined.Tighten(); err != nil {
		log.Fatal(err)
	}
}
