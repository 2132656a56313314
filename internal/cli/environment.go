package cli

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
)

// version is set by packagers (-ldflags "-X maas-netmon/internal/cli.version=..."); otherwise it is
// what the build information contains.
var version string

// Environment is what the program takes from its environment.
type Environment struct {
	LogLevel     slog.Level
	Complaint    error  // about a variable that makes no sense
	NotifySocket string // sd_notify(3)
	WatchdogUsec string // sd_watchdog_enabled(3)
	WatchdogPID  string
	Journal      bool   // standard error is the journal (systemd.exec(5), JOURNAL_STREAM)
	NoColour     bool   // https://no-color.org, or a terminal without colours
	Zone         string // tzset(3); empty is the system's
}

// TakeEnvironment reads the few variables that mean something to the program and
// empties the environment: none of the others shall steer the Go runtime or a
// library any more.
func TakeEnvironment() (Environment, error) {
	e := Environment{
		NotifySocket: os.Getenv("NOTIFY_SOCKET"),
		WatchdogUsec: os.Getenv("WATCHDOG_USEC"),
		WatchdogPID:  os.Getenv("WATCHDOG_PID"),
		Journal:      isJournal(os.Getenv("JOURNAL_STREAM")),
		NoColour:     os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb",
	}
	if s := os.Getenv("LOG_LEVEL"); s != "" {
		var err error
		if e.LogLevel, err = parseLevel(s); err != nil {
			e.Complaint = fmt.Errorf("LOG_LEVEL=%.32q: %w", s, err)
		}
	}
	zone, ok := os.LookupEnv("TZ")
	os.Clearenv()
	if !ok {
		return e, nil
	}
	if e.Zone = zone; zone == "" {
		e.Zone = "UTC" // as tzset(3) understands it
	}
	return e, os.Setenv("TZ", e.Zone)
}

// StartLog has slog write to standard error, from a level on.
func StartLog(level slog.Level) {
	slog.SetDefault(slog.New(newLogHandler(level)))
}

// BuildVersion returns the program's version and the Go that built it.
func BuildVersion() string {
	v := version
	if info, ok := debug.ReadBuildInfo(); ok && v == "" {
		v = info.Main.Version
	}
	if v == "" {
		v = "(devel)"
	}
	return v + " " + runtime.Version()
}
