package tracker

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"

	"maas-netmon/parser"
)

// key is what a binding is known by, in two numbers that fit into registers: put
// together in memory out of its parts, it would have to be waited for.
type key struct {
	addr  uint64 // protocol address, VID and inner VID
	iface uint16
}

func keyOf(addr parser.Addr, iface, vid, inner uint16) key {
	return key{
		addr: uint64(binary.BigEndian.Uint32(addr[:]))<<32 |
			uint64(vid)<<16 |
			uint64(inner),
		iface: iface,
	}
}

// entry is one binding: 32 bytes, so two fill a line of a processor cache. Entries
// refer to one another by number: half of what pointers take, and nothing for
// the garbage collector to follow.
type entry struct {
	addr       uint64 // as in key
	iface      uint16
	mac        parser.MAC
	time       uint32 // of the last event, see storedTime
	prev, next uint32
	chain      uint32 // next entry that its group has no slot for, or none, and isProtected
}

// isProtected is the bit of entry.chain that says which list the entry is in. No
// entry has a number that large.
const isProtected = 1 << 31

func (e *entry) key() key {
	return key{e.addr, e.iface}
}

func (e *entry) overflow() uint32 {
	return e.chain &^ isProtected
}

func (e *entry) setOverflow(i uint32) {
	e.chain = e.chain&isProtected | i
}

// The first two entries are no bindings but the ends of the two lists, each of
// which is a ring through its end: next of the end is the binding seen last,
// prev the one seen least recently.
const (
	probation uint32 = iota
	protected
	firstBinding

	// none is no entry. The end of a list is never looked for, so its number is
	// free to say this, and new blocks need no preparation.
	none = probation
)

// group is a bucket of the index, as large as a line of a processor cache. A
// slot is the number of an entry in the upper half and the hash of its key in the
// lower, or zero. The last word is no slot: it is the number of the first of the
// entries that found no slot free, or none.
type group [8]uint64

const overflow = len(group{}) - 1

// A new group is made for this many new entries. Fewer would waste memory, more
// would fill groups: at four, one or two entries in a hundred have no slot.
const entriesPerGroup = 4

// A store begins with room for this many entries, and doubles it when it is used up.
const initialEntries = 1024

// store holds the entries, finds them by key and keeps them in order of use.
//
// The index is a hash table that grows by linear hashing (Litwin, "Linear
// hashing: a new tool for file and table addressing", VLDB 1980): every few new
// entries add a group at the end, and it takes its share of the entries of one
// older group. So there is no moment at which everything is hashed again, during
// which the ring of a socket would fill up. To make room, entries and groups are
// copied to twice the space: a few milliseconds for each hundred thousand entries.
// Blocks that are never copied would do without that pause, but the way through a
// table of blocks costs every sighting a fifth more.
//
// What a sighting costs in a large table is the time that memory takes to answer:
// once for the group, once for the entry. The code between the two is kept short
// and free of branches that a processor cannot foresee, so that it can fetch for
// the next packet while it waits for this one.
type store struct {
	secret  [4]uint64
	entries []entry
	groups  []group

	groupCount uint32 // groups in use, the first ones
	groupMask  uint32 // the smallest 2^n-1 that has a bit for each group

	used         uint32 // bindings in the table
	limit        uint32 // bound of used
	protected    uint32 // bindings in the protected segment
	maxProtected uint32 // bound of protected, always less than limit
	idle         uint64 // seconds since its last event after which a protected binding may go
}

// init makes an empty store.
func (s *store) init(limit uint32, idle uint64) {
	*s = store{
		entries:      make([]entry, min(initialEntries, firstBinding+limit)),
		groups:       make([]group, 1+min(initialEntries, firstBinding+limit)/entriesPerGroup),
		groupCount:   1,
		limit:        limit,
		maxProtected: uint32(uint64(limit) * 4 / 5),
		idle:         idle,
	}
	seed := maphash.MakeSeed()
	for i := range s.secret {
		s.secret[i] = maphash.Comparable(seed, i)
	}
	for _, end := range []uint32{probation, protected} {
		e := s.at(end)
		e.prev, e.next = end, end
	}
}

// at returns the entry with a number. The pointer is good until the store grows.
func (s *store) at(i uint32) *entry {
	return &s.entries[i]
}

// hash returns a hash that cannot be foreseen without the secret: two multiply
// and fold steps, as the Go runtime hashes on processors without AES. To call
// hash/maphash here takes longer than all the rest of a sighting.
func (s *store) hash(k key) uint32 {
	hi, lo := bits.Mul64(k.addr^s.secret[0], uint64(k.iface)^s.secret[1])
	hi, lo = bits.Mul64(hi^s.secret[2], lo^s.secret[3])
	return uint32(hi ^ lo)
}

// group returns the group that a hash belongs to.
func (s *store) group(h uint32) *group {
	n := h & s.groupMask
	if n >= s.groupCount {
		// Not made yet: its entries are still where half the mask puts them.
		n &= s.groupMask >> 1
	}
	return &s.groups[n]
}

// equal is compiled to a comparison without a branch.
func equal(slot uint64, h uint32) uint {
	if uint32(slot) == h {
		return 1
	}
	return 0
}

// find returns the entry with a key and its hash, or none.
func (s *store) find(h uint32, k key) (uint32, *entry) {
	g := s.group(h)
	// A bit for each slot with this hash.
	m := equal(g[0], h) | equal(g[1], h)<<1 | equal(g[2], h)<<2 | equal(g[3], h)<<3 |
		equal(g[4], h)<<4 | equal(g[5], h)<<5 | equal(g[6], h)<<6
	for ; m != 0; m &= m - 1 {
		// An empty slot names the end of a list, whose key is that of the
		// address 0.0.0.0, which no binding has.
		i := uint32(g[bits.TrailingZeros(m)%len(g)] >> 32)
		if e := s.at(i); e.addr == k.addr && e.iface == k.iface {
			return i, e
		}
	}
	for i := uint32(g[overflow]); i != none; {
		e := s.at(i)
		if e.key() == k {
			return i, e
		}
		i = e.overflow()
	}
	return none, nil
}

// put makes an entry findable in its group.
func (s *store) put(g *group, h, i uint32) {
	for n, slot := range g[:overflow] {
		if slot == 0 {
			g[n] = uint64(i)<<32 | uint64(h)
			return
		}
	}
	s.at(i).setOverflow(uint32(g[overflow]))
	g[overflow] = uint64(i)
}

// remove undoes put. The first entry without a slot gets the one set free.
func (s *store) remove(i uint32) {
	g := s.group(s.hash(s.at(i).key()))
	for n, slot := range g[:overflow] {
		if uint32(slot>>32) == i {
			g[n] = 0
			if first := uint32(g[overflow]); first != none {
				g[overflow] = uint64(s.at(first).overflow())
				s.put(g, s.hash(s.at(first).key()), first)
			}
			return
		}
	}
	if uint32(g[overflow]) == i {
		g[overflow] = uint64(s.at(i).overflow())
		return
	}
	e := s.at(uint32(g[overflow]))
	for e.overflow() != i {
		e = s.at(e.overflow())
	}
	e.setOverflow(s.at(i).overflow())
}

// add makes an entry with a key that has none, evicting one if the store is
// full. It returns the entry, of which the caller sets hardware address and time, and
// the interface of the evicted one.
func (s *store) add(h uint32, k key) (i uint32, evicted bool, of uint16) {
	if s.used < s.limit {
		i = firstBinding + s.used
		s.used++
		s.grow(i)
	} else {
		i = s.at(probation).prev
		s.unlink(i)
		s.remove(i)
		evicted, of = true, s.at(i).iface
	}
	e := s.at(i)
	e.addr, e.iface = k.addr, k.iface
	s.put(s.group(h), h, i)
	s.pushFront(probation, i)
	return i, evicted, of
}

// grow makes room for a new entry with a number that follows on the last one.
func (s *store) grow(i uint32) {
	if i == uint32(len(s.entries)) {
		n := min(2*i, firstBinding+s.limit)
		s.entries = enlarged(s.entries, n)
		s.groups = enlarged(s.groups, 1+n/entriesPerGroup)
	}
	if i%entriesPerGroup == 0 {
		s.split()
	}
}

// enlarged returns a copy of a slice with room for n elements.
func enlarged[T any](old []T, n uint32) []T {
	s := make([]T, n)
	copy(s, old)
	return s
}

// split adds one group and moves to it the entries that belong there, all of
// which are in the group that has its number without the highest bit.
func (s *store) split() {
	n := s.groupCount
	if n > s.groupMask {
		s.groupMask = s.groupMask<<1 | 1
	}
	s.groupCount++

	g := &s.groups[n&(s.groupMask>>1)]
	old := *g
	*g = group{}
	for _, slot := range old[:overflow] {
		if slot != 0 {
			s.put(s.group(uint32(slot)), uint32(slot), uint32(slot>>32))
		}
	}
	for i := uint32(old[overflow]); i != none; {
		next := s.at(i).overflow()
		h := s.hash(s.at(i).key())
		s.put(s.group(h), h, i)
		i = next
	}
}

// promote makes an entry of probation a protected one, if there is a place for it
// or one can be had. It returns the list that the entry now belongs to; to move it
// there is up to the caller.
func (s *store) promote(e *entry, now uint32) uint32 {
	if s.protected < s.maxProtected {
		s.protected++
	} else if !s.demote(now) {
		return probation
	}
	e.chain |= isProtected
	return protected
}

// demote sends the protected entry seen least recently back to probation, if it
// has been idle for long enough. It reports whether it did.
func (s *store) demote(now uint32) bool {
	i := s.at(protected).prev
	e := s.at(i)
	if e.chain&isProtected == 0 || uint64(now) < uint64(e.time)+s.idle {
		return false
	}
	e.chain &^= isProtected
	s.moveToFront(probation, i, e)
	return true
}

// moveToFront moves an entry to the front of a list, from wherever it is.
func (s *store) moveToFront(list, i uint32, e *entry) {
	all := s.entries
	first := all[list].next
	if first == i {
		return
	}
	prev, next := e.prev, e.next
	all[prev].next = next
	all[next].prev = prev
	e.prev, e.next = list, first
	all[first].prev = i
	all[list].next = i
}

func (s *store) unlink(i uint32) {
	e := s.at(i)
	s.at(e.prev).next = e.next
	s.at(e.next).prev = e.prev
}

func (s *store) pushFront(list, i uint32) {
	end, e := s.at(list), s.at(i)
	e.prev, e.next = list, end.next
	s.at(end.next).prev = i
	end.next = i
}
