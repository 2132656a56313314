package capture

import (
	"testing"
	"time"
)

// A traffic is a list of arrival times of frames.
type traffic []time.Duration

// add appends n frames, at rate frames per second.
func (a traffic) add(n, rate int) traffic {
	var end time.Duration
	if len(a) > 0 {
		end = a[len(a)-1]
	}
	for i := range n {
		a = append(a, end+time.Duration(i+1)*time.Second/time.Duration(rate))
	}
	return a
}

// pause appends one frame after a time without frames.
func (a traffic) pause(d time.Duration) traffic {
	if len(a) > 0 {
		d += a[len(a)-1]
	}
	return append(a, d)
}

// An outcome is the result of a simulation.
type outcome struct {
	lost, wakeups int
	longest       time.Duration // longest time of a frame in the ring
}

// simulate runs a reader with the pauses of a pacer, with traffic in one ring. A wake-up takes 50
// us, a frame 100 ns.
func simulate(slots int, arrivals traffic) (o outcome) {
	p := pacer{slots: slots}
	now, last := time.Duration(0), -time.Hour
	for n := 0; len(arrivals) > 0; o.wakeups++ {
		var d time.Duration
		if n > 0 {
			d = p.next(n, n, now-last)
			last = now
		}
		now += d
		if d == 0 {
			now = max(now, arrivals[0])
		}
		now += 50 * time.Microsecond
		n = 0
		for n < len(arrivals) && arrivals[n] <= now {
			n++
		}
		if n == 0 {
			continue
		}
		o.longest = max(o.longest, now-arrivals[0])
		arrivals = arrivals[n:]
		o.lost += max(n-slots, 0)
		n = min(n, slots)
		now += time.Duration(n) * 100 * time.Nanosecond
	}
	return o
}

func TestPacer(t *testing.T) {
	const burst, fast = 400_000, 1_000_000
	never := traffic(nil).pause(time.Second)
	for _, c := range []struct {
		name    string
		slots   int
		traffic traffic
		want    outcome // each value at most
	}{
		{"100 a second", maxSlots, traffic{}.add(1000, 100), outcome{0, 115, 101 * time.Millisecond}},
		{"250 a second", maxSlots, traffic{}.add(2500, 250), outcome{0, 110, 101 * time.Millisecond}},
		{"1,000 a second", maxSlots, traffic{}.add(10_000, 1000), outcome{0, 110, 101 * time.Millisecond}},
		{"10,000 a second", maxSlots, traffic{}.add(100_000, 10_000), outcome{0, 110, 101 * time.Millisecond}},
		{"50,000 a second", maxSlots, traffic{}.add(500_000, 50_000), outcome{0, 410, 30 * time.Millisecond}},
		{"a frame now and then", maxSlots, traffic{}.add(100, 8), outcome{0, 100, time.Millisecond}},
		{"a frame now and then, less often", maxSlots, traffic{}.add(100, 4), outcome{0, 100, time.Millisecond}},
		{"after a quiet second", maxSlots, never.pause(time.Second).pause(time.Second), outcome{0, 3, time.Millisecond}},
		{"burst out of the quiet", maxSlots, never.add(burst, fast), outcome{0, 200, 5 * time.Millisecond}},
		{"burst that begins slowly", maxSlots, never.pause(20*time.Millisecond).add(burst, fast), outcome{0, 200, 5 * time.Millisecond}},
		{"burst after a busy while and a quiet one", maxSlots,
			traffic{}.add(1000, 1000).pause(time.Second).pause(20*time.Millisecond).add(burst, fast),
			outcome{0, 250, 101 * time.Millisecond}},
		{"burst in a busy while", maxSlots, traffic{}.add(1000, 1000).add(burst, fast),
			outcome{fast/10 - maxSlots + 100, 250, 101 * time.Millisecond}},
		{"burst into a small ring", minRing / slotLen, never.pause(20*time.Millisecond).add(burst, 50_000), outcome{0, 2700, 5 * time.Millisecond}},
		{"10,000 a second into a small ring", minRing / slotLen, traffic{}.add(100_000, 10_000), outcome{0, 1150, cheapPause + 200*time.Microsecond}},
		{"1,000 a second into a small ring", minRing / slotLen, traffic{}.add(10_000, 1000), outcome{0, 115, 101 * time.Millisecond}},
		{"burst into the smallest ring", minRing / slotLenIPv6, never.pause(20*time.Millisecond).add(burst/10, 5_000), outcome{0, 2700, 5 * time.Millisecond}},
		{"100 a second into the smallest ring", minRing / slotLenIPv6, traffic{}.add(1000, 100), outcome{0, 180, 101 * time.Millisecond}},
		{"1,000 a second into the smallest ring", minRing / slotLenIPv6, traffic{}.add(10_000, 1000), outcome{0, 1700, cheapPause + 200*time.Microsecond}},
	} {
		got := simulate(c.slots, c.traffic)
		if got.lost > c.want.lost || got.wakeups > c.want.wakeups || got.longest > c.want.longest {
			t.Errorf("%s: %+v, want at most %+v", c.name, got, c.want)
		}
		t.Logf("%s: %+v", c.name, got)
	}
}
