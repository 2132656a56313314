package tracker_test

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maas-netmon/parser"
	"maas-netmon/tracker"
)

// showAll returns the events of a table until nothing waits, in the short form, with the number of
// moves if it is not 1.
func showAll(table *tracker.Table) string {
	var all []string
	var e tracker.Event
	for table.Next(&e) {
		s := show(e)
		if e.Moves > 1 {
			s += fmt.Sprintf(" (%d)", e.Moves)
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

// TestStalls: bindings change while nothing can be written. Each step is a sighting; want has the
// events when there is room again.
func TestStalls(t *testing.T) {
	type step struct {
		time int64
		host byte
		mac  parser.MAC
	}
	for _, test := range []struct {
		name  string
		known []step // reported before the stall
		steps []step
		want  string
	}{
		{"each binding once, in the order of their changes",
			nil, []step{{0, 7, macA}, {0, 5, macA}, {0, 6, macA}, {1, 7, macA}}, "NEW 7 aa, NEW 5 aa, NEW 6 aa"},
		{"moves first, then new ones, then refreshed ones",
			[]step{{0, 1, macA}, {0, 2, macA}, {0, 3, macA}, {0, 4, macA}},
			[]step{{600, 1, macA}, {600, 7, macA}, {600, 2, macB}, {600, 3, macA}, {600, 6, macA}, {600, 4, macB}},
			"MOVED 2 aa>bb, MOVED 4 aa>bb, NEW 7 aa, NEW 6 aa, REFRESHED 1 aa, REFRESHED 3 aa"},
		{"several moves are one line, which has the last two addresses",
			[]step{{0, 5, macA}}, []step{{1, 5, macB}, {2, 5, macC}, {3, 5, macC}}, "MOVED 5 bb>cc (2)"},
		{"there and back",
			[]step{{0, 5, macA}}, []step{{1, 5, macB}, {2, 5, macA}}, "MOVED 5 bb>aa (2)"},
		{"a new binding that moves is new",
			nil, []step{{0, 5, macA}, {1, 5, macB}}, "NEW 5 bb"},
		{"invented bindings that move are not before a real move",
			[]step{{0, 1, macA}}, []step{{1, 5, macA}, {1, 5, macB}, {2, 1, macC}}, "MOVED 1 aa>cc, NEW 5 bb"},
		{"refreshed, then moved",
			[]step{{0, 5, macA}, {0, 6, macA}}, []step{{600, 5, macA}, {601, 6, macB}, {602, 5, macB}}, "MOVED 6 aa>bb, MOVED 5 aa>bb"},
		{"moved, then refreshed",
			[]step{{0, 5, macA}}, []step{{1, 5, macB}, {601, 5, macB}}, "MOVED 5 aa>bb"},
		{"refreshed twice",
			[]step{{0, 5, macA}}, []step{{600, 5, macA}, {1200, 5, macA}}, "REFRESHED 5 aa"},
	} {
		t.Run(test.name, func(t *testing.T) {
			table := newTable(t, 10, 10*time.Minute)
			for _, s := range test.known {
				arp := claim(s.host, s.mac)
				table.Observe(nil, 0, s.time, &arp)
			}
			var last int64
			for _, s := range test.steps {
				arp := claim(s.host, s.mac)
				table.Note(0, s.time, &arp)
				last = s.time
			}
			if !table.Waiting() {
				t.Error("nothing waits")
			}
			if diff := cmp.Diff(test.want, showAll(table)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if table.Waiting() || showAll(table) != "" {
				t.Error("something still waits")
			}
			// Afterwards the table works as without a stall.
			arp := claim(9, macA)
			if events := table.Observe(nil, 0, last, &arp); len(events) != 1 || show(events[0]) != "NEW 9 aa" {
				t.Errorf("after the stall: %v", events)
			}
		})
	}
}

// The time of an event that waited is that of the latest change.
func TestTimeOfAnEventThatWaited(t *testing.T) {
	table := newTable(t, 10, 10*time.Minute)
	for _, s := range []struct {
		mac           parser.MAC
		seconds, want int64
	}{
		{macA, 100, 100}, {macA, 150, 100}, {macB, 200, 200}, {macB, 800, 800}, {macA, math.MaxInt64, math.MaxUint32}, {macC, -1, 0},
	} {
		other := newTable(t, 10, 10*time.Minute)
		arp := claim(5, s.mac)
		other.Note(0, s.seconds, &arp)
		table.Note(0, s.seconds, &arp)
		var e tracker.Event
		if !other.Next(&e) || e.Time != min(max(s.seconds, 0), math.MaxUint32) {
			t.Errorf("at %d: %+v", s.seconds, e)
		}
	}
	var e tracker.Event
	if !table.Next(&e) || e.Time != 0 || e.MAC != macC {
		t.Errorf("%+v", e)
	}
}

// While a binding waits, Observe lets the bindings of its packet wait too.
func TestObserveBehindOthers(t *testing.T) {
	table := newTable(t, 10, 10*time.Minute)
	arp := claim(5, macA)
	table.Note(0, 0, &arp)
	arp = claim(6, macA)
	if events := table.Observe(nil, 0, 0, &arp); len(events) != 0 {
		t.Errorf("%v", events)
	}
	if got, want := showAll(table), "NEW 5 aa, NEW 6 aa"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A reply in which both bindings change gives its events in packet order, although a move comes
// before a refresh where both wait.
func TestPacketOrder(t *testing.T) {
	table := newTable(t, 10, 10*time.Minute)
	reply := parser.ARP{
		Operation:      parser.OperationReply,
		SenderHardware: macA, SenderProtocol: parser.Addr{10, 0, 0, 5},
		TargetHardware: macA, TargetProtocol: parser.Addr{10, 0, 0, 6},
	}
	table.Observe(nil, 0, 0, &reply)
	reply.TargetHardware = macB
	events := table.Observe(nil, 0, 600, &reply)
	if len(events) != 2 || show(events[0]) != "REFRESHED 5 aa" || show(events[1]) != "MOVED 6 aa>bb" {
		t.Errorf("%v", events)
	}
}

func movingTable(tb testing.TB, interval time.Duration) *tracker.Table {
	tb.Helper()
	table, err := tracker.NewTable(tracker.Config{MaxBindings: 10, Refresh: 10 * time.Minute, MovedInterval: interval})
	if err != nil {
		tb.Fatal(err)
	}
	return table
}

// Two hosts claim the same address a thousand times per second for ten seconds: this gives a line
// at the first move and one after each interval, each correct at its time, and one for the last
// state after they have stopped.
func TestQuarrel(t *testing.T) {
	table := movingTable(t, time.Second)
	arp := claim(5, macA)
	table.Observe(nil, 0, 0, &arp)
	var events []tracker.Event
	moves := uint32(0)
	owner := macA
	take := func(now time.Duration) {
		table.Advance(now)
		var e tracker.Event
		for table.Next(&e) {
			events = append(events, e)
			moves += e.Moves
			if e.MAC != owner {
				t.Errorf("at %v: %v, the owner is %v", now, e, owner)
			}
		}
	}
	for i := range 10_000 {
		now := time.Duration(i) * time.Millisecond
		take(now)
		if owner = macB; i%2 == 1 {
			owner = macA
		}
		arp := claim(5, owner)
		for _, e := range table.Observe(nil, 0, int64(i/1000), &arp) {
			events = append(events, e)
			moves += e.Moves
			if i != 0 {
				t.Errorf("at %v: at once: %v", now, e)
			}
		}
	}
	due, ok := table.Due()
	if !ok || due < 10*time.Second || due > 11*time.Second {
		t.Errorf("the last state is due at %v, %t", due, ok)
	}
	take(due)
	if _, ok := table.Due(); ok {
		t.Error("something is due after the last state")
	}
	if len(events) < 10 || len(events) > 12 || moves != 10_000 {
		t.Errorf("%d lines for %d moves, want some 11 for 10000", len(events), moves)
	}
}

// The interval applies to each binding separately, and begins again after it has passed.
func TestMovedInterval(t *testing.T) {
	table := movingTable(t, 3*time.Second)
	at := func(now time.Duration, host byte, mac parser.MAC, want string) {
		t.Helper()
		table.Advance(now)
		got := showAll(table)
		arp := claim(host, mac)
		for _, e := range table.Observe(nil, 0, 0, &arp) {
			got += show(e)
		}
		if got != want {
			t.Errorf("at %v: %q, want %q", now, got, want)
		}
	}
	at(0, 5, macA, "NEW 5 aa")
	at(0, 6, macA, "NEW 6 aa")
	at(0, 5, macB, "MOVED 5 aa>bb")
	at(0, 6, macB, "MOVED 6 aa>bb")
	at(1*time.Second, 5, macC, "")
	at(2999*time.Millisecond, 5, macC, "")
	at(3200*time.Millisecond, 6, macC, "MOVED 5 bb>ccMOVED 6 bb>cc") // its rest is over, too
	at(3300*time.Millisecond, 5, macA, "")
	at(6100*time.Millisecond, 5, macA, "")
	at(6500*time.Millisecond, 7, macA, "MOVED 5 cc>aaNEW 7 aa")
	at(time.Hour, 5, macB, "MOVED 5 aa>bb")
	at(time.Minute, 5, macC, "") // no time has passed
	table.Flush()
	if got, want := showAll(table), "MOVED 5 bb>cc"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A binding that is evicted before it was reported is counted; one whose changes were all reported
// is not.
func TestUnreported(t *testing.T) {
	table := newTable(t, 3, time.Hour)
	for n := range byte(3) {
		arp := claim(n+1, macA)
		table.Observe(nil, 2, 0, &arp)
	}
	for n := range byte(5) {
		arp := claim(n+10, macA)
		table.Note(2, 0, &arp)
	}
	want := tracker.Stats{New: 3, Evicted: 5, Unreported: 2, Bindings: 3}
	if diff := cmp.Diff(want, table.Stats(2)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got, want := showAll(table), "NEW 12 aa, NEW 13 aa, NEW 14 aa"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	arp := claim(1, macA)
	table.Note(2, 0, &arp)
	table.Abandon()
	if got := table.Stats(2).Unreported; got != 3 || table.Waiting() {
		t.Errorf("%d unreported, waiting %t", got, table.Waiting())
	}
}

// The bindings of an interface are forgotten, those that waited are counted, and their places
// are used again. The other interface's stay.
func TestForget(t *testing.T) {
	const bound = 3000
	table := newTable(t, bound, time.Hour)
	for n := range bound {
		arp := request(n)
		if n%3 == 0 {
			table.Note(uint16(n%2), 0, &arp)
		} else {
			table.Observe(nil, uint16(n%2), 0, &arp)
		}
		if n%5 == 0 {
			table.Observe(nil, uint16(n%2), 0, &arp) // protected
		}
	}
	table.Forget(7) // never seen
	for range 2 {
		table.Forget(1)
	}
	if got := table.Stats(1); got.Bindings != 0 || got.Unreported != bound/2-got.New {
		t.Errorf("%+v", got)
	}
	var e tracker.Event
	for table.Next(&e) {
		if e.Interface != 0 {
			t.Fatalf("%v", e)
		}
	}
	for n := range bound {
		arp := request(n)
		if events := table.Observe(nil, uint16(n%2), 0, &arp); len(events) != n%2 {
			t.Fatalf("binding %d: %v", n, events)
		}
	}
	if a, b := table.Stats(0), table.Stats(1); a.Bindings+b.Bindings != bound || a.Evicted+b.Evicted != 0 {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestNumberOfAnInterface(t *testing.T) {
	table := newTable(t, 10, time.Hour)
	arp := claim(5, macA)
	for _, iface := range []uint16{0, 255, 256, 511, 512, 768, tracker.MaxInterfaces - 1} {
		if events := table.Observe(nil, iface, 0, &arp); len(events) != 1 || events[0].Interface != iface || events[0].Kind != tracker.New {
			t.Errorf("interface %d: %v", iface, events)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a number out of range is accepted")
		}
	}()
	table.Observe(nil, tracker.MaxInterfaces, 0, &arp)
}

// A stall uses no memory besides the table, and allocates nothing.
func TestStallsTakeNoMemory(t *testing.T) {
	const bound = 1 << 16
	table := newTable(t, bound, time.Hour)
	for n := range bound {
		arp := request(n)
		table.Observe(nil, 0, 0, &arp)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for n := range 4 * bound {
		arp := request(n)
		arp.SenderHardware[1]++
		table.Note(0, 0, &arp)
	}
	var e tracker.Event
	given := 0
	for table.Next(&e) {
		given++
	}
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > 100 {
		t.Errorf("%d allocations", n)
	}
	if given != bound {
		t.Errorf("%d events, want %d", given, bound)
	}
}

// A time before an earlier one has no effect: the rest of a binding that has moved does not end
// sooner because the clock is read again at an earlier time.
func TestAdvanceBackwards(t *testing.T) {
	table, err := tracker.NewTable(tracker.Config{MaxBindings: 10, Refresh: time.Hour, MovedInterval: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	arp := request(1)
	const now = 10 * time.Second
	table.Advance(now)
	for n := range 3 { // new, moved, moved while it rests
		arp.SenderHardware[1] = byte(n)
		events := table.Observe(nil, 0, 0, &arp)
		if want := n < 2; (len(events) == 1) != want {
			t.Fatalf("packet %d: %v", n, events)
		}
	}
	table.Advance(now - 500*time.Millisecond)
	table.Advance(now + 100*time.Millisecond)
	if table.Waiting() {
		t.Error("the rest ended after 100 ms")
	}
	table.Advance(now + 1100*time.Millisecond)
	if !table.Waiting() {
		t.Error("the rest did not end")
	}
}
