package tracker

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"net/netip"
	"unsafe"

	"maas-netmon/parser"
)

// key identifies a binding of IPv4. It is two numbers that fit into registers: a key that is
// assembled in memory from its parts would delay the load that follows. A key of IPv6 is valid
// only with the address in store.sought, because two addresses can have the same fingerprint.
type key struct {
	addr uint64 // address or fingerprint (32 bits), VID (12), inner VID (12), low byte of interface
	high uint16 // the interface divided by 256, and isWide
}

const vidMask = 0xfff // IEEE 802.1Q 9.6: a VID has 12 bits

// The parts of entry.flags that belong to the key. ifaceHigh limits the number of interfaces.
const (
	ifaceHigh uint16 = MaxInterfaces/256 - 1
	isWide    uint16 = ifaceHigh + 1 // the binding is one of IPv6
	keyMask          = ifaceHigh | isWide
)

func keyOf(addr parser.Addr, iface, vid, inner uint16) key {
	return key{
		addr: uint64(binary.BigEndian.Uint32(addr[:]))<<32 |
			uint64(vid&vidMask)<<20 |
			uint64(inner&vidMask)<<8 |
			uint64(iface&0xff),
		high: iface >> 8,
	}
}

// wideKeyOf returns the key of a binding of IPv6, which has a fingerprint in place of the address.
// The key is valid until the next call.
func (s *store) wideKeyOf(addr *parser.Addr6, iface, vid, inner uint16) key {
	s.sought = *addr
	k := keyOf(parser.Addr{}, iface, vid, inner)
	k.addr |= uint64(s.fingerprint(addr)) << 32
	k.high |= isWide
	return k
}

// entry is the part of a binding that every sighting reads: 32 bytes, so two of them fill a cache
// line. Entries refer to each other by number, which takes half the space of pointers and needs no
// work of the garbage collector.
type entry struct {
	addr       uint64 // as in key
	flags      uint16 // keyMask, stateMask, and the upper bits of the number of moves
	mac        parser.MAC
	time       uint32 // of the last change, see storedTime
	prev, next uint32 // order of use; next also links the free entries
	chain      uint32 // next entry that its group has no slot for, or none, and isProtected
}

// The build fails unless an entry has 32 bytes.
var (
	_ [unsafe.Sizeof(entry{}) - 32]struct{}
	_ [32 - unsafe.Sizeof(entry{})]struct{}
)

// isProtected is the bit of entry.chain that distinguishes the two lists of use. No entry has a
// number that large.
const isProtected = 1 << 31

func (e *entry) key() key {
	return key{e.addr, e.flags & keyMask}
}

// isFree reports whether an entry has no binding. Its key is that of the address 0.0.0.0, which no
// binding has.
func (e *entry) isFree() bool {
	return e.key() == key{}
}

func (e *entry) iface() uint16 {
	return e.flags&ifaceHigh<<8 | uint16(e.addr&0xff)
}

func (e *entry) overflow() uint32 {
	return e.chain &^ isProtected
}

func (e *entry) setOverflow(i uint32) {
	e.chain = e.chain&isProtected | i
}

// The first two entries are the ends of the two lists of use. Each list is a ring through its
// end: next of the end is the binding seen last, prev the one seen least recently.
const (
	probation uint32 = iota
	protected

	// none is not an entry. No search returns the end of a list, so its number can stand for none,
	// and new memory, which is zero, needs no initialization.
	none = probation
)

// group is a bucket of the index, as large as a cache line. A slot holds the number of an entry
// in the upper half and the hash of its key in the lower half, or zero. The last word is not a
// slot: it is the number of the first entry that found no free slot, or none.
type group [8]uint64

const overflow = len(group{}) - 1

// groupsFor returns the number of groups for n entries: 15 per 64 entries. More would waste memory.
// Fewer would fill the groups: with this number, about two entries in a hundred have no slot.
func groupsFor(n uint32) uint32 {
	return 1 + uint32(uint64(n)*15/64)
}

// roomAtStart is the number of bindings that a store has room for from the start, if its bound is
// not lower. The kernel allocates memory only for pages that are used, so unused room takes only
// address space: 63 MiB for this many, and 16 MiB more with IPv6. A store with a larger bound
// doubles its room when it is used up.
const roomAtStart = 1 << 20

// store holds the entries, finds them by key and keeps them in order of use.
//
// The index is a hash table that grows by linear hashing (Litwin, "Linear hashing: a new tool
// for file and table addressing", VLDB 1980): every few new entries add a group at the end, and
// it takes its share of the entries of one older group. The index is never hashed again as a
// whole, so the ring of a socket does not fill up meanwhile. For the same reason nothing is
// copied to a larger place up to roomAtStart. Beyond, entries and groups are copied to twice
// the space, which takes a few milliseconds per hundred thousand entries. A table of blocks
// that are never copied would avoid that pause, but the extra indirection makes every sighting
// a fifth slower.
//
// In a large table a sighting takes as long as two memory accesses: one for the group, one for
// the entry. The code between them is short and has no branches that a processor cannot
// predict, so that it can fetch for the next packet while it waits for this one.
//
// The bindings of IPv6 are among those of IPv4: their entries have the same form, with a
// fingerprint in place of the address, and only the address itself is elsewhere. So a sighting of
// IPv4 reads as much as without IPv6, and the bound, the order of eviction and the order of events
// are those of all bindings.
//
// The lists of bindings that wait to be reported are in pending.go.
type store struct {
	secret  [8]uint64
	entries []entry
	waits   []wait         // by number of the entry
	wide    []parser.Addr6 // by number of the entry, for entries with isWide; nil without IPv6
	sought  parser.Addr6   // of the last key of IPv6; not an argument, which would cost IPv4 time
	groups  []group

	groupCount uint32 // groups in use, the first ones
	groupMask  uint32 // the smallest 2^n-1 that has a bit for each group

	made         uint32 // entries that have been used at least once
	used         uint32 // bindings in the table
	free         uint32 // first of the free entries, or none
	limit        uint32 // bound of used
	protected    uint32 // bindings in the protected segment
	maxProtected uint32 // bound of protected, always less than limit
	idle         uint64 // seconds since its last change after which a protected binding may go

	ready uint32 // bindings in the lists moved, fresh and refreshed
	held  uint32 // resting bindings that have a line to come
}

// init initializes an empty store. With ipv6, it can hold bindings of IPv6.
func (s *store) init(limit uint32, idle uint64, ipv6 bool) {
	n := firstBinding + min(limit, roomAtStart)
	*s = store{
		entries:      make([]entry, n),
		waits:        make([]wait, n),
		groups:       make([]group, groupsFor(n)),
		groupCount:   1,
		limit:        limit,
		maxProtected: uint32(uint64(limit) * 4 / 5),
		idle:         idle,
	}
	if ipv6 {
		s.wide = make([]parser.Addr6, n)
	}
	seed := maphash.MakeSeed()
	for i := range s.secret {
		s.secret[i] = maphash.Comparable(seed, i)
	}
	for _, end := range []uint32{probation, protected} {
		e := s.at(end)
		e.prev, e.next = end, end
	}
	for end := range firstBinding {
		w := &s.waits[end]
		w.prev, w.next = end, end
	}
}

// at returns the entry with a number. The pointer is valid until the store grows.
func (s *store) at(i uint32) *entry {
	return &s.entries[i]
}

// addr returns the protocol address of a binding.
func (s *store) addr(i uint32) netip.Addr {
	e := s.at(i)
	if e.flags&isWide != 0 {
		return netip.AddrFrom16(s.wide[i])
	}
	var addr parser.Addr
	binary.BigEndian.PutUint32(addr[:], uint32(e.addr>>32))
	return netip.AddrFrom4(addr)
}

// hash returns a hash that is unpredictable without the secret: two multiply and fold steps, as
// in the Go runtime on processors without AES. A call of hash/maphash would take longer than
// the rest of a sighting.
func (s *store) hash(k key) uint32 {
	hi, lo := bits.Mul64(k.addr^s.secret[0], uint64(k.high)^s.secret[1])
	hi, lo = bits.Mul64(hi^s.secret[2], lo^s.secret[3])
	return uint32(hi ^ lo)
}

// fingerprint returns 32 bits of an address of IPv6, made like hash, with another secret.
func (s *store) fingerprint(addr *parser.Addr6) uint32 {
	hi, lo := binary.BigEndian.Uint64(addr[:8]), binary.BigEndian.Uint64(addr[8:])
	hi, lo = bits.Mul64(hi^s.secret[4], lo^s.secret[5])
	hi, lo = bits.Mul64(hi^s.secret[6], lo^s.secret[7])
	return uint32(hi ^ lo)
}

// group returns the group that a hash belongs to.
func (s *store) group(h uint32) *group {
	n := h & s.groupMask
	if n >= s.groupCount {
		// This group does not exist yet: its entries are in the group of half the mask.
		n &= s.groupMask >> 1
	}
	return &s.groups[n]
}

// equal compiles to a comparison without a branch.
func equal(slot uint64, h uint32) uint {
	if uint32(slot) == h {
		return 1
	}
	return 0
}

// find returns the entry with a key and its hash, or none.
func (s *store) find(h uint32, k key) (uint32, *entry) {
	g := s.group(h)
	// One bit per slot with this hash.
	m := equal(g[0], h) | equal(g[1], h)<<1 | equal(g[2], h)<<2 | equal(g[3], h)<<3 |
		equal(g[4], h)<<4 | equal(g[5], h)<<5 | equal(g[6], h)<<6
	for ; m != 0; m &= m - 1 {
		// An empty slot refers to the end of a list, which has the key of the address
		// 0.0.0.0. No binding has that address.
		i := uint32(g[bits.TrailingZeros(m)%len(g)] >> 32)
		if e := s.at(i); e.addr == k.addr && e.flags&keyMask == k.high && (k.high&isWide == 0 || s.wide[i] == s.sought) {
			return i, e
		}
	}
	for i := uint32(g[overflow]); i != none; {
		e := s.at(i)
		if e.key() == k && (k.high&isWide == 0 || s.wide[i] == s.sought) {
			return i, e
		}
		i = e.overflow()
	}
	return none, nil
}

// put enters an entry into its group.
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

// remove undoes put. The first entry without a slot gets the slot that becomes free.
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

// add creates an entry for a key that has none. If the store is full, the binding of probation that
// was seen least recently is dropped: evicted is true, of is its interface, and unreported is true
// if it waited to be reported. The caller sets hardware address and time of the new entry.
func (s *store) add(h uint32, k key) (i uint32, evicted bool, of uint16, unreported bool) {
	switch {
	case s.used == s.limit:
		i = s.at(probation).prev
		of = s.at(i).iface()
		evicted, unreported = true, s.drop(i)
	case s.free != none:
		i = s.free
		s.free = s.at(i).next
	default:
		i = firstBinding + s.made
		s.made++
		s.grow(i)
	}
	s.used++
	e := s.at(i)
	e.addr, e.flags = k.addr, k.high
	if k.high&isWide != 0 {
		s.wide[i] = s.sought
	}
	s.put(s.group(h), h, i)
	s.pushFront(probation, i)
	return i, evicted, of, unreported
}

// drop removes a binding from the index and from all lists. It reports whether the binding waited
// to be reported. The caller decides about the entry.
func (s *store) drop(i uint32) (unreported bool) {
	e := s.at(i)
	unreported = s.leave(i)
	if e.chain&isProtected != 0 {
		e.chain &^= isProtected
		s.protected--
	}
	s.unlink(i)
	s.remove(i)
	s.used--
	return unreported
}

// release frees a dropped entry for another binding.
func (s *store) release(i uint32) {
	e := s.at(i)
	e.addr, e.flags, e.next = 0, 0, s.free
	s.free = i
}

// grow makes room for a new entry, whose number follows the last one.
func (s *store) grow(i uint32) {
	if i == uint32(len(s.entries)) {
		n := firstBinding + min(2*(i-firstBinding), s.limit)
		s.entries = enlarged(s.entries, n)
		s.waits = enlarged(s.waits, n)
		if s.wide != nil {
			s.wide = enlarged(s.wide, n)
		}
		s.groups = enlarged(s.groups, groupsFor(n))
	}
	if s.groupCount < groupsFor(i) {
		s.split()
	}
}

// enlarged returns a copy of a slice with room for n elements.
func enlarged[T any](old []T, n uint32) []T {
	s := make([]T, n)
	copy(s, old)
	return s
}

// split adds one group and moves the entries that belong there to it. All of them are in the
// group that has its number without the highest bit.
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

// promote makes an entry of probation a protected one if the segment has room, or if demote can
// make room. It returns the list that the entry now belongs to. The caller moves it there.
func (s *store) promote(e *entry, now uint32) uint32 {
	if s.protected < s.maxProtected {
		s.protected++
	} else if !s.demote(now) {
		return probation
	}
	e.chain |= isProtected
	return protected
}

// demote returns the protected entry that was seen least recently to probation, if it has been
// idle for long enough. It reports whether it did.
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

// moveToFront moves an entry to the front of a list of use, from any place in either list.
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
