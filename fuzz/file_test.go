package fuzz

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"maas-netmon/capture"
	"maas-netmon/capture/capturetest"
	"maas-netmon/capture/pcapfile"
)

// FuzzFile: for any input, a File ends with one of its documented errors, returns frames of limited
// length and allocates no more than the length of the input justifies. It returns the frames of the
// reference, all of them if the reference finds no error. Frames that are decoded from the bytes,
// written in some format, byte order and resolution, or by pcapgo, read back unchanged. With IPv6
// only the length of the frames is another.
func FuzzFile(f *testing.F) {
	addSeeds(f, "FuzzFile")
	r, err := newFileReader()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, end := r.read(t, data, false)
		for _, f := range got {
			if len(f.data) > capture.Snaplen {
				t.Fatalf("%d bytes of a frame", len(f.data))
			}
		}
		long, longEnd := r.read(t, data, true)
		if len(long) != len(got) || fmt.Sprint(longEnd) != fmt.Sprint(end) {
			t.Fatalf("with IPv6 %d frames, %v, without %d, %v", len(long), longEnd, len(got), end)
		}
		for i, f := range long {
			if len(f.data) > capture.SnaplenIPv6 {
				t.Fatalf("%d bytes of a frame with IPv6", len(f.data))
			}
			if f = newFileFrame(f.seconds, uint32(f.length), []byte(f.data)); f != got[i] {
				t.Fatalf("with IPv6 %+v, without %+v", f, got[i])
			}
		}
		var format *pcapfile.FormatError
		if !errors.As(end, &format) && !slices.ContainsFunc([]error{io.EOF, pcapfile.ErrNoHeader, pcapfile.ErrDamaged, pcapfile.ErrLinkType, pcapfile.ErrBound},
			func(want error) bool { return errors.Is(end, want) }) {
			t.Fatalf("ends with %v", end)
		}
		want, ok, _ := referenceFile(data)
		if ok && end != io.EOF {
			t.Errorf("a good input ends with %v", end)
		}
		if ok && len(got) != len(want) {
			t.Errorf("%d frames, want %d", len(got), len(want))
		}
		if n := min(len(got), len(want)); !slices.Equal(got[:n], want[:n]) {
			t.Errorf("frames %+v, want %+v", got[:n], want[:n])
		}

		if len(data) == 0 {
			return
		}
		frames := splitFrames(data[1:])
		want = nil
		const seconds = 1795228118
		for i, frame := range frames {
			want = append(want, newFileFrame(seconds+int64(i), uint32(len(frame)), frame))
		}
		all := append(inputs(seconds, frames), pcapgoInputs(t, seconds, frames)...)
		i := int(data[0]) % len(all) // trying all would take too long
		if got, end := r.read(t, all[i], false); end != io.EOF || !slices.Equal(got, want) {
			t.Fatalf("input %d: %v, %+v, want %+v", i, end, got, want)
		}
		for i, frame := range frames { // of at most 255 bytes
			want[i].data = string(frame)
		}
		if got, end := r.read(t, all[i], true); end != io.EOF || !slices.Equal(got, want) {
			t.Fatalf("input %d with IPv6: %v, %+v, want %+v", i, end, got, want)
		}
	})
}

// splitFrames decodes the frames from the bytes of an input: each begins with its length.
func splitFrames(b []byte) [][]byte {
	var frames [][]byte
	for len(b) > 1 && len(frames) < 20 {
		n := min(int(b[0]), len(b)-1)
		frames = append(frames, b[1:1+n])
		b = b[1+n:]
	}
	return frames
}

// pcapgoInputs returns inputs with these frames, written by pcapgo.
func pcapgoInputs(t *testing.T, seconds int64, frames [][]byte) [][]byte {
	var micro, nano, ng bytes.Buffer
	next, err := pcapgo.NewNgWriter(&ng, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	a, b := pcapgo.NewWriter(&micro), pcapgo.NewWriterNanos(&nano)
	if err := errors.Join(a.WriteFileHeader(65535, layers.LinkTypeEthernet), b.WriteFileHeader(65535, layers.LinkTypeEthernet)); err != nil {
		t.Fatal(err)
	}
	for i, frame := range frames {
		info := gopacket.CaptureInfo{Timestamp: time.Unix(seconds+int64(i), 999_999_999), CaptureLength: len(frame), Length: len(frame)}
		if err := errors.Join(a.WritePacket(info, frame), b.WritePacket(info, frame), next.WritePacket(info, frame)); err != nil {
			t.Fatal(err)
		}
	}
	if err := next.Flush(); err != nil {
		t.Fatal(err)
	}
	return [][]byte{micro.Bytes(), nano.Bytes(), ng.Bytes()}
}

// A fileReader reads inputs with a File.
type fileReader struct {
	input   *os.File
	control int
}

func newFileReader() (*fileReader, error) {
	input, err := unix.MemfdCreate("input", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	control, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	return &fileReader{os.NewFile(uintptr(input), "input"), control}, err
}

// read returns the frames of an input, and its error. It fails the test if more memory is allocated
// than the input justifies.
func (r *fileReader) read(t *testing.T, content []byte, ipv6 bool) ([]fileFrame, error) {
	_, err := r.input.WriteAt(content, 0)
	if err := errors.Join(err, r.input.Truncate(int64(len(content)))); err != nil {
		t.Fatal(err)
	}
	if _, err := r.input.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	count := len(content)%64 == 0 // counting stops the world, so not each time
	if count {
		runtime.ReadMemStats(&before)
	}
	f := pcapfile.NewFile(int(r.input.Fd()), r.control, -1, ipv6)
	var frames []fileFrame
	var frame capture.Frame
	for {
		for f.Next(&frame) {
			frames = append(frames, fileFrame{frame.Seconds, frame.Len, string(frame.Data)})
		}
		_, err := f.Wait(false, -1)
		if err == nil {
			continue
		}
		if count {
			runtime.ReadMemStats(&after)
			if n, most := after.TotalAlloc-before.TotalAlloc, uint64(20<<20+100*len(content)); n > most {
				t.Errorf("%d bytes allocated for %d", n, len(content))
			}
		}
		return frames, err
	}
}

// The reference reads well-formed inputs completely.
func TestReferenceFile(t *testing.T) {
	r, err := newFileReader()
	if err != nil {
		t.Fatal(err)
	}
	frames := [][]byte{[]byte("one"), nil, []byte("three"), make([]byte, 100)}
	for i, b := range inputs(1795228118, frames) {
		got, end := r.read(t, b, false)
		want, ok, _ := referenceFile(b)
		if !ok || end != io.EOF || len(got) != len(frames) || !slices.Equal(got, want) {
			t.Errorf("input %d: %v, %v, %+v, %+v", i, ok, end, got, want)
		}
	}
}

// fileSeeds are captures, and inputs of each format, complete and damaged.
func fileSeeds() ([][]byte, error) {
	capture, err := os.ReadFile("testdata/captures/veth.pcap")
	if err != nil {
		return nil, err
	}
	frames, err := readCapture("testdata/captures/veth.pcap")
	if err != nil {
		return nil, err
	}
	seeds := [][]byte{capture}
	for i, b := range inputs(1795228118, frames[:4]) {
		damaged := slices.Clone(b)
		damaged[len(damaged)/2] ^= 0x40
		seeds = append(seeds, b, b[:len(b)-1-i], damaged)
	}
	// Other link types, several interfaces, other versions, and lengths without padding.
	cooked := slices.Concat([]byte{0, 4, 0, 1, 0, 6}, frames[0][6:12], []byte{0, 0}, frames[0][12:])
	cooked2 := slices.Concat(frames[0][12:14], []byte{0, 0, 0, 0, 0, 3, 0, 1, 4, 6}, frames[0][6:12], []byte{0, 0}, frames[0][14:])
	for _, order := range capturetest.Orders {
		n := capturetest.NG{Order: order}
		for _, linkType := range []uint32{linkSLL, 105, 0x54000001, 0x10001} {
			seeds = append(seeds, capturetest.Pcap{Order: order, LinkType: linkType}.File(1795228118, cooked))
		}
		seeds = append(seeds, slices.Concat(n.Section(), n.Interface(105, 0), n.Interface(linkSLL2, 0), n.Interface(1, 50),
			n.Enhanced(0, 1e6, cooked, 60), n.Enhanced(1, 1e6, cooked2, 60), n.Obsolete(2, 1e6, frames[0], 60), n.Simple(frames[0], 60)))
		old := capturetest.Pcap{Order: order}.File(1795228118, frames[0][:50])
		order.PutUint16(old[6:], 2)
		block := n.Enhanced(0, 1e6, frames[0][:50], 60)
		for _, at := range []int{4, len(block) - 4} {
			order.PutUint32(block[at:], uint32(len(block)-2))
		}
		seeds = append(seeds, old, slices.Concat(n.Section(), n.Interface(1, 0), block))
	}
	return seeds, nil
}
