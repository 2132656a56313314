package fuzz

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/net/bpf"

	"maas-netmon/capture/packetsock"
	"maas-netmon/parser"
	"maas-netmon/parser/parsertest"
	"maas-netmon/privsep"
	"maas-netmon/report"
	"maas-netmon/report/reporttest"
	"maas-netmon/tracker"
	"maas-netmon/tracker/trackertest"
)

// FuzzParse: Parse returns either a packet, or one of three errors and the zero packet, exactly
// like the reference decoder. It does not modify the frame, allocates nothing, reads no byte beyond
// MaxLen and ignores bytes after the packet. gopacket decodes the same frame to the same packet.
func FuzzParse(f *testing.F) {
	addSeeds(f, "FuzzParse")
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, tag, ok := decodeFrame(data)
		if !ok {
			return
		}
		// Clip, so that reading beyond the end panics.
		frame = slices.Clip(slices.Clone(frame))
		before := slices.Clone(frame)
		arp, err := parsertest.Parse(frame, tag)

		wantARP, wantErr := reference(before, tag)
		if arp != wantARP || err != wantErr {
			t.Fatalf("%+v, %v, want %+v, %v", arp, err, wantARP, wantErr)
		}
		if err != nil && arp != (parser.ARP{}) {
			t.Errorf("error %v and a packet: %+v", err, arp)
		}
		if !bytes.Equal(frame, before) {
			t.Error("frame modified")
		}
		if len(data)%16 == 0 { // counting stops the world, so not each time
			if n := testing.AllocsPerRun(1, func() { err = parser.Parse(&arp, frame, tag) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		}
		if len(frame) > parser.MaxLen {
			if a, e := parsertest.Parse(frame[:parser.MaxLen:parser.MaxLen], tag); a != arp || e != err {
				t.Errorf("first %d bytes: %+v, %v, want %+v, %v", parser.MaxLen, a, e, arp, err)
			}
		}
		if err == nil {
			padded := append(frame, "\x08\x06\x00\x01padding\xff"...)
			if a, e := parsertest.Parse(padded, tag); a != arp || e != nil {
				t.Errorf("padded: %+v, %v, want %+v", a, e, arp)
			}
			if !tag.Present {
				compareWithGopacket(t, before, arp)
			}
		}
	})
}

// compareWithGopacket compares a packet with the result of gopacket. gopacket does not know the
// TPID 0x9100, and decodes a frame beyond its packet.
func compareWithGopacket(t *testing.T, frame []byte, arp parser.ARP) {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	got, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	if !ok {
		first := binary.BigEndian.Uint16(frame[12:])
		second := binary.BigEndian.Uint16(frame[16:])
		if first != 0x9100 && (first == 0x0806 || second != 0x9100) {
			t.Errorf("gopacket finds no ARP packet in %x: %v", frame, p.ErrorLayer())
		}
		return
	}
	var vids []uint16
	for _, l := range p.Layers() {
		if tag, ok := l.(*layers.Dot1Q); ok && tag.VLANIdentifier != 0 {
			vids = append(vids, tag.VLANIdentifier)
		}
	}
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	vids = append(vids, 0, 0)
	want := parser.ARP{
		EthernetDestination: parser.MAC(eth.DstMAC),
		EthernetSource:      parser.MAC(eth.SrcMAC),
		VID:                 vids[0],
		InnerVID:            vids[1],
		Operation:           got.Operation,
		SenderHardware:      parser.MAC(got.SourceHwAddress),
		SenderProtocol:      parser.Addr(got.SourceProtAddress),
		TargetHardware:      parser.MAC(got.DstHwAddress),
		TargetProtocol:      parser.Addr(got.DstProtAddress),
	}
	if diff := cmp.Diff(want, arp); diff != "" {
		t.Errorf("-gopacket +parser:\n%s", diff)
	}
}

// newFilter returns a machine with one of the filters that the kernel runs.
func newFilter(f *testing.F, ipv6 bool) *bpf.VM {
	raw, err := packetsock.Filter(ipv6)
	if err != nil {
		f.Fatal(err)
	}
	program, all := bpf.Disassemble(raw)
	if !all {
		f.Fatal("the filter has instructions that cannot be decoded")
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		f.Fatal(err)
	}
	return vm
}

// FuzzFilter: the filters that the kernel runs accept every frame that the parser decodes, and
// enough of its bytes. The one without IPv6 accepts no frame that is not ARP, and the other only
// frames of Neighbor Discovery in addition.
func FuzzFilter(f *testing.F) {
	addSeeds(f, "FuzzFilter")
	arpOnly, both := newFilter(f, false), newFilter(f, true)
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, tag, sumPending, ok := decodeND(data)
		if !ok {
			return
		}
		n, err := arpOnly.Run(frame)
		if err != nil {
			t.Fatal(err)
		}
		kept := frame[:min(n, len(frame))]
		arp, err := parsertest.Parse(frame, tag)

		more, ndErr := both.Run(frame)
		if ndErr != nil {
			t.Fatal(ndErr)
		}
		nd, ndErr := parsertest.ParseND(frame, tag, sumPending)
		switch {
		case n > 0 && more != n:
			t.Errorf("with IPv6 the filter keeps %d bytes of %x, without %d", more, frame, n)
		case n == 0 && more == 0 && ndErr == nil:
			t.Errorf("the filter drops %x, of which the parser makes %+v", frame, nd)
		case n == 0 && more > 0:
			if ndErr == parser.ErrNotND {
				t.Errorf("the filter keeps %x, which is not Neighbor Discovery", frame)
			}
			whole := frame[:min(more, len(frame))]
			got, e := parsertest.ParseND(whole, tag, sumPending)
			if (got != nd || e != ndErr) && !(len(frame) > more && e == parser.ErrShort) {
				t.Errorf("the filter keeps %d bytes, of which the parser makes %+v, %v instead of %+v, %v", more, got, e, nd, ndErr)
			}
		}

		if n == 0 && err == nil {
			t.Errorf("the filter drops %x, of which the parser makes %+v", frame, arp)
		}
		if n > 0 {
			if err == parser.ErrNotARP {
				t.Errorf("the filter keeps %x, which is not ARP", frame)
			}
			if a, e := parsertest.Parse(kept, tag); a != arp || e != err {
				t.Errorf("the filter keeps %d bytes, of which the parser makes %+v, %v instead of %+v, %v", n, a, e, arp, err)
			}
		}
	})
}

// compareAddr has addresses of protocols compared as values.
var compareAddr = cmpopts.EquateComparable(netip.Addr{})

// FuzzTracker: for every script of packets of both families, stalls and time, a table returns the
// same events, counters and due times as the model, and never exceeds its bound. With room at all
// times and no moved interval, each change is an event at once.
func FuzzTracker(f *testing.F) {
	addSeeds(f, "FuzzTracker")
	f.Fuzz(func(t *testing.T, data []byte) {
		s := decodeScript(data)
		newTable := func(interval time.Duration) (*tracker.Table, *trackertest.Model) {
			table, err := tracker.NewTable(tracker.Config{
				MaxBindings:   s.bound,
				Refresh:       time.Duration(s.refresh) * time.Second,
				MovedInterval: interval,
				IPv6:          true,
			})
			if err != nil {
				t.Fatal(err)
			}
			return table, trackertest.NewModel(s.bound, s.refresh, interval)
		}
		table, model := newTable(s.interval)
		roomy, roomyModel := newTable(0)
		var got []tracker.Event
		for i, step := range s.steps {
			table.Advance(step.passed)
			model.Advance(step.passed)
			switch step.act {
			case actForget:
				table.Forget(step.iface)
				model.Forget(step.iface)
			case actFlush:
				table.Flush()
				model.Flush()
			case actAbandon:
				table.Abandon()
				model.Abandon()
			}
			for range step.take {
				want, wantOK := model.Next()
				var got tracker.Event
				if ok := table.Next(&got); ok != wantOK || got != want {
					t.Fatalf("step %d: %t, want %t; -want +got:\n%s", i, ok, wantOK, cmp.Diff(want, got, compareAddr))
				} else if !ok {
					break
				}
			}
			got = got[:0]
			if step.room {
				got = step.observe(table, got)
			} else {
				step.note(table)
			}
			want := step.model(model, step.room)
			if !slices.Equal(got, want) {
				t.Fatalf("step %d: -want +got:\n%s", i, cmp.Diff(want, got, compareAddr))
			}
			if wrong := model.Check(table); wrong != "" {
				t.Fatalf("step %d: %s", i, wrong)
			}

			got = step.observe(roomy, got[:0])
			want = step.model(roomyModel, true)
			if !slices.Equal(got, want) || roomy.Waiting() {
				t.Fatalf("step %d, with room at all times: -want +got:\n%s", i, cmp.Diff(want, got, compareAddr))
			}
			for _, e := range got {
				if e.Moves > 1 {
					t.Fatalf("step %d, with room at all times: %d moves", i, e.Moves)
				}
			}
		}
	})
}

// FuzzFrameToLine: any frame gives at most two lines, each with addresses from the frame, and only
// if the frame is a request or a reply, or Neighbor Discovery, which gives at most one.
func FuzzFrameToLine(f *testing.F) {
	addSeeds(f, "FuzzFrameToLine")
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, tag, ok := decodeFrame(data)
		if !ok {
			return
		}
		table, err := tracker.NewTable(tracker.Config{MaxBindings: 4, Refresh: 10 * time.Minute, IPv6: true})
		if err != nil {
			t.Fatal(err)
		}
		var events []tracker.Event
		var packet string
		if arp, err := parsertest.Parse(frame, tag); err == nil {
			events = table.Observe(nil, 0, 1795228118, &arp)
			if most := map[uint16]int{1: 1, 2: 2}[arp.Operation]; len(events) > most {
				t.Errorf("operation %d gives %v", arp.Operation, events)
			}
			packet = string(report.AppendPacket(nil, &arp, parser.EthernetIPv4, true, "", 0, time.UTC))
		} else if nd, err := parsertest.ParseND(frame, tag, data[len(data)-1]&1 != 0); err == nil {
			events = table.ObserveND(nil, 0, 1795228118, &nd)
			if len(events) > 1 || len(events) == 1 && !nd.HasLinkLayer {
				t.Errorf("%+v gives %v", nd, events)
			}
			packet = string(report.AppendND(nil, &nd, true, "", 0, time.UTC))
		} else {
			return
		}
		var out []byte
		for i := range events {
			out = report.AppendJSON(out, &events[i], "")
		}
		for text := range bytes.Lines(out) {
			var line struct{ IP, MAC string }
			if err := json.Unmarshal(text, &line); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			addr, err := netip.ParseAddr(line.IP)
			if err != nil || addr.String() != line.IP {
				t.Fatalf("%q: %v", text, err)
			}
			var mac parser.MAC
			if _, err := fmt.Sscanf(line.MAC, "%x:%x:%x:%x:%x:%x", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			b := addr.AsSlice()
			found := bytes.Contains(frame, mac[:]) && bytes.Contains(frame, b)
			if addr.Is4() {
				found = bytes.Contains(frame, slices.Concat(mac[:], b))
			}
			if !found {
				t.Errorf("%s is not in %x", text, frame)
			}
			if mac == (parser.MAC{}) || mac[0]&1 != 0 || addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() || addr.Is4In6() {
				t.Errorf("%s is no host's", text)
			}
		}
		if !strings.HasSuffix(packet, "\n\n") || strings.Count(packet, "\n\n") != 1 {
			t.Errorf("%q is not one block of lines", packet)
		}
	})
}

// FuzzReport: each event is one line of valid UTF-8, a JSON object that satisfies the schema, with
// the keys in their order, and decodes to the same event. As text it is one line too, and no name
// can control a terminal.
func FuzzReport(f *testing.F) {
	addSeeds(f, "FuzzReport")
	schema, err := reporttest.Load("../doc/event.schema.json")
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // OSS-Fuzz runs without the schema
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const fixed = 29
		if len(data) < fixed {
			return
		}
		e := tracker.Event{
			Kind:        tracker.New + tracker.Kind(data[0]%3),
			VID:         binary.BigEndian.Uint16(data[1:]),
			InnerVID:    binary.BigEndian.Uint16(data[3:]),
			Addr:        netip.AddrFrom4([4]byte(data[5:])),
			MAC:         parser.MAC(data[9:]),
			PreviousMAC: parser.MAC(data[15:]),
			Time:        int64(binary.BigEndian.Uint64(data[21:])),
		}
		if e.Kind == tracker.Moved {
			e.Moves = uint32(data[0] / 3)
		}
		rest := data[fixed:]
		const ipv6 = 1 << 15 // bit of the inner VID: 16 bytes before the name are the address
		if e.InnerVID&ipv6 != 0 && len(rest) >= 16 {
			e.InnerVID &^= ipv6
			e.Addr = netip.AddrFrom16([16]byte(rest))
			rest = rest[16:]
		}
		ifname := string(rest)

		want := line{IP: e.Addr.String(), MAC: e.MAC.String(), Time: e.Time, Event: e.Kind.String(), InnerVID: e.InnerVID}
		want.Interface = string([]rune(ifname)) // each invalid byte is one U+FFFD
		if e.Moves > 1 {
			want.Moves = &e.Moves
		}
		if e.Kind == tracker.Moved {
			want.PreviousMAC = e.PreviousMAC.String()
		}
		if e.VID != 0 {
			want.VID = &e.VID
		}
		text := report.AppendJSON(nil, &e, ifname)
		if bytes.IndexByte(text, '\n') != len(text)-1 || !utf8.Valid(text) {
			t.Fatalf("not one line of UTF-8: %q", text)
		}
		var got line
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&got); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: -want +got:\n%s", text, diff)
		}
		if addr, err := netip.ParseAddr(got.IP); err != nil || addr != e.Addr {
			t.Errorf("%q: address %v, %v, want %v", text, addr, err, e.Addr)
		}
		if keys := keysOf(t, text); !slices.Equal(keys, wantKeys(&e, ifname)) {
			t.Errorf("%q: keys %v, want %v", text, keys, wantKeys(&e, ifname))
		}
		// No binding has an IPv4-mapped address.
		if schema != nil && e.VID < 4095 && e.InnerVID < 4095 && !e.Addr.Is4In6() {
			if err := schema.Check(text); err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
		human := string(report.AppendText(nil, &e, ifname, false, time.UTC))
		if strings.IndexByte(human, '\n') != len(human)-1 {
			t.Errorf("not one line: %q", human)
		}
		for _, r := range strings.TrimSuffix(human, "\n") {
			if !unicode.IsPrint(r) || r == utf8.RuneError {
				t.Errorf("%q in %q", r, human)
			}
		}
	})
}

// line is a line as a program decodes it.
type line struct {
	IP          string  `json:"ip"`
	MAC         string  `json:"mac"`
	PreviousMAC string  `json:"previous_mac"`
	Time        int64   `json:"time"`
	Event       string  `json:"event"`
	VID         *uint16 `json:"vid"`
	InnerVID    uint16  `json:"inner_vid"`
	Interface   string  `json:"interface"`
	Moves       *uint32 `json:"moves"`
}

// keysOf returns the keys of a JSON object of scalars in their order.
func keysOf(t *testing.T, text []byte) []string {
	var keys []string
	d := json.NewDecoder(bytes.NewReader(text))
	for i := 0; ; i++ {
		token, err := d.Token()
		if err != nil {
			return keys
		}
		// After the opening brace, keys and values alternate.
		if key, ok := token.(string); ok && i%2 == 1 {
			keys = append(keys, key)
		}
	}
}

// wantKeys returns the expected keys of the line of an event.
func wantKeys(e *tracker.Event, ifname string) []string {
	keys := []string{"ip", "mac"}
	if e.Kind == tracker.Moved {
		keys = append(keys, "previous_mac")
	}
	keys = append(keys, "time", "event", "vid")
	if e.InnerVID != 0 {
		keys = append(keys, "inner_vid")
	}
	if ifname != "" {
		keys = append(keys, "interface")
	}
	if e.Moves > 1 {
		keys = append(keys, "moves")
	}
	return keys
}

// FuzzMessage: Decode returns ErrMessage and the zero message, or a message whose encoding equals
// the input.
func FuzzMessage(f *testing.F) {
	addSeeds(f, "FuzzMessage")
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := privsep.Decode(data)
		if err != nil {
			if !errors.Is(err, privsep.ErrMessage) || m != (privsep.Message{}) {
				t.Errorf("error %v, message %+v", err, m)
			}
			return
		}
		if !bytes.Equal(m.Encode(), data) {
			t.Errorf("%+v encodes to %x, was %x", m, m.Encode(), data)
		}
		if m.Type.String() == privsep.Type(0).String() {
			t.Errorf("message of invalid type %d", m.Type)
		}
	})
}
