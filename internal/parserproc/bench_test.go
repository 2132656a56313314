package parserproc

import (
	"testing"
	"time"

	"maas-netmon/capture"
	"maas-netmon/parser"
	"maas-netmon/tracker"
)

// BenchmarkHandle measures the cost per frame without reading it from the ring: known bindings of
// 256 hosts, in as many slots as a ring has.
func BenchmarkHandle(b *testing.B) {
	table, err := tracker.NewTable(tracker.Config{MaxBindings: 1 << 10, Refresh: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	p := &process{
		table:  table,
		out:    &output{buf: make([]byte, 0, flushLen)},
		names:  []string{""},
		counts: make([]frameCounts, 1),
	}
	const slotLen = 128
	slots := capture.RingSlots(1, false)
	ring := make([]byte, slots*slotLen)
	frames := make([]capture.Frame, slots)
	for i := range frames {
		data := ring[i*slotLen+66:][:60]
		copy(data, []byte{
			0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, byte(i), 0x08, 0x06,
			0, 1, 0x08, 0, 6, 4, 0, parser.OperationRequest,
			0x02, 0, 0, 0, 0, byte(i), 192, 0, 2, byte(i), 0, 0, 0, 0, 0, 0, 192, 0, 2, 1,
		})
		frames[i] = capture.Frame{Data: data, Len: len(data), Seconds: 1795228118}
	}

	b.ReportAllocs()
	for i := 0; b.Loop(); i = (i + 1) % len(frames) {
		p.handle(&frames[i])
	}
	if p.table.Stats(0).New != 256 {
		b.Fatal(p.table.Stats(0))
	}
}
