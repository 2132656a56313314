package monitor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"maas-netmon/internal/cli"
	"maas-netmon/internal/control"
	"maas-netmon/privsep"
)

const (
	// stopLimit is how long the parser has for what is in the ring when the
	// program ends. With stallLimit it keeps the end within a second.
	stopLimit = 800 * time.Millisecond
	// complaintInterval is how often a loss is reported at the most.
	complaintInterval = time.Minute
	// usr1Interval is how often SIGUSR1 logs the counters at the most.
	usr1Interval = time.Second
)

// loop takes one event after the other until there is a reason to end, which it returns: [io.EOF]
// when the parser has ended, or is about to.
func (m *monitor) loop() error {
	progress, stats := new(time.Ticker), new(time.Ticker) // without a channel: never
	if m.input != nil && m.input.shown {
		progress = time.NewTicker(time.Second)
		defer progress.Stop()
		defer m.input.clear()
	}
	if m.statsInterval > 0 || m.metrics != nil {
		stats = time.NewTicker(cmp.Or(m.statsInterval, cli.DefaultMetricsInterval))
		defer stats.Stop()
	}
	m.clock.Reset(m.heartbeat)
	for {
		var err error
		switch m.phase {
		case running:
			err = m.serve(progress.C, stats.C)
		case draining, finalRound:
			err = m.drain()
		}
		if err != nil {
			return err
		}
	}
}

// serve waits for one event while the parser reads, and handles it.
func (m *monitor) serve(progress, stats <-chan time.Time) error {
	select {
	case s := <-m.signals:
		slog.Debug("stopping", "signal", s)
		return m.finish()
	case r := <-m.messages:
		return m.handleMessage(r)
	case c := <-m.changes:
		if c.err != nil {
			return c.err
		}
		m.update(c.Update)
		if m.metrics != nil && !m.metrics.complete && c.Complete {
			// The state of the interfaces is known only now.
			m.metrics.complete = true
			return m.startRound(false)
		}
		return nil
	case <-m.clock.C:
		return m.onHeartbeat()
	case <-progress:
		return m.startRound(false)
	case <-stats:
		return m.startRound(m.statsInterval > 0)
	case <-m.usr1:
		if wait := time.Until(m.logged.Add(usr1Interval)); wait <= 0 {
			return m.logSoon()
		} else if m.logLater == nil {
			m.logLater = time.After(wait)
		}
		return nil
	case <-m.logLater:
		return m.logSoon()
	}
}

// logSoon has the counters logged as SIGUSR1 asks for.
func (m *monitor) logSoon() error {
	m.logged, m.logLater = time.Now(), nil
	return m.startRound(true)
}

// finish has the parser finish: it handles the frames that are in the ring and answers the
// questions of the last round. It is told to, unless its input has ended.
func (m *monitor) finish() error {
	m.manager.notify("STOPPING=1")
	if m.inputEnded {
		m.deadline = time.After(control.HandshakeTimeout) // no user waits for a signal to take effect
	} else {
		m.deadline = time.After(stopLimit)
		_ = m.child.Send(privsep.Message{Type: privsep.Stop}) // an error is the parser's end, which follows
	}
	if m.input != nil {
		m.input.clear()
	}
	if m.round.open {
		m.phase = draining
		return nil
	}
	m.phase = finalRound
	return m.startRound(false)
}

// drain waits for one event while the parser finishes, and handles it. Links, signals and
// heartbeats do not matter any more.
func (m *monitor) drain() error {
	select {
	case r := <-m.messages:
		if errors.Is(r.err, io.EOF) && !m.checking && slog.Default().Enabled(context.Background(), slog.LevelInfo) {
			m.logCounters()
		}
		return m.handleMessage(r)
	case <-m.deadline:
		if m.inputEnded {
			return fmt.Errorf("the parser did not end within %v of its input", control.HandshakeTimeout)
		}
		slog.Warn("the parser did not end in time", "limit", stopLimit)
		return errStopped
	}
}

// handleMessage handles a message of the parser. All that it may send is the counters that it was
// asked for, and once that its input has ended.
func (m *monitor) handleMessage(r received) error {
	switch {
	case r.err != nil:
		return r.err
	case r.Type == privsep.End && m.input != nil && !m.inputEnded:
		m.inputEnded = true
		if m.phase == running {
			return m.finish()
		}
		return nil // it was told to finish at the same time
	case r.Type == privsep.Pong && m.round.asks(int(r.Index)):
		return m.handleCounters(control.CountersOf(r.Message))
	case r.Type == privsep.Named && m.pool.telling && int(r.Index) == m.pool.index:
		m.handleNamed()
		return nil
	}
	return unexpected(r.Message)
}

// follow receives what the kernel reports of interfaces, first all that exist: what changed
// between opening the sockets and subscribing is in there.
func (m *monitor) follow() {
	for {
		update, err := m.links.Receive()
		m.changes <- changed{update, err}
		if err != nil {
			return
		}
	}
}
