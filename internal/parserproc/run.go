// Package parserproc is the parser: the confined process that never had a privilege, and the only
// one that reads frames. [Run] confines the process step by step; then the loop reads frames and
// writes their lines.
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

// The build fails unless both arrays have length 0, that is, the option's bound equals the table's.
var (
	_ [cli.MaxBindings - tracker.MaxBindings]struct{}
	_ [tracker.MaxBindings - cli.MaxBindings]struct{}
)

// Stage is a step of the parser's start.
type Stage int

const (
	Started  Stage = iota + 1 // inherited the control socket; not confined
	Confined                  // confined, nothing sent
	Greeted                   // Hello sent
	Reading                   // the sockets received, Ready sent
)

// Handles has the descriptors and options that the parser holds at a stage.
type Handles struct {
	Options cli.Options
	Conn    *privsep.Conn // the control socket
	Passed  []int         // packet sockets, or the file; from Reading on
	File    bool          // Passed is a file
}

// A Hook is called at the end of each stage. A nil Hook does nothing. Only test programs use one.
type Hook func(Stage, Handles)

// Run runs the parser from start to end: inherit, confine, receive, tighten, ready, read.
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
		Memory:  parserMemory(o.MaxBindings, o.IPv6),
	})
	if err != nil {
		return cli.Unconfined(err)
	}
	hook(Confined, handles)
	if err := conn.Send(control.HelloMessage(confined.Layers)); err != nil {
		return unlessEnded(err)
	}
	hook(Greeted, handles)

	handles.Passed, err = receiveSockets(conn, len(o.Sources())+o.Pool)
	if err != nil {
		return unlessEnded(err)
	}
	p, err := newProcess(o, conn, out, handles.Passed)
	if err != nil {
		return err
	}
	if err := confined.Tighten(); err != nil {
		return cli.Unconfined(err)
	}
	if err := conn.Send(privsep.Message{Type: privsep.Ready}); err != nil {
		return unlessEnded(err)
	}
	hook(Reading, handles)
	return p.run(o.Input)
}

// inherit takes over the descriptors from the monitor, such as the control socket, and does
// everything that the confinement would refuse later.
func inherit(o cli.Options) (*privsep.Conn, error) {
	capErr := sandbox.CheckNoCapability()
	if capErr != nil {
		_ = sandbox.Drop() // before any output
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
	// The monitor sends the order to stop. A signal to the whole process group, as MAAS sends it,
	// must not end the parser before it has written the last lines.
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT,
		unix.SIGUSR1, unix.SIGUSR2, unix.SIGPIPE, unix.SIGXFSZ)
	if err := privsep.SetName("maas-netmon"); err != nil {
		return nil, err
	}
	// The zone is loaded at its first use, in sandbox.ConfineParser. The monitor reports an error.
	_ = cli.SetZone(o.Zone)
	return conn, privsep.DieWithParent(conn)
}

// unlessEnded returns an error of the control socket. If it means that the monitor has ended, the
// result prints nothing: the monitor has reported the reason, and there is one line per error.
func unlessEnded(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) {
		return cli.ErrAlreadyReported(cli.ExitFailure)
	}
	return err
}

// inputError converts the error of a [pcapfile.File] to the program's error.
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

// parserMemory is the limit on the growth of the parser's memory after the confinement, in bytes.
// It only bounds a compromised parser. A binding takes some 60 bytes, with IPv6 16 more, twice that
// while a table of more than a million bindings is copied to a larger one, and the Go heap can be
// twice as large as the memory in use. The fixed part is for the rings (32 MiB at most, also with
// IPv6), the heap's arenas of 64 MiB, and threads.
func parserMemory(maxBindings int, ipv6 bool) uint64 {
	perBinding := uint64(256)
	if ipv6 {
		perBinding += 64
	}
	return 256<<20 + perBinding*uint64(maxBindings)
}

// receiveSockets waits for n sockets, or an input, and the message to start.
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
