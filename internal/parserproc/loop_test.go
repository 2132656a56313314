package parserproc

import (
	"testing"
	"time"

	"maas-netmon/capture"
	"maas-netmon/parser"
	"maas-netmon/tracker"
)

// again gives the same frame once per drain.
type again struct {
	frame capture.Frame
	given bool
}

func (a *again) Wait(bool, time.Duration) (capture.Wakeup, error) { return capture.Wakeup{}, nil }
func (a *again) Stats(int) (capture.Stats, error)                 { return capture.Stats{}, nil }
func (a *again) Next(f *capture.Frame) bool {
	*f, a.given = a.frame, !a.given
	return a.given
}

// An iteration of the loop that reads a known binding allocates nothing, so the parser of a busy
// network does not need the garbage collector.
func TestTurnAllocatesNothing(t *testing.T) {
	table, err := tracker.NewTable(tracker.Config{MaxBindings: 1 << 10, Refresh: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{
		source: &again{frame: capture.Frame{Seconds: 1795228118, Len: 42, Data: []byte{
			0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 2, 0x08, 0x06,
			0, 1, 0x08, 0, 6, 4, 0, parser.OperationRequest,
			0x02, 0, 0, 0, 0, 2, 192, 0, 2, 2, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1,
		}}},
		table:  table,
		out:    &output{fd: -1, buf: make([]byte, 0, flushLen), full: true},
		names:  []string{""},
		counts: make([]frameCounts, 1),
	}
	if n := testing.AllocsPerRun(100, func() {
		p.tick()
		if err := p.drain(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per turn", n)
	}
	if got := p.table.Stats(0).Bindings; got != 1 {
		t.Errorf("%d bindings, want 1", got)
	}
}
