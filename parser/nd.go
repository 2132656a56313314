package parser

import "errors"

// The reasons why [ParseND] cannot decode a frame, in addition to [ErrShort] and [ErrUnsupported].
// ParseND returns these values unwrapped, like [Parse].
var (
	// ErrNotND: the EtherType after any VLAN tags is not that of IPv6, or the packet is not one of
	// the four kinds of Neighbor Discovery that ParseND decodes.
	ErrNotND = errors.New("not a Neighbor Discovery frame")
	// ErrInvalid: a packet that every receiver must discard: RFC 4861 6.1.1, 6.1.2, 7.1.1 or 7.1.2,
	// an address that no packet on a link may have (RFC 4291 2.5.2, 2.5.3 and 2.7), or a link-layer
	// address that is not one of Ethernet (RFC 2464 6).
	ErrInvalid = errors.New("invalid Neighbor Discovery frame")
)

// Addr6 is an address of IPv6, first byte on the wire first.
type Addr6 [addr6Len]byte

// The types of ICMPv6 that [ParseND] decodes (RFC 4861 4.1 to 4.4).
const (
	TypeRouterSolicitation    = 133
	TypeRouterAdvertisement   = 134
	TypeNeighborSolicitation  = 135
	TypeNeighborAdvertisement = 136
)

// Lengths, in bytes.
const (
	addr6Len    = 16
	ipv6Len     = 8 + 2*addr6Len // RFC 8200 3
	icmpv6Len   = 4              // RFC 4443 2.1: type, code, checksum
	optionUnit  = 8              // RFC 4861 4.6: an option's length is in these units
	solicitLen  = icmpv6Len + 4  // RFC 4861 4.1 to 4.4: the messages without their options
	advertLen   = icmpv6Len + 12
	neighborLen = icmpv6Len + 4 + addr6Len
)

// Offsets within the IPv6 packet, in bytes (RFC 8200 3).
const (
	offVersion       = 0 // the upper half of the byte
	offPayloadLength = 4
	offNextHeader    = 6
	offHopLimit      = 7
	offSource        = 8
	offDestination   = offSource + addr6Len
)

// Offsets within the ICMPv6 message and in an option, in bytes (RFC 4861 4.3, 4.4, 4.6.1).
const (
	offCode      = 1
	offFlags     = 4
	offTarget    = 8
	offOptionLen = 1
	offLinkLayer = 2
)

// The values of fields.
const (
	etherTypeIPv6 = 0x86dd // RFC 2464 3
	version6      = 6
	nextICMPv6    = 58
	hopLimit      = 255 // no router has forwarded the packet (RFC 4861 3.1)

	flagRouter    = 0x80 // RFC 4861 4.4
	flagSolicited = 0x40
	flagOverride  = 0x20

	optionSource = 1 // RFC 4861 4.6.1
	optionTarget = 2
)

// ND is one Neighbor Discovery packet for Ethernet (RFC 4861), with the addresses and VLANs of the
// frame. It is comparable and refers to no buffer.
type ND struct {
	EthernetDestination MAC
	EthernetSource      MAC

	// VID and InnerVID are those of [ARP].
	VID      uint16
	InnerVID uint16

	Type uint8

	// Router, Solicited and Override are the flags of a neighbor advertisement (RFC 4861 4.4), and
	// false in the other types.
	Router    bool
	Solicited bool
	Override  bool

	Source      Addr6 // of the IPv6 packet
	Destination Addr6
	Target      Addr6 // of a neighbor solicitation or advertisement, otherwise ::

	// LinkLayer is the target link-layer address of a neighbor advertisement, and the source
	// link-layer address of the other types. HasLinkLayer reports whether the packet has it.
	LinkLayer    MAC
	HasLinkLayer bool
}

// ParseND decodes into nd the Neighbor Discovery packet in an Ethernet II frame: a router or
// neighbor solicitation or advertisement. Frame and tag are those of [Parse], and bytes after the
// packet are ignored. sumPending is true if the kernel reports that the checksum of a frame from
// this host is not computed yet (packet(7), TP_STATUS_CSUMNOTREADY); then it is not verified.
//
// ParseND refuses each packet that a receiver must discard. It refuses packets with an extension
// header, too: a fragment header is forbidden (RFC 6980 5), and the others have no use in Neighbor
// Discovery but to hide a packet from observers.
//
// On error, which is [ErrShort], [ErrNotND], [ErrUnsupported] or [ErrInvalid], nd is set to the
// zero value. ErrShort is also the error for a frame that ends before its IPv6 packet does. ParseND
// is safe for concurrent use.
func ParseND(nd *ND, frame []byte, tag Tag, sumPending bool) error {
	*nd = ND{}
	vid, inner, rest, err := afterTags(frame, tag)
	if err != nil {
		return err
	}
	if uint16At(rest, 0) != etherTypeIPv6 {
		return ErrNotND
	}
	packet := rest[etherTypeLen:]
	if len(packet) < ipv6Len {
		return ErrShort
	}
	if next := packet[offNextHeader]; next != nextICMPv6 {
		if isExtension(next) {
			return ErrUnsupported
		}
		return ErrNotND
	}
	if len(packet) < ipv6Len+icmpv6Len {
		return ErrShort
	}
	kind := packet[ipv6Len]
	fixed, option := neighborLen, byte(optionSource)
	switch kind {
	case TypeRouterSolicitation:
		fixed = solicitLen
	case TypeRouterAdvertisement:
		fixed = advertLen
	case TypeNeighborSolicitation:
	case TypeNeighborAdvertisement:
		option = optionTarget
	default:
		return ErrNotND
	}
	length := int(uint16At(packet, offPayloadLength))
	if len(packet) < ipv6Len+length {
		return ErrShort
	}
	packet = packet[:ipv6Len+length]
	if vid == reservedVID || inner == reservedVID {
		return ErrUnsupported
	}

	// The messages without options and all options are multiples of optionUnit, so that a packet of
	// another length ends within an option.
	if packet[offVersion]>>4 != version6 || packet[offHopLimit] != hopLimit ||
		length < fixed || length%optionUnit != 0 {
		return ErrInvalid
	}
	message := packet[ipv6Len:]
	if message[offCode] != 0 || !sumPending && !isSumCorrect(packet) {
		return ErrInvalid
	}
	linkLayer, ok := findOption(message[fixed:], option)
	if !ok {
		return ErrInvalid
	}
	source := Addr6(packet[offSource:offDestination])
	destination := Addr6(packet[offDestination:ipv6Len])
	if source.isMulticast() || source.isLoopback() || !destination.isReachable() {
		return ErrInvalid
	}
	flags := message[offFlags]
	switch kind {
	case TypeRouterSolicitation:
		if source == (Addr6{}) && linkLayer != nil {
			return ErrInvalid
		}
	case TypeRouterAdvertisement:
		if !source.isLinkLocal() {
			return ErrInvalid
		}
	case TypeNeighborSolicitation:
		if source == (Addr6{}) && (linkLayer != nil || !destination.isSolicitedNode()) {
			return ErrInvalid
		}
	case TypeNeighborAdvertisement:
		if flags&flagSolicited != 0 && destination.isMulticast() {
			return ErrInvalid
		}
		nd.Router = flags&flagRouter != 0
		nd.Solicited = flags&flagSolicited != 0
		nd.Override = flags&flagOverride != 0
	}
	if fixed == neighborLen {
		target := Addr6(message[offTarget:neighborLen])
		if target.isMulticast() {
			*nd = ND{}
			return ErrInvalid
		}
		nd.Target = target
	}
	nd.EthernetDestination = MAC(frame[:hardwareLen])
	nd.EthernetSource = MAC(frame[hardwareLen : 2*hardwareLen])
	nd.VID = vid
	nd.InnerVID = inner
	nd.Type = kind
	nd.Source = source
	nd.Destination = destination
	if linkLayer != nil {
		nd.LinkLayer = MAC(linkLayer)
		nd.HasLinkLayer = true
	}
	return nil
}

// findOption returns the Ethernet address in the first option of a type, or nil if there is none.
// Receivers ignore a second option of the same type, and this function must not return another
// address than they use. ok is false if an option has no length or ends after the packet (RFC 4861
// 4.6), or if the address is not one of Ethernet. The length of options must be a multiple of
// optionUnit.
func findOption(options []byte, kind byte) (linkLayer []byte, ok bool) {
	for len(options) >= optionUnit {
		n := int(options[offOptionLen]) * optionUnit
		if n == 0 || n > len(options) {
			return nil, false
		}
		if options[0] == kind && linkLayer == nil {
			if n != offLinkLayer+hardwareLen {
				return nil, false
			}
			linkLayer = options[offLinkLayer:n]
		}
		options = options[n:]
	}
	return linkLayer, true
}

// isExtension reports whether a next header is an extension header, of the IANA registry "IPv6
// Extension Header Types".
func isExtension(next byte) bool {
	switch next {
	case 0, // hop-by-hop options
		43,       // routing
		44,       // fragment
		50,       // ESP
		51,       // AH
		60,       // destination options
		135,      // mobility
		139,      // HIP
		140,      // shim6
		253, 254: // experiments
		return true
	}
	return false
}

// isSumCorrect verifies the checksum of an ICMPv6 message in an IPv6 packet without extension
// headers (RFC 4443 2.3). The length of the packet must be a multiple of 8.
//
// The addresses of the pseudo-header (RFC 8200 8.1) precede the message in the packet, so that one
// sum covers both; the length and the next header are added to it.
func isSumCorrect(packet []byte) bool {
	sum := uint64(len(packet)-ipv6Len) + nextICMPv6
	// 2^16 is 1 modulo 2^16-1: words of 32 bits have the same sum as those of 16 bits.
	for b := packet[offSource:]; len(b) >= 8; b = b[8:] {
		words := uint64(b[0])<<56 | uint64(b[1])<<48 | uint64(b[2])<<40 | uint64(b[3])<<32 |
			uint64(b[4])<<24 | uint64(b[5])<<16 | uint64(b[6])<<8 | uint64(b[7])
		sum += words>>32 + words&0xffffffff
	}
	return sum%0xffff == 0
}

// isReachable reports whether a packet on a link can have the address as its destination: it is not
// ::, not the loopback address, and not a multicast address of a reserved scope or of the scope of
// one interface.
func (a *Addr6) isReachable() bool {
	if a.isMulticast() {
		return a[1]&0x0f > 1 // RFC 4291 2.7 with erratum 3480
	}
	return *a != Addr6{} && !a.isLoopback()
}

func (a *Addr6) isLoopback() bool {
	return *a == Addr6{15: 1} // RFC 4291 2.5.3
}

func (a *Addr6) isMulticast() bool {
	return a[0] == 0xff // RFC 4291 2.7
}

// isLinkLocal reports whether the address is in fe80::/10.
func (a *Addr6) isLinkLocal() bool {
	return a[0] == 0xfe && a[1]&0xc0 == 0x80 // RFC 4291 2.5.6
}

// isSolicitedNode reports whether the address is in ff02::1:ff00:0/104.
func (a *Addr6) isSolicitedNode() bool {
	return [13]byte(a[:]) == [13]byte{0: 0xff, 1: 0x02, 11: 0x01, 12: 0xff} // RFC 4291 2.7.1
}
