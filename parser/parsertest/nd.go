package parsertest

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"maas-netmon/parser"
)

// Offsets in the frames that [ND] returns for packets without a VLAN, and in those of [StripTag].
const (
	OffEtherType     = 12
	OffIPv6          = 14
	OffPayloadLength = OffIPv6 + 4
	OffNextHeader    = OffIPv6 + 6
	OffHopLimit      = OffIPv6 + 7
	OffSource        = OffIPv6 + 8
	OffDestination   = OffIPv6 + 24
	OffICMPv6        = OffIPv6 + 40 // the type
	OffCode          = OffICMPv6 + 1
	OffSum           = OffICMPv6 + 2
	OffFlags         = OffICMPv6 + 4
	OffTarget        = OffICMPv6 + 8
)

// ND returns a frame with a Neighbor Discovery packet from which [parser.ParseND] makes nd. VLANs
// are tags in the frame, with the TPID 0x8100, or 0x88a8 for the outer one of two.
func ND(nd *parser.ND) []byte {
	b := slices.Concat(nd.EthernetDestination[:], nd.EthernetSource[:])
	tpid := uint16(0x8100)
	if nd.InnerVID != 0 {
		tpid = 0x88a8
	}
	for _, vid := range []uint16{nd.VID, nd.InnerVID} {
		if vid != 0 {
			b = binary.BigEndian.AppendUint16(b, tpid)
			b = binary.BigEndian.AppendUint16(b, vid)
		}
		tpid = 0x8100
	}
	b = append(b, 0x86, 0xdd)
	ip := len(b)
	b = append(b, 0x60, 0, 0, 0, 0, 0, 58, 255)
	b = append(b, nd.Source[:]...)
	b = append(b, nd.Destination[:]...)
	b = append(b, nd.Type, 0, 0, 0)
	option := byte(1)
	switch nd.Type {
	case parser.TypeRouterSolicitation:
		b = append(b, 0, 0, 0, 0)
	case parser.TypeRouterAdvertisement:
		b = append(b, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0)
	default:
		var flags byte
		for i, set := range []bool{nd.Router, nd.Solicited, nd.Override} {
			if set {
				flags |= 0x80 >> i
			}
		}
		b = append(b, flags, 0, 0, 0)
		b = append(b, nd.Target[:]...)
		if nd.Type == parser.TypeNeighborAdvertisement {
			option = 2
		}
	}
	if nd.HasLinkLayer {
		b = append(b, option, 1)
		b = append(b, nd.LinkLayer[:]...)
	}
	binary.BigEndian.PutUint16(b[ip+4:], uint16(len(b)-ip-40))
	return SetSum(b)
}

// AddOption appends an option with a type and a body to the packet of a frame of [ND]. The body
// does not have the length, in units of 8 bytes; it is that of the option with zeros for padding.
func AddOption(frame []byte, kind byte, body ...byte) []byte {
	n := (2 + len(body) + 7) / 8
	option := make([]byte, 8*n)
	option[0], option[1] = kind, byte(n)
	copy(option[2:], body)
	frame = slices.Concat(frame, option)
	ip := ipv6(frame)
	binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+uint16(len(option)))
	return SetSum(frame)
}

// SetSum sets the checksum of the ICMPv6 message in a frame, which it modifies and returns. The
// message has the length in the IPv6 header, or ends at the end of a shorter frame. A message that
// ends before its checksum stays as it is.
func SetSum(frame []byte) []byte {
	ip := ipv6(frame)
	message := ip[40:]
	message = message[:min(len(message), int(binary.BigEndian.Uint16(ip[4:])))]
	if len(message) < 4 {
		return frame
	}
	clear(message[2:4])
	pseudo := slices.Concat(ip[8:40], []byte{0, 0, ip[4], ip[5], 0, 0, 0, 58}, message)
	if len(pseudo)%2 != 0 {
		pseudo = append(pseudo, 0)
	}
	var sum uint32
	for ; len(pseudo) > 0; pseudo = pseudo[2:] {
		sum += uint32(binary.BigEndian.Uint16(pseudo))
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(message[2:], ^uint16(sum))
	return frame
}

// ipv6 returns the IPv6 packet in a frame and what follows it.
func ipv6(frame []byte) []byte {
	rest := frame[12:]
	for !bytes.HasPrefix(rest, []byte{0x86, 0xdd}) {
		rest = rest[4:]
	}
	return rest[2:]
}

// InsertTag returns a frame with one more tag, the outermost one.
func InsertTag(frame []byte, tpid, tci uint16) []byte {
	tag := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, tpid), tci)
	return slices.Concat(frame[:12], tag, frame[12:])
}

// InsertHeader returns a frame of [ND] with an extension header of 8 bytes, of this type, between
// the header of IPv6 and the message. As options, the bytes of the header are padding.
func InsertHeader(frame []byte, kind byte) []byte {
	n := len(frame) - len(ipv6(frame))
	b := slices.Concat(frame[:n+40], []byte{58, 0, 1, 4, 0, 0, 0, 0}, frame[n+40:])
	b[n+6] = kind
	binary.BigEndian.PutUint16(b[n+4:], binary.BigEndian.Uint16(b[n+4:])+8)
	return b
}

// StripTag returns a frame without its outermost tag, and that tag, as the kernel delivers it.
func StripTag(frame []byte) ([]byte, parser.Tag) {
	tag := parser.Tag{
		Present: true,
		TPID:    binary.BigEndian.Uint16(frame[12:]),
		TCI:     binary.BigEndian.Uint16(frame[14:]),
	}
	return slices.Concat(frame[:12], frame[16:]), tag
}

// Addr6 returns the IPv6 address with a text form.
func Addr6(s string) parser.Addr6 {
	a := netip.MustParseAddr(s)
	if !a.Is6() {
		panic(s + " is no IPv6 address")
	}
	return a.As16()
}

// ParseND calls [parser.ParseND] with an ND that still contains another packet, which ParseND must
// overwrite completely.
func ParseND(frame []byte, tag parser.Tag, sumPending bool) (parser.ND, error) {
	mac := parser.MAC{0xde, 0xad, 0xde, 0xad, 0xde, 0xad}
	addr := parser.Addr6{0xde, 0xad, 0xde, 0xad, 15: 0xad}
	nd := parser.ND{
		EthernetDestination: mac, EthernetSource: mac, VID: 4000, InnerVID: 4001, Type: 255,
		Router: true, Solicited: true, Override: true,
		Source: addr, Destination: addr, Target: addr, LinkLayer: mac, HasLinkLayer: true,
	}
	err := parser.ParseND(&nd, frame, tag, sumPending)
	return nd, err
}
