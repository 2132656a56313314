package capture_test

import (
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
)

// ringSlots is the size of the only ring of a reader.
var ringSlots = capture.RingSlots(1)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// open returns the descriptor of a socket that receives from the host's interface.
func open(t testing.TB, h testenv.Host) int {
	t.Helper()
	var s *packetsock.Socket
	testenv.Must(t, h.Do(func() error {
		ifi, err := net.InterfaceByName(h.Name)
		if err != nil {
			return err
		}
		if s, err = packetsock.Open(ifi); err != nil {
			return err
		}
		if err := packetsock.MakeRings([]*packetsock.Socket{s}); err != nil {
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
			s, err := packetsock.Open(ifi)
			sockets, indices = append(sockets, s), append(indices, ifi.Index)
			return err
		}))
	}
	testenv.Must(t, packetsock.MakeRings(sockets))
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
func newReader(t testing.TB) (r *capture.Reader, port *testenv.Port, wake func()) {
	t.Helper()
	a, b := testenv.RawPair(t)
	control, wake := testenv.Wake(t)
	r, err := capture.NewReader([]int{open(t, a)}, control, -1)
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
	r, port, stop := newReader(t)
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

// The ring holds as many frames as the package comment states, further frames are counted, and the
// reader continues afterwards, past the end of the ring and from its start again.
func TestRingFull(t *testing.T) {
	r, port, stop := newReader(t)
	for round := range 3 {
		const more = 100
		for range ringSlots + more {
			testenv.Must(t, port.Send(arpFrame))
		}
		arrived(t, r, 0, uint64((round+1)*(ringSlots+more)))
		if got := len(read(t, r, stop, ringSlots)); got != ringSlots {
			t.Errorf("round %d: %d frames, want %d", round, got, ringSlots)
		}
		s, err := r.Stats(0)
		n := uint64(round + 1)
		if want := (capture.Stats{Frames: n * uint64(ringSlots+more), Dropped: n * more}); err != nil || s != want {
			t.Errorf("round %d: statistics %+v, %v, want %+v", round, s, err, want)
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
		fds = append(fds, open(t, a))
		ports = append(ports, b.Port(t))
	}
	r, err := capture.NewReader(fds, control, -1)
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
		r, err := capture.NewReader([]int{open(t, a)}, control, pipe[1])
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
	r, port, _ := newReader(t)
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
	r, err := capture.NewReader(fds, control, -1)
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
	slots := capture.RingSlots(capture.MaxSockets)
	fds := openMany(t, slices.Repeat([]testenv.Host{a}, capture.MaxSockets)...)
	r, err := capture.NewReader(fds, control, -1)
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
	if _, err := capture.NewReader(append(fds, fds[0]), control, -1); err == nil {
		t.Error("one more socket is taken")
	}
}

func TestRingSlots(t *testing.T) {
	for sockets, want := range map[int]int{1: 10240, 9: 10240, 16: 6144, 64: 1536, 384: 256, 500: 256, 1024: 256} {
		if got := capture.RingSlots(sockets); got != want && os.Getpagesize() <= 32<<10 {
			t.Errorf("%d sockets: %d slots each, want %d", sockets, got, want)
		}
	}
}

// Neither Wait nor Next allocates.
func TestNoAllocation(t *testing.T) {
	r, port, _ := newReader(t)
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
	r, port, _ := newReader(b)
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
