// This file runs in the parser, the confined process: every byte that it looks
// at in a slot behind the kernel's header was chosen by a stranger.

package capture

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Frame is one received or sent frame.
type Frame struct {
	// Data is the start of the frame from its Ethernet header, at most Snaplen
	// bytes, without the tag that the kernel stripped. It points into the
	// ring, or into a File's buffer: it is valid until the next call of Next or
	// Wait, and not to be written.
	Data []byte

	// Len is the length of the frame in bytes before it was cut to Snaplen.
	Len int

	// Tagged says that the kernel stripped a VLAN tag, whose TPID and TCI
	// (IEEE 802.1Q 9.4) are in host byte order.
	Tagged    bool
	TPID, TCI uint16

	// Seconds is the kernel's time of the frame, or the record's, in Unix seconds; 0 for
	// a record that has none.
	Seconds int64

	// Source is the index of the socket in the list given to NewReader, or 0.
	Source int
}

// Stats are counters of one source since it was made. Of a socket, Frames are those that the
// filter let pass; Dropped of them found the ring full. Of an input, Frames are all that
// were in it, and Position is how many of its bytes are behind.
type Stats struct {
	Frames, Dropped uint64
	Position        uint64
}

// How long a busy reader lets frames gather. Falling asleep and waking costs as much as
// reading a hundred frames, which is most of the work at 50,000 a second. The short
// pause is for the two ends: where frames are so few that they would often meet a
// sleeping reader, and where they are so many that the ring has to be emptied soon. A ring
// that is empty takes 1.3 million frames a second in the long one, 3.4 in the short one.
const (
	shortPause = 3 * time.Millisecond
	longPause  = 8 * time.Millisecond
)

// pauseAfter returns the pause that follows on a drain of some frames, two at least.
func pauseAfter(drained int) time.Duration {
	if drained < 64 || drained > RingFrames/8 {
		return shortPause
	}
	return longPause
}

// A Reader takes frames out of the rings of some sockets, in turn. It makes one
// system call a drain, none a frame, and does not allocate. Not safe for
// concurrent use.
type Reader struct {
	rings []ring
	polls []unix.PollFd // the caller's descriptor, then one for each ring

	current int  // the ring to read next
	budget  int  // frames that this drain may still take out of it
	drained int  // frames taken since the last Wait
	held    bool // a slot of the current ring is lent to the caller
}

// ring is one socket's mapping.
type ring struct {
	fd    int
	slots []byte
	head  int // index of the slot to be filled next
	stats Stats
}

// NewReader maps the rings of sockets made by [Open]. Wait also wakes for the
// descriptor control. The descriptors stay the caller's.
func NewReader(sockets []int, control int) (*Reader, error) {
	r := &Reader{polls: []unix.PollFd{{Fd: int32(control), Events: unix.POLLIN}}}
	for i, fd := range sockets {
		r.rings = append(r.rings, ring{fd: fd})
		// A file can be mapped like a ring. Only a packet socket has these numbers.
		if _, err := r.Stats(i); err != nil {
			return nil, err
		}
		slots, err := unix.Mmap(fd, 0, ringLen, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return nil, fmt.Errorf("map ring: %w", err)
		}
		r.rings[i].slots = slots
		r.polls = append(r.polls, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	r.budget = RingFrames
	return r, nil
}

// Wait sleeps until there may be frames, or the control descriptor is readable
// or hung up, which it reports.
//
// It adapts to the load. When the last drain found one frame or none, Wait
// returns with the next frame. When it found several, more are on their way, and
// waking for each would cost ten times the work of reading it: Wait then
// sleeps for 3 or 8 ms, and lets them gather in the ring.
func (r *Reader) Wait() (control bool, err error) {
	r.release()
	drained := r.drained
	r.drained = 0
	if drained > 1 {
		return r.pause(pauseAfter(drained)), nil
	}
	polls := r.polls
	for i := range polls {
		polls[i].Revents = 0
	}
	if _, err := unix.Ppoll(polls, nil, nil); err != nil && err != unix.EINTR {
		return false, fmt.Errorf("wait for frames: %w", err)
	}
	for i := 1; i < len(polls); i++ {
		if polls[i].Revents&unix.POLLERR != 0 {
			// The interface went down (ENETDOWN): reading the error clears it, and
			// frames flow again when it is up. The monitor tells the user. Should an
			// error ever stay, the short sleep keeps us from spinning.
			_, _ = unix.GetsockoptInt(int(polls[i].Fd), unix.SOL_SOCKET, unix.SO_ERROR)
			r.drained = 2
		}
	}
	return polls[0].Revents != 0, nil
}

// pause sleeps for some time, or until the control descriptor is readable, which it
// reports. It keeps its turn on the processor's Go scheduler meanwhile (a raw
// system call): giving it away and getting it back, with the hand-overs between
// threads that go with it, costs more than all the frames of the drain. A
// collection of garbage may have to wait for that long.
func (r *Reader) pause(d time.Duration) bool {
	control := &r.polls[0]
	control.Revents = 0
	timeout := unix.Timespec{Nsec: int64(d)}
	_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(control)), 1,
		uintptr(unsafe.Pointer(&timeout)), 0, 0, 0)
	return control.Revents != 0
}

// Next gives the next frame, or reports false when the drain is over: all rings
// are empty, or each has given as many frames as it can hold. The latter bounds a
// drain under a flood, so that lines and the control descriptor have their turn.
// The call after that begins another drain.
func (r *Reader) Next(f *Frame) bool {
	r.release()
	for r.current < len(r.rings) {
		if r.budget > 0 && r.rings[r.current].frame(f) {
			f.Source = r.current
			r.budget--
			r.drained++
			r.held = true
			return true
		}
		r.current++
		r.budget = RingFrames
	}
	r.current = 0
	return false
}

// release gives the slot of the last frame back to the kernel.
func (r *Reader) release() {
	if !r.held {
		return
	}
	r.held = false
	g := &r.rings[r.current]
	atomic.StoreUint32(&g.header().Status, unix.TP_STATUS_KERNEL)
	if g.head++; g.head == RingFrames {
		g.head = 0
	}
}

// header returns the kernel's header of the slot at the head. The mapping is
// page-aligned and slots are a multiple of 16 bytes.
func (g *ring) header() *unix.Tpacket2Hdr {
	return (*unix.Tpacket2Hdr)(unsafe.Pointer(&g.slots[g.head*slotLen]))
}

// frame describes the frame at the head, if the kernel has filled it.
func (g *ring) frame(f *Frame) bool {
	h := g.header()
	// The kernel writes the status last, behind a barrier; the atomic load is
	// the matching one.
	status := atomic.LoadUint32(&h.Status)
	if status&unix.TP_STATUS_USER == 0 {
		return false
	}
	slot := g.slots[g.head*slotLen : (g.head+1)*slotLen]
	start := min(int(h.Mac), slotLen)
	end := min(start+min(int(h.Snaplen), Snaplen), slotLen)
	f.Data = slot[start:end:end]
	f.Len = int(h.Len)
	f.Seconds = int64(h.Sec)
	f.Tagged = status&unix.TP_STATUS_VLAN_VALID != 0
	f.TPID, f.TCI = h.Vlan_tpid, h.Vlan_tci
	return true
}

// Stats returns the counters of the socket with that index.
func (r *Reader) Stats(source int) (Stats, error) {
	g := &r.rings[source]
	// The kernel counts dropped frames as packets too, and starts anew with
	// each reading (packet(7), PACKET_STATISTICS).
	s, err := unix.GetsockoptTpacketStats(g.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return Stats{}, fmt.Errorf("read packet statistics: %w", err)
	}
	g.stats.Frames += uint64(s.Packets)
	g.stats.Dropped += uint64(s.Drops)
	return g.stats, nil
}
