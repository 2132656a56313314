package capture

import "time"

// Limits of a pause of the reader.
const (
	minPause = 3 * time.Millisecond
	maxPause = 100 * time.Millisecond

	// cheapPause is the longest pause that does not wake up a thread of the Go runtime, see poll.
	cheapPause = 9 * time.Millisecond

	// quiet is the time without a frame after which the next frames can be the start of a burst.
	quiet = 2 * maxPause
)

// minFill is the number of frames that may gather in a ring of at least 256 slots. It is less than
// half of the ring, and allows pauses at 1,000 frames per second that are nearly as long as with a
// large ring. In a smaller ring, the same part may gather.
const minFill = 96

// A pacer decides how long a reader lets frames gather. A wake-up costs as much as reading some
// hundred frames, so at real rates wake-ups are nearly all of the work.
//
// At the last measured rate, a pause fills an eighth of a ring, or more of a small one (minFill). A
// pause is at most twice as long as the one before: a burst after a quiet period begins with few
// frames, and their rate does not predict the rate of those that follow.
//
// A pause of more than cheapPause costs more than twice as much CPU time as a shorter one. So one
// that is not twice as long is cut to cheapPause.
type pacer struct {
	slots int           // of each ring
	last  time.Duration // the last pause, 0 after a quiet period
}

// next returns the pause after a drain that took `frames` frames from all rings, and at most `most`
// from one ring. All of them arrived within gap, the time since the last drain that found a frame.
// 0 means that the next frame should wake the reader.
func (p *pacer) next(frames, most int, gap time.Duration) time.Duration {
	switch {
	case frames == 0:
		return 0
	case gap >= quiet:
		p.last = 0
		return 0
	case gap >= time.Duration(frames)*maxPause:
		return 0 // a pause would not gather two frames
	}
	fill := gap * time.Duration(max(p.slots/8, min(p.slots*3/8, minFill))) / time.Duration(most)
	p.last = max(minPause, min(2*p.last, fill, maxPause))
	if p.last > cheapPause && p.last < 2*cheapPause {
		p.last = cheapPause
	}
	return p.last
}
