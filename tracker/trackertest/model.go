// Package trackertest is a slow and simple implementation of package tracker, for comparison. It is
// for tests only.
package trackertest

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"maas-netmon/parser"
	"maas-netmon/tracker"
)

// Key identifies a binding.
type Key struct {
	Interface, VID, InnerVID uint16
	Addr                     netip.Addr
}

type binding struct {
	mac, previous parser.MAC
	time          int64 // of the last change

	told   bool   // there was an event
	moves  uint32 // since the last event
	seen   bool   // refreshed since the last event
	waits  int    // since this change or end of a rest, numbered over all bindings; 0: no
	rests  bool   // until end
	end    time.Duration
	rested int // order of the events after which bindings rest
}

// pending reports whether an event is pending.
func (b *binding) pending() bool {
	return !b.told || b.moves > 0 || b.seen
}

// kind returns the kind of the pending event.
func (b *binding) kind() tracker.Kind {
	switch {
	case !b.told:
		return tracker.New
	case b.moves > 0:
		return tracker.Moved
	}
	return tracker.Refreshed
}

// Model is a table of bindings made of a map and two lists, each of which ends with the binding
// seen last. The zero value does not work; see [NewModel].
type Model struct {
	limit     int
	refresh   int64         // whole seconds
	interval  time.Duration // the moved interval
	now       time.Duration
	order     int
	bindings  map[Key]*binding
	probation []Key
	protected []Key
	stats     map[uint16]*tracker.Stats // by interface
}

// NewModel returns an empty model. refresh is in seconds.
func NewModel(limit int, refresh int64, interval time.Duration) *Model {
	return &Model{
		limit:    limit,
		refresh:  refresh,
		interval: interval,
		bindings: make(map[Key]*binding),
		stats:    make(map[uint16]*tracker.Stats),
	}
}

// Check returns the difference between a table and the model in counters, in the number of
// bindings, and in waiting bindings, or "".
func (m *Model) Check(table *tracker.Table) string {
	bindings := uint64(0)
	for iface, want := range m.stats {
		got := table.Stats(iface)
		if got != *want {
			return fmt.Sprintf("interface %d: %+v, want %+v", iface, got, *want)
		}
		bindings += got.Bindings
	}
	if bindings != uint64(len(m.bindings)) || len(m.bindings) > m.limit {
		return fmt.Sprintf("%d bindings, want %d, %d at the most", bindings, len(m.bindings), m.limit)
	}
	if want := len(m.waiting()) > 0; table.Waiting() != want {
		return fmt.Sprintf("waiting: %t, want %t", !want, want)
	}
	due, ok := table.Due()
	first, held := m.due()
	if ok != held || held && (due <= m.now || due > first) {
		return fmt.Sprintf("due at %v, %t, want %v at the latest, %t", due, ok, first, held)
	}
	return ""
}

// due returns the end of the first rest after which an event is pending.
func (m *Model) due() (first time.Duration, held bool) {
	for _, b := range m.bindings {
		if b.rests && b.pending() && (!held || b.end < first) {
			first, held = b.end, true
		}
	}
	return first, held
}

// waiting returns the bindings that wait to be reported, in their order.
func (m *Model) waiting() []Key {
	var keys []Key
	for k, b := range m.bindings {
		if b.waits > 0 {
			keys = append(keys, k)
		}
	}
	rank := map[tracker.Kind]int{tracker.Moved: 1, tracker.New: 2, tracker.Refreshed: 3}
	slices.SortFunc(keys, func(x, y Key) int {
		a, b := m.bindings[x], m.bindings[y]
		if a.kind() != b.kind() {
			return rank[a.kind()] - rank[b.kind()]
		}
		return a.waits - b.waits
	})
	return keys
}

// Advance sets the time that has passed.
func (m *Model) Advance(now time.Duration) {
	m.now = max(m.now, now)
	m.endRests(m.now)
}

// Flush ends all rests.
func (m *Model) Flush() {
	m.endRests(math.MaxInt64)
}

// endRests ends the rests that end until a time, in the order in which they began.
func (m *Model) endRests(until time.Duration) {
	var ended []*binding
	for _, b := range m.bindings {
		if b.rests && b.end <= until {
			ended = append(ended, b)
		}
	}
	slices.SortFunc(ended, func(a, b *binding) int { return a.rested - b.rested })
	for _, b := range ended {
		b.rests = false
		if b.pending() {
			m.order++
			b.waits = m.order
		}
	}
}

// Next returns the next event of the bindings that wait.
func (m *Model) Next() (tracker.Event, bool) {
	keys := m.waiting()
	if len(keys) == 0 {
		return tracker.Event{}, false
	}
	return m.tell(keys[0], m.bindings[keys[0]].time), true
}

// tell returns the event of a binding.
func (m *Model) tell(k Key, seconds int64) tracker.Event {
	b := m.bindings[k]
	e := tracker.Event{Kind: b.kind(), Interface: k.Interface, VID: k.VID, InnerVID: k.InnerVID, Addr: k.Addr, MAC: b.mac, Time: seconds}
	switch e.Kind {
	case tracker.New:
		m.of(k.Interface).New++
	case tracker.Moved:
		e.PreviousMAC = b.previous
		e.Moves = b.moves
		m.of(k.Interface).Moved++
		if m.interval > 0 {
			// The ends of rests are multiples of a thirtieth of the interval.
			unit := (m.interval + 29) / 30
			m.order++
			b.rests, b.rested = true, m.order
			b.end = (m.now + m.interval + unit - 1) / unit * unit
		}
	case tracker.Refreshed:
		m.of(k.Interface).Refreshed++
	}
	b.told, b.moves, b.seen, b.waits = true, 0, false, 0
	return e
}

// Forget drops all bindings of an interface.
func (m *Model) Forget(iface uint16) {
	for k := range m.bindings {
		if k.Interface == iface {
			m.drop(k)
		}
	}
}

// Abandon counts the waiting bindings as unreported.
func (m *Model) Abandon() {
	m.Flush()
	for k, b := range m.bindings {
		if b.waits > 0 {
			m.of(k.Interface).Unreported++
			b.told, b.moves, b.seen, b.waits = true, 0, false, 0
		}
	}
}

// drop removes a binding.
func (m *Model) drop(k Key) {
	b := m.bindings[k]
	if b.waits > 0 || b.rests && b.pending() {
		m.of(k.Interface).Unreported++
	}
	m.of(k.Interface).Bindings--
	delete(m.bindings, k)
	same := func(other Key) bool { return other == k }
	m.probation = slices.DeleteFunc(m.probation, same)
	m.protected = slices.DeleteFunc(m.protected, same)
}

// of returns the counters of an interface.
func (m *Model) of(iface uint16) *tracker.Stats {
	if m.stats[iface] == nil {
		m.stats[iface] = &tracker.Stats{}
	}
	return m.stats[iface]
}

// Observe returns the events of a packet. With room, they are reported at once, unless another
// binding waits.
func (m *Model) Observe(room bool, iface uint16, seconds int64, arp parser.ARP) []tracker.Event {
	type claim struct {
		addr parser.Addr
		mac  parser.MAC
	}
	sender := claim{arp.SenderProtocol, arp.SenderHardware}
	target := claim{arp.TargetProtocol, arp.TargetHardware}
	var claims []claim
	switch arp.Operation {
	case 1:
		claims = []claim{sender}
	case 2:
		claims = []claim{sender, target}
	default:
		m.of(iface).Ignored++
	}
	room = room && len(m.waiting()) == 0
	var events []tracker.Event
	mentioned := make(map[Key]bool)
	for _, c := range claims {
		if !hostMAC(c.mac) || !hostAddr(c.addr) {
			m.of(iface).Refused++
			continue
		}
		k := Key{iface, arp.VID, arp.InnerVID, netip.AddrFrom4(c.addr)}
		if m.observe(k, c.mac, seconds, mentioned[k], room) {
			events = append(events, m.tell(k, seconds))
		}
		mentioned[k] = true
	}
	return events
}

// ObserveND is Observe for a Neighbor Discovery packet.
func (m *Model) ObserveND(room bool, iface uint16, seconds int64, nd parser.ND) []tracker.Event {
	stats := m.of(iface)
	var addr netip.Addr
	switch nd.Type {
	case 133, 134, 135:
		addr = netip.AddrFrom16(nd.Source)
	case 136:
		addr = netip.AddrFrom16(nd.Target)
	default:
		stats.Ignored++
		return nil
	}
	if !nd.HasLinkLayer {
		return nil
	}
	if !hostMAC(nd.LinkLayer) || addr.IsMulticast() || addr.IsUnspecified() || addr.IsLoopback() || addr.Is4In6() {
		stats.Refused++
		return nil
	}
	k := Key{iface, nd.VID, nd.InnerVID, addr}
	if b := m.bindings[k]; b != nil && b.mac != nd.LinkLayer && nd.Type == 136 && !nd.Override {
		stats.Ignored++
		return nil
	}
	if m.observe(k, nd.LinkLayer, seconds, false, room && len(m.waiting()) == 0) {
		return []tracker.Event{m.tell(k, seconds)}
	}
	return nil
}

// observe records one binding and reports whether its event is returned at once.
func (m *Model) observe(k Key, mac parser.MAC, seconds int64, mentioned, room bool) bool {
	now := min(max(seconds, 0), math.MaxUint32)
	b := m.bindings[k]
	moved, refreshed := false, false
	if b == nil {
		if len(m.bindings) == m.limit {
			oldest := m.probation[0]
			m.drop(oldest)
			m.of(oldest.Interface).Evicted++
		}
		b = &binding{mac: mac}
		m.bindings[k] = b
		m.probation = append(m.probation, k)
		m.of(k.Interface).Bindings++
	} else {
		if !mentioned {
			m.seenAgain(k, now)
		}
		moved = b.mac != mac
		refreshed = !moved && now-b.time >= m.refresh
		if !moved && !refreshed {
			b.time = min(b.time, now)
			return false
		}
	}
	b.time = now
	if moved {
		b.previous, b.mac = b.mac, mac
	}
	if !b.told && b.waits > 0 {
		return false
	}
	before := b.kind()
	if !b.pending() {
		before = 0
	}
	if moved {
		b.moves++
	}
	b.seen = b.seen || refreshed
	switch {
	case b.rests:
		// A refresh is not a move: it need not wait for the end of the rest.
		return room && refreshed && before == 0
	case b.waits > 0 && b.kind() == before:
		return false
	case room:
		return true
	}
	m.order++
	b.waits = m.order
	return false
}

// seenAgain moves a binding to the end of the list where it belongs.
func (m *Model) seenAgain(k Key, now int64) {
	if i := slices.Index(m.protected, k); i >= 0 {
		m.protected = append(slices.Delete(m.protected, i, i+1), k)
		return
	}
	i := slices.Index(m.probation, k)
	m.probation = slices.Delete(m.probation, i, i+1)
	limit := m.limit * 4 / 5
	if len(m.protected) == limit && limit > 0 {
		oldest := m.protected[0]
		if now-m.bindings[oldest].time >= m.refresh+24*60*60 {
			m.protected = m.protected[1:]
			m.probation = append(m.probation, oldest)
		}
	}
	if len(m.protected) < limit {
		m.protected = append(m.protected, k)
	} else {
		m.probation = append(m.probation, k)
	}
}

func hostMAC(m parser.MAC) bool {
	return m != parser.MAC{} && m[0]%2 == 0
}

func hostAddr(a parser.Addr) bool {
	n := int(a[0])<<24 | int(a[1])<<16 | int(a[2])<<8 | int(a[3])
	switch {
	case n == 0, n == 1<<32-1:
		return false
	case n >= 127<<24 && n < 128<<24:
		return false
	case n >= 224<<24 && n < 240<<24:
		return false
	}
	return true
}
