package privsep

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrTimeout is returned by Receive when nothing came in time.
var ErrTimeout = errors.New("no message in time")

// A Conn is one end of the socket pair between monitor and parser: SOCK_SEQPACKET
// (unix(7)), so that a message arrives whole or not at all, non-blocking, so that a
// peer that does not read cannot stop the other. One goroutine may send while another
// receives.
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

// Inherit returns the parser's end of the pair. It fails with [ErrNotStarted] unless
// descriptor 3 is such a socket, made by the process that is our parent now.
func Inherit() (*Conn, error) {
	kind, err := unix.GetsockoptInt(controlFD, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET {
		return nil, ErrNotStarted
	}
	c := &Conn{controlFD, true}
	return c, c.checkPeer()
}

// checkPeer fails unless the socket pair was made by the process that is our parent now. A socket
// of another family than Unix has no peer process.
func (c *Conn) checkPeer() error {
	peer, err := unix.GetsockoptUcred(c.fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || int(peer.Pid) != os.Getppid() {
		return ErrNotStarted
	}
	return nil
}

// FD returns the descriptor, for poll(2) and for a list of what is allowed.
func (c *Conn) FD() int { return c.fd }

// Send sends a message without blocking. A full buffer gives [unix.EAGAIN], a peer
// that is gone [unix.EPIPE].
func (c *Conn) Send(m Message) error {
	_, err := unix.Write(c.fd, m.Encode())
	if err == unix.ECONNRESET {
		err = unix.EPIPE // told once, where the peer left something unread
	}
	if err != nil {
		return fmt.Errorf("send %v: %w", m.Type, err)
	}
	return nil
}

// SendFD is Send for a message that carries a descriptor; the peer gets one of its own
// for the same open file. It waits at most timeout for room: the buffer holds fewer messages
// than there can be sockets.
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

// Receive waits at most timeout, or for ever when it is negative, for the next
// message, which must not carry a descriptor. The peer's end gives [io.EOF], a
// malformed message an error that wraps [ErrMessage], nothing in time [ErrTimeout].
func (c *Conn) Receive(timeout time.Duration) (Message, error) {
	for {
		m, err := c.receive(timeout)
		// Woken for nothing.
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
		// The parser may not call recvmsg(2) once it reads frames. With read(2) the
		// kernel discards a descriptor, and nobody is told: the monitor is trusted.
		var buf [MessageLen + 1]byte
		n, err := unix.Read(c.fd, buf[:])
		return c.decode(buf[:max(n, 0)], err)
	}
	// No room for control data: the kernel itself then discards descriptors that the
	// peer may have sent, and says so with MSG_CTRUNC.
	return c.recvmsg(nil)
}

// ReceiveFD is Receive for a message that must carry exactly one descriptor, which
// it returns close-on-exec.
func (c *Conn) ReceiveFD(timeout time.Duration) (Message, int, error) {
	if err := c.wait(unix.POLLIN, timeout); err != nil {
		return Message{}, -1, err
	}
	control := make([]byte, unix.CmsgLen(4)) // room for one, not for two
	m, err := c.recvmsg(control)
	if err != nil {
		return Message{}, -1, err
	}
	header, data, _, err := unix.ParseOneSocketControlMessage(control)
	if err != nil || header.Level != unix.SOL_SOCKET || header.Type != unix.SCM_RIGHTS {
		return Message{}, -1, fmt.Errorf("%w: no descriptor with %v", ErrMessage, m.Type)
	}
	fds, err := unix.ParseUnixRights(&unix.SocketControlMessage{Header: header, Data: data})
	if err != nil || len(fds) != 1 {
		return Message{}, -1, fmt.Errorf("%w: want one descriptor with %v", ErrMessage, m.Type)
	}
	return m, fds[0], nil
}

// recvmsg receives a message that is there. It fills control completely or not at all.
func (c *Conn) recvmsg(control []byte) (Message, error) {
	var buf [MessageLen + 1]byte
	n, controlLen, flags, _, err := unix.Recvmsg(c.fd, buf[:], control, unix.MSG_CMSG_CLOEXEC)
	if err == nil && flags&unix.MSG_CTRUNC != 0 {
		if control != nil {
			return Message{}, fmt.Errorf("%w: a descriptor too many, or one that a security module refuses", ErrMessage)
		}
		return Message{}, fmt.Errorf("%w: an unexpected descriptor", ErrMessage)
	}
	m, err := c.decode(buf[:max(n, 0)], err)
	if err == nil && controlLen != len(control) {
		return Message{}, fmt.Errorf("%w: %d bytes of control data, want %d", ErrMessage, controlLen, len(control))
	}
	return m, err
}

// decode makes a message of what a system call gave, or an error of its error. b has
// room for one byte more than a message, so that a longer one is seen to be longer.
func (c *Conn) decode(b []byte, err error) (Message, error) {
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return Message{}, ErrTimeout
	case err == unix.ECONNRESET:
		return Message{}, io.EOF // the peer went without reading all of ours
	case err != nil:
		return Message{}, fmt.Errorf("receive: %w", err)
	case len(b) == 0 && c.ended():
		return Message{}, io.EOF
	}
	return Decode(b)
}

// ended reports whether the peer will send nothing more. A message of no byte reads like
// the end.
func (c *Conn) ended() bool {
	polls := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLRDHUP}}
	n, err := unix.Ppoll(polls, &unix.Timespec{}, nil)
	for err == unix.EINTR {
		n, err = unix.Ppoll(polls, &unix.Timespec{}, nil)
	}
	return n > 0
}

// wait waits until there is something to receive. A negative timeout waits for ever.
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

// CloseWrite tells the peer that nothing more will come: its Receive gives [io.EOF]
// when it has read what was sent before.
func (c *Conn) CloseWrite() error {
	return os.NewSyscallError("shutdown", unix.Shutdown(c.fd, unix.SHUT_WR))
}

// Close closes this end.
func (c *Conn) Close() error { return os.NewSyscallError("close", unix.Close(c.fd)) }
