// Package trackertest says again what package tracker does, slowly and in plain
// sight. It is for tests only.
package trackertest

import (
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
	stats     tracker.Stats
	evicted   map[uint16]uint64 // by interface
}

// NewModel returns an empty model. refresh is in seconds.
func NewModel(limit int, refresh int64) *Model {
	return &Model{limit: limit, refresh: refresh, bindings: make(map[Key]*binding), evicted: make(map[uint16]uint64)}
}

// Stats returns the counters.
func (m *Model) Stats() tracker.Stats {
	s := m.stats
	s.Bindings = len(m.bindings)
	return s
}

// Use returns what an interface uses.
func (m *Model) Use(iface uint16) tracker.Use {
	u := tracker.Use{Evicted: m.evicted[iface]}
	for k := range m.bindings {
		if k.Interface == iface {
			u.Bindings++
		}
	}
	return u
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
		m.stats.Ignored++
	}
	var events []tracker.Event
	told := make(map[Key]bool)
	for _, c := range claims {
		if !hostMAC(c.mac) || !hostAddr(c.addr) {
			m.stats.Refused++
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
			gone := m.probation[0]
			delete(m.bindings, gone)
			m.probation = m.probation[1:]
			m.stats.Evicted++
			m.evicted[gone.Interface]++
		}
		m.bindings[k] = &binding{e.MAC, now}
		m.probation = append(m.probation, k)
		m.stats.New++
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
		m.stats.Moved++
	case now < b.time:
		b.time = now
		return false
	case now-b.time >= m.refresh:
		e.Kind = tracker.Refreshed
		m.stats.Refreshed++
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
