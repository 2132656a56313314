package packetsock

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"

	"maas-netmon/capture"
	"maas-netmon/parser"
	"maas-netmon/parser/parsertest"
)

// machine returns x/net/bpf's machine with one of the filters.
func machine(t *testing.T, ipv6 bool) *bpf.VM {
	t.Helper()
	raw, err := Filter(ipv6)
	if err != nil {
		t.Fatal(err)
	}
	var program []bpf.Instruction
	for _, i := range raw {
		program = append(program, i.Disassemble())
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func TestFilter(t *testing.T) {
	arpOnly, both := machine(t, false), machine(t, true)
	const addresses = "ffffffffffff 02000000000c "
	arp := strings.Repeat("00", 28)
	for _, c := range []struct {
		name, frame string
		want        bool
	}{
		{"ARP", addresses + "0806" + arp, true},
		{"ARP without a packet", addresses + "0806", true}, // short: counted by the parser
		{"802.1Q", addresses + "8100 0064 0806" + arp, true},
		{"802.1ad", addresses + "88a8 0064 0806" + arp, true},
		{"0x9100", addresses + "9100 0064 0806" + arp, true},
		{"two tags", addresses + "88a8 0064 8100 0065 0806" + arp, true},
		{"the same tag twice", addresses + "8100 0064 8100 0065 0806" + arp, true},
		{"0x9100 twice", addresses + "9100 0064 9100 0065 0806" + arp, true},
		{"three tags", addresses + "8100 0064 8100 0065 8100 0066 0806" + arp, false},
		{"IPv4", addresses + "0800" + arp, false},
		{"IPv4 in a VLAN", addresses + "8100 0064 0800" + arp, false},
		{"IPv4 in two", addresses + "88a8 0064 8100 0065 0800" + arp, false},
		{"RARP", addresses + "8035" + arp, false},
		{"ARP where the TCI is", addresses + "8100 0806 0800" + arp, false},
		{"EtherType cut", addresses + "08", false},
		{"tag cut", addresses + "8100 0064 08", false},
		{"second tag cut", addresses + "8100 0064 8100 0065 08", false},
		{"nothing", "", false},
	} {
		frame, err := hex.DecodeString(strings.ReplaceAll(c.frame, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		for ipv6, vm := range map[bool]*bpf.VM{false: arpOnly, true: both} {
			n, err := vm.Run(frame)
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]int{true: capture.Snaplen}[c.want]; n != want {
				t.Errorf("%s, IPv6 %v: keeps %d bytes, want %d", c.name, ipv6, n, want)
			}
		}
	}
}

// The filter for IPv6 keeps all of a packet of Neighbor Discovery, with up to two tags, and of a
// packet that can be one after an extension header. It keeps no other IPv6 packet. The other filter
// keeps none.
func TestFilterIPv6(t *testing.T) {
	arpOnly, both := machine(t, false), machine(t, true)
	packet := func(next, kind byte) []byte {
		b := make([]byte, 48)
		b[0], b[6], b[7], b[40] = 0x60, next, 255, kind
		return b
	}
	addresses := []byte{0x33, 0x33, 0xff, 0, 0, 9, 2, 0, 0, 0, 0, 0xc}
	at := func(etherType string, packet []byte) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(etherType, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return slices.Concat(addresses, b, packet)
	}
	before := []string{"", "8100 0064", "88a8 0064", "9100 0064",
		"88a8 0064 8100 0065", "8100 0064 8100 0065", "9100 0064 9100 0065", "8100 0064 88a8 0065"}
	expect := func(name string, frame []byte, want int) {
		t.Helper()
		for vm, want := range map[*bpf.VM]int{both: want, arpOnly: 0} {
			if n, err := vm.Run(frame); n != want || err != nil {
				t.Errorf("%s, IPv6 %v: keeps %d bytes, %v, want %d", name, vm == both, n, err, want)
			}
		}
	}
	for _, tags := range before {
		for kind := range 256 {
			want := 0
			if kind >= parser.TypeRouterSolicitation && kind <= parser.TypeNeighborAdvertisement {
				want = capture.SnaplenIPv6
			}
			expect(fmt.Sprintf("type %d after %q", kind, tags), at(tags+"86dd", packet(58, byte(kind))), want)
		}
		passedOver := []byte{0, 43, 44, 60}
		for next := range 256 {
			for second := range 256 {
				want := 0
				if slices.Contains(passedOver, byte(next)) && (second == 58 || slices.Contains(passedOver, byte(second))) {
					want = capture.SnaplenIPv6
				}
				if next != 58 {
					expect(fmt.Sprintf("next headers %d, %d after %q", next, second, tags), at(tags+"86dd", packet(byte(next), byte(second))), want)
				}
			}
		}
		for _, next := range passedOver {
			hidden := packet(next, 58)
			for _, hidden[7] = range []byte{0, 1, 64, 254} { // hop limit
				expect(fmt.Sprintf("next header %d after %q, hop limit %d", next, tags, hidden[7]), at(tags+"86dd", hidden), 0)
			}
			whole := at(tags+"86dd", packet(next, 58))
			expect(fmt.Sprintf("next header %d after %q, cut off", next, tags), whole[:len(whole)-8], 0)
		}
		ns := at(tags+"86dd", packet(58, 135))
		for n := range len(ns) - 7 { // up to the type, which is not part of it
			expect(fmt.Sprintf("%d bytes after %q", n, tags), ns[:n], 0)
		}
		expect(fmt.Sprintf("up to the type after %q", tags), ns[:len(ns)-7], capture.SnaplenIPv6)
		expect(fmt.Sprintf("IPv4 after %q", tags), at(tags+"0800", packet(58, 135)), 0)
	}
	expect("three tags", at("8100 0064 8100 0065 8100 0066 86dd", packet(58, 135)), 0)
	for _, other := range []string{"0800", "8035", "9200"} { // no TPID
		expect("after "+other, at(other+"0064 86dd", packet(58, 135)), 0)
		expect("after a tag and "+other, at("8100 0064"+other+"0065 86dd", packet(58, 135)), 0)
	}
}

// Each frame of the vectors that the parser decodes passes the filter for IPv6, with all of a
// packet that Ethernet's MTU allows. A longer one is short for the parser. No frame of IPv6 passes
// the other filter.
func TestFilterVectors(t *testing.T) {
	arpOnly, both := machine(t, false), machine(t, true)
	whole, longer := 0, 0
	for _, v := range parsertest.NDVectors() {
		if _, err := parsertest.Parse(v.Frame, v.Tag); err != parser.ErrNotARP {
			continue
		}
		if n, err := arpOnly.Run(v.Frame); n != 0 || err != nil {
			t.Errorf("%s: keeps %d bytes without IPv6, %v", v.Name, n, err)
		}
		n, err := both.Run(v.Frame)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 && v.Err == parser.ErrNotND {
			t.Errorf("%s: keeps %d bytes", v.Name, n)
		}
		// Hosts discard the other extension headers.
		passedOver := strings.HasSuffix(v.Name, "hop-by-hop") || strings.HasSuffix(v.Name, "routing") ||
			strings.HasSuffix(v.Name, "fragment") || strings.HasSuffix(v.Name, "destination-options")
		if strings.Contains(v.Name, "-extension-") && (n > 0) != passedOver {
			t.Errorf("%s: keeps %d bytes", v.Name, n)
		}
		if v.Err != nil {
			continue
		}
		nd, wantErr := v.ND, error(nil)
		if whole++; len(v.Frame) > capture.EtherHeaderLen+2*capture.VLANTagLen+1500 {
			longer++
			nd, wantErr = parser.ND{}, parser.ErrShort
		}
		kept := v.Frame[:min(n, len(v.Frame))]
		if got, err := parsertest.ParseND(kept, v.Tag, v.SumPending); n == 0 || got != nd || err != wantErr {
			t.Errorf("%s: keeps %d bytes, of which the parser makes %+v, %v", v.Name, n, got, err)
		}
	}
	if whole < 50 || longer > whole/10 {
		t.Errorf("%d valid vectors, %d of them longer than the MTU", whole, longer)
	}
}
