package tracker

import (
	"hash/maphash"

	"maas-netmon/parser"
)

// key is what a binding is known by. It has no padding, so it is hashed as the
// ten bytes it is.
type key struct {
	addr              parser.Addr
	iface, vid, inner uint16
}

// entry is one binding. Entries refer to one another by number, which half of
// the memory that pointers take is enough for.
type entry struct {
	key        key
	mac        parser.MAC
	time       int64 // of the last event, in seconds since the Unix epoch
	prev, next uint32
	chain      uint32 // next entry of the same bucket, or none
	protected  bool
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

// Entries and buckets live in blocks. A block of entries is 40 KiB, which the
// allocator hands out without waste.
const (
	blockBits = 10
	blockLen  = 1 << blockBits
	blockMask = blockLen - 1

	// bucketsPerEntry makes chains short: nine in ten lookups meet one entry.
	bucketsPerEntry = 2
)

// store holds the entries, finds them by key and keeps them in order of use.
//
// The index is a hash table with chaining that grows by linear hashing (Litwin,
// "Linear hashing: a new tool for file and table addressing", VLDB 1980): each
// new entry adds buckets at the end, and each of these takes its share of the
// entries of one older bucket. There is no moment at which everything is hashed
// again, during which the ring of a socket would fill up.
type store struct {
	seed    maphash.Seed
	entries []*[blockLen]entry
	buckets []*[blockLen]uint32 // first entry of each chain, or none

	bucketCount uint32
	bucketMask  uint32 // the smallest 2^n-1 that has a bit for each bucket

	used         uint32 // bindings in the table
	limit        uint32 // bound of used
	protected    uint32 // bindings in the protected segment
	maxProtected uint32 // bound of protected, always less than limit
	idle         uint64 // seconds since its last event after which a protected binding may go
}

// init makes an empty store.
func (s *store) init(limit uint32, idle uint64) {
	*s = store{
		seed:         maphash.MakeSeed(),
		entries:      []*[blockLen]entry{new([blockLen]entry)},
		buckets:      []*[blockLen]uint32{new([blockLen]uint32)},
		bucketCount:  1,
		limit:        limit,
		maxProtected: uint32(uint64(limit) * 4 / 5),
		idle:         idle,
	}
	for _, end := range []uint32{probation, protected} {
		e := s.at(end)
		e.prev, e.next = end, end
	}
}

// at returns the entry with a number. The pointer stays good for ever, its
// meaning until the entry is evicted.
func (s *store) at(i uint32) *entry {
	return &s.entries[i>>blockBits][i&blockMask]
}

func (s *store) hash(k key) uint64 {
	return maphash.Comparable(s.seed, k)
}

// bucket returns the head of the chain that a hash belongs to.
func (s *store) bucket(h uint64) *uint32 {
	b := uint32(h) & s.bucketMask
	if b >= s.bucketCount {
		// Not made yet: its entries are still where half the mask puts them.
		b &= s.bucketMask >> 1
	}
	return &s.buckets[b>>blockBits][b&blockMask]
}

// find returns the entry with a key and its hash, or none.
func (s *store) find(h uint64, k key) uint32 {
	i := *s.bucket(h)
	for i != none {
		e := s.at(i)
		if e.key == k {
			break
		}
		i = e.chain
	}
	return i
}

// add makes an entry with a key that has none, evicting one if the store is
// full. It returns the entry, of which the caller sets hardware address and time.
func (s *store) add(h uint64, k key) (i uint32, evicted bool) {
	if s.used < s.limit {
		i = s.grow()
	} else {
		i = s.at(probation).prev
		s.evict(i)
		evicted = true
	}
	e := s.at(i)
	e.key = k
	head := s.bucket(h)
	e.chain, *head = *head, i
	s.pushFront(probation, i)
	return i, evicted
}

// evict takes an entry of probation out of its list and its chain.
func (s *store) evict(i uint32) {
	s.unlink(i)
	p := s.bucket(s.hash(s.at(i).key))
	for *p != i {
		p = &s.at(*p).chain
	}
	*p = s.at(i).chain
}

// grow returns an entry never used before, and adds the buckets for it.
func (s *store) grow() uint32 {
	i := firstBinding + s.used
	s.used++
	if i&blockMask == 0 {
		s.entries = append(s.entries, new([blockLen]entry))
	}
	for range bucketsPerEntry {
		s.split()
	}
	return i
}

// split adds one bucket and moves to it the entries that belong there, all of
// which are in the bucket that has its number without the highest bit.
func (s *store) split() {
	b := s.bucketCount
	if b > s.bucketMask {
		s.bucketMask = s.bucketMask<<1 | 1
	}
	if b&blockMask == 0 {
		s.buckets = append(s.buckets, new([blockLen]uint32))
	}
	s.bucketCount++

	from := b & (s.bucketMask >> 1)
	p := &s.buckets[from>>blockBits][from&blockMask]
	to := &s.buckets[b>>blockBits][b&blockMask]
	for *p != none {
		e := s.at(*p)
		if uint32(s.hash(e.key))&s.bucketMask != b {
			p = &e.chain
			continue
		}
		i := *p
		*p = e.chain
		e.chain, *to = *to, i
	}
}

// seenAgain puts an entry where one belongs that a second packet has told of.
func (s *store) seenAgain(i uint32, now int64) {
	e := s.at(i)
	list := protected
	if !e.protected {
		if s.protected >= s.maxProtected && !s.demote(now) {
			list = probation
		} else {
			e.protected = true
			s.protected++
		}
	}
	if s.at(list).next != i {
		s.unlink(i)
		s.pushFront(list, i)
	}
}

// demote sends the protected entry seen least recently back to probation, if it
// has been idle for long enough. It reports whether it did.
func (s *store) demote(now int64) bool {
	i := s.at(protected).prev
	e := s.at(i)
	if !e.protected || now < e.time || elapsed(e.time, now) < s.idle {
		return false
	}
	s.unlink(i)
	s.pushFront(probation, i)
	e.protected = false
	s.protected--
	return true
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
