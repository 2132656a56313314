package tracker_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maas-netmon/parser"
	"maas-netmon/tracker"
)

func addr6(s string) parser.Addr6 {
	return netip.MustParseAddr(s).As16()
}

// addr6N returns the n-th of many addresses.
func addr6N(n int) parser.Addr6 {
	a := addr6("2001:db8::")
	binary.BigEndian.PutUint64(a[8:], uint64(n))
	return a
}

func newTable6(tb testing.TB, bound int, refresh time.Duration) *tracker.Table {
	tb.Helper()
	table, err := tracker.NewTable(tracker.Config{MaxBindings: bound, Refresh: refresh, IPv6: true})
	if err != nil {
		tb.Fatal(err)
	}
	return table
}

// solicit returns a neighbor solicitation with one binding, of the host 2001:db8::n.
func solicit(n int, mac parser.MAC) parser.ND {
	return parser.ND{
		Type:   parser.TypeNeighborSolicitation,
		Source: addr6N(n), Destination: addr6("ff02::1:ff00:99"), Target: addr6("2001:db8::99"),
		LinkLayer: mac, HasLinkLayer: true,
	}
}

// advertise returns a neighbor advertisement with one binding, of the host 2001:db8::n.
func advertise(n int, mac parser.MAC, override bool) parser.ND {
	return parser.ND{
		Type: parser.TypeNeighborAdvertisement, Override: override,
		Source: addr6("fe80::98"), Destination: addr6("ff02::1"), Target: addr6N(n),
		LinkLayer: mac, HasLinkLayer: true,
	}
}

// randomND returns a packet with one of few addresses. Most of them are usable.
func randomND(r *rand.Rand, bound int) parser.ND {
	addr := func() parser.Addr6 {
		if r.IntN(30) == 0 {
			return addr6([]string{"::", "::1", "ff02::1", "::ffff:10.0.0.1"}[r.IntN(4)])
		}
		return addr6N(r.IntN(2*bound + 2))
	}
	return parser.ND{
		VID:          uint16(r.IntN(2)),
		Type:         uint8(133 + r.IntN(40)/9),
		Override:     r.IntN(3) > 0,
		Source:       addr(),
		Target:       addr(),
		LinkLayer:    parser.MAC{0x02, byte(r.IntN(8) / 7)},
		HasLinkLayer: r.IntN(10) > 0,
	}
}

// TestND: the binding of a packet, or the counter of one that has none. The addresses of source and
// target differ, as do the Ethernet source and the link-layer address.
func TestND(t *testing.T) {
	base := parser.ND{
		EthernetSource: macB, EthernetDestination: parser.MAC{0x33, 0x33, 0, 0, 0, 1},
		VID: 100, InnerVID: 200, Override: true,
		Source: addr6("fe80::5"), Destination: addr6("ff02::1"), Target: addr6("2001:db8::6"),
		LinkLayer: macA, HasLinkLayer: true,
	}
	with := func(kind uint8, change func(*parser.ND)) parser.ND {
		nd := base
		nd.Type = kind
		change(&nd)
		return nd
	}
	same := func(*parser.ND) {}
	source := func(s string) func(*parser.ND) { return func(nd *parser.ND) { nd.Source = addr6(s) } }
	target := func(s string) func(*parser.ND) { return func(nd *parser.ND) { nd.Target = addr6(s) } }
	mac := func(m parser.MAC) func(*parser.ND) { return func(nd *parser.ND) { nd.LinkLayer = m } }
	const rs, ra, ns, na = 133, 134, 135, 136
	for _, test := range []struct {
		name string
		nd   parser.ND
		want string // address of the binding, or the counter, or nothing
	}{
		{"router solicitation", with(rs, same), "fe80::5"},
		{"router advertisement", with(ra, same), "fe80::5"},
		{"neighbor solicitation", with(ns, same), "fe80::5"},
		{"neighbor advertisement", with(na, same), "2001:db8::6"},
		{"advertisement without the override flag", with(na, func(nd *parser.ND) { nd.Override = false }), "2001:db8::6"},
		{"another type", with(137, same), "ignored"},
		{"type 0", with(0, same), "ignored"},
		{"type 132", with(132, same), "ignored"},

		{"no option", with(ns, func(nd *parser.ND) { nd.HasLinkLayer, nd.LinkLayer = false, parser.MAC{} }), ""},
		{"advertisement without the option", with(na, func(nd *parser.ND) { nd.HasLinkLayer, nd.LinkLayer = false, parser.MAC{} }), ""},
		{"duplicate address detection", with(ns, func(nd *parser.ND) { nd.Source, nd.HasLinkLayer, nd.LinkLayer = parser.Addr6{}, false, parser.MAC{} }), ""},
		{"unspecified source", with(ns, source("::")), "refused"},
		{"unspecified target", with(na, target("::")), "refused"},
		{"loopback", with(ns, source("::1")), "refused"},
		{"after loopback", with(ns, source("::2")), "::2"},
		{"IPv4-mapped", with(na, target("::ffff:10.0.0.5")), "refused"},
		{"IPv4-mapped of 0.0.0.0", with(na, target("::ffff:0.0.0.0")), "refused"},
		{"beside IPv4-mapped", with(na, target("::fffe:a00:5")), "::fffe:a00:5"},
		{"beside IPv4-mapped, upper byte", with(na, target("::feff:a00:5")), "::feff:a00:5"},
		{"IPv4-mapped with an upper bit", with(na, target("0:0:0:0:1:ffff:a00:5")), "::1:ffff:a00:5"},
		{"IPv4-translated", with(na, target("64:ff9b::a00:5")), "64:ff9b::a00:5"},
		{"multicast, link-local", with(ns, source("ff02::1")), "refused"},
		{"multicast, any scope", with(na, target("ff1e::1")), "refused"},
		{"unique local", with(ns, source("fd00::1")), "fd00::1"},
		{"site-local", with(ns, source("fec0::1")), "fec0::1"},
		{"largest before multicast", with(ns, source("feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")), "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"unusable source of an advertisement", with(na, source("::")), "2001:db8::6"},
		{"unusable target of a solicitation", with(ns, target("ff02::1")), "fe80::5"},
		{"zero hardware address", with(ns, mac(parser.MAC{})), "refused"},
		{"group hardware address", with(ns, mac(parser.MAC{0x33, 0x33, 0, 0, 0, 1})), "refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			table := newTable6(t, 10, time.Hour)
			before := test.nd
			got := table.ObserveND(nil, 3, 7, &test.nd)
			var want []tracker.Event
			stats := tracker.Stats{}
			switch test.want {
			case "":
			case "ignored":
				stats.Ignored = 1
			case "refused":
				stats.Refused = 1
			default:
				want = []tracker.Event{{
					Kind: tracker.New, Interface: 3, VID: 100, InnerVID: 200,
					Addr: netip.MustParseAddr(test.want), MAC: macA, Time: 7,
				}}
				stats.New, stats.Bindings = 1, 1
			}
			if diff := cmp.Diff(want, got, compareAddr); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(stats, table.Stats(3)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if test.nd != before {
				t.Error("packet modified")
			}
		})
	}
}

// Every part of the key distinguishes bindings, also if the fingerprints are equal.
func TestKeyND(t *testing.T) {
	for _, colliding := range []bool{false, true} {
		table := newTable6(t, 10, time.Hour)
		base := solicit(5, macA)
		vid, inner, both, low, high := base, base, base, base, base
		vid.VID = 100
		inner.InnerVID = 100
		both.VID, both.InnerVID = 100, 100
		low.Source[15]++
		high.Source[8]++
		if colliding {
			table.CollideFingerprints(base.Source)
			if table.Fingerprint(base.Source) != table.Fingerprint(low.Source) {
				t.Fatal("the fingerprints differ")
			}
		}
		for i, p := range []struct {
			iface uint16
			nd    parser.ND
		}{{0, base}, {1, base}, {256, base}, {0, vid}, {0, inner}, {0, both}, {0, low}, {0, high}} {
			events := table.ObserveND(nil, p.iface, 0, &p.nd)
			want := []tracker.Event{{Kind: tracker.New, Interface: p.iface, VID: p.nd.VID, InnerVID: p.nd.InnerVID, Addr: netip.AddrFrom16(p.nd.Source), MAC: macA}}
			if diff := cmp.Diff(want, events, compareAddr); diff != "" {
				t.Errorf("binding %d: -want +got:\n%s", i, diff)
			}
			if again := table.ObserveND(nil, p.iface, 0, &p.nd); len(again) != 0 {
				t.Errorf("binding %d: seen again: %v", i, again)
			}
		}
	}
}

// More addresses with equal fingerprints than a group of the index has slots are found, and no
// others.
func TestEqualFingerprints(t *testing.T) {
	table := newTable6(t, 1000, time.Hour)
	table.CollideFingerprints(addr6N(0))
	for n := range 100 {
		nd := solicit(n, macA)
		if events := table.ObserveND(nil, 0, 0, &nd); len(events) != 1 || events[0].Addr != netip.AddrFrom16(nd.Source) {
			t.Errorf("binding %d: %v, want NEW", n, events)
		}
	}
	for n := range 100 {
		nd := solicit(n, macB)
		events := table.ObserveND(nil, 0, 0, &nd)
		if len(events) != 1 || events[0].Kind != tracker.Moved || events[0].Addr != netip.AddrFrom16(nd.Source) {
			t.Errorf("binding %d: %v, want MOVED", n, events)
		}
	}
}

// A binding of IPv6 whose fingerprint is the address of one of IPv4 is another binding.
func TestFingerprintIsNotAnAddress(t *testing.T) {
	table := newTable6(t, 10, time.Hour)
	var nd parser.ND
	var arp parser.ARP
	for n := 0; ; n++ { // an address whose fingerprint a host of IPv4 can have
		nd = solicit(n, macA)
		arp = claim(0, macB)
		binary.BigEndian.PutUint32(arp.SenderProtocol[:], table.Fingerprint(nd.Source))
		if f := arp.SenderProtocol[0]; f > 0 && f < 127 {
			break
		}
	}
	if got := table.ObserveND(nil, 0, 0, &nd); len(got) != 1 || got[0].Kind != tracker.New {
		t.Errorf("%v, want NEW", got)
	}
	got := table.Observe(nil, 0, 0, &arp)
	if len(got) != 1 || got[0].Kind != tracker.New || got[0].Addr != netip.AddrFrom4(arp.SenderProtocol) {
		t.Errorf("%v, want NEW with %v", got, arp.SenderProtocol)
	}
	if again := table.ObserveND(nil, 0, 0, &nd); len(again) != 0 {
		t.Errorf("%v", again)
	}
}

// The fingerprint depends on each bit of an address and on the secret.
func TestFingerprint(t *testing.T) {
	table, other := newTable6(t, 1, 0), newTable6(t, 1, 0)
	base := addr6("2001:db8::5")
	if table.Fingerprint(base) == other.Fingerprint(base) && table.Fingerprint(addr6N(6)) == other.Fingerprint(addr6N(6)) {
		t.Error("two tables have the same fingerprints")
	}
	same := 0
	for bit := range 128 {
		a := base
		a[bit/8] ^= 1 << (bit % 8)
		if table.Fingerprint(a) == table.Fingerprint(base) {
			same++
		}
	}
	if same > 1 { // even one has a probability of 2^-25
		t.Errorf("%d of 128 bits do not change the fingerprint", same)
	}
}

// show6 writes an event in the short form of show.
func show6(e tracker.Event) string {
	if e.Addr.Is6() {
		return "v6 " + show(tracker.Event{Kind: e.Kind, Addr: netip.AddrFrom4([4]byte{3: e.Addr.As16()[15]}), MAC: e.MAC, PreviousMAC: e.PreviousMAC})
	}
	return show(e)
}

// An advertisement without the override flag gives NEW and REFRESHED, never MOVED. With another
// hardware address it changes nothing: not the time of the last change, and not the order of use.
func TestOverride(t *testing.T) {
	table := newTable6(t, 10, 10*time.Minute)
	for i, s := range []struct {
		time int64
		nd   parser.ND
		want string
	}{
		{0, advertise(5, macA, false), "v6 NEW 5 aa"},
		{0, advertise(5, macB, false), ""},        // ignored
		{1, solicit(5, macB), "v6 MOVED 5 aa>bb"}, // the host itself
		{2, advertise(5, macA, false), ""},        // ignored
		{3, advertise(5, macA, true), "v6 MOVED 5 bb>aa"},
		{603, advertise(5, macB, false), ""}, // ignored: no refresh of the binding either
		{604, advertise(5, macA, false), "v6 REFRESHED 5 aa"},
		{605, advertise(5, macA, false), ""},
		{300, advertise(5, macB, false), ""}, // ignored: the clock was set back, but not for this binding
		{1203, advertise(5, macA, true), ""},
		{1204, advertise(5, macA, true), "v6 REFRESHED 5 aa"},
	} {
		got := ""
		for _, e := range table.ObserveND(nil, 0, s.time, &s.nd) {
			got += show6(e)
		}
		if got != s.want {
			t.Errorf("step %d: %q, want %q", i, got, s.want)
		}
	}
	if got := table.Stats(0); got.Ignored != 4 || got.Refused != 0 {
		t.Errorf("%+v, want 4 ignored", got)
	}

	// The flag of another type means nothing.
	solicitation := solicit(5, macC)
	solicitation.Override = false
	if got := table.ObserveND(nil, 0, 1204, &solicitation); len(got) != 1 || show6(got[0]) != "v6 MOVED 5 aa>cc" {
		t.Errorf("%v", got)
	}

	// The order of use: 5 stays the oldest.
	table = newTable6(t, 2, time.Hour)
	for _, nd := range []parser.ND{solicit(5, macA), solicit(6, macA), advertise(5, macB, false), solicit(7, macA)} {
		table.ObserveND(nil, 0, 0, &nd)
	}
	if six := solicit(6, macA); len(table.ObserveND(nil, 0, 0, &six)) != 0 {
		t.Error("an ignored packet counts as a sighting")
	}
}

// The same without room for lines.
func TestOverrideNoted(t *testing.T) {
	table := newTable6(t, 10, 10*time.Minute)
	for _, nd := range []parser.ND{advertise(5, macA, false), advertise(5, macB, false)} {
		table.NoteND(0, 0, &nd)
	}
	var e tracker.Event
	if !table.Next(&e) || show6(e) != "v6 NEW 5 aa" || table.Stats(0).Ignored != 1 {
		t.Errorf("%v, %+v", e, table.Stats(0))
	}
}

// The bound and the order of eviction are those of both families together.
func TestEvictionOfBothFamilies(t *testing.T) {
	table := newTable6(t, 3, time.Hour)
	for i, s := range []struct {
		family int
		host   byte
		mac    parser.MAC
		want   string
	}{
		{4, 1, macA, "NEW 1 aa"},
		{6, 1, macA, "v6 NEW 1 aa"},
		{4, 3, macA, "NEW 3 aa"},
		{4, 1, macA, ""},
		{6, 4, macA, "v6 NEW 4 aa"}, // 1 of IPv6 goes
		{4, 3, macA, ""},
		{4, 1, macA, ""},
		{6, 1, macB, "v6 NEW 1 bb"}, // 4 of IPv6 goes
		{4, 1, macA, ""},
		{4, 3, macA, ""},
		{4, 4, macA, "NEW 4 aa"},    // 1 of IPv6 goes, its place becomes one of IPv4
		{6, 5, macA, "v6 NEW 5 aa"}, // and one of IPv6 again
		{6, 5, macB, "v6 MOVED 5 aa>bb"},
	} {
		got := ""
		for _, e := range sight(table, s.family, s.host, s.mac, 0) {
			got += show6(e)
		}
		if got != s.want {
			t.Errorf("step %d: %q, want %q", i, got, s.want)
		}
	}
	want := tracker.Stats{New: 7, Moved: 1, Evicted: 4, Bindings: 3}
	if diff := cmp.Diff(want, table.Stats(0)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// sight passes a packet of a family with one binding to a table.
func sight(table *tracker.Table, family int, host byte, mac parser.MAC, seconds int64) []tracker.Event {
	if family == 4 {
		arp := claim(host, mac)
		return table.Observe(nil, 0, seconds, &arp)
	}
	nd := solicit(int(host), mac)
	return table.ObserveND(nil, 0, seconds, &nd)
}

// A flood of invented addresses of IPv6 does not evict hosts of IPv4 that were seen twice, and the
// other way round.
func TestFloodOfTheOtherFamily(t *testing.T) {
	const bound, hosts = 250, 200
	for _, family := range []int{4, 6} {
		table := newTable6(t, bound, 10*time.Minute)
		for range 2 {
			for n := range byte(hosts) {
				sight(table, family, n, macA, 0)
			}
		}
		for n := range 20 * bound {
			arp, nd := request(1<<20+n), solicit(1<<20+n, macA)
			for range 2 {
				if family == 6 {
					table.Observe(nil, 0, 0, &arp)
				} else {
					table.ObserveND(nil, 0, 0, &nd)
				}
			}
		}
		for n := range byte(hosts) {
			if events := sight(table, family, n, macB, 0); len(events) != 1 || events[0].Kind != tracker.Moved {
				t.Fatalf("IPv%d, host %d: %v, want MOVED", family, n, events)
			}
		}
		if got := table.Stats(0).Bindings; got != bound {
			t.Errorf("%d bindings, want %d", got, bound)
		}
	}
}

// While lines wait, ObserveND returns none, and the order is moved, new, refreshed, and then by
// time, for both families together.
func TestStallOfBothFamilies(t *testing.T) {
	table := newTable6(t, 20, 10*time.Minute)
	for _, family := range []int{4, 6} {
		for n := range byte(4) {
			sight(table, family, n+1, macA, 0)
		}
	}
	nd := solicit(1, macA)
	table.NoteND(0, 600, &nd)
	if !table.Waiting() {
		t.Error("nothing waits")
	}
	for _, s := range []struct {
		family int
		host   byte
		mac    parser.MAC
	}{{4, 1, macA}, {6, 7, macA}, {4, 7, macA}, {6, 2, macB}, {4, 2, macB}, {6, 3, macB}, {4, 8, macA}, {6, 7, macB}, {6, 2, macC}} {
		if events := sight(table, s.family, s.host, s.mac, 600); len(events) != 0 {
			t.Errorf("%v while others wait", events)
		}
	}
	got := ""
	var e tracker.Event
	for table.Next(&e) {
		got += show6(e) + fmt.Sprintf(" (%d), ", e.Moves)
	}
	want := "v6 MOVED 2 bb>cc (2), MOVED 2 aa>bb (1), v6 MOVED 3 aa>bb (1), " +
		"v6 NEW 7 bb (0), NEW 7 aa (0), NEW 8 aa (0), v6 REFRESHED 1 aa (0), REFRESHED 1 aa (0), "
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A binding of IPv6 rests after a move, like one of IPv4.
func TestMovedIntervalOfIPv6(t *testing.T) {
	table, err := tracker.NewTable(tracker.Config{MaxBindings: 10, Refresh: time.Hour, MovedInterval: time.Second, IPv6: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range []struct {
		now  time.Duration
		mac  parser.MAC
		want string
	}{
		{0, macA, "v6 NEW 5 aa"},
		{0, macB, "v6 MOVED 5 aa>bb"},
		{100 * time.Millisecond, macC, ""},
		{200 * time.Millisecond, macA, ""},
		{1200 * time.Millisecond, macA, "v6 MOVED 5 cc>aa"},
	} {
		table.Advance(s.now)
		got := ""
		var e tracker.Event
		for table.Next(&e) {
			got += show6(e)
		}
		for _, e := range sight(table, 6, 5, s.mac, 0) {
			got += show6(e)
		}
		if got != s.want {
			t.Errorf("step %d: %q, want %q", i, got, s.want)
		}
	}
	if table.Stats(0).Moved != 2 {
		t.Errorf("%+v", table.Stats(0))
	}
}

// Forget drops the bindings of both families, Abandon counts those of both, and places are used
// again by the other family.
func TestForgetBothFamilies(t *testing.T) {
	const bound = 2000
	table := newTable6(t, bound, time.Hour)
	table.CollideFingerprints(parser.Addr6{}) // of no address here
	see := func(n int, other bool) []tracker.Event {
		arp, nd := request(n), solicit(n, macA)
		if n%4 < 2 != other {
			return table.ObserveND(nil, uint16(n%2), 0, &nd)
		}
		return table.Observe(nil, uint16(n%2), 0, &arp)
	}
	for n := range bound {
		see(n, false)
	}
	table.Forget(1)
	if got := table.Stats(1); got.Bindings != 0 || got.New != bound/2 {
		t.Errorf("%+v", got)
	}
	for n := range bound {
		if events := see(n, n%2 == 1); len(events) != n%2 {
			t.Fatalf("binding %d: %v", n, events)
		}
	}
	if a, b := table.Stats(0), table.Stats(1); a.Bindings != bound/2 || b.Bindings != bound/2 || a.Evicted+b.Evicted != 0 {
		t.Errorf("%+v, %+v", a, b)
	}
	for _, mac := range []parser.MAC{macB, macC} {
		arp, nd := claim(5, mac), solicit(1, mac)
		table.Note(5, 0, &arp)
		table.NoteND(5, 0, &nd)
	}
	table.Abandon()
	if got := table.Stats(5); got.Unreported != 2 || table.Waiting() {
		t.Errorf("%+v", got)
	}
}

// A key whose parts are all zero except the flag is not that of a free entry.
func TestForgetZeroFingerprint(t *testing.T) {
	table := newTable6(t, 4, time.Hour)
	nd := solicit(5, macA)
	table.ZeroFingerprints()
	if got := table.Fingerprint(nd.Source); got != 0 {
		t.Fatalf("fingerprint %#x, want 0", got)
	}
	if events := table.ObserveND(nil, 0, 0, &nd); len(events) != 1 {
		t.Errorf("%v, want NEW", events)
	}
	if events := table.ObserveND(nil, 0, 0, &nd); len(events) != 0 {
		t.Errorf("seen again: %v", events)
	}
	table.Forget(0)
	if got := table.Stats(0).Bindings; got != 0 {
		t.Errorf("%d bindings", got)
	}
	if events := table.ObserveND(nil, 0, 0, &nd); len(events) != 1 || events[0].Kind != tracker.New {
		t.Errorf("%v, want NEW", events)
	}
}

// Places that are free after Forget are not forgotten again.
func TestForgetTwice(t *testing.T) {
	table := newTable6(t, 4, time.Hour)
	for _, hosts := range [][]int{{5, 6}, {7}} {
		for _, n := range hosts {
			nd := solicit(n, macA)
			table.ObserveND(nil, 0, 0, &nd)
		}
		table.Forget(0)
	}
	nd := solicit(7, macA)
	if events := table.ObserveND(nil, 0, 0, &nd); len(events) != 1 || events[0].Kind != tracker.New {
		t.Errorf("%v, want NEW", events)
	}
	if got := table.Stats(0).Bindings; got != 1 {
		t.Errorf("%d bindings, want 1", got)
	}
}

// A table of both families finds all its bindings while it grows, doubles its room and evicts.
func TestLargeTableOfBothFamilies(t *testing.T) {
	const bound = 20_000
	table := newTable6(t, bound, time.Hour)
	table.ShrinkRoom(100)
	see := func(n int) []tracker.Event {
		if n%2 == 0 {
			arp := request(n)
			return table.Observe(nil, 0, 0, &arp)
		}
		nd := solicit(n, macA)
		return table.ObserveND(nil, 0, 0, &nd)
	}
	for n := range 2 * bound {
		if events := see(n); len(events) != 1 || events[0].Kind != tracker.New {
			t.Fatalf("binding %d: %v, want NEW", n, events)
		}
	}
	if table.Room() != bound {
		t.Errorf("room for %d bindings, want %d", table.Room(), bound)
	}
	want := tracker.Stats{New: 2 * bound, Evicted: bound, Bindings: bound}
	for n := range bound {
		if events := see(bound + n); len(events) != 0 || table.Stats(0) != want {
			t.Fatalf("binding %d: %v, %+v", n, events, table.Stats(0))
		}
	}
}

func TestNoAllocationND(t *testing.T) {
	table := newTable6(t, 1000, time.Hour)
	nds := make([]parser.ND, 1000)
	for n := range nds {
		nds[n] = advertise(n, macA, true)
		table.ObserveND(nil, 0, 0, &nds[n])
	}
	events := make([]tracker.Event, 0, 2)
	i := 0
	for name, change := range map[string]func(*parser.ND){
		"known":    func(*parser.ND) {},
		"moved":    func(nd *parser.ND) { nd.LinkLayer[1]++ },
		"new":      func(nd *parser.ND) { nd.VID++ },
		"override": func(nd *parser.ND) { nd.Override = false; nd.LinkLayer[2]++ },
	} {
		if n := testing.AllocsPerRun(500, func() {
			nd := &nds[i%1000]
			change(nd)
			events = table.ObserveND(events[:0], 0, 0, nd)
			table.NoteND(0, 0, nd)
			i++
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// The heap of a full table of IPv6 in which all bindings wait, and that of a table without IPv6.
func TestMemoryND(t *testing.T) {
	const bound = 1 << 18
	before := liveHeap()
	table := newTable6(t, bound, time.Hour)
	for n := range 2 * bound {
		nd := solicit(n, macA)
		table.NoteND(0, 0, &nd)
	}
	if got := float64(liveHeap()-before) / bound; got > 80 {
		t.Errorf("%.1f bytes per binding, want at most 80", got)
	}
	if table.Stats(0).Bindings != bound {
		t.Errorf("%d bindings, want %d", table.Stats(0).Bindings, bound)
	}
}

// A table without IPv6 has no place for a packet of IPv6.
func TestWithoutIPv6(t *testing.T) {
	table := newTable(t, 10, time.Hour)
	nd := solicit(5, macA)
	for name, call := range map[string]func(){
		"ObserveND": func() { table.ObserveND(nil, 0, 0, &nd) },
		"NoteND":    func() { table.NoteND(0, 0, &nd) },
	} {
		func() {
			defer func() {
				if got, want := recover(), "tracker: a packet of IPv6 for a table without IPv6"; got != want {
					t.Errorf("%s: panic with %v, want %s", name, got, want)
				}
			}()
			call()
		}()
	}
}

func TestNumberOfAnInterfaceND(t *testing.T) {
	table := newTable6(t, 10, time.Hour)
	nd := solicit(5, macA)
	for _, iface := range []uint16{0, 255, 256, 511, 512, 768, tracker.MaxInterfaces - 1} {
		if events := table.ObserveND(nil, iface, 0, &nd); len(events) != 1 || events[0].Interface != iface || events[0].Kind != tracker.New {
			t.Errorf("interface %d: %v", iface, events)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a number out of range is accepted")
		}
	}()
	table.ObserveND(nil, tracker.MaxInterfaces, 0, &nd)
}
