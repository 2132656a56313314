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

// Filter returns the classic BPF program that the kernel runs on each frame before it copies it. It
// is equivalent to pcap-filter(7)'s `arp or (vlan and arp)` with up to two VLAN tags. It accepts
// [capture.Snaplen] bytes of a frame whose EtherType is ARP, and no other frame.
//
// A frame can reach the filter with its outer tag still in line (sent by this host on a device
// without tag offload) or already stripped into the metadata (received). A stripped tag is not part
// of the bytes that the filter sees, so the same program works for both and does not need
// SKF_AD_VLAN_TAG_PRESENT. Loads beyond the end of a frame make the kernel reject it
// (Documentation/networking/filter.rst).
func Filter() ([]bpf.RawInstruction, error) {
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
