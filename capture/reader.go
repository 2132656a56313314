// This file runs in the parser, the confined process. Every byte of a slot after the kernel's
// header is untrusted.

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
	// Data is the start of the frame from its Ethernet header, at most Snaplen bytes, or
	// SnaplenIPv6 bytes of an IPv6 frame, without the tag that the kernel stripped. It points into
	// the ring, or into a File's buffer: it is valid until the next call of Next or Wait, and must
	// not be modified.
	Data []byte

	// Len is the length of the frame in bytes before it was truncated.
	Len int

	// Tagged means that the kernel stripped a VLAN tag. Its TPID and TCI (IEEE 802.1Q 9.4) are in
	// host byte order.
	Tagged    bool
	TPID, TCI uint16

	// ChecksumPending means that this host, or a container or a guest on it, sent the frame and has
	// left its checksum to the network device (TP_STATUS_CSUMNOTREADY): it is not valid yet.
	// Receivers on this host accept the frame without it.
	ChecksumPending bool

	// Seconds is the kernel's time of the frame, or the time of the record, in Unix seconds; 0 for
	// a record without a time.
	Seconds int64

	// Cooked means that the frame was captured without its Ethernet header. Data then begins with a
	// header that has a zero destination, and the source and the EtherType from the capture. Only
	// in files.
	Cooked bool

	// Source is the index of the socket in the list given to NewReader, or 0.
	Source int
}

// Stats are the counters of one source since it was opened. For a socket, Frames is the number of
// frames that passed the filter, and Dropped the number of those that were lost because the ring
// was full. For an input, Frames is the number of its frames, and Position the number of bytes that
// were read.
type Stats struct {
	Frames, Dropped uint64
	Unsupported     uint64 // frames of a link that is not Ethernet; only in files
	Position        uint64
}

// A Reader reads frames from the rings of several sockets, in turn. It makes one system call per
// drain, none per frame, and does not allocate. Not safe for concurrent use.
type Reader struct {
	rings []ring
	polls []unix.PollFd // control, output, then one per ring

	current int  // the ring to read next
	budget  int  // frames that this drain may still take from it
	held    bool // a slot of the current ring is lent to the caller

	busy   []bool    // rings with a frame in the last drain of all rings
	some   bool      // this drain is of busy rings alone
	whole  bool      // the last drain was of all rings
	looked time.Time // when a drain of all rings was over

	pace   pacer
	now    func() time.Time // the clock; time.Now except in a test
	last   time.Time        // end of the last drain that found a frame
	frames int              // taken since the last Wait from all rings
	most   int              // the largest number from one ring
	failed bool             // a socket had an error
}

// Indices of the caller's descriptors in Reader.polls, and of the first ring's.
const (
	pollControl = iota
	pollOutput
	pollRings
)

// A Wakeup reports which of the caller's descriptors ended a Wait.
type Wakeup struct {
	Control bool // control is readable or hung up
	Output  bool // output is writable, if requested, or broken
}

// ring is one socket's mapping.
type ring struct {
	fd      int
	slots   []byte
	slotLen int
	snaplen int // largest number of bytes of a frame
	head    int // offset in slots of the slot that the kernel fills next
	stats   Stats
}

// NewReader maps the rings of sockets, of which there are at most [MaxSockets]. Each ring must have
// the geometry of RingSlots(len(sockets), ipv6) slots. Wait also watches the caller's descriptors
// control and output; -1 stands for none. The Reader does not close the descriptors.
func NewReader(sockets []int, ipv6 bool, control, output int) (*Reader, error) {
	if len(sockets) > MaxSockets {
		return nil, fmt.Errorf("%d sockets: at most %d", len(sockets), MaxSockets)
	}
	slots, slotLen, snaplen := RingSlots(len(sockets), ipv6), slotLength(ipv6), Snaplen
	if ipv6 {
		snaplen = SnaplenIPv6
	}
	r := &Reader{
		polls: []unix.PollFd{{Fd: int32(control), Events: unix.POLLIN}, {Fd: int32(output)}},
		pace:  pacer{slots: slots},
		now:   time.Now,
	}
	for i, fd := range sockets {
		r.rings = append(r.rings, ring{fd: fd, slotLen: slotLen, snaplen: snaplen})
		// A file could be mapped like a ring. Only a packet socket has these statistics, so the
		// call refuses other descriptors.
		if _, err := r.Stats(i); err != nil {
			return nil, err
		}
		mapping, err := unix.Mmap(fd, 0, slots*slotLen, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return nil, fmt.Errorf("map ring: %w", err)
		}
		r.rings[i].slots = mapping
		r.polls = append(r.polls, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	r.budget = slots
	r.busy = make([]bool, len(r.rings))
	return r, nil
}

// Wait sleeps until one of these is true: there may be frames; control is readable or hung up;
// output is broken (the reader of a pipe, a socket or a terminal is gone) or, if writable is true,
// writable; the timeout has passed. A negative timeout means none.
//
// After a quiet period Wait returns at the next frame. On a busy network it lets frames gather in
// the rings for up to 100 ms; only the caller's descriptors and the timeout end that pause earlier.
// If a busy ring needs shorter pauses, the drains between read only the busy rings: checking
// hundreds of idle rings costs as much as a wake-up.
func (r *Reader) Wait(writable bool, timeout time.Duration) (Wakeup, error) {
	r.release()
	for i := range r.polls {
		r.polls[i].Revents = 0
	}
	r.polls[pollOutput].Events = 0
	if writable {
		r.polls[pollOutput].Events = unix.POLLOUT
	}
	polls := r.polls
	if d := r.pause(); d > 0 {
		polls = polls[:pollRings]
		if timeout < 0 || timeout > d {
			timeout = d
		}
	}
	err := poll(polls, timeout)
	if err != nil {
		return Wakeup{}, err
	}
	for _, p := range polls[pollRings:] {
		if p.Revents&unix.POLLERR != 0 {
			// The interface went down (ENETDOWN). Reading the error clears it, and frames flow
			// again when the interface is up. The monitor reports the state of the interface.
			_, _ = unix.GetsockoptInt(int(p.Fd), unix.SOL_SOCKET, unix.SO_ERROR)
			r.failed = true
		}
	}
	return Wakeup{
		Control: polls[pollControl].Revents != 0,
		Output:  polls[pollOutput].Revents != 0,
	}, nil
}

// pause returns the time for which frames should gather now; 0 if the next frame should end the
// wait.
func (r *Reader) pause() time.Duration {
	var d time.Duration
	if r.frames > 0 {
		now := r.now()
		d = r.pace.next(r.frames, r.most, now.Sub(r.last))
		r.last = now
		if r.whole {
			r.looked = now
		}
		// The pause after this one is at most twice as long. The drain at its end can be of all
		// rings in time.
		r.some = d > 0 && now.Add(3*d).Sub(r.looked) <= maxPause
	}
	if r.failed {
		// If an error remains, poll(2) returns at once each time: without a pause this would be a
		// busy loop.
		d = max(d, minPause)
	}
	r.frames, r.most, r.failed = 0, 0, false
	return d
}

// poll calls ppoll(2). A negative timeout means none.
func poll(polls []unix.PollFd, timeout time.Duration) error {
	// During a blocking call the Go scheduler releases the processor and acquires it again
	// afterwards, and wakes a thread of the runtime. That costs more than reading the frames of a
	// short pause. A raw call keeps the processor, but after 10 ms the same thread wakes up every
	// 10 ms to check on the call. So use a raw call only for short pauses.
	var limit *unix.Timespec
	if timeout >= 0 {
		t := unix.NsecToTimespec(int64(timeout))
		limit = &t
	}
	if timeout < 0 || timeout > cheapPause {
		if _, err := unix.Ppoll(polls, limit, nil); err != nil && err != unix.EINTR {
			return fmt.Errorf("wait for frames: %w", err)
		}
		return nil
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&polls[0])), uintptr(len(polls)),
		uintptr(unsafe.Pointer(limit)), 0, 0, 0)
	if errno != 0 && errno != unix.EINTR {
		return fmt.Errorf("wait for frames: %w", errno)
	}
	return nil
}

// Next stores the next frame. It reports false at the end of the drain: the rings are empty, or
// each has returned as many frames as it can hold. The latter limits a drain during a flood, so
// that the caller can write lines and serve the control descriptor. The next call begins another
// drain, of all rings unless Wait decides otherwise.
func (r *Reader) Next(f *Frame) bool {
	r.release()
	for ; r.current < len(r.rings); r.current++ {
		if r.some && !r.busy[r.current] {
			continue
		}
		if r.budget > 0 && r.rings[r.current].frame(f) {
			f.Source = r.current
			r.budget--
			r.held = true
			return true
		}
		taken := r.pace.slots - r.budget
		if !r.some {
			r.busy[r.current] = taken > 0
		}
		r.frames += taken
		r.most = max(r.most, taken)
		r.budget = r.pace.slots
	}
	r.current, r.whole, r.some = 0, !r.some, false
	return false
}

// release returns the slot of the last frame to the kernel.
func (r *Reader) release() {
	if !r.held {
		return
	}
	r.held = false
	g := &r.rings[r.current]
	atomic.StoreUint32(&g.header().Status, unix.TP_STATUS_KERNEL)
	if g.head += g.slotLen; g.head == len(g.slots) {
		g.head = 0
	}
}

// header returns the kernel's header of the slot at the head. The mapping is
// page-aligned and slots are a multiple of 16 bytes.
func (g *ring) header() *unix.Tpacket2Hdr {
	return (*unix.Tpacket2Hdr)(unsafe.Pointer(&g.slots[g.head]))
}

// frame describes the frame at the head, if the kernel has filled it.
func (g *ring) frame(f *Frame) bool {
	h := g.header()
	// The kernel writes the status last, after a memory barrier; the atomic load is the matching
	// barrier.
	status := atomic.LoadUint32(&h.Status)
	if status&unix.TP_STATUS_USER == 0 {
		return false
	}
	slot := g.slots[g.head:][:g.slotLen]
	start := min(int(h.Mac), len(slot))
	end := min(start+min(int(h.Snaplen), g.snaplen), len(slot))
	f.Data = slot[start:end:end]
	f.Len = int(h.Len)
	f.Seconds = int64(h.Sec)
	f.Tagged = status&unix.TP_STATUS_VLAN_VALID != 0
	f.TPID, f.TCI = h.Vlan_tpid, h.Vlan_tci
	f.ChecksumPending = status&unix.TP_STATUS_CSUMNOTREADY != 0
	return true
}

// Stats returns the counters of the socket with that index.
func (r *Reader) Stats(source int) (Stats, error) {
	g := &r.rings[source]
	// The kernel counts dropped frames as packets too, and each read resets its counters
	// (packet(7), PACKET_STATISTICS).
	s, err := unix.GetsockoptTpacketStats(g.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return Stats{}, fmt.Errorf("read packet statistics: %w", err)
	}
	g.stats.Frames += uint64(s.Packets)
	g.stats.Dropped += uint64(s.Drops)
	return g.stats, nil
}
