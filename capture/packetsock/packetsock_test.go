package packetsock_test

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/capture"
	"maas-netmon/capture/packetsock"
	"maas-netmon/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// open opens a socket for the host's interface, and returns the interface's index, too.
func open(t *testing.T, h testenv.Host) (s *packetsock.Socket, index int) {
	t.Helper()
	testenv.Must(t, h.Do(func() error {
		ifi, err := net.InterfaceByName(h.Name)
		if err != nil {
			return err
		}
		index = ifi.Index
		if s, err = packetsock.Open(ifi, false); err != nil {
			return err
		}
		return packetsock.MakeRings([]*packetsock.Socket{s}, false)
	}))
	t.Cleanup(func() { unix.Close(s.FD()) })
	return s, index
}

// An opened socket receives nothing before it is bound, nothing while it is muted, and frames from
// the interface after the next Bind. Bound reports each state.
func TestBindAndMute(t *testing.T) {
	a, b := testenv.RawPair(t)
	control, stop := testenv.Wake(t)
	timer := time.AfterFunc(testenv.Patience, stop)
	defer timer.Stop()
	s, index := open(t, a)
	r, err := capture.NewReader([]int{s.FD()}, false, control, -1)
	testenv.Must(t, err)
	port := b.Port(t)
	send := func(host string) {
		packet := testenv.ARP{SenderMAC: testenv.MACB, SenderIP: "10.0.0." + host, TargetIP: "10.0.0.1"}
		testenv.Must(t, port.Send(packet.Bytes()))
	}
	expectNext := func(host byte) {
		t.Helper()
		var f capture.Frame
		for !r.Next(&f) {
			woken, err := r.Wait(false, -1)
			testenv.Must(t, err)
			if woken.Control {
				t.Fatal("no frame")
			}
		}
		if f.Data[31] != host {
			t.Errorf("a frame of host %d, want %d", f.Data[31], host)
		}
	}
	expectBound := func(want int) {
		t.Helper()
		if got, err := s.Bound(); err != nil || got != want {
			t.Errorf("bound to %d, %v, want %d", got, err, want)
		}
	}
	expectBound(0)
	send("2")
	testenv.Must(t, s.Bind(index))
	expectBound(index)
	send("3")
	expectNext(3)
	testenv.Must(t, s.Mute(index))
	expectBound(0)
	send("4")
	testenv.Must(t, s.Bind(index))
	expectBound(index)
	send("5")
	expectNext(5)
	testenv.Must(t, a.IP("link", "del", a.Name))
	expectBound(0)
}

// The filter is locked: no process that receives the socket can widen or detach it.
func TestFilterIsLocked(t *testing.T) {
	a, _ := testenv.RawPair(t)
	s, _ := open(t, a)
	n := s.FD()
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
		if _, err := packetsock.Open(ifi, false); !errors.Is(err, packetsock.ErrNotEthernet) {
			t.Errorf("got %v, want ErrNotEthernet", err)
		}
		return nil
	}))
}

func TestGoneMeanwhile(t *testing.T) {
	testenv.Must(t, testenv.Net(t).Do(func() error {
		if _, err := packetsock.Open(&net.Interface{Index: 12345, Name: "va"}, false); !errors.Is(err, unix.ENODEV) {
			t.Errorf("got %v, want ENODEV", err)
		}
		return nil
	}))
}
