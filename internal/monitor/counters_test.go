package monitor

import (
	"testing"

	"maas-netmon/privsep"
)

// A parser that leaves a question unanswered is given up after a while; one that answers is not.
func TestHeartbeat(t *testing.T) {
	const beats = int(silenceLimit / heartbeat)
	m := &monitor{phase: running, heartbeat: heartbeat, round: round{inFlight: true}}
	for i := range beats {
		if err := m.onHeartbeat(); (err != nil) != (i == beats-1) {
			t.Errorf("heartbeat %d: %v", i, err)
		}
	}
	// With --stats-interval or SIGUSR1 a question may be open at each heartbeat.
	m = &monitor{phase: running, heartbeat: heartbeat, ifaces: []*iface{{name: "va"}}}
	for range 2 * beats {
		m.round.inFlight = true
		if err := m.onHeartbeat(); err != nil {
			t.Fatal(err)
		}
		if err := m.handleMessage(received{Message: privsep.Message{Type: privsep.Pong}}); err != nil {
			t.Fatal(err)
		}
	}
}
