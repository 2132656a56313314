package monitor

import "time"

const (
	// heartbeat is the time after a complete round until the parser is asked again, unless
	// the service manager waits for a shorter time. Each heartbeat costs some 16 wake-ups,
	// those of the Go runtime included.
	heartbeat = 20 * time.Second
	// silenceLimit is the time after a complete round until the parser is killed, if no
	// other one is complete then.
	silenceLimit = 2 * heartbeat
	// lookInterval is the longest time between two looks for an answer. One look at the end
	// is not enough: where both processes were stopped just after the question, the time may
	// have passed without either.
	lookInterval = heartbeat / 2
)

// A round asks for the counters of each interface in turn. The next question follows the answer to
// the last, so that neither process can fill the other's socket. Only a complete round is a sign
// of life: a parser that answers some questions, or does not read them, is as good as silent.
//
// A round has no clock and does no I/O: the monitor sends the question that is open, and reports
// what comes and that time has passed.
type round struct {
	open   bool          // a question has no answer yet
	next   int           // the interface that it is about
	unsent bool          // it could not be sent: the parser does not read
	silent time.Duration // that the monitor has waited since the last complete round
	log    bool          // the counters are to be logged at the end of the round
}

// begin begins a round with the first question, and reports whether it is to be sent: not if a
// question is open already.
func (r *round) begin() bool {
	if r.open {
		return false
	}
	r.open, r.next = true, 0
	return true
}

// asks reports whether the parser was asked about this interface and has not answered.
func (r *round) asks(index int) bool { return r.open && !r.unsent && r.next == index }

// answer takes the answer to the open question. It reports whether that was the last one of this
// number of interfaces; otherwise the next question is to be sent.
func (r *round) answer(interfaces int) (complete bool) {
	if r.next++; r.next < interfaces {
		return false
	}
	r.open, r.silent = false, 0
	return true
}

// tick is called when no round has been completed for the time that wait returned. It reports
// whether a question is to be sent, and whether the parser has been silent for too long.
func (r *round) tick(heartbeat time.Duration) (ask, late bool) {
	if r.silent += r.wait(heartbeat); r.silent >= silenceLimit {
		return false, true
	}
	return r.begin() || r.unsent, false
}

// wait returns the time until the next tick, where heartbeat is that after a complete round.
func (r *round) wait(heartbeat time.Duration) time.Duration {
	if r.silent == 0 {
		return heartbeat
	}
	return min(heartbeat, lookInterval, silenceLimit-r.silent)
}
