package pcapfile

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"maas-netmon/capture"
)

// link is the header of the frames of a link type.
type link uint8

const (
	other    link = iota // not read
	ethernet             // LINKTYPE_ETHERNET
	sll                  // LINKTYPE_LINUX_SLL
	sll2                 // LINKTYPE_LINUX_SLL2
)

// linkOf returns the kind of a LINKTYPE_ value.
func linkOf(linkType uint32) link {
	switch linkType {
	case 1:
		return ethernet
	case 113:
		return sll
	case 276:
		return sll2
	}
	return other
}

// The headers of cooked captures, in bytes: LINKTYPE_LINUX_SLL has packet type, ARPHRD_ type,
// length of the address, address, protocol; LINKTYPE_LINUX_SLL2 has protocol, reserved, interface,
// ARPHRD_ type, packet type, length of the address, address. Numbers are big-endian. The protocol
// is an EtherType. If the tag of a frame was not stripped, or was inserted again, the protocol is
// the TPID: TCI and EtherType follow the header.
const (
	sllARPHRD    = 2
	sllAddrLen   = 4
	sllAddr      = 6
	sllProtocol  = 14
	sllLen       = 16
	sll2Protocol = 0
	sll2ARPHRD   = 8
	sll2AddrLen  = 11
	sll2Addr     = 12
	sll2Len      = 20

	macLen = 6
)

// describe fills in a frame from its captured bytes and its length on the wire. It reports false
// for a frame of a link that is not Ethernet.
func (f *File) describe(frame *capture.Frame, l link, data []byte, length uint32, seconds int64) bool {
	*frame = capture.Frame{Len: int(length), Seconds: seconds}
	switch l {
	case ethernet:
	case sll:
		if len(data) < sllLen {
			return true // too short for a packet: Data is empty
		}
		if !f.cook(data[sllARPHRD:], data[sllAddrLen:], data[sllAddr:], data[sllProtocol:sllLen], data[sllLen:]) {
			return false
		}
		data = f.cooked[:min(2*macLen+2+len(data)-sllLen, len(f.cooked))]
		frame.Cooked = true
	case sll2:
		if len(data) < sll2Len {
			return true
		}
		if !f.cook(data[sll2ARPHRD:], data[sll2AddrLen-1:], data[sll2Addr:], data[sll2Protocol:], data[sll2Len:]) {
			return false
		}
		data = f.cooked[:min(2*macLen+2+len(data)-sll2Len, len(f.cooked))]
		frame.Cooked = true
	default:
		return false
	}
	frame.Data = data[:min(len(data), len(f.cooked))]
	return true
}

// cook builds an Ethernet frame: a zero destination, which nothing writes, the source address, the
// protocol, the payload.
// addrLen points to a number of two bytes, of which SLL2 has only the second. cook reports false
// unless the hardware type is Ethernet or loopback.
func (f *File) cook(arphrd, addrLen, addr, protocol, payload []byte) bool {
	switch binary.BigEndian.Uint16(arphrd) {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
	default:
		return false
	}
	if addrLen[1] != macLen {
		return false
	}
	b := f.cooked
	copy(b[macLen:], addr[:macLen])
	copy(b[2*macLen:], protocol[:2])
	copy(b[2*macLen+2:], payload)
	return true
}
