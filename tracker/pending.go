package tracker

import "maas-netmon/parser"

// wait is the part of a binding that is needed while a line about it is pending: 16 bytes, which a
// sighting without a change does not access. If no line is pending, its contents have no meaning.
type wait struct {
	prev, next uint32     // neighbours in the list that the binding is in
	previous   parser.MAC // the hardware address before entry.mac
	moves      uint16     // lower bits of the moves since the last line
}

// The lists of bindings that wait. Each is a ring through its end, which is the wait of that
// number: next of the end is the first binding, prev the last one.
const (
	noList    uint32 = iota
	moved            // reported before; the hardware address has changed since
	fresh            // never reported
	refreshed        // reported before; seen again after the refresh interval

	// wheel is the first of wheelSize lists. They hold the bindings that rest: a move was reported,
	// and the next one must wait for the moved interval. A binding is in the list of the tick at
	// which its rest ends.
	wheel

	wheelSize    = 32
	firstBinding = wheel + wheelSize
)

// A binding is in one of these states: bits of entry.flags.
const (
	reported       uint16 = iota << stateShift // in no list
	waitsMoved                                 // in the list moved
	waitsFresh                                 // in the list fresh
	waitsRefreshed                             // in the list refreshed
	rests                                      // in a list of the wheel, held if it has moved
	restsRefreshed                             // the same, and held in any case

	stateShift = 3 // above keyMask
	stateMask  = 7 << stateShift
)

// The number of moves is divided between entry.flags and wait.moves. It stops at maxMoves.
const (
	movesShift = 6 // above stateMask
	maxMoves   = 1<<(16-movesShift+16) - 1
)

func (e *entry) state() uint16 {
	return e.flags & stateMask
}

func (e *entry) setState(state uint16) {
	e.flags = e.flags&^stateMask | state
}

// moves returns the number of moves since the last line of a binding.
func (s *store) moves(i uint32) uint32 {
	return uint32(s.at(i).flags>>movesShift)<<16 | uint32(s.waits[i].moves)
}

func (s *store) setMoves(i, n uint32) {
	n = min(n, maxMoves)
	e := s.at(i)
	e.flags = e.flags&(1<<movesShift-1) | uint16(n>>16)<<movesShift
	s.waits[i].moves = uint16(n)
}

// isHeld reports whether a line is pending for a resting binding.
func (s *store) isHeld(i uint32) bool {
	return s.at(i).state() == restsRefreshed || s.moves(i) > 0
}

// pushBack puts a binding that is in no list at the end of one.
func (s *store) pushBack(list, i uint32) {
	end, w := &s.waits[list], &s.waits[i]
	w.prev, w.next = end.prev, list
	s.waits[end.prev].next = i
	end.prev = i
}

// cut removes a binding from its list.
func (s *store) cut(i uint32) {
	w := &s.waits[i]
	s.waits[w.prev].next = w.next
	s.waits[w.next].prev = w.prev
}

// enqueue puts a binding that is in no list into the list of a state.
func (s *store) enqueue(state uint16, i uint32) {
	s.at(i).setState(state)
	s.pushBack(listOf(state), i)
	s.ready++
}

// listOf returns the list of a state that is not of the wheel.
func listOf(state uint16) uint32 {
	switch state {
	case waitsMoved:
		return moved
	case waitsFresh:
		return fresh
	case waitsRefreshed:
		return refreshed
	}
	return noList
}

// leave removes a binding from its list. It reports whether a line was pending for it.
func (s *store) leave(i uint32) (waited bool) {
	e := s.at(i)
	switch e.state() {
	case reported:
		return false
	case rests, restsRefreshed:
		if waited = s.isHeld(i); waited {
			s.held--
		}
	default:
		s.ready--
		waited = true
	}
	s.cut(i)
	e.setState(reported)
	return waited
}

// first returns the binding to report next, or none.
func (s *store) first() uint32 {
	for list := moved; list <= refreshed; list++ {
		if i := s.waits[list].next; i != list {
			return i
		}
	}
	return none
}

// rest puts a binding that is in no list into the wheel until a tick.
func (s *store) rest(i uint32, tick uint64) {
	s.setMoves(i, 0)
	s.at(i).setState(rests)
	s.pushBack(wheel+uint32(tick%wheelSize), i)
}

// wake ends the rest of the bindings in the list of one tick.
func (s *store) wake(tick uint64) {
	list := wheel + uint32(tick%wheelSize)
	for i := s.waits[list].next; i != list; i = s.waits[list].next {
		refresh := s.at(i).state() == restsRefreshed
		switch held := s.leave(i); {
		case !held:
		case s.moves(i) > 0:
			s.enqueue(waitsMoved, i)
		case refresh:
			s.enqueue(waitsRefreshed, i)
		}
	}
}

// restEnds returns the first tick after another one at which the rest of a binding ends. There
// must be one that rests.
func (s *store) restEnds(after uint64) uint64 {
	tick := after + 1
	for list := uint32(tick % wheelSize); s.waits[wheel+list].next == wheel+list; {
		tick++
		list = uint32(tick % wheelSize)
	}
	return tick
}
