package parserproc

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// newTestOutput returns an output that writes to a pipe, and the pipe's other end.
func newTestOutput(t *testing.T) (*output, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return newOutput(int(w.Fd())), r
}

// Lines are written in pieces that a pipe takes without blocking, and a piece consists of whole
// lines.
func TestFlush(t *testing.T) {
	o, r := newTestOutput(t)
	var want []byte
	for n := range 300 {
		want = append(want, bytes.Repeat([]byte{'a' + byte(n%26)}, n%300)...)
		want = append(want, '\n')
	}
	o.buf = append(o.buf, want...)
	if err := o.flush(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("what was read is not what was written, error %v", err)
	}
	if len(o.buf) != 0 || o.full {
		t.Errorf("%d bytes left, full %t", len(o.buf), o.full)
	}
}

func TestWholeLines(t *testing.T) {
	line := strings.Repeat("x", 99) + "\n"
	for _, c := range []struct {
		name string
		text string
		want int
	}{
		{"nothing", "", 0},
		{"fits", line, 100},
		{"fits exactly", strings.Repeat(line, 40) + strings.Repeat("y", 95) + "\n", 4096},
		{"whole lines", strings.Repeat(line, 50), 4000},
		{"a line that does not fit", strings.Repeat("x", 5000), 4096},
	} {
		if got := wholeLines([]byte(c.text), pipeBuf); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// fill writes to an output until it is full, and returns the bytes that the output took.
func fill(t *testing.T, o *output) []byte {
	t.Helper()
	var taken []byte
	line := []byte(strings.Repeat("x", 99) + "\n")
	done := make(chan error, 1)
	go func() {
		for !o.full {
			o.buf = append(o.buf, line...)
			taken = append(taken, line...)
			if err := o.flush(); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a write blocks")
	}
	return taken
}

// No write blocks, for any type of standard output, even without O_NONBLOCK: the rest stays in the
// buffer, and is written when there is room again.
func TestFlushNeverBlocks(t *testing.T) {
	pair := func(kind int) func() (int, int, error) {
		return func() (int, int, error) {
			fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
			return fds[0], fds[1], err
		}
	}
	for name, open := range map[string]func() (w, r int, err error){
		"pipe": func() (int, int, error) {
			var fds [2]int
			err := unix.Pipe2(fds[:], unix.O_CLOEXEC)
			return fds[1], fds[0], err
		},
		"stream socket":    pair(unix.SOCK_STREAM),
		"seqpacket socket": pair(unix.SOCK_SEQPACKET),
		"small socket": func() (int, int, error) {
			w, r, err := pair(unix.SOCK_STREAM)()
			if err == nil {
				err = unix.SetsockoptInt(w, unix.SOL_SOCKET, unix.SO_SNDBUF, 0)
			}
			return w, r, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, r, err := open()
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(w)
			defer unix.Close(r)
			o := newOutput(w)
			want := fill(t, o)
			if len(o.buf) == 0 {
				t.Error("full, but nothing is left")
			}
			var got []byte
			b := make([]byte, 1<<20)
			for len(got) < len(want) {
				n, err := unix.Read(r, b)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, b[:n]...)
				o.full = false
				if err := o.flush(); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, want) {
				t.Error("what was read is not what was written")
			}
		})
	}
}

func TestFlushBroken(t *testing.T) {
	o, r := newTestOutput(t)
	r.Close()
	o.buf = append(o.buf, "line\n"...)
	if err := o.flush(); !errors.Is(err, unix.EPIPE) {
		t.Errorf("got %v, want EPIPE", err)
	}
}

// A write that finds no room is no error: another process that has the same pipe open can have
// filled it after isWritable.
func TestFlushNoRoom(t *testing.T) {
	r, w := testenv.FullPipe(t)
	defer r.Close()
	if err := unix.SetNonblock(int(w.Fd()), true); err != nil {
		t.Fatal(err)
	}
	o := newOutput(int(w.Fd()))
	o.chunk = 0 // does not ask
	o.buf = append(o.buf, "line\n"...)
	if err := o.flush(); err != nil || !o.full || string(o.buf) != "line\n" {
		t.Errorf("%v, full %t, %q is left", err, o.full, o.buf)
	}
}
