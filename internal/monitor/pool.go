package monitor

import (
	"log/slog"
	"time"

	"maas-netmon/internal/cli"
	"maas-netmon/internal/control"
	"maas-netmon/linkmon"
)

// The pool has the sockets for --match. They are opened in advance, because the confined monitor
// cannot open any. A socket of the pool is free, or has an interface. The monitor sends the
// interface's name to the parser before it binds the socket, and an empty name after it has unbound
// the socket. It waits for each answer, so that no frame is reported under another interface's
// name.

// The build fails unless both arrays have length 0: the longest name of the command line fits
// exactly into a message.
var (
	_ [cli.MaxName - control.MaxName]struct{}
	_ [control.MaxName - cli.MaxName]struct{}
)

// A pool is the state of --match.
type pool struct {
	patterns []string
	matches  []linkState // per pattern: up while an interface matches it, otherwise absent
	telling  bool        // a name was sent to the parser and not answered yet
	index    int         // the socket of that name
	sent     string      // the name that was sent
	released bool        // an interface was released since reportUnmatched was last called
	low      lossLog
}

// free reports whether a socket of the pool has no interface, and the parser knows that.
func (f *iface) free() bool { return f.pooled && f.name == "" && f.told == "" }

// assign assigns a socket of the pool to an interface that matches, unless the interface has one or
// is watched as an INTERFACE of the command line.
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

// release makes a socket of the pool free again, when its interface is gone or does not match any
// more.
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

// tellNames sends the parser the next name that it does not know, unless an answer is still
// missing: only one name is under way at a time.
func (m *monitor) tellNames() {
	if m.pool.telling {
		return
	}
	for i, f := range m.ifaces {
		if !f.pooled || f.name == f.told {
			continue
		}
		// Ignore an error: if the parser does not read, the next heartbeat tries again.
		if m.child.Send(control.NameMessage(uint16(i), f.name)) == nil {
			m.pool.telling, m.pool.index, m.pool.sent = true, i, f.name
		}
		return
	}
}

// handleNamed handles the parser's answer that it knows the name of a socket of the pool.
func (m *monitor) handleNamed() {
	f := m.ifaces[m.pool.index]
	m.pool.telling, f.told = false, m.pool.sent
	switch {
	case f.told == "":
		f.counters, f.drops = control.Counters{}, lossLog{}
		for _, l := range m.links.table.All() { // an interface may have been waiting for a socket
			m.assign(l)
		}
	case f.told == f.name:
		m.reconcile(f)
		m.sendStatus()
	}
	m.tellNames()
}

// reportUnmatched logs the patterns that no interface matches any more. complete means that the
// table was just replaced by a complete list.
func (m *monitor) reportUnmatched(complete bool) {
	for i, pattern := range m.pool.patterns {
		matches := &m.pool.matches[i]
		if !complete && !m.pool.released && matches.now == up {
			continue // an added interface cannot change that
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

// logMatches logs that no interface matches a pattern. If one does, the interface's own message is
// enough.
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
