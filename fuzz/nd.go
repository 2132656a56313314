package fuzz

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"maas-netmon/parser"
)

// pendingBit is set in the first byte of an input if the checksum is not computed yet.
const pendingBit = 2

// encodeND encodes a frame, its tag, and whether its checksum is pending as an input.
func encodeND(frame []byte, tag parser.Tag, sumPending bool) []byte {
	b := encodeFrame(frame, tag)
	if sumPending {
		b[0] |= pendingBit
	}
	return b
}

// decodeND decodes what encodeND has encoded.
func decodeND(b []byte) (frame []byte, tag parser.Tag, sumPending, ok bool) {
	frame, tag, ok = decodeFrame(b)
	return frame, tag, ok && b[0]&pendingBit != 0, ok
}

// referenceND decodes a frame like parser.ParseND, in small steps and without shared code. The
// addresses are those of net/netip, and the rules are in the order of RFC 4861.
func referenceND(frame []byte, tag parser.Tag, sumPending bool) (parser.ND, error) {
	destination, source, tcis, etherType, rest, err := splitTags(frame, tag)
	if err != nil {
		return parser.ND{}, err
	}
	if etherType != "\x86\xdd" {
		return parser.ND{}, parser.ErrNotND
	}
	if len(rest) < 40 {
		return parser.ND{}, parser.ErrShort
	}
	header, rest := rest[:40], rest[40:]
	switch next := int(header[6]); {
	case slices.Contains([]int{0, 43, 44, 50, 51, 60, 135, 139, 140, 253, 254}, next):
		return parser.ND{}, parser.ErrUnsupported
	case next != 58:
		return parser.ND{}, parser.ErrNotND
	case len(rest) < 4:
		return parser.ND{}, parser.ErrShort
	case rest[0] < 133 || rest[0] > 136:
		return parser.ND{}, parser.ErrNotND
	}
	kind := rest[0]
	length := int(binary.BigEndian.Uint16(header[4:]))
	if length > len(rest) {
		return parser.ND{}, parser.ErrShort
	}
	vid, inner, err := vids(tcis)
	if err != nil {
		return parser.ND{}, err
	}
	message := rest[:length]
	if !isValid(header, message, kind, sumPending) {
		return parser.ND{}, parser.ErrInvalid
	}
	nd := parser.ND{
		EthernetDestination: destination, EthernetSource: source, VID: vid, InnerVID: inner,
		Type: kind, Source: parser.Addr6(header[8:]), Destination: parser.Addr6(header[24:]),
	}
	if kind >= 135 {
		nd.Target = parser.Addr6(message[8:])
	}
	wanted := byte(1)
	if kind == 136 {
		nd.Router, nd.Solicited, nd.Override = message[4]>>7 == 1, message[4]>>6&1 == 1, message[4]>>5&1 == 1
		wanted = 2
	}
	options, _ := splitOptions(message, kind)
	for _, option := range options {
		if option[0] != wanted {
			continue
		}
		if len(option) != 8 {
			return parser.ND{}, parser.ErrInvalid
		}
		nd.LinkLayer, nd.HasLinkLayer = parser.MAC(option[2:]), true
		break
	}
	return nd, nil
}

// isValid applies the rules for receivers of RFC 4861, and those for addresses of RFC 4291.
func isValid(header, message []byte, kind byte, sumPending bool) bool {
	source := netip.AddrFrom16([16]byte(header[8:]))
	destination := netip.AddrFrom16([16]byte(header[24:]))
	if header[0]/16 != 6 || header[7] != 255 {
		return false
	}
	// The methods of netip.Addr count an IPv4-mapped address as what its IPv4 address is.
	within := func(prefix string, addr netip.Addr) bool { return netip.MustParsePrefix(prefix).Contains(addr) }
	if within("ff00::/8", source) || within("::1/128", source) || within("::/127", destination) {
		return false
	}
	if within("ff00::/8", destination) && header[25]%16 < 2 { // the scope
		return false
	}
	if len(message) < map[byte]int{133: 8, 134: 16, 135: 24, 136: 24}[kind] || message[1] != 0 {
		return false
	}
	if !sumPending && onesComplement(header, message) != 0xffff {
		return false
	}
	options, ok := splitOptions(message, kind)
	if !ok {
		return false
	}
	hasSource := slices.ContainsFunc(options, func(option []byte) bool { return option[0] == 1 })
	switch kind {
	case 133:
		return !(source.IsUnspecified() && hasSource)
	case 134:
		return source.IsLinkLocalUnicast()
	}
	if within("ff00::/8", netip.AddrFrom16([16]byte(message[8:]))) {
		return false
	}
	if kind == 136 {
		return !(within("ff00::/8", destination) && message[4]&0x40 != 0)
	}
	solicited := within("ff02::1:ff00:0/104", destination)
	return !source.IsUnspecified() || solicited && !hasSource
}

// splitOptions splits the options of a message. ok is false if one has no length, or ends after the
// message.
func splitOptions(message []byte, kind byte) (options [][]byte, ok bool) {
	message = message[map[byte]int{133: 8, 134: 16, 135: 24, 136: 24}[kind]:]
	for len(message) > 0 {
		if len(message) == 1 || message[1] == 0 || 8*int(message[1]) > len(message) {
			return nil, false
		}
		options = append(options, message[:8*int(message[1])])
		message = message[8*int(message[1]):]
	}
	return options, true
}

// onesComplement returns the sum of RFC 4443 2.3 over the pseudo-header of RFC 8200 8.1 and the
// message, with its checksum.
func onesComplement(header, message []byte) uint16 {
	b := slices.Concat(header[8:40], []byte{0, 0, byte(len(message) >> 8), byte(len(message)), 0, 0, 0, header[6]}, message)
	sum := 0
	for i, v := range b {
		if i%2 == 0 {
			sum += int(v) << 8
		} else {
			sum += int(v)
		}
		if sum > 0xffff {
			sum -= 0xffff
		}
	}
	return uint16(sum)
}
