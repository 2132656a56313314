package capture

import "time"

// Limits of a pause of the reader.
const (
	minPause = 3 * time.Millisecond
	maxPause = 100 * time.Millisecond

	// quiet is the time without a frame after which the next frames may be the start of a
	// burst.
	quiet = 2 * maxPause
)

// minFill is how many frames may gather in a ring of any size. It is less than half of the
// smallest ring, and lets 1,000 frames per second gather for nearly as long as in a large one.
const minFill = 96

// A pacer decides for how long a reader lets frames gather. To wake up costs as much as to read
// some hundred frames, and at real rates it is nearly all of the work.
//
// At the rate just seen, a pause fills an eighth of a ring, or minFill slots of a small one. It is
// at most twice as long as the pause before: a burst out of the quiet begins with few frames,
// whose rate tells nothing about those that follow.
type pacer struct {
	slots int           // of each ring
	last  time.Duration // the last pause, 0 after a quiet while
}

// next returns the pause after a drain that took some frames out of all rings, and at most
// `most` out of one ring. All of them came within gap, the time since the last drain that found
// a frame. 0 means that the reader is to be woken by the next frame.
func (p *pacer) next(frames, most int, gap time.Duration) time.Duration {
	switch {
	case frames == 0:
		return 0
	case gap >= quiet:
		p.last = 0
		return 0
	case gap >= time.Duration(frames)*maxPause:
		return 0 // no two frames would gather
	}
	fill := gap * time.Duration(max(p.slots/8, minFill)) / time.Duration(most)
	p.last = max(minPause, min(2*p.last, fill, maxPause))
	return p.last
}
