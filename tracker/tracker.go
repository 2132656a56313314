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
// The table grows with the number of bindings, one small block at a time, and
// never beyond its bound; it never shrinks. A binding takes 48 bytes. No block
// has a pointer in it, so the garbage collector does not scan them. Nothing is
// ever copied to grow: each observation takes constant time, also the one that
// makes the table larger. Buckets are chosen by a hash with a random seed, so
// nobody can choose addresses that fall together.
package tracker

import (
	"fmt"
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

// Stats counts what a table has done. Each number but Bindings only ever grows.
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
	// Evicted is the number of bindings that gave their place to a new one.
	Evicted uint64
	// Bindings is the number of bindings in the table now.
	Bindings int
}

// Table is the table of bindings of all interfaces. It is not safe for
// concurrent use. Make one with [New]; the zero value is of no use.
type Table struct {
	refresh uint64 // whole seconds
	stats   Stats  // without Bindings
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
// to dst: none, one or two, in the order of the packet. The interface is any
// number by which the caller tells its interfaces apart. Observe allocates
// nothing where dst has room, but for the table's own growth. It keeps neither dst
// nor arp.
func (t *Table) Observe(dst []Event, iface uint16, seconds int64, arp *parser.ARP) []Event {
	if arp.Operation != parser.OperationRequest && arp.Operation != parser.OperationReply {
		t.stats.Ignored++
		return dst
	}
	k := key{addr: arp.SenderProtocol, iface: iface, vid: arp.VID, inner: arp.InnerVID}
	dst, sender := t.observe(dst, k, arp.SenderHardware, seconds, none)
	if arp.Operation == parser.OperationReply {
		k.addr = arp.TargetProtocol
		dst, _ = t.observe(dst, k, arp.TargetHardware, seconds, sender)
	}
	return dst
}

// observe takes in one binding. known is the entry that the same packet has
// told of already, or none: to be told of twice by one packet is not to be seen
// again. It returns the binding's entry, or none if the binding is refused.
func (t *Table) observe(dst []Event, k key, mac parser.MAC, seconds int64, known uint32) ([]Event, uint32) {
	if !usable(mac, k.addr) {
		t.stats.Refused++
		return dst, none
	}
	h := t.store.hash(k)
	i := t.store.find(h, k)
	if i == none {
		i, evicted := t.store.add(h, k)
		e := t.store.at(i)
		e.mac = mac
		e.time = seconds
		if evicted {
			t.stats.Evicted++
		}
		t.stats.New++
		return append(dst, k.event(New, mac, parser.MAC{}, seconds)), i
	}
	if i != known {
		t.store.seenAgain(i, seconds)
	}
	e := t.store.at(i)
	switch {
	case e.mac != mac:
		dst = append(dst, k.event(Moved, mac, e.mac, seconds))
		e.mac = mac
		e.time = seconds
		t.stats.Moved++
	case seconds < e.time:
		e.time = seconds
	case elapsed(e.time, seconds) >= t.refresh:
		dst = append(dst, k.event(Refreshed, mac, parser.MAC{}, seconds))
		e.time = seconds
		t.stats.Refreshed++
	}
	return dst, i
}

// Stats returns the counters.
func (t *Table) Stats() Stats {
	s := t.stats
	s.Bindings = int(t.store.used)
	return s
}

// event returns an event of the binding with this key.
func (k key) event(kind Kind, mac, previous parser.MAC, seconds int64) Event {
	return Event{
		Kind:        kind,
		Interface:   k.iface,
		VID:         k.vid,
		InnerVID:    k.inner,
		Addr:        k.addr,
		MAC:         mac,
		PreviousMAC: previous,
		Time:        seconds,
	}
}

// usable says whether a host can have this pair of addresses. The sender
// protocol address of an ARP probe is 0.0.0.0 (RFC 5227 section 2.1.1), the
// target hardware address of a request or an announcement often zero or that of
// broadcast: neither is a binding.
func usable(mac parser.MAC, addr parser.Addr) bool {
	const group = 1 // IEEE 802 8.2.2: the I/G bit
	switch {
	case mac[0]&group != 0, mac == parser.MAC{}:
		return false
	case addr == parser.Addr{}, addr == parser.Addr{255, 255, 255, 255}:
		return false
	case addr[0]>>4 == 224>>4: // multicast, RFC 5771
		return false
	case addr[0] == 127: // loopback, RFC 1122 section 3.2.1.3
		return false
	}
	return true
}

// elapsed returns the seconds from one time to a later one. They can be more
// than an int64 holds.
func elapsed(from, to int64) uint64 {
	return uint64(to) - uint64(from)
}
