package cli

import (
	"bufio"
	"strings"
	"testing"

	"maas-netmon/internal/testenv"
)

// A message without room is dropped, the next one that has room reports their number, and a long
// message arrives complete.
func TestMessages(t *testing.T) {
	r, w := testenv.FullPipe(t)
	m := messages{fd: int(w.Fd())}
	for range 3 {
		if n, err := m.Write([]byte("gone\n")); n != 5 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if m.lost != 3 {
		t.Errorf("%d lost, want 3", m.lost)
	}
	long := strings.Repeat("x", 3*PipeBuf) + "\n"
	read := bufio.NewReader(r)
	for range 1 << 16 / PipeBuf {
		if _, err := read.Discard(PipeBuf); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = m.Write([]byte(long))
	_, _ = m.Write([]byte("last\n"))
	for _, want := range []string{"maas-netmon: 3 messages dropped: stderr reader stalled\n", long, "last\n"} {
		if got, err := read.ReadString('\n'); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}
