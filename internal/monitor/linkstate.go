package monitor

import (
	"log/slog"
	"time"

	"maas-netmon/capture/packetsock"
	"maas-netmon/linkmon"
)

// A condition is the present state of an interface of the command line.
type condition uint8

const (
	absent      condition = iota // no interface has the name
	notEthernet                  // its frames have no Ethernet header
	duplicate                    // it is watched already, under another of its names
	down
	noCarrier
	up
)

// conditionOf returns the condition of an interface that exists.
func conditionOf(l linkmon.Link) condition {
	switch {
	case !packetsock.Ethernet(l.Type):
		return notEthernet
	case !l.Up:
		return down
	case !l.Running:
		return noCarrier
	}
	return up
}

// watched reports whether the socket should be bound to the interface.
func (c condition) watched() bool { return c >= down }

// String returns the condition as STATUS= and the metrics print it.
func (c condition) String() string {
	return [...]string{"absent", "not Ethernet", "duplicate", "down", "no carrier", "up"}[c]
}

const (
	// reportBurst is the number of changes of an interface that are reported at once. The host at
	// the other end of a link can change the carrier thousands of times per second, and must not
	// fill the log.
	reportBurst = 6
	// reportInterval is the time between reports after that.
	reportInterval = time.Minute
)

// A linkState is the condition of an interface, and the last reported one. The zero value is an
// interface that never existed.
type linkState struct {
	now       condition
	reported  condition
	existed   bool      // since the start
	flaps     uint64    // changes since the last report
	exhausted time.Time // up to which time the reports are used up: each report adds reportInterval
}

// A message is one line of the log.
type message struct {
	level slog.Level
	text  string
}

// next records the condition of an interface, and returns the messages to log: none if nothing
// changed, or if too many were logged already. flaps is the number of changes since the last
// report, or 0 if there was only one.
func (s *linkState) next(c condition, t time.Time) (messages []message, flaps uint64) {
	if c != s.now {
		s.now = c
		s.flaps++
	}
	return s.report(t)
}

// report returns the messages about earlier changes that are due at time t.
func (s *linkState) report(t time.Time) (messages []message, flaps uint64) {
	if s.flaps == 0 || s.exhausted.Sub(t) > (reportBurst-1)*reportInterval {
		return nil, 0
	}
	if s.exhausted.Before(t) {
		s.exhausted = t
	}
	s.exhausted = s.exhausted.Add(reportInterval)
	messages = transition(s.reported, s.now, s.existed)
	if s.flaps > 1 {
		flaps = s.flaps
	}
	s.reported, s.flaps = s.now, 0
	s.existed = s.existed || s.now != absent
	return messages, flaps
}

// transition returns the messages for a change from one condition to another. Both are equal if an
// interface changed and changed back before the report.
func transition(from, to condition, existed bool) []message {
	var messages []message
	if to.watched() && !from.watched() {
		text := "interface is there"
		if existed {
			text = "interface is back"
		}
		messages = append(messages, message{slog.LevelInfo, text})
		if to == up {
			return messages
		}
	}
	return append(messages, map[condition]message{
		absent:      {slog.LevelWarn, "interface is gone, waiting for it"},
		notEthernet: {slog.LevelWarn, "interface is not Ethernet: waiting for another"},
		duplicate:   {slog.LevelWarn, "interface is watched under another name already, waiting"},
		down:        {slog.LevelWarn, "interface is down"},
		noCarrier:   {slog.LevelWarn, "interface has no carrier"},
		up:          {slog.LevelInfo, "interface is up"},
	}[to])
}
