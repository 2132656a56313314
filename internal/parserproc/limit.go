package parserproc

import "time"

// lineLimit implements --max-rate: an upper limit on the lines in any second.
type lineLimit struct {
	most  int           // lines per second, 0 for no limit
	lines [window]int   // lines written in each of the last slots
	sum   int           // of lines
	slot  time.Duration // number of the present slot
}

// Any second, wherever it begins, lies within this many slots.
const (
	slotLen = 20 * time.Millisecond
	window  = int(time.Second/slotLen) + 1
)

// advance sets the time since the start.
func (l *lineLimit) advance(now time.Duration) {
	slot := now / slotLen
	if slot-l.slot > time.Duration(window) {
		l.slot = slot - time.Duration(window)
	}
	for l.slot < slot {
		l.slot++
		n := &l.lines[int(l.slot%time.Duration(window))]
		l.sum -= *n
		*n = 0
	}
}

// allows reports whether n more lines can be written now.
func (l *lineLimit) allows(n int) bool {
	return l.most == 0 || l.sum+n <= l.most
}

// take counts n lines as written now.
func (l *lineLimit) take(n int) {
	if l.most != 0 {
		l.lines[int(l.slot%time.Duration(window))] += n
		l.sum += n
	}
}

// next returns the time, since the start, at which the limit allows more lines than now.
func (l *lineLimit) next() time.Duration {
	slot := l.slot - time.Duration(window) + 1
	for slot < l.slot && l.lines[int((slot+time.Duration(window))%time.Duration(window))] == 0 {
		slot++
	}
	return (slot + time.Duration(window)) * slotLen
}
