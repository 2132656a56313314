package sandbox

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// A layer is one of the layers below seccomp, with an act that it refuses.
type layer struct {
	name     string
	landlock int  // the ABI that it needs, 0 for another layer
	root     bool // only user 0 could do it without the layer
	want     error
	do       func() error
}

var layers = []layer{
	{"Landlock, a file", 1, false, unix.EACCES, func() error {
		_, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0)
		return err
	}},
	{"Landlock, a device", 1, false, unix.EACCES, func() error {
		_, err := unix.Open("/dev/null", unix.O_RDWR, 0)
		return err
	}},
	{"Landlock, a program", 1, false, unix.EACCES, func() error {
		return unix.Exec("/bin/echo", []string{"echo", "-n", "ran"}, nil)
	}},
	{"Landlock, TCP", 4, false, unix.EACCES, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return unix.Connect(fd, &unix.SockaddrInet4{Port: 1, Addr: [4]byte{127, 0, 0, 1}})
	}},
	{"Landlock, a signal", 6, false, unix.EPERM, func() error { return unix.Kill(os.Getppid(), 0) }},
	{"MDWE", 0, false, unix.EACCES, func() error {
		b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return err
		}
		return unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
	}},
	{"capabilities", 0, true, unix.EPERM, func() error {
		_, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		return err
	}},
	{"no_new_privs", 0, false, unix.EPERM, func() error {
		set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
		if err == nil && set == 1 {
			return unix.EPERM
		}
		return err
	}},
	{"RLIMIT_NOFILE", 0, false, unix.EMFILE, func() error {
		for range 20 {
			if _, err := unix.Dup(0); err != nil {
				return err
			}
		}
		return nil
	}},
	{"RLIMIT_DATA", 0, false, unix.ENOMEM, func() error {
		_, err := unix.Mmap(-1, 0, 1<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		return err
	}},
	// RLIMIT_AS would refuse the same memory.
	{"RLIMIT_DATA, raised", 0, false, unix.EPERM, func() error {
		return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: 1 << 40, Max: 1 << 40})
	}},
	{"RLIMIT_AS", 0, false, unix.ENOMEM, func() error { // not counted by RLIMIT_DATA
		_, err := unix.Mmap(-1, 0, 1<<30, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		return err
	}},
	{"RLIMIT_MEMLOCK", 0, true, unix.EPERM, func() error { return unix.Mlock(make([]byte, 1)) }},
	{"RLIMIT_CORE", 0, true, unix.EPERM, func() error {
		return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1})
	}},
}

// playLayer tries the act that a layer refuses, and prints the result; if the name ends in a star,
// without any layer.
func playLayer(name string) int {
	name, free := strings.CutSuffix(name, "*")
	for _, l := range slices.Concat(layers, monitorLayers) {
		if l.name != name {
			continue
		}
		if !free && strings.HasPrefix(name, "monitor: ") {
			if err := confineMonitorLayers(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 98
			}
		} else if !free {
			if _, err := confineWithoutSeccomp(ParserGrant{Write: []int{1, 2}, Sockets: 2, Memory: testMemory}); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 98
			}
		}
		say(outcome(l.do()))
		return 0
	}
	return 99
}

// outcome returns the name of an errno.
func outcome(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return fmt.Sprint(err)
}

// hasLandlock reports whether the kernel has an ABI of Landlock.
func hasLandlock(t *testing.T, want int) bool {
	testenv.Require(t, testenv.Landlock)
	abi, err := ll.LandlockGetABIVersion()
	if err != nil || abi < want {
		t.Logf("NOT TESTED: this kernel has ABI %d, %d is needed", abi, want)
		return false
	}
	return true
}

// If the filter failed, the other layers would still refuse their acts. Each act is tried without
// seccomp, and without any layer, where it must not be refused in that way.
func TestLayers(t *testing.T) {
	for _, l := range layers {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			if strings.HasSuffix(l.name, "MDWE") {
				testenv.Require(t, testenv.MDWE)
			}
			if l.landlock > 0 && !hasLandlock(t, l.landlock) {
				return
			}
			try := func(role string) string {
				out, err := command(t, role).Output()
				if err != nil {
					t.Fatalf("%s: %v", role, err)
				}
				return string(out)
			}
			if got := try("layer " + l.name); got != outcome(l.want) {
				t.Errorf("got %s, want %v", got, outcome(l.want))
			}
			if l.root && !testenv.Has(testenv.Root) {
				return
			}
			if got := try("layer " + l.name + "*"); got == outcome(l.want) {
				t.Errorf("without the layers, it is %s too", got)
			}
		})
	}
}
