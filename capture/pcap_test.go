package capture_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"maas-netmon/capture"
	"maas-netmon/capture/capturetest"
	"maas-netmon/internal/testenv"
)

// A record is what a test wants to see of a frame.
type record struct {
	Seconds int64
	Len     int
	Data    string
}

// input returns a descriptor of a file that has the content.
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
func readAll(t testing.TB, f *capture.File) ([]record, error) {
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
		if _, err := f.Wait(); err != nil {
			if s, _ := f.Stats(0); s.Frames != uint64(len(records)) || s.Dropped != 0 {
				t.Errorf("statistics %+v, want %d frames", s, len(records))
			}
			return records, err
		}
	}
}

// readBytes reads an input of some bytes.
func readBytes(t testing.TB, content []byte) ([]record, error) {
	t.Helper()
	control, _ := wake(t)
	return readAll(t, capture.NewFile(input(t, content), control))
}

// testFrame is an ARP frame in its usual length.
var testFrame = testenv.ARP{SenderMAC: testenv.MACB, SenderIP: "10.0.0.2", TargetIP: "10.0.0.1"}.Bytes()

const testSeconds = 1795228118

// want is what is seen of testFrame.
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
			n.Block(4, make([]byte, 2_000_000)),                // names: longer than what is read at once
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

// Whatever is wrong with an input, the frames before it are given first, and nothing is
// allocated that is not there.
func TestBadInput(t *testing.T) {
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
	many := slices.Clone(ng)
	for range capture.MaxDescriptions/20 + 1 {
		many = append(many, n.Interface(1, 0)...)
	}
	for _, c := range []struct {
		name    string
		content []byte
		frames  int
		want    error
		says    string
	}{
		{"empty", nil, 0, capture.ErrNoHeader, ""},
		{"header cut", good[:23], 0, capture.ErrNoHeader, ""},
		{"section cut", ng[:27], 0, capture.ErrNoHeader, ""},
		{"no magic", []byte("GET / HTTP/1.0\r\n\r\n"), 0, capture.ErrFormat, ""},
		{"compressed", append([]byte{0x1f, 0x8b, 8}, make([]byte, 40)...), 0, capture.ErrFormat, ""},
		{"version", join([]byte("\xa1\xb2\xc3\xd4\x00\x03\x00\x04"), make([]byte, 16)), 0, capture.ErrDamaged, "at byte 0: Unknown major version 3"},
		{"link type", capturetest.Pcap{Order: p.Order, LinkType: 113}.File(1, testFrame), 0, capture.ErrLinkType, ": 113 (Linux SLL)"},
		{"link type of an interface", join(ng, n.Interface(105, 0)), 1, capture.ErrLinkType, ": 105 (802.11)"},
		{"only a header", p.Header(), 0, io.EOF, ""},
		{"only a section", n.Section(), 0, io.EOF, ""},
		{"record's header cut", join(good, p.Record(0, testFrame, 60)[:15]), 1, capture.ErrDamaged, "at byte 100: the input ends within it"},
		{"record cut", join(good, p.Record(0, testFrame, 60)[:75]), 1, capture.ErrDamaged, "at byte 100: the input ends within it"},
		{"record of 4 GiB", join(good, p.RecordHeader(1<<32-1), good), 1, capture.ErrDamaged, "at byte 100: 4294967295 bytes long"},
		{"record too long", join(good, p.RecordHeader(256<<10+1), make([]byte, 300<<10)), 1, capture.ErrDamaged, "at byte 100: 262145 bytes long"},
		{"longer than it was", join(good, p.Record(0, testFrame, 59)), 1, capture.ErrDamaged, "at byte 100: capture length exceeds"},
		{"block cut", ng[:len(ng)-1], 0, capture.ErrDamaged, "at byte 48: the input ends within it"},
		{"unknown block cut", join(ng, n.Block(99, make([]byte, 100))[:111]), 1, capture.ErrDamaged, "the input ends within it"},
		{"block of 4 GiB", join(ng, lengths(6, 1<<32-4, 1<<32-4)), 1, capture.ErrDamaged, "a block of 4294967292 bytes"},
		{"unknown block of 4 GiB", join(ng, lengths(99, 1<<32-4, 0), make([]byte, 3<<20)), 1, capture.ErrDamaged, "the input ends within it"},
		{"block of nothing", join(ng, lengths(99, 0, 0)), 1, capture.ErrDamaged, "a block of 0 bytes"},
		{"block of 8 bytes", join(ng, lengths(6, 8, 8)), 1, capture.ErrDamaged, "a block of 8 bytes"},
		{"block of odd length", join(ng, lengths(6, 75, 75)), 1, capture.ErrDamaged, "a block of 75 bytes"},
		{"lengths differ", join(ng, lengths(6, 76, 80)), 1, capture.ErrDamaged, "a block of two lengths"},
		{"frame longer than its block", join(ng, n.Block(6, append(make([]byte, 12), 0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0, 1, 2))), 1, capture.ErrDamaged, ""},
		{"option longer than its block", join(ng, n.Block(1, []byte{1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0xff, 0xff})), 1, capture.ErrDamaged, ""},
		{"shortest section", join(ng, n.Block(0x0a0d0d0a, []byte{0x4d, 0x3c, 0x2b, 0x1a})), 1, capture.ErrDamaged, ""},
		{"shortest interface", join(ng, n.Block(1, nil)), 1, capture.ErrDamaged, ""},
		{"shortest packet", join(ng, n.Block(6, nil)), 1, capture.ErrDamaged, ""},
		{"byte order", join(ng, n.Block(0x0a0d0d0a, make([]byte, 16))), 1, capture.ErrDamaged, "a section of no byte order"},
		{"no such interface", join(ng, n.Enhanced(1, 0, testFrame, 60)), 1, capture.ErrDamaged, "Interface id 1 not present"},
		{"interface of another section", join(ng, n.Section(), n.Enhanced(0, 0, testFrame, 60)), 1, capture.ErrDamaged, "Interface id 0 not present"},
		{"resolution", join(ng, n.Interface(1, 0, capturetest.Option{Code: capturetest.TSResol, Value: []byte{0xff}})), 1, capture.ErrDamaged, "resolution"},
		{"many interfaces", many, 1, capture.ErrDamaged, "too many interfaces"},
	} {
		got, err := readBytes(t, c.content)
		if len(got) != c.frames || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %d frames, %v, want %d, %v %s", c.name, len(got), err, c.frames, c.want, c.says)
		}
	}
}

// The bound of interfaces is a section's, and there can be any number of these.
func TestManySections(t *testing.T) {
	n := capturetest.NG{Order: capturetest.Orders[0]}
	section := n.Section()
	for range capture.MaxDescriptions / 20 {
		section = append(section, n.Interface(1, 0)...)
	}
	section = append(section, n.Simple(testFrame, 60)...)
	if got, err := readBytes(t, bytes.Repeat(section, 3)); err != io.EOF || len(got) != 3 {
		t.Errorf("%d frames, %v", len(got), err)
	}
}

// The position is behind the last frame that was given.
func TestPosition(t *testing.T) {
	control, _ := wake(t)
	content := capturetest.Pcap{Order: capturetest.Orders[0]}.File(testSeconds, testFrame, testFrame)
	f := capture.NewFile(input(t, content), control)
	_, err := f.Wait()
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

// An input can pause anywhere, and what came until then is given.
func TestByteByByte(t *testing.T) {
	n := capturetest.NG{Order: capturetest.Orders[0]}
	for _, content := range [][]byte{
		capturetest.Pcap{Order: capturetest.Orders[1]}.File(testSeconds, testFrame, testFrame[:20]),
		slices.Concat(n.Section(), n.Interface(1, 0), n.Block(99, make([]byte, 8)), n.Enhanced(0, testSeconds*1e6, testFrame, 60)),
	} {
		r, w, err := os.Pipe()
		testenv.Must(t, err)
		defer r.Close()
		control, _ := wake(t)
		f := capture.NewFile(int(r.Fd()), control)
		whole, _ := readBytes(t, content)
		seen := 0
		for i := range content {
			_, err := w.Write(content[i : i+1])
			testenv.Must(t, err)
			_, err = f.Wait()
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
			_, err = f.Wait()
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
	control, stop := wake(t)
	f := capture.NewFile(int(r.Fd()), control)
	stop()
	if woken, err := f.Wait(); !woken || err != nil {
		t.Errorf("woken %v, %v", woken, err)
	}
	testenv.Must(t, w.Close())
	for err == nil {
		_, err = f.Wait()
	}
	if !errors.Is(err, capture.ErrNoHeader) {
		t.Errorf("%v", err)
	}
}

// A descriptor that cannot be read is an error like any other.
func TestUnreadable(t *testing.T) {
	dir, err := os.Open("/")
	testenv.Must(t, err)
	defer dir.Close()
	control, _ := wake(t)
	if _, err := readAll(t, capture.NewFile(int(dir.Fd()), control)); !errors.Is(err, unix.EISDIR) {
		t.Errorf("%v", err)
	}
}

// benchInput returns an input of about a size, and how many frames there are in it.
func benchInput(header, record []byte, size int) ([]byte, int) {
	n := size / len(record)
	return append(slices.Clip(header), bytes.Repeat(record, n)...), n
}

// A frame of a file that is in the page cache.
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
	} {
		b.Run(c.name, func(b *testing.B) {
			content, frames := benchInput(c.header, c.record, 64<<20)
			fd := input(b, content)
			control, _ := wake(b)
			b.ReportAllocs()
			b.SetBytes(int64(len(c.record)))
			var frame capture.Frame
			var f *capture.File
			left := 0
			for b.Loop() {
				for left == 0 || !f.Next(&frame) {
					if left == 0 {
						_, err := unix.Seek(fd, 0, io.SeekStart)
						testenv.Must(b, err)
						f, left = capture.NewFile(fd, control), frames
					}
					_, err := f.Wait()
					testenv.Must(b, err)
				}
				left--
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
		})
	}
}
