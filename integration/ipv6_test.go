package integration

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maas-netmon/internal/testenv"
	"maas-netmon/parser"
	"maas-netmon/parser/parsertest"
)

// solicitation returns the frame of a neighbor solicitation by which a host looks for fd00::ffff.
func solicitation(mac testenv.MAC, ip string, vids ...uint16) []byte {
	nd := &parser.ND{
		EthernetDestination: parser.MAC{0x33, 0x33, 0xff, 0, 0xff, 0xff},
		EthernetSource:      parser.MAC(mac),
		Type:                parser.TypeNeighborSolicitation,
		Source:              parsertest.Addr6(ip),
		Destination:         parsertest.Addr6("ff02::1:ff00:ffff"),
		Target:              parsertest.Addr6("fd00::ffff"),
		LinkLayer:           parser.MAC(mac),
		HasLinkLayer:        true,
	}
	if len(vids) > 0 {
		nd.VID = vids[0]
	}
	if len(vids) > 1 {
		nd.InnerVID = vids[1]
	}
	return parsertest.ND(nd)
}

// advertisement returns the frame of an unsolicited neighbor advertisement.
func advertisement(mac testenv.MAC, ip string, override bool) []byte {
	return parsertest.ND(&parser.ND{
		EthernetDestination: parser.MAC{0x33, 0x33, 0, 0, 0, 1},
		EthernetSource:      parser.MAC(mac),
		Type:                parser.TypeNeighborAdvertisement,
		Override:            override,
		Source:              parsertest.Addr6("fe80::ffff"),
		Destination:         parsertest.Addr6("ff02::1"),
		Target:              parsertest.Addr6(ip),
		LinkLayer:           parser.MAC(mac),
		HasLinkLayer:        true,
	})
}

// silentPair is testenv.RawPair for interfaces that have no address of IPv6 either.
func silentPair(t *testing.T) (a, b testenv.Host) {
	t.Helper()
	a, b, err := testenv.Connect(testenv.Net(t), "va", testenv.MACA, testenv.Net(t), "vb", testenv.MACB)
	testenv.Must(t, err)
	for _, h := range []testenv.Host{a, b} {
		testenv.Must(t, h.IP("link", "set", h.Name, "addrgenmode", "none"))
		testenv.Must(t, h.Up())
	}
	return a, b
}

// The lines of hand-made packets, in order, beside those of ARP.
func TestIPv6(t *testing.T) {
	testenv.Require(t, testenv.Netns)
	t.Parallel()
	a, b := silentPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, "--ipv6", "--moved-interval", "0", a.Name)
	port := b.Port(t)
	for _, frame := range [][]byte{
		solicitation(macC, "fd00::5"),
		request(macC, "10.0.0.5").Bytes(),
		solicitation(macC, "fd00::5"),
		solicitation(macC, "fd00::5", 100),
		solicitation(macC, "fd00::5", 100, 7),
		advertisement(macD, "fd00::5", false), // by a proxy
		advertisement(macD, "fd00::5", true),
		advertisement(macC, "fe80::1:2", true),
		advertisement(macC, "ff02::5", true),
		advertisement(macC, "::1", true),
		fromGroup(advertisement(macD, "fe80::1:2", true)),
		parsertest.InsertHeader(advertisement(macD, "fe80::1:2", true), 0), // hop-by-hop options
		parsertest.InsertHeader(advertisement(macD, "fe80::1:2", true), 60),
	} {
		testenv.Must(t, port.Send(frame))
	}
	sendFence(t, p, port).Await(t)
	counters := p.Log.Expect(testenv.Contains("msg=counters"))
	tagged, stacked := untagged("NEW", "fd00::5", macC), untagged("NEW", "fd00::5", macC)
	tagged.vid, stacked.vid, stacked.inner = 100, 100, 7
	moved := untagged("MOVED", "fd00::5", macD)
	moved.previous = macC.String()
	expected := []want{
		untagged("NEW", "fd00::5", macC), untagged("NEW", "10.0.0.5", macC), tagged, stacked, moved,
		untagged("NEW", "fe80::1:2", macC), untagged("NEW", fence, macD),
	}
	if diff := cmp.Diff(expected, wants(t, p.Lines.Seen()), cmp.AllowUnexported(want{})); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	p.Stop(t)
	for _, want := range []string{" frames=14 ", " unsupported=2 invalid=2 ", " refused=1 ignored=1 "} {
		if got := counters.Value(t); !strings.Contains(got, want) {
			t.Errorf("%s: want%s", got, want)
		}
	}
}

// fromGroup returns a frame of advertisement with a multicast source address, which all hosts
// discard.
func fromGroup(frame []byte) []byte {
	group := parsertest.Addr6("ff02::5")
	copy(frame[parsertest.OffSource:], group[:])
	return parsertest.SetSum(frame)
}

// Packets that a receiver must discard, or that end early, have an extension header or too many
// tags, give no line, do not fill the log and do not end the program. Each invalid one is counted.
func TestHostileND(t *testing.T) {
	testenv.Require(t, testenv.Netns)
	t.Parallel()
	a, b := silentPair(t)
	testenv.Must(t, a.AwaitRunning()) // or the log has a line about the carrier
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, "--ipv6", a.Name)
	port := b.Port(t)
	anything := p.Lines.Expect(testenv.Not(testenv.IP(fence)))
	var sent, invalid int
	for _, v := range parsertest.NDVectors() {
		if v.Err == nil || v.Name == "arp" || v.SumPending || v.Tag.Present || len(v.Frame) < 14 {
			continue // not hostile, or only a kernel makes it
		}
		testenv.Must(t, port.Send(v.Frame))
		sent++
		if v.Err == parser.ErrInvalid {
			invalid++
		}
	}
	if invalid < 100 || sent < invalid+100 {
		t.Fatalf("%d frames, %d of them invalid: too few", sent, invalid)
	}
	anything.NotBefore(t, sendFence(t, p, port))
	if seen := p.Log.Seen(); len(seen) != 1 {
		t.Errorf("frames are logged: %q", seen)
	}
	counters := p.Log.Expect(testenv.Contains("msg=counters"))
	p.Stop(t)
	if got, want := counters.Value(t), fmt.Sprintf(" invalid=%d new=1 ", invalid); !strings.Contains(got, want) {
		t.Errorf("%s: want%s", got, want)
	}
}

// Without the option, no IPv6 packet gives a line, and none reaches the parser.
func TestWithoutIPv6(t *testing.T) {
	testenv.Require(t, testenv.Netns)
	t.Parallel()
	a, b := silentPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	port := b.Port(t)
	for range 10 {
		testenv.Must(t, port.Send(solicitation(macC, "fd00::5")))
	}
	sendFence(t, p, port).Await(t)
	counters := p.Log.Expect(testenv.Contains("msg=counters"))
	p.Stop(t)
	if got := counters.Value(t); !strings.Contains(got, " frames=1 ") || strings.Contains(got, "invalid") {
		t.Errorf("%s: want one frame, and no counter of IPv6", got)
	}
	if got := p.Lines.Seen(); len(got) != 1 {
		t.Errorf("lines: %v, want only the fence", got)
	}
}

// The kernel's own Neighbor Discovery: a host that resolves another is seen, and so is the other.
// A host that checks its address for duplicates does not have it yet.
func TestIPv6OfTheKernel(t *testing.T) {
	testenv.Require(t, testenv.Netns)
	t.Parallel()
	a, b, err := testenv.Connect(testenv.Net(t), "va", testenv.MACA, testenv.Net(t), "vb", testenv.MACB)
	testenv.Must(t, err)
	testenv.Must(t, a.Up("fd00::a/64"))
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, "--ipv6", a.Name)
	asked := p.Lines.Expect(testenv.Event("NEW", "fd00::b"), testenv.At(b.MAC))
	answered := p.Lines.Expect(testenv.Event("NEW", "fd00::a"), testenv.At(a.MAC))
	testenv.Must(t, b.Up("fd00::b/64"))
	// Until the address is no longer tentative, which takes a second or two.
	for deadline := time.Now().Add(testenv.Patience); !(asked.Wait(100*time.Millisecond) && answered.Met()); {
		if time.Now().After(deadline) {
			t.Fatalf("lines: %v", p.Lines.Seen())
		}
		_ = b.Talk("fd00::a")
	}
	for _, line := range p.Lines.Seen() {
		addr, err := netip.ParseAddr(line.IP)
		if err != nil || addr.IsUnspecified() || addr.IsMulticast() || line.Event != "NEW" {
			t.Errorf("%s", line)
		}
	}

	// With a new hardware address the host announces itself.
	moved := p.Lines.Expect(testenv.Event("MOVED", "fd00::b"), testenv.At(macC))
	testenv.Must(t, b.Batch(fmt.Sprintf("link set vb address %s\n", macC)))
	for deadline := time.Now().Add(testenv.Patience); !moved.Wait(100 * time.Millisecond); {
		if time.Now().After(deadline) {
			t.Fatalf("lines: %v", p.Lines.Seen())
		}
		testenv.Must(t, b.IP("neigh", "flush", "dev", "vb"))
		_ = b.Talk("fd00::a")
	}
}

// Solicitations for other hosts are sent to multicast groups that the interface would not receive:
// a macvlan drops them, as most network cards do, unless a socket asks for all groups. That holds
// for an interface that is made again, too.
func TestAllMulticast(t *testing.T) {
	testenv.Require(t, testenv.Netns)
	t.Parallel()
	a, b := silentPair(t)
	create := fmt.Sprintf("link add mv0 link %s type macvlan mode private\nlink set mv0 addrgenmode none\nlink set mv0 up\n", a.Name)
	testenv.Must(t, a.Batch(create))
	port := b.Port(t)
	seen := func(p *testenv.Program, ip string) {
		t.Helper()
		line := p.Lines.Expect(testenv.Event("NEW", ip))
		for deadline := time.Now().Add(testenv.Patience); !line.Wait(50 * time.Millisecond); {
			if time.Now().After(deadline) {
				t.Fatalf("no line of %s: %v", ip, p.Log.Seen())
			}
			testenv.Must(t, port.Send(solicitation(macC, ip)))
		}
	}
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, "--ipv6", "mv0")
	seen(p, "fd00::5")
	testenv.Must(t, a.Batch("link del mv0\n"+create))
	seen(p, "fd00::6")
	testenv.Must(t, a.Batch("link set mv0 down\nlink set mv0 name mv1\nlink set mv1 name mv0\nlink set mv0 up\n"))
	seen(p, "fd00::7")
}

// The same packets give the same lines, whether the program watches the interface or reads the
// capture of tcpdump.
func TestIPv6LikeTcpdump(t *testing.T) {
	testenv.Require(t, testenv.Tcpdump)
	t.Parallel()
	a, b := silentPair(t)
	capture := startTcpdump(t, a, "-i", a.Name, "-p", "-s", "1522", "-B", "8192", "arp or icmp6")
	likeTcpdump(t, a, b, capture, 1000, randomND, "--ipv6")
}

// randomND returns a frame with one of the four packets, which has a flaw now and then.
func randomND(r *rand.Rand) []byte {
	packets := parsertest.NDPackets()
	nd := packets[r.IntN(len(packets))]
	nd.VID, nd.InnerVID = 0, 0 // tcpdump's filter is for untagged ones
	nd.LinkLayer = parser.MAC{byte(r.IntN(2)), 0, 0, 0, 0, byte(r.IntN(4))}
	nd.HasLinkLayer = nd.HasLinkLayer || nd.Source != (parser.Addr6{}) && r.IntN(2) == 0
	host := byte(r.IntN(100))
	if nd.Type == parser.TypeNeighborAdvertisement {
		nd.Target[15], nd.Override = host, r.IntN(2) == 0
	} else if nd.Source != (parser.Addr6{}) {
		nd.Source[15] = host
	}
	frame := parsertest.ND(&nd)
	if r.IntN(8) == 0 {
		frame[parsertest.OffIPv6+r.IntN(len(frame)-parsertest.OffIPv6)] ^= 1 << r.IntN(8)
	}
	return frame
}
