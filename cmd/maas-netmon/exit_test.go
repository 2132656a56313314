package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExplain(t *testing.T) {
	base := errors.New("no such thing")
	for _, c := range []struct {
		name   string
		err    error
		status int
		want   string
	}{
		{"nothing", nil, 0, ""},
		{"plain", base, 1, "maas-netmon: no such thing\n"},
		{"usage", usageError(base), 2, "maas-netmon: no such thing\nmaas-netmon: hint: see maas-netmon --help\n"},
		{"wrapped", fmt.Errorf("eth0: %w", &failure{exitNotEthernet, base, "try another"}), 4,
			"maas-netmon: eth0: no such thing\nmaas-netmon: hint: try another\n"},
		{"confinement", unconfined(base), 5, "maas-netmon: no such thing\n"},
		{"said already", errSaid(5), 5, ""},
		{"several lines, escapes", errors.New("a\nb\x1b[31m\x00\u202e"), 1, "maas-netmon: a?b?[31m??\n"},
	} {
		var b writer
		if status := explain(&b, c.err); status != c.status || string(b) != c.want {
			t.Errorf("%s: exit status %d, %q, want %d, %q", c.name, status, b, c.status, c.want)
		}
	}
}

type writer []byte

func (w *writer) Write(b []byte) (int, error) { *w = append(*w, b...); return len(b), nil }

// However a parser ends, there is a word for it and a status.
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
		if status := explain(io.Discard, parserEnded(c.how, c.stopped, c.ended)); status != c.status {
			t.Errorf("%#x, stopped %v, ended %v: exit status %d, want %d", c.how, c.stopped, c.ended, status, c.status)
		}
	}
}

func TestCountersMessage(t *testing.T) {
	var want counters
	for i, p := range want.fields() {
		*p = uint64(i) + 1<<40
	}
	if got := countersOf(want.message(7)); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if m := want.message(7); m.Index != 7 {
		t.Errorf("index %d", m.Index)
	}
}

// A loss is said at once, then once a minute at the most, and nothing of it is forgotten.
func TestLoss(t *testing.T) {
	var log writer
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(old)
	var l loss
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
