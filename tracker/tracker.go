// Package tracker remembers the last hardware address of each protocol address and reports when
// it changes.
//
// It runs in the confined parser process. It is a pure state machine: the caller passes the time of
// each frame and the time that has passed; there is no clock, no timer, no goroutine and no I/O.
// The same calls always give the same events. The package does not depend on the source of packets
// or the form of the output.
//
// # Bindings and changes
//
// A binding is identified by interface, VLAN IDs and protocol address. An ARP request contains one
// binding, that of its sender; a reply contains two, the sender's and then the target's. A Neighbor
// Discovery packet contains one, or none if it has no link-layer address: that of its source, or of
// the target if it is a neighbor advertisement. A binding that is not in the table is [New]. One
// whose hardware address differs from the last one is [Moved]. One that is seen again with the same
// hardware address at least [Config.Refresh] after its last change is [Refreshed]. These three are
// changes. A neighbor advertisement without the override flag is never a move: with another
// hardware address it is ignored, as RFC 4861 section 7.2.5 requires of a neighbor cache. Any other
// sighting changes nothing and does not change the time of the last change, unless the clock was
// set back: then that time is set back to the frame's, so that a clock that is corrected by an hour
// does not silence every host for an hour.
//
// # Changes and events
//
// Observing a change and reporting it are two steps. [Table.Observe] returns the events of a packet
// at once, in packet order. While nothing can be written, the caller uses [Table.Note] instead:
// then each binding that changes waits in the table, and [Table.Next] returns one event for each
// when there is room again. A binding waits once, however often it changes, and the event describes
// its state at the time of Next:
//
//   - A binding that was never reported gives New with its latest hardware address, even if it
//     moved in the meantime. Otherwise a flood of invented bindings that all move once would
//     delay the moves of bindings that the reader knows.
//   - A binding that was reported and has moved since gives Moved. MAC is the latest hardware
//     address, PreviousMAC the one before it, Moves the number of moves since the last event of
//     this binding. A binding that moved there and back gives Moved too, with two moves: the
//     hardware address is that of the last event, but the binding did move.
//   - Any other binding that waits gives Refreshed.
//
// Time is that of the frame of the latest change. Moved bindings come first, then new ones, then
// refreshed ones. Within each of the three, the binding that began to wait first comes first. As
// long as one binding waits, Observe reports nothing at once either: the events of its packet wait,
// too.
//
// # The moved interval
//
// With [Config.MovedInterval], a binding rests for that long after each Moved event. A move
// while it rests is remembered, and the binding begins to wait when its rest ends. So the first
// move is reported at once, further ones at most once per interval, and the last state always,
// even if no further packet comes: [Table.Due] tells when to call [Table.Advance]. The end of
// the rest is rounded up, by at most a fifteenth of the interval.
//
// # The bound and the order of eviction
//
// The hosts on the LAN choose the keys, so the table has a bound. In a full table a new binding
// takes the place of an old one. That is counted, and gives no event: an evicted binding is New
// when it is seen again, even if it has moved in between. If it waited to be reported, it is
// also counted as unreported. An attacker could hide a takeover by a flood of invented
// addresses if such a flood evicted the victim, so the table has two segments:
//
//   - A new binding enters probation. When another packet contains it again, it moves to the
//     protected segment, four fifths of the bound, if there is room.
//   - Only the binding of probation that was seen least recently is ever evicted.
//   - A protected binding loses its place only to another binding that was seen twice, and
//     only if it was not seen for a day. It returns to probation then. The day is
//     counted by the frames' own time.
//
// So a host that was seen twice before a flood stays in the table as long as it is seen once per
// day, for any number of invented addresses and repetitions. There is a limit: an attacker who
// comes first can fill the protected segment. Then hosts that appear later stay on probation, where
// the least recently seen is evicted first, until the attacker stops for a day.
//
// # Memory
//
// A binding takes 63 bytes, or 79 with [Config.IPv6], whether it waits or not, without pointers, so
// the garbage collector does not scan the table. The table has address space for its bound from the
// start, or for a million bindings if its bound is higher. The kernel allocates memory as the
// number of bindings grows, up to the bound; the table never shrinks. Beyond a million bindings it
// doubles. An observation takes constant time on average, for any number of bindings; all except
// those that double the table take constant time in the worst case. The place of a binding depends
// on a hash with a random secret, so an attacker cannot choose addresses that collide.
package tracker

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"maas-netmon/parser"
)

// Kind is the type of a change. The zero value is invalid.
type Kind uint8

const (
	New       Kind = iota + 1 // not in the table before
	Moved                     // another hardware address than before
	Refreshed                 // unchanged, some time after its last change
)

// String returns the name of the kind as in the output.
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

// Event is a change of one binding, as reported. It is comparable and refers to no buffer.
type Event struct {
	Kind        Kind
	Interface   uint16 // the number that the caller gave to Observe or Note
	VID         uint16 // outermost VLAN ID, 0: none
	InnerVID    uint16 // second VLAN ID, 0: none
	Addr        netip.Addr
	MAC         parser.MAC
	PreviousMAC parser.MAC // of a Moved binding, else zero
	// Moves is the number of moves that a Moved event reports, at least 1, otherwise 0. It does not
	// count beyond 67,108,863.
	Moves uint32
	// Time is that of the frame, in seconds since the Unix epoch. The time of an event that
	// waited is in the range of uint32: other times count as its nearer end.
	Time int64
}

// Limits of a table.
const (
	MaxBindings      = 1 << 30        // largest bound
	MaxInterfaces    = 1 << 10        // numbers of interfaces are less than this
	MaxMovedInterval = 24 * time.Hour // largest moved interval
)

// protectedIdle is the time in seconds after its last change after which a protected binding can
// lose its place, in addition to the refresh interval. A binding that is seen changes at least once
// per refresh interval, so it was not seen for at least this time.
const protectedIdle = 24 * 60 * 60

// Config has the settings of the operator.
type Config struct {
	// MaxBindings bounds the table, over all interfaces: 1 to [MaxBindings].
	MaxBindings int
	// Refresh is the time after its last change at which an unchanged binding is reported again.
	// Frame times are whole seconds, so a fraction counts as a whole second. With zero, every
	// sighting is reported.
	Refresh time.Duration
	// MovedInterval is the time for which a binding rests after a Moved event: 0 to
	// [MaxMovedInterval]. With zero, every move is reported.
	MovedInterval time.Duration
	// IPv6 is whether [Table.ObserveND] and [Table.NoteND] will be called. It takes 16 more bytes
	// per binding.
	IPv6 bool
}

// Stats has the counters of a table for one interface. Each number except Bindings only grows.
type Stats struct {
	New       uint64 // events by kind
	Moved     uint64
	Refreshed uint64

	// Refused is the number of bindings that packets contained and that no host can have: those
	// whose hardware address is zero or a group address, or whose protocol address is 0.0.0.0,
	// 255.255.255.255, in 224.0.0.0/4 or in 127.0.0.0/8, or, of IPv6, ::, ::1, multicast or
	// IPv4-mapped. A binding counts once, also with several errors: a request adds at most one, a
	// reply at most two.
	Refused uint64
	// Ignored is the number of packets that are neither request nor reply, and of neighbor
	// advertisements that have no override flag and another hardware address than the one in the
	// table. None of their bindings is in Refused.
	Ignored uint64
	// Evicted is the number of bindings that were replaced by a new one, of this or another
	// interface.
	Evicted uint64
	// Unreported is the number of bindings that waited to be reported and were evicted,
	// forgotten or abandoned before that.
	Unreported uint64
	// Bindings is the number of bindings in the table now.
	Bindings uint64
}

// Table is the table of bindings of all interfaces. It is not safe for concurrent use. Make one
// with [NewTable]; the zero value is not usable.
type Table struct {
	refresh uint64  // whole seconds
	stats   []Stats // by interface
	store   store

	interval time.Duration // the moved interval
	tick     time.Duration // unit in which the end of a rest is measured
	now      time.Duration // the last value from the caller
	ticks    uint64        // whole ticks in now
}

// NewTable returns an empty table. The error names the field of the configuration that is out
// of range.
func NewTable(c Config) (*Table, error) {
	switch {
	case c.MaxBindings < 1 || c.MaxBindings > MaxBindings:
		return nil, fmt.Errorf("bound of the table of bindings: %d is not in 1 to %d", c.MaxBindings, MaxBindings)
	case c.Refresh < 0:
		return nil, fmt.Errorf("refresh interval: %v is negative", c.Refresh)
	case c.MovedInterval < 0 || c.MovedInterval > MaxMovedInterval:
		return nil, fmt.Errorf("moved interval: %v is not in 0 to %v", c.MovedInterval, MaxMovedInterval)
	}
	refresh := uint64(c.Refresh / time.Second)
	if c.Refresh%time.Second != 0 {
		refresh++
	}
	// With these ticks, no rest ends more than a turn of the wheel from now.
	const ticks = wheelSize - 2
	t := &Table{refresh: refresh, interval: c.MovedInterval, tick: max(1, (c.MovedInterval+ticks-1)/ticks)}
	t.store.init(uint32(c.MaxBindings), protectedIdle+refresh, c.IPv6)
	return t, nil
}

// Advance sets the time since a fixed moment that the caller chooses. Only the moved interval
// depends on it. A time before an earlier one has no effect.
func (t *Table) Advance(now time.Duration) {
	if now <= t.now || t.interval == 0 {
		return
	}
	t.now = now
	ticks := uint64(now / t.tick)
	for tick := t.ticks + 1; tick <= min(ticks, t.ticks+wheelSize); tick++ {
		t.store.wake(tick)
	}
	t.ticks = ticks
}

// Due returns the time by which to call Advance because the rest of a binding that has moved
// ends. It returns false if there is no such binding. The time can be too early, if the first
// binding whose rest ends has not moved.
func (t *Table) Due() (time.Duration, bool) {
	if t.store.held == 0 {
		return 0, false
	}
	return time.Duration(t.store.restEnds(t.ticks)) * t.tick, true
}

// Flush ends all rests, so that Next returns every unreported change.
func (t *Table) Flush() {
	for n := range uint64(wheelSize) {
		t.store.wake(t.ticks + 1 + n)
	}
}

// Observe processes the bindings of one packet, seen on an interface at a time in seconds since the
// Unix epoch, and appends the events to dst: none, one or two, in the order of the packet. While
// other bindings wait to be reported, it returns no events, like Note.
//
// The interface is a number less than [MaxInterfaces]; there are counters for each up to the
// highest one used. Observe allocates nothing if dst has room, except for the table's own
// growth. It keeps neither dst nor arp.
func (t *Table) Observe(dst []Event, iface uint16, seconds int64, arp *parser.ARP) []Event {
	return t.observe(dst, t.store.ready == 0, iface, seconds, arp)
}

// Note is Observe for a caller that cannot write at the moment: bindings that change wait for Next.
func (t *Table) Note(iface uint16, seconds int64, arp *parser.ARP) {
	t.observe(nil, false, iface, seconds, arp)
}

// observe implements Observe if atOnce is true, otherwise Note.
func (t *Table) observe(dst []Event, atOnce bool, iface uint16, seconds int64, arp *parser.ARP) []Event {
	stats := t.of(iface)
	if arp.Operation != parser.OperationRequest && arp.Operation != parser.OperationReply {
		stats.Ignored++
		return dst
	}
	now := storedTime(seconds)
	sender := none
	if usable(&arp.SenderHardware, &arp.SenderProtocol) {
		var kind Kind
		k := keyOf(arp.SenderProtocol, iface, arp.VID, arp.InnerVID)
		if sender, kind = t.see(k, &arp.SenderHardware, now, none); kind != 0 {
			dst = t.change(dst, atOnce, kind, sender, &arp.SenderHardware, seconds)
		}
	} else {
		stats.Refused++
	}
	if arp.Operation == parser.OperationRequest {
		return dst
	}
	if usable(&arp.TargetHardware, &arp.TargetProtocol) {
		k := keyOf(arp.TargetProtocol, iface, arp.VID, arp.InnerVID)
		if target, kind := t.see(k, &arp.TargetHardware, now, sender); kind != 0 {
			dst = t.change(dst, atOnce, kind, target, &arp.TargetHardware, seconds)
		}
	} else {
		stats.Refused++
	}
	return dst
}

// of returns the counters of an interface.
func (t *Table) of(iface uint16) *Stats {
	for len(t.stats) <= int(iface) {
		if iface >= MaxInterfaces {
			panic("tracker: number of an interface out of range")
		}
		t.stats = append(t.stats, Stats{})
	}
	return &t.stats[iface]
}

// see finds or creates the entry of a binding. It returns the entry and how the binding has
// changed, or 0 if it has not; if it has, the caller calls change. known is the entry that the same
// packet has already given, or none: a second mention in one packet is not a second sighting.
func (t *Table) see(k key, mac *parser.MAC, now, known uint32) (uint32, Kind) {
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

// learn creates an entry for a binding that has none.
func (t *Table) learn(h uint32, k key) uint32 {
	i, evicted, of, unreported := t.store.add(h, k)
	t.stats[t.store.at(i).iface()].Bindings++
	if evicted {
		t.stats[of].Bindings--
		t.stats[of].Evicted++
		if unreported {
			t.stats[of].Unreported++
		}
	}
	return i
}

// change records a change in the entry of its binding. It appends the event to dst if it is
// reported at once, otherwise the binding waits.
func (t *Table) change(dst []Event, atOnce bool, kind Kind, i uint32, mac *parser.MAC, seconds int64) []Event {
	s := &t.store
	e := s.at(i)
	state := e.state()
	switch {
	case kind != Moved:
	case state == waitsFresh: // still New
	case state == rests || state == restsRefreshed:
		if !s.isHeld(i) {
			s.held++
		}
		s.setMoves(i, s.moves(i)+1)
	case state == waitsMoved:
		s.setMoves(i, s.moves(i)+1)
	default:
		s.leave(i)
		s.setMoves(i, 1)
		state = reported
	}
	if kind == Moved {
		s.waits[i].previous = e.mac
	}
	e.mac = *mac
	e.time = storedTime(seconds)
	switch {
	case state == reported && !atOnce:
		s.enqueue(stateOf(kind), i)
	case state == reported, kind == Refreshed && atOnce && !s.isHeld(i):
		dst = append(dst, t.event(kind, i, seconds))
	case kind == Refreshed && state == rests:
		if !s.isHeld(i) {
			s.held++
		}
		e.setState(restsRefreshed)
	}
	return dst
}

// stateOf returns the state of a binding that was reported, or is new, and waits because of a
// change.
func stateOf(kind Kind) uint16 {
	switch kind {
	case New:
		return waitsFresh
	case Moved:
		return waitsMoved
	}
	return waitsRefreshed
}

// Waiting reports whether Next has an event.
func (t *Table) Waiting() bool {
	return t.store.ready > 0
}

// Next sets e to the next event of the bindings that wait. It returns false if none waits.
func (t *Table) Next(e *Event) bool {
	i := t.store.first()
	if i == none {
		return false
	}
	entry := t.store.at(i)
	kind := New
	switch entry.state() {
	case waitsMoved:
		kind = Moved
	case waitsRefreshed:
		kind = Refreshed
	}
	t.store.leave(i)
	*e = t.event(kind, i, int64(entry.time))
	return true
}

// event returns the event for a binding, and counts it.
func (t *Table) event(kind Kind, i uint32, seconds int64) Event {
	e := t.store.at(i)
	event := Event{
		Kind:      kind,
		Interface: e.iface(),
		VID:       uint16(e.addr>>20) & vidMask,
		InnerVID:  uint16(e.addr>>8) & vidMask,
		Addr:      t.store.addr(i),
		MAC:       e.mac,
		Time:      seconds,
	}
	stats := &t.stats[event.Interface]
	switch kind {
	case New:
		stats.New++
	case Moved:
		event.PreviousMAC = t.store.waits[i].previous
		event.Moves = t.store.moves(i)
		stats.Moved++
		if t.interval > 0 {
			t.store.rest(i, uint64((t.now+t.interval+t.tick-1)/t.tick))
		}
	case Refreshed:
		stats.Refreshed++
	}
	return event
}

// Forget drops all bindings of an interface, without events. Those that waited to be reported
// are counted. It takes time in proportion to the size of the table, some ten milliseconds for
// 262,144 bindings.
func (t *Table) Forget(iface uint16) {
	for i := firstBinding; t.Stats(iface).Bindings > 0; i++ {
		e := t.store.at(i)
		if e.isFree() || e.iface() != iface {
			continue
		}
		stats := &t.stats[iface]
		stats.Bindings--
		if t.store.drop(i) {
			stats.Unreported++
		}
		t.store.release(i)
	}
}

// Abandon counts the bindings that wait as unreported, for a caller that will report no more.
func (t *Table) Abandon() {
	t.Flush()
	for i := t.store.first(); i != none; i = t.store.first() {
		t.store.leave(i)
		t.stats[t.store.at(i).iface()].Unreported++
	}
}

// Stats returns the counters of an interface.
func (t *Table) Stats(iface uint16) Stats {
	if int(iface) >= len(t.stats) {
		return Stats{}
	}
	return t.stats[iface]
}

// usable reports whether a host can have this pair of addresses. The sender protocol address of
// an ARP probe is 0.0.0.0 (RFC 5227 section 2.1.1). The target hardware address of a request or
// an announcement is often zero or broadcast. Neither is a binding.
func usable(mac *parser.MAC, addr *parser.Addr) bool {
	switch {
	case !usableMAC(mac):
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

// usableMAC reports whether a host can have this hardware address.
func usableMAC(mac *parser.MAC) bool {
	const group = 1 // IEEE 802 8.2.2: the I/G bit
	return mac[0]&group == 0 && *mac != parser.MAC{}
}

// storedTime converts a time to the form in entries. The time of a frame is always in the range
// 1970 to 2106 (struct tpacket2_hdr in include/uapi/linux/if_packet.h). A file can contain other
// times, which count as the nearer end of that range.
func storedTime(seconds int64) uint32 {
	return uint32(min(max(seconds, 0), math.MaxUint32))
}
