// Package parser decodes the ARP packet or the Neighbor Discovery packet in an Ethernet frame.
//
// It runs in the confined parser process and is the first code that reads untrusted bytes from the
// LAN. So it consists of pure functions: no state, no time, no log, no I/O, no allocation, and no
// import but the errors package. They never modify a frame and keep no reference to it: an [ARP] or
// [ND] is a plain value, and the caller may reuse the frame's buffer as soon as [Parse] or
// [ParseND] returns.
//
// It knows Ethernet II, VLAN tags (IEEE 802.1Q), ARP for IPv4 over Ethernet (RFC 826), and the
// router and neighbor solicitations and advertisements of IPv6 (RFC 4861). It does not decide which
// addresses form a binding: it decodes an ARP probe, duplicate address detection, a zero hardware
// address or an unknown operation like any other, and package tracker decides.
//
// Frames in IEEE 802.3 format with an LLC header, ARP for other hardware or protocol types, and
// IPv6 packets with extension headers are refused; see [ErrNotARP], [ErrNotND] and
// [ErrUnsupported].
package parser

import "errors"

// The reasons why [Parse] cannot decode a frame. Parse returns these values unwrapped, so that the
// caller can compare and count them.
var (
	// ErrShort: the frame ends before the next header is complete, or before its IPv6 packet ends.
	ErrShort = errors.New("frame too short")
	// ErrNotARP: the EtherType after any VLAN tags is not that of ARP.
	ErrNotARP = errors.New("not an ARP frame")
	// ErrUnsupported: more than two VLAN tags, the reserved VLAN ID 4095, ARP for other types than
	// IPv4 over Ethernet, or IPv6 with an extension header.
	ErrUnsupported = errors.New("unsupported frame")
)

// Lengths of the headers, in bytes.
const (
	hardwareLen = 6 // an Ethernet address
	protocolLen = 4 // an IPv4 address

	etherTypeLen = 2
	etherLen     = 2*hardwareLen + etherTypeLen // IEEE 802.3 3.2: destination, source, EtherType
	tagLen       = 4                            // IEEE 802.1Q 9.4: TPID and TCI
	arpLen       = 8 + 2*hardwareLen + 2*protocolLen

	// maxTags is the largest number of VLAN tags, including one that the kernel stripped.
	maxTags = 2

	// MaxLen is the largest number of bytes of a frame that [Parse] reads: an ARP packet after
	// maxTags in-line tags. A frame truncated to MaxLen gives the same result.
	MaxLen = etherLen + maxTags*tagLen + arpLen
)

// EtherTypes, in host byte order.
const (
	etherTypeIPv4 = 0x0800
	etherTypeARP  = 0x0806
	tpidCustomer  = 0x8100 // C-TAG, IEEE 802.1Q table 9-1
	tpidService   = 0x88a8 // S-TAG, the same table
	tpidStacked   = 0x9100 // stacked tags of devices from before the S-TAG
)

// vidMask selects the VID in a TCI; the other bits are PCP and DEI (IEEE 802.1Q 9.6).
const vidMask = 0x0fff

// reservedVID must not be transmitted in a tag (IEEE 802.1Q table 9-2).
const reservedVID = 0xfff

// hardwareEthernet is the HTYPE of Ethernet (RFC 826, "ares_hrd$Ethernet").
const hardwareEthernet = 1

// Offsets within the ARP packet, in bytes (RFC 826, "Packet format").
const (
	offHardwareType   = 0
	offProtocolType   = 2
	offHardwareLen    = 4
	offProtocolLen    = 5
	offOperation      = 6
	offSenderHardware = 8
	offSenderProtocol = offSenderHardware + hardwareLen
	offTargetHardware = offSenderProtocol + protocolLen
	offTargetProtocol = offTargetHardware + hardwareLen
)

// The operations that carry bindings (RFC 826, "ares_op$").
const (
	OperationRequest = 1
	OperationReply   = 2
)

// Tag is the VLAN tag that the kernel stripped from a frame and reports separately; see packet(7),
// PACKET_AUXDATA. It is the outermost tag of the frame. All numbers are in host byte order.
type Tag struct {
	Present bool
	TPID    uint16 // not read: the kernel strips only tags
	TCI     uint16
}

// ARP is one ARP packet for IPv4 over Ethernet, with the addresses and VLANs of the frame. It is
// comparable and refers to no buffer. Numbers are in host byte order.
type ARP struct {
	EthernetDestination MAC
	EthernetSource      MAC

	// VID is the outermost VLAN ID that is not 0, InnerVID a second one; 0 means none. A priority
	// tag, whose VID is 0, names no VLAN (IEEE 802.1Q 9.6), so the VID of the tag after it is the
	// outermost.
	VID      uint16
	InnerVID uint16

	Operation      uint16
	SenderHardware MAC
	SenderProtocol Addr
	TargetHardware MAC
	TargetProtocol Addr
}

// Parse decodes into arp the ARP packet in an Ethernet II frame that starts with the destination
// address. Bytes after the packet, such as padding or a frame check sequence, are ignored. tag is
// the tag that the kernel stripped; tags still in the frame are recognized by their TPID, 0x8100,
// 0x88a8 or 0x9100. At most two tags in total are allowed, priority tags included.
//
// On error, which is [ErrShort], [ErrNotARP] or [ErrUnsupported], arp is set to the zero value.
// Parse fills arp in place because returning it would cost more than the decoding: the processor
// stalls when it copies bytes that it has just written in pieces of another size. Parse is safe for
// concurrent use.
func Parse(arp *ARP, frame []byte, tag Tag) error {
	*arp = ARP{}
	vid, inner, rest, err := afterTags(frame, tag)
	if err != nil {
		return err
	}
	if uint16At(rest, 0) != etherTypeARP {
		return ErrNotARP
	}
	rest = rest[etherTypeLen:]
	if len(rest) < arpLen {
		return ErrShort
	}
	p := rest[:arpLen]

	// The lengths follow from the types, but the offsets of the addresses are valid only if the
	// packet itself has these lengths.
	if uint16At(p, offHardwareType) != hardwareEthernet ||
		uint16At(p, offProtocolType) != etherTypeIPv4 ||
		p[offHardwareLen] != hardwareLen ||
		p[offProtocolLen] != protocolLen ||
		vid == reservedVID || inner == reservedVID {
		return ErrUnsupported
	}
	arp.EthernetDestination = MAC(frame[:hardwareLen])
	arp.EthernetSource = MAC(frame[hardwareLen : 2*hardwareLen])
	arp.VID = vid
	arp.InnerVID = inner
	arp.Operation = uint16At(p, offOperation)
	arp.SenderHardware = MAC(p[offSenderHardware:offSenderProtocol])
	arp.SenderProtocol = Addr(p[offSenderProtocol:offTargetHardware])
	arp.TargetHardware = MAC(p[offTargetHardware:offTargetProtocol])
	arp.TargetProtocol = Addr(p[offTargetProtocol:])
	return nil
}

// afterTags passes over the VLAN tags of a frame. It returns the VIDs, and the frame from the
// EtherType on, which is at least two bytes long.
func afterTags(frame []byte, tag Tag) (vid, inner uint16, rest []byte, err error) {
	if len(frame) < etherLen {
		return 0, 0, nil, ErrShort
	}
	tags := 0
	if tag.Present {
		tags = 1
		vid = tag.TCI & vidMask
	}
	// rest begins at the EtherType, or at a TPID in its place.
	rest = frame[etherLen-etherTypeLen:]
	for isTPID(uint16At(rest, 0)) {
		if tags == maxTags {
			return 0, 0, nil, ErrUnsupported
		}
		if len(rest) < tagLen+etherTypeLen {
			return 0, 0, nil, ErrShort
		}
		tags++
		if id := uint16At(rest, etherTypeLen) & vidMask; vid == 0 {
			vid = id
		} else {
			inner = id
		}
		rest = rest[tagLen:]
	}
	return vid, inner, rest, nil
}

// isTPID reports whether an EtherType is that of a VLAN tag.
func isTPID(etherType uint16) bool {
	return etherType == tpidCustomer || etherType == tpidService || etherType == tpidStacked
}

// uint16At returns the big-endian number at an offset of b.
func uint16At(b []byte, off int) uint16 {
	return uint16(b[off])<<8 | uint16(b[off+1])
}
