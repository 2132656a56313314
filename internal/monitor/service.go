package monitor

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"maas-netmon/internal/cli"

	"golang.org/x/sys/unix"
)

// A manager is the service manager that started the program, spoken to by sd_notify(3).
// A nil one is none.
type manager struct {
	conn     *net.UnixConn
	watchdog time.Duration // how long it waits for a sign of life, 0 for ever (sd_watchdog_enabled(3))
}

// dialManager connects to the service manager's socket. Connected before the
// confinement, it needs no socket(2) behind it, which a library that dials for each word
// would.
func dialManager(env cli.Environment) (*manager, error) {
	if env.NotifySocket == "" {
		return nil, nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: env.NotifySocket, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	s := &manager{conn: conn}
	if env.WatchdogPID == "" || env.WatchdogPID == strconv.Itoa(os.Getpid()) {
		if usec, err := strconv.ParseUint(env.WatchdogUsec, 10, 40); err == nil {
			s.watchdog = time.Duration(usec) * time.Microsecond
		}
	}
	return s, nil
}

// control runs f on the socket's descriptor.
func (s *manager) control(f func(fd int) error) error {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = f(int(fd)) })
	return cmp.Or(err, inner)
}

// notify tells the service manager something. One that has no room for it is not waited
// for.
func (s *manager) notify(words ...string) {
	if s == nil {
		return
	}
	err := s.control(func(fd int) error {
		_, err := unix.Write(fd, []byte(strings.Join(words, "\n")))
		return err
	})
	if err != nil {
		slog.Warn("cannot notify the service manager", "err", err)
	}
}

// heartbeatOf returns how often the parser is asked for a sign of life: twice in the time
// that the service manager waits for one.
func heartbeatOf(s *manager) time.Duration {
	if s == nil || s.watchdog == 0 {
		return heartbeat
	}
	return min(heartbeat, max(s.watchdog/2, 10*time.Millisecond))
}

// maxUnwatched is how many interfaces that are not up the status names.
const maxUnwatched = 5

// status returns one line for systemctl(1): the interfaces and patterns that nothing is received of,
// with the reason, and the counters.
func (m *monitor) status() string {
	var frames, dropped, bindings uint64
	var unwatched []string
	add := func(name string, c condition) {
		if c != up {
			unwatched = append(unwatched, fmt.Sprintf("%s: %v", name, c))
		}
	}
	for _, f := range m.ifaces {
		frames += f.counters.Frames
		dropped += f.counters.Dropped
		bindings += f.counters.Bindings
		// An interface of the pool that is not bound yet has no condition.
		if f.socket != nil && (!f.pooled || f.link.existed) {
			add(f.name, f.link.now)
		}
	}
	for i, pattern := range m.pool.patterns {
		add(pattern, m.pool.matches[i].now)
	}
	if more := len(unwatched) - maxUnwatched; more > 0 {
		unwatched = append(unwatched[:maxUnwatched], fmt.Sprintf("%d more are not up", more))
	}
	counters := fmt.Sprintf("%d bindings; %d frames, %d of them lost", bindings, frames, dropped)
	return "STATUS=" + strings.Join(append(unwatched, counters), "; ")
}
