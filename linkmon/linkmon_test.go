package linkmon

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Recorded on Linux 6.18 (x86-64) with `ip link` in a network namespace; attributes
// that Decode passes over are cut, but for one in each.
const (
	// veth "va", index 2, down: IFLA_IFNAME, IFLA_TXQLEN.
	vethDown = "00 00 01 00 02 00 00 00 02 10 00 00 00 00 00 00" +
		"07 00 03 00 76 61 00 00 08 00 0d 00 e8 03 00 00"
	// The same, up with a carrier: IFF_UP | IFF_BROADCAST | IFF_RUNNING | IFF_MULTICAST | IFF_LOWER_UP.
	vethUp = "00 00 01 00 02 00 00 00 43 10 01 00 00 00 00 00" +
		"07 00 03 00 76 61 00 00 05 00 10 00 06 00 00 00"
	// tun device "t", index 7, ARPHRD_NONE.
	tun = "00 00 fe ff 07 00 00 00 90 10 00 00 00 00 00 00" +
		"06 00 03 00 74 00 00 00"
	// A port leaves its bridge: AF_BRIDGE, of an interface that stays.
	bridgePort = "07 00 01 00 02 00 00 00 43 10 01 00 00 00 00 00" +
		"07 00 03 00 76 61 00 00"
)

// message makes a netlink message of a type from recorded bytes.
func message(t *testing.T, typ netlink.HeaderType, data string) netlink.Message {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(data, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return netlink.Message{Header: netlink.Header{Type: typ}, Data: b}
}

func TestDecode(t *testing.T) {
	up := Link{Index: 2, Name: "va", Type: unix.ARPHRD_ETHER, Up: true, Running: true, State: 6}
	down := Link{Index: 2, Name: "va", Type: unix.ARPHRD_ETHER}
	gone := up
	gone.Gone = true
	for _, c := range []struct {
		name string
		in   []netlink.Message
		want []Link
	}{
		{"nothing", nil, nil},
		{"down", []netlink.Message{message(t, unix.RTM_NEWLINK, vethDown)}, []Link{down}},
		{"up", []netlink.Message{message(t, unix.RTM_NEWLINK, vethUp)}, []Link{up}},
		{"deleted", []netlink.Message{message(t, unix.RTM_DELLINK, vethUp)}, []Link{gone}},
		{"not Ethernet", []netlink.Message{message(t, unix.RTM_NEWLINK, tun)},
			[]Link{{Index: 7, Name: "t", Type: unix.ARPHRD_NONE}}},
		{"left its bridge", []netlink.Message{message(t, unix.RTM_DELLINK, bridgePort)}, nil},
		{"of an address", []netlink.Message{message(t, unix.RTM_NEWADDR, vethUp)}, nil},
		{"several, in order", []netlink.Message{
			message(t, unix.RTM_NEWLINK, vethDown),
			message(t, unix.RTM_NEWLINK, vethUp),
			message(t, netlink.Done, "00 00 00 00"),
			message(t, unix.RTM_DELLINK, vethUp),
		}, []Link{down, up, gone}},
		{"no attributes", []netlink.Message{message(t, unix.RTM_NEWLINK, vethUp[:47])},
			[]Link{{Index: 2, Type: unix.ARPHRD_ETHER, Up: true, Running: true}}},
	} {
		got, err := Decode(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// A message cut anywhere is refused or gives no name, and never panics.
func TestDecodeTruncated(t *testing.T) {
	whole := message(t, unix.RTM_NEWLINK, vethUp).Data
	for n := range len(whole) {
		m := netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWLINK}, Data: whole[:n]}
		links, err := Decode([]netlink.Message{m})
		if n < unix.SizeofIfInfomsg && err == nil {
			t.Errorf("%d bytes: got %+v, want an error", n, links)
		}
		if err != nil && links != nil {
			t.Errorf("%d bytes: %+v beside an error", n, links)
		}
	}
}

// What a whole dump does not tell of is gone, an interrupted one says nothing of that.
func TestProcess(t *testing.T) {
	va := Link{Index: 2, Name: "va", Type: unix.ARPHRD_ETHER, Up: true, Running: true, State: 6}
	tunnel := Link{Index: 7, Name: "t", Type: unix.ARPHRD_NONE}
	gone := func(l Link) Link { l.Gone = true; return l }
	known := table{}
	for _, step := range []struct {
		name  string
		flags netlink.HeaderFlags
		types []netlink.HeaderType
		data  []string
		want  []Link
		again bool
	}{
		{"first dump", netlink.Multi, []netlink.HeaderType{unix.RTM_NEWLINK, unix.RTM_NEWLINK}, []string{vethUp, tun}, []Link{va, tunnel}, false},
		{"a change", 0, []netlink.HeaderType{unix.RTM_NEWLINK}, []string{vethUp}, []Link{va}, false},
		{"interrupted dump", netlink.Multi | netlink.DumpInterrupted, []netlink.HeaderType{unix.RTM_NEWLINK}, []string{vethUp}, []Link{va}, true},
		{"dump without the tunnel", netlink.Multi, []netlink.HeaderType{unix.RTM_NEWLINK}, []string{vethUp}, []Link{va, gone(tunnel)}, false},
		{"it is forgotten", netlink.Multi, []netlink.HeaderType{unix.RTM_NEWLINK}, []string{vethUp}, []Link{va}, false},
		{"deleted", 0, []netlink.HeaderType{unix.RTM_DELLINK}, []string{vethUp}, []Link{gone(va)}, false},
		{"dump with nothing", netlink.Multi, []netlink.HeaderType{unix.RTM_NEWADDR}, []string{vethUp}, nil, false},
	} {
		var messages []netlink.Message
		for i, typ := range step.types {
			m := message(t, typ, step.data[i])
			m.Header.Flags = step.flags
			messages = append(messages, m)
		}
		got, again, err := known.process(messages)
		if err != nil || again != step.again {
			t.Errorf("%s: again %v, want %v; %v", step.name, again, step.again, err)
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
}
