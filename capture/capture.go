// Package capture delivers the ARP frames of network interfaces, and on request those of Neighbor
// Discovery (RFC 4861), from the rings of packet sockets (packet(7)). [Reader] runs in the confined
// parser process: it maps the ring of each socket that it receives and reads frames from it without
// a system call per frame. It opens nothing: package packetsock, in the monitor, opens the sockets.
// Package pcapfile reads the frames of a file into the same type.
//
// The package handles link-layer headers, VLAN metadata, kernel timestamps and drop counts. It does
// not decode packets, and does not depend on privileges or on the use of the frames.
//
// # The ring
//
// Each socket has a TPACKET_V2 ring of [RingSlots] slots of 128 bytes, or of 2,048 bytes with IPv6.
// It holds a burst of that many frames while the reader does not run. The kernel drops and counts
// further frames. TPACKET_V3 needs slightly less CPU time under load, but delivers frames only when
// a block retires: half of all frames would wait for a millisecond or more, and a timer would run
// permanently.
package capture

import (
	"os"

	"golang.org/x/sys/unix"
)

// Lengths of the headers that a frame of interest can have, in bytes.
const (
	EtherHeaderLen = 14 // IEEE 802.3 3.2: destination, source, EtherType
	VLANTagLen     = 4  // IEEE 802.1Q 9.4: TPID and TCI
	arpPacketLen   = 28 // RFC 826, for Ethernet and IPv4

	// Snaplen is the number of captured bytes per ARP frame: an ARP packet for Ethernet and IPv4
	// after two in-line VLAN tags. Further bytes are padding.
	Snaplen = EtherHeaderLen + 2*VLANTagLen + arpPacketLen

	mtu = 1500 // of Ethernet, IEEE 802.3 3.2.7

	// SnaplenIPv6 is the number of captured bytes per IPv6 frame: a whole packet after two in-line
	// VLAN tags, because the checksum of ICMPv6 covers all of the packet.
	SnaplenIPv6 = EtherHeaderLen + 2*VLANTagLen + mtu
)

// Geometry of a ring. A slot holds a tpacket2_hdr (32 bytes), a sockaddr_ll (20 bytes) and the
// frame. The kernel puts the network header at the next multiple of 16 that leaves room for 16
// bytes of link-layer header, so the frame starts at byte 66 and 62 bytes of it fit, or 1,982 for
// IPv6 (tpacket_rcv in net/packet/af_packet.c).
const (
	slotLen       = 128
	slotLenIPv6   = 2048
	slotMacOffset = 66

	maxSlots     = 10240    // per ring
	maxSlotsIPv6 = 4096     // per ring
	minRing      = 32 << 10 // bytes per ring
	manyRings    = 12 << 20 // bytes of all rings together, unless minRing per ring is more
)

// The build fails unless the captured bytes of a frame fit into a slot.
var (
	_ [slotLen - slotMacOffset - Snaplen]struct{}
	_ [slotLenIPv6 - slotMacOffset - SnaplenIPv6]struct{}
)

// MaxSockets is the largest number of sockets per Reader.
const MaxSockets = 1024

// RingSlots returns the number of frames that the ring of each socket holds, for this number of
// sockets: 10,240 for one (1.25 MiB), or 4,096 with IPv6 (8 MiB); for more, all rings together have
// 12 MiB, but each has at least 32 KiB (32 MiB for 1,024 sockets), for 256 frames, or 16 with IPv6.
func RingSlots(sockets int, ipv6 bool) int {
	return ringSlots(sockets, ipv6, os.Getpagesize())
}

func ringSlots(sockets int, ipv6 bool, page int) int {
	n, most := slotLength(ipv6), maxSlots
	if ipv6 {
		most = maxSlotsIPv6
	}
	slots := min(manyRings/n/max(sockets, 1), most)
	perBlock := blockLen(page) / n
	return max(slots/perBlock, 1) * perBlock
}

// slotLength returns the length of a slot in bytes.
func slotLength(ipv6 bool) int {
	if ipv6 {
		return slotLenIPv6
	}
	return slotLen
}

// blockLen returns the length of a ring's blocks in bytes for pages of this size: a multiple of the
// page size and of either slot length, so that the slots are contiguous in the mapping.
func blockLen(page int) int { return max(minRing, page) }

// Ring returns the geometry of a ring with this number of slots, from [RingSlots], for the socket
// option PACKET_RX_RING.
func Ring(slots int, ipv6 bool) *unix.TpacketReq { return geometry(slots, ipv6, os.Getpagesize()) }

func geometry(slots int, ipv6 bool, page int) *unix.TpacketReq {
	n, block := slotLength(ipv6), blockLen(page)
	return &unix.TpacketReq{
		Block_size: uint32(block),
		Block_nr:   uint32(slots * n / block),
		Frame_size: uint32(n),
		Frame_nr:   uint32(slots),
	}
}
