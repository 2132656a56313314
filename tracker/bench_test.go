package tracker_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"maas-netmon/parser"
	"maas-netmon/tracker"
)

// request returns an ARP request with the n-th of many bindings.
func request(n int) parser.ARP {
	arp := parser.ARP{Operation: parser.OperationRequest, SenderHardware: parser.MAC{0x02}}
	binary.BigEndian.PutUint32(arp.SenderProtocol[:], 0x0a000000+uint32(n))
	binary.BigEndian.PutUint32(arp.SenderHardware[2:], uint32(n))
	return arp
}

// filled returns a table with n bindings and the packets that contain them, in
// random order.
func filled(tb testing.TB, n int) (*tracker.Table, []parser.ARP) {
	tb.Helper()
	table, err := tracker.NewTable(tracker.Config{MaxBindings: n, Refresh: 10 * time.Minute})
	if err != nil {
		tb.Fatal(err)
	}
	arps := make([]parser.ARP, n)
	events := make([]tracker.Event, 0, 2)
	for i, p := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		arps[i] = request(p)
		table.Observe(events, 0, 0, &arps[i])
	}
	return table, arps
}

// BenchmarkObserveKnown sees bindings of a full table again, in random order:
// at a million of them, hardly any is in a processor cache.
func BenchmarkObserveKnown(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table, arps := filled(b, n)
			rand.New(rand.NewPCG(3, 4)).Shuffle(n, func(i, j int) { arps[i], arps[j] = arps[j], arps[i] })
			events := make([]tracker.Event, 0, 2)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				events = table.Observe(events[:0], 0, 0, &arps[i])
				if i++; i == n {
					i = 0
				}
			}
			if len(events) != 0 {
				b.Fatal("known binding gave an event")
			}
		})
	}
}

// BenchmarkObserveMoved moves one of a thousand bindings with each packet.
func BenchmarkObserveMoved(b *testing.B) {
	const n = 1_000
	table, arps := filled(b, n)
	events := make([]tracker.Event, 0, 2)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		arp := &arps[i%n]
		arp.SenderHardware[1]++
		if events = table.Observe(events[:0], 0, 0, arp); len(events) != 1 {
			b.Fatal("moved binding gave no event")
		}
		i++
	}
}

// BenchmarkObserveNew observes an unknown binding with each packet. A full table evicts one per
// packet.
func BenchmarkObserveNew(b *testing.B) {
	for _, full := range []bool{false, true} {
		b.Run(fmt.Sprintf("full=%t", full), func(b *testing.B) {
			bound := 1 << 20
			table, _ := filled(b, bound)
			events := make([]tracker.Event, 0, 2)
			b.ReportAllocs()
			i := bound
			for b.Loop() {
				if !full && i == bound {
					b.StopTimer()
					var err error
					if table, err = tracker.NewTable(tracker.Config{MaxBindings: bound}); err != nil {
						b.Fatal(err)
					}
					i = 0
					b.StartTimer()
				}
				arp := request(i)
				if events = table.Observe(events[:0], 0, 0, &arp); len(events) != 1 {
					b.Fatal("new binding gave no event")
				}
				i++
			}
		})
	}
}

// BenchmarkGrowth fills a table up to its bound and reports the time and the
// heap that one binding took, and the time of the slowest observation.
func BenchmarkGrowth(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000, 10_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			events := make([]tracker.Event, 0, 2)
			var heap uint64
			var longest time.Duration
			for b.Loop() {
				b.StopTimer()
				before := liveHeap()
				b.StartTimer()
				table, err := tracker.NewTable(tracker.Config{MaxBindings: n})
				if err != nil {
					b.Fatal(err)
				}
				for i := range n {
					arp := request(i)
					table.Observe(events[:0], 0, 0, &arp)
				}
				b.StopTimer()
				heap = liveHeap() - before
				longest = max(longest, longestObserve(b, n))
				if got := table.Stats(0).Bindings; got != uint64(n) {
					b.Fatalf("%d bindings, want %d", got, n)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/binding")
			b.ReportMetric(float64(heap)/float64(n), "B/binding")
			b.ReportMetric(float64(longest.Microseconds()), "longest-us")
		})
	}
}

// longestObserve fills another table and returns the time of its slowest observation, which doubles
// the table.
func longestObserve(b *testing.B, n int) time.Duration {
	table, err := tracker.NewTable(tracker.Config{MaxBindings: n})
	if err != nil {
		b.Fatal(err)
	}
	events := make([]tracker.Event, 0, 2)
	var longest time.Duration
	for i := range n {
		arp := request(i)
		start := time.Now()
		table.Observe(events, 0, 0, &arp)
		longest = max(longest, time.Since(start))
	}
	return longest
}

// liveHeap returns the bytes of the heap that are in use.
func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkObserveND sees bindings of IPv6 of a full table again, in random order, as
// BenchmarkObserveKnown does for IPv4.
func BenchmarkObserveND(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := newTable6(b, n, 10*time.Minute)
			nds := make([]parser.ND, n)
			events := make([]tracker.Event, 0, 2)
			for i, p := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
				nds[i] = solicit(p, macA)
				table.ObserveND(events, 0, 0, &nds[i])
			}
			rand.New(rand.NewPCG(3, 4)).Shuffle(n, func(i, j int) { nds[i], nds[j] = nds[j], nds[i] })
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				events = table.ObserveND(events[:0], 0, 0, &nds[i])
				if i++; i == n {
					i = 0
				}
			}
			if len(events) != 0 {
				b.Fatal("known binding gave an event")
			}
		})
	}
}
