package parser_test

import (
	"bytes"
	"go/build"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maas-netmon/parser"
	"maas-netmon/parser/parsertest"
)

func vectors(tb testing.TB) []parsertest.Vector {
	tb.Helper()
	vs, err := parsertest.Load("testdata/frames")
	if err != nil {
		tb.Fatal(err)
	}
	return vs
}

// vector returns the vector with a name.
func vector(tb testing.TB, name string) parsertest.Vector {
	tb.Helper()
	for _, v := range vectors(tb) {
		if v.Name == name {
			return v
		}
	}
	tb.Fatalf("no vector named %s", name)
	panic("unreachable")
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			got, err := parsertest.Parse(v.Frame, v.Tag)
			if err != v.Err {
				t.Errorf("error %v, want %v (%s)", err, v.Err, v.Comment)
			}
			if diff := cmp.Diff(v.ARP, got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", v.Comment, diff)
			}
		})
	}
}

// packetEnd returns the offset of the end of the packet in a valid frame: after the header, the
// tags still in the frame, and the 28 bytes.
func packetEnd(v parsertest.Vector) int {
	end := 14 + 28
	for slices.Contains([]string{"\x81\x00", "\x88\xa8", "\x91\x00"}, string(v.Frame[end-30:end-28])) {
		end += 4
	}
	return end
}

// A frame that is truncated before the end of its packet is short; one that ends after it is not.
func TestEveryTruncation(t *testing.T) {
	for _, v := range vectors(t) {
		if v.Err != nil {
			continue
		}
		end := packetEnd(v)
		for n := range len(v.Frame) + 1 {
			want, wantErr := v.ARP, error(nil)
			if n < end {
				want, wantErr = parser.ARP{}, parser.ErrShort
			}
			// Clip, so that reading beyond the end panics.
			got, err := parsertest.Parse(slices.Clip(v.Frame[:n]), v.Tag)
			if got != want || err != wantErr {
				t.Errorf("%s: first %d bytes: %v, %v, want %v, %v", v.Name, n, got, err, want, wantErr)
			}
		}
	}
}

func TestMaxLenIsEnough(t *testing.T) {
	longest := 0
	for _, v := range vectors(t) {
		frame := v.Frame[:min(len(v.Frame), parser.MaxLen)]
		if got, err := parsertest.Parse(frame, v.Tag); got != v.ARP || err != v.Err {
			t.Errorf("%s: first %d bytes: %v, %v, want %v, %v", v.Name, len(frame), got, err, v.ARP, v.Err)
		}
		if v.Err == nil {
			longest = max(longest, packetEnd(v))
		}
	}
	if longest != parser.MaxLen {
		t.Errorf("longest packet ends at %d, MaxLen is %d", longest, parser.MaxLen)
	}
}

// Each field that has one valid value, tested with all values.
func TestFixedFields(t *testing.T) {
	good := vector(t, "request")
	for _, field := range []struct {
		name     string
		off, len int
		want     error
	}{
		{"EtherType", 12, 2, parser.ErrNotARP},
		{"HTYPE", 14, 2, parser.ErrUnsupported},
		{"PTYPE", 16, 2, parser.ErrUnsupported},
		{"hlen", 18, 1, parser.ErrUnsupported},
		{"plen", 19, 1, parser.ErrUnsupported},
	} {
		for value := range 1 << (8 * field.len) {
			frame := slices.Clone(good.Frame)
			for i := range field.len {
				frame[field.off+field.len-1-i] = byte(value >> (8 * i))
			}
			want := field.want
			switch {
			case bytes.Equal(frame, good.Frame):
				want = nil
			case field.name == "EtherType" && (value == 0x8100 || value == 0x88a8 || value == 0x9100):
				// Now bytes 16 and 17 are in the place of the EtherType.
				want = parser.ErrNotARP
			}
			if _, err := parsertest.Parse(frame, parser.Tag{}); err != want {
				t.Errorf("%s %#x: error %v, want %v", field.name, value, err, want)
			}
		}
	}
}

// Each VID, in the metadata and in the frame, with all values of the other bits of the TCI. The
// last one is reserved.
func TestEveryVID(t *testing.T) {
	inline := vector(t, "tag-inline-8100")
	stripped := vector(t, "tag-stripped-8100")
	for tci := range 1 << 16 {
		want, wantErr := uint16(tci)&0xfff, error(nil)
		if want == 4095 {
			want, wantErr = 0, parser.ErrUnsupported
		}
		frame := slices.Clone(inline.Frame)
		frame[14], frame[15] = byte(tci>>8), byte(tci)
		if got, err := parsertest.Parse(frame, parser.Tag{}); got.VID != want || got.InnerVID != 0 || err != wantErr {
			t.Errorf("in line, TCI %#x: VIDs %d, %d, error %v", tci, got.VID, got.InnerVID, err)
		}
		tag := parser.Tag{Present: true, TPID: 0x8100, TCI: uint16(tci)}
		if got, err := parsertest.Parse(stripped.Frame, tag); got.VID != want || got.InnerVID != 0 || err != wantErr {
			t.Errorf("stripped, TCI %#x: VIDs %d, %d, error %v", tci, got.VID, got.InnerVID, err)
		}
	}
}

// A tag that is not present has no meaning, whatever its numbers are.
func TestAbsentTag(t *testing.T) {
	v := vector(t, "request")
	if got, err := parsertest.Parse(v.Frame, parser.Tag{TPID: 0x8100, TCI: 100}); got != v.ARP || err != nil {
		t.Errorf("%v, %v, want %v", got, err, v.ARP)
	}
}

func TestNothingKeptNothingModified(t *testing.T) {
	for _, v := range vectors(t) {
		frame := slices.Clone(v.Frame)
		got, err := parsertest.Parse(frame, v.Tag)
		if !bytes.Equal(frame, v.Frame) {
			t.Errorf("%s: frame modified", v.Name)
		}
		clear(frame)
		if got != v.ARP || err != v.Err {
			t.Errorf("%s: result changed with the frame", v.Name)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	for _, v := range vectors(t) {
		var arp parser.ARP
		var err error
		if n := testing.AllocsPerRun(10, func() { err = parser.Parse(&arp, v.Frame, v.Tag) }); n != 0 {
			t.Errorf("%s (%v): %v allocations", v.Name, err, n)
		}
	}
}

// The package imports nothing that could have an effect.
func TestImports(t *testing.T) {
	p, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"errors"}, p.Imports); diff != "" {
		t.Errorf("imports: -want +got:\n%s", diff)
	}
}

func TestStrings(t *testing.T) {
	for want, m := range map[string]parser.MAC{
		"02:aa:00:00:00:05": {0x02, 0xaa, 0, 0, 0, 0x05},
		"00:00:00:00:00:00": {},
		"ff:ff:ff:ff:ff:ff": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"01:23:45:67:89:ab": {0x01, 0x23, 0x45, 0x67, 0x89, 0xab},
	} {
		if got := m.String(); got != want {
			t.Errorf("MAC: %s, want %s", got, want)
		}
		if got := string(m.AppendTo([]byte("x"))); got != "x"+want {
			t.Errorf("MAC appended: %s, want x%s", got, want)
		}
	}
	for want, a := range map[string]parser.Addr{
		"0.0.0.0":         {},
		"9.10.99.100":     {9, 10, 99, 100},
		"109.199.200.255": {109, 199, 200, 255},
		"255.255.255.255": {255, 255, 255, 255},
	} {
		if got := a.String(); got != want {
			t.Errorf("Addr: %s, want %s", got, want)
		}
		if got := string(a.AppendTo([]byte("x"))); got != "x"+want {
			t.Errorf("Addr appended: %s, want x%s", got, want)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, name := range []string{"request", "tag-stripped-8100", "tag-two-inline", "short-packet", "ethertype-ipv4"} {
		b.Run(name, func(b *testing.B) {
			v := vector(b, name)
			b.ReportAllocs()
			var arp parser.ARP
			for b.Loop() {
				if err := parser.Parse(&arp, v.Frame, v.Tag); err != v.Err {
					b.Fatal(err)
				}
			}
		})
	}
}
