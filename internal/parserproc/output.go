package parserproc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"maas-netmon/internal/cli"

	"golang.org/x/sys/unix"
)

const (
	// flushLen is how many bytes of lines may gather in a drain.
	flushLen = 64 << 10

	// stallLimit is how long the parser still waits for a reader that does not read
	// when it has been told to stop.
	stallLimit = 500 * time.Millisecond
)

// errStalled is returned by flush when the reader of standard output did not read the
// last lines in time. The program ends as it was told to all the same.
var errStalled = &cli.Failure{Status: cli.ExitOK, Err: errors.New("standard output: its reader does not read; the last lines are lost")}

// An output is standard output, to which lines are written whole. It is written by
// system calls, without an os.File between: the parser's sandbox has no
// netpoller.
type output struct {
	fd   int
	buf  []byte
	file bool // a regular file: never makes its writer wait
	// hurry makes flush wait for stallLimit at most instead of for ever.
	hurry bool
	// onControl is called when the control descriptor is readable while the reader of
	// standard output does not read. It may set hurry.
	onControl func() error
	controlFD int
}

// newOutput returns the output for a descriptor. It must be called before the confinement.
func newOutput(fd, controlFD int) *output {
	o := &output{
		fd: fd,
		// Room for the line that goes over the limit.
		buf:       make([]byte, 0, flushLen+1024),
		controlFD: controlFD,
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil {
		o.file = st.Mode&unix.S_IFMT == unix.S_IFREG
	}
	return o
}

// flush writes what has gathered. A reader that stalls makes it wait, and the kernel
// drop frames, but the control descriptor is still served.
func (o *output) flush() error {
	rest := o.buf
	o.buf = o.buf[:0]
	var deadline time.Time
	for len(rest) > 0 {
		if o.hurry && deadline.IsZero() {
			deadline = time.Now().Add(stallLimit)
		}
		n := len(rest)
		if !o.file {
			writable, err := o.wait(deadline)
			if err != nil {
				return err
			}
			if !writable {
				if err := o.onControl(); err != nil {
					return err
				}
				continue
			}
			n = chunk(rest)
		}
		n, err := unix.Write(o.fd, rest[:n])
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("standard output: %w", os.NewSyscallError("write", err))
		}
		rest = rest[n:]
	}
	return nil
}

// chunk returns how much of b to write at once, in bytes: as many whole lines as
// fit into pipeBuf.
func chunk(b []byte) int {
	if len(b) <= cli.PipeBuf {
		return len(b)
	}
	if i := bytes.LastIndexByte(b[:cli.PipeBuf], '\n'); i >= 0 {
		return i + 1
	}
	return cli.PipeBuf
}

// wait waits until standard output is writable, or broken, or, unless there is a
// deadline, control is readable. It reports whether a write is worth trying. Past
// the deadline it returns [errStalled].
func (o *output) wait(deadline time.Time) (bool, error) {
	polls := [...]unix.PollFd{
		{Fd: int32(o.fd), Events: unix.POLLOUT},
		{Fd: int32(o.controlFD), Events: unix.POLLIN},
	}
	n := len(polls)
	var timeout *unix.Timespec
	if !deadline.IsZero() {
		t := unix.NsecToTimespec(int64(max(0, time.Until(deadline))))
		n, timeout = 1, &t
	}
	for {
		ready, err := unix.Ppoll(polls[:n], timeout, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return false, fmt.Errorf("wait for standard output: %w", err)
		case ready == 0:
			return false, errStalled
		default:
			return polls[0].Revents != 0, nil
		}
	}
}
