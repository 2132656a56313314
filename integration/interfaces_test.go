package integration

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// on is the predicate that a line tells of a new address on an interface.
func on(name, ip string) func(testenv.Line) bool {
	return testenv.And(testenv.Event("NEW", ip), func(l testenv.Line) bool { return l.Interface == name })
}

// veth makes a pair between two namespaces and sets it up.
func veth(t *testing.T, a *testenv.Namespace, nameA string, b *testenv.Namespace, nameB string, n byte, addressB ...string) (testenv.Host, testenv.Host) {
	t.Helper()
	x, y, err := testenv.Connect(a, nameA, testenv.MAC{2, 0, 0, 0, 1, n}, b, nameB, testenv.MAC{2, 0, 0, 0, 2, n})
	testenv.Must(t, err)
	testenv.Must(t, x.Up())
	testenv.Must(t, y.Up(addressB...))
	return x, y
}

// A bridge shows what is for everybody or for itself; its ports show what passes, the
// frames of others among it, before the bridge takes them.
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
	for _, name := range []string{"br0", "p1", "p2"} { // a request goes to everybody
		all = append(all, p.Lines.Expect(on(name, "10.0.0.11")))
	}
	for _, name := range []string{"br0", "p1"} { // the bridge's own answer goes where it must
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

// A macvlan shows what is for everybody or for its own MAC; the interface beneath shows
// all.
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

// A VXLAN shows what is inside the tunnel; the interface that carries it does not.
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

// What a virtual machine writes to its tap is seen.
func TestTap(t *testing.T) {
	testenv.Require(t, testenv.Tun)
	t.Parallel()
	ns := testenv.Net(t)
	testenv.Must(t, ns.IP("tuntap", "add", "dev", "tap0", "mode", "tap"))
	var tap int
	testenv.Must(t, ns.Do(func() (err error) {
		if tap, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		ifr, err := unix.NewIfreq("tap0")
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		return unix.IoctlIfreq(tap, unix.TUNSETIFF, ifr)
	}))
	defer unix.Close(tap)
	testenv.Must(t, testenv.Host{Namespace: ns, Name: "tap0"}.Up())
	p := testenv.Watch(t, ns, testenv.Options{}, "tap0")
	seen := p.Lines.Expect(testenv.Event("NEW", "10.0.0.5"))
	_, err := unix.Write(tap, request(macC, "10.0.0.5").Bytes())
	testenv.Must(t, err)
	seen.Await(t)
}

// Nobody talks ARP on a loopback interface, but it can be watched, and what is sent there
// is seen on its way out and in, as one binding.
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

// Five hundred interfaces have one parser, a ring each, and a bound on their memory.
func TestManyInterfaces(t *testing.T) {
	const n = 500
	ns := testenv.Net(t)
	var commands strings.Builder
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("va%d", i))
		fmt.Fprintf(&commands, "link add va%d type veth peer name vb%d\nlink set va%d up\nlink set vb%d up\n", i, i, i, i)
	}
	testenv.Must(t, ns.Batch(commands.String()))
	one := testenv.Watch(t, ns, testenv.Options{}, names[0])
	all := testenv.Watch(t, ns, testenv.Options{}, names...)
	var seen []*testenv.Expectation[testenv.Line]
	address := func(i int) string { return fmt.Sprintf("10.0.%d.%d", i/200, i%200+1) }
	for i, name := range names {
		seen = append(seen, all.Lines.Expect(on(name, address(i))))
	}
	for i := range names {
		port := testenv.Host{Namespace: ns, Name: fmt.Sprintf("vb%d", i)}.Port(t)
		testenv.Must(t, port.Send(request(macC, address(i)).Bytes()))
	}
	for _, e := range seen {
		e.Await(t)
	}
	// Threads come and go with the Go runtime, but not by interfaces.
	if few, many := len(testenv.Status(t, one.Child(t))), len(testenv.Status(t, all.Child(t))); many > few+8 {
		t.Errorf("%d threads with one interface, %d with %d", few, many, n)
	}
	testenv.Require(t, testenv.Root) // to look into a process that is not dumpable
	if total := pss(t, all.Child(t)) + pss(t, all.Pid()); total > 64<<10 {
		t.Errorf("%d KiB of memory for %d interfaces, want at most %d", total, n, 64<<10)
	}
}

// More interfaces than there can be sockets are wrong usage.
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
			return 0 // not ours to see
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
	p.Signal(t, sigTERM)
	p.Exit(t)
	if log := p.Log.WaitEnd(t); len(log) > 10 {
		t.Errorf("%d lines of log", len(log))
	}
}
