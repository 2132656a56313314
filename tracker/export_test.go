package tracker

import (
	"encoding/binary"

	"maas-netmon/parser"
)

// CollideFingerprints makes all addresses of IPv6 with the same first half as addr have the same
// fingerprint: the first multiplication is then by zero.
func (t *Table) CollideFingerprints(addr parser.Addr6) {
	t.store.secret[4] = binary.BigEndian.Uint64(addr[:8])
}

// Fingerprint returns the fingerprint of an address.
func (t *Table) Fingerprint(addr parser.Addr6) uint32 {
	return t.store.fingerprint(&addr)
}

// Room returns the number of bindings that the table has room for before it grows.
func (t *Table) Room() int {
	return len(t.store.entries) - int(firstBinding)
}

// ShrinkRoom reduces the room of an empty table, so that it soon grows.
func (t *Table) ShrinkRoom(room uint32) {
	s, n := &t.store, firstBinding+room
	s.entries, s.waits, s.groups = s.entries[:n:n], s.waits[:n:n], s.groups[:groupsFor(n)]
	if s.wide != nil {
		s.wide = s.wide[:n:n]
	}
}

// ZeroFingerprints makes the addresses of 2001:db8::/64 have the fingerprint 0.
func (t *Table) ZeroFingerprints() {
	t.store.secret[4] = 0x2001_0db8_0000_0000
	t.store.secret[6] = 0
	t.store.secret[7] = 0
}
