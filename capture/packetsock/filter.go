package packetsock

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"maas-netmon/capture"
)

// The offsets of the EtherType, or of a TPID in its place, by the number of tags before it.
const (
	offType        = capture.EtherHeaderLen - 2
	offTypeOneTag  = offType + capture.VLANTagLen
	offTypeTwoTags = offTypeOneTag + capture.VLANTagLen
)

// The offsets in a frame without a tag, and the values, of the fields that make a packet one of
// Neighbor Discovery (RFC 8200 3, RFC 4861 4).
const (
	offNextHeader = capture.EtherHeaderLen + 6
	offHopLimit   = capture.EtherHeaderLen + 7
	offICMPv6Type = capture.EtherHeaderLen + 40
	offSecondNext = offICMPv6Type // the next header of an extension header in that place

	hopLimit = 255 // receivers discard packets with another one (RFC 4861 6.1, 7.1)

	firstNDType = 133 // Router Solicitation
	lastNDType  = 136 // Neighbor Advertisement; 134 and 135 are those between
)

// Filter returns the classic BPF program that the kernel runs on each frame before it copies it. It
// is equivalent to pcap-filter(7)'s `arp or (vlan and arp)` with up to two VLAN tags. It accepts
// [capture.Snaplen] bytes of a frame whose EtherType is ARP, and no other frame.
//
// If ipv6 is true, it also accepts [capture.SnaplenIPv6] bytes of an IPv6 packet whose first header
// is ICMPv6 and whose type is one of the four of Neighbor Discovery, with up to two tags. The same
// holds for a packet with the hop limit of Neighbor Discovery that has an extension header which
// hosts pass over, and then ICMPv6 or another one. Hosts accept Neighbor Discovery after such a
// header, except a fragment (RFC 6980 5). The parser refuses it, but counts it, so that it does not
// go unnoticed. Frequent packets with such headers do not pass: Multicast Listener Discovery has
// another hop limit (RFC 3810 5), and no ICMPv6 is in segment routing and in fragments of mDNS.
//
// A frame can reach the filter with its outer tag still in line (sent by this host on a device
// without tag offload) or already stripped into the metadata (received). A stripped tag is not part
// of the bytes that the filter sees, so the same program works for both and does not need
// SKF_AD_VLAN_TAG_PRESENT. Loads beyond the end of a frame make the kernel reject it
// (Documentation/networking/filter.rst).
func Filter(ipv6 bool) ([]bpf.RawInstruction, error) {
	if ipv6 {
		return bpf.Assemble(filterIPv6)
	}
	return bpf.Assemble([]bpf.Instruction{
		// The EtherType of the frame, or its first in-line TPID.
		bpf.LoadAbsolute{Off: offType, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: 10},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_8021Q, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_8021AD, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_QINQ1, SkipFalse: 8},
		// After one tag.
		bpf.LoadAbsolute{Off: offTypeOneTag, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: 5},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_8021Q, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_8021AD, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_QINQ1, SkipFalse: 3},
		// After two tags.
		bpf.LoadAbsolute{Off: offTypeTwoTags, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipFalse: 1},
		bpf.RetConstant{Val: capture.Snaplen},
		bpf.RetConstant{Val: 0},
	})
}

// filterIPv6 is the program for both. X is the length of the tags.
var filterIPv6 = []bpf.Instruction{
	// The EtherType of the frame, or its first in-line TPID.
	bpf.LoadConstant{Dst: bpf.RegX, Val: 0},
	bpf.LoadAbsolute{Off: offType, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: 33},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IPV6, SkipTrue: 14},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_8021Q, SkipTrue: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_8021AD, SkipTrue: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_QINQ1, SkipFalse: 30},
	// After one tag.
	bpf.LoadConstant{Dst: bpf.RegX, Val: capture.VLANTagLen},
	bpf.LoadAbsolute{Off: offTypeOneTag, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: 26},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IPV6, SkipTrue: 7},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_8021Q, SkipTrue: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_8021AD, SkipTrue: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_QINQ1, SkipFalse: 23},
	// After two tags.
	bpf.LoadConstant{Dst: bpf.RegX, Val: 2 * capture.VLANTagLen},
	bpf.LoadAbsolute{Off: offTypeTwoTags, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: 19},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IPV6, SkipFalse: 19},
	// IPv6.
	bpf.LoadIndirect{Off: offNextHeader, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 12},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_HOPOPTS, SkipTrue: 3},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ROUTING, SkipTrue: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_FRAGMENT, SkipTrue: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_DSTOPTS, SkipFalse: 13},
	// An extension header.
	bpf.LoadIndirect{Off: offHopLimit, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: hopLimit, SkipFalse: 11},
	bpf.LoadIndirect{Off: offSecondNext, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 7},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_HOPOPTS, SkipTrue: 6},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ROUTING, SkipTrue: 5},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_FRAGMENT, SkipTrue: 4},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_DSTOPTS, SkipTrue: 3, SkipFalse: 5},
	// ICMPv6.
	bpf.LoadIndirect{Off: offICMPv6Type, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: firstNDType, SkipFalse: 3},
	bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: lastNDType, SkipTrue: 2},
	bpf.RetConstant{Val: capture.SnaplenIPv6},
	// ARP.
	bpf.RetConstant{Val: capture.Snaplen},
	bpf.RetConstant{Val: 0},
}
