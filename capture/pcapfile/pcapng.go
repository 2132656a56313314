package pcapfile

import (
	"encoding/binary"
	"math"

	"maas-netmon/capture"
)

// The types of the pcapng blocks that are read (draft-ietf-opsawg-pcapng section 4).
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockObsolete  = 2 // a packet
	blockSimple    = 3 // a packet without a time
	blockEnhanced  = 6 // a packet

	sectionHeader = "\x0a\x0d\x0d\x0a" // the same in either byte order
)

// Lengths, in bytes. A block is its type, its length, a body, and its length again.
const (
	blockHeaderLen = 8
	secondLen      = 4
	minBlock       = blockHeaderLen + secondLen
	sectionLen     = 16 // of the fixed part of a body: magic, version, section length
	interfaceLen   = 8  // link type, reserved, snaplen
	simpleLen      = 4  // original length
	packetLen      = 20 // interface, time, captured length, original length
)

// The options of an interface that are read.
const (
	optionEnd      = 0
	optionTSResol  = 9
	optionTSOffset = 14
)

// iface is an interface of a section.
type iface struct {
	link    link
	snaplen uint32
	unit    uint64 // ticks per second; 0 for more than 64 bits can count
	offset  int64  // seconds that are added to each time
}

// block reads the block at the beginning of rest. It returns the number of bytes to pass over, or 0
// if rest is too short, and reports whether the block contains a frame. In a block of another type
// only the two lengths matter: it does not have to fit into the buffer.
func (f *File) block(rest []byte, frame *capture.Frame) (int, bool) {
	if f.second > 0 {
		return f.skipped(rest), false
	}
	if len(rest) < minBlock {
		return 0, false
	}
	if string(rest[:4]) == sectionHeader {
		return f.section(rest), false
	}
	length, ok := f.blockLength(rest)
	if !ok {
		return 0, false
	}
	kind := f.order.Uint32(rest)
	switch kind {
	case blockInterface, blockObsolete, blockSimple, blockEnhanced:
	default:
		if length > len(rest) {
			f.second = f.order.Uint32(rest[4:])
			return length - secondLen, false
		}
	}
	if !f.whole(rest, length) {
		return 0, false
	}
	body := rest[blockHeaderLen : length-secondLen]
	switch kind {
	case blockInterface:
		f.describeInterface(body)
	case blockObsolete, blockSimple, blockEnhanced:
		return length, f.packet(kind, body, frame)
	}
	return length, false
}

// skipped checks the second length of a block that did not fit into the buffer.
func (f *File) skipped(rest []byte) int {
	if len(rest) < secondLen {
		return 0
	}
	f.sameLengths(f.second, f.order.Uint32(rest))
	f.second = 0
	return secondLen
}

// blockLength returns the length of the block at the beginning of rest, which has at least minBlock
// bytes. It reports false for a length that no block can have.
func (f *File) blockLength(rest []byte) (int, bool) {
	length := f.order.Uint32(rest[4:])
	if length < minBlock {
		f.damaged("a block of %d bytes", length)
		return 0, false
	}
	return roundUp(length), true
}

// roundUp returns the length of a block that is padded to a multiple of four. Some writers do not
// count these bytes, in one of the two lengths or in both (pcapng_read_block in Wireshark's
// pcapng.c).
func roundUp(length uint32) int { return (int(length) + 3) &^ 3 }

// sameLengths refuses a block whose two lengths differ: its end is not certain.
func (f *File) sameLengths(first, second uint32) bool {
	if roundUp(first) != roundUp(second) {
		f.damaged("a block of two lengths, %d and %d", first, second)
		return false
	}
	return true
}

// whole reports whether rest contains the whole block. It refuses a block that is too long, or
// whose two lengths differ.
func (f *File) whole(rest []byte, length int) bool {
	if length > MaxBlock {
		f.fail(ErrBound, "a block of %d bytes, at most %d are read", length, MaxBlock)
		return false
	}
	if length > len(rest) {
		f.need(length)
		return false
	}
	return f.sameLengths(f.order.Uint32(rest[4:]), f.order.Uint32(rest[length-secondLen:]))
}

// section begins a section. The section's length in the header is not needed: each block has its
// own length.
func (f *File) section(rest []byte) int {
	if len(rest) < minBlock {
		return 0
	}
	const magic = 0x1a2b3c4d
	switch {
	case binary.BigEndian.Uint32(rest[blockHeaderLen:]) == magic:
		f.order = binary.BigEndian
	case binary.LittleEndian.Uint32(rest[blockHeaderLen:]) == magic:
		f.order = binary.LittleEndian
	default:
		f.damaged("a section of no byte order")
		return 0
	}
	length, ok := f.blockLength(rest)
	if !ok || !f.whole(rest, length) {
		return 0
	}
	body := rest[blockHeaderLen : length-secondLen]
	if len(body) < sectionLen {
		f.damaged("a section header of %d bytes", length)
		return 0
	}
	// 1.2 MUST be treated as 1.0 (draft-ietf-opsawg-pcapng section 4.1).
	if major, minor := f.order.Uint16(body[4:]), f.order.Uint16(body[6:]); major != 1 || minor != 0 && minor != 2 {
		f.damaged("pcapng of version %d.%d: want 1.0 or 1.2", major, minor)
		return 0
	}
	f.interfaces = f.interfaces[:0]
	return length
}

// describeInterface adds an interface to the section.
func (f *File) describeInterface(body []byte) {
	if len(body) < interfaceLen {
		f.damaged("an interface of %d bytes", len(body)+minBlock)
		return
	}
	if len(f.interfaces) == MaxInterfaces {
		f.fail(ErrBound, "an interface more than %d in a section", MaxInterfaces)
		return
	}
	linkType := uint32(f.order.Uint16(body))
	i := iface{link: linkOf(linkType), snaplen: f.order.Uint32(body[4:]), unit: 1e6}
	if i.link != other {
		f.readable = true
	} else if !f.other {
		f.other, f.otherLinkType = true, linkType
	}
	if i.link != other && !f.timeOptions(&i, body[interfaceLen:]) {
		return
	}
	f.interfaces = append(f.interfaces, i)
}

// timeOptions reads the options about the unit and the offset of an interface's times. It refuses
// options whose limits are not certain: they could hide one of these. The first of each type
// counts, as in Wireshark.
func (f *File) timeOptions(i *iface, rest []byte) bool {
	var resolution, offset bool
	for len(rest) > 0 { // its length is a multiple of four
		code, length := f.order.Uint16(rest), int(f.order.Uint16(rest[2:]))
		if code == optionEnd {
			return true
		}
		padded := 4 + (length+3)&^3
		if padded > len(rest) {
			f.damaged("an option of %d bytes of an interface, in a block with room for %d", length, len(rest)-4)
			return false
		}
		value := rest[4 : 4+length]
		switch {
		case code == optionTSResol && length == 1:
			if !resolution {
				i.unit, resolution = ticksPerSecond(value[0]), true
			}
		case code == optionTSOffset && length == 8:
			if !offset {
				i.offset, offset = int64(f.order.Uint64(value)), true
			}
		case code == optionTSResol || code == optionTSOffset:
			f.damaged("an interface with a resolution or an offset of %d bytes", length)
			return false
		}
		rest = rest[padded:]
	}
	return true
}

// ticksPerSecond returns the unit of an if_tsresol option: a negative power of ten, or of two if
// the highest bit is set. It returns 0 if a second has more than 2^64-1 of them.
func ticksPerSecond(resolution byte) uint64 {
	exponent := resolution & 0x7f
	if resolution&0x80 != 0 {
		return 1 << exponent // 0 from 64 on
	}
	unit := uint64(1)
	for range exponent {
		if unit > math.MaxUint64/10 {
			return 0
		}
		unit *= 10
	}
	return unit
}

// seconds converts a time to seconds, rounded down. A result outside the range of int64 becomes the
// largest int64.
func (i *iface) seconds(ticks uint64) int64 {
	var s uint64 // stays 0 if a second has more ticks than a time can hold
	if i.unit != 0 {
		s = ticks / i.unit
	}
	if i.offset >= 0 && s > uint64(math.MaxInt64-i.offset) {
		return math.MaxInt64
	}
	if s > math.MaxInt64 { // the offset is negative
		s += uint64(i.offset) // wraps to the difference
		return int64(min(s, math.MaxInt64))
	}
	return int64(s) + i.offset
}

// packet reads the body of a packet block, and reports whether it contains a frame.
func (f *File) packet(kind uint32, body []byte, frame *capture.Frame) bool {
	fixed, index := packetLen, uint32(0)
	if kind == blockSimple {
		fixed = simpleLen
	}
	if len(body) < fixed {
		f.damaged("a packet block of %d bytes", len(body)+minBlock)
		return false
	}
	switch kind {
	case blockEnhanced:
		index = f.order.Uint32(body)
	case blockObsolete:
		index = uint32(f.order.Uint16(body))
	}
	if uint64(index) >= uint64(len(f.interfaces)) {
		f.damaged("a packet of interface %d, of which the section has %d", index, len(f.interfaces))
		return false
	}
	i := &f.interfaces[index]
	var captured, length uint32
	var seconds int64
	if kind == blockSimple {
		// The block has no time and only the original length: the packet may be truncated to the
		// snaplen.
		length = f.order.Uint32(body)
		captured = length
		if i.snaplen != 0 {
			captured = min(captured, i.snaplen)
		}
	} else {
		ticks := uint64(f.order.Uint32(body[4:]))<<32 | uint64(f.order.Uint32(body[8:]))
		seconds = i.seconds(ticks)
		captured, length = f.order.Uint32(body[12:]), f.order.Uint32(body[16:])
	}
	data := body[fixed:]
	if uint64(captured) > uint64(len(data)) {
		f.damaged("a packet of %d bytes in a block with room for %d", captured, len(data))
		return false
	}
	if !f.describe(frame, i.link, data[:captured], length, seconds) {
		f.stats.Unsupported++
		return false
	}
	return true
}
