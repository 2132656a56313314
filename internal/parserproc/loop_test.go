package parserproc

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"maas-netmon/capture"
	"maas-netmon/parser"
	"maas-netmon/tracker"
)

// again gives the same frame once per drain.
type again struct {
	frame capture.Frame
	given bool
}

func (a *again) Wait(bool, time.Duration) (capture.Wakeup, error) { return capture.Wakeup{}, nil }
func (a *again) Stats(int) (capture.Stats, error)                 { return capture.Stats{}, nil }
func (a *again) Next(f *capture.Frame) bool {
	*f, a.given = a.frame, !a.given
	return a.given
}

// An iteration of the loop that reads a known binding allocates nothing, so the parser of a busy
// network does not need the garbage collector.
func TestTurnAllocatesNothing(t *testing.T) {
	arp := []byte{
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 2, 0x08, 0x06,
		0, 1, 0x08, 0, 6, 4, 0, parser.OperationRequest,
		0x02, 0, 0, 0, 0, 2, 192, 0, 2, 2, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1,
	}
	for name, f := range map[string]capture.Frame{
		"ARP":                {Seconds: 1795228118, Len: len(arp), Data: arp},
		"Neighbor Discovery": {Seconds: 1795228118, Len: len(solicitation), Data: solicitation, ChecksumPending: true},
	} {
		t.Run(name, func(t *testing.T) { testTurn(t, f) })
	}
}

// solicitation is a neighbor solicitation by fe80::2 for fe80::1. Its checksum is wrong.
var solicitation = []byte{
	0x33, 0x33, 0xff, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x86, 0xdd,
	0x60, 0, 0, 0, 0, 32, 58, 255, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
	0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1,
	parser.TypeNeighborSolicitation, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
	1, 1, 0x02, 0, 0, 0, 0, 2,
}

// testTurn tests iterations of the loop with the same frame.
func testTurn(t *testing.T, f capture.Frame) {
	table, err := tracker.NewTable(tracker.Config{MaxBindings: 1 << 10, Refresh: time.Hour, IPv6: true})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{
		source: &again{frame: f},
		ipv6:   true,
		table:  table,
		out:    &output{fd: -1, buf: make([]byte, 0, flushLen), full: true},
		names:  []string{""},
		counts: make([]frameCounts, 1),
	}
	if n := testing.AllocsPerRun(100, func() {
		p.tick()
		if err := p.drain(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per turn", n)
	}
	if got := p.table.Stats(0).Bindings; got != 1 {
		t.Errorf("%d bindings, want 1", got)
	}
}

// A frame of Neighbor Discovery is counted by what is wrong with it, and as not ARP without --ipv6.
func TestHandleND(t *testing.T) {
	changed := func(at int, value byte) []byte {
		b := bytes.Clone(solicitation)
		b[at] = value
		return b
	}
	inVLAN := parser.Tag{Present: true, TPID: 0x8100, TCI: 100}
	for _, c := range []struct {
		name     string
		ipv6     bool
		data     []byte
		pending  bool
		tag      parser.Tag
		want     frameCounts
		bindings uint64
	}{
		{"good, checksum pending", true, solicitation, true, parser.Tag{}, frameCounts{}, 1},
		{"stripped tag", true, solicitation, true, inVLAN, frameCounts{}, 1},
		{"without --ipv6", false, solicitation, true, parser.Tag{}, frameCounts{notARP: 1}, 0},
		{"checksum", true, solicitation, false, parser.Tag{}, frameCounts{invalid: 1}, 0},
		{"hop limit", true, changed(21, 64), true, parser.Tag{}, frameCounts{invalid: 1}, 0},
		{"truncated", true, solicitation[:len(solicitation)-1], true, parser.Tag{}, frameCounts{short: 1}, 0},
		{"UDP", true, changed(20, 17), true, parser.Tag{}, frameCounts{notARP: 1}, 0},
		{"IPv4", true, changed(12, 0x08), true, parser.Tag{}, frameCounts{notARP: 1}, 0},
		{"fragment", true, changed(20, 44), true, parser.Tag{}, frameCounts{unsupported: 1}, 0},
	} {
		p := newND(t)
		p.ipv6 = c.ipv6
		p.handle(&capture.Frame{Data: c.data, Len: len(solicitation), ChecksumPending: c.pending, Seconds: 1795228118,
			Tagged: c.tag.Present, TPID: c.tag.TPID, TCI: c.tag.TCI})
		c.want.bytes = uint64(len(solicitation))
		if got := p.counts[0]; got != c.want {
			t.Errorf("%s: counts %+v, want %+v", c.name, got, c.want)
		}
		if got := p.table.Stats(0).Bindings; got != c.bindings {
			t.Errorf("%s: %d bindings, want %d", c.name, got, c.bindings)
		}
		out := string(p.out.buf)
		line := `{"ip":"fe80::2","mac":"02:00:00:00:00:02","time":1795228118,"event":"NEW","vid":null}` + "\n"
		if c.tag.Present {
			line = strings.Replace(line, "null", "100", 1)
		}
		if c.bindings == 0 && out != "" || c.bindings > 0 && !strings.HasPrefix(out, line+"ND observed at ") {
			t.Errorf("%s: output\n%s", c.name, out)
		}
	}
}

// newND returns a process with --ipv6 and -v, which nothing reads.
func newND(t *testing.T) *process {
	t.Helper()
	table, err := tracker.NewTable(tracker.Config{MaxBindings: 1, Refresh: time.Hour, IPv6: true})
	if err != nil {
		t.Fatal(err)
	}
	return &process{
		table: table, out: &output{fd: -1, buf: make([]byte, 0, flushLen)}, names: []string{""},
		counts: make([]frameCounts, 1), ipv6: true, verbose: true,
	}
}

// The moved interval is one of the time of a file's frames.
func TestTimeOfND(t *testing.T) {
	table, err := tracker.NewTable(tracker.Config{MaxBindings: 1, Refresh: time.Hour, MovedInterval: time.Hour, IPv6: true})
	if err != nil {
		t.Fatal(err)
	}
	p := newND(t)
	p.table, p.file, p.verbose = table, true, false
	for i, hour := range []int64{0, 0, 2} {
		moved := bytes.Clone(solicitation)
		moved[len(moved)-1] += byte(i)
		p.handle(&capture.Frame{Data: moved, ChecksumPending: true, Seconds: 1795228118 + hour*3600})
	}
	want := `{"ip":"fe80::2","mac":"02:00:00:00:00:02","time":1795228118,"event":"NEW","vid":null}
{"ip":"fe80::2","mac":"02:00:00:00:00:03","previous_mac":"02:00:00:00:00:02","time":1795228118,"event":"MOVED","vid":null}
{"ip":"fe80::2","mac":"02:00:00:00:00:04","previous_mac":"02:00:00:00:00:03","time":1795235318,"event":"MOVED","vid":null}
`
	if got := string(p.out.buf); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// The lines of a packet are dropped and counted if there is no room for all of them.
func TestNoRoomForND(t *testing.T) {
	p := newND(t)
	p.limit.most = packetLines + 2
	f := capture.Frame{Data: solicitation, ChecksumPending: true, Seconds: 1795228118}
	for range 3 {
		p.handle(&f)
	}
	if n := bytes.Count(p.out.buf, []byte("ND observed")); n != 1 || p.dropped != 2 {
		t.Errorf("%d packets, %d dropped, want 1, 2:\n%s", n, p.dropped, p.out.buf)
	}
}
