// Package monitor is the process that has CAP_NET_RAW for a moment and never reads a frame.
// privileged.go is all that runs before the last privilege is gone.
package monitor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/cli"
	"maas-netmon/internal/control"
	"maas-netmon/linkmon"
	"maas-netmon/privsep"
	"maas-netmon/sandbox"
)

// Hooks are where programs for tests do what the shipped one does not. The zero value does nothing.
type Hooks struct {
	// LaunchArgs changes the parser's argument list.
	LaunchArgs func([]string) []string
	// Confined is called when the monitor is confined and the parser reads.
	Confined func(Handles)
}

// Handles are what the confined monitor holds.
type Handles struct {
	Packet  int // the first packet socket
	Control int
	Netlink int
	Parser  int // its process number
}

// Run is the monitor from its start to its end.
func Run(o cli.Options, env cli.Environment, hooks Hooks) error {
	if err := checkLimits(len(o.Sources())); err != nil {
		return err
	}
	if err := cli.CheckStdout(); err != nil {
		return err
	}
	privsep.ReopenStdout()
	signals := catchSignals()

	watched, err := prepare(o)
	if err != nil {
		return err
	}
	// From here on nobody has a privilege.

	var in *input
	var links *linkmon.Monitor
	if o.Input != "" {
		in, err = openInput(o.Input)
	} else {
		links, err = linkmon.Open()
	}
	if err != nil {
		return err
	}
	manager, err := dialManager(env)
	if err != nil {
		// A service manager that cannot be told is its own problem.
		slog.Warn("no notifications to the service manager", "err", err)
	}
	var file *metricsFile
	if o.MetricsFile != "" {
		if file, err = openMetrics(o.MetricsFile, metrics(o.Sources(), make([]control.Counters, len(o.Sources())))); err != nil {
			return err
		}
		defer file.remove()
	}
	o.Zone, o.Journal = env.Zone, env.Journal
	o.Colour = o.Format == cli.FormatText && !env.NoColour && isTerminal(unix.Stdout)
	child, err := privsep.Launch(hooks.launchArgs(o.ParserArgs()))
	if err != nil {
		return launchError(err)
	}
	m := newMonitor(o.Sources(), watched, links, manager, child, signals, o.StatsInterval)
	m.input, m.metrics, m.hooks = in, file, hooks
	err = m.run()
	return m.end(err)
}

func (h Hooks) launchArgs(args []string) []string {
	if h.LaunchArgs == nil {
		return args
	}
	return h.LaunchArgs(args)
}

// confined calls the hook for a confined monitor.
func (m *monitor) confined() {
	if m.hooks.Confined == nil {
		return
	}
	h := Handles{Packet: -1, Control: m.child.FD(), Netlink: -1, Parser: m.child.Pid()}
	if len(m.watched) > 0 {
		h.Packet = m.watched[0].socket.FD()
	}
	if m.links != nil {
		if _, fd, err := m.links.FDs(); err == nil { // the one that sends
			h.Netlink = fd
		}
	}
	m.hooks.Confined(h)
}

// checkLimits refuses to start under limits that the start would hit somewhere: some of
// what needs a descriptor is the Go runtime's, which crashes without, and psx waits
// for ever for a signal that cannot be queued.
func checkLimits(sources int) error {
	const own = 20 // more than either process needs besides what it reads from
	for _, l := range []struct {
		resource int
		need     uint64
		what     string
		option   string
		unit     string
	}{
		{unix.RLIMIT_NOFILE, uint64(own + sources), "open files", "n", "LimitNOFILE"},
		{unix.RLIMIT_SIGPENDING, 64, "pending signals", "i", "LimitSIGPENDING"},
	} {
		var limit unix.Rlimit
		if err := unix.Getrlimit(l.resource, &limit); err != nil {
			return os.NewSyscallError("getrlimit", err)
		}
		if limit.Cur < l.need {
			return &cli.Failure{Status: cli.ExitFailure, Err: fmt.Errorf("%d %s are allowed, %d are needed", limit.Cur, l.what, l.need),
				Hint: fmt.Sprintf("ulimit -%s %d, or %s=%d in a systemd unit", l.option, l.need, l.unit, l.need)}
		}
	}
	return nil
}

// isTerminal reports whether a descriptor is a terminal's.
func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// endSignals are the signals that end the program, with exit status 0.
var endSignals = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP}

// catchSignals has the signals that end the program delivered to a channel. SIGHUP
// stays ignored if it was, as nohup(1) wants it.
func catchSignals() <-chan os.Signal {
	c := make(chan os.Signal, 4)
	for _, s := range endSignals {
		if s != unix.SIGHUP || !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
	signal.Ignore(unix.SIGPIPE)
	return c
}

// launchError explains why the program's own executable could not be started.
func launchError(err error) error {
	f := &cli.Failure{Status: cli.ExitConfinement, Err: err}
	switch {
	case errors.Is(err, privsep.ErrDumpable):
		f.Hint = "sysctl fs.suid_dumpable=0, or 2"
	case errors.Is(err, unix.EACCES):
		f.Hint = fmt.Sprintf("user %d must be able to execute the program's file", os.Getuid())
	}
	return f
}

const (
	// heartbeat is how long the parser may be silent before it is asked for its counters,
	// unless the service manager wants to know more often. Each time costs some 16
	// wake-ups, those of the Go runtime included.
	heartbeat = 20 * time.Second
	// silenceLimit is how long it may leave a question unanswered. One heartbeat is not
	// enough: where both processes were stopped, time has passed without either.
	silenceLimit = 2 * heartbeat
	// stopLimit is how long the parser has for what is in the ring when the
	// program ends. With stallLimit it keeps the end within a second.
	stopLimit = 800 * time.Millisecond
	// complaintInterval is how often a loss is reported at the most.
	complaintInterval = time.Minute
)

// errStopped ends the monitor when a signal asks for it: exit status 0.
var errStopped = errors.New("stopped by a signal")

// errEnded ends the monitor when the input has ended: the parser's exit status is the
// program's.
var errEnded = errors.New("the input has ended")

// monitor is the state of the monitor once the parser has been started.
type monitor struct {
	names   []string         // of what is read
	watched []*watch         // nil for a file
	links   *linkmon.Monitor // nil for a file
	input   *input           // nil for interfaces
	manager *manager
	metrics *metricsFile // nil for none
	child   *privsep.Child
	signals <-chan os.Signal
	hooks   Hooks

	messages  chan received
	silence   chan struct{} // the parser has said nothing for as long as a heartbeat
	changes   chan changed
	asked     chan os.Signal // SIGUSR1: for the counters
	every     time.Duration  // how often the counters are logged, 0 for never
	heartbeat time.Duration

	parser, self sandbox.Layers // of either process
	seen         sandbox.Inspection

	checking bool          // the option --check: standard output is needed
	reading  bool          // the parser has said that it reads
	tell     bool          // the counters are to be logged when they have come
	stopping bool          // the parser was told to finish, or does so by itself
	ended    bool          // by itself: the input has ended
	last     bool          // its last counters are being asked for
	pending  int           // the index of the name whose counters were asked for, or -1
	silent   time.Duration // since when it has not answered
	counters []control.Counters
	dropped  []loss // of frames, by name
	evicted  loss   // of bindings, over all interfaces
	states   []linkState

	table     linkmon.Table // of all interfaces
	checked   time.Time     // when the kernel's bindings were compared with its interfaces
	agreed    bool          // and whether they agreed
	postponed bool          // the comparison waits for messages of the kernel
}

// received is a message of the parser, or why there is none any more.
type received struct {
	privsep.Message
	err error
}

// changed is what the kernel said of interfaces, or why it says nothing any more.
type changed struct {
	linkmon.Update
	err error
}

func newMonitor(names []string, watched []*watch, links *linkmon.Monitor, manager *manager,
	child *privsep.Child, signals <-chan os.Signal, every time.Duration) *monitor {
	m := &monitor{
		names: names, watched: watched, links: links, manager: manager, child: child, signals: signals,
		messages: make(chan received), silence: make(chan struct{}, 1), changes: make(chan changed),
		asked: make(chan os.Signal, 1), every: every,
		counters:  make([]control.Counters, len(names)),
		dropped:   make([]loss, len(names)),
		states:    make([]linkState, len(watched)),
		pending:   -1,
		heartbeat: heartbeatOf(manager),
	}
	signal.Notify(m.asked, unix.SIGUSR1)
	return m
}

// run brings the two processes up and watches over both until a signal or the parser
// ends it.
func (m *monitor) run() error {
	if err := m.start(); err != nil {
		return err
	}
	m.announce()
	debug.FreeOSMemory() // what only the start needed
	return m.serve()
}

// start sees the parser confined, gives it the sockets, confines this process and waits
// until the parser reads.
func (m *monitor) start() error {
	go func() {
		for {
			message, err := m.child.Receive(m.heartbeat)
			if err == privsep.ErrTimeout {
				select {
				case m.silence <- struct{}{}:
				default: // the last one was not seen yet
				}
				continue
			}
			m.messages <- received{message, err}
			if err != nil {
				return
			}
		}
	}()
	hello, err := m.await(privsep.Hello)
	if err != nil {
		return err
	}
	m.parser = control.LayersOf(hello)
	// What it says of itself is not enough: the kernel is asked.
	m.seen, err = sandbox.Inspect(m.child.Pid())
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
	if m.self, err = m.confine(); err != nil {
		return cli.Unconfined(err)
	}
	// Only now does a frame reach anybody.
	if err := m.release(); err != nil {
		return err
	}
	if _, err := m.await(privsep.Ready); err != nil {
		return err
	}
	m.reading = true
	return nil
}

// await waits for a message of the parser at the start.
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
		return privsep.Message{}, fmt.Errorf("the parser did not say %v within %v", want, control.HandshakeTimeout)
	}
}

// unexpected is the error for a message at the wrong time, which only a parser that is
// not itself any more can send.
func unexpected(m privsep.Message) error {
	return fmt.Errorf("%w: unexpected %v %d", privsep.ErrMessage, m.Type, m.Index)
}

// handOver gives the parser a descriptor of each socket, or of the input.
func (m *monitor) handOver() error {
	if m.input != nil {
		if err := m.child.SendFD(privsep.Message{Type: privsep.Socket}, m.input.fd, control.HandshakeTimeout); err != nil {
			return err
		}
		return m.input.close()
	}
	for i, w := range m.watched {
		if err := m.child.SendFD(privsep.Message{Type: privsep.Socket, Index: uint16(i)}, w.socket.FD(), control.HandshakeTimeout); err != nil {
			return err
		}
	}
	return nil
}

// release starts the flow of frames into the sockets, without a capability, and has the
// parser begin.
func (m *monitor) release() error {
	for i, w := range m.watched {
		if w.index == 0 {
			slog.Info("interface is not there, waiting for it", "interface", w.name)
			continue
		}
		if err := w.socket.Bind(w.index); errors.Is(err, unix.ENODEV) {
			w.index = 0 // gone in the meantime: the first update will tell
		} else if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		m.states[i] = linkState{now: up, reported: up, existed: true}
	}
	return m.child.Send(privsep.Message{Type: privsep.Start})
}

// confine is the monitor's own confinement. It keeps what the rest of this file uses.
func (m *monitor) confine() (sandbox.Layers, error) {
	control := m.child.FD()
	g := sandbox.MonitorGrant{
		Write:   []int{unix.Stderr, control},
		Receive: []int{control},
		Child:   m.child.PidFD(),
	}
	if m.links != nil {
		subscription, lister, err := m.links.FDs()
		if err != nil {
			return sandbox.Layers{}, err
		}
		g.Receive, g.Send = append(g.Receive, subscription, lister), []int{lister}
	}
	if m.checking {
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
	for _, w := range m.watched {
		g.Bind = append(g.Bind, w.socket.FD())
	}
	return sandbox.ConfineMonitor(g)
}

// announce says that both processes are confined and the parser reads.
func (m *monitor) announce() {
	what, key, names := "watching", "interfaces", any(m.names)
	if m.input != nil {
		what, key, names = "reading", "file", m.names[0]
	}
	slog.Info(what, key, names, "parser", m.child.Pid(),
		"landlock", m.parser.Landlock, "mdwe", m.parser.MDWE)
	for _, l := range []struct {
		process string
		sandbox.Layers
	}{{"parser", m.parser}, {"monitor", m.self}} {
		if l.Landlock == 0 {
			slog.Warn("this kernel has no Landlock", "process", l.process)
		}
		if !l.MDWE {
			slog.Warn("this kernel has no PR_SET_MDWE", "process", l.process)
		}
	}
	m.manager.notify("READY=1", m.status())
}

// serve is the rest of the monitor's life: signals, the kernel's word on interfaces,
// heartbeats.
func (m *monitor) serve() error {
	m.confined()
	if m.links != nil {
		go m.follow()
	}
	progress := new(time.Ticker) // never
	if m.input != nil && m.input.shown {
		progress = time.NewTicker(time.Second)
		defer progress.Stop()
		defer m.input.clear()
	}
	stats := new(time.Ticker)
	if m.every > 0 || m.metrics != nil {
		stats = time.NewTicker(cmp.Or(m.every, cli.DefaultMetricsInterval))
		defer stats.Stop()
	}
	for {
		select {
		case s := <-m.signals:
			slog.Debug("stopping", "signal", s)
			return errStopped
		case r := <-m.messages:
			if err := m.answer(r); err != nil {
				return err
			}
		case c := <-m.changes:
			if c.err != nil {
				return c.err
			}
			m.update(c.Update)
		case <-m.silence:
			if err := m.beat(); err != nil {
				return err
			}
		case <-progress.C:
			if m.pending < 0 {
				if err := m.ask(0); err != nil {
					return err
				}
			}
		case <-stats.C:
			if err := m.tellCounters(m.every > 0); err != nil {
				return err
			}
		case <-m.asked:
			if err := m.tellCounters(true); err != nil {
				return err
			}
		}
	}
}

// follow receives what the kernel reports of interfaces, first all that exist: what changed
// between opening the sockets and subscribing is in there.
func (m *monitor) follow() {
	for {
		update, err := m.links.Receive()
		m.changes <- changed{update, err}
		if err != nil {
			return
		}
	}
}

// end ends the parser, if it has not ended already, and turns what happened into the
// program's exit status. cause is what ended run.
func (m *monitor) end(cause error) error {
	m.manager.notify("STOPPING=1")
	stopped := errors.Is(cause, errStopped)
	if (stopped || m.ended) && m.reading {
		cause = m.stop()
	}
	if errors.Is(cause, unix.EPIPE) {
		cause = io.EOF
	}
	// The end of its messages, or of its interest in ours, means that the parser has
	// ended, or is about to: then the way it did is what the user wants to know. Whatever
	// else is wrong, it must not go on alone.
	if !errors.Is(cause, io.EOF) {
		m.child.Kill()
	}
	timer := time.AfterFunc(stopLimit, m.child.Kill)
	status, err := m.child.Wait()
	late := !timer.Stop()
	switch {
	case err != nil:
		return err
	case late && status.Signaled() && status.Signal() == unix.SIGKILL && errors.Is(cause, io.EOF):
		return errors.New("the parser was killed: it closed its socket and went on")
	case errors.Is(cause, privsep.ErrMessage):
		return cli.Unconfined(fmt.Errorf("the parser was killed: %w", cause))
	case errors.Is(cause, errStopped):
		return nil
	case errors.Is(cause, io.EOF):
		if m.stoppedTogether(status) {
			return nil
		}
		return parserEnded(status, stopped, m.ended)
	}
	return cause
}

// stoppedTogether reports whether a signal that ended the parser before it could ignore
// it was meant for the whole process group, and so for the monitor too.
func (m *monitor) stoppedTogether(status unix.WaitStatus) bool {
	if m.reading || !status.Signaled() || !slices.Contains(endSignals, os.Signal(status.Signal())) {
		return false
	}
	select {
	case <-m.signals:
		return true
	case <-time.After(100 * time.Millisecond):
		return false
	}
}

// stop has the parser finish what is there and reports the last counters. It returns
// [io.EOF] when the parser has ended, errStopped when it did not in time, or what
// went wrong.
func (m *monitor) stop() error {
	limit := stopLimit
	if m.ended {
		limit = control.HandshakeTimeout // nobody is in a hurry
	} else {
		_ = m.child.Send(privsep.Message{Type: privsep.Stop})
	}
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	m.stopping = true
	if m.pending < 0 {
		m.last = true
		if err := m.ask(0); err != nil {
			return err
		}
	}
	for {
		select {
		case r := <-m.messages:
			if errors.Is(r.err, io.EOF) && !m.checking && slog.Default().Enabled(context.Background(), slog.LevelInfo) {
				m.summary()
			}
			if err := m.answer(r); err != nil {
				return err
			}
		case <-timeout.C:
			if m.ended {
				return fmt.Errorf("the parser did not end within %v of its input", limit)
			}
			slog.Warn("the parser did not end in time", "limit", limit)
			return errStopped
		}
	}
}

// parserEnded tells how a parser ended, after it was stopped, its input had ended, or by
// itself.
func parserEnded(status unix.WaitStatus, stopped, ended bool) error {
	switch {
	case (stopped || ended) && status.Exited() && status.ExitStatus() == cli.ExitOK:
		return nil
	case ended && status.Exited() && slices.Contains([]int{cli.ExitDamaged, cli.ExitNoHeader, cli.ExitNotEthernet}, status.ExitStatus()):
		return cli.ErrAlreadyReported(status.ExitStatus())
	case status.Signaled() && status.Signal() == unix.SIGSYS:
		return &cli.Failure{Status: cli.ExitConfinement,
			Err:  errors.New("the parser was killed by seccomp: it made a system call that it may not make (SIGSYS)"),
			Hint: "the kernel's log has its number: dmesg | grep type=1326"}
	case status.Signaled():
		name := unix.SignalName(status.Signal())
		if name == "" {
			name = status.Signal().String() // "signal 34"
		}
		return fmt.Errorf("the parser was killed by %s", name)
	case status.ExitStatus() == cli.ExitOK:
		return errors.New("the parser ended by itself")
	case status.ExitStatus() == cli.ExitFailure || status.ExitStatus() == cli.ExitConfinement:
		return cli.ErrAlreadyReported(status.ExitStatus())
	}
	return fmt.Errorf("the parser ended with exit status %d", status.ExitStatus())
}
