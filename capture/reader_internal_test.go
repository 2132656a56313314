package capture

import (
	"testing"
	"time"
)

// Few frames wait for 3 ms at the most, and many leave most of the ring free.
func TestPauseAfter(t *testing.T) {
	for drained, want := range map[int]time.Duration{
		2: 3 * time.Millisecond, 63: 3 * time.Millisecond,
		64: 8 * time.Millisecond, RingFrames / 8: 8 * time.Millisecond,
		RingFrames/8 + 1: 3 * time.Millisecond, RingFrames: 3 * time.Millisecond,
	} {
		if got := pauseAfter(drained); got != want {
			t.Errorf("after %d frames: %v, want %v", drained, got, want)
		}
	}
}
