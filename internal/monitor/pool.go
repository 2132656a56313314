package monitor

import (
	"log/slog"
	"time"

	"maas-netmon/internal/cli"
	"maas-netmon/internal/control"
	"maas-netmon/linkmon"
)

// The pool is the sockets for --match, opened in advance, since the confined monitor can open none. A
// socket of the pool is free, or has an interface. The parser is told the name of the interface
// before the socket is bound, and told that there is none any more after it is unbound. Its
// answers make sure that no frame comes under another interface's name.

// Both arrays have no element: the longest name of the command line is the longest of a message.
var (
	_ [cli.MaxName - control.MaxName]struct{}
	_ [control.MaxName - cli.MaxName]struct{}
)

// A pool is the state of --match.
type pool struct {
	patterns []string
	matches  []linkState // of each pattern: up while an interface matches it, otherwise absent
	telling  bool        // the parser was told a name and has not answered
	index    int         // of the socket
	sent     string      // its name
	released bool        // an interface is gone since the patterns were compared with the interfaces
	low      lossLog
}

// free reports whether a socket of the pool is without an interface.
func (f *iface) free() bool { return f.pooled && f.name == "" && f.told == "" }

// assign gives an interface that matches a socket of the pool, unless it has one or is watched as
// an INTERFACE of the command line.
func (m *monitor) assign(l linkmon.Link) {
	name := matchedName(m.pool.patterns, l)
	if name == "" {
		return
	}
	var socket *iface
	used, size := 0, 0
	for _, f := range m.ifaces {
		switch {
		case f.bound == l.Index, f.pooled && f.target == l.Index:
			return
		case !f.pooled:
			continue
		case !f.free():
			used++
		case socket == nil:
			socket = f
		}
		size++
	}
	if socket == nil {
		m.pool.low.add(1, "no socket is left for an interface that matches; a restart opens more", "interface", name, "sockets", size)
		return
	}
	socket.name, socket.target = name, l.Index
	if used+1 >= size*9/10 {
		m.pool.low.add(1, "the sockets for --match are running out; a restart opens more", "used", used+1, "sockets", size)
	}
	m.tellNames()
}

// release takes the interface from a socket of the pool.
func (m *monitor) release(f *iface) {
	if f.bound != 0 {
		m.unbind(f)
	}
	if f.link.existed {
		slog.Info("interface is gone", "interface", f.name)
	}
	m.pool.released = true
	m.statusChanged = m.statusChanged || f.link.now != up
	f.name, f.target, f.link = "", 0, linkState{}
	m.tellNames()
}

// tellNames tells the parser the next name that it does not know, unless an answer is missing.
func (m *monitor) tellNames() {
	if m.pool.telling {
		return
	}
	for i, f := range m.ifaces {
		if !f.pooled || f.name == f.told {
			continue
		}
		// Without an error: if the parser does not read, the next heartbeat tries again.
		if m.child.Send(control.NameMessage(uint16(i), f.name)) == nil {
			m.pool.telling, m.pool.index, m.pool.sent = true, i, f.name
		}
		return
	}
}

// handleNamed takes the parser's answer: it knows the name of a socket of the pool.
func (m *monitor) handleNamed() {
	f := m.ifaces[m.pool.index]
	m.pool.telling, f.told = false, m.pool.sent
	switch {
	case f.told == "":
		f.counters, f.drops = control.Counters{}, lossLog{}
		for _, l := range m.links.table.All() { // one may have been without a socket
			m.assign(l)
		}
	case f.told == f.name:
		m.reconcile(f)
		m.sendStatus()
	}
	m.tellNames()
}

// reportUnmatched logs which patterns no interface matches any more. complete tells that the table has
// just been read anew.
func (m *monitor) reportUnmatched(complete bool) {
	for i, pattern := range m.pool.patterns {
		matches := &m.pool.matches[i]
		if !complete && !m.pool.released && matches.now == up {
			continue // one interface more cannot change that
		}
		now := absent
		for _, l := range m.links.table.All() {
			if matchedName([]string{pattern}, l) != "" {
				now = up
				break
			}
		}
		messages, flaps := matches.next(now, time.Now())
		m.logMatches(i, messages, flaps)
	}
	m.pool.released = false
}

// logMatches logs that no interface matches a pattern. Of one that does, the interface's own message
// is enough.
func (m *monitor) logMatches(pattern int, messages []message, flaps uint64) {
	if len(messages) == 0 {
		return
	}
	m.statusChanged = true
	if m.pool.matches[pattern].now == up {
		return
	}
	attrs := []any{"match", m.pool.patterns[pattern]}
	if flaps > 0 {
		attrs = append(attrs, "flaps", flaps)
	}
	slog.Warn("no interface matches, waiting for one", attrs...)
}

// poolUse returns how many sockets the pool has and how many of them have an interface.
func (m *monitor) poolUse() (used, size int) {
	for _, f := range m.ifaces {
		if f.pooled {
			size++
			if !f.free() {
				used++
			}
		}
	}
	return used, size
}
