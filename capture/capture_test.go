package capture_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/capture"
	"maas-netmon/capture/packetsock"
	"maas-netmon/internal/testenv"
	"maas-netmon/parser/parsertest"
)

// ringSlots is the size of the only ring of a reader.
var ringSlots = capture.RingSlots(1, false)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// open returns the descriptor of a socket that receives from the host's interface.
func open(t testing.TB, h testenv.Host, ipv6 bool) int {
	t.Helper()
	var s *packetsock.Socket
	testenv.Must(t, h.Do(func() error {
		ifi, err := net.InterfaceByName(h.Name)
		if err != nil {
			return err
		}
		if s, err = packetsock.Open(ifi, ipv6); err != nil {
			return err
		}
		if err := packetsock.MakeRings([]*packetsock.Socket{s}, ipv6); err != nil {
			return err
		}
		return s.Bind(ifi.Index)
	}))
	return s.FD()
}

// openMany opens one socket per host, on its interface, and binds it. A host may occur several
// times. It returns the descriptors.
func openMany(t testing.TB, hosts ...testenv.Host) (fds []int) {
	t.Helper()
	var sockets []*packetsock.Socket
	var indices []int
	for _, h := range hosts {
		testenv.Must(t, h.Do(func() error {
			ifi, err := net.InterfaceByName(h.Name)
			if err != nil {
				return err
			}
			s, err := packetsock.Open(ifi, false)
			sockets, indices = append(sockets, s), append(indices, ifi.Index)
			return err
		}))
	}
	testenv.Must(t, packetsock.MakeRings(sockets, false))
	t.Cleanup(func() { testenv.Must(t, packetsock.Close(sockets)) })
	for i, s := range sockets {
		testenv.Must(t, s.Bind(indices[i]))
		fds = append(fds, s.FD())
	}
	return fds
}

// A packet of the other host.
var (
	arp      = testenv.ARP{SenderMAC: testenv.MACB, SenderIP: "10.0.0.2", TargetIP: "10.0.0.1"}
	arpFrame = arp.Bytes()
)

// newReader returns a reader of one socket, a port whose frames reach it, and a function that wakes
// it.
func newReader(t testing.TB, ipv6 bool) (r *capture.Reader, port *testenv.Port, wake func()) {
	t.Helper()
	a, b := testenv.RawPair(t)
	silence(t, a, b)
	control, wake := testenv.Wake(t)
	r, err := capture.NewReader([]int{open(t, a, ipv6)}, ipv6, control, -1)
	testenv.Must(t, err)
	return r, b.Port(t), wake
}

// read reads n frames. A watchdog wakes the reader if they do not come.
func read(t testing.TB, r *capture.Reader, stop func(), n int) []capture.Frame {
	t.Helper()
	timer := time.AfterFunc(testenv.Patience, stop)
	defer timer.Stop()
	var frames []capture.Frame
	for len(frames) < n {
		woken, err := r.Wait(false, -1)
		testenv.Must(t, err)
		var f capture.Frame
		for r.Next(&f) {
			f.Data = append([]byte(nil), f.Data...) // the ring's slot will be reused
			frames = append(frames, f)
		}
		if woken.Control {
			t.Fatalf("%d frames, want %d", len(frames), n)
		}
	}
	return frames
}

// arrived waits until the kernel has counted n frames of a socket, since its start: a busy kernel
// delivers them after Send has returned (ksoftirqd), and a frame that arrives while the reader
// empties the ring finds a slot that the test believes full.
func arrived(t testing.TB, r *capture.Reader, source int, n uint64) {
	t.Helper()
	for end := time.Now().Add(testenv.Patience); ; runtime.Gosched() {
		s, err := r.Stats(source)
		testenv.Must(t, err)
		if s.Frames >= n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("socket %d: %d frames have arrived, want %d", source, s.Frames, n)
		}
	}
}

func TestReader(t *testing.T) {
	r, port, stop := newReader(t, false)
	packet := arp
	for _, c := range []struct {
		name string
		tags []testenv.Tag
		want capture.Frame // without Data and Seconds
	}{
		{"untagged", nil, capture.Frame{Len: 60}},
		{"802.1Q", []testenv.Tag{{TPID: 0x8100, TCI: 0x6101}},
			capture.Frame{Len: 56, Tagged: true, TPID: 0x8100, TCI: 0x6101}},
		{"802.1ad", []testenv.Tag{{TPID: 0x88a8, TCI: 0x0fff}},
			capture.Frame{Len: 56, Tagged: true, TPID: 0x88a8, TCI: 0x0fff}},
		{"priority tag", []testenv.Tag{{TPID: 0x8100, TCI: 0}},
			capture.Frame{Len: 56, Tagged: true, TPID: 0x8100, TCI: 0}},
		{"in line", []testenv.Tag{{TPID: 0x9100, TCI: 5}}, capture.Frame{Len: 60}},
	} {
		packet.Tags = c.tags
		sent := packet.Bytes()
		if c.want.Tagged {
			sent = append(sent[:12:12], sent[16:]...)
		}
		testenv.Must(t, port.Send(packet.Bytes()))
		got := read(t, r, stop, 1)[0]
		if age := time.Since(time.Unix(got.Seconds, 0)); age < -time.Second || age > time.Minute {
			t.Errorf("%s: time is off by %v", c.name, age)
		}
		if string(got.Data) != string(sent[:capture.Snaplen]) {
			t.Errorf("%s: data\n%x, want\n%x", c.name, got.Data, sent[:capture.Snaplen])
		}
		got.Data, got.Seconds = nil, 0
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
	// Frames that the filter refuses are not counted.
	testenv.Must(t, port.Send(make([]byte, 60)))
	if s, err := r.Stats(0); err != nil || s != (capture.Stats{Frames: 5}) {
		t.Errorf("statistics %+v, %v, want 5 frames", s, err)
	}
}

// A slot for IPv6 holds a whole packet after two tags, and no byte of it is lost. Of a longer one,
// the start arrives. The flag of a checksum that the sender has left to the device arrives, too.
func TestReaderIPv6(t *testing.T) {
	a, b := testenv.RawPair(t)
	silence(t, a, b)
	for _, h := range []testenv.Host{a, b} {
		testenv.Must(t, h.IP("link", "set", h.Name, "mtu", "9000"))
	}
	control, stop := testenv.Wake(t)
	r, err := capture.NewReader([]int{open(t, a, true)}, true, control, -1)
	testenv.Must(t, err)
	port := b.Port(t)
	expect := func(name string, sent []byte, want capture.Frame) {
		t.Helper()
		got := read(t, r, stop, 1)[0]
		if string(got.Data) != string(sent) {
			t.Errorf("%s: data\n%x, want\n%x", name, got.Data, sent)
		}
		got.Data, got.Seconds = nil, 0
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	nd := parsertest.NDPackets()[2]
	nd.VID, nd.InnerVID = 200, 100
	// long returns the packet with that many bytes of IPv6, of which the last ones differ.
	long := func(n int) []byte {
		frame := parsertest.ND(&nd)
		for i := len(frame); i < 22+n; i++ {
			frame = append(frame, byte(i))
		}
		return frame
	}
	stripped := func(frame []byte) []byte { return slices.Concat(frame[:12], frame[16:]) }
	tpid := uint16(long(1500)[12])<<8 | uint16(long(1500)[13])
	whole, longer := long(1500), long(1600)
	if len(whole) != capture.SnaplenIPv6 {
		t.Fatalf("%d bytes, want %d", len(whole), capture.SnaplenIPv6)
	}
	testenv.Must(t, port.Send(whole))
	expect("a whole packet", stripped(whole), capture.Frame{Len: 1518, Tagged: true, TPID: tpid, TCI: 200})
	testenv.Must(t, port.Send(longer))
	expect("a longer one", stripped(longer)[:capture.SnaplenIPv6], capture.Frame{Len: 1618, Tagged: true, TPID: tpid, TCI: 200})
	testenv.Must(t, port.Send(arpFrame))
	expect("ARP", arpFrame[:capture.Snaplen], capture.Frame{Len: 60})

	nd.VID, nd.InnerVID = 0, 0
	frame := parsertest.ND(&nd)
	testenv.Must(t, b.Do(func() error { return sendUnsummed(b.Name, frame) }))
	got := read(t, r, stop, 1)[0]
	if !got.ChecksumPending || got.Len != len(frame) {
		t.Errorf("got %+v, want a checksum that is pending", got)
	}
	testenv.Must(t, port.Send(frame))
	expect("a complete checksum", frame, capture.Frame{Len: len(frame)})
}

// silence has the kernel send no IPv6 packets of its own on the hosts' interfaces.
func silence(t testing.TB, hosts ...testenv.Host) {
	t.Helper()
	for _, h := range hosts {
		testenv.Must(t, h.Do(func() error {
			err := os.WriteFile("/proc/sys/net/ipv6/conf/"+h.Name+"/disable_ipv6", []byte("1"), 0)
			if errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
				return nil
			}
			return err
		}))
	}
}

// sendUnsummed sends an ICMPv6 packet whose checksum the device must compute.
func sendUnsummed(name string, frame []byte) error {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return err
	}
	// virtio_net_hdr (include/uapi/linux/virtio_net.h), in the order of this machine.
	header := []byte{unix.VIRTIO_NET_HDR_F_NEEDS_CSUM, unix.VIRTIO_NET_HDR_GSO_NONE}
	for _, v := range []uint16{0, 0, capture.EtherHeaderLen + 40, 2} {
		header = binary.NativeEndian.AppendUint16(header, v)
	}
	return unix.Sendto(fd, append(header, frame...), 0, &unix.SockaddrLinklayer{Ifindex: ifi.Index})
}

// The ring holds as many frames as the package comment states, further frames are counted, and the
// reader continues afterwards, past the end of the ring and from its start again.
func TestRingFull(t *testing.T) {
	for _, ipv6 := range []bool{false, true} {
		r, port, stop := newReader(t, ipv6)
		slots := capture.RingSlots(1, ipv6)
		for round := range 3 {
			const more = 100
			for range slots + more {
				testenv.Must(t, port.Send(arpFrame))
			}
			arrived(t, r, 0, uint64((round+1)*(slots+more)))
			if got := len(read(t, r, stop, slots)); got != slots {
				t.Errorf("IPv6 %v, round %d: %d frames, want %d", ipv6, round, got, slots)
			}
			s, err := r.Stats(0)
			n := uint64(round + 1)
			if want := (capture.Stats{Frames: n * uint64(slots+more), Dropped: n * more}); err != nil || s != want {
				t.Errorf("IPv6 %v, round %d: statistics %+v, %v, want %+v", ipv6, round, s, err, want)
			}
		}
	}
}

// Frames of several sockets have the index of their socket.
func TestSources(t *testing.T) {
	control, stop := testenv.Wake(t)
	var fds []int
	var ports []*testenv.Port
	for range 3 {
		a, b := testenv.RawPair(t)
		fds = append(fds, open(t, a, false))
		ports = append(ports, b.Port(t))
	}
	r, err := capture.NewReader(fds, false, control, -1)
	testenv.Must(t, err)
	for _, i := range []int{1, 2, 0, 0, 2} {
		testenv.Must(t, ports[i].Send(arpFrame))
		if f := read(t, r, stop, 1)[0]; f.Source != i {
			t.Errorf("source %d, want %d", f.Source, i)
		}
	}
}

// expectWakeup fails the test unless Wait, with these arguments, returns this Wakeup.
func expectWakeup(t *testing.T, r *capture.Reader, writable bool, timeout time.Duration, want capture.Wakeup) {
	t.Helper()
	woken, err := r.Wait(writable, timeout)
	testenv.Must(t, err)
	if woken != want {
		t.Errorf("woken %+v, want %+v", woken, want)
	}
}

// The events that end a Wait, both when it waits for the next frame and when frames gather: 100
// frames before the Wait cause the latter.
func TestWhatWakes(t *testing.T) {
	for _, frames := range []int{0, 100} {
		a, b := testenv.RawPair(t)
		control, stop := testenv.Wake(t)
		var pipe [2]int
		testenv.Must(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
		r, err := capture.NewReader([]int{open(t, a, false)}, false, control, pipe[1])
		testenv.Must(t, err)
		port := b.Port(t)
		gather := func() {
			if frames > 0 {
				for range frames {
					testenv.Must(t, port.Send(arpFrame))
				}
				read(t, r, stop, frames)
			}
		}
		gather()
		expectWakeup(t, r, true, -1, capture.Wakeup{Output: true})
		gather()
		// A writable pipe does not end a Wait that did not request it.
		expectWakeup(t, r, false, time.Millisecond, capture.Wakeup{})
		gather()
		testenv.Must(t, unix.Close(pipe[0]))
		expectWakeup(t, r, false, -1, capture.Wakeup{Output: true})
		stop()
		expectWakeup(t, r, false, -1, capture.Wakeup{Control: true, Output: true})
		unix.Close(pipe[1])
	}
}

// A burst that begins slowly, after a quiet period, finds a reader with short pauses: no frame is
// lost, although a ring holds only a fifth of the burst. If the second frame made the reader sleep
// for 100 ms, some 1,000 frames would be lost each time. The test sends the frames of a pause after
// it, and its clock contains the pauses alone, so that the result does not depend on the speed of
// this machine or on its load.
func TestBurstOutOfTheQuiet(t *testing.T) {
	r, port, _ := newReader(t, false)
	clock := time.Now()
	r.SetClock(func() time.Time { return clock })
	received := 0
	// wait returns the time that has passed on the clock. A Wait without a pause takes no time.
	wait := func(timeout time.Duration) time.Duration {
		d := max(r.NextPause(), 10*time.Microsecond)
		_, err := r.Wait(false, timeout)
		testenv.Must(t, err)
		clock = clock.Add(d)
		var f capture.Frame
		for r.Next(&f) {
			received++
		}
		return d
	}
	testenv.Must(t, port.Send(arpFrame))
	wait(-1)
	const quiet = 20 * time.Millisecond
	wait(quiet) // no frame arrives
	clock = clock.Add(quiet)
	testenv.Must(t, port.Send(arpFrame))
	wait(-1)
	const before = 2           // frames before the burst
	const perMillisecond = 115 // a ring holds the frames of 89 ms
	var longest time.Duration
	for sent := 0; sent < 5*ringSlots; {
		d := wait(-1)
		longest = max(longest, d)
		n := int(d*perMillisecond/time.Millisecond) + 1
		for range n {
			testenv.Must(t, port.Send(arpFrame))
		}
		sent += n
		arrived(t, r, 0, uint64(before+sent))
	}
	s, err := r.Stats(0)
	testenv.Must(t, err)
	if s.Dropped > 0 {
		t.Errorf("%d frames lost, %d received; the longest pause was %v", s.Dropped, received, longest)
	}
	t.Logf("the longest pause was %v", longest)
}

// While one socket is so busy that the reader reads it every few milliseconds, frames of the other,
// idle sockets are read too.
func TestIdleSockets(t *testing.T) {
	const sockets, each = 400, 150
	busy, sender := testenv.RawPair(t)
	idle, other := testenv.RawPair(t)
	control, _ := testenv.Wake(t)
	fds := openMany(t, append(slices.Repeat([]testenv.Host{idle}, sockets-1), busy)...)
	r, err := capture.NewReader(fds, false, control, -1)
	testenv.Must(t, err)
	capture.UnmapAtEnd(t, r)
	port := sender.Port(t)
	from := make(map[int]int)
	round := func() {
		for range each {
			testenv.Must(t, port.Send(arpFrame))
		}
		_, err := r.Wait(false, -1)
		testenv.Must(t, err)
		var f capture.Frame
		for r.Next(&f) {
			from[f.Source]++
		}
	}
	for range 10 { // until the pauses are short
		round()
	}
	testenv.Must(t, other.Port(t).Send(arpFrame))
	for deadline := time.Now().Add(testenv.Patience); len(from) < sockets && time.Now().Before(deadline); {
		round()
	}
	if len(from) != sockets {
		t.Errorf("frames of %d sockets, want %d", len(from), sockets)
	}
}

// The largest number of sockets: their rings are small, and a frame sent to each is read from each.
func TestManySockets(t *testing.T) {
	a, b := testenv.RawPair(t)
	control, stop := testenv.Wake(t)
	slots := capture.RingSlots(capture.MaxSockets, false)
	fds := openMany(t, slices.Repeat([]testenv.Host{a}, capture.MaxSockets)...)
	r, err := capture.NewReader(fds, false, control, -1)
	testenv.Must(t, err)
	capture.UnmapAtEnd(t, r)
	port := b.Port(t)
	for range slots + 1 { // the last one does not fit
		testenv.Must(t, port.Send(arpFrame))
	}
	for i := range fds {
		arrived(t, r, i, uint64(slots)+1)
	}
	from := make(map[int]int)
	for _, f := range read(t, r, stop, len(fds)*slots) {
		from[f.Source]++
	}
	for i := range fds {
		s, err := r.Stats(i)
		if want := (capture.Stats{Frames: uint64(slots) + 1, Dropped: 1}); err != nil || s != want || from[i] != slots {
			t.Fatalf("socket %d: %+v, %v, %d frames read", i, s, err, from[i])
		}
	}
	if _, err := capture.NewReader(append(fds, fds[0]), false, control, -1); err == nil {
		t.Error("one more socket is taken")
	}
}

// The geometry of the rings for every number of sockets, and its limits: blocks are whole pages and
// hold whole slots, and all rings together have at most 12 MiB unless each has a single block.
func TestRingSlots(t *testing.T) {
	for _, c := range []struct {
		ipv6 bool
		page int
		want map[int]int // by the number of sockets
	}{
		{false, 4 << 10, map[int]int{1: 10240, 9: 10240, 16: 6144, 64: 1536, 384: 256, 500: 256, 1024: 256}},
		{false, 16 << 10, map[int]int{1: 10240, 9: 10240, 16: 6144, 64: 1536, 384: 256, 500: 256, 1024: 256}},
		{false, 64 << 10, map[int]int{1: 10240, 9: 10240, 16: 6144, 64: 1536, 384: 512, 500: 512, 1024: 512}},
		{true, 4 << 10, map[int]int{1: 4096, 2: 3072, 9: 672, 16: 384, 64: 96, 384: 16, 500: 16, 1024: 16}},
		{true, 16 << 10, map[int]int{1: 4096, 2: 3072, 9: 672, 16: 384, 64: 96, 384: 16, 500: 16, 1024: 16}},
		{true, 64 << 10, map[int]int{1: 4096, 2: 3072, 9: 672, 16: 384, 64: 96, 384: 32, 500: 32, 1024: 32}},
	} {
		slotLen := map[bool]int{false: 128, true: 2048}[c.ipv6]
		for sockets, want := range c.want {
			if got := capture.RingSlotsOf(sockets, c.ipv6, c.page); got != want {
				t.Errorf("%d sockets, IPv6 %v, pages of %d: %d slots each, want %d", sockets, c.ipv6, c.page, got, want)
			}
		}
		for sockets := 1; sockets <= capture.MaxSockets; sockets++ {
			slots := capture.RingSlotsOf(sockets, c.ipv6, c.page)
			r := capture.RingOf(slots, c.ipv6, c.page)
			block, blocks := int(r.Block_size), int(r.Block_nr)
			if int(r.Frame_size) != slotLen || int(r.Frame_nr) != slots || block*blocks != slots*slotLen ||
				block%c.page != 0 || block%slotLen != 0 || block != max(32<<10, c.page) {
				t.Errorf("%d sockets, IPv6 %v, pages of %d: %+v", sockets, c.ipv6, c.page, r)
			}
			if blocks > 1 && sockets*blocks*block > 12<<20 {
				t.Errorf("%d sockets, IPv6 %v, pages of %d: %d bytes", sockets, c.ipv6, c.page, sockets*blocks*block)
			}
		}
		if os.Getpagesize() == c.page && capture.RingSlots(2, c.ipv6) != capture.RingSlotsOf(2, c.ipv6, c.page) {
			t.Errorf("pages of %d: not those of this machine", c.page)
		}
	}
}

// Neither Wait nor Next allocates.
func TestNoAllocation(t *testing.T) {
	r, port, _ := newReader(t, false)
	var f capture.Frame
	frames := 0
	n := testing.AllocsPerRun(20, func() {
		testenv.Must(t, port.Send(arpFrame))
		for _, timeout := range []time.Duration{-1, 0, 12 * time.Millisecond} {
			if _, err := r.Wait(false, timeout); err != nil {
				t.Error(err)
			}
			for r.Next(&f) {
				frames++
			}
		}
	})
	if n > 0 || frames == 0 {
		t.Errorf("%v allocations, %d frames", n, frames)
	}
}

// The hot path: the cost per frame of reading the ring, without a system call and without garbage.
func BenchmarkNext(b *testing.B) {
	r, port, _ := newReader(b, false)
	b.ReportAllocs()
	var f capture.Frame
	left := 0
	for b.Loop() {
		if left == 0 {
			b.StopTimer()
			for range ringSlots {
				testenv.Must(b, port.Send(arpFrame))
			}
			_ = r.Next(&f) // the end of the last drain
			left = ringSlots
			b.StartTimer()
		}
		if r.Next(&f) {
			left--
		} else {
			left = 0
		}
	}
}
