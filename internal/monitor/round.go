package monitor

import "time"

const (
	// heartbeat is the time from a complete round to the next one, unless the service manager
	// requires a shorter time. Each heartbeat costs some 16 wake-ups, including those of the Go
	// runtime.
	heartbeat = 20 * time.Second
	// silenceLimit is the time after a complete round at which the parser is killed if no other
	// round is complete.
	silenceLimit = 2 * heartbeat
	// lookInterval is the longest time between two checks for an answer. One check at the end is
	// not enough: if both processes were stopped after the question, the whole time can pass while
	// the parser could not run.
	lookInterval = heartbeat / 2
)

// A round asks for the counters of each interface in turn. The next question follows the answer to
// the previous one, so that neither process can fill the other's socket. Only a complete round
// proves that the parser works: a parser that answers only some questions, or does not read them,
// counts as silent.
//
// A round has no clock and does no I/O, so that it can be tested without either: the monitor sends
// the open question, and calls the methods for answers and for elapsed time.
type round struct {
	open   bool          // a question waits for its answer
	next   int           // the interface of the open question
	unsent bool          // the question could not be sent: the parser does not read
	silent time.Duration // time that the monitor has waited since the last complete round
	log    bool          // log the counters at the end of the round
}

// begin begins a round, and reports whether its first question has to be sent. It does nothing if a
// question is open.
func (r *round) begin() bool {
	if r.open {
		return false
	}
	r.open, r.next = true, 0
	return true
}

// asks reports whether the question about this interface is open and was sent.
func (r *round) asks(index int) bool { return r.open && !r.unsent && r.next == index }

// answer records the answer to the open question. It reports whether the round is complete;
// otherwise the next question has to be sent.
func (r *round) answer(interfaces int) (complete bool) {
	if r.next++; r.next < interfaces {
		return false
	}
	r.open, r.silent = false, 0
	return true
}

// tick is called when no round has been completed for the time that wait returned. It reports
// whether a question has to be sent, and whether the parser has been silent for too long.
func (r *round) tick(heartbeat time.Duration) (ask, late bool) {
	if r.silent += r.wait(heartbeat); r.silent >= silenceLimit {
		return false, true
	}
	return r.begin() || r.unsent, false
}

// wait returns the time until the next tick. After a complete round that is heartbeat.
func (r *round) wait(heartbeat time.Duration) time.Duration {
	if r.silent == 0 {
		return heartbeat
	}
	return min(heartbeat, lookInterval, silenceLimit-r.silent)
}
