// Package tracker remembers which hardware address each protocol address was
// last seen with, and says when that changes.
//
// It runs in the confined parser process. It is a pure state machine: time comes
// with the frame, there is no clock, no timer, no goroutine and no I/O, so the
// same packets always give the same events. It does not know where packets come
// from or how an event is printed.
//
// # Bindings and events
//
// A binding is known by interface, VLAN IDs and protocol address. An ARP request
// tells of one, its sender's; a reply of two, the sender's and then the target's.
// A binding not in the table is [New]. One whose hardware address differs from
// the last one is [Moved]. One seen again with the same hardware address at least
// [Config.Refresh] after its last event is [Refreshed]. Any other sighting gives
// no event and leaves the time of the last event alone, unless the clock has gone
// backwards: then that time is set back to the frame's, so that a clock corrected
// by an hour does not silence every host for an hour.
//
// # The bound, and who goes first
//
// The hosts on the LAN choose the keys, so the table has a bound. In a full table
// a new binding takes the place of an old one, which is counted and otherwise
// silent: an evicted binding is [New] when it is seen again, even if it has moved
// in between. Hiding a takeover in that way is worth a flood of invented
// addresses to an attacker, so the table has two segments:
//
//   - A new binding enters probation. A binding that another packet tells of
//     again leaves it for the protected segment, four fifths of the bound, if
//     there is room.
//   - Only the binding of probation that was seen least recently is ever evicted.
//   - A protected binding gives up its place only to another one that was seen
//     twice, and only if nothing was heard of it for a day. It goes back to
//     probation then. The day is counted by the frames' own time.
//
// So a host that was seen twice before a flood stays as long as it is heard of
// once a day, however many addresses the flood invents and however often it
// repeats each. The price: an attacker who is there first can fill the protected
// segment, and hosts that appear after that stay on probation, where the least
// recently seen goes first, until the attacker falls silent for a day.
//
// # Memory
//
// The table grows with the number of bindings, by doubling, never beyond its
// bound; it never shrinks. At the bound a binding takes 48 bytes, and no pointer is
// among them, so the garbage collector does not scan the table. An observation
// takes constant time on average, whatever the number of bindings, and all but
// those that double the table take constant time, full stop. Where a binding is
// kept follows from a hash with a random secret, so nobody can choose addresses
// that fall together.
package tracker

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"maas-netmon/parser"
)

// Kind says what happened to a binding. The zero value is invalid.
type Kind uint8

const (
	New       Kind = iota + 1 // not in the table before
	Moved                     // another hardware address than before
	Refreshed                 // unchanged, a while after its last event
)

// String returns the name of the kind as the output has it.
func (k Kind) String() string {
	switch k {
	case New:
		return "NEW"
	case Moved:
		return "MOVED"
	case Refreshed:
		return "REFRESHED"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Event is one thing worth telling about one binding. It is comparable and
// refers to nothing.
type Event struct {
	Kind        Kind
	Interface   uint16 // the number that the caller gave to Observe
	VID         uint16 // outermost VLAN ID, 0: none
	InnerVID    uint16 // second VLAN ID, 0: none
	Addr        parser.Addr
	MAC         parser.MAC
	PreviousMAC parser.MAC // of a Moved binding, else zero
	Time        int64      // of the frame, in seconds since the Unix epoch
}

// MaxBindings is the largest bound that a table can have.
const MaxBindings = 1 << 30

// protectedIdle is how many seconds after its last event a protected binding may
// lose its place, on top of the refresh interval. A binding heard of has an event
// each interval, so nothing was heard of it for at least these seconds.
const protectedIdle = 24 * 60 * 60

// Config is what the operator chooses.
type Config struct {
	// MaxBindings bounds the table, over all interfaces: 1 to [MaxBindings].
	MaxBindings int
	// Refresh is how long after its last event an unchanged binding is told of
	// again. Frame times are whole seconds, so a fraction counts as a second
	// more. Zero tells of every sighting.
	Refresh time.Duration
}

// Stats counts what a table has done for one interface. Each number but Bindings only
// ever grows.
type Stats struct {
	New       uint64 // events by kind
	Moved     uint64
	Refreshed uint64

	// Refused is the number of bindings that packets told of and that cannot be:
	// those whose hardware address is zero or a group address, or whose protocol
	// address is 0.0.0.0, 255.255.255.255, in 224.0.0.0/4 or in 127.0.0.0/8. It
	// counts bindings: one for each, whatever is wrong with it, so a request
	// adds at most one and a reply at most two.
	Refused uint64
	// Ignored is the number of packets that are neither request nor reply. They
	// tell of no binding and none of theirs is in Refused.
	Ignored uint64
	// Evicted is the number of bindings that gave their place to a new one, of this or
	// another interface.
	Evicted uint64
	// Bindings is the number of bindings in the table now.
	Bindings uint64
}

// Table is the table of bindings of all interfaces. It is not safe for
// concurrent use. Make one with [New]; the zero value is of no use.
type Table struct {
	refresh uint64  // whole seconds
	stats   []Stats // by interface
	store   store
}

// NewTable returns an empty table. The error says which field of the
// configuration is out of range.
func NewTable(c Config) (*Table, error) {
	if c.MaxBindings < 1 || c.MaxBindings > MaxBindings {
		return nil, fmt.Errorf("bound of the table of bindings: %d is not in 1 to %d", c.MaxBindings, MaxBindings)
	}
	if c.Refresh < 0 {
		return nil, fmt.Errorf("refresh interval: %v is negative", c.Refresh)
	}
	refresh := uint64(c.Refresh / time.Second)
	if c.Refresh%time.Second != 0 {
		refresh++
	}
	t := &Table{refresh: refresh}
	t.store.init(uint32(c.MaxBindings), protectedIdle+refresh)
	return t, nil
}

// Observe takes in the bindings that one packet tells of, seen on an interface
// at a time in seconds since the Unix epoch, and appends the events that follow
// to dst: none, one or two, in the order of the packet. The interface is a
// number by which the caller tells its interfaces apart; there are counters for
// each up to the highest. Observe allocates nothing where dst has room, but for the
// table's own growth. It keeps neither dst nor arp.
func (t *Table) Observe(dst []Event, iface uint16, seconds int64, arp *parser.ARP) []Event {
	for len(t.stats) <= int(iface) {
		t.stats = append(t.stats, Stats{})
	}
	stats := &t.stats[iface]
	if arp.Operation != parser.OperationRequest && arp.Operation != parser.OperationReply {
		stats.Ignored++
		return dst
	}
	now := storedTime(seconds)
	sender := none
	if usable(&arp.SenderHardware, &arp.SenderProtocol) {
		var kind Kind
		k := keyOf(arp.SenderProtocol, iface, arp.VID, arp.InnerVID)
		if sender, kind = t.observe(k, &arp.SenderHardware, now, none); kind != 0 {
			dst = append(dst, t.record(kind, sender, &arp.SenderHardware, seconds))
		}
	} else {
		stats.Refused++
	}
	if arp.Operation == parser.OperationRequest {
		return dst
	}
	if usable(&arp.TargetHardware, &arp.TargetProtocol) {
		k := keyOf(arp.TargetProtocol, iface, arp.VID, arp.InnerVID)
		if target, kind := t.observe(k, &arp.TargetHardware, now, sender); kind != 0 {
			dst = append(dst, t.record(kind, target, &arp.TargetHardware, seconds))
		}
	} else {
		stats.Refused++
	}
	return dst
}

// observe takes in one binding and returns its entry and what has happened to it,
// 0 for nothing that gives an event. If something has, the caller must record
// it. known is the entry that the same packet has told of already, or none: to be
// told of twice by one packet is not to be seen again.
func (t *Table) observe(k key, mac *parser.MAC, now, known uint32) (uint32, Kind) {
	h := t.store.hash(k)
	i, e := t.store.find(h, k)
	if i == none {
		return t.learn(h, k), New
	}
	if i != known {
		list := protected
		if e.chain&isProtected == 0 {
			list = t.store.promote(e, now)
		}
		t.store.moveToFront(list, i, e)
	}
	switch {
	case e.mac != *mac:
		return i, Moved
	case now < e.time:
		e.time = now
	case uint64(now-e.time) >= t.refresh:
		return i, Refreshed
	}
	return i, 0
}

// learn makes an entry for a binding that has none.
func (t *Table) learn(h uint32, k key) uint32 {
	i, evicted, of := t.store.add(h, k)
	t.stats[k.iface].Bindings++
	if evicted {
		t.stats[of].Bindings--
		t.stats[of].Evicted++
	}
	return i
}

// record enters into an entry what has happened to its binding, counts it, and
// returns the event.
func (t *Table) record(kind Kind, i uint32, mac *parser.MAC, seconds int64) Event {
	e := t.store.at(i)
	event := Event{
		Kind:      kind,
		Interface: e.iface,
		VID:       uint16(e.addr >> 16),
		InnerVID:  uint16(e.addr),
		MAC:       *mac,
		Time:      seconds,
	}
	binary.BigEndian.PutUint32(event.Addr[:], uint32(e.addr>>32))
	stats := &t.stats[e.iface]
	switch kind {
	case New:
		stats.New++
	case Moved:
		event.PreviousMAC = e.mac
		stats.Moved++
	case Refreshed:
		stats.Refreshed++
	}
	e.mac = *mac
	e.time = storedTime(seconds)
	return event
}

// Stats returns the counters of an interface.
func (t *Table) Stats(iface uint16) Stats {
	if int(iface) >= len(t.stats) {
		return Stats{}
	}
	return t.stats[iface]
}

// usable says whether a host can have this pair of addresses. The sender
// protocol address of an ARP probe is 0.0.0.0 (RFC 5227 section 2.1.1), the
// target hardware address of a request or an announcement often zero or that of
// broadcast: neither is a binding.
func usable(mac *parser.MAC, addr *parser.Addr) bool {
	const group = 1 // IEEE 802 8.2.2: the I/G bit
	switch {
	case mac[0]&group != 0, *mac == parser.MAC{}:
		return false
	case *addr == parser.Addr{}, *addr == parser.Addr{255, 255, 255, 255}:
		return false
	case addr[0]>>4 == 224>>4: // multicast, RFC 5771
		return false
	case addr[0] == 127: // loopback, RFC 1122 section 3.2.1.3
		return false
	}
	return true
}

// storedTime returns a time in the form that entries keep. The clock of a frame
// can say no other than 1970 to 2106 (struct tpacket2_hdr in
// include/uapi/linux/if_packet.h); other times, which a file can hold, count as
// the nearer end of these years.
func storedTime(seconds int64) uint32 {
	return uint32(min(max(seconds, 0), math.MaxUint32))
}
