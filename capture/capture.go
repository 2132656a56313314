// Package capture delivers the ARP frames of network interfaces from the rings of packet sockets
// (packet(7)). [Reader] runs in the confined parser process: it maps the ring of each socket that
// it receives and reads frames from it without a system call per frame. It opens nothing: package
// packetsock, in the monitor, opens the sockets. Package pcapfile reads the frames of a file into
// the same type.
//
// The package handles link-layer headers, VLAN metadata, kernel timestamps and drop counts. It does
// not decode ARP packets, and does not depend on privileges or on the use of the frames.
//
// # The ring
//
// Each socket has a TPACKET_V2 ring of [RingSlots] slots of 128 bytes. It holds a burst of that
// many frames while the reader does not run. The kernel drops and counts further frames. TPACKET_V3
// needs slightly less CPU time under load, but delivers frames only when a block retires: half of
// all frames would wait for a millisecond or more, and a timer would run permanently.
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

	// Snaplen is the number of captured bytes per frame: an ARP packet for Ethernet and IPv4 after
	// two in-line VLAN tags. Further bytes are padding.
	Snaplen = EtherHeaderLen + 2*VLANTagLen + arpPacketLen

	// SnaplenIPv6 is the number of captured bytes per frame of Neighbor Discovery: a packet of 1500
	// bytes after two in-line VLAN tags.
	SnaplenIPv6 = EtherHeaderLen + 2*VLANTagLen + 1500
)

// Geometry of a ring. A slot holds a tpacket2_hdr (32 bytes), a sockaddr_ll (20 bytes) and the
// frame. The kernel puts the network header at the next multiple of 16 that leaves room for 16
// bytes of link-layer header, so the frame starts at byte 66 and 62 bytes of it fit (tpacket_rcv
// in net/packet/af_packet.c).
const (
	slotLen       = 128
	slotMacOffset = 66

	maxSlots  = 10240              // per ring
	minSlots  = 256                // per ring
	manySlots = 12 << 20 / slotLen // all rings together, unless minSlots per ring are more
)

// The build fails unless Snaplen bytes fit into a slot.
var _ [slotLen - slotMacOffset - Snaplen]struct{}

// MaxSockets is the largest number of sockets per Reader.
const MaxSockets = 1024

// RingSlots returns the number of frames that the ring of each socket holds, for this number of
// sockets: 10,240 for one (1.25 MiB); for more, all rings together have 12 MiB, but each holds at
// least 256 frames (32 MiB for 1,024 sockets).
func RingSlots(sockets int) int {
	slots := min(manySlots/max(sockets, 1), maxSlots)
	perBlock := blockLen() / slotLen
	return max(slots/perBlock, 1) * perBlock
}

// blockLen returns the length of a ring's blocks in bytes: a multiple of the page size and of the
// slot length, so that the slots are contiguous in the mapping.
func blockLen() int { return max(minSlots*slotLen, os.Getpagesize()) }

// Ring returns the geometry of a ring with this number of slots, from [RingSlots], for the socket
// option PACKET_RX_RING.
func Ring(slots int) *unix.TpacketReq {
	return &unix.TpacketReq{
		Block_size: uint32(blockLen()),
		Block_nr:   uint32(slots * slotLen / blockLen()),
		Frame_size: slotLen,
		Frame_nr:   uint32(slots),
	}
}
