// This file runs in the monitor: it asks the parser for numbers, and what has an answer to
// give is alive.

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

// beat asks the parser for its counters. One that answered nothing for a while is
// stuck, or stopped.
func (m *monitor) beat() error {
	if m.pending >= 0 {
		m.silent += m.heartbeat
		if m.silent >= silenceLimit {
			return fmt.Errorf("the parser has not answered for %v", silenceLimit)
		}
		slog.Debug("the parser has not answered", "since", m.silent)
		return nil
	}
	m.silent = 0
	return m.ask(0)
}

// tellCounters writes the metrics file and, if they are to be logged, logs the counters,
// as soon as the parser has told them.
func (m *monitor) tellCounters(log bool) error {
	m.tell = m.tell || log
	if m.pending >= 0 {
		return nil
	}
	return m.ask(0)
}

// ask asks for the counters of an interface. When they have come, the next one's are asked
// for: neither process can fill the other's socket.
func (m *monitor) ask(i int) error {
	err := m.child.Send(privsep.Message{Type: privsep.Ping, Index: uint16(i)})
	switch {
	case errors.Is(err, unix.EAGAIN), // it does not read at the moment
		errors.Is(err, unix.EPIPE): // it is gone: the end of its messages comes next
		m.pending = -1
		return nil
	}
	m.pending = i
	return err
}

// answer takes what the parser said: the counters that it was asked for, in turn.
func (m *monitor) answer(r received) error {
	if r.err != nil {
		return r.err
	}
	if r.Type == privsep.End && m.input != nil && !m.ended {
		m.ended = true
		if m.stopping { // it is about to end anyway
			return nil
		}
		return errEnded
	}
	i := int(r.Index)
	if r.Type != privsep.Pong || i != m.pending {
		return unexpected(r.Message)
	}
	m.pending = -1
	m.silent = 0 // a question may be open at each beat, where there are others than the heartbeat's
	c := control.CountersOf(r.Message)
	m.dropped[i].add(c.Dropped-m.counters[i].Dropped, "frames lost, the ring was full", "interface", m.names[i])
	m.evicted.unsaid += c.Evicted - m.counters[i].Evicted
	m.counters[i] = c
	if m.input != nil && m.input.shown && !m.stopping {
		m.input.show(c.Position)
	}
	if i+1 < len(m.names) {
		return m.ask(i + 1)
	}
	m.evicted.add(0, "bindings forgotten, the table is full")
	if m.tell {
		m.tell = false
		m.summary()
	}
	m.writeMetrics()
	m.confirm()
	switch {
	case !m.stopping:
		return nil
	case !m.last: // what this round asked for, it began to ask before
		m.last = true
		return m.ask(0)
	}
	return m.child.CloseWrite()
}

// confirm feeds the watchdog: the parser has answered, and each socket is bound to the interface
// that has its name, which is compared once in a heartbeat.
func (m *monitor) confirm() {
	if m.links != nil && !m.stopping && time.Since(m.checked) >= m.heartbeat*3/4 {
		m.checked = time.Now()
		m.reportFlaps()
		err := m.checkBindings()
		if m.agreed = err == nil; err != nil {
			slog.Warn("cannot confirm that interfaces are watched", "err", err)
		}
	}
	if m.links == nil || m.agreed {
		m.manager.notify("WATCHDOG=1", m.status())
	}
}

// writeMetrics writes the metrics file, if there is one.
func (m *monitor) writeMetrics() {
	if m.metrics == nil {
		return
	}
	m.countRebounds()
	m.metrics.write(metrics(m.names, m.counters))
}

// countRebounds puts the monitor's own counter beside the parser's.
func (m *monitor) countRebounds() {
	for i, w := range m.watched {
		m.counters[i].Rebound = w.rebound
	}
}

// summary logs the counters of each name, whatever the log level: somebody asked.
func (m *monitor) summary() {
	m.countRebounds()
	key := "interface"
	if m.input != nil {
		key = "file"
	}
	for i, name := range m.names {
		r := slog.NewRecord(time.Now(), slog.LevelInfo, "counters", 0)
		r.Add(key, name)
		r.Add(m.counters[i].Attrs()...)
		_ = slog.Default().Handler().Handle(context.Background(), r)
	}
}
