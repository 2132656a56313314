package linkmon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// listAttempts is the number of requests to the kernel before List returns an incomplete
	// answer.
	listAttempts = 8
	// datagramBuffer is the initial size of the buffer for one datagram. The kernel fills up to
	// 32 KiB (netlink_dump in net/netlink/af_netlink.c).
	datagramBuffer = 32 << 10
)

// A Lister reads the state of all interfaces of the network namespace it was opened in. It has a
// socket of its own, which receives no change, so nothing can fill its queue. The Go netpoller
// does not know the socket: a listing wakes no thread. Safe for concurrent use.
type Lister struct {
	mu       sync.Mutex
	fd       int
	sequence uint32
	buffer   []byte
}

// OpenLister opens the socket. It needs no privilege.
func OpenLister() (*Lister, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	return &Lister{fd: fd, buffer: make([]byte, datagramBuffer)}, nil
}

// FD returns the socket's descriptor, valid until Close. List calls sendmsg(2) and recvmsg(2).
func (l *Lister) FD() int { return l.fd }

// Close closes the socket.
func (l *Lister) Close() error { return os.NewSyscallError("close", unix.Close(l.fd)) }

// ErrList means that the kernel gave no list of the interfaces.
var ErrList = errors.New("list interfaces")

// List returns all interfaces. It does not block. The answer is not Complete if interfaces were
// added and deleted during each attempt. An error is [ErrList], with the kernel's error.
func (l *Lister) List() (Update, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u, err := complete(l.attempt)
	if err != nil {
		return Update{}, fmt.Errorf("%w: %w", ErrList, err)
	}
	return u, nil
}

// complete makes attempts until an answer is complete. If none is, it returns the last
// interrupted one, or the last error.
func complete(attempt func() answer) (Update, error) {
	var last answer
	for range listAttempts {
		a := attempt()
		switch {
		case a.err == nil && !a.interrupted:
			return Update{a.links, true}, nil
		case a.err != nil && !transient(a.err):
			return Update{}, a.err
		case a.err == nil || last.links == nil && !last.done:
			last = a
		}
	}
	return Update{Links: last.links}, last.err
}

// transient reports whether an error of the kernel is worth another attempt: an earlier answer was
// not read to its end (EBUSY), or memory was short temporarily.
func transient(err error) bool {
	for _, e := range []error{unix.EBUSY, unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN, unix.EINTR, errTooLong} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// errTooLong means that the buffer was too small for a message; it has grown.
var errTooLong = errors.New("message longer than the buffer")

// drain discards the rest of an earlier answer. Receiving also makes the kernel finish it.
func (l *Lister) drain() error {
	for {
		_, err := receive(l.fd, &l.buffer)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil && !transient(err):
			return err
		}
	}
}

// attempt discards the rest of an earlier answer, then asks once.
func (l *Lister) attempt() answer {
	if err := l.drain(); err != nil {
		return answer{err: err}
	}
	return l.ask()
}

// ask requests the state of all interfaces (RTM_GETLINK, NLM_F_DUMP) and reads the answer. The
// kernel queues the first part of the answer before sendmsg(2) returns, and each next part
// before recvmsg(2) returns the one before it. So EAGAIN means that it stopped.
func (l *Lister) ask() answer {
	l.sequence++
	if err := unix.Sendmsg(l.fd, listRequest(l.sequence), nil, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}, 0); err != nil {
		return answer{err: err}
	}
	a := answer{sequence: l.sequence}
	for !a.done {
		messages, err := receive(l.fd, &l.buffer)
		if err != nil {
			a.err = err
			break
		}
		a.add(messages)
	}
	return a
}

// receive reads the messages of one datagram from a socket that does not block. They are valid
// until the buffer is used again.
func receive(fd int, buffer *[]byte) ([]netlink.Message, error) {
	n, _, _, _, err := unix.Recvmsg(fd, *buffer, nil, unix.MSG_TRUNC)
	if err != nil {
		return nil, err
	}
	if n > len(*buffer) {
		*buffer = make([]byte, n)
		return nil, errTooLong
	}
	raw, err := syscall.ParseNetlinkMessage((*buffer)[:n])
	if err != nil {
		return nil, err
	}
	messages := make([]netlink.Message, len(raw))
	for i, m := range raw {
		messages[i] = netlink.Message{Data: m.Data, Header: netlink.Header{
			Length: m.Header.Len, Type: netlink.HeaderType(m.Header.Type), Flags: netlink.HeaderFlags(m.Header.Flags),
			Sequence: m.Header.Seq, PID: m.Header.Pid,
		}}
	}
	return messages, nil
}

// listRequest is a request for all interfaces, without their statistics: struct nlmsghdr, struct
// ifinfomsg, and IFLA_EXT_MASK with RTEXT_FILTER_SKIP_STATS (include/uapi/linux/rtnetlink.h).
func listRequest(sequence uint32) []byte {
	const skipStats = 1 << 3
	const length = unix.SizeofNlMsghdr + unix.SizeofIfInfomsg + unix.SizeofNlAttr + 4
	b := binary.NativeEndian.AppendUint32(nil, length)
	b = binary.NativeEndian.AppendUint16(b, unix.RTM_GETLINK)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b = binary.NativeEndian.AppendUint32(b, sequence)
	b = append(b, make([]byte, 4+unix.SizeofIfInfomsg)...) // port ID 0; any family, any index
	b = binary.NativeEndian.AppendUint16(b, unix.SizeofNlAttr+4)
	b = binary.NativeEndian.AppendUint16(b, unix.IFLA_EXT_MASK)
	return binary.NativeEndian.AppendUint32(b, skipStats)
}

// An answer collects the parts of the kernel's answer to one request.
type answer struct {
	sequence    uint32 // of the request
	links       []Link
	interrupted bool // interfaces were added or deleted meanwhile (NLM_F_DUMP_INTR)
	done        bool
	err         error
}

// add adds messages up to the end of the answer, and ignores those that answer another request.
func (a *answer) add(messages []netlink.Message) {
	for _, m := range messages {
		if m.Header.Sequence != a.sequence || a.done {
			continue
		}
		a.interrupted = a.interrupted || m.Header.Flags&netlink.DumpInterrupted != 0
		switch m.Header.Type {
		case netlink.Done, netlink.Error:
			// Both begin with a negative error number, or 0 (struct nlmsgerr).
			a.done = true
			if len(m.Data) < 4 {
				a.err = fmt.Errorf("rtnetlink message of %d bytes, want at least 4", len(m.Data))
			} else if number := int32(binary.NativeEndian.Uint32(m.Data)); number != 0 {
				a.err = syscall.Errno(-number)
			}
		default:
			links, err := Decode([]netlink.Message{m})
			if err != nil {
				a.done, a.err = true, err
			}
			a.links = append(a.links, links...)
		}
	}
}
