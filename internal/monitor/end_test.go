package monitor

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/cli"
	"maas-netmon/privsep"
)

type writer []byte

func (w *writer) Write(b []byte) (int, error) { *w = append(*w, b...); return len(b), nil }

// For each way in which a parser can end, the program has an error and a status.
func TestParserEnded(t *testing.T) {
	exited := func(status int) unix.WaitStatus { return unix.WaitStatus(status << 8) }
	for _, c := range []struct {
		how            unix.WaitStatus
		stopped, ended bool
		status         int
	}{
		{exited(0), true, false, 0},
		{exited(0), false, false, 1},
		{exited(0), false, true, 0},
		{exited(1), true, false, 1},
		{exited(1), false, false, 1},
		{exited(1), false, true, 1},
		{exited(2), false, false, 1}, // a crash of the Go runtime
		{exited(2), true, false, 1},
		{exited(2), false, true, 2},
		{exited(3), false, false, 1},
		{exited(3), true, true, 3},
		{exited(4), false, true, 4},
		{exited(5), false, false, 5},
		{exited(5), false, true, 5},
		{exited(77), false, false, 1},
		{exited(77), false, true, 1},
		{unix.WaitStatus(unix.SIGSYS), false, false, 5},
		{unix.WaitStatus(unix.SIGSYS), true, false, 5},
		{unix.WaitStatus(unix.SIGSYS), false, true, 5},
		{unix.WaitStatus(unix.SIGKILL), false, true, 1},
		{unix.WaitStatus(unix.SIGSEGV), true, false, 1},
	} {
		if status := cli.PrintError(io.Discard, parserEnded(c.how, c.stopped || c.ended, c.ended)); status != c.status {
			t.Errorf("%#x, stopped %v, ended %v: exit status %d, want %d", c.how, c.stopped, c.ended, status, c.status)
		}
	}
}

// For any cause that ends the monitor, the parser does not continue without it. A parser that has
// exited, or is about to, is not killed at once: its exit status has the reason.
func TestParserIsKilled(t *testing.T) {
	for cause, want := range map[error]bool{
		io.EOF: false, unix.EPIPE: false, errStopped: true, unexpected(privsep.Message{}): true, errors.New("another"): true,
	} {
		p := &falseParser{}
		m := &monitor{phase: draining, child: p}
		_ = m.end(cause)
		if p.killed != want {
			t.Errorf("%v: killed at once: %v, want %v", cause, p.killed, want)
		}
	}
}

// A loss is logged at once, later ones at most once per minute, and none is forgotten.
func TestLossLog(t *testing.T) {
	var log writer
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(old)
	var l lossLog
	add := func(n uint64, want string) {
		t.Helper()
		log = nil
		l.add(n, "gone", "interface", "eth0")
		if got := string(log); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%d more: logged %q, want %q", n, got, want)
		}
	}
	add(0, "")
	add(3, "msg=gone interface=eth0 lost=3")
	add(5, "")
	add(2, "")
	l.last = l.last.Add(-complaintInterval)
	add(0, "msg=gone interface=eth0 lost=7")
	l.last = l.last.Add(-complaintInterval)
	add(0, "")
}
