package pcapfile

import "maas-netmon/capture"

// The header of a pcap file and of a record (pcap-savefile(5)), in bytes.
const (
	pcapHeaderLen    = 24
	recordHeaderLen  = 16
	patchedHeaderLen = 24 // with interface, protocol and packet type, of patched Linux kernels

	// The upper bits of the link type contain the length of the frame check sequence at the end of
	// each frame, or are reserved (LT_LINKTYPE in libpcap's pcap-common.c).
	linkTypeMask = 0x03ffffff

	magicNano    = 0xa1b23c4d
	magicPatched = 0xa1b2cd34
)

// swap is the order of the two lengths in a record: before version 2.3 the original length came
// first; in 2.3 writers differ (libpcap's sf-pcap.c).
type swap int

const (
	inOrder swap = iota
	swapped
	maybeSwapped
)

// pcapHeader reads the header of a pcap file. It returns the header's length, or 0 if rest is too
// short, or after an error.
func (f *File) pcapHeader(rest []byte) int {
	if len(rest) < pcapHeaderLen {
		return 0
	}
	major, minor := f.order.Uint16(rest[4:]), f.order.Uint16(rest[6:])
	switch {
	case major == 2 && minor < 3 || major == 543 && minor == 0:
		f.lengths = swapped
	case major == 2 && minor == 3:
		f.lengths = maybeSwapped
	case major == 2 && minor == 4:
		f.lengths = inOrder
	default:
		f.damaged("pcap of version %d.%d: want 2.0 to 2.4", major, minor)
		return 0
	}
	f.recordHeader = recordHeaderLen
	if f.order.Uint32(rest) == magicPatched {
		f.recordHeader = patchedHeaderLen
	}
	linkType := f.order.Uint32(rest[20:]) & linkTypeMask
	if f.link = linkOf(linkType); f.link == other {
		f.err = linkTypeError(linkType)
		return 0
	}
	f.snaplen = f.order.Uint32(rest[16:])
	if f.snaplen == 0 || f.snaplen > maxRecord {
		f.snaplen = maxRecord // unknown
	}
	if f.recordHeader == patchedHeaderLen && f.link == ethernet {
		// The patched kernels did not count the header of a cooked frame (sf-pcap.c).
		f.snaplen += capture.EtherHeaderLen
	}
	f.format = pcap
	return pcapHeaderLen
}

// record reads the record at the beginning of rest. It returns the record's length, or 0 if rest
// does not contain all of it, and reports whether it contains a frame.
func (f *File) record(rest []byte, frame *capture.Frame) (int, bool) {
	if len(rest) < f.recordHeader {
		return 0, false
	}
	// The sub-second field can have any value, whatever its unit: only the seconds count.
	seconds, captured, length := f.order.Uint32(rest), f.order.Uint32(rest[8:]), f.order.Uint32(rest[12:])
	if f.lengths == swapped || f.lengths == maybeSwapped && captured > length {
		captured, length = length, captured
	}
	if captured > maxRecord {
		f.damaged("%d bytes long", captured)
		return 0, false
	}
	total := f.recordHeader + int(captured)
	if total > len(rest) {
		return 0, false
	}
	// A record can be longer than the file's snaplen (Solaris). Then only its first snaplen bytes
	// are the frame. The captured length may even exceed the original one, as in libpcap.
	data := rest[f.recordHeader:total]
	data = data[:min(len(data), int(f.snaplen))]
	if !f.describe(frame, f.link, data, length, int64(seconds)) {
		f.stats.Unsupported++
		return total, false
	}
	return total, true
}
