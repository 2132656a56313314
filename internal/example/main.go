// Command example is a minimal program with the structure of maas-netmon: its monitor opens a file,
// drops every privilege and passes the file to its parser, which can only read it and answer. It
// prints the number of lines in the file.
//
// It shows the order of the calls to packages privsep and sandbox, for use in other programs.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/privsep"
	"maas-netmon/sandbox"
)

const timeout = 5 * time.Second

// The parser ends with the thread that started it, so main is locked to its thread: see
// [privsep.Launch].
func init() { runtime.LockOSThread() }

func main() {
	err := errors.New("usage: example FILE")
	switch {
	case len(os.Args) == 2 && os.Args[1] == "parse":
		err = parse()
	case len(os.Args) == 2:
		err = monitor(os.Args[1])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "example: %v\n", err)
		os.Exit(1)
	}
}

// monitor is the process that has the privilege and never reads from the file.
func monitor(name string) error {
	if err := sandbox.SetUndumpable(); err != nil {
		return err
	}
	if err := privsep.CloseStray(-1); err != nil {
		return err
	}
	// Only here the program uses the privilege that it was started with.
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	if err := sandbox.Drop(); err != nil {
		return err
	}
	parser, err := privsep.Launch([]string{os.Args[0], "parse"})
	if err != nil {
		return err
	}
	if _, err := parser.Receive(timeout); err != nil { // Hello: the parser is confined
		return err
	}
	// Rely on the kernel, not on the parser's message.
	if _, err := sandbox.Inspect(parser.Pid()); err != nil {
		return err
	}
	if err := parser.SendFD(privsep.Message{Type: privsep.Socket}, int(file.Fd()), timeout); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if _, err := sandbox.ConfineMonitor(sandbox.MonitorGrant{
		Write:   []int{unix.Stdout, unix.Stderr, parser.FD()},
		Receive: []int{parser.FD()},
		Child:   parser.PidFD(),
	}); err != nil {
		return err
	}
	answer, err := parser.Receive(timeout)
	if err != nil {
		return err
	}
	fmt.Println(answer.Values[0], "lines")
	return nil
}

// parse is the process that reads the file and never had a privilege.
func parse() error {
	conn, err := privsep.Inherit()
	if err != nil {
		return err
	}
	if err := privsep.DieWithParent(conn); err != nil {
		return err
	}
	confined, err := sandbox.ConfineParser(sandbox.ParserGrant{
		Write:   []int{unix.Stderr, conn.FD()},
		Receive: []int{conn.FD()},
		Files:   1,
		Memory:  256 << 20,
	})
	if err != nil {
		return err
	}
	if err := conn.Send(privsep.Message{Type: privsep.Hello}); err != nil {
		return err
	}
	_, file, err := conn.ReceiveFD(timeout)
	if err != nil {
		return err
	}
	if err := confined.Tighten(); err != nil {
		return err
	}
	answer := privsep.Message{Type: privsep.Pong}
	for buf := make([]byte, 4096); ; {
		n, err := unix.Read(file, buf)
		if err != nil {
			return err
		}
		if n == 0 {
			return conn.Send(answer)
		}
		answer.Values[0] += uint64(bytes.Count(buf[:n], []byte{'\n'}))
	}
}
