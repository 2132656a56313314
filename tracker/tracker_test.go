package tracker_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"maas-netmon/internal/testenv"
	"maas-netmon/parser"
	"maas-netmon/parser/parsertest"
	"maas-netmon/tracker"
	"maas-netmon/tracker/trackertest"
)

// compareAddr has addresses of protocols compared as values.
var compareAddr = cmpopts.EquateComparable(netip.Addr{})

// Hardware addresses of the scripts.
var (
	macA = parser.MAC{0x02, 0xaa, 0, 0, 0, 5}
	macB = parser.MAC{0x02, 0xbb, 0, 0, 0, 5}
	macC = parser.MAC{0x02, 0xcc, 0, 0, 0, 5}
)

func newTable(tb testing.TB, bound int, refresh time.Duration) *tracker.Table {
	tb.Helper()
	table, err := tracker.NewTable(tracker.Config{MaxBindings: bound, Refresh: refresh})
	if err != nil {
		tb.Fatal(err)
	}
	return table
}

// claim returns a request with one binding, of the host 10.0.0.n.
func claim(n byte, mac parser.MAC) parser.ARP {
	return parser.ARP{Operation: 1, SenderHardware: mac, SenderProtocol: parser.Addr{10, 0, 0, n}}
}

// show writes an event in a short form: NEW 5 aa, MOVED 5 aa>bb.
func show(e tracker.Event) string {
	s := fmt.Sprintf("%v %d ", e.Kind, e.Addr.AsSlice()[3])
	if e.PreviousMAC != (parser.MAC{}) {
		s += fmt.Sprintf("%02x>", e.PreviousMAC[1])
	}
	return s + fmt.Sprintf("%02x", e.MAC[1])
}

// TestScripts: each step is a sighting at a time, and the event that follows.
func TestScripts(t *testing.T) {
	type step struct {
		time int64
		host byte
		mac  parser.MAC
		want string
	}
	const start = 1_795_228_118
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"seen again soon", []step{
			{start, 5, macA, "NEW 5 aa"},
			{start, 5, macA, ""},
			{start + 1, 5, macA, ""},
			{start + 599, 5, macA, ""},
		}},
		{"refreshed after ten minutes, not before", []step{
			{start, 5, macA, "NEW 5 aa"},
			{start + 599, 5, macA, ""},
			{start + 600, 5, macA, "REFRESHED 5 aa"},
			{start + 1199, 5, macA, ""},
			{start + 1200, 5, macA, "REFRESHED 5 aa"},
			{start + 9999, 5, macA, "REFRESHED 5 aa"},
		}},
		{"a sighting without an event does not put off the next one", []step{
			{start, 5, macA, "NEW 5 aa"},
			{start + 300, 5, macA, ""},
			{start + 599, 5, macA, ""},
			{start + 600, 5, macA, "REFRESHED 5 aa"},
		}},
		{"moved, there and back, in the same second", []step{
			{start, 5, macA, "NEW 5 aa"},
			{start, 5, macB, "MOVED 5 aa>bb"},
			{start, 5, macA, "MOVED 5 bb>aa"},
			{start, 5, macA, ""},
		}},
		{"a move is an event like any other for the refresh", []step{
			{start, 5, macA, "NEW 5 aa"},
			{start + 500, 5, macB, "MOVED 5 aa>bb"},
			{start + 600, 5, macB, ""},
			{start + 1099, 5, macB, ""},
			{start + 1100, 5, macB, "REFRESHED 5 bb"},
		}},
		{"moved after ten minutes is moved, not refreshed", []step{
			{start, 5, macA, "NEW 5 aa"},
			{start + 600, 5, macB, "MOVED 5 aa>bb"},
		}},
		{"previous address is the last one, not the first", []step{
			{start, 5, macA, "NEW 5 aa"},
			{start + 1, 5, macB, "MOVED 5 aa>bb"},
			{start + 2, 5, macC, "MOVED 5 bb>cc"},
		}},
		{"clock goes backwards: silently set back", []step{
			{start, 5, macA, "NEW 5 aa"},
			{start - 3600, 5, macA, ""},
			{start - 3001, 5, macA, ""},
			{start - 3000, 5, macA, "REFRESHED 5 aa"},
		}},
		{"moved while the clock goes backwards", []step{
			{start, 5, macA, "NEW 5 aa"},
			{start - 3600, 5, macB, "MOVED 5 aa>bb"},
			{start - 3000, 5, macB, "REFRESHED 5 bb"},
		}},
		{"hosts do not mix", []step{
			{start, 5, macA, "NEW 5 aa"},
			{start, 6, macA, "NEW 6 aa"},
			{start + 1, 5, macB, "MOVED 5 aa>bb"},
			{start + 1, 6, macA, ""},
		}},
		{"times that do not fit into 32 bits", []step{
			{math.MinInt64, 5, macA, "NEW 5 aa"},
			{599, 5, macA, ""},
			{600, 5, macA, "REFRESHED 5 aa"},
			{math.MaxInt64, 5, macA, "REFRESHED 5 aa"},
			{math.MaxUint32, 5, macA, ""},
			{math.MaxInt64, 5, macB, "MOVED 5 aa>bb"},
			{-1, 6, macA, "NEW 6 aa"},
			{600, 6, macA, "REFRESHED 6 aa"},
			{1 << 32, 6, macA, "REFRESHED 6 aa"},
			{math.MaxUint32, 6, macA, ""},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			table := newTable(t, 10, 10*time.Minute)
			for i, s := range test.steps {
				arp := claim(s.host, s.mac)
				var got []string
				for _, e := range table.Observe(nil, 0, s.time, &arp) {
					got = append(got, show(e))
					if e.Time != s.time {
						t.Errorf("step %d: time %d, want %d", i, e.Time, s.time)
					}
				}
				if diff := cmp.Diff(s.want, strings.Join(got, ", ")); diff != "" {
					t.Errorf("step %d: -want +got:\n%s", i, diff)
				}
			}
		})
	}
}

// TestVectors: an empty table learns the bindings that the vectors list for a frame.
func TestVectors(t *testing.T) {
	vectors, err := parsertest.Load("../parser/testdata/frames")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		if v.Err != nil {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			var want []tracker.Event
			seen := make(map[parser.Addr]parser.MAC)
			for _, b := range v.Bindings {
				e := tracker.Event{Kind: tracker.New, Interface: 3, VID: v.ARP.VID, InnerVID: v.ARP.InnerVID, Addr: netip.AddrFrom4(b.Addr), MAC: b.MAC, Time: 7}
				if before, ok := seen[b.Addr]; ok {
					e.Kind, e.PreviousMAC, e.Moves = tracker.Moved, before, 1
				}
				if seen[b.Addr] != b.MAC {
					want = append(want, e)
				}
				seen[b.Addr] = b.MAC
			}
			table := newTable(t, 10, 10*time.Minute)
			arp := v.ARP
			if diff := cmp.Diff(want, table.Observe(nil, 3, 7, &arp), compareAddr); diff != "" {
				t.Errorf("%s: -want +got:\n%s", v.Comment, diff)
			}
			if arp != v.ARP {
				t.Error("packet modified")
			}
			stats := table.Stats(3)
			if stats.Refused != uint64(v.Refused) {
				t.Errorf("refused %d, want %d", stats.Refused, v.Refused)
			}
			if want := arp.Operation != 1 && arp.Operation != 2; stats.Ignored == 1 != want {
				t.Errorf("ignored %d", stats.Ignored)
			}
			if stats.Bindings != uint64(len(seen)) {
				t.Errorf("%d bindings, want %d", stats.Bindings, len(seen))
			}
		})
	}
}

// Every part of the key distinguishes bindings.
func TestKey(t *testing.T) {
	table := newTable(t, 10, time.Hour)
	base := claim(5, macA)
	vid, inner, both, addr := base, base, base, base
	vid.VID = 100
	inner.InnerVID = 100
	both.VID, both.InnerVID = 100, 100
	addr.SenderProtocol[0]++
	for i, p := range []struct {
		iface uint16
		arp   parser.ARP
	}{{0, base}, {1, base}, {256, base}, {0, vid}, {0, inner}, {0, both}, {0, addr}} {
		events := table.Observe(nil, p.iface, 0, &p.arp)
		want := []tracker.Event{{Kind: tracker.New, Interface: p.iface, VID: p.arp.VID, InnerVID: p.arp.InnerVID, Addr: netip.AddrFrom4(p.arp.SenderProtocol), MAC: macA}}
		if diff := cmp.Diff(want, events, compareAddr); diff != "" {
			t.Errorf("binding %d: -want +got:\n%s", i, diff)
		}
		if again := table.Observe(nil, p.iface, 0, &p.arp); len(again) != 0 {
			t.Errorf("binding %d: seen again: %v", i, again)
		}
	}
}

func TestRefreshRounding(t *testing.T) {
	for _, test := range []struct {
		refresh time.Duration
		quiet   int64 // seconds after which there is no event
		event   int64 // seconds after which there is an event
	}{
		{0, -1, 0},
		{1, 0, 1},
		{time.Second, 0, 1},
		{1500 * time.Millisecond, 1, 2},
		{time.Hour + 1, 3600, 3601},
		{math.MaxInt64, math.MaxUint32, -1},
	} {
		t.Run(test.refresh.String(), func(t *testing.T) {
			table := newTable(t, 10, test.refresh)
			arp := claim(5, macA)
			table.Observe(nil, 0, 0, &arp)
			if test.quiet >= 0 {
				if events := table.Observe(nil, 0, test.quiet, &arp); len(events) != 0 {
					t.Errorf("after %d s: %v", test.quiet, events)
				}
			}
			if test.event >= 0 {
				events := table.Observe(nil, 0, test.event, &arp)
				if len(events) != 1 || events[0].Kind != tracker.Refreshed {
					t.Errorf("after %d s: %v, want REFRESHED", test.event, events)
				}
			}
		})
	}
}

func TestConfig(t *testing.T) {
	for _, test := range []struct {
		config tracker.Config
		want   string
	}{
		{tracker.Config{MaxBindings: 0}, "bound of the table of bindings: 0 is not in 1 to 1073741824"},
		{tracker.Config{MaxBindings: -1}, "bound of the table of bindings: -1 is not in 1 to 1073741824"},
		{tracker.Config{MaxBindings: tracker.MaxBindings + 1}, "bound of the table of bindings: 1073741825 is not in 1 to 1073741824"},
		{tracker.Config{MaxBindings: 1, Refresh: -1}, "refresh interval: -1ns is negative"},
		{tracker.Config{MaxBindings: 1, MovedInterval: -1}, "moved interval: -1ns is not in 0 to 24h0m0s"},
		{tracker.Config{MaxBindings: 1, MovedInterval: 24*time.Hour + 1}, "moved interval: 24h0m0.000000001s is not in 0 to 24h0m0s"},
	} {
		table, err := tracker.NewTable(test.config)
		if table != nil || err == nil || err.Error() != test.want {
			t.Errorf("%+v: %v, error %v, want %s", test.config, table, err, test.want)
		}
	}
	newTable(t, 1, 0)
	newTable(t, tracker.MaxBindings, 0)
}

func TestKindString(t *testing.T) {
	for k, want := range map[tracker.Kind]string{
		0: "Kind(0)", tracker.New: "NEW", tracker.Moved: "MOVED", tracker.Refreshed: "REFRESHED", 4: "Kind(4)",
	} {
		if got := k.String(); got != want {
			t.Errorf("%d: %s, want %s", k, got, want)
		}
	}
}

// In a full table, the binding seen least recently goes first, and is new when it
// comes back, without the address that it had before.
func TestEviction(t *testing.T) {
	table := newTable(t, 3, time.Hour)
	for i, s := range []struct {
		host byte
		mac  parser.MAC
		want string
	}{
		{1, macA, "NEW 1 aa"},
		{2, macA, "NEW 2 aa"},
		{3, macA, "NEW 3 aa"},
		{1, macA, ""},
		{4, macA, "NEW 4 aa"}, // 2 goes
		{3, macA, ""},
		{1, macA, ""},
		{2, macB, "NEW 2 bb"}, // 4 goes
		{1, macA, ""},
		{3, macA, ""},
		{4, macA, "NEW 4 aa"}, // 2 goes
	} {
		arp := claim(s.host, s.mac)
		got := ""
		for _, e := range table.Observe(nil, 0, 0, &arp) {
			got += show(e)
		}
		if got != s.want {
			t.Errorf("step %d: %q, want %q", i, got, s.want)
		}
	}
	want := tracker.Stats{New: 6, Evicted: 3, Bindings: 3}
	if diff := cmp.Diff(want, table.Stats(0)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// flood passes n invented bindings to a table, each in this number of packets.
func flood(table *tracker.Table, from, n, packets int, seconds int64) {
	for i := range n {
		arp := request(1<<20 + from + i)
		for range packets {
			table.Observe(nil, 0, seconds, &arp)
		}
	}
}

// A flood of invented addresses does not evict hosts that were seen twice before
// it, so a takeover during the flood is seen.
func TestFloodDoesNotHideATakeover(t *testing.T) {
	const bound, hosts, day = 250, 200, 24 * 60 * 60
	for _, packets := range []int{1, 2, 5} {
		t.Run(fmt.Sprintf("%d packets an address", packets), func(t *testing.T) {
			table := newTable(t, bound, 10*time.Minute)
			for range 2 {
				for n := range hosts {
					arp := request(n)
					table.Observe(nil, 0, 0, &arp)
				}
			}
			flood(table, 0, 20*bound, packets, 1)
			flood(table, 20*bound, 20*bound, packets, day) // no host was seen since
			for n := range hosts {
				arp := request(n)
				arp.SenderHardware[1]++
				events := table.Observe(nil, 0, day, &arp)
				if len(events) != 1 || events[0].Kind != tracker.Moved {
					t.Fatalf("host %d: %v, want MOVED", n, events)
				}
			}
			if got := table.Stats(0).Bindings; got != uint64(bound) {
				t.Errorf("%d bindings, want %d", got, bound)
			}
		})
	}
}

// A second mention in one packet is not a second sighting: such packets do not fill the
// protected segment.
func TestFloodOfRepliesIsNoSecondSighting(t *testing.T) {
	const bound = 1000
	table := newTable(t, bound, 10*time.Minute)
	for i := range 20 * bound {
		arp := request(1<<20 + i)
		arp.Operation = parser.OperationReply
		arp.TargetHardware, arp.TargetProtocol = arp.SenderHardware, arp.SenderProtocol
		table.Observe(nil, 0, 0, &arp)
	}
	host := claim(5, macA)
	table.Observe(nil, 0, 0, &host)
	table.Observe(nil, 0, 0, &host)
	flood(table, 50*bound, 20*bound, 1, 0)
	moved := claim(5, macB)
	events := table.Observe(nil, 0, 0, &moved)
	if len(events) != 1 || events[0].Kind != tracker.Moved {
		t.Errorf("%v, want MOVED", events)
	}
}

// Protected bindings that are not seen for a day are replaced by others that are seen twice.
func TestProtectionEnds(t *testing.T) {
	const bound, day = 10, 24 * 60 * 60
	table := newTable(t, bound, 10*time.Minute)
	flood(table, 0, bound, 2, 0)
	end := int64(day + 600)
	flood(table, 100, 8, 2, end)
	flood(table, 200, bound, 1, end)
	for i := range 8 {
		arp := request(1<<20 + 100 + i)
		if events := table.Observe(nil, 0, end, &arp); len(events) != 0 {
			t.Errorf("binding %d: %v", i, events)
		}
	}
}

// A random script gives the same events as the model, at bounds from one up: with room always,
// with stalls, with and without a moved interval, for packets of IPv4, and for packets of both
// families with and without equal fingerprints.
func TestAgainstModel(t *testing.T) {
	for _, bound := range []int{1, 2, 3, 4, 5, 16, 100} {
		for _, interval := range []time.Duration{0, 1, time.Second, tracker.MaxMovedInterval} {
			for _, stalls := range []bool{false, true} {
				for _, families := range []families{onlyIPv4, bothFamilies, collidingFingerprints} {
					t.Run(fmt.Sprint(bound, interval, stalls, families), func(t *testing.T) {
						t.Parallel()
						againstModel(t, bound, interval, stalls, families)
					})
				}
			}
		}
	}
}

type families int

const (
	onlyIPv4 families = iota
	bothFamilies
	collidingFingerprints // both, and all addresses of IPv6 have the same one
)

func againstModel(t *testing.T, bound int, interval time.Duration, stalls bool, families families) {
	r := rand.New(rand.NewPCG(uint64(bound), uint64(interval)))
	table, err := tracker.NewTable(tracker.Config{MaxBindings: bound, Refresh: 10 * time.Minute, MovedInterval: interval, IPv6: families != onlyIPv4})
	if err != nil {
		t.Fatal(err)
	}
	if families == collidingFingerprints {
		table.CollideFingerprints(addr6("2001:db8::"))
	}
	model := trackertest.NewModel(bound, 600, interval)
	now := int64(1_000_000)
	var passed time.Duration
	room := true
	for i := range 5_000 {
		switch r.IntN(50) {
		case 0:
			now += r.Int64N(100_000)
		case 1:
			now -= r.Int64N(1_000)
		case 2, 3, 4:
			passed += time.Duration(r.Int64N(int64(interval)/3 + 1))
		case 5:
			passed += time.Duration(r.Int64N(int64(interval)*3 + 1))
		case 6, 7:
			room = !stalls || !room
		}
		table.Advance(passed)
		model.Advance(passed)
		switch r.IntN(1000) {
		case 0:
			iface := uint16(r.IntN(3))
			table.Forget(iface)
			model.Forget(iface)
		case 1:
			table.Abandon()
			model.Abandon()
		case 2:
			table.Flush()
			model.Flush()
		}
		for room && r.IntN(10) > 0 {
			want, wantOK := model.Next()
			var got tracker.Event
			if ok := table.Next(&got); got != want || ok != wantOK {
				t.Fatalf("step %d: %t, want %t; -want +got:\n%s", i, ok, wantOK, cmp.Diff(want, got, compareAddr))
			} else if !ok {
				break
			}
		}
		arp := parser.ARP{
			VID:            uint16(r.IntN(2)),
			Operation:      uint16(1 + r.IntN(20)/9),
			SenderHardware: parser.MAC{0x02, byte(r.IntN(8) / 7)},
			SenderProtocol: parser.Addr{10, 0, 0, byte(r.IntN(2*bound + 2))},
			TargetHardware: parser.MAC{0x02, byte(r.IntN(8) / 7)},
			TargetProtocol: parser.Addr{10, 0, 0, byte(r.IntN(2*bound + 2))},
		}
		iface := uint16(r.IntN(2))
		var got, want []tracker.Event
		switch nd := r.IntN(2) == 0 && families != onlyIPv4; {
		case nd:
			nd := randomND(r, bound)
			want = model.ObserveND(room, iface, now, nd)
			if room {
				got = table.ObserveND(nil, iface, now, &nd)
			} else {
				table.NoteND(iface, now, &nd)
			}
		default:
			want = model.Observe(room, iface, now, arp)
			if room {
				got = table.Observe(nil, iface, now, &arp)
			} else {
				table.Note(iface, now, &arp)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("step %d: -want +got:\n%s", i, cmp.Diff(want, got, compareAddr))
		}
		if wrong := model.Check(table); wrong != "" {
			t.Fatalf("step %d: %s", i, wrong)
		}
	}
}

// Each interface has its own counters: an eviction counts for the interface of the evicted binding.
func TestStats(t *testing.T) {
	table := newTable(t, 3, time.Minute)
	observe := func(iface uint16, host byte) {
		arp := claim(host, macA)
		table.Observe(nil, iface, 0, &arp)
	}
	for host := range byte(3) {
		observe(7, host+1)
	}
	observe(2, 1) // the oldest of the other interface goes
	observe(2, 1) // known
	observe(2, 2)
	observe(9, 1) // the last of the first
	observe(9, 2) // the older of the second
	want := map[uint16]tracker.Stats{
		2: {New: 2, Bindings: 1, Evicted: 1},
		7: {New: 3, Evicted: 3},
		9: {New: 2, Bindings: 2},
		3: {}, 10: {}, math.MaxUint16: {}, // never seen
	}
	for iface, stats := range want {
		if got := table.Stats(iface); got != stats {
			t.Errorf("interface %d: %+v, want %+v", iface, got, stats)
		}
	}
}

// A large table finds all its bindings, and no others, while it grows and while it evicts.
func TestLargeTable(t *testing.T) {
	const bound = 50_000
	table := newTable(t, bound, time.Hour)
	for n := range 2 * bound {
		arp := request(n)
		if events := table.Observe(nil, 0, 0, &arp); len(events) != 1 || events[0].Kind != tracker.New {
			t.Fatalf("binding %d: %v, want NEW", n, events)
		}
	}
	want := tracker.Stats{New: 2 * bound, Evicted: bound, Bindings: bound}
	for n := range bound {
		arp := request(bound + n)
		if events := table.Observe(nil, 0, 0, &arp); len(events) != 0 || table.Stats(0) != want {
			t.Fatalf("binding %d: %v, %+v", n, events, table.Stats(0))
		}
	}
}

func TestNoAllocation(t *testing.T) {
	table, arps := filled(t, 1000)
	events := make([]tracker.Event, 0, 2)
	i := 0
	for name, change := range map[string]func(*parser.ARP){
		"known": func(*parser.ARP) {},
		"moved": func(arp *parser.ARP) { arp.SenderHardware[1]++ },
		"new":   func(arp *parser.ARP) { arp.VID++ },
	} {
		if n := testing.AllocsPerRun(500, func() {
			change(&arps[i%1000])
			events = table.Observe(events[:0], 0, 0, &arps[i%1000])
			i++
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// The heap of a full table in which all bindings wait.
func TestMemory(t *testing.T) {
	const bound = 1 << 18
	before := liveHeap()
	table := newTable(t, bound, time.Hour)
	for n := range 2 * bound {
		arp := request(n)
		table.Note(0, 0, &arp)
	}
	if got := float64(liveHeap()-before) / bound; got > 64 {
		t.Errorf("%.1f bytes per binding, want at most 64", got)
	}
	if table.Stats(0).Bindings != bound {
		t.Errorf("%d bindings, want %d", table.Stats(0).Bindings, bound)
	}
}

// A table uses memory for its bindings, not for its bound. Only new memory of a process shows that:
// the Go runtime clears memory that was used before.
func TestResident(t *testing.T) {
	testenv.NotRaced(t)
	family := os.Getenv("TRACKER_RESIDENT")
	if family == "" {
		for _, family := range []string{"IPv4", "IPv6"} {
			cmd := exec.Command(os.Args[0], "-test.run=^TestResident$", "-test.v")
			cmd.Env = append(os.Environ(), "TRACKER_RESIDENT="+family)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v:\n%s", family, err, out)
			}
		}
		return
	}
	debug.SetGCPercent(-1) // the collector and its threads would take nearly a MiB
	before := resident(t)
	table, err := tracker.NewTable(tracker.Config{MaxBindings: 1 << 20, IPv6: family == "IPv6"})
	if err != nil {
		t.Fatal(err)
	}
	empty := resident(t) - before
	for n := range 1 << 14 {
		if family == "IPv6" {
			nd := solicit(n, macA)
			table.NoteND(0, 0, &nd)
		} else {
			arp := request(n)
			table.Note(0, 0, &arp)
		}
	}
	some := resident(t) - before
	t.Logf("empty %d KiB, with 16,384 bindings %d KiB", empty>>10, some>>10)
	if empty > 1<<20 || some > 3<<20 { // of 63 MiB
		t.Errorf("an empty table takes %d bytes, one with 16,384 bindings %d", empty, some)
	}
	runtime.KeepAlive(table)
}

// resident returns the resident memory of the process that no file contains, in bytes. In
// /proc/self/statm it is inaccurate (proc_pid_smaps(5)).
func resident(t *testing.T) int {
	t.Helper()
	rollup, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	_, anonymous, _ := strings.Cut(string(rollup), "\nAnonymous:")
	var kib int
	if _, err := fmt.Sscan(anonymous, &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
