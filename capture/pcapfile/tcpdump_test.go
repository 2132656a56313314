package pcapfile_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"maas-netmon/capture"
	"maas-netmon/capture/capturetest"
	"maas-netmon/internal/testenv"
)

// onlyHere lists inputs that tcpdump refuses, with the reason. tcpdump reads all other inputs to
// their end that this package reads to their end.
var onlyHere = map[string]string{
	"blocks without their padding":                              "Wireshark reads them; the border is certain",
	"block without its padding in one length":                   "the same",
	"other interfaces":                                          "pcap_open_offline(3) has one link type",
	"other interface first":                                     "the same",
	"resolution of an interface that is not read":               "the same",
	"option beyond the block, of an interface that is not read": "the same",
	"simple packet, snaplen of the first interface":             "pcap_open_offline(3) has one snaplen",
	"simple packet, no snaplen of the first interface":          "the same",
	"end of an interface's options with a length":               "Wireshark reads it; nothing after it is needed",
	"two resolutions":                                           "Wireshark takes the first",
	"two offsets":                                               "the same",
	"only a section":                                            "no frame is no error",
}

// onlyTcpdump lists inputs that tcpdump reads to their end and this package does not, with the
// reason.
var onlyTcpdump = map[string]string{
	"link type":              "it knows more than Ethernet",
	"interfaces without end": "memory is bounded",
}

// tcpdumpTooOld is the error of libpcap 1.10.0 (Debian 11) for a capture that newer ones read.
const tcpdumpTooOld = "tcpdump: unsupported pcapng savefile version 1.2"

// tcpdump finds the same frames: the same number, with the same second, length on the wire and
// captured bytes. If it refuses an input, so does this package, except for the listed inputs.
func TestLikeTcpdump(t *testing.T) {
	testenv.Require(t, testenv.Tcpdump)
	inputs := map[string][]byte{}
	for _, c := range lenient() {
		inputs[c.name] = c.content
	}
	for _, c := range damage() {
		inputs[c.name] = c.content
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for _, order := range capturetest.Orders {
		for i := range 10 {
			inputs[order.String()+" pcap "+strconv.Itoa(i)] = randomPcap(random, order)
			inputs[order.String()+" pcapng "+strconv.Itoa(i)] = randomNG(random, order)
		}
	}
	for name, content := range inputs {
		got, end := readBytes(t, content)
		want, theirEnd := readWithTcpdump(t, content)
		n := min(len(got), len(want))
		for i := range n {
			if !sameRecord(got[i], want[i]) {
				t.Errorf("seed %d, %s, frame %d: %+v, tcpdump has %+v", seed, name, i, got[i], want[i])
			}
		}
		_, only := onlyHere[name]
		_, onlyTheirs := onlyTcpdump[name]
		switch {
		case only && (end != io.EOF || theirEnd == nil), onlyTheirs && (end == io.EOF || theirEnd != nil):
			t.Errorf("%s is no exception: %v, tcpdump %v", name, end, theirEnd)
		case only || onlyTheirs:
		case name == "pcapng 1.2" && end == io.EOF && theirEnd != nil && theirEnd.Error() == tcpdumpTooOld:
		case (end == io.EOF) != (theirEnd == nil):
			t.Errorf("seed %d, %s: ends with %v, tcpdump %v", seed, name, end, theirEnd)
		case name == "no interface that is read": // tcpdump reads the first
		case len(got) != len(want):
			t.Errorf("seed %d, %s: %d frames, then %v; tcpdump has %d, then %v", seed, name, len(got), end, len(want), theirEnd)
		}
	}
	t.Logf("%d inputs", len(inputs))
}

// notPrinted stands for the bytes of a frame that tcpdump does not print.
const notPrinted = "not printed"

// sameRecord compares the parts that tcpdump prints: not a time with a fraction of more than a
// second; not the length of a frame that is too short for a header; only the length of a frame
// whose captured length exceeds the original one.
func sameRecord(got, want record) bool {
	return (want.Seconds < 0 || got.Seconds == want.Seconds) && (want.Len < 0 || got.Len == want.Len) &&
		(want.Data == notPrinted || got.Data == want.Data)
}

var (
	tcpdumpTime   = regexp.MustCompile(`^(?:(\d+)\.\d+|\[Error converting time\]) `)
	tcpdumpLength = regexp.MustCompile(`, length (\d+): `)
	tcpdumpShort  = regexp.MustCompile(`^\[Invalid header: len\((\d+)\) < caplen\(\d+\)\]`)
	tcpdumpHex    = regexp.MustCompile(`^\t0x[0-9a-f]+:  ([0-9a-f ]+)$`)
)

// readWithTcpdump returns the frames that tcpdump prints for an input, and its error.
func readWithTcpdump(t *testing.T, content []byte) (records []record, end error) {
	t.Helper()
	path, err := testenv.LookTcpdump()
	testenv.Must(t, err)
	cmd := exec.Command(path, "-nn", "-tt", "-e", "-xx", "-r", "-")
	cmd.Stdin = bytes.NewReader(content)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		end = errors.New(strings.TrimSpace(stderr.String()))
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSuffix(line, "\n")
		if m := tcpdumpHex.FindStringSubmatch(line); m != nil {
			b, err := hex.DecodeString(strings.ReplaceAll(m[1], " ", ""))
			testenv.Must(t, err)
			r := &records[len(records)-1]
			r.Data += string(b)
			continue
		}
		if m := tcpdumpShort.FindStringSubmatch(line); m != nil {
			length, err := strconv.Atoi(m[1])
			testenv.Must(t, err)
			records = append(records, record{-1, length, notPrinted})
			continue
		}
		m := tcpdumpTime.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("tcpdump: %q, %q", line, out)
		}
		r := record{Seconds: -1, Len: -1}
		if m[1] != "" {
			r.Seconds, err = strconv.ParseInt(m[1], 10, 64)
			testenv.Must(t, err)
		}
		if m := tcpdumpLength.FindStringSubmatch(line); m != nil {
			r.Len, err = strconv.Atoi(m[1])
			testenv.Must(t, err)
		}
		records = append(records, r)
	}
	for i := range records {
		records[i].Data = records[i].Data[:min(len(records[i].Data), capture.Snaplen)]
	}
	return records, end
}

// randomFrame returns an ARP frame of a random length up to 1,500 bytes, and its captured length.
func randomFrame(r *rand.Rand) (frame []byte, length int) {
	frame = append(slices.Clone(testFrame), make([]byte, r.IntN(1441)*r.IntN(2))...)
	return frame[:len(frame)-r.IntN(len(frame)-14)*r.IntN(2)], len(frame)
}

// randomPcap returns a valid pcap file of random frames.
func randomPcap(r *rand.Rand, order capturetest.Order) []byte {
	p := capturetest.Pcap{Order: order, Nano: r.IntN(2) == 0}
	b := p.Header()
	for range r.IntN(50) {
		frame, length := randomFrame(r)
		b = append(b, p.Record(r.Uint32(), frame, length)...)
	}
	return b
}

// randomNG returns a valid pcapng file of random frames. Its interfaces are such that tcpdump can
// read them: of one link type, snaplen and byte order.
func randomNG(r *rand.Rand, order capturetest.Order) []byte {
	n := capturetest.NG{Order: order}
	var b []byte
	for range 1 + r.IntN(3) {
		b = append(b, n.Section()...)
		units := []uint64{}
		for range 1 + r.IntN(3) {
			resolution := []byte{0, 3, 6, 9, 12, 0x80, 0x80 | 10, 0x80 | 20, 0x80 | 30}[r.IntN(9)]
			unit := uint64(1)
			for range resolution & 0x7f {
				unit *= uint64(10 - resolution>>7*8)
			}
			units = append(units, unit)
			// tcpdump adds the first interface's offset to the time of a simple packet, which has
			// no time.
			offset := min(len(units)-1, 1) * r.IntN(1000)
			b = append(b, n.Interface(1, 0, capturetest.Option{Code: 2, Value: []byte("eth0")},
				capturetest.Option{Code: capturetest.TSResol, Value: []byte{resolution}},
				capturetest.Option{Code: capturetest.TSOffset, Value: n.Uint64(uint64(offset))})...)
		}
		for range r.IntN(30) {
			frame, length := randomFrame(r)
			i := r.IntN(len(units))
			ticks := uint64(r.Uint32()>>12)*units[i] + r.Uint64()%units[i]
			switch r.IntN(4) {
			case 0:
				b = append(b, n.Simple(frame, len(frame))...)
			case 1:
				b = append(b, n.Obsolete(uint16(i), ticks, frame, length)...)
			case 2:
				b = append(b, n.Block(uint32(7+r.IntN(5)), make([]byte, 4*r.IntN(30)))...)
			default:
				b = append(b, n.Enhanced(uint32(i), ticks, frame, length, capturetest.Option{Code: 1, Value: []byte("comment")})...)
			}
		}
	}
	return b
}
