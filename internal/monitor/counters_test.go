package monitor

import (
	"testing"

	"maas-netmon/internal/control"
	"maas-netmon/privsep"
)

// A parser that does not answer is given up after a while; one that answers is not.
func TestBeat(t *testing.T) {
	const beats = int(silenceLimit / heartbeat)
	m := &monitor{pending: 0, heartbeat: heartbeat}
	for i := range beats {
		if err := m.beat(); (err != nil) != (i == beats-1) {
			t.Errorf("beat %d: %v", i, err)
		}
	}
	// Whoever asks for counters all the time (--stats-interval, SIGUSR1) has a question
	// open at each beat.
	m = &monitor{heartbeat: heartbeat, names: []string{"va"}, watched: []*watch{{name: "va"}}, counters: make([]control.Counters, 1), dropped: make([]loss, 1)}
	for range 2 * beats {
		m.pending = 0
		if err := m.beat(); err != nil {
			t.Fatal(err)
		}
		if err := m.answer(received{Message: privsep.Message{Type: privsep.Pong}}); err != nil {
			t.Fatal(err)
		}
	}
}
