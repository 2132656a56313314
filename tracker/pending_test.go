package tracker

import "testing"

// A number of moves is stored exactly up to the largest one, without a change of the state or the
// key in the same field.
func TestMoves(t *testing.T) {
	var s store
	s.init(1, 0, true)
	k := key{addr: 1<<32 | 0xff, high: ifaceHigh | isWide}
	i, _, _, _ := s.add(1, k)
	s.at(i).setState(restsRefreshed)
	for _, n := range []uint32{0, 1, 1<<16 - 1, 1 << 16, 1<<20 + 1, maxMoves - 1, maxMoves, maxMoves + 1, 1<<32 - 1} {
		s.setMoves(i, n)
		if got := s.moves(i); got != min(n, maxMoves) {
			t.Errorf("%d moves, want %d", got, n)
		}
		if e := s.at(i); e.key() != k || e.iface() != MaxInterfaces-1 || e.state() != restsRefreshed {
			t.Errorf("%d moves: key %v, interface %d, state %#x", n, e.key(), e.iface(), e.state())
		}
	}
	if maxMoves != 67_108_863 { // as documented at Event.Moves
		t.Errorf("bound of %d moves", maxMoves)
	}
}
