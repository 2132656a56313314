package parserproc

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"maas-netmon/internal/cli"

	"golang.org/x/sys/unix"
)

// newTestOutput returns an output that writes to a pipe, the pipe's other end, and
// the other end of control.
func newTestOutput(t *testing.T) (*output, *os.File, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	control, controlPeer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range []*os.File{r, w, control, controlPeer} {
			f.Close()
		}
	})
	o := newOutput(int(w.Fd()), int(control.Fd()))
	o.onControl = func() error { return errors.New("control is readable") }
	return o, r, controlPeer
}

// A drain's lines go out in pieces that a pipe takes without making the writer wait, and
// whole as long as a line fits into a piece.
func TestFlush(t *testing.T) {
	o, r, _ := newTestOutput(t)
	var want []byte
	for n := range 3000 {
		want = append(want, bytes.Repeat([]byte{'a' + byte(n%26)}, n%300)...)
		want = append(want, '\n')
	}
	o.buf = append(o.buf, want...)
	got := make(chan []byte)
	go func() {
		b := make([]byte, len(want))
		_, _ = io.ReadFull(r, b)
		got <- b
	}()
	if err := o.flush(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(<-got, want) {
		t.Error("what was read is not what was written")
	}
	if len(o.buf) != 0 {
		t.Errorf("%d bytes left", len(o.buf))
	}
}

func TestChunk(t *testing.T) {
	line := strings.Repeat("x", 99) + "\n"
	for _, c := range []struct {
		name string
		text string
		want int
	}{
		{"nothing", "", 0},
		{"fits", line, 100},
		{"fits just so", strings.Repeat(line, 40) + strings.Repeat("y", 95) + "\n", 4096},
		{"whole lines", strings.Repeat(line, 50), 4000},
		{"a line that does not fit", strings.Repeat("x", 5000), 4096},
	} {
		if got := chunk([]byte(c.text)); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// A reader that does not read makes flush wait, but not deaf: control is served. Told
// to hurry, it gives up.
func TestFlushStalls(t *testing.T) {
	o, _, control := newTestOutput(t)
	fill := bytes.Repeat([]byte("x\n"), 2048)
	served := 0
	o.onControl = func() error {
		served++
		o.hurry = true
		return nil
	}
	if _, err := control.Write([]byte("!")); err != nil {
		t.Fatal(err)
	}
	var err error
	for n := 0; n < 1000 && err == nil; n++ { // more than any pipe holds
		o.buf = append(o.buf, fill...)
		err = o.flush()
	}
	if err != errStalled {
		t.Errorf("got %v, want errStalled", err)
	}
	if served != 1 {
		t.Errorf("control served %d times", served)
	}
}

func TestFlushBroken(t *testing.T) {
	o, r, _ := newTestOutput(t)
	r.Close()
	o.buf = append(o.buf, "line\n"...)
	if err := o.flush(); !errors.Is(err, unix.EPIPE) || cli.PrintError(io.Discard, err) != cli.ExitFailure {
		t.Errorf("got %v, want EPIPE", err)
	}
}
