package parserproc

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// pipeBuf is the number of bytes that fit into a pipe if poll(2) reports it writable: PIPE_BUF
	// (pipe(7)).
	pipeBuf = 4096

	// flushLen is the number of buffered bytes at which lines are written. A move cannot overtake
	// lines that are buffered already, so flushLen is not much larger than pipeBuf.
	flushLen = 4 * pipeBuf
)

// errReaderGone ends the program when its output has no reader any more.
var errReaderGone = errors.New("standard output: the reader is gone")

// An output is standard output. Lines are written whole, and no write blocks. It uses system
// calls, without an os.File, because the sandbox allows no epoll_ctl(2).
//
// A write does not block because the output calls poll(2) first, and writes no more than is sure to
// fit if poll reports room. That is not true for a terminal, which is writable if it has room for
// one byte, nor for a pipe with other writers: for these the monitor has made standard output
// non-blocking (privsep.ReopenStdout).
type output struct {
	fd    int
	buf   []byte // lines that are not written yet
	chunk int    // largest number of bytes per write; 0 for a regular file, which always has room
	full  bool   // standard output had no room when it was last tried
}

// newOutput returns the output for a descriptor. It must be called before the confinement.
func newOutput(fd int) *output {
	// The buffer also has room for the lines that exceed flushLen: two events, and a packet as
	// text.
	o := &output{fd: fd, buf: make([]byte, 0, flushLen+2048), chunk: pipeBuf}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return o
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		o.chunk = 0
	case unix.S_IFSOCK:
		// A stream socket is writable while a good part of its buffer is free: three quarters
		// (unix_writable in net/unix/af_unix.c), a third (sk_stream_is_writeable in
		// include/net/sock.h).
		if size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil {
			o.chunk = min(pipeBuf, max(256, size/8))
		}
	}
	return o
}

// flush writes the buffered lines as far as there is room. If some remain, it sets full.
func (o *output) flush() error {
	written := 0
	for written < len(o.buf) && !o.full {
		rest := o.buf[written:]
		if o.chunk > 0 {
			writable, err := isWritable(o.fd)
			if err != nil {
				return err
			}
			if !writable {
				o.full = true
				break
			}
			rest = rest[:wholeLines(rest, o.chunk)]
		}
		n, err := unix.Write(o.fd, rest)
		switch {
		case err == unix.EAGAIN:
			o.full = true
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("standard output: %w", os.NewSyscallError("write", err))
		default:
			written += n
		}
	}
	o.buf = append(o.buf[:0], o.buf[written:]...)
	return nil
}

// wholeLines returns the number of bytes of b to write at once: as many whole lines as fit into
// most bytes, or most bytes of a longer line. So a reader that exits rarely leaves a partial line,
// and lines of other writers do not mix with these.
func wholeLines(b []byte, most int) int {
	if len(b) <= most {
		return len(b)
	}
	if i := bytes.LastIndexByte(b[:most], '\n'); i >= 0 {
		return i + 1
	}
	return most
}

// isWritable reports whether a descriptor has room, or is broken; in the latter case the write
// returns the error.
func isWritable(fd int) (bool, error) {
	polls := [...]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for {
		_, err := unix.Ppoll(polls[:], &unix.Timespec{}, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("wait for standard output: %w", err)
		}
		return polls[0].Revents != 0, nil
	}
}
