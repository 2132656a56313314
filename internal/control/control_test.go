package control

import "testing"

func TestCountersMessage(t *testing.T) {
	var want Counters
	for i, p := range want.Fields() {
		*p = uint64(i) + 1<<40
	}
	if got := CountersOf(want.Message(7)); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if m := want.Message(7); m.Index != 7 {
		t.Errorf("index %d", m.Index)
	}
}
