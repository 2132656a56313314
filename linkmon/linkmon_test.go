package linkmon

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Recorded on Linux 6.18 (x86-64) with `ip link` in a network namespace; attributes that Decode
// ignores are removed, except for one in each.
const (
	// veth "va", index 2, down: IFLA_IFNAME, IFLA_TXQLEN.
	vethDown = "00 00 01 00 02 00 00 00 02 10 00 00 00 00 00 00" +
		"07 00 03 00 76 61 00 00 08 00 0d 00 e8 03 00 00"
	// The same, up with a carrier: IFF_UP | IFF_BROADCAST | IFF_RUNNING | IFF_MULTICAST |
	// IFF_LOWER_UP.
	vethUp = "00 00 01 00 02 00 00 00 43 10 01 00 00 00 00 00" +
		"07 00 03 00 76 61 00 00 05 00 10 00 06 00 00 00"
	// tun device "t", index 7, ARPHRD_NONE.
	tun = "00 00 fe ff 07 00 00 00 90 10 00 00 00 00 00 00" +
		"06 00 03 00 74 00 00 00"
	// veth "va" with the alternative names "one" and "two": IFLA_IFNAME, IFLA_PROP_LIST (nested) of
	// two IFLA_ALT_IFNAME.
	vethAlt = "00 00 01 00 02 00 00 00 02 10 00 00 00 00 00 00" +
		"07 00 03 00 76 61 00 00 14 00 34 80 08 00 35 00 6f 6e 65 00 08 00 35 00 74 77 6f 00"
	// A wireless event: IFLA_IFNAME, IFLA_WIRELESS.
	wireless = "00 00 01 00 02 00 00 00 43 10 01 00 00 00 00 00" +
		"07 00 03 00 76 61 00 00 08 00 0b 00 01 02 03 04"
	// A port leaves its bridge: AF_BRIDGE, of an interface that stays.
	bridgePort = "07 00 01 00 02 00 00 00 43 10 01 00 00 00 00 00" +
		"07 00 03 00 76 61 00 00"
)

// message returns a netlink message of a type from recorded bytes.
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
		{"alternative names", []netlink.Message{message(t, unix.RTM_NEWLINK, vethAlt)},
			[]Link{{Index: 2, Name: "va", Alt: []string{"one", "two"}, Type: unix.ARPHRD_ETHER}}},
		{"wireless event", []netlink.Message{message(t, unix.RTM_NEWLINK, wireless)}, nil},
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

// A message truncated at any byte is refused or gives no name, and never panics.
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

// Names move between interfaces, and an interface that a complete update does not list is gone.
func TestTable(t *testing.T) {
	link := func(index int, name string, alt ...string) Link { return Link{Index: index, Name: name, Alt: alt} }
	gone := func(l Link) Link { l.Gone = true; return l }
	changes := func(links ...Link) Update { return Update{Links: links} }
	all := func(links ...Link) Update { return Update{links, true} }
	for _, c := range []struct {
		name    string
		updates []Update
		last    []Link         // the result of the last one
		want    map[string]int // index by name, 0 for none
	}{
		{"empty", []Update{all()}, nil, map[string]int{"a": 0, "": 0}},
		{"first listing", []Update{all(link(2, "a"), link(3, "b", "x"))},
			[]Link{link(2, "a"), link(3, "b", "x")}, map[string]int{"a": 2, "b": 3, "x": 3, "c": 0}},
		{"created, renamed", []Update{all(link(2, "a")), changes(link(3, "b"), link(3, "c"))},
			[]Link{link(3, "b"), link(3, "c")}, map[string]int{"a": 2, "b": 0, "c": 3}},
		{"deleted", []Update{all(link(2, "a", "x")), changes(gone(link(2, "a")))},
			[]Link{gone(link(2, "a"))}, map[string]int{"a": 0, "x": 0}},
		{"names swapped", []Update{all(link(2, "a"), link(3, "b")), changes(link(2, "t"), link(3, "a"), link(2, "b"))},
			[]Link{link(2, "t"), link(3, "a"), link(2, "b")}, map[string]int{"a": 3, "b": 2, "t": 0}},
		{"names swapped, seen halfway", []Update{all(link(2, "a"), link(3, "b")), changes(link(2, "b"))},
			[]Link{link(2, "b")}, map[string]int{"a": 0, "b": 2}},
		{"names swapped, the other half", []Update{all(link(2, "a"), link(3, "b")), changes(link(2, "b")), changes(link(3, "a"))},
			[]Link{link(3, "a")}, map[string]int{"a": 3, "b": 2}},
		{"alternative name moved", []Update{all(link(2, "a", "x"), link(3, "b")), changes(link(2, "a"), link(3, "b", "x"))},
			[]Link{link(2, "a"), link(3, "b", "x")}, map[string]int{"x": 3}},
		{"alternative name removed", []Update{all(link(2, "a", "x")), changes(link(2, "a"))},
			[]Link{link(2, "a")}, map[string]int{"x": 0, "a": 2}},
		{"not listed", []Update{all(link(2, "a"), link(3, "b"), link(4, "c")), all(link(3, "b"))},
			[]Link{gone(link(2, "a")), gone(link(4, "c")), link(3, "b")}, map[string]int{"a": 0, "b": 3, "c": 0}},
		{"an incomplete listing says nothing of the others", []Update{all(link(2, "a"), link(3, "b")), changes(link(3, "b"))},
			[]Link{link(3, "b")}, map[string]int{"a": 2, "b": 3}},
		{"deleted, created again under the same index", []Update{all(link(2, "a")), changes(gone(link(2, "a")), link(2, "a"))},
			[]Link{gone(link(2, "a")), link(2, "a")}, map[string]int{"a": 2}},
	} {
		var table Table
		var last []Link
		for _, u := range c.updates {
			last = table.Apply(u)
		}
		if diff := cmp.Diff(c.last, last); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		for name, index := range c.want {
			if l, ok := table.Find(name); l.Index != index || ok != (index != 0) {
				t.Errorf("%s: %q is %+v (%v), want index %d", c.name, name, l, ok, index)
			}
		}
	}
}

// The end of an answer, its errors and its interruption.
func TestAnswer(t *testing.T) {
	const ours = 7
	reply := func(sequence uint32, flags netlink.HeaderFlags, typ netlink.HeaderType, data string) netlink.Message {
		m := message(t, typ, data)
		m.Header.Sequence, m.Header.Flags = sequence, netlink.Multi|flags
		return m
	}
	va := Link{Index: 2, Name: "va", Type: unix.ARPHRD_ETHER}
	for _, c := range []struct {
		name string
		in   []netlink.Message
		want answer
	}{
		{"not at its end", []netlink.Message{reply(ours, 0, unix.RTM_NEWLINK, vethDown)}, answer{links: []Link{va}}},
		{"whole", []netlink.Message{reply(ours, 0, unix.RTM_NEWLINK, vethDown), reply(ours, 0, netlink.Done, "00 00 00 00")},
			answer{links: []Link{va}, done: true}},
		{"interrupted", []netlink.Message{reply(ours, netlink.DumpInterrupted, unix.RTM_NEWLINK, vethDown), reply(ours, 0, netlink.Done, "00 00 00 00")},
			answer{links: []Link{va}, done: true, interrupted: true}},
		{"to another request", []netlink.Message{reply(6, netlink.DumpInterrupted, unix.RTM_NEWLINK, vethDown), reply(6, 0, netlink.Done, "00 00 00 00")}, answer{}},
		{"after its end", []netlink.Message{reply(ours, 0, netlink.Done, "00 00 00 00"), reply(ours, 0, unix.RTM_NEWLINK, vethDown)}, answer{done: true}},
		{"refused", []netlink.Message{reply(ours, 0, netlink.Error, "f0 ff ff ff")}, answer{done: true, err: unix.EBUSY}},
		{"broken off", []netlink.Message{reply(ours, 0, netlink.Done, "f4 ff ff ff")}, answer{done: true, err: unix.ENOMEM}},
	} {
		got := answer{sequence: ours}
		got.add(c.in)
		c.want.sequence = ours
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(answer{}), cmpopts.EquateErrors()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	for _, bad := range []netlink.Message{reply(ours, 0, netlink.Done, "00"), reply(ours, 0, unix.RTM_NEWLINK, "00 00")} {
		got := answer{sequence: ours}
		if got.add([]netlink.Message{bad}); got.err == nil || !got.done {
			t.Errorf("%v: %+v", bad, got)
		}
	}
}

// The result of List after some attempts.
func TestComplete(t *testing.T) {
	whole := answer{links: []Link{{Index: 2}}, done: true}
	interrupted := answer{links: []Link{{Index: 3}}, done: true, interrupted: true}
	failed := func(err error) answer { return answer{links: []Link{{Index: 4}}, err: err} }
	for _, c := range []struct {
		name     string
		attempts []answer // the last one repeats
		want     Update
		err      error
		count    int
	}{
		{"at once", []answer{whole}, Update{whole.links, true}, nil, 1},
		{"no interface", []answer{{done: true}}, Update{nil, true}, nil, 1},
		{"interrupted", []answer{interrupted, interrupted, whole}, Update{whole.links, true}, nil, 3},
		{"earlier answer unread", []answer{failed(unix.EBUSY), whole}, Update{whole.links, true}, nil, 2},
		{"memory short", []answer{failed(unix.ENOBUFS), failed(unix.ENOMEM), whole}, Update{whole.links, true}, nil, 3},
		{"the kernel stopped", []answer{failed(unix.EAGAIN), whole}, Update{whole.links, true}, nil, 2},
		{"buffer too small", []answer{failed(errTooLong), whole}, Update{whole.links, true}, nil, 2},
		{"always interrupted", []answer{interrupted}, Update{interrupted.links, false}, nil, listAttempts},
		{"interrupted, then short of memory", []answer{interrupted, failed(unix.ENOMEM)}, Update{interrupted.links, false}, nil, listAttempts},
		{"refused", []answer{failed(unix.EPERM)}, Update{}, unix.EPERM, 1},
	} {
		count := 0
		got, err := complete(func() answer {
			count++
			return c.attempts[min(count, len(c.attempts))-1]
		})
		if diff := cmp.Diff(c.want, got); diff != "" || !errors.Is(err, c.err) || count != c.count {
			t.Errorf("%s: %v after %d attempts, want %v after %d (-want +got):\n%s", c.name, err, count, c.err, c.count, diff)
		}
	}
	// No answer: an error, not an empty list.
	if got, err := complete(func() answer { return answer{err: unix.EBUSY} }); !errors.Is(err, unix.EBUSY) || got.Complete {
		t.Errorf("never answered: %+v, %v", got, err)
	}
}
