// Package parser turns an Ethernet frame into the ARP packet inside it.
//
// It runs in the confined parser process and is the first code to look at
// bytes that a stranger on the LAN chose. So it is a pure function: no state,
// no time, no log, no I/O, no allocation, and nothing imported but the errors
// package. It never modifies a frame and keeps no part of it: an [ARP] is a
// plain value, and the frame's buffer may be used again as soon as [Parse]
// returns.
//
// It knows Ethernet II, VLAN tags (IEEE 802.1Q) and ARP for IPv4 over Ethernet
// (RFC 826). It does not know which addresses are worth remembering: it decodes
// an ARP probe, a zero hardware address or an unheard-of operation like any
// other, and package tracker decides.
//
// Frames in IEEE 802.3 format with an LLC header, and ARP for other hardware or
// protocol types, are refused; see [ErrNotARP] and [ErrUnsupported].
package parser

import "errors"

// The reasons why a frame is no ARP packet that [Parse] can decode. Parse
// returns these very values, never wrapped, so they can be counted by cause.
var (
	// ErrShort: the frame ends before the header that has to come next.
	ErrShort = errors.New("frame too short")
	// ErrNotARP: the EtherType, behind any VLAN tags, is not that of ARP.
	ErrNotARP = errors.New("not an ARP frame")
	// ErrUnsupported: more than two VLAN tags, the reserved VLAN ID 4095, or ARP for anything
	// but IPv4 over Ethernet.
	ErrUnsupported = errors.New("unsupported ARP frame")
)

// Lengths of the headers, in bytes.
const (
	hardwareLen = 6 // an Ethernet address
	protocolLen = 4 // an IPv4 address

	etherTypeLen = 2
	etherLen     = 2*hardwareLen + etherTypeLen // IEEE 802.3 3.2: destination, source, EtherType
	tagLen       = 4                            // IEEE 802.1Q 9.4: TPID and TCI
	arpLen       = 8 + 2*hardwareLen + 2*protocolLen

	// maxTags is the number of VLAN tags that a frame may have, the one that
	// the kernel took out of it included.
	maxTags = 2

	// MaxLen is the number of bytes of a frame that [Parse] ever looks at: an
	// ARP packet behind as many in-line tags as it may have. To hand it no more
	// than these changes nothing.
	MaxLen = etherLen + maxTags*tagLen + arpLen
)

// EtherTypes, in host byte order.
const (
	etherTypeIPv4 = 0x0800
	etherTypeARP  = 0x0806
	tpidCustomer  = 0x8100 // C-TAG, IEEE 802.1Q table 9-1
	tpidService   = 0x88a8 // S-TAG, the same table
	tpidStacked   = 0x9100 // stacked tags as sold before there was an S-TAG
)

// vidMask takes the VID out of a TCI; the other bits are PCP and DEI
// (IEEE 802.1Q 9.6).
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

// Tag is the VLAN tag that the kernel took out of a frame and reports beside
// it; see packet(7), PACKET_AUXDATA. It is the outermost tag of the frame.
// All numbers are in host byte order.
type Tag struct {
	Present bool
	TPID    uint16 // not looked at: what the kernel stripped is a tag
	TCI     uint16
}

// ARP is one ARP packet for IPv4 over Ethernet, with what the link layer said
// about it. It is comparable and refers to no buffer. Numbers are in host byte
// order.
type ARP struct {
	EthernetDestination MAC
	EthernetSource      MAC

	// VID is the outermost VLAN ID that is not 0, InnerVID a second one; 0 is
	// none. A priority tag, whose VID is 0, names no VLAN (IEEE 802.1Q 9.6),
	// so behind one the next tag's VID is the outermost.
	VID      uint16
	InnerVID uint16

	Operation      uint16
	SenderHardware MAC
	SenderProtocol Addr
	TargetHardware MAC
	TargetProtocol Addr
}

// Parse decodes into arp the ARP packet in an Ethernet II frame that starts with the
// destination address and ends anywhere behind the packet: padding, a frame
// check sequence or anything else that trails is ignored. tag is the tag that
// the kernel stripped; tags still in the frame are found by their TPID, 0x8100,
// 0x88a8 or 0x9100. Both together may be two at the most, priority tags
// included.
//
// On error, which is [ErrShort], [ErrNotARP] or [ErrUnsupported], arp is set to the
// zero value. It is filled in place, since to return it would cost more than all the
// rest: a processor has to wait when it copies what it has just written in other
// portions. Parse is safe for concurrent use.
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

	// The lengths follow from the types, but only a packet that says so itself
	// has its addresses where they are looked for.
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

// afterTags walks over the VLAN tags of a frame. It returns the VIDs, and the frame from the EtherType
// on, of which two bytes at least are there.
func afterTags(frame []byte, tag Tag) (vid, inner uint16, rest []byte, err error) {
	if len(frame) < etherLen {
		return 0, 0, nil, ErrShort
	}
	tags := 0
	if tag.Present {
		tags = 1
		vid = tag.TCI & vidMask
	}
	// rest begins at the EtherType, or at the TPID that stands in its place.
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

// isTPID says whether an EtherType announces a VLAN tag.
func isTPID(etherType uint16) bool {
	return etherType == tpidCustomer || etherType == tpidService || etherType == tpidStacked
}

// uint16At returns the big-endian number at an offset of b.
func uint16At(b []byte, off int) uint16 {
	return uint16(b[off])<<8 | uint16(b[off+1])
}
