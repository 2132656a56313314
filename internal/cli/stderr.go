package cli

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Stderr is standard error, for errors and the log. A reader that does not read cannot block the
// program: a message without room is dropped after writeTimeout, and counted.
var Stderr = messages{fd: unix.Stderr}

// writeTimeout is the time that a message waits for room. After a message was dropped, the next
// ones do not wait, so that a stalled reader delays the program only once.
const writeTimeout = 50 * time.Millisecond

// PipeBuf is the number of bytes that can be written without blocking to a pipe that poll(2)
// reports writable: PIPE_BUF (pipe(7)).
const PipeBuf = 4096

// messages is a writer of whole messages. Not safe for concurrent use, except through the log,
// which has a lock.
type messages struct {
	fd   int
	lost int
	// journal adds a prefix with the priority to each message (sd-daemon(3)): that of an error if
	// priority is not set.
	journal  bool
	priority int
}

// Priorities of syslog(3).
const (
	priorityError   = 3
	priorityWarning = 4
	priorityInfo    = 6
	priorityDebug   = 7
)

// ForJournal sets whether the journal reads standard error.
func (w *messages) ForJournal(yes bool) { w.journal = yes }

// Write writes a message, or drops it. It never returns an error: there is no place to report it.
func (w *messages) Write(b []byte) (int, error) {
	limit := writeTimeout
	if w.lost > 0 {
		limit = 0
		if !w.write(w.prefixed(fmt.Appendf(nil, "maas-netmon: %d messages dropped: stderr reader stalled\n", w.lost)), 0) {
			w.lost++
			return len(b), nil
		}
		w.lost = 0
	}
	if !w.write(w.prefixed(b), limit) {
		w.lost++
	}
	return len(b), nil
}

// prefixed adds the priority to a message for the journal.
func (w *messages) prefixed(b []byte) []byte {
	if !w.journal {
		return b
	}
	return append(fmt.Appendf(nil, "<%d>", cmp.Or(w.priority, priorityError)), b...)
}

// isJournal reports whether standard error is the journal's stream, given by device and
// inode in JOURNAL_STREAM (systemd.exec(5)).
func isJournal(stream string) bool {
	var st unix.Stat_t
	err := unix.Fstat(unix.Stderr, &st)
	return err == nil && stream == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// A logHandler passes the level of each record to the journal.
type logHandler struct {
	slog.Handler
	mu *sync.Mutex
}

func newLogHandler(level slog.Level) slog.Handler {
	o := &slog.HandlerOptions{Level: level}
	if !Stderr.journal {
		return slog.NewTextHandler(&Stderr, o)
	}
	o.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{} // the journal adds its own
		}
		return a
	}
	return logHandler{slog.NewTextHandler(&Stderr, o), new(sync.Mutex)}
}

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case r.Level >= slog.LevelError:
		Stderr.priority = priorityError
	case r.Level >= slog.LevelWarn:
		Stderr.priority = priorityWarning
	case r.Level >= slog.LevelInfo:
		Stderr.priority = priorityInfo
	default:
		Stderr.priority = priorityDebug
	}
	defer func() { Stderr.priority = 0 }()
	return h.Handler.Handle(ctx, r)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs), h.mu}
}

func (h logHandler) WithGroup(name string) slog.Handler {
	return logHandler{h.Handler.WithGroup(name), h.mu}
}

// write writes b in pieces that fit into a writable pipe (PIPE_BUF, pipe(7)), and waits at most
// limit for room before each piece. It reports whether all was written.
func (w *messages) write(b []byte, limit time.Duration) bool {
	timeout := unix.NsecToTimespec(int64(limit))
	for piece := range slices.Chunk(b, PipeBuf) {
		fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLOUT}}
		n, err := unix.Ppoll(fds, &timeout, nil)
		for err == unix.EINTR {
			n, err = unix.Ppoll(fds, &timeout, nil)
		}
		if err != nil || n == 0 {
			return false
		}
		if _, err := unix.Write(w.fd, piece); err != nil {
			return false
		}
	}
	return true
}
