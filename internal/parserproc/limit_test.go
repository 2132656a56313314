package parserproc

import (
	"math/rand/v2"
	"testing"
	"time"
)

// No second, wherever it begins, has more lines than the limit, and nearly as many lines as the
// limit are allowed if there are enough. next returns the first time with room.
func TestLineLimit(t *testing.T) {
	for _, most := range []int{1, 2, 17, 300} {
		l := lineLimit{most: most}
		r := rand.New(rand.NewPCG(uint64(most), 0))
		var times []time.Duration
		var now time.Duration
		for now < 100*time.Second {
			l.advance(now)
			for l.allows(1) {
				l.take(1)
				times = append(times, now)
				if n := len(times); n > most && now-times[n-most-1] < time.Second {
					t.Fatalf("limit %d: %d lines within %v", most, most+1, now-times[n-most-1])
				}
			}
			next := l.next()
			if next <= now || next > now+time.Second+slotLen {
				t.Fatalf("limit %d, at %v: next %v", most, now, next)
			}
			l.advance(next - 1)
			if l.allows(1) {
				t.Fatalf("limit %d: room at %v, before %v", most, next-1, next)
			}
			now = next
			if r.IntN(10) == 0 {
				now += time.Duration(r.Int64N(int64(3 * time.Second)))
			}
		}
		if len(times) < most*75 {
			t.Errorf("limit %d: %d lines in 100 s", most, len(times))
		}
	}
}

// A long quiet period changes nothing.
func TestLineLimitAfterQuiet(t *testing.T) {
	l := lineLimit{most: 5}
	for _, now := range []time.Duration{0, 2 * time.Second, 1000 * time.Hour, 1000*time.Hour + 5*time.Second} {
		l.advance(now)
		if !l.allows(5) || l.allows(6) {
			t.Errorf("at %v: not 5", now)
		}
		l.take(5)
	}
}

func TestNoLineLimit(t *testing.T) {
	var l lineLimit
	l.take(1 << 30)
	if !l.allows(1 << 30) {
		t.Error("a limit")
	}
}
