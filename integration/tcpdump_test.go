package integration

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maas-netmon/internal/testenv"
)

// The same frames give the same lines, whether the program watches the interface or reads the
// capture of tcpdump.
func TestLikeTcpdump(t *testing.T) {
	testenv.Require(t, testenv.Tcpdump)
	t.Parallel()
	a, b := testenv.RawPair(t)
	likeTcpdump(t, a, b, tcpdump(t, a), 2000, randomFrame)
}

// likeTcpdump sends n random frames from b to a, and compares the lines of a program that watches a
// with those of one that reads the capture. Both have the same further options.
func likeTcpdump(t *testing.T, a, b testenv.Host, capture *os.File, n int, frame func(*rand.Rand) []byte, options ...string) {
	t.Helper()
	live := testenv.Watch(t, a.Namespace, testenv.Options{}, append(options, "--moved-interval", "0", a.Name)...)
	file := testenv.Start(t, a.Namespace, testenv.Options{Stdin: capture}, append(options, "-i", "-")...)
	port := b.Port(t)
	begun := file.Lines.Expect(testenv.IP(fence))
	sendUntilSeen(t, live, port)
	for deadline := time.Now().Add(testenv.Patience); !begun.Wait(10 * time.Millisecond); {
		if time.Now().After(deadline) {
			t.Fatal("tcpdump captures nothing") // tcpdump does not report when it begins
		}
		testenv.Must(t, port.Send(request(macD, fence).Bytes()))
	}

	const last = "10.8.8.8"
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	inLive, inFile := live.Lines.Expect(testenv.IP(last)), file.Lines.Expect(testenv.IP(last))
	for range n {
		testenv.Must(t, port.Send(frame(random)))
	}
	testenv.Must(t, port.Send(request(macC, last).Bytes()))
	inLive.Await(t)
	inFile.Await(t)
	got, expected := wants(t, file.Lines.Seen()), wants(t, live.Lines.Seen())
	if len(expected) < 200 {
		t.Errorf("only %d lines", len(expected))
	}
	if diff := cmp.Diff(expected, got, cmp.AllowUnexported(want{})); diff != "" {
		t.Errorf("seed %d: -live +tcpdump:\n%s", seed, diff)
	}
}

// The captures of `tcpdump -i any` are read, in both formats. libpcap inserts the tag that the
// kernel has stripped only into the first format.
func TestTcpdumpAny(t *testing.T) {
	testenv.Require(t, testenv.Tcpdump)
	t.Parallel()
	a, b := testenv.RawPair(t)
	port := b.Port(t)
	for _, c := range []struct{ linkType, vid string }{{"LINUX_SLL", "100"}, {"LINUX_SLL2", "null"}} {
		file := testenv.Start(t, a.Namespace, testenv.Options{Stdin: startTcpdump(t, a, "-i", "any", "-y", c.linkType)}, "-i", "-")
		begun := file.Lines.Expect(testenv.IP(fence))
		for deadline := time.Now().Add(testenv.Patience); !begun.Wait(10 * time.Millisecond); {
			if time.Now().After(deadline) {
				t.Fatalf("%s: tcpdump captures nothing", c.linkType)
			}
			testenv.Must(t, port.Send(request(macD, fence).Bytes()))
		}
		seen := file.Lines.Expect(testenv.IP("10.8.8.8"))
		testenv.Must(t, port.Send(tagged(request(macC, "10.8.8.8"), 0x8100, 100).Bytes()))
		if line := seen.Value(t).Raw; !strings.HasSuffix(line, `"event":"NEW","vid":`+c.vid+"}") {
			t.Errorf("%s: %q, want VID %s", c.linkType, line, c.vid)
		}
	}
}

// tcpdump starts tcpdump on the host's interface, with the filter that MAAS gave it, and returns
// the reading end of its output. tcpdump ends with the test.
func tcpdump(t *testing.T, h testenv.Host) *os.File {
	return startTcpdump(t, h, "-i", h.Name, "-p", "-s", "64", "arp or (vlan and arp)")
}

// startTcpdump starts tcpdump in the host's namespace and returns the reading end of its output.
func startTcpdump(t *testing.T, h testenv.Host, args ...string) *os.File {
	t.Helper()
	path, err := testenv.LookTcpdump()
	testenv.Must(t, err)
	r, w, err := os.Pipe()
	testenv.Must(t, err)
	defer w.Close()
	cmd := exec.Command(path, append([]string{"-U", "--immediate-mode", "-n", "-w", "-"}, args...)...)
	cmd.Stdout = w
	testenv.Must(t, h.Do(cmd.Start))
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		r.Close()
	})
	return r
}

// randomFrame returns a frame that is ARP, or almost, with at most one tag: tcpdump's filter does
// not support more.
func randomFrame(r *rand.Rand) []byte {
	mac := func() testenv.MAC { return testenv.MAC{byte(r.IntN(2) * r.IntN(4)), 0, 0, 0, 0, byte(r.IntN(4))} }
	ip := func() string {
		return []string{"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255",
			fmt.Sprintf("10.0.%d.%d", r.IntN(2), r.IntN(100)), fmt.Sprintf("192.168.0.%d", r.IntN(100))}[r.IntN(6)]
	}
	f := testenv.ARP{
		Source: mac(), Operation: []uint16{1, 1, 2, 2, 3, 9}[r.IntN(6)],
		SenderMAC: mac(), SenderIP: ip(), TargetMAC: mac(), TargetIP: ip(),
	}
	if r.IntN(2) == 0 {
		f.Tags = []testenv.Tag{{TPID: []uint16{0x8100, 0x88a8}[r.IntN(2)], TCI: uint16(r.IntN(4))<<12 | uint16(r.IntN(3))}}
	}
	b := f.Bytes()
	if r.IntN(8) == 0 {
		b[14+r.IntN(8)] ^= 1 << r.IntN(8) // of the ARP header, or the tag
	}
	if r.IntN(16) == 0 {
		b = b[:14+r.IntN(len(b)-14)]
	}
	return b
}

// -v prints the same as tcpdump for a capture, field by field.
func TestVerboseLikeTcpdump(t *testing.T) {
	testenv.Require(t, testenv.Tcpdump)
	t.Parallel()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	content := littlePcap.Header()
	for i := range 500 {
		frame := randomPacket(random).Bytes()
		content = append(content, littlePcap.Record(uint32(fileSeconds+i), frame, len(frame))...)
	}
	path := inputFile(t, content)

	program, err := testenv.LookTcpdump()
	testenv.Must(t, err)
	cmd := exec.Command(program, "-e", "-n", "-v", "-tttt", "-r", path)
	cmd.Env = []string{"TZ=UTC"}
	theirs, err := cmd.Output()
	testenv.Must(t, err)
	var want []string
	for line := range strings.Lines(string(theirs)) {
		want = append(want, tcpdumpFields(t, line))
	}

	status, ours, stderr := testenv.Run(t, testenv.Net(t), testenv.Options{Env: []string{"TZ=UTC"}}, "--log-level", "warn", "-v", "-i", path)
	if status != 0 {
		t.Fatalf("exit status %d, %s", status, stderr)
	}
	ours = regexp.MustCompile(`(?m)^\{.*\n`).ReplaceAllString(ours, "") // the events
	var got []string
	for block := range strings.SplitSeq(strings.TrimSuffix(ours, "\n\n"), "\n\n") {
		got = append(got, blockFields(block))
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) != 500 {
		t.Errorf("seed %d: %d packets, -tcpdump +got:\n%s", seed, len(want), diff)
	}
}

// randomPacket returns a request or a reply about any addresses, with up to two tags.
func randomPacket(r *rand.Rand) testenv.ARP {
	mac := func() (m testenv.MAC) {
		if r.IntN(4) > 0 {
			binary.BigEndian.PutUint32(m[2:], r.Uint32())
		}
		return m
	}
	ip := func() string {
		return netip.AddrFrom4([4]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}).String()
	}
	a := testenv.ARP{
		// Zero fields would be replaced.
		Source: testenv.MAC{byte(r.Uint32()), 1}, Destination: testenv.MAC{byte(r.Uint32()), 2},
		Operation: uint16(1 + r.IntN(2)), SenderMAC: mac(), SenderIP: ip(), TargetMAC: mac(), TargetIP: ip(),
	}
	for range r.IntN(3) {
		tci := uint16(r.Uint32()) & (0xf003 << r.IntN(4)) // often with VID 0
		a.Tags = append(a.Tags, testenv.Tag{TPID: []uint16{0x8100, 0x88a8, 0x9100}[r.IntN(3)], TCI: tci})
	}
	return a
}

var (
	tcpdumpLine = regexp.MustCompile(`^(.{19})\.\d+ (\S+) > (\S+), ethertype .*Ethernet \(len 6\), IPv4 \(len 4\), (.*), length \d+\n$`)
	tcpdumpVLAN = regexp.MustCompile(`vlan ([1-9]\d*), `)
)

// tcpdumpFields returns the fields of a line of tcpdump, in the form of blockFields.
func tcpdumpFields(t *testing.T, line string) string {
	m := tcpdumpLine.FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("tcpdump: %q", line)
	}
	vid := "none"
	if v := tcpdumpVLAN.FindStringSubmatch(line); v != nil {
		vid = v[1]
	}
	return fmt.Sprintf("%s, %s to %s, VLAN %s: %s", m[1], m[2], m[3], vid, m[4])
}

// blockFields returns the fields of a block of -v, in tcpdump's terms.
func blockFields(block string) string {
	first, rest, _ := strings.Cut(block, "\n")
	at := strings.TrimSuffix(strings.TrimPrefix(first, "ARP observed at "), ":")
	f := map[string]string{}
	for line := range strings.SplitSeq(rest, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		f[strings.TrimSpace(name)] = value
	}
	vid := "none"
	if v, ok := f["802.1q VLAN ID (VID)"]; ok {
		vid, _, _ = strings.Cut(v, " ")
	}
	says := fmt.Sprintf("Reply %s is-at %s", f["Sender protocol address"], f["Sender hardware address"])
	if f["Operation"] == "1 (request)" {
		target := " (" + f["Target hardware address"] + ")"
		if target == " (00:00:00:00:00:00)" {
			target = ""
		}
		says = fmt.Sprintf("Request who-has %s%s tell %s", f["Target protocol address"], target, f["Sender protocol address"])
	}
	return fmt.Sprintf("%s, %s to %s, VLAN %s: %s", at, f["Ethernet source"], f["Ethernet destination"], vid, says)
}
