package fuzz

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"maas-netmon/capture/capturetest"
	"maas-netmon/capture/pcapfile"
)

// FuzzFileLikePcapgo: pcapfile and pcapgo, which have different authors, find the same frames in an
// input, as far as both read it: captured bytes, length on the wire, link type and second. If only
// one of them reads to the end of the input, the reason is one of those below. If they read times
// differently, the reference reports that the times are not usual:
//
//   - A sub-second field of a second or more: pcapgo adds it to the second, and overflows. Here the
//     second is the record's own.
//   - if_tsresol 0, whole seconds: pcapgo takes it for microseconds.
//   - if_tsresol of 10^-20 and smaller: pcapgo overflows. Of 2^-30 and smaller: its nanoseconds
//     can exceed a second.
//   - Two if_tsresol or if_tsoffset: the last counts in pcapgo, the first in Wireshark and here.
//   - if_tsoffset or a time of more than 40 bits: pcapgo overflows.
func FuzzFileLikePcapgo(f *testing.F) {
	addSeeds(f, "FuzzFileLikePcapgo")
	r, err := newFileReader()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.HasPrefix(data, []byte("\x1f\x8b")) {
			return // both use the same package for gzip
		}
		if !countsPadding(data) {
			return // pcapgo takes the padding for the beginning of the next block
		}
		got, end := r.read(t, data, false)
		want, theirEnd := pcapgoFrames(data)
		known, _, usual := referenceFile(data)
		n := min(len(got), len(want))
		for i := range n {
			g, w := got[i], want[i]
			if i >= len(known) || !usual {
				g.seconds, w.seconds = 0, 0
			}
			if g != w {
				t.Fatalf("frame %d: %+v, pcapgo has %+v", i, got[i], want[i])
			}
		}
		// After the end of the input neither has a further frame.
		if len(got) > n && theirEnd == io.EOF || len(want) > n && end == io.EOF {
			t.Fatalf("%d frames, then %v; pcapgo has %d, then %v", len(got), end, len(want), theirEnd)
		}
		switch {
		case end == io.EOF && theirEnd != io.EOF && !isExplained(theirEnd, onlyRead):
			t.Errorf("read to the end, but pcapgo ends with %q", theirEnd)
		case end != io.EOF && theirEnd == io.EOF && !isExplained(end, onlyPcapgoReads):
			t.Errorf("pcapgo reads to the end, which is %q", end)
		}
	})
}

// countsPadding reports whether the first length of each block is a multiple of four.
func countsPadding(b []byte) bool {
	var order capturetest.Order
	for len(b) >= 12 {
		if binary.BigEndian.Uint32(b) == 0x0a0d0d0a {
			order = capturetest.Orders[0]
			if binary.BigEndian.Uint32(b[8:]) == 0x1a2b3c4d {
				order = capturetest.Orders[1]
			}
		}
		if order == nil {
			return true // pcap
		}
		length := order.Uint32(b[4:])
		if length%4 != 0 {
			return false
		}
		if length < 12 || uint64(length) > uint64(len(b)) {
			return true
		}
		b = b[length:]
	}
	return true
}

// onlyRead lists errors that only pcapgo returns, with the reasons.
var onlyRead = []explained{
	{"Unknown magic 34cdb2a1", "pcap of patched kernels"},
	{"Unknown magic a1b2cd34", "the same in the other byte order"},
	{"Unknown major version 543", "pcap of DG/UX"},
	{"Unknown minor version", "pcap 2.0 to 2.3"},
	{"Unknown pcapng Version", "pcapng 1.2"},
	{"capture length exceeds original packet length", "the border of the record is certain; tcpdump and Wireshark read it"},
	{"End of Options must be zero length", "nothing after it is needed"},
	{"too high", "a resolution that makes each time less than a second"},
	{"unexpected EOF", "an option, a name or statistics that do not fit into their block: pcapgo loses its way, tcpdump does not look"},
	{"could not discard", "the same"},
	{"could not read", "the same, in a block of names"},
	{"name record of type", "names are not read"},
	{"not present in section", "statistics of an interface that is not there are not read"},
	{"Unknown Decryption Secrets Block", "secrets are not read"},
}

// onlyPcapgoReads lists errors that only pcapfile returns, with the reasons.
var onlyPcapgoReads = []explained{
	{pcapfile.ErrLinkType.Error(), "only Ethernet and cooked captures are of use"},
	{pcapfile.ErrBound.Error(), "memory is bounded"},
	{"a block of two lengths", "pcapgo does not look at the second, so the border is not certain"},
	{"a block of ", "one of less than 12 bytes: pcapgo reads on behind its own header"},
	{"with room for", "pcapgo gives what follows the block as bytes of the frame, and takes an option that does not fit"},
	{"a resolution or an offset of", "pcapgo takes the first bytes, or none; libpcap refuses it"},
	{"a section header of", "pcapgo reads on in the next block"},
	{"an interface of", "the same"},
	{"a packet block of", "the same"},
	{"bytes long", "a record longer than 256 KiB; pcapgo believes the header's snaplen"},
	{pcapfile.ErrNoHeader.Error(), "pcapgo ends without an error where nothing at all is"},
	{"the input ends within it", "pcapgo has no error for less than 8 bytes of a block, and none for a second length that is not there"},
}

// explained is an error that only one of the two may return.
type explained struct{ part, why string }

func isExplained(err error, by []explained) bool {
	return slices.ContainsFunc(by, func(e explained) bool { return strings.Contains(err.Error(), e.part) })
}

// pcapgoFrames returns the frames that pcapgo reads from an input, as Ethernet frames, and its
// error.
func pcapgoFrames(data []byte) (frames []fileFrame, end error) {
	type reader interface {
		ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	}
	var r reader
	var linkType uint32
	var snaplen int
	if head, err := pcapgo.NewReader(bytes.NewReader(data)); err == nil {
		// pcapgo keeps only 16 of the 32 bits.
		order := capturetest.Orders[0]
		if data[0] == 0xa1 {
			order = capturetest.Orders[1]
		}
		linkType, snaplen, r = order.Uint32(data[20:])&0x03ffffff, int(head.Snaplen()), head
	} else {
		ng, ngErr := pcapgo.NewNgReader(bytes.NewReader(data), pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if ngErr != nil {
			return nil, fmt.Errorf("%w, %w", err, ngErr)
		}
		r = ng
	}
	for {
		data, info, err := r.ReadPacketData()
		if err != nil {
			return frames, err
		}
		linkType := linkType
		if len(info.AncillaryData) == 1 {
			linkType = uint32(info.AncillaryData[0].(layers.LinkType))
		}
		if snaplen > 0 {
			data = data[:min(len(data), snaplen)] // like libpcap
		}
		frame, ok := referenceEthernet(linkType, data)
		if !ok {
			continue
		}
		seconds := info.Timestamp.Unix()
		if info.Timestamp == (time.Time{}) {
			seconds = 0 // a simple packet block has no time
		}
		frames = append(frames, newFileFrame(seconds, uint32(info.Length), frame))
	}
}
