// Package monitor is the process that has CAP_NET_RAW for a short time and never reads a frame.
//
// privileged.go is the only part of this package that runs with a privilege. After that the monitor
// is one loop, and its state is the phase:
//
//	                    parser sends Ready
//	starting --------------------------------> running
//	   |                                          | signal: sends Stop
//	   |                                          | parser sends End: its input has ended
//	   |                                          v
//	   |           a round is under way        draining
//	   |           (else: finalRound at once)     | that round is complete
//	   |                                          v
//	   |                                      finalRound
//	   |                                          | its round is complete: closes its end of
//	   | signal, error, or end of the parser      | the socket, and the parser ends
//	   v                                          v
//	end: waits for the parser, kills it if necessary, and determines the exit status
//
// An error, or a parser that exits unexpectedly, leads from each phase to the end. A round asks for
// the counters of one interface after the other. The counters of a round that began before Stop are
// not the last ones, so the final round follows it.
package monitor

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/cli"
	"maas-netmon/privsep"
	"maas-netmon/sandbox"
)

// Hooks let test programs change the behaviour of the monitor. The zero value changes nothing.
type Hooks struct {
	// LaunchArgs changes the parser's argument list.
	LaunchArgs func([]string) []string
	// Confined is called when the monitor is confined and the parser reads.
	Confined func(Handles)
}

// Handles has the descriptors that the confined monitor holds.
type Handles struct {
	Packet  int // the first packet socket
	Control int
	Netlink int
	Parser  int // its process ID
}

// Run runs the monitor from start to end.
func Run(o cli.Options, env cli.Environment, hooks Hooks) error {
	if err := checkLimits(len(o.Sources())); err != nil {
		return err
	}
	signals := catchSignals()

	p, err := prepare(o)
	if err != nil {
		return err
	}
	// From here on neither process has a privilege.

	if o.DieWithParent {
		if err := privsep.EndWithParent(); err != nil {
			return err
		}
	}
	for _, err := range []error{env.Complaint, cli.SetZone(env.Zone)} {
		if err != nil {
			slog.Warn("invalid environment variable, using the default", "err", err)
		}
	}
	if p.staysRoot != nil && p.userZero {
		slog.Warn("stays user 0, without a capability", "err", p.staysRoot)
	}
	ifaces := p.ifaces
	if o.Input != "" {
		ifaces = []*iface{{name: o.Input}}
	}
	manager, err := dialManager(env)
	if err != nil {
		// The program works without a service manager.
		slog.Warn("no notifications to the service manager", "err", err)
	}
	var file *metricsFile
	if o.MetricsFile != "" {
		file = startMetrics(o.MetricsFile, metrics(ifaces, o))
	}
	if file != nil {
		defer file.remove(o.Input != "") // the counters of a file stay valid
	}
	o.Zone, o.Journal = env.Zone, env.Journal
	o.Colour = o.Format == cli.FormatText && !env.NoColour && isTerminal(unix.Stdout)
	m := newMonitor(ifaces, p.links, manager, signals)
	m.metrics, m.hooks, m.userZero = file, hooks, p.userZero
	return m.run(o)
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
	if m.input == nil {
		h.Packet = m.ifaces[0].socket.FD()
		_, h.Netlink = m.links.FDs() // the descriptor that sends
	}
	m.hooks.Confined(h)
}

// checkLimits refuses to start if a resource limit is too low. The failure would come later and be
// hard to explain: the Go runtime crashes without a descriptor for its netpoller, and psx waits
// without end for a signal that cannot be queued.
func checkLimits(sources int) error {
	const own = 20 // more than either process needs besides its sources
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

// isTerminal reports whether a descriptor is a terminal.
func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// endSignals are the signals that end the program, with exit status 0.
var endSignals = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP}

// catchSignals returns a channel that receives the signals that end the program. If SIGHUP was
// ignored at the start, it stays ignored, as nohup(1) requires.
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
	case errors.Is(err, privsep.ErrReadable):
		f.Hint = "sudo chmod 0711 the program's file, so that only root may read it"
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOMEM):
		f.Status, f.Hint = cli.ExitFailure, "raise TasksMax= of the systemd unit, pids.max of the cgroup, or ulimit -u"
	case errors.Is(err, unix.EACCES):
		f.Hint = fmt.Sprintf("user %d must be able to execute the program's file", os.Getuid())
	}
	return f
}

// errStopped ends the monitor after a signal: exit status 0.
var errStopped = errors.New("stopped by a signal")

// A phase is the state of the monitor's loop, see the package comment.
type phase int

const (
	starting   phase = iota // the parser does not read yet
	running                 // the parser reads
	draining                // the parser finishes; a round that began before Stop is under way
	finalRound              // the parser finishes; the monitor asks for its last counters
)

// monitor is the state of the monitor after all privileges are dropped.
type monitor struct {
	phase      phase
	ifaces     []*iface
	round      round
	inputEnded bool             // the parser has read all of the input
	deadline   <-chan time.Time // for the parser's end, while it is draining

	options     cli.Options
	child       parserProcess
	links       *links       // nil for a file
	input       *input       // nil for interfaces
	manager     *manager     // nil without one
	metrics     *metricsFile // nil without one
	userZero    bool         // user 0 of the machine, see isUserZero
	confinement confinement
	hooks       Hooks

	signals  <-chan os.Signal // that end the program
	usr1     usr1
	messages chan received
	clock    *time.Timer // of the round
	linkNews chan error  // nil when the kernel has reported changes of interfaces; after an error no other follows

	heartbeat     time.Duration
	evicted       lossLog // bindings, over all interfaces
	pool          pool    // of sockets for --match
	statusChanged bool    // a change was logged, and the service manager's status is old
}

// usr1 is the state of SIGUSR1, which logs the counters.
type usr1 struct {
	signals chan os.Signal
	logged  time.Time        // when the counters were last logged for it
	later   <-chan time.Time // fires when they are to be logged again; nil for never
}

// A confinement has the layers that are in force.
type confinement struct {
	parser, self sandbox.Layers     // the optional layers of either process
	inspection   sandbox.Inspection // of the parser
}

// parserProcess is the parser as the monitor sees it: a [privsep.Child].
type parserProcess interface {
	Pid() int
	FD() int
	PidFD() int
	Send(privsep.Message) error
	SendFD(privsep.Message, int, time.Duration) error
	Receive(time.Duration) (privsep.Message, error)
	CloseWrite() error
	Kill()
	KilledByPID() bool
	Wait() (unix.WaitStatus, error)
}

// received is a message from the parser, or the error after which no other follows.
type received struct {
	privsep.Message
	err error
}

func newMonitor(ifaces []*iface, links *links, manager *manager, signals <-chan os.Signal) *monitor {
	m := &monitor{
		ifaces: ifaces, links: links, manager: manager, signals: signals,
		messages: make(chan received), clock: time.NewTimer(time.Hour), linkNews: make(chan error),
		usr1:      usr1{signals: make(chan os.Signal, 1)},
		heartbeat: heartbeatOf(manager),
	}
	signal.Notify(m.usr1.signals, unix.SIGUSR1)
	return m
}

// run starts the parser, brings both processes up and supervises them to the end. It returns the
// program's error. With --check it prints the layers of the confinement and ends.
func (m *monitor) run(o cli.Options) error {
	m.options = o
	m.pool.patterns = o.Match
	for range o.Match { // so that a pattern without an interface is reported
		m.pool.matches = append(m.pool.matches, linkState{now: up, reported: up})
	}
	_, o.Pool = m.poolUse()
	if err := m.launch(o); err != nil {
		return err
	}
	err := m.bringUp()
	switch {
	case err != nil:
	case o.Check:
		m.printLayers()
		err = m.finish()
	default:
		m.announce()
		debug.FreeOSMemory() // memory that only the start needed
		m.confined()
		if m.links != nil {
			go m.follow()
		}
	}
	if err == nil {
		err = m.loop()
	}
	return m.end(err)
}
