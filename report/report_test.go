package report_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"maas-netmon/parser"
	"maas-netmon/parser/parsertest"
	"maas-netmon/report"
	"maas-netmon/report/reporttest"
	"maas-netmon/tracker"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// golden compares output with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: -want +got:\n%s", name, diff)
	}
}

var (
	macA = parser.MAC{0x02, 0xaa, 0, 0, 0, 5}
	macB = parser.MAC{0x02, 0xcc, 0, 0, 0, 5}
)

// events has one event of each form that a line can have, with the name of an interface.
var events = []struct {
	tracker.Event
	ifname string
}{
	{tracker.Event{Kind: tracker.New, Addr: netip.AddrFrom4([4]byte{10, 0, 0, 5}), MAC: macA, Time: 1795228118}, ""},
	{tracker.Event{Kind: tracker.Moved, VID: 100, Addr: netip.AddrFrom4([4]byte{10, 0, 0, 5}), MAC: macB, PreviousMAC: macA, Time: 1795228122}, ""},
	{tracker.Event{Kind: tracker.Refreshed, VID: 4094, Addr: netip.AddrFrom4([4]byte{192, 168, 100, 200}), MAC: macA, Time: 1795228722}, ""},
	{tracker.Event{Kind: tracker.New, VID: 200, InnerVID: 100, Addr: netip.AddrFrom4([4]byte{10, 0, 0, 6}), MAC: macA, Time: 1795228723}, ""},
	{tracker.Event{Kind: tracker.New, Interface: 1, Addr: netip.AddrFrom4([4]byte{10, 0, 0, 5}), MAC: macA, Time: 1795228724}, "eth0"},
	{tracker.Event{Kind: tracker.Moved, Interface: 1, VID: 4094, InnerVID: 4094, Addr: netip.AddrFrom4([4]byte{255, 255, 255, 254}), MAC: macB, PreviousMAC: macA, Time: 1795228725}, "enp0s31f6np0-15"},
	{tracker.Event{Kind: tracker.Moved, Interface: 1, Addr: netip.AddrFrom4([4]byte{10, 0, 0, 5}), MAC: macB, PreviousMAC: macA, Moves: 1, Time: 1795228726}, "eth0"},
	{tracker.Event{Kind: tracker.Moved, Interface: 1, Addr: netip.AddrFrom4([4]byte{10, 0, 0, 5}), MAC: macA, PreviousMAC: macB, Moves: 2, Time: 1795228727}, "eth0"},
	{tracker.Event{Kind: tracker.Moved, VID: 100, Addr: netip.AddrFrom4([4]byte{10, 0, 0, 5}), MAC: macA, PreviousMAC: macB, Moves: math.MaxUint32, Time: 1795228727}, ""},
	{tracker.Event{Kind: tracker.Moved, Addr: netip.AddrFrom4([4]byte{10, 0, 0, 5}), MAC: macA, PreviousMAC: macB, Time: 1795228727}, ""},
	{tracker.Event{Kind: tracker.New, Addr: netip.AddrFrom4([4]byte{1, 2, 3, 4}), MAC: macA, Time: 0}, ""},
	{tracker.Event{Kind: tracker.New, Addr: netip.AddrFrom4([4]byte{1, 2, 3, 4}), MAC: macA, Time: -1}, ""},
	{tracker.Event{Kind: tracker.New, Addr: netip.MustParseAddr("fe80::aa:ff:fe00:5"), MAC: macA, Time: 1795228728}, ""},
	{tracker.Event{Kind: tracker.Moved, VID: 100, Addr: netip.MustParseAddr("2001:db8::5"), MAC: macB, PreviousMAC: macA, Moves: 1, Time: 1795228729}, ""},
	{tracker.Event{Kind: tracker.Refreshed, Addr: netip.MustParseAddr("2001:db8:1000:1000:5054:1234:abcd:1000"), MAC: macA, Time: 1795228730}, "eth0"},
	{tracker.Event{Kind: tracker.Moved, Addr: netip.MustParseAddr("2001:db8:0:1:1:1:1:1"), MAC: macA, PreviousMAC: macB, Moves: 3, Time: 1795228731}, ""},
	{tracker.Event{Kind: tracker.New, Addr: netip.AddrFrom4([4]byte{1, 2, 3, 4}), MAC: macA, Time: math.MaxUint32}, "a\"b\\c\x1b\x7f\té"},
}

func TestJSONGolden(t *testing.T) {
	var got []byte
	for _, e := range events {
		got = report.AppendJSON(got, &e.Event, e.ifname)
	}
	golden(t, "events.json", got)
	schema, err := reporttest.Load("../doc/event.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(got) {
		if err := schema.Check(line); err != nil {
			t.Errorf("%s%v", line, err)
		}
	}
}

func TestTextGolden(t *testing.T) {
	var plain, coloured []byte
	for _, e := range events {
		plain = report.AppendText(plain, &e.Event, e.ifname, false, time.UTC)
		coloured = report.AppendText(coloured, &e.Event, e.ifname, true, time.UTC)
	}
	golden(t, "events.txt", plain)
	golden(t, "events-coloured.txt", coloured)
}

// A line of one interface fits on a terminal of 80 columns if its address is one of IPv4, or if the
// binding has not moved and has no VLAN. Other lines of IPv6 have at most 103 columns.
func TestTextWidth(t *testing.T) {
	v4, v6 := netip.MustParseAddr("255.255.255.254"), netip.MustParseAddr("2001:db8:1111:1111:1111:1111:1111:1111")
	for _, test := range []struct {
		addr netip.Addr
		kind tracker.Kind
		vid  uint16
		most int
	}{
		{v4, tracker.New, 4094, 80}, {v4, tracker.Moved, 4094, 80}, {v4, tracker.Refreshed, 4094, 80},
		{v6, tracker.New, 0, 80}, {v6, tracker.Refreshed, 0, 80},
		{v6, tracker.New, 4094, 81}, {v6, tracker.Refreshed, 4094, 81}, {v6, tracker.Moved, 4094, 103},
		{netip.MustParseAddr("2001:db8::1:1234"), tracker.Moved, 4094, 80},
	} {
		e := tracker.Event{Kind: test.kind, VID: test.vid, Addr: test.addr, MAC: macB, PreviousMAC: macA}
		if got := report.AppendText(nil, &e, "", false, time.UTC); len(got)-1 > test.most {
			t.Errorf("%d columns, want at most %d: %s", len(got)-1, test.most, got)
		}
	}
}

func TestPacketGolden(t *testing.T) {
	vectors, err := parsertest.Load("../parser/testdata/frames")
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for _, v := range vectors {
		switch v.Name {
		case "request", "reply", "operation-zero", "operation-largest", "tag-inline-8100", "tag-vid-largest", "tag-priority-stripped", "tag-two-inline":
			got = append(got, v.Name+"\n"...)
			got = report.AppendPacket(got, &v.ARP, parser.EthernetIPv4, true, "", 1470159914, time.UTC)
		case "htype-ieee802", "ptype-other", "hlen-255", "plen-16":
			var arp parser.ARP
			types, err := parser.ParseForeign(&arp, v.Frame, v.Tag)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, v.Name+", no destination\n"...)
			got = report.AppendPacket(got, &arp, types, false, "", 1470159914, time.UTC)
		}
	}
	got = append(got, "of two interfaces\n"...)
	got = report.AppendPacket(got, &parser.ARP{VID: 100}, parser.EthernetIPv4, true, "enp0s31f6np0-15", 1470159914, time.UTC)
	golden(t, "packets.txt", got)
}

// nds has a packet of each type of Neighbor Discovery, with and without the parts that a packet can
// lack.
var nds = []parser.ND{
	{Type: parser.TypeRouterSolicitation, Source: addr6("fe80::1"), Destination: addr6("ff02::2"), LinkLayer: macA, HasLinkLayer: true},
	{Type: parser.TypeRouterSolicitation, Destination: addr6("ff02::2")},
	{Type: parser.TypeRouterAdvertisement, Source: addr6("fe80::1"), Destination: addr6("ff02::1"), LinkLayer: macB, HasLinkLayer: true},
	{Type: parser.TypeNeighborSolicitation, VID: 100, Source: addr6("2001:db8::5"), Destination: addr6("ff02::1:ff00:6"), Target: addr6("2001:db8::6"), LinkLayer: macA, HasLinkLayer: true},
	{Type: parser.TypeNeighborSolicitation, Destination: addr6("ff02::1:ff00:6"), Target: addr6("2001:db8::6")},
	{Type: parser.TypeNeighborAdvertisement, VID: 200, InnerVID: 100, Router: true, Source: addr6("fe80::1"), Destination: addr6("ff02::1"), Target: addr6("2001:db8::6"), LinkLayer: macA, HasLinkLayer: true},
	{Type: parser.TypeNeighborAdvertisement, Solicited: true, Source: addr6("fe80::1"), Destination: addr6("fe80::2"), Target: addr6("fe80::1"), LinkLayer: macA, HasLinkLayer: true},
	{Type: parser.TypeNeighborAdvertisement, Override: true, Source: addr6("fe80::1"), Destination: addr6("ff02::1"), Target: addr6("fe80::1"), LinkLayer: macA, HasLinkLayer: true},
	{Type: parser.TypeNeighborAdvertisement, Source: addr6("fe80::1"), Destination: addr6("ff02::1"), Target: addr6("fe80::1")},
}

func addr6(s string) parser.Addr6 {
	return netip.MustParseAddr(s).As16()
}

func TestNDGolden(t *testing.T) {
	var got []byte
	for _, nd := range nds {
		nd.EthernetSource, nd.EthernetDestination = macA, parser.MAC{0x33, 0x33, 0, 0, 0, 1}
		got = report.AppendND(got, &nd, true, "", 1470159914, time.UTC)
	}
	got = append(got, "of two interfaces, no destination\n"...)
	got = report.AppendND(got, &nds[5], false, "enp0s31f6np0-15", 1470159914, time.FixedZone("", -4*60*60))
	golden(t, "nds.txt", got)
	// The limit of package parserproc.
	for block := range strings.SplitSeq(string(got), "\n\n") {
		if lines := strings.Count(block, "\n") + 2; lines > 15 {
			t.Errorf("%d lines:\n%s", lines, block)
		}
	}
}

// The time of a packet and of an event is in the given zone.
func TestZone(t *testing.T) {
	zone := time.FixedZone("", -4*60*60)
	if got := string(report.AppendText(nil, &tracker.Event{Time: 1470103200}, "", false, zone)); !strings.HasPrefix(got, "22:00:00 ") {
		t.Errorf("%s, want the time of day in the zone", got)
	}
	got := report.AppendPacket(nil, &parser.ARP{}, parser.EthernetIPv4, true, "", 1470159914, zone)
	want := "ARP observed at 2016-08-02 13:45:14:\n"
	if !bytes.HasPrefix(got, []byte(want)) {
		t.Errorf("%s, want %s", got, want)
	}
}

// line is a line as a program decodes it. Its fields are in the order of the keys.
type line struct {
	IP          string  `json:"ip"`
	MAC         string  `json:"mac"`
	PreviousMAC string  `json:"previous_mac,omitempty"`
	Time        int64   `json:"time"`
	Event       string  `json:"event"`
	VID         *uint16 `json:"vid"`
	InnerVID    uint16  `json:"inner_vid,omitempty"`
	Interface   string  `json:"interface,omitempty"`
	Moves       uint32  `json:"moves,omitempty"`
}

// encode encodes an event by encoding/json.
func encode(t *testing.T, e tracker.Event, ifname string) string {
	t.Helper()
	l := line{IP: e.Addr.String(), MAC: e.MAC.String(), Time: e.Time, Event: e.Kind.String(), InnerVID: e.InnerVID, Interface: ifname}
	if e.Kind == tracker.Moved {
		l.PreviousMAC = e.PreviousMAC.String()
	}
	if e.Moves > 1 {
		l.Moves = e.Moves
	}
	if e.VID != 0 {
		l.VID = &e.VID
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// decode reads a line as a program would.
func decode(t *testing.T, text string) line {
	t.Helper()
	var l line
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return l
}

func TestJSONAsEncodingJSON(t *testing.T) {
	for _, e := range events[:len(events)-1] { // the last has a name that can be written in two ways
		got := string(report.AppendJSON(nil, &e.Event, e.ifname))
		if diff := cmp.Diff(encode(t, e.Event, e.ifname), got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

// Each byte that the name of an interface can have, alone and within a name, decodes as if
// encoding/json had written it.
func TestJSONNames(t *testing.T) {
	e := events[0].Event
	for c := range 256 {
		for _, name := range []string{string([]byte{byte(c)}), "e" + string([]byte{byte(c)}) + "0", string([]byte{0xe2, 0x80, byte(c)})} {
			got := report.AppendJSON(nil, &e, name)
			if bytes.IndexByte(got, '\n') != len(got)-1 || !utf8.Valid(got) {
				t.Errorf("%q: not one line of UTF-8: %q", name, got)
			}
			if diff := cmp.Diff(decode(t, encode(t, e, name)), decode(t, string(got))); diff != "" {
				t.Errorf("%q: -want +got:\n%s", name, diff)
			}
		}
	}
}

// No name can control a terminal.
func TestTextNames(t *testing.T) {
	e := events[0].Event
	for c := range 256 {
		got := report.AppendText(nil, &e, "e"+string([]byte{byte(c)})+"0", false, time.UTC)
		if bytes.ContainsFunc(got[:len(got)-1], func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError }) {
			t.Errorf("byte %#x reaches the terminal: %q", c, got)
		}
		if got[len(got)-1] != '\n' {
			t.Errorf("byte %#x: no newline: %q", c, got)
		}
	}
}

func TestAppends(t *testing.T) {
	e := events[5]
	for name, got := range map[string]string{
		"JSON":   string(report.AppendJSON([]byte("before"), &e.Event, e.ifname)),
		"text":   string(report.AppendText([]byte("before"), &e.Event, e.ifname, true, time.UTC)),
		"ND":     string(report.AppendND([]byte("before"), &nds[5], true, "", 0, time.UTC)),
		"packet": string(report.AppendPacket([]byte("before"), &parser.ARP{}, parser.EthernetIPv4, true, "", 0, time.UTC)),
	} {
		if !strings.HasPrefix(got, "before") || strings.Count(got, "before") != 1 {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	buf := make([]byte, 0, 4096)
	zone := time.FixedZone("", 3600)
	for _, e := range events {
		if n := testing.AllocsPerRun(10, func() {
			buf = report.AppendJSON(buf[:0], &e.Event, e.ifname)
			buf = report.AppendText(buf[:0], &e.Event, e.ifname, true, time.UTC)
			buf = report.AppendPacket(buf[:0], &parser.ARP{VID: 100}, parser.EthernetIPv4, true, e.ifname, e.Time, zone)
			buf = report.AppendND(buf[:0], &nds[5], true, e.ifname, e.Time, zone)
		}); n != 0 {
			t.Errorf("%v: %v allocations", e, n)
		}
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	for name, e := range map[string]int{"new": 0, "moved": 1, "interface": 4} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				buf = report.AppendJSON(buf[:0], &events[e].Event, events[e].ifname)
			}
		})
	}
}

func BenchmarkAppendText(b *testing.B) {
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = report.AppendText(buf[:0], &events[1].Event, "", true, time.UTC)
	}
}

func BenchmarkAppendPacket(b *testing.B) {
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = report.AppendPacket(buf[:0], &parser.ARP{VID: 100, Operation: 1}, parser.EthernetIPv4, true, "", 1470159914, time.UTC)
	}
}
