package packetsock_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/capture"
	"maas-netmon/capture/packetsock"
	"maas-netmon/internal/testenv"
	"maas-netmon/parser"
	"maas-netmon/parser/parsertest"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// open opens a socket for the host's interface, and returns the interface's index, too.
func open(t *testing.T, h testenv.Host, ipv6 bool) (s *packetsock.Socket, index int) {
	t.Helper()
	index = indexOf(t, h)
	testenv.Must(t, h.Do(func() (err error) {
		if s, err = packetsock.Open(&net.Interface{Index: index, Name: h.Name}, ipv6); err != nil {
			return err
		}
		return packetsock.MakeRings([]*packetsock.Socket{s}, ipv6)
	}))
	t.Cleanup(func() { unix.Close(s.FD()) })
	return s, index
}

// openMany opens n sockets for the host's interface, without rings.
func openMany(h testenv.Host, n int) (sockets []*packetsock.Socket, err error) {
	err = h.Do(func() error {
		ifi, err := net.InterfaceByName(h.Name)
		for range n {
			if err != nil {
				return err
			}
			var s *packetsock.Socket
			s, err = packetsock.Open(ifi, false)
			sockets = append(sockets, s)
		}
		return err
	})
	return sockets, err
}

// indexOf returns the index of the host's interface.
func indexOf(t *testing.T, h testenv.Host) (index int) {
	t.Helper()
	testenv.Must(t, h.Do(func() error {
		ifi, err := net.InterfaceByName(h.Name)
		if err == nil {
			index = ifi.Index
		}
		return err
	}))
	return index
}

// An opened socket receives nothing before it is bound, nothing while it is muted, and frames from
// the interface after the next Bind. Bound reports each state.
func TestBindAndMute(t *testing.T) {
	a, b := testenv.RawPair(t)
	control, stop := testenv.Wake(t)
	timer := time.AfterFunc(testenv.Patience, stop)
	defer timer.Stop()
	s, index := open(t, a, false)
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
	s, _ := open(t, a, false)
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

// mapRing maps the ring of a socket, one of n.
func mapRing(s *packetsock.Socket, n int) ([]byte, error) {
	ring := capture.Ring(capture.RingSlots(n, false), false)
	return unix.Mmap(s.FD(), 0, int(ring.Block_size*ring.Block_nr), unix.PROT_READ, unix.MAP_SHARED)
}

// expectClosed fails the test if the descriptor of a socket is open.
func expectClosed(t *testing.T, sockets []*packetsock.Socket) {
	t.Helper()
	for i, s := range slices.Backward(sockets) {
		if _, err := unix.FcntlInt(uintptr(s.FD()), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
			t.Fatalf("socket %d of %d is open: %v", i, len(sockets), err)
		}
	}
}

// MakeRings and Close serve every socket, whatever their number is, before they return.
func TestNumberOfSockets(t *testing.T) {
	a, _ := testenv.RawPair(t)
	for _, n := range []int{0, 1, 7, 8, 63, 64, 67, 67, 67} {
		sockets, err := openMany(a, n)
		testenv.Must(t, err)
		testenv.Must(t, packetsock.MakeRings(sockets, false))
		for i, s := range slices.Backward(sockets) {
			ring, err := mapRing(s, n)
			if err != nil {
				t.Fatalf("socket %d of %d has no ring: %v", i, n, err)
			}
			testenv.Must(t, unix.Munmap(ring))
		}
		testenv.Must(t, packetsock.Close(sockets))
		expectClosed(t, sockets)
	}
}

// An error of one socket of many is returned, whichever thread serves it. The others are served.
func TestOneOfManyFails(t *testing.T) {
	a, _ := testenv.RawPair(t)
	for one := 32; one < 34; one++ {
		sockets, err := openMany(a, 65)
		testenv.Must(t, err)
		// So much room before each frame that none fits.
		testenv.Must(t, unix.SetsockoptInt(sockets[one].FD(), unix.SOL_PACKET, unix.PACKET_RESERVE, 1<<20))
		if err := packetsock.MakeRings(sockets, false); !errors.Is(err, unix.EINVAL) || !strings.HasPrefix(err.Error(), "make ring: ") {
			t.Errorf("socket %d can have no ring: %v, want EINVAL", one, err)
		}
		testenv.Must(t, packetsock.Close(sockets[one:one+1]))
		if err := packetsock.Close(sockets); !errors.Is(err, unix.EBADF) {
			t.Errorf("socket %d is closed twice: %v, want EBADF", one, err)
		}
		expectClosed(t, sockets)
	}
}

// The threads that MakeRings creates block every signal: the Go runtime's handler is for its own.
// The caller blocks what it did before. MakeRings is called until one is seen in its system call
// (/proc/PID/task/TID/syscall, proc_pid_syscall(5)). With one processor, the kernel may have no
// reason to wait.
func TestThreadsBlockSignals(t *testing.T) {
	testenv.Require(t, testenv.Processors)
	a, _ := testenv.RawPair(t)
	caller, stop, done := make(chan int, 1), make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread()
		caller <- unix.Gettid()
		var before, after unix.Sigset_t
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			sockets, err := openMany(a, 32)
			if err == nil {
				err = errors.Join(
					unix.PthreadSigmask(unix.SIG_BLOCK, nil, &before),
					packetsock.MakeRings(sockets, false),
					unix.PthreadSigmask(unix.SIG_BLOCK, nil, &after),
					packetsock.Close(sockets))
			}
			if before != after {
				err = fmt.Errorf("the caller blocks %x, want %x as before", after.Val, before.Val)
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	self := <-caller
	makesRing := regexp.MustCompile(fmt.Sprintf("^%d 0x[0-9a-f]+ %#x %#x ", unix.SYS_SETSOCKOPT, unix.SOL_PACKET, unix.PACKET_RX_RING))
	blocksThese := regexp.MustCompile("\nSigBlk:\t([0-9a-f]+)\n")
	var blocked [][]byte
	for end := time.Now().Add(testenv.Patience); blocked == nil && time.Now().Before(end); {
		tasks, err := filepath.Glob("/proc/self/task/*")
		testenv.Must(t, err)
		for _, task := range tasks {
			call, _ := os.ReadFile(task + "/syscall") // the thread may end at any time
			if filepath.Base(task) == fmt.Sprint(self) || !makesRing.Match(call) {
				continue
			}
			status, _ := os.ReadFile(task + "/status")
			blocked = blocksThese.FindSubmatch(status)
		}
	}
	close(stop)
	testenv.Must(t, <-done)
	if blocked == nil {
		t.Fatal("no thread but the caller makes a ring")
	}
	mask, err := strconv.ParseUint(string(blocked[1]), 16, 64)
	testenv.Must(t, err)
	// SIGKILL, SIGSTOP and the two of the C library are left out. It blocks them too when a thread
	// ends.
	if all := uint64(0xfffffffe7ffbfeff); mask&all != all {
		t.Errorf("a thread blocks %x, want %x", mask, all)
	}
}

// allmulti returns the number of memberships of all multicast groups that the interface has.
func allmulti(t *testing.T, h testenv.Host) int {
	t.Helper()
	var out []byte
	testenv.Must(t, h.Do(func() (err error) {
		out, err = exec.Command("ip", "-d", "-j", "link", "show", "dev", h.Name).Output()
		return err
	}))
	var links []struct{ Allmulti *int }
	testenv.Must(t, json.Unmarshal(out, &links))
	if links[0].Allmulti == nil {
		testenv.Lacks(t, testenv.Memberships, fmt.Errorf("no number of memberships in %s", out))
	}
	return *links[0].Allmulti
}

// With IPv6, an interface has exactly one membership for each socket that is bound to it, however
// often it was bound, and whatever has happened to the interface meanwhile. Without, it has none.
func TestMemberships(t *testing.T) {
	for _, ipv6 := range []bool{false, true} {
		a, b := testenv.RawPair(t)
		one := map[bool]int{true: 1}[ipv6]
		expect := func(step string, h testenv.Host, want int) {
			t.Helper()
			if got := allmulti(t, h); got != want {
				t.Errorf("IPv6 %v: %s: %d memberships, want %d", ipv6, step, got, want)
			}
		}
		s, index := open(t, a, ipv6)
		expect("opened", a, 0)
		for range 3 {
			testenv.Must(t, s.Bind(index))
			expect("bound", a, one)
		}
		other, _ := open(t, a, ipv6)
		testenv.Must(t, other.Bind(index))
		expect("another socket is bound", a, 2*one)
		testenv.Must(t, packetsock.Close([]*packetsock.Socket{other}))
		expect("the other socket is closed", a, one)
		for range 2 {
			testenv.Must(t, s.Mute(index))
			expect("muted", a, 0)
		}
		testenv.Must(t, s.Bind(index))
		expect("bound again", a, one)

		// The kernel ends the membership, and the index stays.
		testenv.Must(t, a.IP("link", "set", a.Name, "netns", b.Path()))
		testenv.Must(t, b.IP("link", "set", a.Name, "netns", a.Path()))
		testenv.Must(t, a.Up())
		expect("back from another namespace", a, 0)
		index = indexOf(t, a)
		testenv.Must(t, s.Bind(index))
		expect("bound after that", a, one)
		testenv.Must(t, s.Bind(index))
		expect("bound twice after that", a, one)

		// Another interface, of the same name and of another one.
		testenv.Must(t, a.IP("link", "del", a.Name))
		again, _, err := testenv.Connect(a.Namespace, a.Name, testenv.MACA, b.Namespace, b.Name, testenv.MACB)
		testenv.Must(t, err)
		index = indexOf(t, again)
		testenv.Must(t, s.Bind(index))
		expect("bound to the new interface", again, one)
		second, _, err := testenv.Connect(a.Namespace, "vc", testenv.MACA, b.Namespace, "vd", testenv.MACB)
		testenv.Must(t, err)
		testenv.Must(t, s.Bind(indexOf(t, second)))
		expect("bound to another interface", again, 0)
		expect("bound to another interface", second, one)

		// One that does not exist.
		if err := s.Bind(index + 1000); !errors.Is(err, unix.ENODEV) {
			t.Errorf("%v, want ENODEV", err)
		}
		testenv.Must(t, s.Bind(index))
		expect("bound after an error", again, one)
		expect("bound after an error", second, 0)
		testenv.Must(t, a.IP("link", "del", a.Name))
		if err := s.Mute(index); err != nil && !errors.Is(err, unix.ENODEV) {
			t.Errorf("muted without an interface: %v", err)
		}
	}
}

// Bind and Mute need no capability, even with IPv6.
func TestNoCapability(t *testing.T) {
	a, _ := testenv.RawPair(t)
	s, index := open(t, a, true)
	testenv.Must(t, a.Do(func() error { // on a thread that ends afterwards
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			return err
		}
		if _, err := packetsock.Open(&net.Interface{Index: index, Name: a.Name}, true); !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("the thread has a capability: %w", err)
		}
		return errors.Join(s.Bind(index), s.Bind(index), s.Mute(index), s.Bind(index))
	}))
	if n := allmulti(t, a); n != 1 {
		t.Errorf("%d memberships, want 1", n)
	}
}

// Between Bind and Mute, frames for multicast groups that no process has joined arrive, also on a
// device that filters them, such as a macvlan.
func TestForeignGroups(t *testing.T) {
	testenv.Require(t, testenv.Macvlan)
	a, b := testenv.RawPair(t)
	testenv.Must(t, a.IP("link", "add", "link", a.Name, "name", "vx", "type", "macvlan", "mode", "bridge"))
	x := testenv.Host{Namespace: a.Namespace, Name: "vx"}
	testenv.Must(t, x.Up())
	s, index := open(t, x, true)
	control, stop := testenv.Wake(t)
	timer := time.AfterFunc(testenv.Patience, stop)
	defer timer.Stop()
	r, err := capture.NewReader([]int{s.FD()}, true, control, -1)
	testenv.Must(t, err)
	port := b.Port(t)
	fence := testenv.ARP{SenderMAC: testenv.MACB, SenderIP: "10.0.0.2", TargetIP: "10.0.0.1"}

	// The device filters by a hash of 8 bits with a random part, so that a few of these groups can
	// pass it.
	const groups = 32
	received := func() (n int) {
		t.Helper()
		nd := parsertest.NDPackets()[2]
		for i := range groups {
			nd.EthernetDestination = parser.MAC{0x33, 0x33, 0xff, 0, byte(7 * i), byte(i)}
			testenv.Must(t, port.Send(parsertest.ND(&nd)))
		}
		testenv.Must(t, port.Send(fence.Bytes()))
		for {
			var f capture.Frame
			for !r.Next(&f) {
				woken, err := r.Wait(false, -1)
				testenv.Must(t, err)
				if woken.Control {
					t.Fatalf("the last frame does not arrive, after %d", n)
				}
			}
			switch {
			case f.Data[12] == 0x08:
				return n
			case parser.MAC(f.Data[6:]) == nd.EthernetSource: // not of the kernel itself
				n++
			}
		}
	}
	// without binds the socket without a membership.
	without := func() {
		t.Helper()
		all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL})
		testenv.Must(t, unix.Bind(s.FD(), &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}))
	}
	without()
	if n := received(); n > groups/2 {
		t.Errorf("%d of %d frames without a membership", n, groups)
	}
	testenv.Must(t, s.Bind(index))
	if n := received(); n != groups {
		t.Errorf("%d of %d frames with the membership", n, groups)
	}
	testenv.Must(t, s.Mute(index))
	without()
	if n := received(); n > groups/2 {
		t.Errorf("%d of %d frames after Mute", n, groups)
	}
}
