// Package trackertest says again what package tracker does, slowly and in plain
// sight. It is for tests only.
package trackertest

import (
	"fmt"
	"math"
	"slices"

	"maas-netmon/parser"
	"maas-netmon/tracker"
)

// Key is what a binding is known by.
type Key struct {
	Interface, VID, InnerVID uint16
	Addr                     parser.Addr
}

type binding struct {
	mac  parser.MAC
	time int64 // of the last event
}

// Model is a table of bindings made of a map and two lists, each with the binding
// seen last at its end. The zero value does not work; see [NewModel].
type Model struct {
	limit     int
	refresh   int64 // whole seconds
	bindings  map[Key]*binding
	probation []Key
	protected []Key
	stats     map[uint16]*tracker.Stats // by interface
}

// NewModel returns an empty model. refresh is in seconds.
func NewModel(limit int, refresh int64) *Model {
	return &Model{
		limit:    limit,
		refresh:  refresh,
		bindings: make(map[Key]*binding),
		stats:    make(map[uint16]*tracker.Stats),
	}
}

// CheckStats says in which interface's counters a table differs from the model, or
// that it has more bindings than it may; nothing if it is as it should be.
func (m *Model) CheckStats(table *tracker.Table) string {
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
	return ""
}

// of returns the counters of an interface.
func (m *Model) of(iface uint16) *tracker.Stats {
	if m.stats[iface] == nil {
		m.stats[iface] = &tracker.Stats{}
	}
	return m.stats[iface]
}

// Observe returns the events that follow from a packet.
func (m *Model) Observe(iface uint16, seconds int64, arp parser.ARP) []tracker.Event {
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
	var events []tracker.Event
	told := make(map[Key]bool)
	for _, c := range claims {
		if !hostMAC(c.mac) || !hostAddr(c.addr) {
			m.of(iface).Refused++
			continue
		}
		k := Key{iface, arp.VID, arp.InnerVID, c.addr}
		e := tracker.Event{Interface: iface, VID: arp.VID, InnerVID: arp.InnerVID, Addr: c.addr, MAC: c.mac, Time: seconds}
		if m.observe(k, &e, told[k]) {
			events = append(events, e)
		}
		told[k] = true
	}
	return events
}

// observe fills in what is missing from an event and reports whether there is one.
func (m *Model) observe(k Key, e *tracker.Event, told bool) bool {
	now := min(max(e.Time, 0), math.MaxUint32)
	b := m.bindings[k]
	if b == nil {
		if len(m.bindings) == m.limit {
			oldest := m.probation[0]
			delete(m.bindings, oldest)
			m.probation = m.probation[1:]
			m.of(oldest.Interface).Bindings--
			m.of(oldest.Interface).Evicted++
		}
		m.bindings[k] = &binding{e.MAC, now}
		m.probation = append(m.probation, k)
		m.of(k.Interface).Bindings++
		m.of(k.Interface).New++
		e.Kind = tracker.New
		return true
	}
	if !told {
		m.seenAgain(k, now)
	}
	switch {
	case b.mac != e.MAC:
		e.Kind = tracker.Moved
		e.PreviousMAC = b.mac
		m.of(k.Interface).Moved++
	case now < b.time:
		b.time = now
		return false
	case now-b.time >= m.refresh:
		e.Kind = tracker.Refreshed
		m.of(k.Interface).Refreshed++
	default:
		return false
	}
	b.mac, b.time = e.MAC, now
	return true
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
