// Package pcapfile reads frames from an input in the format pcap or pcapng, plain or compressed by
// gzip. It runs in the confined parser process: every byte of the input is untrusted.
//
// It reads pcap of versions 2.0 to 2.4 and 543.0 (DG/UX), in both byte orders, with times in micro-
// or nanoseconds, and with the longer record header of patched Linux kernels (magic a1b2cd34); and
// pcapng 1.0 and 1.2 (draft-ietf-opsawg-pcapng), with any number of sections and interfaces, which
// form one source. Where the limits of a record are certain the package is as lenient as libpcap:
// it ignores all fields that it does not need. A length that does not fit its block or record is an
// error ([ErrDamaged]): a frame never contains bytes from outside its record.
//
// The link types are Ethernet (LINKTYPE_ETHERNET, 1) and the two of `tcpdump -i any`
// (LINKTYPE_LINUX_SLL, 113, and LINKTYPE_LINUX_SLL2, 276), from which the package builds an
// Ethernet frame without a destination.
//
// The package reads large pieces per system call, does not allocate per record, and never blocks in
// the middle of a record: an input can pause at any byte.
package pcapfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/capture"
)

// Bounds on the memory that an input can make a File use.
const (
	// inputLen is the largest number of bytes per read(2).
	inputLen = 1 << 20

	// maxRecord is the largest captured length of a record, in bytes: libpcap's MAXIMUM_SNAPLEN.
	maxRecord = 256 << 10

	// MaxBlock is the length of the longest pcapng block of a kind that is read, in bytes, options
	// such as comments included: libpcap's INITIAL_MAX_BLOCKSIZE. Blocks of other kinds may be
	// longer.
	MaxBlock = 16 << 20

	// MaxInterfaces is the largest number of interfaces per section of pcapng.
	MaxInterfaces = 1 << 16
)

// The errors that [File.Wait] returns, wrapped in the details.
var (
	ErrNoHeader = errors.New("input ended before its header")
	ErrDamaged  = errors.New("damaged record")
	ErrLinkType = errors.New("its link type is not Ethernet")
	// ErrBound means that the input may be good, but exceeds a bound of this package.
	ErrBound = errors.New("record beyond a limit of this program")
)

// A File reads frames from an input. Not safe for concurrent use.
type File struct {
	polls      [3]unix.PollFd // control, output, input
	buf        []byte
	start, end int    // the part of buf that is not yet used
	offset     uint64 // of buf in the (decompressed) input
	begin      uint64 // of the current record or block
	skip       uint64 // number of bytes to skip before the next record or block
	second     uint32 // of the block that is being skipped: the expected second length; 0 if none is
	stats      capture.Stats
	err        error // why reading ended; nil before that

	gzip   *inflater // nil for a plain input
	format format
	order  binary.ByteOrder // of the file, or of the section

	link          link   // of pcap
	recordHeader  int    // of pcap, in bytes
	lengths       swap   // of pcap
	snaplen       uint32 // of pcap
	interfaces    []iface
	readable      bool // pcapng: at least one interface has a supported link type
	otherLinkType uint32
	other         bool // pcapng: at least one has another; otherLinkType is the first

	cooked []byte // the Ethernet frame built from a cooked one, of the captured length at most
}

// format is the format of the input, from its header.
type format int

const (
	unknown format = iota
	pcap
	pcapng
)

// NewFile returns a File that reads from the descriptor input. Wait also wakes for the descriptors
// control and output; -1 stands for none. The File does not close the descriptors. It returns at
// most [capture.Snaplen] bytes of a frame, [capture.SnaplenIPv6] if ipv6 is true.
func NewFile(input, control, output int, ipv6 bool) *File {
	snaplen := capture.Snaplen
	if ipv6 {
		snaplen = capture.SnaplenIPv6
	}
	return &File{
		cooked: make([]byte, snaplen),
		polls: [3]unix.PollFd{
			{Fd: int32(control), Events: unix.POLLIN},
			{Fd: int32(output)},
			{Fd: int32(input), Events: unix.POLLIN},
		},
		buf: make([]byte, inputLen),
	}
}

// Wait sleeps until one of these is true: the input has more bytes, which Wait reads; control is
// readable or hung up; output is broken or, if writable is true, writable; the timeout has passed.
// A negative timeout means none. Call Wait when Next has reported false.
//
// At the end of the input it returns [io.EOF], or the error that ended it: [ErrNoHeader],
// [ErrDamaged], [ErrLinkType], [ErrBound], a [*FormatError], or the error of read(2). Next has
// returned all frames before that point.
func (f *File) Wait(writable bool, timeout time.Duration) (capture.Wakeup, error) {
	if f.err != nil {
		return capture.Wakeup{}, f.err
	}
	for i := range f.polls {
		f.polls[i].Revents = 0
	}
	f.polls[1].Events = 0
	if writable {
		f.polls[1].Events = unix.POLLOUT
	}
	polls := f.polls[:]
	more := f.gzip != nil && !f.gzip.starved // it can produce output without further input
	if more {
		polls, timeout = polls[:2], 0
	}
	var limit *unix.Timespec
	if timeout >= 0 {
		t := unix.NsecToTimespec(int64(timeout))
		limit = &t
	}
	if _, err := unix.Ppoll(polls, limit, nil); err != nil && err != unix.EINTR {
		return capture.Wakeup{}, fmt.Errorf("wait for input: %w", err)
	}
	if more || f.polls[2].Revents != 0 {
		f.fill()
	}
	return capture.Wakeup{Control: f.polls[0].Revents != 0, Output: f.polls[1].Revents != 0}, nil
}

// fill reads as much as is available and fits. There is always room for at least one byte: the rest
// that Next leaves is shorter than a record, and need has made the buffer long enough for that
// record.
func (f *File) fill() {
	copy(f.buf, f.buf[f.start:f.end])
	f.offset += uint64(f.start)
	f.start, f.end = 0, f.end-f.start
	n, err := f.read(f.buf[f.end:])
	f.end += n
	switch {
	case err == nil:
	case f.format == unknown && (err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF)):
		f.err = ErrNoHeader
	case errors.Is(err, errGzip):
		f.damaged("%v", err)
	case err != io.EOF:
		f.err = fmt.Errorf("read: %w", err)
	case f.end > 0 || f.second > 0:
		f.damaged("the input ends within it")
	case f.other && !f.readable:
		f.err = linkTypeError(f.otherLinkType)
	default:
		f.err = io.EOF
	}
}

// read calls read(2), and decompresses if the input is compressed. It returns 0 without an error if
// nothing is available yet.
func (f *File) read(b []byte) (int, error) {
	if f.gzip != nil {
		return f.gzip.read(int(f.polls[2].Fd), b)
	}
	return readInput(int(f.polls[2].Fd), b)
}

// readInput calls read(2). It returns 0 without an error if nothing is available yet, and [io.EOF]
// at the end.
func readInput(fd int, b []byte) (int, error) {
	switch n, err := unix.Read(fd, b); {
	case err == unix.EAGAIN || err == unix.EINTR:
		return 0, nil
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	default:
		return n, nil
	}
}

// Next stores the next frame. It reports false if Wait has to be called: to read more, or to return
// the error. The frame's Data is valid until the next call of Next or Wait.
func (f *File) Next(frame *capture.Frame) bool {
	for f.err == nil {
		skipped := min(f.skip, uint64(f.end-f.start))
		f.skip -= skipped
		f.start += int(skipped)
		if f.skip > 0 {
			return false
		}
		rest := f.buf[f.start:f.end]
		if f.second == 0 {
			f.begin = f.offset + uint64(f.start)
		}
		var length int
		var found bool
		switch f.format {
		case unknown:
			length = f.header(rest)
		case pcap:
			length, found = f.record(rest, frame)
		case pcapng:
			length, found = f.block(rest, frame)
		}
		if length == 0 || f.err != nil {
			return false
		}
		passed := min(length, len(rest))
		f.start += passed
		f.skip = uint64(length - passed)
		if found {
			f.stats.Frames++
			return true
		}
	}
	return false
}

// Stats returns the counters of the input. Dropped is always 0.
func (f *File) Stats(int) (capture.Stats, error) {
	s := f.stats
	s.Position = f.offset + uint64(f.start)
	if f.gzip != nil {
		s.Position = f.gzip.position
	}
	return s, nil
}

// damaged ends reading at the current record.
func (f *File) damaged(format string, a ...any) { f.fail(ErrDamaged, format, a...) }

func (f *File) fail(err error, format string, a ...any) {
	f.err = fmt.Errorf("%w at byte %d: %s", err, f.begin, fmt.Sprintf(format, a...))
}

// need makes the buffer at least length bytes long. [File.whole] limits length to MaxBlock.
func (f *File) need(length int) {
	if length > len(f.buf) {
		f.buf = append(make([]byte, 0, length), f.buf[:f.end]...)[:length]
	}
}

// header recognizes the format by the first bytes, which are in rest. It returns the length of the
// header, or 0 if rest is too short, or after an error.
func (f *File) header(rest []byte) int {
	const magicLen = 4
	if len(rest) < magicLen {
		return 0
	}
	switch string(rest[:magicLen]) {
	case sectionHeader:
		length := f.section(rest)
		if length > 0 {
			f.format = pcapng
		}
		return length
	case "\xa1\xb2\xc3\xd4", "\xa1\xb2\x3c\x4d", "\xa1\xb2\xcd\x34":
		f.order = binary.BigEndian
		return f.pcapHeader(rest)
	case "\xd4\xc3\xb2\xa1", "\x4d\x3c\xb2\xa1", "\x34\xcd\xb2\xa1":
		f.order = binary.LittleEndian
		return f.pcapHeader(rest)
	}
	if f.gzip == nil && string(rest[:2]) == gzipMagic {
		// The bytes read so far are the beginning of the compressed input. Start again with its
		// output.
		f.gzip = newInflater(rest)
		f.start, f.end, f.offset = 0, 0, 0
		return 0
	}
	f.err = formatError(rest)
	return 0
}

func linkTypeError(t uint32) error {
	if name := linkTypeNames[t]; name != "" {
		return fmt.Errorf("%w: %d (%s)", ErrLinkType, t, name)
	}
	return fmt.Errorf("%w: %d", ErrLinkType, t)
}

// Link types (https://www.tcpdump.org/linktypes.html) that are not supported, with their names for
// the error message.
var linkTypeNames = map[uint32]string{
	0: "BSD loopback", 9: "PPP", 101: "raw IP", 105: "IEEE 802.11", 127: "radiotap", 147: "user 0",
	187: "Bluetooth", 189: "USB", 195: "IEEE 802.15.4", 220: "USB", 227: "SocketCAN", 228: "IPv4", 229: "IPv6", 239: "NFLOG",
}
