// Package integration tests the whole shipped program on real links in network namespaces: its
// input are frames and signals, its output lines, log and exit status. The tests depend on the
// documented behaviour, not on the implementation.
package integration

import (
	"fmt"
	"os"
	"testing"
	"time"

	"maas-netmon/internal/testenv"
	"maas-netmon/report/reporttest"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == snapFlag {
		fmt.Fprintln(os.Stderr, snapConfine(os.Args[2:]))
		os.Exit(99)
	}
	os.Exit(testenv.Main(m))
}

// Hosts that exist only in frames.
var (
	macC = testenv.MAC{2, 0, 0, 0, 0, 0xc}
	macD = testenv.MAC{2, 0, 0, 0, 0, 0xd}
)

// fence is the address of a request that a test sends after an act that must have no effect: its
// line comes last.
const fence = "10.9.9.9"

// sendFence sends the request and returns the expectation of its line.
func sendFence(t *testing.T, p *testenv.Program, port *testenv.Port) *testenv.Expectation[testenv.Line] {
	t.Helper()
	seen := p.Lines.Expect(testenv.IP(fence))
	testenv.Must(t, port.Send(request(macD, fence).Bytes()))
	return seen
}

// sendUntilSeen repeats a frame, for a program that does not report when it begins to read.
func sendUntilSeen(t *testing.T, p *testenv.Program, port *testenv.Port) {
	t.Helper()
	seen := p.Lines.Expect(testenv.IP(fence))
	for deadline := time.Now().Add(testenv.Patience); !seen.Wait(10 * time.Millisecond); {
		if time.Now().After(deadline) {
			t.Fatalf("no line of %s", fence)
		}
		testenv.Must(t, port.Send(request(macD, fence).Bytes()))
	}
}

// request returns a request of a host for an unused address.
func request(mac testenv.MAC, ip string) testenv.ARP {
	return testenv.ARP{SenderMAC: mac, SenderIP: ip, TargetIP: "10.0.0.254"}
}

// want is a line without its time.
type want struct {
	event, ip, mac, previous string
	vid, inner               int // -1: null, or missing
	iface                    string
}

// untagged returns the want for a frame without a VLAN.
func untagged(event, ip string, mac testenv.MAC) want {
	return want{event: event, ip: ip, mac: mac.String(), vid: -1, inner: -1}
}

// wants converts lines to wants. It compares them with the schema, and checks their time, which is
// the kernel's.
func wants(t *testing.T, lines []testenv.Line) []want {
	t.Helper()
	schema, err := reporttest.Load("../doc/event.schema.json")
	testenv.Must(t, err)
	var ws []want
	for _, l := range lines {
		if err := schema.Check([]byte(l.Raw)); err != nil {
			t.Errorf("%s: %v", l.Raw, err)
		}
		if age := time.Since(time.Unix(l.Time, 0)); l.IP != "" && (age < -time.Second || age > time.Minute) {
			t.Errorf("time is off by %v: %s", age, l)
		}
		w := want{l.Event, l.IP, l.MAC, l.PreviousMAC, -1, -1, l.Interface}
		if l.VID != nil {
			w.vid = *l.VID
		}
		if l.InnerVID != nil {
			w.inner = *l.InnerVID
		}
		ws = append(ws, w)
	}
	return ws
}
