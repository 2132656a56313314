package capture_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/capture"
	"maas-netmon/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// rawPair returns two connected interfaces whose kernels have nothing to say.
func rawPair(t testing.TB) (a, b testenv.Host) {
	t.Helper()
	a, b, err := testenv.Connect(testenv.Net(t), "va", testenv.MACA, testenv.Net(t), "vb", testenv.MACB)
	testenv.Must(t, err)
	testenv.Must(t, a.Up())
	testenv.Must(t, b.Up())
	return a, b
}

// open opens a socket on the host's interface, bound or not.
func open(t testing.TB, h testenv.Host, bind bool) *capture.Socket {
	t.Helper()
	var s *capture.Socket
	testenv.Must(t, h.Do(func() error {
		ifi, err := net.InterfaceByName(h.Name)
		if err != nil {
			return err
		}
		if s, err = capture.Open(ifi); err != nil || !bind {
			return err
		}
		return s.Bind(ifi.Index)
	}))
	return s
}

// wake makes a descriptor for the reader to be woken by, and how to wake it.
func wake(t testing.TB) (int, func()) {
	t.Helper()
	n, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	testenv.Must(t, err)
	t.Cleanup(func() { unix.Close(n) })
	return n, func() {
		_, err := unix.Write(n, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		testenv.Must(t, err)
	}
}

// read takes n frames out of the reader. A watchdog wakes it when they do not come.
func read(t testing.TB, r *capture.Reader, stop func(), n int) []capture.Frame {
	t.Helper()
	timer := time.AfterFunc(testenv.Patience, stop)
	defer timer.Stop()
	var frames []capture.Frame
	for len(frames) < n {
		control, err := r.Wait()
		testenv.Must(t, err)
		var f capture.Frame
		for r.Next(&f) {
			f.Data = append([]byte(nil), f.Data...) // it is the ring's
			frames = append(frames, f)
		}
		if control {
			t.Fatalf("%d frames, want %d", len(frames), n)
		}
	}
	return frames
}

func TestReader(t *testing.T) {
	a, b := rawPair(t)
	control, stop := wake(t)
	r, err := capture.NewReader([]int{open(t, a, true).FD()}, control)
	testenv.Must(t, err)
	port := b.Port(t)
	packet := testenv.ARP{SenderMAC: testenv.MACB, SenderIP: "10.0.0.2", TargetIP: "10.0.0.1"}
	for _, c := range []struct {
		name string
		tags []testenv.Tag
		want capture.Frame // but for Data and Seconds
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
	// What the filter does not let pass is not even counted.
	testenv.Must(t, port.Send(make([]byte, 60)))
	if s, err := r.Stats(0); err != nil || s != (capture.Stats{Frames: 5}) {
		t.Errorf("statistics %+v, %v, want 5 frames", s, err)
	}
}

// The ring holds what the package doc says, the rest is counted, and the reader goes on
// after it, over the end of the ring and round again.
func TestRingFull(t *testing.T) {
	a, b := rawPair(t)
	control, stop := wake(t)
	r, err := capture.NewReader([]int{open(t, a, true).FD()}, control)
	testenv.Must(t, err)
	port := b.Port(t)
	packet := testenv.ARP{SenderMAC: testenv.MACB, SenderIP: "10.0.0.2", TargetIP: "10.0.0.1"}.Bytes()
	for round := range 3 {
		const more = 100
		for range capture.RingFrames + more {
			testenv.Must(t, port.Send(packet))
		}
		if got := len(read(t, r, stop, capture.RingFrames)); got != capture.RingFrames {
			t.Errorf("round %d: %d frames, want %d", round, got, capture.RingFrames)
		}
		s, err := r.Stats(0)
		n := uint64(round + 1)
		if want := (capture.Stats{Frames: n * (capture.RingFrames + more), Dropped: n * more}); err != nil || s != want {
			t.Errorf("round %d: statistics %+v, %v, want %+v", round, s, err, want)
		}
	}
}

// Frames of several sockets carry the index of theirs.
func TestSources(t *testing.T) {
	control, stop := wake(t)
	var fds []int
	var ports []*testenv.Port
	for range 3 {
		a, b := rawPair(t)
		fds = append(fds, open(t, a, true).FD())
		ports = append(ports, b.Port(t))
	}
	r, err := capture.NewReader(fds, control)
	testenv.Must(t, err)
	packet := testenv.ARP{SenderMAC: testenv.MACB, SenderIP: "10.0.0.2", TargetIP: "10.0.0.1"}.Bytes()
	for _, i := range []int{1, 2, 0, 0, 2} {
		testenv.Must(t, ports[i].Send(packet))
		if f := read(t, r, stop, 1)[0]; f.Source != i {
			t.Errorf("source %d, want %d", f.Source, i)
		}
	}
}

func TestControlWakes(t *testing.T) {
	a, _ := rawPair(t)
	control, stop := wake(t)
	r, err := capture.NewReader([]int{open(t, a, true).FD()}, control)
	testenv.Must(t, err)
	stop()
	if woken, err := r.Wait(); !woken || err != nil {
		t.Errorf("woken %v, %v", woken, err)
	}
}

// An opened socket receives nothing before it is bound.
func TestNothingBeforeBind(t *testing.T) {
	a, b := rawPair(t)
	control, stop := wake(t)
	s := open(t, a, false)
	r, err := capture.NewReader([]int{s.FD()}, control)
	testenv.Must(t, err)
	packet := testenv.ARP{SenderMAC: testenv.MACB, SenderIP: "10.0.0.2", TargetIP: "10.0.0.1"}
	testenv.Must(t, b.Port(t).Send(packet.Bytes()))
	var index int
	testenv.Must(t, a.Do(func() error {
		ifi, err := net.InterfaceByName(a.Name)
		index = ifi.Index
		return err
	}))
	testenv.Must(t, s.Bind(index))
	packet.SenderIP = "10.0.0.3"
	testenv.Must(t, b.Port(t).Send(packet.Bytes()))
	f := read(t, r, stop, 1)[0]
	if f.Data[31] != 3 {
		t.Errorf("the frame from before the bind: %x", f.Data)
	}
}

// The filter is locked: no process that gets the socket can widen or detach it.
func TestFilterIsLocked(t *testing.T) {
	a, _ := rawPair(t)
	n := open(t, a, true).FD()
	if err := unix.SetsockoptInt(n, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("detach: %v, want EPERM", err)
	}
	pass := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff}
	err := unix.SetsockoptSockFprog(n, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &pass})
	if !errors.Is(err, unix.EPERM) {
		t.Errorf("replace: %v, want EPERM", err)
	}
	if err := unix.SetsockoptInt(n, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("unlock: %v, want EPERM", err)
	}
}

func TestNotEthernet(t *testing.T) {
	testenv.Require(t, testenv.Tun)
	ns := testenv.Net(t)
	testenv.Must(t, ns.IP("tuntap", "add", "dev", "tun0", "mode", "tun"))
	testenv.Must(t, ns.Do(func() error {
		ifi, err := net.InterfaceByName("tun0")
		if err != nil {
			return err
		}
		if _, err := capture.Open(ifi); !errors.Is(err, capture.ErrNotEthernet) {
			t.Errorf("got %v, want ErrNotEthernet", err)
		}
		return nil
	}))
}

func TestGoneMeanwhile(t *testing.T) {
	testenv.Must(t, testenv.Net(t).Do(func() error {
		if _, err := capture.Open(&net.Interface{Index: 12345, Name: "va"}); !errors.Is(err, unix.ENODEV) {
			t.Errorf("got %v, want ENODEV", err)
		}
		return nil
	}))
}

// The hot path: a frame out of the ring, without a system call and without garbage.
func BenchmarkNext(b *testing.B) {
	host, peer := rawPair(b)
	control, _ := wake(b)
	r, err := capture.NewReader([]int{open(b, host, true).FD()}, control)
	testenv.Must(b, err)
	port := peer.Port(b)
	packet := testenv.ARP{SenderMAC: testenv.MACB, SenderIP: "10.0.0.2", TargetIP: "10.0.0.1"}.Bytes()
	b.ReportAllocs()
	var f capture.Frame
	left := 0
	for b.Loop() {
		if left == 0 {
			b.StopTimer()
			for range capture.RingFrames {
				testenv.Must(b, port.Send(packet))
			}
			_ = r.Next(&f) // the end of the last drain
			left = capture.RingFrames
			b.StartTimer()
		}
		if r.Next(&f) {
			left--
		} else {
			left = 0
		}
	}
}
