package monitor

import (
	"testing"
	"time"
)

const interfaces = 3

// say makes the parser answer about an interface, if that question is open.
func say(r *round, index int) (complete, ok bool) {
	if !r.asks(index) {
		return false, false
	}
	return r.answer(interfaces), true
}

// silence lets ticks pass until the parser counts as silent, and returns the time since the
// last complete round.
func silence(t *testing.T, r *round, heartbeat time.Duration, each func()) time.Duration {
	t.Helper()
	var passed time.Duration
	for range 10000 {
		passed += r.wait(heartbeat)
		if _, late := r.tick(heartbeat); late {
			return passed
		}
		each()
	}
	t.Fatal("never too late")
	return 0
}

// A parser that never completes a round counts as silent after 40 s.
func TestSilence(t *testing.T) {
	const want = 40 * time.Second
	for _, c := range []struct {
		name string
		do   func(*round)
	}{
		{"nothing", func(*round) {}},
		{"does not read", func(r *round) { r.unsent = true }},
		{"answers the first question only", func(r *round) { say(r, 0) }},
		{"answers all but the last question", func(r *round) { say(r, r.next%(interfaces-1)) }},
		{"answers another question", func(r *round) { say(r, r.next+1) }},
		{"answers what it has not read", func(r *round) { r.unsent = true; say(r, 0); say(r, 1); say(r, 2) }},
	} {
		for _, beat := range []time.Duration{heartbeat, 15 * time.Second, 50 * time.Millisecond} {
			for _, asked := range []bool{false, true} { // a round was under way
				r := &round{}
				if asked {
					r.begin()
				}
				if got := silence(t, r, beat, func() { c.do(r) }); got != want {
					t.Errorf("%s: silent after %v, want %v", c.name, got, want)
				}
			}
		}
	}
}

// A parser that answers in time never counts as silent, for any source and delay of the questions.
func TestAnswers(t *testing.T) {
	for _, missed := range []int{0, 1, 2} {
		r := &round{}
		for range 10 {
			for range missed {
				if _, late := r.tick(heartbeat); late {
					t.Fatal("too late")
				}
			}
			r.begin()
			for i := range interfaces {
				if complete, ok := say(r, i); complete != (i == interfaces-1) || !ok {
					t.Fatalf("answer %d: complete %v, wanted %v", i, complete, ok)
				}
			}
			if r.wait(heartbeat) != heartbeat {
				t.Fatal("a complete round does not reset the clock")
			}
		}
	}
}

// If both processes are stopped for a long time just after a question, one tick passes, and the
// parser has time left.
func TestStoppedTogether(t *testing.T) {
	r := &round{}
	r.tick(heartbeat)
	if _, late := r.tick(heartbeat); late {
		t.Error("too late")
	}
	if r.wait(heartbeat) < time.Second {
		t.Error("there is no time to answer")
	}
	if _, ok := say(r, 0); !ok {
		t.Error("the answer is refused")
	}
}

// A question that could not be sent is sent again.
func TestUnsent(t *testing.T) {
	r := &round{}
	if !r.begin() || r.begin() {
		t.Fatal("one question at a time")
	}
	if ask, _ := r.tick(heartbeat); ask {
		t.Error("a question is sent twice")
	}
	r.unsent = true
	if ask, _ := r.tick(heartbeat); !ask {
		t.Error("a question is lost")
	}
}
