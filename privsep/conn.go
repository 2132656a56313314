package privsep

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrTimeout is returned by Receive if no message came in time.
var ErrTimeout = errors.New("no message in time")

// A Conn is one end of the socket pair between monitor and parser. It is SOCK_SEQPACKET (unix(7)),
// so that a message arrives complete or not at all, and non-blocking, so that a peer that does not
// read cannot block the other. One goroutine may send while another one receives.
type Conn struct {
	fd     int
	parser bool // the parser's end
}

// pair returns two connected ends, both close-on-exec.
func pair() (a, b *Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	return &Conn{fd: fds[0]}, &Conn{fd: fds[1], parser: true}, nil
}

// ErrNotStarted is returned by Inherit when the process was not started by [Launch].
var ErrNotStarted = errors.New("the parser is started by the program itself, not by hand")

// Inherit returns the parser's end of the pair. It fails with [ErrNotStarted] unless descriptor 3
// is such a socket, created by the present parent process.
func Inherit() (*Conn, error) {
	kind, err := unix.GetsockoptInt(controlFD, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET {
		return nil, ErrNotStarted
	}
	c := &Conn{controlFD, true}
	return c, c.checkPeer()
}

// checkPeer fails unless the present parent process created the socket pair. After the death of the
// parent, the process that adopts this one is the parent. A socket of another family than Unix has
// no peer process.
func (c *Conn) checkPeer() error {
	peer, err := unix.GetsockoptUcred(c.fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || int(peer.Pid) != os.Getppid() {
		return ErrNotStarted
	}
	return nil
}

// FD returns the descriptor, for poll(2) and for the sandbox's list of allowed descriptors.
func (c *Conn) FD() int { return c.fd }

// Send sends a message without blocking. It returns [unix.EAGAIN] if the buffer is full, and
// [unix.EPIPE] if the peer is gone.
func (c *Conn) Send(m Message) error {
	_, err := unix.Write(c.fd, m.Encode())
	if err == unix.ECONNRESET {
		err = unix.EPIPE // reported once if the peer left messages unread
	}
	if err != nil {
		return fmt.Errorf("send %v: %w", m.Type, err)
	}
	return nil
}

// SendFD sends a message with a descriptor; the peer receives its own descriptor of the same open
// file. It waits at most timeout for room, because the buffer holds fewer messages than there can
// be sockets.
func (c *Conn) SendFD(m Message, fd int, timeout time.Duration) error {
	err := c.wait(unix.POLLOUT, timeout)
	if err == nil {
		err = unix.Sendmsg(c.fd, m.Encode(), unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL)
	}
	if err != nil {
		return fmt.Errorf("send %v with descriptor: %w", m.Type, err)
	}
	return nil
}

// Receive waits at most timeout for the next message, which must not carry a descriptor. A negative
// timeout means no limit. Receive returns [io.EOF] if the peer has closed its end, an error that
// wraps [ErrMessage] for a malformed message, and [ErrTimeout] if no message came in time.
func (c *Conn) Receive(timeout time.Duration) (Message, error) {
	for {
		m, err := c.receive(timeout)
		// Without a limit, ErrTimeout is a spurious wake-up.
		if err != ErrTimeout || timeout >= 0 {
			return m, err
		}
	}
}

func (c *Conn) receive(timeout time.Duration) (Message, error) {
	if err := c.wait(unix.POLLIN, timeout); err != nil {
		return Message{}, err
	}
	if c.parser {
		// The parser may not call recvmsg(2) while it reads frames. With read(2) the kernel
		// discards a descriptor without notice. That is acceptable: the parser trusts the monitor.
		var buf [MessageLen + 1]byte
		n, err := unix.Read(c.fd, buf[:])
		return c.decode(buf[:max(n, 0)], err)
	}
	// No room for control data: the kernel then discards descriptors that the peer may have sent,
	// and reports that as MSG_CTRUNC. So a compromised parser cannot pass a descriptor to the
	// monitor.
	return c.recvmsg(nil)
}

// ReceiveFD receives a message that must carry exactly one descriptor. It returns the descriptor,
// with close-on-exec set.
func (c *Conn) ReceiveFD(timeout time.Duration) (Message, int, error) {
	if err := c.wait(unix.POLLIN, timeout); err != nil {
		return Message{}, -1, err
	}
	control := make([]byte, unix.CmsgLen(4)) // room for one descriptor, not for two
	m, err := c.recvmsg(control)
	if err != nil {
		return Message{}, -1, err
	}
	header, data, _, err := unix.ParseOneSocketControlMessage(control)
	var fds []int
	if err == nil {
		fds, err = unix.ParseUnixRights(&unix.SocketControlMessage{Header: header, Data: data})
	}
	if err != nil || len(fds) != 1 {
		return Message{}, -1, fmt.Errorf("%w: no descriptor with %v", ErrMessage, m.Type)
	}
	return m, fds[0], nil
}

// recvmsg receives a queued message. Control data for which there is no room is an error.
func (c *Conn) recvmsg(control []byte) (Message, error) {
	var buf [MessageLen + 1]byte
	n, _, flags, _, err := unix.Recvmsg(c.fd, buf[:], control, unix.MSG_CMSG_CLOEXEC)
	if err == nil && flags&unix.MSG_CTRUNC != 0 {
		if control != nil {
			return Message{}, fmt.Errorf("%w: a descriptor too many, or one that a security module refuses", ErrMessage)
		}
		return Message{}, fmt.Errorf("%w: an unexpected descriptor", ErrMessage)
	}
	return c.decode(buf[:max(n, 0)], err)
}

// decode converts the result of a system call to a message or an error. The buffer of b is one byte
// longer than a message, so that a longer message is detected.
func (c *Conn) decode(b []byte, err error) (Message, error) {
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return Message{}, ErrTimeout
	case err == unix.ECONNRESET:
		return Message{}, io.EOF // the peer closed its end with unread messages
	case err != nil:
		return Message{}, fmt.Errorf("receive: %w", err)
	case len(b) == 0 && c.ended():
		return Message{}, io.EOF
	}
	return Decode(b)
}

// ended reports whether the peer has closed its end for writing. Without it, an empty message would
// look like the end of file.
func (c *Conn) ended() bool {
	polls := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLRDHUP}}
	n, err := unix.Ppoll(polls, &unix.Timespec{}, nil)
	for err == unix.EINTR {
		n, err = unix.Ppoll(polls, &unix.Timespec{}, nil)
	}
	return n > 0
}

// wait waits until one of the events occurs. A negative timeout means no limit.
func (c *Conn) wait(events int16, timeout time.Duration) error {
	var deadline time.Time
	if timeout >= 0 {
		deadline = time.Now().Add(timeout)
	}
	for {
		var limit *unix.Timespec
		if timeout >= 0 {
			t := unix.NsecToTimespec(int64(max(0, time.Until(deadline))))
			limit = &t
		}
		n, err := unix.Ppoll([]unix.PollFd{{Fd: int32(c.fd), Events: events}}, limit, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("wait for control socket: %w", err)
		case n == 0:
			return ErrTimeout
		default:
			return nil
		}
	}
}

// CloseWrite closes this end for writing: the peer's Receive returns [io.EOF] after all messages
// that were sent before.
func (c *Conn) CloseWrite() error {
	return os.NewSyscallError("shutdown", unix.Shutdown(c.fd, unix.SHUT_WR))
}

// Close closes this end.
func (c *Conn) Close() error { return os.NewSyscallError("close", unix.Close(c.fd)) }
