package tracker

import (
	"fmt"
	"testing"

	"maas-netmon/parser"
)

// checkIndex checks that the index has each binding once, in its group, and nothing else.
func (s *store) checkIndex() error {
	found := make(map[uint32]bool)
	see := func(n int, i uint32) error {
		switch {
		case i < firstBinding || i >= firstBinding+s.made:
			return fmt.Errorf("group %d has entry %d of %d", n, i, s.made)
		case found[i]:
			return fmt.Errorf("entry %d is in the index twice", i)
		case s.group(s.hash(s.at(i).key())) != &s.groups[n]:
			return fmt.Errorf("entry %d is in group %d, where it does not belong", i, n)
		}
		found[i] = true
		return nil
	}
	for n := range s.groups {
		g := &s.groups[n]
		for _, slot := range g[:overflow] {
			if slot == 0 {
				continue
			}
			if err := see(n, uint32(slot>>32)); err != nil {
				return err
			}
		}
		for i := uint32(g[overflow]); i != none; i = s.at(i).overflow() {
			if err := see(n, i); err != nil {
				return err
			}
		}
	}
	if len(found) != int(s.used) {
		return fmt.Errorf("%d of %d entries are in the index", len(found), s.used)
	}
	return nil
}

// The index has each entry once: while the table grows within the room it has from the start,
// while it grows by doubling, at its bound, where groups are too full for their slots, and
// after entries were dropped.
func TestIndex(t *testing.T) {
	const limit = 3000
	for name, room := range map[string]uint32{"room at the start": limit, "doubling": 100} {
		t.Run(name, func(t *testing.T) {
			var s store
			s.init(limit, protectedIdle, false)
			n := firstBinding + room
			s.entries, s.waits, s.groups = s.entries[:n], s.waits[:n], s.groups[:groupsFor(n)]
			for n := range uint32(2 * limit) {
				k := keyOf(parser.Addr{10, byte(n >> 16), byte(n >> 8), byte(n)}, 0, 0, 0)
				s.add(s.hash(k), k)
				if n%7 == 0 {
					i := firstBinding + n%s.made
					if !s.at(i).isFree() {
						s.drop(i)
						s.release(i)
					}
				}
				if n%50 != 0 {
					continue
				}
				if err := s.checkIndex(); err != nil {
					t.Fatalf("after %d entries: %v", n+1, err)
				}
			}
			if uint32(len(s.entries)) != firstBinding+limit || len(s.waits) != len(s.entries) {
				t.Errorf("room for %d entries, want %d", len(s.entries), firstBinding+limit)
			}
		})
	}
}

// Up to the room that a table has at the start nothing is copied, so no observation takes long.
func TestRoomAtStart(t *testing.T) {
	var s store
	s.init(MaxBindings, protectedIdle, false)
	if uint32(len(s.entries)) != firstBinding+roomAtStart {
		t.Errorf("room for %d entries at the start, want %d", len(s.entries), firstBinding+roomAtStart)
	}
	if s.wide != nil {
		t.Error("room for addresses of IPv6 without IPv6")
	}
	s.init(MaxBindings, protectedIdle, true)
	if len(s.wide) != len(s.entries) {
		t.Errorf("room for %d addresses of IPv6, want %d", len(s.wide), len(s.entries))
	}
}
