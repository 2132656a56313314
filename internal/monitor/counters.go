package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/control"
	"maas-netmon/privsep"
)

// onHeartbeat is called when the time that wait returned has passed. It sends a question, or sends
// it again if that failed before. It returns an error when the parser has been silent for too long.
func (m *monitor) onHeartbeat() error {
	ask, late := m.round.tick(m.heartbeat)
	if late {
		return fmt.Errorf("the parser has not answered for %v", silenceLimit)
	}
	m.clock.Reset(m.round.wait(m.heartbeat))
	if ask {
		return m.requestCounters()
	}
	slog.Debug("the parser has not answered")
	return nil
}

// startRound starts a round unless one is under way. If log is true, the counters are logged at its
// end.
func (m *monitor) startRound(log bool) error {
	m.round.log = m.round.log || log
	if !m.round.begin() {
		return nil
	}
	return m.requestCounters()
}

// requestCounters sends the open question.
func (m *monitor) requestCounters() error {
	err := m.child.Send(privsep.Message{Type: privsep.Ping, Index: uint16(m.round.next)})
	// EAGAIN: the socket is full, because the parser does not read. onHeartbeat tries again.
	m.round.unsent = errors.Is(err, unix.EAGAIN)
	if m.round.unsent || errors.Is(err, unix.EPIPE) { // on EPIPE, receive reports the end
		return nil
	}
	return err
}

// handleCounters records the answer to the open question and sends the next one. When the round is
// complete it logs and writes the counters, and feeds the watchdog.
func (m *monitor) handleCounters(c control.Counters) error {
	f := m.ifaces[m.round.next]
	complete := m.round.answer(len(m.ifaces))
	f.drops.add(c.Dropped-f.counters.Dropped, "frames lost: the ring was full", "interface", f.name)
	m.evicted.pending += c.Evicted - f.counters.Evicted
	c.Rebound, c.Flaps = f.counters.Rebound, f.counters.Flaps // these two are counted by the monitor
	f.counters = c
	if m.input != nil && m.input.shown && m.phase == running {
		m.input.show(c.Position)
	}
	if !complete {
		return m.requestCounters()
	}
	m.clock.Reset(m.heartbeat) // each complete round counts, for any request

	m.evicted.logPending("bindings evicted: the table is full")
	if m.round.log {
		m.round.log = false
		m.logCounters()
	}
	if m.metrics != nil {
		m.metrics.write(metrics(m.ifaces, m.options))
	}
	m.confirm()
	switch m.phase {
	case draining:
		// This round began before Stop, so its counters are not the last ones: run one more.
		m.phase = finalRound
		return m.startRound(false)
	case finalRound:
		return m.child.CloseWrite() // the parser ends when it reads the end of file
	}
	return nil
}

// confirm is called after a complete round, so the parser works. It feeds the watchdog if also each
// socket is bound to the interface of its name. That is compared once per heartbeat, as soon as
// linkmon has a list; confirm requests it.
func (m *monitor) confirm() {
	// SIGUSR1 and the metrics start rounds, too: compare only about once per heartbeat.
	if m.links != nil && m.phase == running && time.Since(m.links.requested) >= m.heartbeat*3/4 {
		m.reportFlaps()
		late := m.links.compare // interfaces come and go, or change faster than messages are read
		m.links.requested, m.links.compare = time.Now(), true
		m.links.Relist()
		if !late {
			return
		}
	}
	if m.links == nil || m.links.agreed {
		m.feed()
	}
}

// feed feeds the watchdog.
func (m *monitor) feed() { m.manager.notify("WATCHDOG=1", m.status()) }

// logCounters logs the counters of each interface at any log level, because the user requested
// them.
func (m *monitor) logCounters() {
	key := "interface"
	if m.input != nil {
		key = "file"
	}
	log := func(message string, attrs ...any) {
		r := slog.NewRecord(time.Now(), slog.LevelInfo, message, 0)
		r.Add(attrs...)
		_ = slog.Default().Handler().Handle(context.Background(), r)
	}
	for _, f := range m.ifaces {
		if !f.free() {
			log("counters", append([]any{key, f.name}, f.counters.Attrs(m.options.IPv6)...)...)
		}
	}
	if used, size := m.poolUse(); size > 0 {
		log("sockets for --match", "used", used, "sockets", size)
	}
}

// A lossLog counts losses and logs them: the first at once, later ones at most once per minute.
type lossLog struct {
	pending uint64 // not logged yet
	last    time.Time
}

// add adds n losses, and logs the pending ones if a report is due.
func (l *lossLog) add(n uint64, message string, attrs ...any) {
	l.pending += n
	l.logPending(message, attrs...)
}

// logPending logs the pending losses if there are any and a report is due.
func (l *lossLog) logPending(message string, attrs ...any) {
	if l.pending == 0 || !l.last.IsZero() && time.Since(l.last) < complaintInterval {
		return
	}
	slog.Warn(message, append(attrs, "lost", l.pending)...)
	l.pending, l.last = 0, time.Now()
}
