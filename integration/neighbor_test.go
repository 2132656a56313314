package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"maas-netmon/internal/testenv"
	"maas-netmon/parser"
	"maas-netmon/parser/parsertest"
)

// No packet changes the neighbor cache of Linux without a line, with the exceptions that
// doc/threat-model.md names. The packets are random ones for the kernel of one host, most of them
// with a flaw.
func TestNeighborCache(t *testing.T) {
	testenv.Require(t, testenv.Netns)
	t.Parallel()
	a, b := silentPair(t)
	testenv.Must(t, a.Do(func() error { // accepts router solicitations as well as advertisements
		for name, value := range map[string]string{"forwarding": "1", "accept_ra": "2"} {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+a.Name+"/"+name, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	}))
	const n = 100 // the kernel has 1,024 entries for all namespaces
	var batch strings.Builder
	fmt.Fprintf(&batch, "addr add fd00::a/64 dev %s nodad\naddr add fe80::a/64 dev %s nodad\n", a.Name, a.Name)
	for i := range n {
		fmt.Fprintf(&batch, "neigh replace %s lladdr %s dev %s nud stale\n", owner(i), b.MAC, a.Name)
	}
	testenv.Must(t, a.Batch(batch.String()))

	p := testenv.Watch(t, a.Namespace, testenv.Options{}, "--ipv6", "--moved-interval", "0", a.Name)
	port := b.Port(t)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range n {
		testenv.Must(t, port.Send(forTheKernel(random, a, i)))
	}
	const last = "fd00::2"
	inLines := p.Lines.Expect(testenv.IP(last))
	testenv.Must(t, port.Send(solicitation(macD, last)))
	inLines.Await(t)
	final := toHost(a, parser.ND{
		Type: parser.TypeNeighborSolicitation, Source: parsertest.Addr6(last), LinkLayer: parser.MAC(macD), HasLinkLayer: true,
	})
	var cache map[string]bool
	for deadline := time.Now().Add(testenv.Patience); !cache[last+" "+macD.String()]; cache = neighbors(t, a) {
		if time.Now().After(deadline) {
			t.Fatalf("seed %d: the kernel has not seen %s: %v", seed, last, cache)
		}
		testenv.Must(t, port.Send(final))
	}
	lines := map[string]bool{}
	for _, line := range p.Lines.Seen() {
		lines[line.IP+" "+line.MAC] = true
	}
	changed := 0
	for entry := range cache {
		if strings.HasSuffix(entry, b.MAC.String()) {
			continue
		}
		changed++
		if !lines[entry] {
			t.Errorf("seed %d: no line of %s", seed, entry)
		}
	}
	if changed < n/5 {
		t.Errorf("seed %d: only %d of %d packets have changed the cache", seed, changed, n)
	}
}

// owner returns the address of the i-th packet, of which every second one is link-local.
func owner(i int) string { return fmt.Sprintf("%s::1:%x", []string{"fd00", "fe80"}[i%2], i) }

// forTheKernel returns the frame of the i-th packet to a host. No other packet has its link-layer
// address.
func forTheKernel(r *rand.Rand, to testenv.Host, i int) []byte {
	nd := parser.ND{
		Type:   parser.TypeRouterSolicitation + uint8(r.IntN(4)),
		Source: parsertest.Addr6(owner(i)),
		Target: parsertest.Addr6("fd00::a"), LinkLayer: parser.MAC{0x02, 0xcc, 0, 0, byte(i >> 8), byte(i)}, HasLinkLayer: true,
	}
	if nd.Type == parser.TypeNeighborAdvertisement {
		nd.Target, nd.Override, nd.Solicited = nd.Source, r.IntN(4) > 0, r.IntN(2) == 0
	}
	frame := toHost(to, nd)
	for range r.IntN(3) {
		option := []byte{1, 2, 14, 250}[r.IntN(4)]
		frame = parsertest.AddOption(frame, option, make([]byte, 6+8*r.IntN(2))...)
	}
	for range r.IntN(3) {
		at := parsertest.OffIPv6 + r.IntN(len(frame)-parsertest.OffIPv6)
		frame[at] ^= 1 << r.IntN(8)
	}
	if r.IntN(8) > 0 {
		parsertest.SetSum(frame)
	}
	return frame
}

// toHost returns the frame of a packet to a host with the address fd00::a.
func toHost(to testenv.Host, nd parser.ND) []byte {
	nd.EthernetDestination, nd.EthernetSource = parser.MAC(to.MAC), parser.MAC(macC)
	nd.Destination = parsertest.Addr6("fd00::a")
	if nd.Target == (parser.Addr6{}) {
		nd.Target = nd.Destination
	}
	return parsertest.ND(&nd)
}

// neighbors returns the neighbor cache of a host, as addresses and hardware addresses.
func neighbors(t *testing.T, h testenv.Host) map[string]bool {
	t.Helper()
	cache := map[string]bool{}
	testenv.Must(t, h.Do(func() error {
		out, err := exec.Command("ip", "-6", "-j", "neigh", "show", "dev", h.Name).Output()
		if err != nil {
			return err
		}
		var entries []struct{ Dst, Lladdr string }
		if err := json.Unmarshal(out, &entries); err != nil {
			return err
		}
		for _, e := range entries {
			addr, err := netip.ParseAddr(e.Dst)
			if err != nil {
				return err
			}
			if e.Lladdr == "" || addr.IsMulticast() {
				continue
			}
			mac, err := net.ParseMAC(e.Lladdr)
			if err != nil {
				return err
			}
			if mac[0]&1 == 0 && mac.String() != "00:00:00:00:00:00" { // the program refuses these, Linux does not
				cache[addr.String()+" "+e.Lladdr] = true
			}
		}
		return nil
	}))
	return cache
}
