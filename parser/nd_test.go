package parser_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maas-netmon/parser"
	"maas-netmon/parser/parsertest"
)

func TestNDVectors(t *testing.T) {
	for _, v := range parsertest.NDVectors() {
		t.Run(v.Name, func(t *testing.T) {
			got, err := parsertest.ParseND(v.Frame, v.Tag, v.SumPending)
			if err != v.Err {
				t.Errorf("error %v, want %v (%s)", err, v.Err, v.RFC)
			}
			if diff := cmp.Diff(v.ND, got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", v.RFC, diff)
			}
		})
	}
}

// A frame that is truncated before the end of its packet is short; one that ends after it is not.
func TestEveryTruncationND(t *testing.T) {
	for _, v := range parsertest.NDVectors() {
		if v.Err != nil {
			continue
		}
		end := packetEndND(v)
		for n := range len(v.Frame) + 1 {
			want, wantErr := v.ND, error(nil)
			if n < end {
				want, wantErr = parser.ND{}, parser.ErrShort
			}
			// Clip, so that reading beyond the end panics.
			got, err := parsertest.ParseND(slices.Clip(v.Frame[:n]), v.Tag, v.SumPending)
			if got != want || err != wantErr {
				t.Errorf("%s: first %d bytes: %v, %v, want %v, %v", v.Name, n, got, err, want, wantErr)
			}
		}
	}
}

// A truncated frame that is refused is short or refused for the same reason.
func TestEveryTruncationOfRefusedND(t *testing.T) {
	for _, v := range parsertest.NDVectors() {
		if v.Err == nil {
			continue
		}
		for n := range v.Frame {
			got, err := parsertest.ParseND(slices.Clip(v.Frame[:n]), v.Tag, v.SumPending)
			if got != (parser.ND{}) || err != v.Err && err != parser.ErrShort {
				t.Errorf("%s: first %d bytes: %v, %v, want %v or %v", v.Name, n, got, err, v.Err, parser.ErrShort)
			}
		}
	}
}

// packetEndND returns the offset of the end of the IPv6 packet in a valid frame.
func packetEndND(v parsertest.NDVector) int {
	ip := 14
	for !bytes.Equal(v.Frame[ip-2:ip], []byte{0x86, 0xdd}) {
		ip += 4
	}
	return ip + 40 + int(v.Frame[ip+4])<<8 + int(v.Frame[ip+5])
}

// Each field of one byte that has one valid value, tested with all values, and both EtherTypes.
func TestFixedFieldsND(t *testing.T) {
	for _, nd := range parsertest.NDPackets() {
		good := parsertest.ND(&nd)
		for _, field := range []struct {
			name string
			off  int
			want func(value byte) error
		}{
			{"EtherType, first byte", parsertest.OffEtherType, func(byte) error { return parser.ErrNotND }},
			{"EtherType, last byte", parsertest.OffEtherType + 1, func(byte) error { return parser.ErrNotND }},
			{"version", parsertest.OffIPv6, func(value byte) error {
				if value>>4 == 6 { // the rest is the traffic class
					return nil
				}
				return parser.ErrInvalid
			}},
			{"next header", parsertest.OffNextHeader, func(value byte) error {
				if slices.Contains([]byte{0, 43, 44, 50, 51, 60, 135, 139, 140, 253, 254}, value) {
					return parser.ErrUnsupported
				}
				return parser.ErrNotND
			}},
			{"hop limit", parsertest.OffHopLimit, func(byte) error { return parser.ErrInvalid }},
			{"code", parsertest.OffCode, func(byte) error { return parser.ErrInvalid }},
		} {
			for value := range 256 {
				frame := slices.Clone(good)
				frame[field.off] = byte(value)
				want := field.want(byte(value))
				if bytes.Equal(frame, good) {
					want = nil
				}
				if field.off != parsertest.OffEtherType && field.off != parsertest.OffEtherType+1 {
					parsertest.SetSum(frame)
				}
				if _, err := parsertest.ParseND(frame, parser.Tag{}, false); err != want {
					t.Errorf("type %d: %s %#x: error %v, want %v", nd.Type, field.name, value, err, want)
				}
			}
		}
	}
}

// Each bit of the packet that the checksum covers, inverted: the packet is refused (RFC 4443 2.3).
func TestChecksumCoversEveryBit(t *testing.T) {
	for _, nd := range parsertest.NDPackets() {
		good := parsertest.ND(&nd)
		for bit := 8 * parsertest.OffSource; bit < 8*len(good); bit++ {
			frame := slices.Clone(good)
			frame[bit/8] ^= 0x80 >> (bit % 8)
			if got, err := parsertest.ParseND(frame, parser.Tag{}, false); err == nil {
				t.Errorf("type %d: byte %d, bit %d: %v", nd.Type, bit/8, bit%8, got)
			}
		}
	}
}

// The sum of a packet of any content and any length, up to that of the largest one.
func TestChecksumOfLongPackets(t *testing.T) {
	nd := parsertest.NDPackets()[1]
	want := parsertest.ND(&nd)
	frame := want
	for n := 0; len(frame)+8*n < 1<<16; n = min(n+7, 255) {
		if n > 0 {
			frame = parsertest.AddOption(frame, 250, bytes.Repeat([]byte{0xff, byte(n), 0xfe}, 8*n/3-1)...)
		}
		if got, err := parsertest.ParseND(frame, parser.Tag{}, false); got != nd || err != nil {
			t.Fatalf("%d bytes: %v, %v, want %v", len(frame), got, err, nd)
		}
		frame[parsertest.OffSum+1]++
		if got, err := parsertest.ParseND(frame, parser.Tag{}, false); err != parser.ErrInvalid {
			t.Fatalf("%d bytes, wrong checksum: %v, %v", len(frame), got, err)
		}
		parsertest.SetSum(frame)
	}
}

func TestNothingKeptNothingModifiedND(t *testing.T) {
	for _, v := range parsertest.NDVectors() {
		frame := slices.Clone(v.Frame)
		got, err := parsertest.ParseND(frame, v.Tag, v.SumPending)
		if !bytes.Equal(frame, v.Frame) {
			t.Errorf("%s: frame modified", v.Name)
		}
		clear(frame)
		if got != v.ND || err != v.Err {
			t.Errorf("%s: result changed with the frame", v.Name)
		}
	}
}

func TestParseNDDoesNotAllocate(t *testing.T) {
	for _, v := range parsertest.NDVectors() {
		var nd parser.ND
		var err error
		if n := testing.AllocsPerRun(10, func() { err = parser.ParseND(&nd, v.Frame, v.Tag, v.SumPending) }); n != 0 {
			t.Errorf("%s (%v): %v allocations", v.Name, err, n)
		}
	}
}

// A frame is a packet of ARP or of Neighbor Discovery, or neither, but not both.
func TestOneProtocol(t *testing.T) {
	for _, v := range vectors(t) {
		if _, err := parsertest.ParseND(v.Frame, v.Tag, false); err == nil || v.Err == nil && err != parser.ErrNotND {
			t.Errorf("%s: as Neighbor Discovery: %v", v.Name, err)
		}
	}
	for _, v := range parsertest.NDVectors() {
		if _, err := parsertest.Parse(v.Frame, v.Tag); v.Err == nil && err != parser.ErrNotARP {
			t.Errorf("%s: as ARP: %v", v.Name, err)
		}
	}
}

func BenchmarkParseND(b *testing.B) {
	vs := parsertest.NDVectors()
	for _, name := range []string{"rs", "ra", "ns", "na", "na-tag-stripped", "na-two-tags-inline", "ra-prefix-and-mtu", "icmpv6-type-128", "na-hop-limit-254"} {
		b.Run(name, func(b *testing.B) {
			v := vs[slices.IndexFunc(vs, func(v parsertest.NDVector) bool { return v.Name == name })]
			b.ReportAllocs()
			var nd parser.ND
			for b.Loop() {
				if err := parser.ParseND(&nd, v.Frame, v.Tag, v.SumPending); err != v.Err {
					b.Fatal(err)
				}
			}
		})
	}
}
