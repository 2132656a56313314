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

// A manager is the connection to the service manager that started the program (sd_notify(3)). A nil
// manager means that there is none.
type manager struct {
	conn     *net.UnixConn
	watchdog time.Duration // time limit between two WATCHDOG=1, 0 for none (sd_watchdog_enabled(3))
}

// dialManager connects to the service manager's socket. It connects once, before the confinement,
// because the confined monitor may not call socket(2). Common libraries connect for each message.
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

// notify sends variables to the service manager. It does not block: if the socket has no room, the
// message is lost and the error is logged.
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

// heartbeatOf returns the time between two rounds: at most half of the service manager's watchdog
// time.
func heartbeatOf(s *manager) time.Duration {
	if s == nil || s.watchdog == 0 {
		return heartbeat
	}
	return min(heartbeat, max(s.watchdog/2, 10*time.Millisecond))
}

// maxUnwatched is the largest number of interfaces that the status names as not up.
const maxUnwatched = 5

// status returns one line for systemctl(1): the interfaces and patterns that receive no frames,
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
