package integration

import (
	"fmt"
	"testing"

	"maas-netmon/internal/testenv"
)

// The meaning of tags beyond the simple cases, and addresses that do not form bindings.
func TestTagsAndAddresses(t *testing.T) {
	vlan := func(vid, inner int) []want {
		return []want{{"NEW", "10.0.0.5", macC.String(), "", vid, inner, ""}}
	}
	arp := request(macC, "10.0.0.5")
	reply := func(mac testenv.MAC, ip string, target testenv.MAC, targetIP string) testenv.ARP {
		return testenv.ARP{Source: macC, Operation: 2, SenderMAC: mac, SenderIP: ip, TargetMAC: target, TargetIP: targetIP}
	}
	for _, s := range []scenario{
		{"a priority tag inside a VLAN", []testenv.ARP{tagged(arp, 0x8100, 100, 0x8100, 0xe000)}, vlan(100, -1)},
		{"two priority tags", []testenv.ARP{tagged(arp, 0x8100, 0, 0x8100, 0)}, vlan(-1, -1)},
		{"a priority tag of 802.1ad", []testenv.ARP{tagged(arp, 0x88a8, 0x7000)}, vlan(-1, -1)},
		{"the same VLAN twice", []testenv.ARP{tagged(arp, 0x8100, 100, 0x8100, 100)}, vlan(100, 100)},
		{"the lowest and the highest", []testenv.ARP{tagged(arp, 0x8100, 1), tagged(arp, 0x8100, 4094)},
			append(vlan(1, -1), vlan(4094, -1)...)},
		{"the reserved one", []testenv.ARP{
			tagged(arp, 0x8100, 4095), tagged(arp, 0x8100, 100, 0x8100, 4095), tagged(arp, 0x8100, 0xefff),
		}, nil},
		{"the TPID is not part of a binding", []testenv.ARP{tagged(arp, 0x8100, 100), tagged(arp, 0x88a8, 100)}, vlan(100, -1)},
		{"the priority is not part of a binding", []testenv.ARP{tagged(arp, 0x8100, 100), tagged(arp, 0x8100, 0xf000|100)}, vlan(100, -1)},
		{"inner and outer are not the same", []testenv.ARP{
			tagged(arp, 0x88a8, 1, 0x8100, 2), tagged(arp, 0x88a8, 2, 0x8100, 1), tagged(arp, 0x88a8, 1),
		}, append(append(vlan(1, 2), vlan(2, 1)...), vlan(1, -1)...)},
		{"priority tagged and untagged are one", []testenv.ARP{tagged(arp, 0x8100, 0xe000), arp}, vlan(-1, -1)},
		{"a sender without a MAC", []testenv.ARP{
			{Source: macC, SenderIP: "10.0.0.5", TargetIP: "10.0.0.6"},
			{Source: macC, SenderMAC: testenv.Broadcast, SenderIP: "10.0.0.5", TargetIP: "10.0.0.6"},
		}, nil},
		{"a reply without a sender still has a target", []testenv.ARP{reply(testenv.MAC{}, "10.0.0.9", macC, "10.0.0.5")}, vlan(-1, -1)},
		{"a reply to a probe", []testenv.ARP{reply(macC, "10.0.0.5", macD, "0.0.0.0")}, vlan(-1, -1)},
		{"the Ethernet header does not count", []testenv.ARP{{Source: macD, SenderMAC: macC, SenderIP: "10.0.0.5", TargetIP: "10.0.0.6"}}, vlan(-1, -1)},
		{"sender and target alike with two MACs", []testenv.ARP{reply(macC, "10.0.0.5", macD, "10.0.0.5")}, []want{
			untagged("NEW", "10.0.0.5", macC), {"MOVED", "10.0.0.5", macD.String(), macC.String(), -1, -1, ""},
		}},
	} {
		t.Run(s.name, s.play)
	}
}

// Real VLAN devices, with the tags of the kernel: the frames on the interface below, and on the
// VLAN device.
func TestVLANDevices(t *testing.T) {
	testenv.Require(t, testenv.VLAN)
	t.Parallel()
	a, b := testenv.RawPair(t)
	vlan := func(h testenv.Host, below, protocol string, vid int, addresses ...string) testenv.Host {
		name := fmt.Sprintf("%s.%d", below, vid)
		testenv.Must(t, h.IP("link", "add", "link", below, "name", name, "type", "vlan", "proto", protocol, "id", fmt.Sprint(vid)))
		v := testenv.Host{Namespace: h.Namespace, Name: name, MAC: h.MAC}
		testenv.Must(t, v.Up(addresses...))
		return v
	}
	own := vlan(a, a.Name, "802.1Q", 100, "10.0.100.1/24")
	peer := vlan(b, b.Name, "802.1Q", 100, "10.0.100.2/24")
	vlan(b, b.Name, "802.1ad", 200)
	inner := vlan(b, b.Name+".200", "802.1Q", 300, "10.0.30.2/24")

	below := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	above := testenv.Watch(t, a.Namespace, testenv.Options{}, own.Name)
	asked := below.Lines.Expect(testenv.Event("NEW", "10.0.100.2"), testenv.At(testenv.MACB), testenv.VID(100))
	answered := below.Lines.Expect(testenv.Event("NEW", "10.0.100.1"), testenv.At(testenv.MACA), testenv.VID(100))
	untagged := above.Lines.Expect(testenv.Event("NEW", "10.0.100.2"), testenv.At(testenv.MACB), testenv.VID(-1))
	testenv.Must(t, peer.Talk("10.0.100.1"))
	asked.Await(t)
	answered.Await(t)
	untagged.Await(t)

	stacked := below.Lines.Expect(testenv.Event("NEW", "10.0.30.2"), testenv.VID(200),
		func(l testenv.Line) bool { return l.InnerVID != nil && *l.InnerVID == 300 })
	testenv.Must(t, inner.Talk("10.0.30.1"))
	stacked.Await(t)
}
