package parsertest

import (
	"encoding/binary"
	"fmt"
	"slices"

	"maas-netmon/parser"
)

// NDVector is a frame and the result that [parser.ParseND] must give.
type NDVector struct {
	Name       string
	RFC        string // and section: the reason of the result
	Frame      []byte
	Tag        parser.Tag
	SumPending bool
	Err        error
	ND         parser.ND
}

// The addresses in the vectors.
var (
	ndMAC       = parser.MAC{0x02, 0xaa, 0, 0, 0, 0x05}
	ndOther     = parser.MAC{0x02, 0xbb, 0, 0, 0, 0x09}
	ndGroup     = parser.MAC{0x33, 0x33, 0xff, 0, 0, 0x09}
	ndLocal     = Addr6("fe80::aa:ff:fe00:5")
	ndHost      = Addr6("2001:db8::5")
	ndTarget    = Addr6("2001:db8::9")
	ndSolicited = Addr6("ff02::1:ff00:9")
	ndAllNodes  = Addr6("ff02::1")
	ndRouters   = Addr6("ff02::2")
)

// The valid packets, one per type.
var (
	routerSolicitation = parser.ND{
		EthernetDestination: parser.MAC{0x33, 0x33, 0, 0, 0, 2}, EthernetSource: ndMAC,
		Type: parser.TypeRouterSolicitation, Source: ndLocal, Destination: ndRouters,
		LinkLayer: ndMAC, HasLinkLayer: true,
	}
	routerAdvertisement = parser.ND{
		EthernetDestination: parser.MAC{0x33, 0x33, 0, 0, 0, 1}, EthernetSource: ndMAC,
		Type: parser.TypeRouterAdvertisement, Source: ndLocal, Destination: ndAllNodes,
		LinkLayer: ndMAC, HasLinkLayer: true,
	}
	neighborSolicitation = parser.ND{
		EthernetDestination: ndGroup, EthernetSource: ndMAC,
		Type: parser.TypeNeighborSolicitation, Source: ndHost, Destination: ndSolicited, Target: ndTarget,
		LinkLayer: ndMAC, HasLinkLayer: true,
	}
	neighborAdvertisement = parser.ND{
		EthernetDestination: ndMAC, EthernetSource: ndOther,
		Type: parser.TypeNeighborAdvertisement, Solicited: true, Override: true,
		Source: ndTarget, Destination: ndHost, Target: ndTarget,
		LinkLayer: ndOther, HasLinkLayer: true,
	}
)

// NDPackets returns a valid packet of each type, with a link-layer address.
func NDPackets() []parser.ND {
	return []parser.ND{routerSolicitation, routerAdvertisement, neighborSolicitation, neighborAdvertisement}
}

// with returns a packet with changes.
func with(nd parser.ND, change func(nd *parser.ND)) parser.ND {
	change(&nd)
	return nd
}

// set returns the frame of a packet with other bytes from an offset on, and the right checksum.
func set(nd parser.ND, off int, bytes ...byte) []byte {
	b := ND(&nd)
	copy(b[off:], bytes)
	return SetSum(b)
}

// cut returns the frame of a packet whose IPv6 packet ends after n bytes of ICMPv6. What follows is
// padding.
func cut(nd parser.ND, n int) []byte {
	b := ND(&nd)
	binary.BigEndian.PutUint16(b[OffPayloadLength:], uint16(n))
	return SetSum(b)
}

// NDVectors returns the vectors for ParseND. Each one that is refused differs from a valid one only
// in the reason.
func NDVectors() []NDVector {
	var vs []NDVector
	valid := func(name, rfc string, nd parser.ND, frame []byte) {
		vs = append(vs, NDVector{Name: name, RFC: rfc, Frame: frame, ND: nd})
	}
	plain := func(name, rfc string, nd parser.ND) { valid(name, rfc, nd, ND(&nd)) }
	bad := func(name, rfc string, err error, frame []byte) {
		vs = append(vs, NDVector{Name: name, RFC: rfc, Frame: frame, Err: err})
	}
	invalid := func(name, rfc string, frame []byte) { bad(name, rfc, parser.ErrInvalid, frame) }
	none := func(nd *parser.ND) { nd.LinkLayer, nd.HasLinkLayer = parser.MAC{}, false }

	for i, nd := range NDPackets() {
		name := []string{"rs", "ra", "ns", "na"}[i]
		rfc := "RFC 4861 " + []string{"4.1", "4.2", "4.3", "4.4"}[i]
		tagged := with(nd, func(nd *parser.ND) { nd.VID = 100 })
		stacked := with(nd, func(nd *parser.ND) { nd.VID, nd.InnerVID = 200, 100 })
		plain(name, rfc, nd)
		plain(name+"-without-link-layer", rfc, with(nd, none))
		plain(name+"-link-layer-of-another-host", "RFC 4861 7.2.8: proxies", with(nd, func(nd *parser.ND) {
			nd.LinkLayer = parser.MAC{0x02, 0xcc, 0, 0, 0, 0x07}
		}))
		plain(name+"-tag-inline", "IEEE 802.1Q 9.6", tagged)
		plain(name+"-two-tags-inline", "IEEE 802.1Q 9.6", stacked)
		frame, tag := StripTag(ND(&tagged))
		vs = append(vs, NDVector{Name: name + "-tag-stripped", RFC: "packet(7)", Frame: frame, Tag: tag, ND: tagged})
		frame, tag = StripTag(ND(&stacked))
		vs = append(vs, NDVector{Name: name + "-tag-stripped-and-inline", RFC: "packet(7)", Frame: frame, Tag: tag, ND: stacked})
		valid(name+"-priority-tag", "IEEE 802.1Q 9.6", nd, InsertTag(ND(&nd), 0x8100, 0xe000))
		valid(name+"-priority-tag-then-vlan", "IEEE 802.1Q 9.6", tagged, InsertTag(ND(&tagged), 0x8100, 0xe000))
		vs = append(vs, NDVector{
			Name: name + "-priority-tag-stripped", RFC: "packet(7)", Frame: ND(&nd),
			Tag: parser.Tag{Present: true, TPID: 0x8100, TCI: 0xe000}, ND: nd,
		})
		valid(name+"-stacked-9100", "IEEE 802.1Q 9.6", stacked, InsertTag(InsertTag(ND(&nd), 0x9100, 100), 0x9100, 200))
		bad(name+"-three-tags", "IEEE 802.1Q 9.6", parser.ErrUnsupported, InsertTag(ND(&stacked), 0x8100, 0))
		vs = append(vs, NDVector{
			Name: name + "-three-tags-one-stripped", RFC: "packet(7)", Frame: ND(&stacked),
			Tag: parser.Tag{Present: true, TPID: 0x88a8, TCI: 300}, Err: parser.ErrUnsupported,
		})
		bad(name+"-vid-reserved", "IEEE 802.1Q table 9-2", parser.ErrUnsupported, InsertTag(ND(&nd), 0x8100, 4095))
		bad(name+"-vid-reserved-inner", "IEEE 802.1Q table 9-2", parser.ErrUnsupported,
			InsertTag(InsertTag(ND(&nd), 0x8100, 4095), 0x88a8, 100))

		valid(name+"-padding", "IEEE 802.3 3.2.8", nd, append(ND(&nd), 1, 1, 2, 3, 4, 5, 6, 7, 8))
		invalid(name+"-hop-limit-254", rules[i], set(nd, OffHopLimit, 254))
		invalid(name+"-hop-limit-0", rules[i], set(nd, OffHopLimit, 0))
		invalid(name+"-code", rules[i], set(nd, OffCode, 1))
		invalid(name+"-version-4", "RFC 8200 3", set(nd, OffIPv6, 0x40))
		valid(name+"-traffic-class-and-flow-label", "RFC 8200 3", nd, set(nd, OffIPv6, 0x6f, 0xff, 0xff, 0xff))

		for _, source := range []string{"::1", "ff02::1", "ff0e::5"} {
			invalid(name+"-from-"+source, "RFC 4291 2.5.3, 2.7", set(nd, OffSource, addrBytes(source)...))
		}
		for _, destination := range []string{"::", "::1", "ff00::1", "ff01::1", "ff11::1", "ff31::1"} {
			b := ND(&nd)
			b[OffFlags] &^= 0x40 // not solicited
			copy(b[OffDestination:], addrBytes(destination))
			invalid(name+"-to-"+destination, "RFC 4291 2.5.2, 2.5.3, 2.7 with erratum 3480", SetSum(b))
		}
		for _, destination := range []string{"::2", "fe80::", "ff02::", "ff12::1", "ff0e::1", "ff0f::1"} {
			unsolicited := with(nd, func(nd *parser.ND) { nd.Solicited, nd.Destination = false, Addr6(destination) })
			plain(name+"-to-"+destination, "RFC 4291 2.7", unsolicited)
		}

		good := ND(&nd)
		b := slices.Clone(good)
		b[OffSum] ^= 0x80
		invalid(name+"-checksum-first-bit", "RFC 4443 2.3", b)
		b = slices.Clone(good)
		b[OffSum+1] ^= 0x01
		invalid(name+"-checksum-last-bit", "RFC 4443 2.3", b)
		b = slices.Clone(good)
		b[OffSum]++
		vs = append(vs, NDVector{Name: name + "-checksum-pending", RFC: "packet(7)", Frame: b, SumPending: true, ND: nd})
		vs = append(vs, NDVector{
			Name: name + "-checksum-pending-but-computed", RFC: "packet(7)", Frame: good, SumPending: true, ND: nd,
		})
		b = slices.Clone(good)
		b[OffSum]++
		b[OffHopLimit] = 64
		vs = append(vs, NDVector{
			Name: name + "-checksum-pending-hop-limit", RFC: "packet(7)", Frame: b, SumPending: true, Err: parser.ErrInvalid,
		})
		b = slices.Clone(good)
		b[OffSum], b[OffSum+1] = 0, 0
		invalid(name+"-checksum-zero", "RFC 4443 2.3", b)
		b = slices.Clone(good)
		b[OffSource+15]++
		invalid(name+"-checksum-source", "RFC 4443 2.3", b)
		b = slices.Clone(good)
		b[OffDestination+15]++
		invalid(name+"-checksum-destination", "RFC 4443 2.3", b)
		b = slices.Clone(good)
		b[len(b)-1]++
		invalid(name+"-checksum-last-byte", "RFC 4443 2.3", b)

		fixed := []int{8, 16, 24, 24}[i]
		for n := range fixed {
			if n == 0 || n == 4 || n == 8 || n == 16 || n == fixed-1 {
				invalid(fmt.Sprint(name, "-length-", n), rules[i], cut(nd, n))
			}
		}
		invalid(name+"-option-one-byte", "RFC 4861 4.6", cut(nd, fixed+1))
		invalid(name+"-option-two-bytes", "RFC 4861 4.6", cut(nd, fixed+2))
		invalid(name+"-option-one-byte-short", "RFC 4861 4.6", cut(nd, fixed+7))
		// With a correct checksum as well as with one that is not verified.
		for _, n := range []int{1, 2, 4, 7} {
			vs = append(vs, NDVector{
				Name: fmt.Sprint(name, "-part-of-an-option-checksum-pending-", n), RFC: "RFC 4861 4.6",
				Frame: cut(nd, fixed+n), SumPending: true, Err: parser.ErrInvalid,
			})
		}
		invalid(name+"-option-length-0", rules[i], set(nd, OffICMPv6+fixed+1, 0))
		invalid(name+"-option-beyond-packet", "RFC 4861 4.6", set(nd, OffICMPv6+fixed+1, 2))
		invalid(name+"-option-255", "RFC 4861 4.6", set(nd, OffICMPv6+fixed+1, 255))
		invalid(name+"-unknown-option-length-0", rules[i], set(nd, OffICMPv6+fixed, 250, 0))
		invalid(name+"-unknown-option-beyond-packet", "RFC 4861 4.6", set(nd, OffICMPv6+fixed, 250, 2))
		invalid(name+"-option-beyond-packet-in-padding", "RFC 4861 4.6",
			append(set(nd, OffICMPv6+fixed+1, 2), make([]byte, 8)...))

		option := []byte{1, 1, 1, 2}[i]
		bare := with(nd, none)
		eight := []byte{2, 0xaa, 0, 0, 0, 5, 0, 0}
		invalid(name+"-link-layer-of-eight-bytes", "RFC 2464 6", AddOption(ND(&bare), option, eight...))
		valid(name+"-nonce-then-link-layer", "RFC 4861 4.6", nd,
			AddOption(AddOption(ND(&bare), 14, 1, 2, 3, 4, 5, 6), option, nd.LinkLayer[:]...))
		valid(name+"-link-layer-then-nonce", "RFC 4861 4.6", nd, AddOption(ND(&nd), 14, 1, 2, 3, 4, 5, 6))
		valid(name+"-long-unknown-option-then-link-layer", "RFC 4861 4.6", nd,
			AddOption(AddOption(ND(&bare), 253, make([]byte, 255*8-2)...), option, nd.LinkLayer[:]...))
		valid(name+"-two-link-layers", "RFC 4861 4.6: as Linux and FreeBSD, the first one", nd,
			AddOption(ND(&nd), option, 2, 0xcc, 0, 0, 0, 7))
		valid(name+"-second-link-layer-of-eight-bytes", "RFC 4861 4.6: as Linux and FreeBSD, ignored", nd,
			AddOption(ND(&nd), option, eight...))
		valid(name+"-other-link-layer", "RFC 4861 4.6.1: must be ignored", bare,
			AddOption(ND(&bare), 3-option, nd.LinkLayer[:]...))
		valid(name+"-other-link-layer-of-eight-bytes", "RFC 4861 4.6.1: must be ignored", bare,
			AddOption(ND(&bare), 3-option, eight...))

		for _, header := range []struct {
			name string
			next byte
		}{
			{"hop-by-hop", 0}, {"routing", 43}, {"fragment", 44}, {"esp", 50}, {"ah", 51}, {"destination-options", 60},
			{"mobility", 135}, {"hip", 139}, {"shim6", 140}, {"experiment-1", 253}, {"experiment-2", 254},
		} {
			bad(name+"-extension-"+header.name, "RFC 6980 5", parser.ErrUnsupported, InsertHeader(good, header.next))
		}
		for _, next := range []byte{1, 6, 17, 59} { // ICMPv4, TCP, UDP, none
			b := slices.Clone(good)
			b[OffNextHeader] = next
			bad(fmt.Sprint(name, "-next-header-", next), "RFC 8200 3", parser.ErrNotND, b)
		}
		bad(name+"-ethertype-ipv4", "RFC 2464 3", parser.ErrNotND, set4(good))
		bad(name+"-truncated", "packet(7), snaplen", parser.ErrShort, good[:len(good)-1])
		bad(name+"-truncated-at-type", "packet(7), snaplen", parser.ErrShort, good[:OffICMPv6+1])
		bad(name+"-payload-beyond-frame", "RFC 8200 3", parser.ErrShort, set(nd, OffPayloadLength, 0, byte(len(good)-OffICMPv6+8)))
		bad(name+"-payload-beyond-frame-hop-limit", "RFC 8200 3", parser.ErrShort,
			set(nd, OffPayloadLength, 0xff, 0xff, 58, 64))
	}

	// The types next to ours, of MLD (132) and redirects (137), and others.
	for _, kind := range []byte{0, 1, 128, 132, 137, 143, 255} {
		bad(fmt.Sprint("icmpv6-type-", kind), "RFC 4861 4", parser.ErrNotND, set(neighborSolicitation, OffICMPv6, kind))
	}

	// Rules of one type.
	unspecified := func(nd *parser.ND) { nd.Source = parser.Addr6{} }
	plain("rs-unspecified", "RFC 4861 6.1.1", with(with(routerSolicitation, none), unspecified))
	plain("rs-global", "RFC 4861 6.1.1", with(routerSolicitation, func(nd *parser.ND) { nd.Source = ndHost }))
	invalid("rs-unspecified-with-link-layer", "RFC 4861 6.1.1", build(with(routerSolicitation, unspecified)))
	for _, source := range []string{"::", "::1", "2001:db8::5", "fe7f:ffff::1", "fec0::1", "fc80::1", "ff02::1"} {
		invalid("ra-from-"+source, "RFC 4861 6.1.2",
			build(with(with(routerAdvertisement, none), func(nd *parser.ND) { nd.Source = Addr6(source) })))
	}
	plain("ra-link-local-first", "RFC 4291 2.5.6", with(routerAdvertisement, func(nd *parser.ND) { nd.Source = Addr6("fe80::") }))
	plain("ra-link-local-last", "RFC 4291 2.5.6",
		with(routerAdvertisement, func(nd *parser.ND) { nd.Source = Addr6("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff") }))
	valid("ra-prefix-and-mtu", "RFC 4861 4.2", routerAdvertisement, AddOption(
		AddOption(build(routerAdvertisement), 5, 0, 0, 0, 0, 5, 0xdc),
		3, append([]byte{64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 7, 8, 0, 0, 0, 0, 0x20, 1, 0x0d, 0xb8}, make([]byte, 12)...)...))

	probe := with(with(neighborSolicitation, none), unspecified)
	plain("ns-duplicate-address-detection", "RFC 4862 5.4.2", probe)
	invalid("ns-unspecified-with-link-layer", "RFC 4861 7.1.1", build(with(neighborSolicitation, unspecified)))
	for _, destination := range []string{
		"2001:db8::9", "ff02::1", "ff02::2", "ff02::1:fe00:9", "ff02::1:ffff:0:9", "ff02::2:ff00:9", "ff05::1:ff00:9",
		"fe02::1:ff00:9", "ff02:0:0:1::1:ff00:9", "ff02::101:ff00:9", "ff02:0:0:0:1:1:ff00:9", "ff02:1::1:ff00:9",
	} {
		invalid("ns-unspecified-to-"+destination, "RFC 4861 7.1.1",
			build(with(probe, func(nd *parser.ND) { nd.Destination = Addr6(destination) })))
	}
	for _, destination := range []string{"ff02::1:ff00:0", "ff02::1:ffff:ffff"} {
		plain("ns-unspecified-to-"+destination, "RFC 4291 2.7.1",
			with(probe, func(nd *parser.ND) { nd.Destination = Addr6(destination) }))
	}
	plain("ns-unicast", "RFC 4861 7.2.2: unreachability detection", with(neighborSolicitation, func(nd *parser.ND) {
		nd.Destination = ndTarget
	}))
	valid("ns-flags", "RFC 4861 4.3: reserved, ignored", neighborSolicitation, set(neighborSolicitation, OffFlags, 0xff, 0xff, 0xff, 0xff))
	for _, nd := range []parser.ND{neighborSolicitation, neighborAdvertisement} {
		name, rfc := "ns", "RFC 4861 7.1.1"
		if nd.Type == parser.TypeNeighborAdvertisement {
			name, rfc = "na", "RFC 4861 7.1.2"
		}
		for _, target := range []string{"ff02::1", "ff00::", "ff02::1:ff00:9"} {
			invalid(name+"-target-"+target, rfc, build(with(nd, func(nd *parser.ND) { nd.Target = Addr6(target) })))
		}
		plain(name+"-target-unspecified", rfc, with(nd, func(nd *parser.ND) { nd.Target = parser.Addr6{} }))
		for _, target := range []string{"::ffff:224.0.0.1", "::ffff:127.0.0.1"} { // no group of IPv6
			plain(name+"-target-"+target, rfc, with(nd, func(nd *parser.ND) { nd.Target = Addr6(target) }))
		}
		plain(name+"-target-below-multicast", rfc, with(nd, func(nd *parser.ND) { nd.Target = Addr6("feff::1") }))
	}
	toAll := func(nd *parser.ND) { nd.Destination = ndAllNodes }
	invalid("na-solicited-to-multicast", "RFC 4861 7.1.2", build(with(neighborAdvertisement, toAll)))
	plain("na-unsolicited-to-multicast", "RFC 4861 7.2.6",
		with(with(neighborAdvertisement, toAll), func(nd *parser.ND) { nd.Solicited = false }))
	for flags := range byte(8) {
		plain(fmt.Sprint("na-flags-", flags), "RFC 4861 4.4", with(neighborAdvertisement, func(nd *parser.ND) {
			nd.Router, nd.Solicited, nd.Override = flags&4 != 0, flags&2 != 0, flags&1 != 0
		}))
	}
	valid("na-reserved-bits", "RFC 4861 4.4: ignored", neighborAdvertisement, set(neighborAdvertisement, OffFlags, 0x7f, 0xff, 0xff, 0xff))

	// Frames that end early.
	bad("empty", "IEEE 802.3 3.2", parser.ErrShort, nil)
	bad("ipv6-header-cut-off", "RFC 8200 3", parser.ErrShort, build(neighborSolicitation)[:OffICMPv6-1])
	bad("ipv6-header-only", "RFC 8200 3", parser.ErrShort, build(neighborSolicitation)[:OffICMPv6])
	for n := range 4 {
		bad(fmt.Sprint("icmpv6-header-of-", n, "-bytes"), "RFC 4443 2.1", parser.ErrShort,
			set(neighborSolicitation, OffICMPv6, 128)[:OffICMPv6+n])
	}
	bad("arp", "RFC 826", parser.ErrNotND, append([]byte{
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0xaa, 0, 0, 0, 5, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
		2, 0xaa, 0, 0, 0, 5, 10, 0, 0, 5, 0, 0, 0, 0, 0, 0, 10, 0, 0, 9,
	}, make([]byte, 18)...))
	return vs
}

// rules are the sections with the rules for receivers, in the order of NDPackets.
var rules = [...]string{"RFC 4861 6.1.1", "RFC 4861 6.1.2", "RFC 4861 7.1.1", "RFC 4861 7.1.2"}

func build(nd parser.ND) []byte { return ND(&nd) }

func addrBytes(s string) []byte {
	a := Addr6(s)
	return a[:]
}

// set4 returns a frame with the EtherType of IPv4.
func set4(frame []byte) []byte {
	b := slices.Clone(frame)
	b[OffEtherType], b[OffEtherType+1] = 0x08, 0x00
	return b
}
