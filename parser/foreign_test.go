package parser_test

import (
	"slices"
	"testing"

	"maas-netmon/parser"
	"maas-netmon/parser/parsertest"
)

// ParseForeign decodes each packet that Parse decodes to the same result, with any types; it
// refuses frames that are short, not ARP, or have tags that Parse refuses.
func TestParseForeign(t *testing.T) {
	foreign := []parser.Types{
		parser.EthernetIPv4, {}, {Hardware: 6, Protocol: 0x86dd, HardwareLen: 8, ProtocolLen: 16},
		{Hardware: 0xffff, Protocol: 0xffff, HardwareLen: 255, ProtocolLen: 255},
	}
	for _, v := range vectors(t) {
		if v.Err != nil {
			continue
		}
		end := packetEnd(v)
		for _, want := range foreign {
			frame := slices.Clone(v.Frame)
			p := frame[end-28:]
			copy(p, []byte{byte(want.Hardware >> 8), byte(want.Hardware), byte(want.Protocol >> 8), byte(want.Protocol),
				want.HardwareLen, want.ProtocolLen})
			before := slices.Clone(frame)
			var arp parser.ARP
			got, err := parser.ParseForeign(&arp, frame, v.Tag)
			if got != want || arp != v.ARP || err != nil {
				t.Errorf("%s: %+v, %+v, %v, want %+v, %+v", v.Name, got, arp, err, want, v.ARP)
			}
			if !slices.Equal(frame, before) {
				t.Errorf("%s: frame modified", v.Name)
			}
			for n := range end {
				if got, err := parser.ParseForeign(&arp, slices.Clip(frame[:n]), v.Tag); err != parser.ErrShort || got != (parser.Types{}) || arp != (parser.ARP{}) {
					t.Errorf("%s: first %d bytes: %+v, %+v, %v", v.Name, n, got, arp, err)
				}
			}
		}
	}
	for _, v := range vectors(t) {
		var arp parser.ARP
		_, err := parser.ParseForeign(&arp, v.Frame, v.Tag)
		_, want := parsertest.Parse(v.Frame, v.Tag)
		if err != want && !(want == parser.ErrUnsupported && err == nil) {
			t.Errorf("%s: %v, want %v", v.Name, err, want)
		}
	}
}

func TestParseForeignDoesNotAllocate(t *testing.T) {
	v := vector(t, "hlen-7")
	var arp parser.ARP
	if n := testing.AllocsPerRun(10, func() { parser.ParseForeign(&arp, v.Frame, v.Tag) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
