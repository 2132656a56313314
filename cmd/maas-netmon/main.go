//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Maas-netmon watches the ARP traffic of network interfaces and prints a JSON line
// when a binding of an IPv4 address to a MAC is new, has moved, or is seen again.
//
// It is two processes. The monitor (monitor.go) opens the packet sockets with
// CAP_NET_RAW, gives up every privilege, starts the parser and makes sure that it is
// confined before it hands the sockets over. The parser (parser.go) never had a
// privilege and is the only one to read a frame. Their exit statuses and errors are
// in exit.go, the command line in options.go.
//
// The two settings at the top keep the Go runtime from reading cgroup files while
// it runs, which a confined process cannot.
package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
)

// version is set by packagers (-ldflags "-X main.version=..."); else it is what the
// build information says.
var version string

func init() {
	// The parser is told of the death of the *thread* that started it, and is
	// read by a loop that blocks: both want main on the main thread for good.
	runtime.LockOSThread()
	// Each process is one loop. Where others could run at the same time, the Go runtime's
	// monitor thread stays awake for 10 ms after each system call that blocks, in case that
	// they want to: most of all wake-ups. (The parser is born with this, see privsep.)
	runtime.GOMAXPROCS(1)
	// Whatever happens, no user is shown a stack.
	debug.SetTraceback("none")
}

func main() { os.Exit(run(os.Args[1:])) }

// run is the program, of either role, up to its exit status.
func run(args []string) (status int) {
	defer func() {
		if r := recover(); r != nil {
			status = explain(&stderr, fmt.Errorf("internal error: %v", r))
		}
	}()
	env, err := takeEnvironment()
	if err != nil {
		return explain(&stderr, err)
	}
	stderr.journal = env.journal
	o, err := parseOptions(args, env.logLevel)
	stderr.journal = stderr.journal || o.journal
	switch {
	case err != nil:
		err = usageError(err)
	case o.help:
		_, err = fmt.Print(usage)
	case o.version:
		_, err = fmt.Printf("maas-netmon %s\n", buildVersion())
	case o.role == roleParser:
		err = parserRole(o)
	case o.check:
		startLog(max(o.logLevel, slog.LevelWarn)) // it has its own way to say the rest
		err = runCheck(o)
	default:
		startLog(o.logLevel)
		if env.complaint != nil {
			slog.Warn("ignored", "err", env.complaint)
		}
		err = runMonitor(o, env)
	}
	return explain(&stderr, err)
}

// startLog has slog write to standard error, from a level on.
func startLog(level slog.Level) {
	slog.SetDefault(slog.New(newLogHandler(level)))
}

// environment is what the program takes from its environment.
type environment struct {
	logLevel     slog.Level
	complaint    error  // about a variable that makes no sense
	notifySocket string // sd_notify(3)
	watchdogµs   string // sd_watchdog_enabled(3)
	watchdogPID  string
	journal      bool   // standard error is the journal (systemd.exec(5), JOURNAL_STREAM)
	noColour     bool   // https://no-color.org
	zone         string // tzset(3); empty is the system's
}

// takeEnvironment reads the few variables that mean something to the program and
// empties the environment: none of the others shall steer the Go runtime or a
// library any more.
func takeEnvironment() (environment, error) {
	e := environment{
		notifySocket: os.Getenv("NOTIFY_SOCKET"),
		watchdogµs:   os.Getenv("WATCHDOG_USEC"),
		watchdogPID:  os.Getenv("WATCHDOG_PID"),
		journal:      isJournal(os.Getenv("JOURNAL_STREAM")),
		noColour:     os.Getenv("NO_COLOR") != "",
	}
	if s := os.Getenv("LOG_LEVEL"); s != "" {
		var err error
		if e.logLevel, err = parseLevel(s); err != nil {
			e.complaint = fmt.Errorf("LOG_LEVEL=%.32q: %w", s, err)
		}
	}
	zone, ok := os.LookupEnv("TZ")
	os.Clearenv()
	if !ok {
		return e, nil
	}
	if e.zone = zone; zone == "" {
		e.zone = "UTC" // as tzset(3) understands it
	}
	return e, os.Setenv("TZ", e.zone)
}

// buildVersion returns the program's version and the Go that built it.
func buildVersion() string {
	v := version
	if info, ok := debug.ReadBuildInfo(); ok && v == "" {
		v = info.Main.Version
	}
	if v == "" {
		v = "(devel)"
	}
	return v + " " + runtime.Version()
}
