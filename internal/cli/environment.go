package cli

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

// version is set by packagers (-ldflags "-X maas-netmon/internal/cli.version=..."); if it is empty,
// the version in the build information is used.
var version string

// Environment has the settings that the program takes from its environment.
type Environment struct {
	LogLevel     slog.Level
	Complaint    error  // an error in a variable
	NotifySocket string // sd_notify(3)
	WatchdogUsec string // sd_watchdog_enabled(3)
	WatchdogPID  string
	Journal      bool   // standard error is the journal (systemd.exec(5), JOURNAL_STREAM)
	NoColour     bool   // https://no-color.org, or a terminal without colours
	Zone         string // TZ, for SetZone; empty means the system's zone
	Snap         string // the snap that started the program (SNAP_NAME)
}

// TakeEnvironment reads the variables that the program uses and empties the environment, so that no
// other variable can influence the Go runtime or a library.
func TakeEnvironment() Environment {
	e := Environment{
		NotifySocket: os.Getenv("NOTIFY_SOCKET"),
		WatchdogUsec: os.Getenv("WATCHDOG_USEC"),
		WatchdogPID:  os.Getenv("WATCHDOG_PID"),
		Journal:      isJournal(os.Getenv("JOURNAL_STREAM")),
		NoColour:     os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb",
		Snap:         os.Getenv("SNAP_NAME"),
	}
	if s := os.Getenv("LOG_LEVEL"); s != "" {
		var err error
		if e.LogLevel, err = parseLevel(s); err != nil {
			e.Complaint = fmt.Errorf("LOG_LEVEL=%.32q: %w", s, err)
		}
	}
	zone, ok := os.LookupEnv("TZ")
	os.Clearenv()
	if e.Zone = zone; ok && zone == "" {
		e.Zone = "UTC" // as tzset(3) understands it
	}
	return e
}

// SetZone makes a time zone the local one. Its format is that of TZ in the environment (tzset(3)).
// The zone is loaded at its first use. Call SetZone before that, and after all privileges are
// dropped, because a zone can be the path of any file. SetZone refuses files that are not regular:
// opening a pipe could block without end.
func SetZone(zone string) error {
	if zone == "" {
		return nil
	}
	path := strings.TrimPrefix(zone, ":")
	if strings.Contains(path, "..") {
		return fmt.Errorf("TZ=%.64q: not the name of a time zone", zone)
	}
	if strings.HasPrefix(path, "/") {
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			return fmt.Errorf("TZ=%.64q: not a file with a time zone", zone)
		}
	}
	return os.Setenv("TZ", zone)
}

// StartLog makes slog write to standard error, from this level on.
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
