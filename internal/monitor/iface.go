// This file binds each socket to the interface that currently has the socket's name. linkmon's
// table and the kernel's bindings hold the state. Every update of the table leads to the same
// function, reconcile, so that no sequence of updates needs code of its own.

package monitor

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/capture/packetsock"
	"maas-netmon/internal/control"
	"maas-netmon/linkmon"
)

// An iface is one INTERFACE of the command line, a socket of the pool with its present interface,
// or the FILE, for which only the name and the counters are used.
type iface struct {
	name     string             // "" for a socket of the pool without an interface
	socket   *packetsock.Socket // nil for a file
	bound    int                // index of the interface that the socket is bound to, 0 for none
	link     linkState
	counters control.Counters
	drops    lossLog // frames

	pooled bool
	told   string // of the pool: the name that the parser knows
	target int    // of the pool: the index of its interface
}

// sockets returns the sockets of interfaces.
func sockets(ifaces []*iface) (all []*packetsock.Socket) {
	for _, f := range ifaces {
		if f.socket != nil {
			all = append(all, f.socket)
		}
	}
	return all
}

// links follows the kernel's interfaces, and has the state of the comparison with the sockets'
// bindings.
type links struct {
	*linkmon.Monitor
	table     linkmon.Table // of all interfaces
	requested time.Time     // when a list for checkBindings was last requested
	compare   bool          // the list has not come yet
	agreed    bool          // the result of checkBindings
}

func openLinks() (*links, error) {
	m, err := linkmon.Open()
	if err != nil {
		return nil, err
	}
	return &links{Monitor: m, compare: true, agreed: true}, nil
}

// ready is a channel from which a receive never blocks.
var ready = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// due returns a channel that is ready if linkmon has an update although no message is queued.
func (l *links) due() <-chan struct{} {
	if l != nil && l.Due() {
		return ready
	}
	return nil
}

// update applies an update from the kernel, and adapts the sockets.
func (m *monitor) update(u linkmon.Update) {
	changed := m.links.table.Apply(u)
	var affected []*iface
	for _, f := range m.ifaces {
		if f.name != "" && (u.Complete || slices.ContainsFunc(changed, func(l linkmon.Link) bool { return l.Index == f.bound || l.Index == f.target || l.Called(f.name) })) {
			affected = append(affected, f)
		}
	}
	// First unbind all sockets that lost their interface: another name may have that interface now,
	// and two sockets must not be bound to it.
	for _, f := range affected {
		l, found := m.links.table.Find(f.name)
		switch {
		case f.pooled && (!found || l.Index != f.target || matchedName(m.pool.patterns, l) == ""):
			m.release(f)
		case f.bound != 0 && (!found || l.Index != f.bound):
			m.unbind(f)
			m.report(f, absent, l)
		}
	}
	for _, f := range affected {
		m.reconcile(f)
	}
	if len(m.pool.patterns) > 0 {
		for _, l := range changed {
			m.assign(l)
		}
		m.reportUnmatched(u.Complete)
	}
	m.sendStatus()
}

// sendStatus sends the status to the service manager if a change of an interface was logged since
// the last time.
func (m *monitor) sendStatus() {
	if m.statusChanged {
		m.statusChanged = false
		m.manager.notify(m.status())
	}
}

// reconcile binds the socket of a name to the interface that has the name now. It binds also if the
// socket is bound already, because the kernel may have unbound it meanwhile. The socket, its ring
// and the parser's mapping stay. It logs changes.
func (m *monitor) reconcile(f *iface) {
	if f.name == "" || f.pooled && f.told != f.name {
		return // the parser has to know the name first, or it would report the frames under another one
	}
	l, found := m.links.table.Find(f.name)
	now := absent
	switch {
	case !found:
	case m.watchedElsewhere(f, l.Index):
		now = duplicate
	default:
		now = conditionOf(l)
	}
	if f.bound != 0 && !now.watched() {
		m.unbind(f)
	}
	if now.watched() && !m.bind(f, l.Index) {
		if f.pooled {
			return
		}
		now = absent // the interface is gone again; the kernel will report that
	}
	m.report(f, now, l)
}

// watchedElsewhere reports whether another name's socket is bound to the interface.
func (m *monitor) watchedElsewhere(f *iface, index int) bool {
	for _, other := range m.ifaces {
		if other != f && other.bound == index {
			return true
		}
	}
	return false
}

// bind binds the socket of a name to an interface, and reports whether that succeeded.
func (m *monitor) bind(f *iface, index int) bool {
	bound, err := f.socket.Bound()
	if err == nil {
		err = f.socket.Bind(index)
	}
	if err != nil {
		slog.Debug("interface cannot be bound", "interface", f.name, "err", err)
		f.bound = 0
		return false
	}
	if f.bound == index && bound != index {
		// The kernel had unbound the socket. A queued message may report the reason; without one, a
		// message was lost.
		if pending, err := m.links.Pending(); err == nil && !pending {
			m.countRebound(f)
		}
	}
	f.bound = index
	return true
}

// countRebound counts and logs that a socket was not bound to the interface of its name, and that
// no message from the kernel had reported it.
func (m *monitor) countRebound(f *iface) {
	f.counters.Rebound++
	slog.Warn("interface changed without a message of the kernel, bound again", "interface", f.name)
}

// unbind ends the flow of frames from the interface that the socket of a name is bound to.
func (m *monitor) unbind(f *iface) {
	if err := f.socket.Mute(f.bound); err != nil && !errors.Is(err, unix.ENODEV) {
		slog.Warn("cannot unbind interface", "interface", f.name, "err", err)
	}
	f.bound = 0
}

// report counts a change of an interface's condition, and logs it if a report is due.
func (m *monitor) report(f *iface, now condition, l linkmon.Link) {
	if f.link.existed && now != f.link.now {
		f.counters.Flaps++
	}
	messages, flaps := f.link.next(now, time.Now())
	f.log(messages, flaps, l)
	m.statusChanged = m.statusChanged || len(messages) > 0
}

// log logs messages about an interface.
func (f *iface) log(messages []message, flaps uint64, l linkmon.Link) {
	for _, message := range messages {
		attrs := []any{"interface", f.name}
		if f.link.now == noCarrier {
			attrs = append(attrs, "state", l.State)
		}
		if flaps > 0 {
			attrs = append(attrs, "flaps", flaps)
		}
		slog.Log(context.Background(), message.level, message.text, attrs...)
	}
}

// reportFlaps logs the changes whose report was not due when they happened. It is called at each
// heartbeat.
func (m *monitor) reportFlaps() {
	for _, f := range m.ifaces {
		l, _ := m.links.table.Find(f.name)
		messages, flaps := f.link.report(time.Now())
		f.log(messages, flaps, l)
	}
	for i := range m.pool.matches {
		messages, flaps := m.pool.matches[i].report(time.Now())
		m.logMatches(i, messages, flaps)
	}
}

// checkBindings compares the kernel's bindings with a complete list of the interfaces that the
// kernel has just given, so that a lost message cannot hide a difference. It binds again each
// socket that is not bound to the interface of its name, and reports whether none differs any more.
func (m *monitor) checkBindings(list linkmon.Update) (agreed bool) {
	var table linkmon.Table
	table.Apply(list)
	wrong := map[*iface]uint64{} // the counter of each before update
	for _, f := range m.ifaces {
		if !m.agrees(f, &table) {
			wrong[f] = f.counters.Rebound
		}
	}
	m.update(list)
	m.tellNames()
	if pending, err := m.links.Pending(); err == nil && pending {
		return m.links.agreed // a difference may be newer than the list; compare at the next heartbeat
	}
	agreed = true
	for f, before := range wrong {
		switch {
		case !m.agrees(f, &table):
			slog.Warn("cannot confirm that the interface is watched", "interface", f.name)
			agreed = false
		case f.counters.Rebound == before && f.name != "":
			m.countRebound(f)
		}
	}
	return agreed
}

// agrees reports whether the socket of a name is bound to the interface that has the name in the
// table, or to none if there is no such interface or it cannot be watched. It asks the kernel for
// the binding.
func (m *monitor) agrees(f *iface, table *linkmon.Table) bool {
	want := 0
	if l, found := table.Find(f.name); found && f.name != "" && (!f.pooled || f.told == f.name) && conditionOf(l).watched() && !m.watchedElsewhere(f, l.Index) {
		want = l.Index
	}
	bound, err := f.socket.Bound()
	return err == nil && bound == want
}
