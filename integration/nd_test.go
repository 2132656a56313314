package integration

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maas-netmon/capture/capturetest"
	"maas-netmon/internal/testenv"
)

// ndLines are the lines of fuzz/testdata/captures/nd.pcap.
const ndLines = `{"ip":"2001:db8::9","mac":"02:bb:00:00:00:09","time":1795725406,"event":"NEW","vid":null}
{"ip":"fe80::aa:ff:fe00:5","mac":"02:aa:00:00:00:05","time":1795725406,"event":"NEW","vid":null}
{"ip":"2001:db8::5","mac":"02:aa:00:00:00:05","time":1795725406,"event":"NEW","vid":null}
{"ip":"fe80::bb:ff:fe00:9","mac":"02:bb:00:00:00:09","time":1795725406,"event":"NEW","vid":null}
{"ip":"2001:db8::9","mac":"02:cc:00:00:00:07","previous_mac":"02:bb:00:00:00:09","time":1795725417,"event":"MOVED","vid":null}
{"ip":"fe80::cc:ff:fe00:7","mac":"02:cc:00:00:00:07","time":1795725418,"event":"NEW","vid":null}
`

// The frames that two kernels exchange give the lines of their addresses with --ipv6 only. Without
// it, neither the log nor the metrics name IPv6.
func TestFileOfNeighborDiscovery(t *testing.T) {
	content, err := os.ReadFile("../fuzz/testdata/captures/nd.pcap")
	testenv.Must(t, err)
	path := inputFile(t, content)
	for _, c := range []struct {
		args         []string
		lines, stats string
	}{
		{[]string{"-i", path}, "", " short=0 not_arp=43 unsupported=0 new=0 moved=0 "},
		{[]string{"--ipv6=false", "-i", path}, "", " short=0 not_arp=43 unsupported=0 new=0 moved=0 "},
		{[]string{"--ipv6", "-i", path}, ndLines, " short=0 not_arp=3 unsupported=18 invalid=0 new=5 moved=1 "},
	} {
		status, stdout, stderr := testenv.Run(t, testenv.Net(t), testenv.Options{}, c.args...)
		if diff := cmp.Diff(c.lines, stdout); status != 0 || diff != "" {
			t.Errorf("%q: exit status %d, -want +got:\n%s", c.args, status, diff)
		}
		if !strings.Contains(stderr, c.stats) {
			t.Errorf("%q: log\n%s\nwant %q", c.args, stderr, c.stats)
		}
	}
}

// A packet of Neighbor Discovery is printed by -v. Those with a wrong checksum, or that end early,
// are counted.
func TestVerboseNeighborDiscovery(t *testing.T) {
	ns := []byte{
		0x33, 0x33, 0xff, 0, 0, 1, 0x02, 0, 0, 0, 0, 0x0c, 0x81, 0, 0, 100, 0x86, 0xdd,
		0x60, 0, 0, 0, 0, 32, 58, 255, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
		0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1,
		135, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
		1, 1, 0x02, 0, 0, 0, 0, 0x0c,
	}
	wrong := slices.Clone(ns)
	sum := checksum(ns[18:])
	ns[60], ns[61] = byte(sum>>8), byte(sum)
	wrong[60], wrong[61] = ^ns[60], ns[61]
	path := inputFile(t, capturetest.Pcap{Order: capturetest.Orders[0]}.File(fileSeconds, wrong, ns[:len(ns)-1], ns))
	status, stdout, stderr := testenv.Run(t, testenv.Net(t), testenv.Options{Env: []string{"TZ=UTC"}}, "--ipv6", "-v", "-i", path)
	want := `{"ip":"fe80::2","mac":"02:00:00:00:00:0c","time":1795228120,"event":"NEW","vid":100}` + "\nND observed at 2026-11-21 02:28:40:\n"
	if status != 0 || !strings.HasPrefix(stdout, want) || strings.Count(stdout, "ND observed") != 1 {
		t.Errorf("exit status %d,\n%s", status, stdout)
	}
	if want := " short=1 not_arp=0 unsupported=0 invalid=1 new=1 "; !strings.Contains(stderr, want) {
		t.Errorf("log\n%s\nwant %q", stderr, want)
	}
}

// checksum returns the checksum of an ICMPv6 message in an IPv6 packet without extension headers
// (RFC 4443 2.3), whose field for it is zero.
func checksum(packet []byte) uint16 {
	message := packet[40:]
	sum := uint32(len(message)) + 58
	for _, b := range [][]byte{packet[8:40], message} { // of even length
		for i := 0; i < len(b); i += 2 {
			sum += uint32(b[i])<<8 | uint32(b[i+1])
		}
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
