package pcapfile_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"maas-netmon/capture"
	"maas-netmon/capture/capturetest"
	"maas-netmon/capture/pcapfile"
	"maas-netmon/internal/testenv"
)

// A record has the parts of a frame that a test compares.
type record struct {
	Seconds int64
	Len     int
	Data    string
}

// input returns a descriptor of a file with this content.
func input(t testing.TB, content []byte) int {
	t.Helper()
	fd, err := unix.MemfdCreate("input", unix.MFD_CLOEXEC)
	testenv.Must(t, err)
	file := os.NewFile(uintptr(fd), "input")
	t.Cleanup(func() { file.Close() })
	_, err = file.Write(content)
	testenv.Must(t, err)
	_, err = file.Seek(0, io.SeekStart)
	testenv.Must(t, err)
	return fd
}

// readAll reads a File to its end.
func readAll(t testing.TB, f *pcapfile.File) ([]record, error) {
	t.Helper()
	var records []record
	var frame capture.Frame
	for {
		for f.Next(&frame) {
			if frame.Source != 0 || frame.Tagged || len(frame.Data) > capture.Snaplen {
				t.Fatalf("%+v", frame)
			}
			records = append(records, record{frame.Seconds, frame.Len, string(frame.Data)})
		}
		if _, err := f.Wait(false, -1); err != nil {
			if s, _ := f.Stats(0); s.Frames != uint64(len(records)) || s.Dropped != 0 {
				t.Errorf("statistics %+v, want %d frames", s, len(records))
			}
			return records, err
		}
	}
}

// readBytes reads an input with this content to its end.
func readBytes(t testing.TB, content []byte) ([]record, error) {
	t.Helper()
	control, _ := testenv.Wake(t)
	return readAll(t, pcapfile.NewFile(input(t, content), control, -1, false))
}

// testFrame is an ARP frame of the usual length.
var testFrame = testenv.ARP{SenderMAC: testenv.MACB, SenderIP: "10.0.0.2", TargetIP: "10.0.0.1"}.Bytes()

const testSeconds = 1795228118

// want is the record of testFrame.
func want(seconds int64) record {
	return record{seconds, len(testFrame), string(testFrame[:capture.Snaplen])}
}

func TestPcap(t *testing.T) {
	for _, order := range capturetest.Orders {
		for _, nano := range []bool{false, true} {
			p := capturetest.Pcap{Order: order, Nano: nano}
			content := slices.Concat(p.File(testSeconds, testFrame, testFrame),
				p.Record(testSeconds+2, testFrame[:20], 60), // snapped
				p.Record(testSeconds+3, nil, 60),            // to nothing
				p.Record(1<<32-1, make([]byte, 9000), 9000)) // the latest time there is
			got, err := readBytes(t, content)
			wants := []record{want(testSeconds), want(testSeconds + 1),
				{testSeconds + 2, 60, string(testFrame[:20])}, {testSeconds + 3, 60, ""},
				{1<<32 - 1, 9000, string(make([]byte, capture.Snaplen))}}
			if diff := cmp.Diff(wants, got); diff != "" || err != io.EOF {
				t.Errorf("%v, nano %v: %v, -want +got:\n%s", order, nano, err, diff)
			}
		}
	}
}

func TestPcapNG(t *testing.T) {
	for _, order := range capturetest.Orders {
		n := capturetest.NG{Order: order}
		resolution := func(v byte) capturetest.Option {
			return capturetest.Option{Code: capturetest.TSResol, Value: []byte{v}}
		}
		var other capturetest.Order = capturetest.Orders[0]
		if order == other {
			other = capturetest.Orders[1]
		}
		content := slices.Concat(
			n.Section(capturetest.Option{Code: 1, Value: []byte("a comment")}),
			n.Block(0x0bad, []byte("unknown.")),
			n.Interface(1, 0), // 0: microseconds
			n.Interface(1, 64, capturetest.Option{Code: 2, Value: []byte("eth0")}, resolution(9)),
			n.Interface(1, 0, resolution(0)), // 2: seconds
			n.Interface(1, 0, resolution(0x80|10), capturetest.Option{Code: capturetest.TSOffset, Value: n.Uint64(1000)}),
			n.Interface(1, 0, capturetest.Option{Code: capturetest.TSOffset, Value: n.Uint64(^uint64(99))}), // 4: -100
			n.Enhanced(0, testSeconds*1e6+999999, testFrame, 60),
			n.Enhanced(1, testSeconds*1e9, testFrame, 60, capturetest.Option{Code: 2, Value: []byte{0, 0, 0, 1}}),
			n.Enhanced(2, testSeconds, testFrame, 60),
			n.Enhanced(3, testSeconds<<10, testFrame, 60),
			n.Enhanced(4, testSeconds*1e6, testFrame, 60),
			n.Simple(testFrame, 60),
			n.Obsolete(1, testSeconds*1e9, testFrame, 60),
			n.Enhanced(0, testSeconds*1e6, testFrame[:21], 61), // padded
			n.Block(4, make([]byte, 2_000_000)),                // names: longer than one read
			n.Block(5, make([]byte, 12)),                       // statistics
			capturetest.NG{Order: other}.Section(),
			capturetest.NG{Order: other}.Interface(1, 32),
			capturetest.NG{Order: other}.Simple(testFrame[:32], 60),
			capturetest.NG{Order: other}.Enhanced(0, testSeconds*1e6, testFrame, 60))
		got, err := readBytes(t, content)
		s := want(testSeconds)
		wants := []record{s, s, s, want(testSeconds + 1000), want(testSeconds - 100), want(0), s,
			{testSeconds, 61, string(testFrame[:21])}, {0, 60, string(testFrame[:32])}, s}
		if diff := cmp.Diff(wants, got); diff != "" || err != io.EOF {
			t.Errorf("%v: %v, -want +got:\n%s", order, err, diff)
		}
	}
}

// damage lists damaged inputs: the number of good frames before the damage, the error, and part of
// its text.
func damage() []damagedInput {
	p := capturetest.Pcap{Order: capturetest.Orders[1]}
	n := capturetest.NG{Order: capturetest.Orders[0]}
	good := p.File(testSeconds, testFrame)
	ng := slices.Concat(n.Section(), n.Interface(1, 0), n.Enhanced(0, testSeconds*1e6, testFrame, 60))
	join := func(bs ...[]byte) []byte { return slices.Concat(bs...) }
	lengths := func(kind, first, last uint32) []byte {
		b := n.Block(kind, make([]byte, 64))
		n.Order.PutUint32(b[4:], first)
		n.Order.PutUint32(b[len(b)-4:], last)
		return b
	}
	version := func(b []byte, major, minor uint16, at int) []byte {
		b = slices.Clone(b)
		n.Order.PutUint16(b[at:], major)
		n.Order.PutUint16(b[at+2:], minor)
		return b
	}
	// simple returns a block with room for 44 bytes that claims another length.
	simple := func(length uint32) []byte {
		b := n.Simple(testFrame[:44], 0)
		n.Order.PutUint32(b[8:], length)
		return b
	}
	captured := func(b []byte, length uint32) []byte {
		n.Order.PutUint32(b[20:], length)
		return b
	}
	many := bytes.Repeat(n.Interface(1, 0), pcapfile.MaxInterfaces)
	iface := []byte{1, 0, 0, 0, 0, 0, 0, 0}
	long := n.Block(99, make([]byte, 3<<20))
	n.Order.PutUint32(long[len(long)-4:], 12)
	return []damagedInput{
		{"empty", nil, 0, pcapfile.ErrNoHeader, ""},
		{"3 bytes", []byte("abc"), 0, pcapfile.ErrNoHeader, ""},
		{"header cut", good[:23], 0, pcapfile.ErrNoHeader, ""},
		{"section cut", ng[:27], 0, pcapfile.ErrNoHeader, ""},
		{"version 3.4", version(capturetest.Pcap{Order: n.Order}.Header(), 3, 4, 4), 0, pcapfile.ErrDamaged, "at byte 0: pcap of version 3.4"},
		{"version 2.5", version(capturetest.Pcap{Order: n.Order}.Header(), 2, 5, 4), 0, pcapfile.ErrDamaged, "at byte 0: pcap of version 2.5"},
		{"pcapng 1.1", version(ng, 1, 1, 12), 0, pcapfile.ErrDamaged, "pcapng of version 1.1"},
		{"pcapng 2.0", version(ng, 2, 0, 12), 0, pcapfile.ErrDamaged, "pcapng of version 2.0"},
		{"a later section of version 2", join(ng, version(ng, 2, 0, 12)), 1, pcapfile.ErrDamaged, "pcapng of version 2.0"},
		{"link type", capturetest.Pcap{Order: p.Order, LinkType: 105}.File(1, testFrame), 0, pcapfile.ErrLinkType, ": 105 (IEEE 802.11)"},
		{"link type 65537", capturetest.Pcap{Order: p.Order, LinkType: 65537}.File(1, testFrame), 0, pcapfile.ErrLinkType, ": 65537"},
		{"no interface that is read", join(n.Section(), n.Interface(105, 0), n.Enhanced(0, 0, testFrame, 60), n.Interface(9, 0)), 0, pcapfile.ErrLinkType, ": 105 (IEEE 802.11)"},
		{"only a header", p.Header(), 0, io.EOF, ""},
		{"only a section", n.Section(), 0, io.EOF, ""},
		{"record's header cut", join(good, p.Record(0, testFrame, 60)[:15]), 1, pcapfile.ErrDamaged, "at byte 100: the input ends within it"},
		{"record cut", join(good, p.Record(0, testFrame, 60)[:75]), 1, pcapfile.ErrDamaged, "at byte 100: the input ends within it"},
		{"record of 4 GiB", join(good, p.RecordHeader(1<<32-1), good), 1, pcapfile.ErrDamaged, "at byte 100: 4294967295 bytes long"},
		{"record too long", join(good, p.RecordHeader(256<<10+1), make([]byte, 300<<10)), 1, pcapfile.ErrDamaged, "at byte 100: 262145 bytes long"},
		{"block cut", ng[:len(ng)-1], 0, pcapfile.ErrDamaged, "at byte 48: the input ends within it"},
		{"unknown block cut", join(ng, n.Block(99, make([]byte, 100))[:111]), 1, pcapfile.ErrDamaged, "the input ends within it"},
		{"block of 4 GiB", join(ng, lengths(6, 1<<32-4, 1<<32-4)), 1, pcapfile.ErrBound, "a block of 4294967292 bytes, at most 16777216 are read"},
		{"unknown block of 4 GiB", join(ng, lengths(99, 1<<32-4, 0), make([]byte, 3<<20)), 1, pcapfile.ErrDamaged, "the input ends within it"},
		{"block of nothing", join(ng, lengths(99, 0, 0)), 1, pcapfile.ErrDamaged, "a block of 0 bytes"},
		{"block of 8 bytes", join(ng, lengths(6, 8, 8)), 1, pcapfile.ErrDamaged, "a block of 8 bytes"},
		{"lengths differ", join(ng, lengths(6, 76, 80)), 1, pcapfile.ErrDamaged, "a block of two lengths, 76 and 80"},
		{"lengths differ by a byte", join(ng, lengths(6, 77, 76)), 1, pcapfile.ErrDamaged, "the input ends within it"},
		{"second length longer by a byte", join(ng, lengths(6, 76, 77)), 1, pcapfile.ErrDamaged, "a block of two lengths, 76 and 77"},
		{"lengths of a section differ", join(ng, n.Section()[:24], []byte{32, 0, 0, 0}), 1, pcapfile.ErrDamaged, "at byte 140: a block of two lengths, 28 and 32"},
		{"lengths of an unknown block differ", join(ng, lengths(99, 76, 72), ng), 1, pcapfile.ErrDamaged, "at byte 140: a block of two lengths, 76 and 72"},
		{"lengths of a long unknown block differ", join(ng, long, ng), 1, pcapfile.ErrDamaged, "at byte 140: a block of two lengths, 3145740 and 12"},
		{"long unknown block cut in its second length", join(ng, long[:len(long)-1]), 1, pcapfile.ErrDamaged, "at byte 140: the input ends within it"},
		{"long unknown block cut before its second length", join(ng, long[:len(long)-4]), 1, pcapfile.ErrDamaged, "at byte 140: the input ends within it"},
		{"option of an interface beyond the block", join(ng, n.Block(1, join(iface, []byte{2, 0, 1, 0}))), 1, pcapfile.ErrDamaged, "at byte 140: an option of 1 bytes of an interface, in a block with room for 0"},
		{"option of an interface beyond the block by a byte", join(ng, n.Block(1, join(iface, []byte{2, 0, 5, 0, 'e', 't', 'h', '0'}))), 1, pcapfile.ErrDamaged, "an option of 5 bytes of an interface, in a block with room for 4"},
		{"shortest section", join(ng, n.Block(0x0a0d0d0a, []byte{0x4d, 0x3c, 0x2b, 0x1a})), 1, pcapfile.ErrDamaged, "a section header of 16 bytes"},
		{"shortest interface", join(ng, n.Block(1, nil)), 1, pcapfile.ErrDamaged, "an interface of 12 bytes"},
		{"shortest packet", join(ng, n.Block(6, nil)), 1, pcapfile.ErrDamaged, "a packet block of 12 bytes"},
		{"shortest simple packet", join(ng, n.Block(3, nil)), 1, pcapfile.ErrDamaged, "a packet block of 12 bytes"},
		{"shortest obsolete packet", join(ng, n.Block(2, make([]byte, 16))), 1, pcapfile.ErrDamaged, "a packet block of 28 bytes"},
		{"byte order", join(ng, n.Block(0x0a0d0d0a, make([]byte, 16))), 1, pcapfile.ErrDamaged, "a section of no byte order"},
		{"no such interface", join(ng, n.Enhanced(1, 0, testFrame, 60)), 1, pcapfile.ErrDamaged, "a packet of interface 1, of which the section has 1"},
		{"interface of another section", join(ng, n.Section(), n.Enhanced(0, 0, testFrame, 60)), 1, pcapfile.ErrDamaged, "a packet of interface 0, of which the section has 0"},
		{"simple packet without interface", join(n.Section(), n.Simple(testFrame, 60)), 0, pcapfile.ErrDamaged, "a packet of interface 0, of which the section has 0"},
		{"resolution of two bytes", join(ng, n.Interface(1, 0, capturetest.Option{Code: capturetest.TSResol, Value: []byte{6, 0}})), 1, pcapfile.ErrDamaged, "a resolution or an offset of 2 bytes"},
		{"offset of nine bytes", join(ng, n.Interface(1, 0, capturetest.Option{Code: capturetest.TSOffset, Value: make([]byte, 9)})), 1, pcapfile.ErrDamaged, "a resolution or an offset of 9 bytes"},
		{"offset of four bytes", join(ng, n.Interface(1, 0, capturetest.Option{Code: capturetest.TSOffset, Value: make([]byte, 4)})), 1, pcapfile.ErrDamaged, "a resolution or an offset of 4 bytes"},
		{"interfaces without end", join(ng, many), 1, pcapfile.ErrBound, "an interface more than 65536 in a section"},

		// A packet whose length exceeds its block, by any number.
		{"simple, 1 byte over", join(ng, simple(45)), 1, pcapfile.ErrDamaged, "a packet of 45 bytes in a block with room for 44"},
		{"simple, 4 bytes over", join(ng, simple(48)), 1, pcapfile.ErrDamaged, "a packet of 48 bytes in a block with room for 44"},
		{"simple, 4 GiB", join(ng, simple(1<<32-1)), 1, pcapfile.ErrDamaged, "a packet of 4294967295 bytes"},
		{"obsolete, 1 byte over", join(ng, captured(n.Obsolete(0, 0, testFrame[:44], 60), 45)), 1, pcapfile.ErrDamaged, "a packet of 45 bytes in a block with room for 44"},
		{"obsolete, 4 bytes over", join(ng, captured(n.Obsolete(0, 0, testFrame[:44], 60), 48)), 1, pcapfile.ErrDamaged, "a packet of 48 bytes in a block with room for 44"},
		{"enhanced, 1 byte over", join(ng, captured(n.Enhanced(0, 0, testFrame[:44], 60), 45)), 1, pcapfile.ErrDamaged, "a packet of 45 bytes in a block with room for 44"},
		{"enhanced, 4 GiB", join(ng, captured(n.Enhanced(0, 0, testFrame[:44], 60), 1<<32-1)), 1, pcapfile.ErrDamaged, "a packet of 4294967295 bytes"},
	}
}

type damagedInput struct {
	name    string
	content []byte
	frames  int
	want    error
	says    string
}

// All frames before the damage are returned first, also from a compressed input.
func TestBadInput(t *testing.T) {
	for _, c := range damage() {
		for _, compressed := range []bool{false, true} {
			content := c.content
			if compressed {
				content = capturetest.Gzip(content)
			}
			got, err := readBytes(t, content)
			if len(got) != c.frames || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s, compressed %v: %d frames, %v, want %d, %v %s", c.name, compressed, len(got), err, c.frames, c.want, c.says)
			}
		}
	}
}

// lenient lists inputs with defects that do not matter, each with one frame.
func lenient() []lenientInput {
	order := capturetest.Orders[0]
	p := capturetest.Pcap{Order: order}
	n := capturetest.NG{Order: order}
	put16 := func(b []byte, at int, v uint16) []byte { b = slices.Clone(b); order.PutUint16(b[at:], v); return b }
	put32 := func(b []byte, at int, v uint32) []byte { b = slices.Clone(b); order.PutUint32(b[at:], v); return b }
	join := func(bs ...[]byte) []byte { return slices.Concat(bs...) }
	swapped := put32(put32(p.Record(testSeconds, testFrame[:50], 60), 8, 60), 12, 50)
	patched := join([]byte("\x34\xcd\xb2\xa1"), p.Header()[4:], p.Record(testSeconds, testFrame, 60)[:16],
		[]byte{2, 0, 0, 0, 8, 6, 0, 0}, testFrame)
	head := join(n.Section(), n.Interface(1, 0))
	packet := n.Enhanced(0, testSeconds*1e6, testFrame, 60)
	comment := capturetest.Option{Code: 1, Value: bytes.Repeat([]byte("x"), 65532)}
	comments := slices.Repeat([]capturetest.Option{comment}, 250) // just below the bound
	cut := record{testSeconds, 60, string(testFrame[:50])}
	odd := n.Enhanced(0, testSeconds*1e6, testFrame[:50], 60)
	odd = put32(put32(odd, 4, uint32(len(odd)-2)), len(odd)-4, uint32(len(odd)-2))
	section := func(length uint64) []byte {
		b := n.Section()
		order.PutUint64(b[16:], length)
		return join(b, n.Interface(1, 0), packet)
	}
	big := capturetest.Pcap{Order: capturetest.Orders[1]}
	resolution := func(v byte) capturetest.Option {
		return capturetest.Option{Code: capturetest.TSResol, Value: []byte{v}}
	}
	offset := func(v uint64) capturetest.Option {
		return capturetest.Option{Code: capturetest.TSOffset, Value: n.Uint64(v)}
	}
	return []lenientInput{
		{"captured length above original", join(p.Header(), p.Record(testSeconds, testFrame, 42)), record{testSeconds, 42, string(testFrame[:capture.Snaplen])}},
		{"captured length above snaplen", put32(join(p.Header(), p.Record(testSeconds, testFrame, 60)), 16, 40), record{testSeconds, 60, string(testFrame[:40])}},
		{"snaplen 0", put32(join(p.Header(), p.Record(testSeconds, testFrame, 60)), 16, 0), want(testSeconds)},
		{"version 2.3", put16(join(p.Header(), p.Record(testSeconds, testFrame[:50], 60)), 6, 3), cut},
		{"version 2.3, lengths swapped", put16(join(p.Header(), swapped), 6, 3), cut},
		{"version 2.2", put16(join(p.Header(), swapped), 6, 2), cut},
		{"version 2.0", put16(join(p.Header(), swapped), 6, 0), cut},
		{"version 543.0", put16(put16(join(p.Header(), swapped), 4, 543), 6, 0), cut},
		{"nanoseconds under the microsecond magic", put32(p.File(testSeconds, testFrame), 28, 999_999_999), want(testSeconds)},
		{"any fraction", put32(p.File(testSeconds, testFrame), 28, 1<<32-1), want(testSeconds)},
		{"patched kernel", patched, want(testSeconds)},
		{"patched kernel, above snaplen", put32(patched, 16, 30), record{testSeconds, 60, string(testFrame[:44])}},
		{"patched kernel, big-endian", join([]byte("\xa1\xb2\xcd\x34"), big.Header()[4:], big.Record(testSeconds, testFrame, 60)[:16],
			[]byte{0, 0, 0, 2, 8, 6, 4, 0}, testFrame), want(testSeconds)},
		{"length of the FCS", put32(p.File(testSeconds, testFrame), 20, 0x54000001), want(testSeconds)},
		{"length of the FCS is 0", put32(p.File(testSeconds, testFrame), 20, 0x04000001), want(testSeconds)},
		{"reserved bit at the length of the FCS", put32(p.File(testSeconds, testFrame), 20, 0x08000001), want(testSeconds)},
		{"pcapng 1.2", put16(join(head, packet), 14, 2), want(testSeconds)},
		{"section length 0", section(0), want(testSeconds)},
		{"section length too short", section(4), want(testSeconds)},
		{"section length beyond the input", section(1 << 40), want(testSeconds)},
		{"section length beyond any input", section(1 << 63), want(testSeconds)},
		{"blocks without their padding", join(head, odd), cut},
		{"block without its padding in one length", join(head, put32(odd, 4, uint32(len(odd)))), cut},
		{"simple packet, snaplen of the first interface", join(n.Section(), n.Interface(1, 50), n.Interface(1, 20), n.Simple(testFrame[:50], 60)), record{0, 60, cut.Data}},
		{"simple packet, no snaplen of the first interface", join(n.Section(), n.Interface(1, 0), n.Interface(1, 20), n.Simple(testFrame[:50], 50)), record{0, 50, cut.Data}},
		{"simple packet, room for more", join(head, put32(n.Simple(testFrame[:52], 50), 8, 50)), record{0, 50, cut.Data}},
		{"reserved bits of an interface", put16(join(head, packet), 38, 0xffff), want(testSeconds)},
		{"captured length above original, pcapng", join(head, n.Enhanced(0, testSeconds*1e6, testFrame, 42)), record{testSeconds, 42, string(testFrame[:capture.Snaplen])}},
		{"end of options with a length", join(head, n.Block(6, packet[8:len(packet)-4], capturetest.Option{Code: 0, Value: []byte("none")})), want(testSeconds)},
		{"option beyond the block", join(head, n.Block(6, join(packet[8:len(packet)-4], []byte{1, 0, 0xff, 0xff}))), want(testSeconds)},
		{"option of an interface up to the end of the block", join(n.Section(), n.Block(1, []byte{1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 4, 0, 'e', 't', 'h', '0'}), packet), want(testSeconds)},
		{"end of an interface's options with a length", join(n.Section(), n.Block(1, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 9, 0, 1, 0}), packet), want(testSeconds)},
		{"resolution after the end of the options", join(n.Section(), n.Block(1, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 0, 0, 0, 0}), packet), want(testSeconds)},
		{"option beyond the block, of an interface that is not read", join(head, n.Block(1, []byte{105, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0xff, 0xff}), packet), want(testSeconds)},
		{"two resolutions", join(n.Section(), n.Interface(1, 0, resolution(9), resolution(6)), n.Enhanced(0, testSeconds*1e9, testFrame, 60)), want(testSeconds)},
		{"two offsets", join(n.Section(), n.Interface(1, 0, offset(7), offset(100)), packet), want(testSeconds + 7)},
		{"long comments", join(head, n.Enhanced(0, testSeconds*1e6, testFrame, 60, comments...)), want(testSeconds)},
		{"other interfaces", join(head, n.Interface(105, 0), n.Enhanced(1, 0, testFrame, 60), packet), want(testSeconds)},
		{"other interface first", join(n.Section(), n.Interface(105, 0), n.Interface(1, 0), n.Enhanced(1, testSeconds*1e6, testFrame, 60)), want(testSeconds)},
		{"resolution of an interface that is not read", join(head, n.Interface(105, 0, capturetest.Option{Code: capturetest.TSResol}), packet), want(testSeconds)},
	}
}

type lenientInput struct {
	name    string
	content []byte
	want    record
}

// If the limits of a record are certain, fields that are not needed are ignored.
func TestLenient(t *testing.T) {
	for _, c := range lenient() {
		got, err := readBytes(t, c.content)
		if diff := cmp.Diff([]record{c.want}, got); diff != "" || err != io.EOF {
			t.Errorf("%s: %v, -want +got:\n%s", c.name, err, diff)
		}
	}
}

// Frames of a link that is not Ethernet are counted.
func TestSkippedFrames(t *testing.T) {
	control, _ := testenv.Wake(t)
	n := capturetest.NG{Order: capturetest.Orders[0]}
	f := pcapfile.NewFile(input(t, slices.Concat(n.Section(), n.Interface(105, 0), n.Interface(1, 0),
		n.Enhanced(0, 0, testFrame, 60), n.Enhanced(1, 0, testFrame, 60), n.Enhanced(0, 0, testFrame, 60))), control, -1, false)
	if got, err := readAll(t, f); len(got) != 1 || err != io.EOF {
		t.Errorf("%d frames, %v", len(got), err)
	}
	if s, _ := f.Stats(0); s.Unsupported != 2 {
		t.Errorf("%+v", s)
	}
}

// The time of a packet is exact for each resolution and offset, and does not overflow.
func TestResolutions(t *testing.T) {
	n := capturetest.NG{Order: capturetest.Orders[0]}
	for _, c := range []struct {
		resolution byte
		offset     int64
		ticks      uint64
		want       int64
	}{
		{0, 0, testSeconds, testSeconds},
		{0, 0, math.MaxUint64, math.MaxInt64},
		{0, -1, math.MaxUint64, math.MaxInt64},
		{0, math.MinInt64, math.MaxUint64, math.MaxInt64},
		{0, math.MinInt64, 1 << 63, 0},
		{0, math.MinInt64, 0, math.MinInt64},
		{0, math.MaxInt64, 1, math.MaxInt64},
		{3, 0, math.MaxUint64, math.MaxUint64 / 1000},
		{6, 0, testSeconds*1e6 + 999999, testSeconds},
		{9, -testSeconds, testSeconds * 1e9, 0},
		{9, -testSeconds, (testSeconds - 1) * 1e9, -1},
		{19, 0, math.MaxUint64, 1},
		{20, 0, math.MaxUint64, 0},
		{127, 7, math.MaxUint64, 7},
		{0x80, 0, testSeconds, testSeconds},
		{0x80 | 20, 0, testSeconds<<20 | 1<<19, testSeconds},
		{0x80 | 63, 0, math.MaxUint64, 1},
		{0x80 | 64, 0, math.MaxUint64, 0},
		{0xff, 7, math.MaxUint64, 7},
	} {
		content := slices.Concat(n.Section(), n.Interface(1, 0,
			capturetest.Option{Code: capturetest.TSResol, Value: []byte{c.resolution}},
			capturetest.Option{Code: capturetest.TSOffset, Value: n.Uint64(uint64(c.offset))}),
			n.Enhanced(0, c.ticks, testFrame, 60))
		got, err := readBytes(t, content)
		if len(got) != 1 || err != io.EOF || got[0].Seconds != c.want {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}
}

// The bound on interfaces is per section, and an input can have any number of sections.
func TestManySections(t *testing.T) {
	n := capturetest.NG{Order: capturetest.Orders[0]}
	section := slices.Concat(n.Section(), bytes.Repeat(n.Interface(1, 0), pcapfile.MaxInterfaces), n.Simple(testFrame, 60))
	if got, err := readBytes(t, bytes.Repeat(section, 3)); err != io.EOF || len(got) != 3 {
		t.Errorf("%d frames, %v", len(got), err)
	}
}

// An input of another format is recognized by its first bytes, at least four.
func TestFormats(t *testing.T) {
	erf := append([]byte{0, 0, 0, 0, 0, 0, 0, 0x6b, 2, 0, 0, 76, 0, 0, 0, 60}, make([]byte, 60)...)
	for begin, want := range map[string]string{
		"\x28\xb5\x2f\xfd....":              "zstd",
		"\xfd7zXZ\x00":                      "xz",
		"BZh9":                              "bzip2",
		"snoop\x00\x00\x00\x00\x00\x00\x02": "snoop",
		"\x50\x2a\x4d\x18....":              "zstd",
		"\x1c\x00\x01\xac\x00\x02\x00\x04":  "Ixia's pcap",
		string(erf):                         "ERF",
		"GET / HTTP/1.0\r\n\r\n":            "text",
		"12:26:40.0 ARP, Request who-has 10.0.0.2 tell 10.0.0.1": "text",
		"<!DOCTYPE html>":  "HTML",
		"\x00\x01\x02\x03": "",
		"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6\xf5": "",
	} {
		for _, compressed := range []bool{false, true} {
			content := []byte(begin)
			if compressed {
				content = capturetest.Gzip(content)
			}
			_, err := readBytes(t, content)
			var format *pcapfile.FormatError
			if !errors.As(err, &format) || !strings.HasPrefix(format.Looks, want) || (want == "") != (format.Looks == "") {
				t.Errorf("%q, compressed %v: %v, want %q", begin, compressed, err, want)
			}
		}
	}
}

// A compressed input gives the original frames, with one member or many, and with any bytes after
// the last member.
func TestGzip(t *testing.T) {
	content := capturetest.Pcap{Order: capturetest.Orders[0]}.File(testSeconds, testFrame, testFrame)
	wants := []record{want(testSeconds), want(testSeconds + 1)}
	whole := capturetest.Gzip(content)
	for name, c := range map[string][]byte{
		"one member":       whole,
		"members":          slices.Concat(capturetest.Gzip(content[:30]), capturetest.Gzip(nil), capturetest.Gzip(content[30:])),
		"trailing zeros":   slices.Concat(whole, make([]byte, 100)),
		"trailing garbage": slices.Concat(whole, []byte("garbage")),
		"trailing magic":   slices.Concat(whole, []byte("\x1fgarbage garbage")),
	} {
		got, err := readBytes(t, c)
		if diff := cmp.Diff(wants, got); diff != "" || err != io.EOF {
			t.Errorf("%s: %v, -want +got:\n%s", name, err, diff)
		}
	}
	sum := slices.Clone(whole)
	sum[len(sum)-5] ^= 1
	for name, c := range map[string]struct {
		content []byte
		want    error
		says    string
	}{
		"checksum":            {sum, pcapfile.ErrDamaged, "gzip: invalid checksum"},
		"cut in its trailer":  {whole[:len(whole)-3], pcapfile.ErrDamaged, "gzip: unexpected EOF"},
		"cut before a header": {whole[:12], pcapfile.ErrNoHeader, ""},
		"garbage after it":    {[]byte("\x1f\x8bgarbage garbage"), pcapfile.ErrDamaged, "gzip: invalid header"},
		"corrupt":             {slices.Concat(whole[:10], []byte("\xff\xff\xff\xff\xff"), whole[15:]), pcapfile.ErrDamaged, "gzip: flate: corrupt input"},
		"second member cut":   {slices.Concat(whole, whole[:15]), pcapfile.ErrDamaged, "gzip: unexpected EOF"},
	} {
		if _, err := readBytes(t, c.content); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v %s", name, err, c.want, c.says)
		}
	}
}

// A small input that expands without end uses no more memory than others, and Wait reports control
// meanwhile.
func TestGzipBomb(t *testing.T) {
	n := capturetest.NG{Order: capturetest.Orders[0]}
	huge := n.Block(99, make([]byte, 64<<20))
	content := capturetest.Gzip(slices.Concat(n.Section(), n.Interface(1, 0), huge, n.Simple(testFrame, 60)))
	huge = nil
	control, stop := testenv.Wake(t)
	stop()
	f := pcapfile.NewFile(input(t, content), control, -1, false)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var frame capture.Frame
	frames, waits := 0, 0
	for {
		woken, err := f.Wait(false, -1)
		if err == io.EOF {
			break
		}
		testenv.Must(t, err)
		if waits++; !woken.Control {
			t.Fatal("control was not served")
		}
		for f.Next(&frame) {
			frames++
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; frames != 1 || waits < 30 || n > 4<<20 {
		t.Errorf("%d frames, %d waits, %d bytes allocated", frames, waits, n)
	}
}

// Cooked captures, of `tcpdump -i any`, give the packet after a partial Ethernet header.
func TestCooked(t *testing.T) {
	p := capturetest.Pcap{Order: capturetest.Orders[0]}
	n := capturetest.NG{Order: capturetest.Orders[1]}
	ether := slices.Concat(make([]byte, 6), testFrame[6:])
	wants := func(frame []byte) record {
		return record{testSeconds, 66, string(frame[:min(len(frame), capture.Snaplen)])}
	}
	sll := func(arphrd uint16, rest []byte) []byte {
		b := binary.BigEndian.AppendUint16([]byte{0, 1}, arphrd)
		return slices.Concat(b, []byte{0, 6}, testFrame[6:12], []byte{0, 0}, rest)
	}
	sll2 := func(arphrd uint16, rest []byte) []byte {
		b := binary.BigEndian.AppendUint16(slices.Concat(rest[:2], []byte{0, 0, 0, 0, 0, 3}), arphrd)
		return slices.Concat(b, []byte{1, 6}, testFrame[6:12], []byte{0, 0}, rest[2:])
	}
	tagged := slices.Concat([]byte{0x81, 0, 0, 100}, testFrame[12:])
	for name, c := range map[string]struct {
		linkType uint32
		frame    []byte
		want     []record
	}{
		"SLL":                {113, sll(1, testFrame[12:]), []record{wants(ether)}},
		"SLL2":               {276, sll2(1, testFrame[12:]), []record{wants(ether)}},
		"SLL, loopback":      {113, sll(772, testFrame[12:]), []record{wants(ether)}},
		"SLL, tagged":        {113, sll(1, tagged), []record{wants(slices.Concat(ether[:12], tagged))}},
		"SLL2, tagged":       {276, sll2(1, tagged), []record{wants(slices.Concat(ether[:12], tagged))}},
		"SLL, tun":           {113, sll(65534, testFrame[12:]), nil},
		"SLL2, tun":          {276, sll2(65534, testFrame[12:]), nil},
		"SLL, no MAC":        {113, slices.Replace(sll(1, testFrame[12:]), 5, 6, 8), nil},
		"SLL2, no MAC":       {276, slices.Replace(sll2(1, testFrame[12:]), 11, 12, 8), nil},
		"SLL, cut":           {113, sll(1, testFrame[12:])[:15], []record{wants(nil)}},
		"SLL2, cut":          {276, sll2(1, testFrame[12:])[:19], []record{wants(nil)}},
		"SLL, cut in packet": {113, sll(1, testFrame[12:])[:20], []record{wants(ether[:18])}},
	} {
		for i, content := range [][]byte{
			slices.Concat(capturetest.Pcap{Order: p.Order, LinkType: c.linkType}.Header(), p.Record(testSeconds, c.frame, 66)),
			slices.Concat(n.Section(), n.Interface(uint16(c.linkType), 0), n.Enhanced(0, testSeconds*1e6, c.frame, 66)),
		} {
			got, err := readBytes(t, content)
			if diff := cmp.Diff(c.want, got); diff != "" || err != io.EOF {
				t.Errorf("%s, %d: %v, -want +got:\n%s", name, i, err, diff)
			}
			f := pcapfile.NewFile(input(t, content), -1, -1, false)
			_, err = f.Wait(false, -1)
			testenv.Must(t, err)
			var frame capture.Frame
			if f.Next(&frame) && len(frame.Data) > 0 && !frame.Cooked {
				t.Errorf("%s, %d: not cooked", name, i)
			}
		}
	}
}

// The position is after the last frame that was returned.
func TestPosition(t *testing.T) {
	control, _ := testenv.Wake(t)
	content := capturetest.Pcap{Order: capturetest.Orders[0]}.File(testSeconds, testFrame, testFrame)
	f := pcapfile.NewFile(input(t, content), control, -1, false)
	_, err := f.Wait(false, -1)
	testenv.Must(t, err)
	var frame capture.Frame
	for _, want := range []uint64{100, 176} {
		if !f.Next(&frame) {
			t.Fatal("no frame")
		}
		if s, err := f.Stats(0); s.Position != want || err != nil {
			t.Errorf("position %d, %v, want %d", s.Position, err, want)
		}
	}
}

// The position in a compressed input is after the decompressed bytes.
func TestPositionInGzip(t *testing.T) {
	content := capturetest.Gzip(capturetest.Pcap{Order: capturetest.Orders[0]}.File(testSeconds, testFrame))
	control, _ := testenv.Wake(t)
	f := pcapfile.NewFile(input(t, content), control, -1, false)
	_, err := readAll(t, f)
	if s, _ := f.Stats(0); err != io.EOF || s.Position != uint64(len(content)) {
		t.Errorf("%v, position %d, want %d", err, s.Position, len(content))
	}
	// Of bytes that are not compressed there are many at once.
	stored := slices.Concat(content[:10], []byte{1, 0xe8, 3, 0x17, 0xfc}, make([]byte, 1000), make([]byte, 8))
	f = pcapfile.NewFile(input(t, stored), control, -1, false)
	_, err = readAll(t, f)
	if s, _ := f.Stats(0); s.Position < 1000 {
		t.Errorf("%v, position %d, want 1000 at the least", err, s.Position)
	}
}

// A compressed input can pause anywhere too: what can be decompressed then is given.
func TestGzipByteByByte(t *testing.T) {
	var content bytes.Buffer
	w := gzip.NewWriter(&content)
	p := capturetest.Pcap{Order: capturetest.Orders[1]}
	_, err := w.Write(p.File(testSeconds, testFrame))
	testenv.Must(t, errors.Join(err, w.Flush()))
	flushed := content.Len()
	_, err = w.Write(p.Record(testSeconds+1, testFrame, 60))
	testenv.Must(t, errors.Join(err, w.Close()))

	r, in, err := os.Pipe()
	testenv.Must(t, err)
	defer r.Close()
	control, stop := testenv.Wake(t)
	f := pcapfile.NewFile(int(r.Fd()), control, -1, false)
	stop() // so that each Wait ends
	var got []record
	var frame capture.Frame
	for i, b := range content.Bytes() {
		_, err := in.Write([]byte{b})
		testenv.Must(t, err)
		for range 3 { // input, output, nothing
			_, err := f.Wait(false, -1)
			testenv.Must(t, err)
			for f.Next(&frame) {
				got = append(got, record{frame.Seconds, frame.Len, string(frame.Data)})
			}
		}
		if i >= flushed && len(got) == 0 {
			t.Fatalf("no frame behind byte %d, of which %d were flushed", i, flushed)
		}
	}
	testenv.Must(t, in.Close())
	for err == nil {
		_, err = f.Wait(false, -1)
	}
	if diff := cmp.Diff([]record{want(testSeconds), want(testSeconds + 1)}, got); diff != "" || err != io.EOF {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
}

// An input can pause at any byte, and all frames before that byte are returned.
func TestByteByByte(t *testing.T) {
	n := capturetest.NG{Order: capturetest.Orders[0]}
	for _, content := range [][]byte{
		capturetest.Pcap{Order: capturetest.Orders[1]}.File(testSeconds, testFrame, testFrame[:20]),
		slices.Concat(n.Section(), n.Interface(1, 0), n.Block(99, make([]byte, 8)), n.Enhanced(0, testSeconds*1e6, testFrame, 60),
			n.Simple(testFrame, 60), n.Obsolete(0, testSeconds*1e6, testFrame, 60)),
	} {
		r, w, err := os.Pipe()
		testenv.Must(t, err)
		defer r.Close()
		control, _ := testenv.Wake(t)
		f := pcapfile.NewFile(int(r.Fd()), control, -1, false)
		whole, _ := readBytes(t, content)
		seen := 0
		for i := range content {
			_, err := w.Write(content[i : i+1])
			testenv.Must(t, err)
			_, err = f.Wait(false, -1)
			testenv.Must(t, err)
			var frame capture.Frame
			for f.Next(&frame) {
				if seen++; frame.Seconds != whole[seen-1].Seconds {
					t.Errorf("frame %d: %+v", seen, frame)
				}
			}
			// All of the first i+1 bytes, and no more.
			if before, _ := readBytes(t, content[:i+1]); seen != len(before) {
				t.Fatalf("%d frames behind byte %d, want %d", seen, i, len(before))
			}
		}
		testenv.Must(t, w.Close())
		for err == nil {
			_, err = f.Wait(false, -1)
		}
		if err != io.EOF {
			t.Errorf("%v", err)
		}
	}
}

// A File that waits for a pipe is woken by its other descriptor, and by the end.
func TestFileControlWakes(t *testing.T) {
	r, w, err := os.Pipe()
	testenv.Must(t, err)
	defer r.Close()
	control, stop := testenv.Wake(t)
	f := pcapfile.NewFile(int(r.Fd()), control, -1, false)
	stop()
	if woken, err := f.Wait(false, -1); !woken.Control || err != nil {
		t.Errorf("woken %v, %v", woken, err)
	}
	testenv.Must(t, w.Close())
	for err == nil {
		_, err = f.Wait(false, -1)
	}
	if !errors.Is(err, pcapfile.ErrNoHeader) {
		t.Errorf("%v", err)
	}
}

// An unreadable descriptor is an error.
func TestUnreadable(t *testing.T) {
	dir, err := os.Open("/")
	testenv.Must(t, err)
	defer dir.Close()
	control, _ := testenv.Wake(t)
	if _, err := readAll(t, pcapfile.NewFile(int(dir.Fd()), control, -1, false)); !errors.Is(err, unix.EISDIR) {
		t.Errorf("%v", err)
	}
}

// benchInput returns an input of about this size, and its number of frames.
func benchInput(header, record []byte, size int) ([]byte, int) {
	n := size / len(record)
	return append(slices.Clip(header), bytes.Repeat(record, n)...), n
}

// The cost per frame of a file in the page cache.
func BenchmarkFile(b *testing.B) {
	p := capturetest.Pcap{Order: capturetest.Orders[0]}
	n := capturetest.NG{Order: capturetest.Orders[0]}
	for _, c := range []struct {
		name           string
		header, record []byte
	}{
		{"pcap", p.Header(), p.Record(testSeconds, testFrame, 60)},
		{"pcapng", slices.Concat(n.Section(), n.Interface(1, 0)), n.Enhanced(0, testSeconds*1e6, testFrame, 60)},
		{"pcap of 1500 bytes", p.Header(), p.Record(testSeconds, make([]byte, 1500), 1500)},
		{"gzip", p.Header(), p.Record(testSeconds, testFrame, 60)},
	} {
		b.Run(c.name, func(b *testing.B) {
			content, frames := benchInput(c.header, c.record, 64<<20)
			if c.name == "gzip" {
				content = capturetest.Gzip(content)
			}
			fd := input(b, content)
			control, _ := testenv.Wake(b)
			b.ReportAllocs()
			b.SetBytes(int64(len(c.record)))
			var frame capture.Frame
			var f *pcapfile.File
			left := 0
			for b.Loop() {
				for left == 0 || !f.Next(&frame) {
					if left == 0 {
						_, err := unix.Seek(fd, 0, io.SeekStart)
						testenv.Must(b, err)
						f, left = pcapfile.NewFile(fd, control, -1, false), frames
					}
					_, err := f.Wait(false, -1)
					testenv.Must(b, err)
				}
				left--
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
		})
	}
}

// A frame has at most Snaplen bytes, with IPv6 at most SnaplenIPv6, also one of a cooked capture,
// and its length on the wire in any case.
func TestSnaplen(t *testing.T) {
	long := make([]byte, 3000)
	for i := range long {
		long[i] = byte(i % 251)
	}
	copy(long, testFrame[:14])
	sll := slices.Concat([]byte{0, 1, 0, 1, 0, 6}, long[6:12], []byte{0, 0}, long[12:])
	sll2 := slices.Concat(long[12:14], []byte{0, 0, 0, 0, 0, 3, 0, 1, 1, 6}, long[6:12], []byte{0, 0}, long[14:])
	for linkType, frame := range map[uint32][]byte{1: long, 113: sll, 276: sll2} {
		p := capturetest.Pcap{Order: capturetest.Orders[0], LinkType: linkType}
		want := slices.Clone(long)
		if linkType != 1 {
			clear(want[:6])
		}
		for _, ipv6 := range []bool{false, true} {
			n := map[bool]int{false: 50, true: 1522}[ipv6]
			f := pcapfile.NewFile(input(t, p.File(testSeconds, frame)), -1, -1, ipv6)
			if _, err := f.Wait(false, -1); err != nil {
				t.Fatal(err)
			}
			var got capture.Frame
			if !f.Next(&got) || !bytes.Equal(got.Data, want[:n]) || got.Len != len(frame) {
				t.Errorf("link type %d, IPv6 %v: %d bytes of %d:\n%x", linkType, ipv6, len(got.Data), got.Len, got.Data)
			}
		}
	}
}
