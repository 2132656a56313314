package integration

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maas-netmon/internal/testenv"
)

// scenario has the frames that a test sends and all resulting lines, in order.
type scenario struct {
	name   string
	frames []testenv.ARP
	want   []want
}

// play runs a scenario on a separate interface, without a limit on moves. The line of the fence,
// which is always last, is not compared.
func (s scenario) play(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, "--moved-interval", "0", a.Name)
	port := b.Port(t)
	for _, f := range s.frames {
		testenv.Must(t, port.Send(f.Bytes()))
	}
	sendFence(t, p, port).Await(t)
	lines := p.Lines.Seen()
	got := wants(t, lines[:len(lines)-1])
	if diff := cmp.Diff(s.want, got, cmp.AllowUnexported(want{})); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestScenarios(t *testing.T) {
	reply := func(mac testenv.MAC, ip string, target testenv.MAC, targetIP string) testenv.ARP {
		return testenv.ARP{Operation: 2, SenderMAC: mac, SenderIP: ip, TargetMAC: target, TargetIP: targetIP}
	}
	moved := untagged("MOVED", "10.0.0.5", macD)
	moved.previous = macC.String()
	back := untagged("MOVED", "10.0.0.5", macC)
	back.previous = macD.String()
	for _, s := range []scenario{
		{"new", []testenv.ARP{request(macC, "10.0.0.5")}, []want{untagged("NEW", "10.0.0.5", macC)}},
		{"seen again at once", []testenv.ARP{request(macC, "10.0.0.5"), request(macC, "10.0.0.5")},
			[]want{untagged("NEW", "10.0.0.5", macC)}},
		{"moves there and back",
			[]testenv.ARP{request(macC, "10.0.0.5"), request(macD, "10.0.0.5"), request(macC, "10.0.0.5")},
			[]want{untagged("NEW", "10.0.0.5", macC), moved, back}},
		{"a request's target is no binding",
			[]testenv.ARP{{SenderMAC: macC, SenderIP: "10.0.0.5", TargetMAC: macD, TargetIP: "10.0.0.6"}},
			[]want{untagged("NEW", "10.0.0.5", macC)}},
		{"a reply gives the sender, then the target", []testenv.ARP{reply(macC, "10.0.0.5", macD, "10.0.0.6")},
			[]want{untagged("NEW", "10.0.0.5", macC), untagged("NEW", "10.0.0.6", macD)}},
		{"probe", []testenv.ARP{{SenderMAC: macC, SenderIP: "0.0.0.0", TargetIP: "10.0.0.5"}}, nil},
		{"announcement", []testenv.ARP{{SenderMAC: macC, SenderIP: "10.0.0.5", TargetIP: "10.0.0.5"}},
			[]want{untagged("NEW", "10.0.0.5", macC)}},
		{"gratuitous reply to everyone", []testenv.ARP{reply(macC, "10.0.0.5", testenv.Broadcast, "10.0.0.5")},
			[]want{untagged("NEW", "10.0.0.5", macC)}},
		{"gratuitous reply to nobody", []testenv.ARP{reply(macC, "10.0.0.5", testenv.MAC{}, "10.0.0.5")},
			[]want{untagged("NEW", "10.0.0.5", macC)}},
		{"other operations", []testenv.ARP{
			{Operation: 3, SenderMAC: macC, SenderIP: "10.0.0.5", TargetIP: "10.0.0.6"},
			{Operation: 9, SenderMAC: macC, SenderIP: "10.0.0.5", TargetIP: "10.0.0.6"},
			{Operation: 0xffff, SenderMAC: macC, SenderIP: "10.0.0.5", TargetIP: "10.0.0.6"},
		}, nil},
		{"refused addresses", []testenv.ARP{
			request(macC, "255.255.255.255"), request(macC, "224.0.0.1"), request(macC, "239.255.255.255"),
			request(macC, "127.0.0.1"), request(testenv.MAC{1, 0, 0x5e, 0, 0, 1}, "10.0.0.5"),
		}, nil},
		{"802.1Q", []testenv.ARP{tagged(request(macC, "10.0.0.5"), 0x8100, 100)},
			[]want{{"NEW", "10.0.0.5", macC.String(), "", 100, -1, ""}}},
		{"802.1Q with priority bits", []testenv.ARP{tagged(request(macC, "10.0.0.5"), 0x8100, 0xf000|257)},
			[]want{{"NEW", "10.0.0.5", macC.String(), "", 257, -1, ""}}},
		{"802.1ad", []testenv.ARP{tagged(request(macC, "10.0.0.5"), 0x88a8, 200)},
			[]want{{"NEW", "10.0.0.5", macC.String(), "", 200, -1, ""}}},
		{"0x9100", []testenv.ARP{tagged(request(macC, "10.0.0.5"), 0x9100, 300)},
			[]want{{"NEW", "10.0.0.5", macC.String(), "", 300, -1, ""}}},
		{"two tags", []testenv.ARP{tagged(request(macC, "10.0.0.5"), 0x88a8, 200, 0x8100, 100)},
			[]want{{"NEW", "10.0.0.5", macC.String(), "", 200, 100, ""}}},
		{"two tags, the outer in line", []testenv.ARP{tagged(request(macC, "10.0.0.5"), 0x9100, 4094, 0x8100, 1)},
			[]want{{"NEW", "10.0.0.5", macC.String(), "", 4094, 1, ""}}},
		{"priority tag", []testenv.ARP{tagged(request(macC, "10.0.0.5"), 0x8100, 0xe000)},
			[]want{untagged("NEW", "10.0.0.5", macC)}},
		{"priority tag around a VLAN", []testenv.ARP{tagged(request(macC, "10.0.0.5"), 0x8100, 0, 0x8100, 7)},
			[]want{{"NEW", "10.0.0.5", macC.String(), "", 7, -1, ""}}},
		{"three tags", []testenv.ARP{tagged(request(macC, "10.0.0.5"), 0x88a8, 1, 0x8100, 2, 0x8100, 3)}, nil},
		{"an address in two VLANs is two bindings", []testenv.ARP{
			request(macC, "10.0.0.5"),
			tagged(request(macD, "10.0.0.5"), 0x8100, 100),
			tagged(request(macC, "10.0.0.5"), 0x8100, 200),
		}, []want{
			untagged("NEW", "10.0.0.5", macC),
			{"NEW", "10.0.0.5", macD.String(), "", 100, -1, ""},
			{"NEW", "10.0.0.5", macC.String(), "", 200, -1, ""},
		}},
		{"moved inside a VLAN", []testenv.ARP{
			tagged(request(macC, "10.0.0.5"), 0x8100, 100), tagged(request(macD, "10.0.0.5"), 0x8100, 100),
		}, []want{
			{"NEW", "10.0.0.5", macC.String(), "", 100, -1, ""},
			{"MOVED", "10.0.0.5", macD.String(), macC.String(), 100, -1, ""},
		}},
	} {
		t.Run(s.name, s.play)
	}
}

// tagged returns the packet with tags, given as pairs of TPID and TCI.
func tagged(a testenv.ARP, tags ...uint16) testenv.ARP {
	for i := 0; i < len(tags); i += 2 {
		a.Tags = append(a.Tags, testenv.Tag{TPID: tags[i], TCI: tags[i+1]})
	}
	return a
}

// Frames that are not ARP packets give no line, and do not end the program.
func TestHostileFrames(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	testenv.Must(t, a.AwaitRunning()) // or the log has a line about the carrier
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	port := b.Port(t)
	anything := p.Lines.Expect(testenv.Not(testenv.IP(fence)))
	good := request(macC, "10.0.0.5").Bytes()[:42]
	for n := 14; n < len(good); n++ {
		testenv.Must(t, port.Send(good[:n])) // a runt
	}
	for _, c := range []struct {
		offset int
		value  byte
	}{{12, 0}, {13, 0}, {15, 6}, {16, 0x86}, {17, 1}, {18, 8}, {18, 0}, {19, 16}, {19, 0xff}} {
		bad := append([]byte(nil), good...)
		bad[c.offset] = c.value
		testenv.Must(t, port.Send(bad))
	}
	anything.NotBefore(t, sendFence(t, p, port))
	// At most one line in the log: that of the start.
	if seen := p.Log.Seen(); len(seen) != 1 {
		t.Errorf("frames are logged: %q", seen)
	}
	counters := p.Log.Expect(testenv.Contains("msg=counters"), testenv.Contains("short=28"), testenv.Contains("unsupported=7"))
	p.Stop(t)
	counters.Await(t)
}

// A million frames that pass the kernel's filter and are not ARP packets, as fast as possible, give
// no line, do not fill the log, use no memory, and do not end the program.
func TestMillionHostileFrames(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	testenv.Must(t, a.AwaitRunning()) // or the log has a line about the carrier
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	port := b.Port(t)
	good := request(macC, "10.0.0.5").Bytes()
	r := rand.New(rand.NewPCG(1, 2))
	for range 1_000_000 {
		frame := append([]byte(nil), good...)
		switch r.IntN(3) {
		case 0: // truncated
			frame = frame[:14+r.IntN(28)]
		case 1: // of other hardware, protocol or lengths
			frame[14+r.IntN(6)] ^= byte(1 + r.IntN(255))
		case 2: // with three tags
			frame = slices.Concat(frame[:12], []byte{0x81, 0, 0, 1, 0x88, 0xa8, 0, 2, 0x81, 0, 0, 3}, frame[12:])
		}
		for i := range 12 { // any addresses
			frame[i] = byte(r.Uint32()) &^ 1
		}
		testenv.Must(t, port.Send(frame))
	}
	sendUntilSeen(t, p, port)
	for _, l := range p.Lines.Seen() {
		if l.IP != fence {
			t.Fatalf("a line of a frame that is none: %s", l)
		}
	}
	if seen := p.Log.Seen(); len(seen) > 2 { // the start, and lost frames
		t.Errorf("%d messages: %q", len(seen), seen)
	}
	for _, pid := range []int{p.Pid(), p.Child(t)} {
		var kib int
		_, err := fmt.Sscan(testenv.Status(t, pid)[0]["VmRSS"], &kib)
		testenv.Must(t, err)
		if kib > 32<<10 {
			t.Errorf("process %d has %d KiB of memory", pid, kib)
		}
	}
}

// The kernel's own ARP in both directions: the host that asks and, in the reply, the host that
// answers.
func TestKernelsOwnARP(t *testing.T) {
	t.Parallel()
	a, b := testenv.Pair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	peer := p.Lines.Expect(testenv.Event("NEW", "10.0.0.2"), testenv.At(testenv.MACB), testenv.VID(-1))
	own := p.Lines.Expect(testenv.Event("NEW", "10.0.0.1"), testenv.At(testenv.MACA), testenv.VID(-1))
	frames := a.Sniff(t)
	replied := frames.Expect(testenv.From(testenv.MACA), testenv.To(testenv.MACB), testenv.EtherType(0x0806))
	testenv.Must(t, b.Talk("10.0.0.1"))
	replied.Await(t)
	peer.Await(t)
	own.Await(t)
}

// The host asks: its own request, then the peer's reply.
func TestHostsOwnRequest(t *testing.T) {
	t.Parallel()
	a, _ := testenv.Pair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	own := p.Lines.Expect(testenv.Event("NEW", "10.0.0.1"), testenv.At(testenv.MACA))
	peer := p.Lines.Expect(testenv.Event("NEW", "10.0.0.2"), testenv.At(testenv.MACB))
	testenv.Must(t, a.Talk("10.0.0.2"))
	own.Await(t)
	peer.Await(t)
}

// A frame that this host itself sends with a tag in line.
func TestOwnTaggedFrame(t *testing.T) {
	t.Parallel()
	a, _ := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	seen := p.Lines.Expect(testenv.Event("NEW", "10.0.0.5"), testenv.VID(100))
	testenv.Must(t, a.Port(t).Send(tagged(request(macC, "10.0.0.5"), 0x8100, 100).Bytes()))
	seen.Await(t)
}

func TestRefreshed(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, "--refresh", "1s", a.Name)
	port := b.Port(t)
	first := p.Lines.Expect(testenv.Event("NEW", "10.0.0.5"))
	refreshed := p.Lines.Expect(testenv.Event("REFRESHED", "10.0.0.5"), testenv.At(macC))
	// The time comes from the frames, and the kernel supplies only real time.
	for deadline := time.Now().Add(testenv.Patience); time.Now().Before(deadline); {
		testenv.Must(t, port.Send(request(macC, "10.0.0.5").Bytes()))
		if refreshed.Wait(50 * time.Millisecond) {
			break
		}
	}
	refreshed.Await(t)
	if n, r := first.Value(t), refreshed.Value(t); r.Time < n.Time+1 {
		t.Errorf("refreshed at %d, new at %d, --refresh is 1s", r.Time, n.Time)
	}
}

func TestTwoInterfaces(t *testing.T) {
	t.Parallel()
	rack := testenv.Net(t)
	a1, b1, err := testenv.Connect(rack, "va1", testenv.MACA, testenv.Net(t), "vb", testenv.MACB)
	testenv.Must(t, err)
	a2, b2, err := testenv.Connect(rack, "va2", testenv.MACA, testenv.Net(t), "vb", testenv.MACB)
	testenv.Must(t, err)
	for _, h := range []testenv.Host{a1, b1, a2, b2} {
		testenv.Must(t, h.Up())
	}
	p := testenv.Watch(t, rack, testenv.Options{}, "va1", "va2")
	for i, b := range []testenv.Host{b1, b2} {
		seen := p.Lines.Expect(testenv.IP("10.0.0.5"))
		testenv.Must(t, b.Port(t).Send(request(macC, "10.0.0.5").Bytes()))
		got := seen.Value(t)
		w := untagged("NEW", "10.0.0.5", macC)
		w.iface = []string{"va1", "va2"}[i]
		if diff := cmp.Diff([]want{w}, wants(t, []testenv.Line{got}), cmp.AllowUnexported(want{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// The table is bounded, and an evicted binding is NEW when it is seen again.
func TestMaxBindings(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, "--max-bindings", "2", a.Name)
	port := b.Port(t)
	again := p.Lines.ExpectN(2, testenv.Event("NEW", "10.0.0.5"))
	for _, ip := range []string{"10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8", "10.0.0.5"} {
		testenv.Must(t, port.Send(request(macC, ip).Bytes()))
	}
	again.Await(t)
}

// All frames of a burst are reported, each once and in order.
func TestBurst(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	port := b.Port(t)
	const n = 5000
	all := p.Lines.ExpectN(n, testenv.At(macC))
	for i := range n {
		testenv.Must(t, port.Send(request(macC, address(i)).Bytes()))
	}
	all.Await(t)
	for i, l := range p.Lines.Seen() {
		if l.IP != address(i) || l.Event != "NEW" {
			t.Fatalf("line %d is %s, want NEW %s", i, l, address(i))
		}
	}
}
