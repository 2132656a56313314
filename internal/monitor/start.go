package monitor

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/cli"
	"maas-netmon/internal/control"
	"maas-netmon/privsep"
	"maas-netmon/sandbox"
)

// launch opens the input, which the confined monitor could not open any more, and starts the
// parser.
func (m *monitor) launch(o cli.Options) (err error) {
	if o.Input != "" {
		if m.input, err = openInput(o.Input); err != nil {
			return err
		}
	}
	m.child, err = privsep.Launch(m.hooks.launchArgs(o.ParserArgs()))
	if err != nil {
		return launchError(err)
	}
	return nil
}

// bringUp checks that the parser is confined, passes the sockets to it, confines this process and
// waits until the parser reads. The security of the program depends on this order: the parser
// receives no socket before the kernel has confirmed its confinement, and no frame arrives before
// both processes are confined.
func (m *monitor) bringUp() error {
	go m.receive()
	hello, err := m.await(privsep.Hello)
	if err != nil {
		return err
	}
	m.confinement.parser = control.LayersOf(hello)
	// The parser's own message proves nothing. Ask the kernel.
	m.confinement.inspection, err = sandbox.Inspect(m.child.Pid())
	if err != nil {
		f := &cli.Failure{Status: cli.ExitConfinement, Err: fmt.Errorf("the parser is not confined: %w", err)}
		if errors.Is(err, fs.ErrNotExist) {
			f.Hint = "a /proc that is mounted with hidepid hides the parser from the program itself"
		}
		return f
	}
	if err := m.handOver(); err != nil {
		return err
	}
	if m.confinement.self, err = m.confine(); err != nil {
		return cli.Unconfined(err)
	}
	if err := checkUserZero(m.userZero, min(m.confinement.parser.Landlock, m.confinement.self.Landlock)); err != nil {
		return err
	}
	// From here on frames reach the rings.
	if err := m.bindSockets(); err != nil {
		return err
	}
	if err := m.child.Send(privsep.Message{Type: privsep.Start}); err != nil {
		return err
	}
	if _, err := m.await(privsep.Ready); err != nil {
		return err
	}
	m.phase = running
	return nil
}

// receive passes the parser's messages to the loop, up to the first error or the end of file.
func (m *monitor) receive() {
	for {
		message, err := m.child.Receive(-1)
		m.messages <- received{message, err}
		if err != nil {
			return
		}
	}
}

// await waits for a message from the parser during the start.
func (m *monitor) await(want privsep.Type) (privsep.Message, error) {
	timeout := time.NewTimer(control.HandshakeTimeout)
	defer timeout.Stop()
	select {
	case <-m.signals:
		return privsep.Message{}, errStopped
	case r := <-m.messages:
		if r.err == nil && r.Type != want {
			r.err = unexpected(r.Message)
		}
		return r.Message, r.err
	case <-timeout.C:
		return privsep.Message{}, fmt.Errorf("the parser sent no %v within %v", want, control.HandshakeTimeout)
	}
}

// unexpected returns the error for a message that is not allowed at this point. Only a compromised
// parser sends one.
func unexpected(m privsep.Message) error {
	return fmt.Errorf("%w: unexpected %v %d", privsep.ErrMessage, m.Type, m.Index)
}

// handOver sends the parser a descriptor of each socket, or of the input.
func (m *monitor) handOver() error {
	if m.input != nil {
		if err := m.child.SendFD(privsep.Message{Type: privsep.Socket}, m.input.fd, control.HandshakeTimeout); err != nil {
			return err
		}
		return m.input.close()
	}
	for i, f := range m.ifaces {
		if err := m.child.SendFD(privsep.Message{Type: privsep.Socket, Index: uint16(i)}, f.socket.FD(), control.HandshakeTimeout); err != nil {
			return err
		}
	}
	return nil
}

// bindSockets starts the flow of frames into the sockets. bind(2) needs no capability.
func (m *monitor) bindSockets() error {
	for _, f := range m.ifaces {
		if f.socket == nil || f.pooled { // a file, or a socket that is bound when an interface matches
			continue
		}
		if f.bound == 0 {
			if !m.options.Check { // --check has reported it already
				slog.Warn("interface is not there, waiting for it", "interface", f.name)
			}
			continue
		}
		if err := f.socket.Bind(f.bound); errors.Is(err, unix.ENODEV) {
			f.bound = 0 // deleted meanwhile: the first update will report that
		} else if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		f.link = linkState{now: up, reported: up, existed: true}
	}
	return nil
}

// confine confines the monitor. It grants only the descriptors that the loop uses.
func (m *monitor) confine() (sandbox.Layers, error) {
	control := m.child.FD()
	g := sandbox.MonitorGrant{
		Write:   []int{unix.Stderr, control},
		Receive: []int{control},
		Child:   m.child.PidFD(),

		Memberships: m.options.IPv6,
	}
	if m.child.KilledByPID() {
		g.KillPID = m.child.Pid()
	}
	if m.links != nil {
		subscription, lister := m.links.FDs()
		g.Receive, g.Send = append(g.Receive, subscription, lister), []int{lister}
	}
	if m.options.Check {
		g.Write = append(g.Write, unix.Stdout)
	}
	if m.metrics != nil {
		m.metrics.grant(&g)
	}
	if m.manager != nil {
		err := m.manager.control(func(fd int) error {
			g.Write = append(g.Write, fd)
			return nil
		})
		if err != nil {
			return sandbox.Layers{}, err
		}
	}
	for _, f := range m.ifaces {
		if f.socket != nil {
			g.Bind = append(g.Bind, f.socket.FD())
		}
	}
	return sandbox.ConfineMonitor(g)
}

// announce reports that both processes are confined and the parser reads.
func (m *monitor) announce() {
	attrs := []any{"parser", m.child.Pid(), "landlock", m.confinement.parser.Landlock, "mdwe", m.confinement.parser.MDWE}
	if m.input != nil {
		slog.Info("reading", append([]any{"file", m.ifaces[0].name}, attrs...)...)
	} else {
		if used, size := m.poolUse(); size > 0 {
			attrs = append([]any{"match", m.pool.patterns, "used", used, "sockets", size}, attrs...)
		}
		slog.Info("watching", append([]any{"interfaces", m.names()}, attrs...)...)
	}
	// A kernel has a layer for both processes or for none, so one message is enough.
	if m.confinement.parser.Landlock == 0 {
		slog.Info("this kernel has no Landlock")
	}
	if !m.confinement.parser.MDWE {
		slog.Info("this kernel has no PR_SET_MDWE")
	}
	m.manager.notify("READY=1", m.status())
}

// names returns the names of the interfaces of the command line.
func (m *monitor) names() (names []string) {
	for _, f := range m.ifaces {
		if !f.pooled {
			names = append(names, f.name)
		}
	}
	return names
}
