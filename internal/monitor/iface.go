package monitor

import (
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/capture"
	"maas-netmon/linkmon"
)

// linkState is what the user was last told of an interface.
type linkState struct {
	known   bool
	away    bool // no interface of that name, or none that can be watched
	down    bool
	carrier bool
}

// change follows what became of an interface: says it once, and binds the socket of
// a watched name to the interface that has the name now. The socket, its ring and
// the parser's mapping stay.
func (m *monitor) change(l linkmon.Link) {
	for i, w := range m.watched {
		s := &m.states[i]
		log := slog.With("interface", w.name)
		switch {
		case l.Name == w.name && !l.Gone:
			m.present(w, s, l, log)
		case l.Index == w.index && !s.away:
			// Deleted, moved to another namespace, or renamed.
			s.away = true
			if err := w.socket.Mute(l.Index); err != nil && !errors.Is(err, unix.ENODEV) {
				log.Warn("interface cannot be let go", "err", err)
			}
			log.Warn("interface is gone, waiting for it")
		}
	}
}

// present handles word of an interface that has the name of a watched one.
func (m *monitor) present(w *watch, s *linkState, l linkmon.Link, log *slog.Logger) {
	if l.Index != w.index || s.away {
		there := "back"
		if w.index == 0 {
			there = "there"
		}
		if !capture.Ethernet(l.Type) {
			if !s.away {
				log.Warn("interface is gone, waiting for it")
			}
			if l.Index != w.index {
				log.Warn("interface is " + there + ", but is not Ethernet: waiting for another")
			}
			s.away, w.index = true, l.Index
			return
		}
		if err := w.socket.Bind(l.Index); err != nil {
			// Gone again; the kernel will say so.
			log.Warn("interface is "+there+", but cannot be bound", "err", err)
			return
		}
		w.index = l.Index
		*s = linkState{}
		log.Info("interface is " + there)
	}
	down, carrier := !l.Up, l.Running
	switch {
	case down && (!s.known || !s.down):
		log.Warn("interface is down")
	case !down && !carrier && (!s.known || s.down || s.carrier):
		log.Warn("interface has no carrier", "state", l.State)
	case !down && carrier && s.known && (s.down || !s.carrier):
		log.Info("interface is up")
	}
	s.known, s.down, s.carrier = true, down, carrier
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
