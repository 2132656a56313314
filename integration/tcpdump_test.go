package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maas-netmon/internal/testenv"
)

// The same frames give the same lines, whether the program watches the interface itself or
// reads what tcpdump captures there.
func TestLikeTcpdump(t *testing.T) {
	testenv.Require(t, testenv.Tcpdump)
	t.Parallel()
	a, b := rawPair(t)
	live := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	file := testenv.Start(t, a.Namespace, testenv.Options{Stdin: tcpdump(t, a)}, "-i", "-")
	port := b.Port(t)
	begun := file.Lines.Expect(testenv.IP(fence))
	sendUntilSeen(t, live, port)
	for deadline := time.Now().Add(testenv.Patience); !begun.Wait(10 * time.Millisecond); {
		if time.Now().After(deadline) {
			t.Fatal("tcpdump captures nothing") // it does not say when it begins
		}
		testenv.Must(t, port.Send(request(macD, fence).Bytes()))
	}

	const last = "10.8.8.8"
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	inLive, inFile := live.Lines.Expect(testenv.IP(last)), file.Lines.Expect(testenv.IP(last))
	for range 2000 {
		testenv.Must(t, port.Send(randomFrame(random)))
	}
	testenv.Must(t, port.Send(request(macC, last).Bytes()))
	inLive.True(t)
	inFile.True(t)
	got, expected := wants(t, file.Lines.Seen()), wants(t, live.Lines.Seen())
	if len(expected) < 200 {
		t.Errorf("only %d lines", len(expected))
	}
	if diff := cmp.Diff(expected, got, cmp.AllowUnexported(want{})); diff != "" {
		t.Errorf("seed %d: -live +tcpdump:\n%s", seed, diff)
	}
}

// tcpdump starts tcpdump on the host's interface, with the filter that MAAS gave it, and
// returns the reading end of its output. It ends with the test.
func tcpdump(t *testing.T, h testenv.Host) *os.File {
	t.Helper()
	path, err := testenv.LookTcpdump()
	testenv.Must(t, err)
	r, w, err := os.Pipe()
	testenv.Must(t, err)
	defer w.Close()
	cmd := exec.Command(path, "-i", h.Name, "-p", "-U", "--immediate-mode", "-s", "64", "-n",
		"-w", "-", "arp or (vlan and arp)")
	cmd.Stdout = w
	testenv.Must(t, h.Do(cmd.Start))
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		r.Close()
	})
	return r
}

// randomFrame returns a frame that is ARP, or nearly, with at most one tag: tcpdump's filter
// knows no more.
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
