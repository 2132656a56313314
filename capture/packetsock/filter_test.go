package packetsock

import (
	"encoding/hex"
	"strings"
	"testing"

	"golang.org/x/net/bpf"

	"maas-netmon/capture"
)

// machine returns x/net/bpf's machine with the filter.
func machine(t *testing.T) *bpf.VM {
	t.Helper()
	raw, err := Filter()
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
	vm := machine(t)
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
		n, err := vm.Run(frame)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: capture.Snaplen}[c.want]; n != want {
			t.Errorf("%s: keeps %d bytes, want %d", c.name, n, want)
		}
	}
}
