package integration

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// on is the predicate that a line reports a new address on an interface.
func on(name, ip string) func(testenv.Line) bool {
	return testenv.And(testenv.Event("NEW", ip), func(l testenv.Line) bool { return l.Interface == name })
}

// veth creates a pair between two namespaces and sets it up.
func veth(t *testing.T, a *testenv.Namespace, nameA string, b *testenv.Namespace, nameB string, n byte, addressB ...string) (testenv.Host, testenv.Host) {
	t.Helper()
	x, y, err := testenv.Connect(a, nameA, testenv.MAC{2, 0, 0, 0, 1, n}, b, nameB, testenv.MAC{2, 0, 0, 0, 2, n})
	testenv.Must(t, err)
	testenv.Must(t, x.Up())
	testenv.Must(t, y.Up(addressB...))
	return x, y
}

// On a bridge the program sees broadcasts and frames for the bridge itself; on a port it sees all
// frames that pass, including those between other hosts.
func TestBridge(t *testing.T) {
	testenv.Require(t, testenv.Bridge)
	t.Parallel()
	rack := testenv.Net(t)
	testenv.Must(t, rack.IP("link", "add", "br0", "type", "bridge"))
	testenv.Must(t, testenv.Host{Namespace: rack, Name: "br0"}.Up("10.0.0.1/24"))
	_, one := veth(t, rack, "p1", testenv.Net(t), "e1", 1, "10.0.0.11/24")
	_, two := veth(t, rack, "p2", testenv.Net(t), "e2", 2, "10.0.0.12/24")
	for _, port := range []string{"p1", "p2"} {
		testenv.Must(t, rack.IP("link", "set", port, "master", "br0"))
	}
	p := testenv.Watch(t, rack, testenv.Options{}, "br0", "p1", "p2")

	var all []*testenv.Expectation[testenv.Line]
	for _, name := range []string{"br0", "p1", "p2"} { // a request is a broadcast
		all = append(all, p.Lines.Expect(on(name, "10.0.0.11")))
	}
	for _, name := range []string{"br0", "p1"} { // the bridge's own answer goes to one port
		all = append(all, p.Lines.Expect(on(name, "10.0.0.1")))
	}
	testenv.Must(t, one.Talk("10.0.0.1"))
	for _, e := range all {
		e.Await(t)
	}

	passing := []*testenv.Expectation[testenv.Line]{p.Lines.Expect(on("p1", "10.0.0.12")), p.Lines.Expect(on("p2", "10.0.0.12"))}
	above := p.Lines.Expect(on("br0", "10.0.0.12"))
	testenv.Must(t, one.Talk("10.0.0.12"))
	for _, e := range passing {
		e.Await(t)
	}
	fenced := p.Lines.Expect(on("br0", fence))
	testenv.Must(t, two.Port(t).Send(request(macD, fence).Bytes()))
	above.NotBefore(t, fenced)
}

// On a macvlan the program sees broadcasts and frames for its own MAC; on the interface below it
// sees all.
func TestMacvlan(t *testing.T) {
	testenv.Require(t, testenv.Macvlan)
	t.Parallel()
	ns := testenv.Net(t)
	below, peer := veth(t, ns, "va", testenv.Net(t), "vb", 1)
	testenv.Must(t, ns.IP("link", "add", "link", "va", "name", "mv0", "address", "02:00:00:00:03:01", "type", "macvlan", "mode", "bridge"))
	testenv.Must(t, testenv.Host{Namespace: ns, Name: "mv0"}.Up())
	p := testenv.Watch(t, ns, testenv.Options{}, "va", "mv0")
	port := peer.Port(t)
	reply := func(to testenv.MAC, ip string) []byte {
		return testenv.ARP{Destination: to, Operation: 2, SenderMAC: macC, SenderIP: ip, TargetIP: "10.0.0.254"}.Bytes()
	}

	everybody := []*testenv.Expectation[testenv.Line]{p.Lines.Expect(on("va", "10.0.0.5")), p.Lines.Expect(on("mv0", "10.0.0.5"))}
	testenv.Must(t, port.Send(request(macC, "10.0.0.5").Bytes()))
	mine := p.Lines.Expect(on("mv0", "10.0.0.6"))
	testenv.Must(t, port.Send(reply(testenv.MAC{2, 0, 0, 0, 3, 1}, "10.0.0.6")))
	notMine := p.Lines.Expect(on("mv0", "10.0.0.7"))
	belows := p.Lines.Expect(on("va", "10.0.0.7"))
	testenv.Must(t, port.Send(reply(below.MAC, "10.0.0.7")))
	for _, e := range append(everybody, mine, belows) {
		e.Await(t)
	}
	fenced := p.Lines.Expect(on("mv0", fence))
	testenv.Must(t, port.Send(request(macD, fence).Bytes()))
	notMine.NotBefore(t, fenced)
}

// On a VXLAN the program sees the frames inside the tunnel; on the interface that carries it, it
// does not.
func TestVXLAN(t *testing.T) {
	testenv.Require(t, testenv.VXLAN)
	t.Parallel()
	here, there := testenv.Net(t), testenv.Net(t)
	a, _ := veth(t, here, "va", there, "vb", 1, "192.0.2.2/24")
	testenv.Must(t, a.Up("192.0.2.1/24"))
	tunnel := func(ns *testenv.Namespace, below, local, remote, address string) testenv.Host {
		testenv.Must(t, ns.IP("link", "add", "vx0", "type", "vxlan", "id", "5", "dstport", "4789", "dev", below, "local", local, "remote", remote))
		h := testenv.Host{Namespace: ns, Name: "vx0"}
		testenv.Must(t, h.Up(address))
		return h
	}
	tunnel(here, "va", "192.0.2.1", "192.0.2.2", "10.0.0.1/24")
	peer := tunnel(there, "vb", "192.0.2.2", "192.0.2.1", "10.0.0.2/24")
	p := testenv.Watch(t, here, testenv.Options{}, "va", "vx0")
	inside, carrier := p.Lines.Expect(on("vx0", "10.0.0.2")), p.Lines.Expect(on("va", "192.0.2.2"))
	hidden := p.Lines.Expect(on("va", "10.0.0.2"))
	testenv.Must(t, peer.Talk("10.0.0.1"))
	inside.Await(t)
	hidden.NotBefore(t, carrier)
}

// openTap creates a tap device, as a virtual machine does, and sets it up. A frame that is written
// to the file arrives on the interface.
func openTap(t *testing.T, ns *testenv.Namespace, name string) *os.File {
	t.Helper()
	testenv.Require(t, testenv.Tun)
	var tap *os.File
	testenv.Must(t, ns.Do(func() (err error) {
		if tap, err = os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
			return err
		}
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		return unix.IoctlIfreq(int(tap.Fd()), unix.TUNSETIFF, ifr)
	}))
	t.Cleanup(func() { tap.Close() })
	testenv.Must(t, testenv.Host{Namespace: ns, Name: name}.Up())
	return tap
}

// Frames that a virtual machine writes to its tap are seen.
func TestTap(t *testing.T) {
	t.Parallel()
	ns := testenv.Net(t)
	tap := openTap(t, ns, "tap0")
	p := testenv.Watch(t, ns, testenv.Options{}, "tap0")
	seen := p.Lines.Expect(testenv.Event("NEW", "10.0.0.5"))
	_, err := tap.Write(request(macC, "10.0.0.5").Bytes())
	testenv.Must(t, err)
	seen.Await(t)
}

// An interface changes its type, keeps its index, and changes back. While it is not Ethernet, its
// frames are not read. --match does not select such an interface.
func TestTypeChanges(t *testing.T) {
	for name, args := range map[string][]string{"by name": {"tap0"}, "by pattern": {"--match", "tap*"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := testenv.Net(t)
			tap := openTap(t, ns, "tap0")
			host := testenv.Host{Namespace: ns, Name: "tap0"}
			p := testenv.Watch(t, ns, testenv.Options{}, args...)
			write := func(ip string) {
				t.Helper()
				_, err := tap.Write(request(macC, ip).Bytes())
				testenv.Must(t, err)
			}
			first := p.Lines.Expect(testenv.IP("10.0.0.1"))
			for range 1000 { // --match binds shortly after the start
				if write("10.0.0.1"); first.Wait(10 * time.Millisecond) {
					break
				}
			}
			first.Await(t)
			index := indexOf(t, ns, "tap0")
			other, back := "interface is not Ethernet: waiting for another", "interface is back"
			if name == "by pattern" {
				other, back = "interface is gone", "interface is there"
			}
			changed := p.Log.Expect(testenv.Contains(fmt.Sprintf("msg=%q interface=tap0", other)))
			changeType(t, host, tap, unix.ARPHRD_IEEE80211_RADIOTAP)
			changed.Await(t)
			hidden := p.Lines.Expect(testenv.IP("10.0.0.2"))
			write("10.0.0.2")
			changed = p.Log.Expect(testenv.Contains(fmt.Sprintf("msg=%q interface=tap0", back)))
			changeType(t, host, tap, unix.ARPHRD_ETHER)
			changed.Await(t)
			seen := p.Lines.Expect(testenv.IP("10.0.0.3"))
			write("10.0.0.3")
			hidden.NotBefore(t, seen)
			if now := indexOf(t, ns, "tap0"); now != index {
				t.Errorf("index %d, want %d", now, index)
			}
		})
	}
}

// changeType gives a tap another type (ARPHRD_), which the kernel allows while it is down.
func changeType(t *testing.T, host testenv.Host, tap *os.File, arphrd int) {
	t.Helper()
	testenv.Must(t, host.Down())
	testenv.Must(t, unix.IoctlSetInt(int(tap.Fd()), unix.TUNSETLINK, arphrd))
	testenv.Must(t, host.Up())
}

// The kernel sends no ARP on a loopback interface, but the interface can be watched, and a frame
// that is sent there is seen on its way out and in, as one binding.
func TestLoopback(t *testing.T) {
	t.Parallel()
	lo := testenv.Host{Namespace: testenv.Net(t), Name: "lo"}
	testenv.Must(t, lo.Up())
	p := testenv.Watch(t, lo.Namespace, testenv.Options{}, "lo")
	port := lo.Port(t)
	first := p.Lines.Expect(testenv.Event("NEW", "10.0.0.5"))
	testenv.Must(t, port.Send(request(macC, "10.0.0.5").Bytes()))
	first.Await(t)
	again := p.Lines.Expect(testenv.IP("10.0.0.5"))
	again.NotBefore(t, sendFence(t, p, port))
}

// pairs creates n pairs of interfaces, va0 and vb0, va1 and vb1, and so on, and sets them up. It
// returns the names of the first of each.
func pairs(t *testing.T, ns *testenv.Namespace, n int) (names []string) {
	t.Helper()
	var commands strings.Builder
	for i := range n {
		names = append(names, fmt.Sprintf("va%d", i))
		fmt.Fprintf(&commands, "link add va%d type veth peer name vb%d\nlink set va%d up\nlink set vb%d up\n", i, i, i, i)
	}
	testenv.Must(t, ns.Batch(commands.String()))
	return names
}

// sendEach sends a frame on each interface, through one socket, because closing hundreds of sockets
// takes long.
func sendEach(t *testing.T, ns *testenv.Namespace, names []string, frame func(i int) []byte) {
	t.Helper()
	testenv.Must(t, ns.Do(func() error {
		all, err := net.Interfaces()
		if err != nil {
			return err
		}
		indices := map[string]int{}
		for _, ifi := range all {
			indices[ifi.Name] = ifi.Index
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for i, name := range names {
			if err := unix.Sendto(fd, frame(i), 0, &unix.SockaddrLinklayer{Ifindex: indices[name]}); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}))
}

// sameThreads fails the test if a process for many interfaces has more threads than one for a
// single interface. The Go runtime creates threads, but not per interface.
func sameThreads(t *testing.T, process string, one, many int) {
	t.Helper()
	if few, many := len(testenv.Status(t, one)), len(testenv.Status(t, many)); many > few+4 {
		t.Errorf("%s: %d threads with one interface, %d with many", process, few, many)
	}
}

// All interfaces share one parser, have a ring each, and a bound on their memory.
func TestManyInterfaces(t *testing.T) {
	ns := testenv.Net(t)
	names := pairs(t, ns, 500)
	path := testenv.CapableBinary(t, "")
	testenv.Must(t, os.Chmod(path, 0o711)) // as installed: the parser needs no copy in memory
	one := testenv.Watch(t, ns, testenv.Options{}, names[0])
	for _, c := range []struct{ interfaces, mib int }{{64, 24}, {500, 64}} {
		t.Run(fmt.Sprint(c.interfaces), func(t *testing.T) {
			names := names[:c.interfaces]
			p := testenv.Watch(t, ns, testenv.Options{Path: path}, names...)
			var seen []*testenv.Expectation[testenv.Line]
			address := func(i int) string { return fmt.Sprintf("10.0.%d.%d", i/200, i%200+1) }
			for i, name := range names {
				seen = append(seen, p.Lines.Expect(on(name, address(i))))
			}
			peers := make([]string, len(names))
			for i := range peers {
				peers[i] = fmt.Sprintf("vb%d", i)
			}
			sendEach(t, ns, peers, func(i int) []byte { return request(macC, address(i)).Bytes() })
			for _, e := range seen {
				e.Await(t)
			}
			sameThreads(t, "monitor", one.Pid(), p.Pid())
			sameThreads(t, "parser", one.Child(t), p.Child(t))
			if testenv.Has(testenv.Root) { // only root can inspect an undumpable process
				total := pss(t, p.Child(t)) + pss(t, p.Pid())
				t.Logf("%d KiB", total)
				if total > c.mib<<10 {
					t.Errorf("%d KiB of memory, want at most %d", total, c.mib<<10)
				}
			}
			// The kernel closes the sockets of a process that is killed one after the other.
			p.Stop(t)
			testenv.Require(t, testenv.Root) // reported last: the rest is tested
		})
	}
}

// With as many interfaces as there can be, the program starts, sees a frame on the last one, logs
// the counters of all, and ends, each within seconds. Nearly all of the start and of the end is the
// kernel's wait for grace periods, two for each socket, which takes longer on a busy machine. So
// these two limits are numbers of grace periods: the start has 75 to 91 of them and the end 143 to
// 165, whatever the load. If a program waits for one socket after the other, some 300 are counted,
// or it is not ready in time. Where the kernel expedites grace periods, their number says nothing,
// and the start and the end take half a second each: there the limit is a time, which does not
// include waiting for a processor. Nor does the time for the counters, which take 0.5 s.
func TestMostInterfaces(t *testing.T) {
	const n, limit, limitWaits, limitCPU = 1024, 5 * time.Second, 256, 2 * time.Second
	ns := testenv.Net(t)
	names := pairs(t, ns, n/2)
	one := testenv.Watch(t, ns, testenv.Options{}, names[0])
	for i := range names {
		names = append(names, fmt.Sprintf("vb%d", i))
	}
	// within starts a measurement and returns the function that ends it.
	within := func(what string) (end func()) {
		count, began, stalledBefore := countGracePeriods(t), time.Now(), testenv.Stalled(t)
		return func() {
			t.Helper()
			waits, took := count(), time.Since(began)
			if expedited() {
				took -= testenv.Stalled(t) - stalledBefore
			}
			t.Logf("%s after %v, %d grace periods", what, took.Round(time.Millisecond), waits)
			if waits > limitWaits || waits < 0 && took > limit {
				t.Errorf("%s after %v, %d grace periods, want at most %d, or %v", what, took, waits, limitWaits, limit)
			}
		}
	}
	watching := within("watching")
	p := testenv.Watch(t, ns, testenv.Options{}, names...)
	watching()
	seen := p.Lines.Expect(on("vb511", "10.0.0.1"))
	sendEach(t, ns, []string{"va511"}, func(int) []byte { return request(macC, "10.0.0.1").Bytes() })
	seen.Await(t)

	counters := p.Log.ExpectN(n, testenv.Contains("msg=counters"))
	delay := func() time.Duration {
		return testenv.Delay(t, p.Pid()) + testenv.Delay(t, p.Child(t)) + testenv.Delay(t, os.Getpid())
	}
	began := time.Now()
	usedBefore, delayBefore := cpu(t, p), delay()
	p.Signal(t, unix.SIGUSR1)
	counters.Await(t)
	took, used, delayed := time.Since(began), cpu(t, p)-usedBefore, delay()-delayBefore
	t.Logf("counters after %v, %v of processor time, %v of waiting for a processor", took, used, delayed)
	if took-delayed > limit || used > limitCPU {
		t.Errorf("counters after %v, %v of processor time, %v of waiting for a processor; want at most %v without the waiting, and %v",
			took, used, delayed, limit, limitCPU)
	}
	for _, name := range names {
		if got := len(counted(p.Log.Seen(), name)); got != 1 {
			t.Fatalf("counters of %s: %d lines, want 1", name, got)
		}
	}
	sameThreads(t, "monitor", one.Pid(), p.Pid())
	sameThreads(t, "parser", one.Child(t), p.Child(t))
	ended := within("the end")
	p.Stop(t)
	ended()
}

// cpu returns the processor time of the program's two processes.
func cpu(t *testing.T, p *testenv.Program) (sum time.Duration) {
	t.Helper()
	for _, pid := range []int{p.Pid(), p.Child(t)} {
		spent, err := testenv.CPU(pid)
		testenv.Must(t, err)
		sum += spent
	}
	return sum
}

// countGracePeriods counts the kernel's grace periods (RCU) until the returned function is called,
// which returns their number. It returns -1 if the kernel does not let a process wait for one, or
// if it expedites them.
func countGracePeriods(t *testing.T) func() int {
	t.Helper()
	const global = 1 // MEMBARRIER_CMD_GLOBAL
	wait := func() bool {
		// Waits for one with more than one processor (kernel/sched/membarrier.c).
		_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, global, 0, 0)
		return errno == 0
	}
	if !testenv.Has(testenv.Processors) || expedited() || !wait() {
		return func() int { return -1 }
	}
	stop, number := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				number <- n
				return
			default:
				wait()
				n++
			}
		}
	}()
	return func() int {
		close(stop)
		return <-number
	}
}

// expedited reports whether the kernel interrupts the processors for each grace period instead of
// waiting until they have passed through the scheduler: then there are thousands in a second
// (Documentation/ABI/testing/sysfs-kernel-rcu, Documentation/RCU/Design/Expedited-Grace-Periods).
func expedited() bool {
	content, err := os.ReadFile("/sys/kernel/rcu_expedited")
	return err == nil && string(content) != "0\n"
}

// More interfaces than possible sockets are wrong usage.
func TestTooManyInterfaces(t *testing.T) {
	var names []string
	for i := range 1025 {
		names = append(names, fmt.Sprintf("va%d", i))
	}
	status, stdout, stderr := testenv.Run(t, testenv.Net(t), testenv.Options{}, names...)
	if want := "maas-netmon: 1025 INTERFACEs given: at most 1024 are possible\n"; status != 2 || stdout != "" || !strings.HasPrefix(stderr, want) {
		t.Errorf("status %d, %q, %q, want 2 and %q", status, stdout, stderr, want)
	}
}

// pss returns a process's share of memory in KiB (proc_pid_smaps(5)).
func pss(t *testing.T, pid int) int {
	t.Helper()
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	testenv.Must(t, err)
	found := regexp.MustCompile(`(?m)^Pss: +(\d+) kB`).FindSubmatch(rollup)
	kib, err := strconv.Atoi(string(found[1]))
	testenv.Must(t, err)
	return kib
}

// A link flaps thousands of times: a few lines report it, frames are seen afterwards, and no
// descriptor is left open.
func TestFlappingLink(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	descriptors := func() int {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fdinfo", p.Pid()))
		if err != nil {
			return 0 // not permitted
		}
		return len(entries)
	}
	before := descriptors()
	down := p.Log.Expect(testenv.Contains("interface is down"))
	up := p.Log.Expect(testenv.Contains("interface is up"))
	testenv.Must(t, a.Batch(strings.Repeat("link set va down\nlink set va up\n", 2000)))
	down.Await(t)
	up.Await(t)
	heard(t, b.Namespace, p, b.Name, "10.0.0.5")
	if after := descriptors(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	p.Stop(t)
	if log := p.Log.WaitEnd(t); len(log) > 10 {
		t.Errorf("%d lines of log", len(log))
	}
}
