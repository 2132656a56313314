// This file runs in the parser, the confined process: every byte of the input was
// chosen by a stranger.

package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"
)

// Bounds on what an input can make a File hold, in bytes.
const (
	// inputLen is how much is read at once.
	inputLen = 1 << 20

	// maxRecord is the longest part of a frame that a record may have: libpcap's
	// MAXIMUM_SNAPLEN.
	maxRecord = 256 << 10

	// maxBlock is the longest pcapng block that is looked into: such a record, its
	// header and its options.
	maxBlock = maxRecord + 64<<10

	// maxDescriptions is how long all interface descriptions of one pcapng section may
	// be, which pcapgo keeps. It is enough for 10,000 interfaces.
	maxDescriptions = 256 << 10
)

// What is wrong with an input, as [File.Wait] returns it.
var (
	ErrNoHeader = errors.New("input ended before its header")
	ErrFormat   = errors.New("neither pcap nor pcapng")
	ErrDamaged  = errors.New("damaged record")
	ErrLinkType = errors.New("its link type is not Ethernet")
)

// A File takes frames out of an input in the formats pcap or pcapng: of both byte orders
// and each resolution of time, with any number of sections and interfaces, which are one
// source. It reads a large piece by one system call. Not safe for concurrent use.
//
// pcapgo makes frames of records. It is given one record at a time, when all of it is
// there: where records begin and end is decided here. So nothing in the input can make it
// wait, read on for ever, or allocate more than the length of a record, and an input can
// pause in the middle of anything.
type File struct {
	polls      [2]unix.PollFd // the caller's descriptor, the input
	buf        []byte
	start, end int    // what of buf is still to be taken
	offset     uint64 // of buf in the input
	skip       int    // so much of what comes is of no interest
	frames     uint64
	err        error // the end of the input, and why

	order        binary.ByteOrder // of the file, or of the section
	packets      packetReader     // pcapgo's; nil before the header
	blocks       *pcapgo.NgReader // the same, of pcapng
	record       bytes.Reader     // what pcapgo may read now
	descriptions int              // how many bytes of them there were in the section
}

// A packetReader is what pcapgo's two readers have in common.
type packetReader interface {
	ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error)
}

// NewFile returns a File that reads from the descriptor input. Wait also wakes for the
// descriptor control. The descriptors stay the caller's.
func NewFile(input, control int) *File {
	return &File{
		polls: [2]unix.PollFd{
			{Fd: int32(control), Events: unix.POLLIN},
			{Fd: int32(input), Events: unix.POLLIN},
		},
		buf: make([]byte, inputLen),
	}
}

// Wait sleeps until there is more of the input, which it reads, or the control descriptor
// is readable or hung up, which it reports. It is to be called when Next has reported
// false.
//
// At the end of the input it returns [io.EOF], or what is wrong with it, as
// [ErrNoHeader]. Next has given all frames before that.
func (f *File) Wait() (control bool, err error) {
	if f.err != nil {
		return false, f.err
	}
	polls := f.polls[:]
	for i := range polls {
		polls[i].Revents = 0
	}
	if _, err := unix.Ppoll(polls, nil, nil); err != nil && err != unix.EINTR {
		return false, fmt.Errorf("wait for input: %w", err)
	}
	if polls[1].Revents != 0 {
		f.fill()
	}
	return polls[0].Revents != 0, nil
}

// fill reads what there is and fits. Something does: what Next leaves is shorter than a
// record.
func (f *File) fill() {
	copy(f.buf, f.buf[f.start:f.end])
	f.offset += uint64(f.start)
	f.start, f.end = 0, f.end-f.start
	switch n, err := unix.Read(int(f.polls[1].Fd), f.buf[f.end:]); {
	case err == unix.EAGAIN || err == unix.EINTR:
	case err != nil:
		f.err = fmt.Errorf("read: %w", err)
	case n > 0:
		f.end += n
	case f.packets == nil:
		f.err = ErrNoHeader
	case f.end > 0 || f.skip > 0:
		f.damaged("the input ends within it")
	default:
		f.err = io.EOF
	}
}

// Next gives the next frame, or reports false when Wait has to read on, or to tell what is
// wrong. The frame's Data is valid until the next call of Next.
func (f *File) Next(frame *Frame) bool {
	for f.err == nil {
		passed := min(f.skip, f.end-f.start)
		f.skip -= passed
		f.start += passed

		rest := f.buf[f.start:f.end]
		length, wanted := f.measure(rest)
		if length == 0 || wanted && length > len(rest) {
			return false
		}
		if !wanted {
			f.skip = length
			continue
		}
		ok := f.decode(rest[:length], frame)
		if f.err != nil {
			return false
		}
		f.start += length
		if ok {
			f.frames++
			return true
		}
	}
	return false
}

// Stats returns the counters of the input. Nothing is ever dropped.
func (f *File) Stats(int) (Stats, error) {
	return Stats{Frames: f.frames, Position: f.offset + uint64(f.start)}, nil
}

// damaged ends the reading at the record that is next.
func (f *File) damaged(format string, a ...any) {
	f.err = fmt.Errorf("%w at byte %d: %s", ErrDamaged, f.offset+uint64(f.start), fmt.Sprintf(format, a...))
}

const (
	pcapHeaderLen   = 24
	recordHeaderLen = 16
	blockHeaderLen  = 12 // of a section header, with the byte-order magic; also the shortest block

	sectionHeader = "\x0a\x0d\x0d\x0a" // in either byte order
)

// The blocks of pcapng that are of interest (draft-ietf-opsawg-pcapng).
const (
	blockSection     = 0x0a0d0d0a
	blockDescription = 1 // of an interface
	blockPacket      = 2 // obsolete
	blockSimple      = 3 // a packet without a time
	blockEnhanced    = 6 // a packet
)

// measure returns the length of the header, record or block that rest begins with, or 0
// when rest is too short to tell, or something is wrong; and whether it is wanted.
func (f *File) measure(rest []byte) (length int, wanted bool) {
	switch {
	case len(rest) < blockHeaderLen:
		return 0, true
	case f.packets == nil:
		return f.header(rest), true
	case f.blocks == nil:
		return f.pcapRecord(rest), true
	}
	return f.block(rest)
}

// header tells the format and the byte order.
func (f *File) header(rest []byte) int {
	switch string(rest[:4]) {
	case "\xa1\xb2\xc3\xd4", "\xa1\xb2\x3c\x4d": // time in micro- or nanoseconds
		f.order = binary.BigEndian
		return pcapHeaderLen
	case "\xd4\xc3\xb2\xa1", "\x4d\x3c\xb2\xa1":
		f.order = binary.LittleEndian
		return pcapHeaderLen
	case sectionHeader:
		length, _ := f.block(rest)
		return length
	}
	f.err = ErrFormat
	return 0
}

func (f *File) pcapRecord(rest []byte) int {
	if len(rest) < recordHeaderLen {
		return 0
	}
	length := f.order.Uint32(rest[8:])
	if length > maxRecord {
		f.damaged("%d bytes long", length)
		return 0
	}
	return recordHeaderLen + int(length)
}

func (f *File) block(rest []byte) (length int, wanted bool) {
	if string(rest[:4]) == sectionHeader {
		switch string(rest[8:12]) {
		case "\x1a\x2b\x3c\x4d":
			f.order = binary.BigEndian
		case "\x4d\x3c\x2b\x1a":
			f.order = binary.LittleEndian
		default:
			f.damaged("a section of no byte order")
			return 0, true
		}
	}
	length = int(f.order.Uint32(rest[4:]))
	switch f.order.Uint32(rest) {
	case blockSection, blockDescription, blockPacket, blockSimple, blockEnhanced:
		wanted = true
	}
	switch {
	case length < blockHeaderLen || length%4 != 0 || wanted && length > maxBlock:
		f.damaged("a block of %d bytes", uint32(length))
		return 0, true
	case wanted && length <= len(rest) && int(f.order.Uint32(rest[length-4:])) != length:
		f.damaged("a block of two lengths")
		return 0, true
	}
	return length, wanted
}

// decode has pcapgo make a frame of a record or block, and reports whether there is one in
// it.
func (f *File) decode(record []byte, frame *Frame) bool {
	defer func() {
		if r := recover(); r != nil { // a defect of pcapgo, which a record found
			f.damaged("%v", r)
		}
	}()
	f.record.Reset(record)
	switch {
	case f.packets == nil:
		f.open(record)
		return false
	case f.blocks != nil:
		if f.prepare(record); f.err != nil {
			return false
		}
	}
	data, info, err := f.packets.ZeroCopyReadPacketData()
	switch {
	case err == io.EOF && f.blocks != nil: // the block had none
		f.checkInterface()
		return false
	case err != nil:
		f.damaged("%v", err)
		return false
	}
	*frame = Frame{Data: data[:min(len(data), Snaplen)], Len: info.Length}
	if !info.Timestamp.IsZero() {
		frame.Seconds = info.Timestamp.Unix()
	}
	return true
}

// open begins with the header.
func (f *File) open(header []byte) {
	var err error
	if string(header[:4]) == sectionHeader {
		// With any link type, pcapgo looks at no block before it is asked to.
		f.blocks, err = pcapgo.NewNgReader(&f.record, pcapgo.NgReaderOptions{WantMixedLinkType: true})
		f.packets = f.blocks
	} else {
		var r *pcapgo.Reader
		if r, err = pcapgo.NewReader(&f.record); err == nil {
			f.packets = r
			f.checkLinkType(r.LinkType())
		}
	}
	if err != nil {
		f.damaged("%v", err)
	}
}

// prepare looks at a block before pcapgo does.
func (f *File) prepare(block []byte) {
	switch f.order.Uint32(block) {
	case blockSection:
		f.descriptions = 0
	case blockDescription:
		if f.descriptions += len(block); f.descriptions > maxDescriptions {
			f.damaged("too many interfaces")
		}
		const fixedLen = 16 // type, length, link type, snap length
		mendResolution(block[min(fixedLen, len(block)):], f.order)
	}
}

// mendResolution looks for the option if_tsresol of value 0, a resolution of whole
// seconds, which pcapgo takes for none given. As a power of two it is the same, and
// understood.
func mendResolution(options []byte, order binary.ByteOrder) {
	const (
		tsresol   = 9
		powerOf10 = 0    // 10^-0
		powerOf2  = 0x80 // 2^-0
	)
	for len(options) > 4 {
		code, length := order.Uint16(options), int(order.Uint16(options[2:]))
		if code == tsresol && length > 0 && options[4] == powerOf10 {
			options[4] = powerOf2
		}
		options = options[min(len(options), 4+(length+3)&^3):]
	}
}

// checkInterface refuses the latest interface if it is not Ethernet.
func (f *File) checkInterface() {
	if n := f.blocks.NInterfaces(); n > 0 {
		ifi, _ := f.blocks.Interface(n - 1)
		f.checkLinkType(ifi.LinkType)
	}
}

func (f *File) checkLinkType(t layers.LinkType) {
	if t != layers.LinkTypeEthernet {
		f.err = fmt.Errorf("%w: %d (%v)", ErrLinkType, uint16(t), t)
	}
}
