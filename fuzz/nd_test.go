package fuzz

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"maas-netmon/parser"
	"maas-netmon/parser/parsertest"
)

// FuzzParseND: ParseND returns either a packet, or one of four errors and the zero packet, exactly
// like the reference decoder. It does not modify the frame, allocates nothing and ignores bytes
// after the packet. A truncated frame is short or has the same result. The usual encoding of the
// packet decodes to the same packet, and gopacket decodes the frame to the same packet, with the
// right checksum. No frame is a packet of ARP, too.
func FuzzParseND(f *testing.F) {
	addSeeds(f, "FuzzParseND")
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, tag, sumPending, ok := decodeND(data)
		if !ok {
			return
		}
		// Clip, so that reading beyond the end panics.
		frame = slices.Clip(slices.Clone(frame))
		before := slices.Clone(frame)
		nd, err := parsertest.ParseND(frame, tag, sumPending)

		wantND, wantErr := referenceND(before, tag, sumPending)
		if nd != wantND || err != wantErr {
			t.Fatalf("%+v, %v, want %+v, %v", nd, err, wantND, wantErr)
		}
		if err != nil && nd != (parser.ND{}) {
			t.Errorf("error %v and a packet: %+v", err, nd)
		}
		if !bytes.Equal(frame, before) {
			t.Error("frame modified")
		}
		if len(data)%16 == 0 { // counting stops the world, so not each time
			if n := testing.AllocsPerRun(1, func() { err = parser.ParseND(&nd, frame, tag, sumPending) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		}
		for n := max(0, len(frame)-128); n < len(frame); n++ {
			if got, e := parsertest.ParseND(frame[:n:n], tag, sumPending); e != parser.ErrShort && (got != nd || e != err) {
				t.Errorf("first %d bytes: %+v, %v, want %+v, %v", n, got, e, nd, err)
			}
		}
		if err != nil {
			return
		}
		padded := append(frame, "\x03\x01padding\xff"...)
		if got, e := parsertest.ParseND(padded, tag, sumPending); got != nd || e != nil {
			t.Errorf("padded: %+v, %v, want %+v", got, e, nd)
		}
		if got, e := parsertest.ParseND(parsertest.ND(&nd), parser.Tag{}, false); got != nd || e != nil {
			t.Errorf("encoded again: %+v, %v, want %+v", got, e, nd)
		}
		if got, e := parsertest.Parse(frame, tag); e != parser.ErrNotARP {
			t.Errorf("as ARP: %+v, %v", got, e)
		}
		if !tag.Present {
			compareNDWithGopacket(t, before, sumPending, nd)
		}
	})
}

// compareNDWithGopacket compares a packet with the result of gopacket. gopacket does not know the
// TPID 0x9100.
func compareNDWithGopacket(t *testing.T, frame []byte, sumPending bool, nd parser.ND) {
	if binary.BigEndian.Uint16(frame[12:]) == 0x9100 || binary.BigEndian.Uint16(frame[16:]) == 0x9100 &&
		binary.BigEndian.Uint16(frame[12:]) != 0x86dd {
		return
	}
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	eth, _ := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	ip, _ := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	icmp, _ := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	if eth == nil || ip == nil || icmp == nil {
		t.Fatalf("gopacket finds no ICMPv6 in %x: %v", frame, p.ErrorLayer())
	}
	want := parser.ND{
		EthernetDestination: parser.MAC(eth.DstMAC),
		EthernetSource:      parser.MAC(eth.SrcMAC),
		Type:                icmp.TypeCode.Type(),
		Source:              parser.Addr6(ip.SrcIP),
		Destination:         parser.Addr6(ip.DstIP),
	}
	var options layers.ICMPv6Options
	kind := layers.ICMPv6OptSourceAddress
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.Dot1Q:
			if l.VLANIdentifier != 0 && want.VID == 0 {
				want.VID = l.VLANIdentifier
			} else if l.VLANIdentifier != 0 {
				want.InnerVID = l.VLANIdentifier
			}
		case *layers.ICMPv6RouterSolicitation:
			options = l.Options
		case *layers.ICMPv6RouterAdvertisement:
			options = l.Options
		case *layers.ICMPv6NeighborSolicitation:
			want.Target = parser.Addr6(l.TargetAddress)
			options = l.Options
		case *layers.ICMPv6NeighborAdvertisement:
			want.Target = parser.Addr6(l.TargetAddress)
			want.Router, want.Solicited, want.Override = l.Router(), l.Solicited(), l.Override()
			options = l.Options
			kind = layers.ICMPv6OptTargetAddress
		}
	}
	for _, option := range options {
		if option.Type == kind {
			want.LinkLayer, want.HasLinkLayer = parser.MAC(option.Data), true
			break
		}
	}
	if diff := cmp.Diff(want, nd); diff != "" {
		t.Errorf("-gopacket +parser:\n%s", diff)
	}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	if err, sum := icmp.VerifyChecksum(); !sumPending && (err != nil || !sum.Valid) {
		t.Errorf("gopacket finds the wrong checksum: %v, %+v", err, sum)
	}
}

// The captures have packets of a real kernel, and ParseND decodes as many of each type as tcpdump.
func TestCapturesOfND(t *testing.T) {
	for name, want := range map[string]struct {
		results map[error]int // the MLD reports have a hop-by-hop header
		types   map[uint8]int
	}{
		"veth": {map[error]int{nil: 6, parser.ErrUnsupported: 6, parser.ErrNotND: 17}, map[uint8]int{133: 4, 135: 2}},
		"nd":   {map[error]int{nil: 22, parser.ErrUnsupported: 18, parser.ErrNotND: 3}, map[uint8]int{133: 3, 135: 10, 136: 9}},
	} {
		frames, err := readCapture("testdata/captures/" + name + ".pcap")
		if err != nil {
			t.Fatal(err)
		}
		results := map[error]int{}
		types := map[uint8]int{}
		for _, frame := range frames {
			nd, err := parsertest.ParseND(frame, parser.Tag{}, false)
			results[err]++
			if err == nil {
				types[nd.Type]++
				compareNDWithGopacket(t, frame, false, nd)
			}
		}
		if !maps.Equal(results, want.results) {
			t.Errorf("%s: results %v, want %v", name, results, want.results)
		}
		if !maps.Equal(types, want.types) {
			t.Errorf("%s: types %v, want %v", name, types, want.types)
		}
	}
}
