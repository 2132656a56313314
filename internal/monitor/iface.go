// This file runs in the monitor: it binds the socket of each interface to the interface that
// has the name now. linkmon's table and the kernel's bindings hold the state; an update of the
// table, whatever it reports, leads to the same function, reconcile.

package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/linkmon"
)

// update takes what the kernel reported of interfaces.
func (m *monitor) update(u linkmon.Update) {
	links := m.table.Apply(u)
	var affected []int
	for i, w := range m.watched {
		if u.Complete || slices.ContainsFunc(links, func(l linkmon.Link) bool { return l.Index == w.index || l.Called(w.name) }) {
			affected = append(affected, i)
		}
	}
	// First all that lost their interface: another name may have it now.
	for _, i := range affected {
		w := m.watched[i]
		if l, found := m.table.Find(w.name); w.index != 0 && (!found || l.Index != w.index) {
			m.unbind(i)
			m.report(i, absent, l)
		}
	}
	for _, i := range affected {
		m.reconcile(i)
	}
}

// reconcile binds the socket of a name to the interface that has the name now, again if it
// is bound to it already: the kernel may have unbound it meanwhile. The socket, its ring and
// the parser's mapping stay. It reports what changed.
func (m *monitor) reconcile(i int) {
	w := m.watched[i]
	l, found := m.table.Find(w.name)
	now := absent
	switch {
	case !found:
	case m.watchedElsewhere(i, l.Index):
		now = duplicate
	default:
		now = conditionOf(l)
	}
	if w.index != 0 && !now.watched() {
		m.unbind(i)
	}
	if now.watched() && !m.bind(i, l.Index) {
		now = absent // it is gone again; the kernel will report that
	}
	m.report(i, now, l)
}

// watchedElsewhere reports whether another name's socket is bound to the interface.
func (m *monitor) watchedElsewhere(i, index int) bool {
	for j, w := range m.watched {
		if j != i && w.index == index {
			return true
		}
	}
	return false
}

// bind binds the socket of a name to an interface, and reports whether that succeeded.
func (m *monitor) bind(i, index int) bool {
	w := m.watched[i]
	bound, err := w.socket.Bound()
	if err == nil {
		err = w.socket.Bind(index)
	}
	if err != nil {
		slog.Debug("interface cannot be bound", "interface", w.name, "err", err)
		w.index = 0
		return false
	}
	if w.index == index && bound != index {
		// It was unbound. Messages that wait may tell why.
		if pending, err := m.links.Pending(); err == nil && !pending {
			m.countRebound(w)
		}
	}
	w.index = index
	return true
}

// countRebound counts and logs that a socket was not bound to what its name stood for, and that no
// message of the kernel had told.
func (m *monitor) countRebound(w *watch) {
	w.rebound++
	slog.Warn("interface changed without a message of the kernel, bound again", "interface", w.name)
}

// unbind ends the flow of frames from the interface that the socket of a name is bound to.
func (m *monitor) unbind(i int) {
	w := m.watched[i]
	if err := w.socket.Mute(w.index); err != nil && !errors.Is(err, unix.ENODEV) {
		slog.Warn("cannot unbind interface", "interface", w.name, "err", err)
	}
	w.index = 0
}

// report logs a change of an interface's condition, if it is due.
func (m *monitor) report(i int, now condition, l linkmon.Link) {
	messages, flaps := m.states[i].next(now, time.Now())
	m.logLink(i, messages, flaps, l)
}

// logLink logs messages about an interface.
func (m *monitor) logLink(i int, messages []message, flaps uint64, l linkmon.Link) {
	for _, message := range messages {
		attrs := []any{"interface", m.watched[i].name}
		if m.states[i].now == noCarrier {
			attrs = append(attrs, "state", l.State)
		}
		if flaps > 0 {
			attrs = append(attrs, "flaps", flaps)
		}
		slog.Log(context.Background(), message.level, message.text, attrs...)
	}
}

// reportFlaps logs the changes that were not due when they happened. Each heartbeat calls it.
func (m *monitor) reportFlaps() {
	for i, w := range m.watched {
		l, _ := m.table.Find(w.name)
		messages, flaps := m.states[i].report(time.Now())
		m.logLink(i, messages, flaps, l)
	}
}

// checkBindings compares the kernel's bindings with the kernel's list of interfaces, which it
// reads itself, so that a message that never came cannot hide a difference. A socket that is not
// bound to the interface that has the name now is bound again. It returns an error if a
// difference stays.
func (m *monitor) checkBindings() error {
	// Messages that wait explain a difference, and have it mended. But they are waited for once.
	pending, err := m.links.Pending()
	if err != nil {
		return err
	}
	if pending && !m.postponed {
		m.postponed = true
		return nil
	}
	m.postponed = false
	truth, err := m.links.List()
	if err != nil {
		return err
	}
	if !truth.Complete {
		return nil // interfaces come and go; the next time will tell
	}
	var list linkmon.Table
	list.Apply(truth)
	wrong := map[int]uint64{} // how often each was bound again before
	for i, w := range m.watched {
		if !m.agrees(i, &list) {
			wrong[i] = w.rebound
		}
	}
	m.update(truth)
	for i, before := range wrong {
		w := m.watched[i]
		if !m.agrees(i, &list) {
			return fmt.Errorf("%s: the socket is not bound to the interface", w.name)
		}
		if w.rebound == before {
			m.countRebound(w)
		}
	}
	return nil
}

// agrees reports whether the socket of a name is bound to the interface that has the name in the
// list, or to none if there is no such interface or it cannot be watched.
func (m *monitor) agrees(i int, list *linkmon.Table) bool {
	w := m.watched[i]
	want := 0
	if l, found := list.Find(w.name); found && conditionOf(l).watched() && !m.watchedElsewhere(i, l.Index) {
		want = l.Index
	}
	bound, err := w.socket.Bound()
	return err == nil && bound == want
}

// A loss is said at once, and then once a minute at the most.
type loss struct {
	unsaid uint64
	last   time.Time
}

// add adds to what was lost, and logs the sum if it is time to.
func (l *loss) add(n uint64, message string, attrs ...any) {
	l.unsaid += n
	if l.unsaid == 0 || !l.last.IsZero() && time.Since(l.last) < complaintInterval {
		return
	}
	slog.Warn(message, append(attrs, "lost", l.unsaid)...)
	l.unsaid, l.last = 0, time.Now()
}
