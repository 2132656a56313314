package privsep

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// soon is the timeout of a Receive that should find a message, or find none at once.
const (
	soon = 5 * time.Second
	now  = 0
)

func newPair(t *testing.T) (a, b *Conn) {
	t.Helper()
	a, b, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Close()
		b.Close()
	})
	return a, b
}

// pipe returns a descriptor to pass and its other end.
func pipe(t *testing.T) (r, w int) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(p[0])
		unix.Close(p[1])
	})
	return p[0], p[1]
}

func TestConn(t *testing.T) {
	a, b := newPair(t)
	want := Message{Type: Pong, Index: 7, Values: [NumValues]uint64{1, 2, 3}}
	if err := a.Send(want); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Receive(soon); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := b.Receive(now); !errors.Is(err, ErrTimeout) {
		t.Errorf("nothing sent: got %v, want ErrTimeout", err)
	}
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Receive(soon); err != io.EOF {
		t.Errorf("after CloseWrite: got %v, want EOF", err)
	}
	if err := b.Send(want); err != nil {
		t.Errorf("the other direction after CloseWrite: %v", err)
	}
	if got, err := a.Receive(soon); err != nil || got != want {
		t.Errorf("the other direction after CloseWrite: got %+v, %v", got, err)
	}
}

func TestConnPassesOneDescriptor(t *testing.T) {
	a, b := newPair(t)
	r, w := pipe(t)
	want := Message{Type: Socket, Index: 1}
	if err := a.SendFD(want, w, soon); err != nil {
		t.Fatal(err)
	}
	got, fd, err := b.ReceiveFD(soon)
	if err != nil || got != want {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
	defer unix.Close(fd)
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags are %#x, %v: not close-on-exec", flags, err)
	}
	if _, err := unix.Write(fd, []byte("x")); err != nil {
		t.Error(err)
	}
	buf := make([]byte, 2)
	if n, err := unix.Read(r, buf); n != 1 || err != nil || buf[0] != 'x' {
		t.Errorf("through the passed descriptor: %d, %v, %q", n, err, buf)
	}
}

// openDescriptors returns the number of open descriptors.
func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestReceiveRefuses(t *testing.T) {
	good := (&Message{Type: Pong}).Encode()
	r, w := pipe(t)
	for _, c := range []struct {
		name    string
		bytes   []byte
		control []byte
	}{
		{"short", good[:len(good)-1], nil},
		{"empty", nil, nil},
		{"long", append(append([]byte(nil), good...), 0), nil},
		{"very long", make([]byte, 64<<10), nil},
		{"garbage", make([]byte, MessageLen), nil},
		{"unexpected descriptor", good, unix.UnixRights(w)},
		{"unexpected descriptors", good, unix.UnixRights(r, w)},
		{"credentials", good, unix.UnixCredentials(&unix.Ucred{
			Pid: int32(os.Getpid()), Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())})},
	} {
		t.Run(c.name, func(t *testing.T) {
			monitor, parser := newPair(t)
			for _, way := range []struct{ from, to *Conn }{{parser, monitor}, {monitor, parser}} {
				// A peer can send this without our Send.
				if err := unix.SetsockoptInt(way.to.fd, unix.SOL_SOCKET, unix.SO_PASSCRED, btoi(c.name == "credentials")); err != nil {
					t.Fatal(err)
				}
				before := openDescriptors(t)
				if err := unix.Sendmsg(way.from.fd, c.bytes, c.control, nil, 0); err != nil {
					t.Fatal(err)
				}
				m, err := way.to.Receive(soon)
				// The parser's end never receives control data.
				refused := !way.to.parser || c.control == nil
				if errors.Is(err, ErrMessage) != refused || (m == Message{}) != refused {
					t.Errorf("parser %v: got %+v, %v, want refused: %v", way.to.parser, m, err, refused)
				}
				if after := openDescriptors(t); after != before {
					t.Errorf("parser %v: %d descriptors before, %d after", way.to.parser, before, after)
				}
			}
		})
	}
}

func TestReceiveFDRefuses(t *testing.T) {
	good := (&Message{Type: Socket}).Encode()
	r, w := pipe(t)
	for _, c := range []struct {
		name    string
		bytes   []byte
		control []byte
	}{
		{"no descriptor", good, nil},
		{"two descriptors", good, unix.UnixRights(r, w)},
		{"many descriptors", good, unix.UnixRights(r, w, r, w, r, w)},
		{"short", good[:8], unix.UnixRights(w)},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := newPair(t)
			if err := unix.Sendmsg(a.fd, c.bytes, c.control, nil, 0); err != nil {
				t.Fatal(err)
			}
			m, fd, err := b.ReceiveFD(soon)
			if !errors.Is(err, ErrMessage) || m != (Message{}) || fd != -1 {
				t.Errorf("got %+v, %d, %v, want ErrMessage", m, fd, err)
			}
		})
	}
}

// A peer that does not read cannot block the other.
func TestSendDoesNotBlock(t *testing.T) {
	a, b := newPair(t)
	const most = 1 << 20
	sent := 0
	var err error
	for ; sent < most && err == nil; sent++ {
		err = a.Send(Message{Type: Pong})
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatalf("after %d messages: got %v, want EAGAIN", sent, err)
	}
	if _, err := b.Receive(soon); err != nil {
		t.Errorf("after the flood: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b.fd = -1
	if err := a.Send(Message{Type: Pong}); !errors.Is(err, unix.EPIPE) {
		t.Errorf("to a peer that is gone: got %v, want EPIPE", err)
	}
	if _, err := a.Receive(soon); err != io.EOF {
		t.Errorf("from a peer that is gone: got %v, want EOF", err)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
