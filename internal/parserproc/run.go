// Package parserproc is the parser: the confined process that never had a privilege and is the only
// one to read a frame. [Run] confines it step by step; the loop then takes each frame to its lines.
package parserproc

import (
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"

	"maas-netmon/capture/pcapfile"
	"maas-netmon/internal/cli"
	"maas-netmon/internal/control"
	"maas-netmon/privsep"
	"maas-netmon/sandbox"
	"maas-netmon/tracker"
)

// Both arrays have no element: the option's bound and the table's are the same number.
var (
	_ [cli.MaxBindings - tracker.MaxBindings]struct{}
	_ [tracker.MaxBindings - cli.MaxBindings]struct{}
)

// Stage is how far the start of the parser has come.
type Stage int

const (
	Started  Stage = iota + 1 // inherited the control socket; not confined
	Confined                  // confined, nothing sent
	Greeted                   // Hello sent
	Reading                   // the sockets received, Ready sent
)

// Handles are what the parser holds at a stage.
type Handles struct {
	Options cli.Options
	Conn    *privsep.Conn // the control socket
	Passed  []int         // packet sockets, or the file; from Reading on
	File    bool          // Passed is a file
}

// A Hook is called at the end of each stage. A nil one does nothing. Only programs for tests have
// one.
type Hook func(Stage, Handles)

// Run is the parser from its start to its end: inherit, confine, receive, tighten, ready, read.
func Run(o cli.Options, hook Hook) error {
	if hook == nil {
		hook = func(Stage, Handles) {}
	}
	conn, err := inherit(o)
	if err != nil {
		return err
	}
	out := newOutput(unix.Stdout)
	profileFDs, endProfile := profile()
	defer endProfile()
	handles := Handles{Options: o, Conn: conn, File: o.Input != ""}
	hook(Started, handles)

	confined, err := sandbox.ConfineParser(sandbox.ParserGrant{
		Write:   append(profileFDs, unix.Stdout, unix.Stderr, conn.FD()),
		Receive: []int{conn.FD()},
		Sockets: len(o.Interfaces) + o.Pool,
		Files:   len(o.Sources()) - len(o.Interfaces),
		Memory:  parserMemory(o.MaxBindings),
	})
	if err != nil {
		return cli.Unconfined(err)
	}
	hook(Confined, handles)
	if err := conn.Send(control.HelloMessage(confined.Layers)); err != nil {
		return err
	}
	hook(Greeted, handles)

	handles.Passed, err = receiveSockets(conn, len(o.Sources())+o.Pool)
	if err != nil {
		return err
	}
	p, err := newProcess(o, conn, out, handles.Passed)
	if err != nil {
		return err
	}
	if err := confined.Tighten(); err != nil {
		return cli.Unconfined(err)
	}
	if err := conn.Send(privsep.Message{Type: privsep.Ready}); err != nil {
		return err
	}
	hook(Reading, handles)
	return p.run(o.Input)
}

// inherit takes over what the monitor left this process, the control socket above all, and prepares
// what the confinement would not allow.
func inherit(o cli.Options) (*privsep.Conn, error) {
	capErr := sandbox.CheckNoCapability()
	if capErr != nil {
		_ = sandbox.Drop() // before anything is printed
	}
	conn, err := privsep.Inherit()
	if err != nil {
		return nil, cli.UsageError(err)
	}
	if capErr != nil {
		return nil, cli.Unconfined(capErr)
	}
	// Check again: the parser runs under a different AppArmor profile.
	if err := cli.CheckStdout(); err != nil {
		return nil, err
	}
	// The monitor tells when to stop; a signal to the whole process group, as MAAS
	// sends it, must not cut the last lines off.
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT,
		unix.SIGUSR1, unix.SIGUSR2, unix.SIGPIPE, unix.SIGXFSZ)
	if err := privsep.SetName("maas-netmon"); err != nil {
		return nil, err
	}
	// Loaded when it is first used, which sandbox.ConfineParser does. The monitor reports an error.
	_ = cli.SetZone(o.Zone)
	return conn, privsep.DieWithParent(conn)
}

// inputError makes the program's error of what [pcapfile.File] ended with.
func inputError(name string, err error) error {
	if err == nil || err == io.EOF {
		return nil
	}
	f := &cli.Failure{Status: cli.ExitFailure, Err: fmt.Errorf("%s: %w", cli.InputName(name), err)}
	var format *pcapfile.FormatError
	switch {
	case errors.Is(err, pcapfile.ErrNoHeader):
		f.Status = cli.ExitNoHeader
	case errors.Is(err, pcapfile.ErrDamaged) || errors.Is(err, pcapfile.ErrBound):
		f.Status = cli.ExitDamaged
	case errors.As(err, &format):
		f.Status = cli.ExitDamaged
		if format.Command != "" {
			f.Hint = strings.ReplaceAll(format.Command, "FILE", cli.ShellQuote(name)) + " | maas-netmon -i -"
		}
	case errors.Is(err, pcapfile.ErrLinkType):
		f.Status = cli.ExitNotEthernet
	}
	return f
}

// parserMemory is what the parser may grow by once it is confined, in bytes. It only bounds a
// compromised parser. A binding takes some 60 bytes, the table twice that while it is copied
// to a larger one, and the Go heap twice as much as what is in use. The fixed part is for the
// rings (32 MiB at most), the heap's arenas of 64 MiB, and threads.
func parserMemory(maxBindings int) uint64 {
	return 256<<20 + 256*uint64(maxBindings)
}

// receiveSockets waits for n sockets, or an input, and the word to start.
func receiveSockets(conn *privsep.Conn, n int) ([]int, error) {
	var sockets []int
	for len(sockets) < n {
		m, fd, err := conn.ReceiveFD(control.HandshakeTimeout)
		if err != nil {
			return nil, fmt.Errorf("receive socket: %w", err)
		}
		if m.Type != privsep.Socket || int(m.Index) != len(sockets) {
			return nil, fmt.Errorf("receive socket %d: %w: %v %d", len(sockets), privsep.ErrMessage, m.Type, m.Index)
		}
		sockets = append(sockets, fd)
	}
	m, err := conn.Receive(control.HandshakeTimeout)
	if err == nil && m.Type != privsep.Start {
		err = fmt.Errorf("%w: %v instead of start", privsep.ErrMessage, m.Type)
	}
	return sockets, err
}
