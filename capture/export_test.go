package capture

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// UnmapAtEnd unmaps the rings of a reader at the end of the test. Until then the kernel keeps the
// sockets. At the end of a process it would close them one after the other.
func UnmapAtEnd(t *testing.T, r *Reader) {
	t.Cleanup(func() {
		for _, g := range r.rings {
			if err := unix.Munmap(g.slots); err != nil {
				t.Error(err)
			}
		}
	})
}

// SetClock replaces the clock by which a reader measures the time between its drains.
func (r *Reader) SetClock(now func() time.Time) { r.now = now }

// NextPause returns the pause that the next Wait makes if the clock does not change before it.
func (r *Reader) NextPause() time.Duration {
	if r.frames == 0 {
		return 0
	}
	p := r.pace
	return p.next(r.frames, r.most, r.now().Sub(r.last))
}

// RingSlotsOf and RingOf are RingSlots and Ring of a machine whose pages have this size.
var (
	RingSlotsOf = ringSlots
	RingOf      = geometry
)
