package main

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// stderr is standard error. Nothing that the program has to do waits for its reader: a
// message that finds no room is dropped after a moment, and counted.
var stderr = messages{fd: unix.Stderr}

// patience is how long a message waits for room. After one was dropped, the next do not
// wait at all.
const patience = 50 * time.Millisecond

// messages is a writer of whole messages. Not safe for concurrent use; slog takes care.
type messages struct {
	fd   int
	lost int
}

// Write writes a message, or drops it. It never fails: nobody could be told.
func (w *messages) Write(b []byte) (int, error) {
	limit := patience
	if w.lost > 0 {
		limit = 0
		note := fmt.Appendf(nil, "maas-netmon: %d messages were lost, their reader did not read\n", w.lost)
		if !w.write(note, 0) {
			w.lost++
			return len(b), nil
		}
		w.lost = 0
	}
	if !w.write(b, limit) {
		w.lost++
	}
	return len(b), nil
}

// write writes as far as that does not block for longer than a
// limit, in pieces that a pipe takes whole (PIPE_BUF, pipe(7)).
func (w *messages) write(b []byte, limit time.Duration) bool {
	timeout := unix.NsecToTimespec(int64(limit))
	for piece := range slices.Chunk(b, pipeBuf) {
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
