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
	"maas-netmon/linkmon"
	"maas-netmon/privsep"
)

const (
	// stopLimit is the time that the parser has, when the program is stopped, to handle the frames
	// in the rings. It is longer than the parser's stallLimit, and shorter than a second, in which
	// the program promises to end.
	stopLimit = 800 * time.Millisecond
	// complaintInterval is the shortest time between two reports of a loss.
	complaintInterval = time.Minute
	// usr1Interval is the shortest time between two logs of the counters for SIGUSR1.
	usr1Interval = time.Second
)

// loop handles one event after the other. It returns the reason to end: [io.EOF] when the parser
// has ended, or is about to. One goroutine handles all events, so the state needs no lock.
func (m *monitor) loop() error {
	progress, stats := new(time.Ticker), new(time.Ticker) // a nil channel never fires
	if m.input != nil && m.input.shown {
		progress = time.NewTicker(time.Second)
		defer progress.Stop()
		defer m.input.clear()
	}
	if m.options.StatsInterval > 0 || m.metrics != nil {
		stats = time.NewTicker(cmp.Or(m.options.StatsInterval, cli.DefaultMetricsInterval))
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
	case err := <-m.linkNews:
		if err != nil {
			return err // without messages the interfaces cannot be followed
		}
		return m.nextUpdate()
	case <-m.links.due():
		return m.nextUpdate()
	case <-m.clock.C:
		return m.onHeartbeat()
	case <-progress:
		return m.startRound(false)
	case <-stats:
		return m.startRound(m.options.StatsInterval > 0)
	case <-m.usr1.signals:
		// Delay a signal that comes early, but do not lose it: a process that sends signals in a
		// loop must not fill the log, and the last signal must still log the counters.
		if wait := time.Until(m.usr1.logged.Add(usr1Interval)); wait <= 0 {
			return m.logSoon()
		} else if m.usr1.later == nil {
			m.usr1.later = time.After(wait)
		}
		return nil
	case <-m.usr1.later:
		return m.logSoon()
	}
}

// logSoon starts the round for SIGUSR1. The counters are logged at its end.
func (m *monitor) logSoon() error {
	m.usr1.logged, m.usr1.later = time.Now(), nil
	return m.startRound(true)
}

// finish makes the parser finish: the parser handles the frames in the rings and answers the
// questions of the final round. finish sends Stop unless the input has ended: then the parser
// finishes without it. If a round is under way, the final round follows it: only one question may
// be open at a time.
func (m *monitor) finish() error {
	m.manager.notify("STOPPING=1")
	if m.inputEnded {
		m.deadline = time.After(control.HandshakeTimeout) // no signal, so no need to end within a second
	} else {
		m.deadline = time.After(stopLimit)
		_ = m.child.Send(privsep.Message{Type: privsep.Stop}) // on an error, receive reports the end
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

// drain waits for one event while the parser finishes, and handles it. It ignores links, signals
// and heartbeats: the deadline ends the program in any case.
func (m *monitor) drain() error {
	select {
	case r := <-m.messages:
		if errors.Is(r.err, io.EOF) && !m.options.Check && slog.Default().Enabled(context.Background(), slog.LevelInfo) {
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

// handleMessage handles a message from the parser. The parser may be compromised, so each message
// must be the answer to an open question, or the end of the input, once. Any other message ends the
// program.
func (m *monitor) handleMessage(r received) error {
	switch {
	case r.err != nil:
		return r.err
	case r.Type == privsep.End && m.input != nil && !m.inputEnded:
		m.inputEnded = true
		if m.phase == running {
			return m.finish()
		}
		return nil // the parser and the monitor decided to finish at the same time
	case r.Type == privsep.Pong && m.round.asks(int(r.Index)):
		return m.handleCounters(control.CountersOf(r.Message))
	case r.Type == privsep.Named && m.pool.telling && int(r.Index) == m.pool.index:
		m.handleNamed()
		return nil
	}
	return unexpected(r.Message)
}

// follow tells the loop when the kernel has reported changes of interfaces. The loop itself reads
// the messages, so that none is read and not applied yet when it compares.
func (m *monitor) follow() {
	for {
		err := m.links.Wait()
		m.linkNews <- err
		if err != nil {
			return
		}
	}
}

// nextUpdate reads the next changes of interfaces, if there are any, and adapts the sockets. The
// first list includes any change since the sockets were opened.
func (m *monitor) nextUpdate() error {
	u, list, err := m.links.Next()
	switch {
	case errors.Is(err, linkmon.ErrList):
		// The next heartbeat requests another list.
		slog.Warn("cannot follow interfaces", "err", err)
		m.links.agreed = false
		return nil
	case err != nil:
		return err
	case !list || !u.Complete || !m.links.compare:
		m.update(u)
	default:
		m.links.compare = false
		if m.links.agreed = m.checkBindings(u); m.links.agreed {
			m.feed()
		}
	}
	if m.metrics != nil && !m.metrics.complete && u.Complete {
		// The state of the interfaces is known only now: write it without waiting for the interval.
		m.metrics.complete = true
		return m.startRound(false)
	}
	return nil
}
