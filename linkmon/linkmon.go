// Package linkmon follows the network interfaces of a network namespace: their index, names,
// type, and state, and when they disappear. The kernel reports changes over rtnetlink
// (rtnetlink(7)); nothing is polled.
//
// A [Monitor] receives the changes, a [Lister] reads the state of all interfaces at once, and a
// [Table] keeps what both report. The kernel drops messages when the socket's queue is full. The
// Monitor then lists all interfaces again, so that the Table converges to the kernel's state
// whatever was lost. A list and the messages that are queued meanwhile are brought into order: a
// Table never returns to an older state.
//
// maas-netmon uses it in the monitor process. It needs no privilege, and reads only messages from
// the kernel: hosts on the network cannot influence them. It does not depend on the use that the
// caller makes of an interface. WaitAttach, WaitDetach and WaitCarrier are for other programs and
// for tests; maas-netmon does not call them.
package linkmon

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A Link is the state of an interface at the time of a message.
type Link struct {
	Index   int      // ifindex
	Name    string   // at most 15 bytes, without '/', ':' and white space; any other byte may occur
	Alt     []string // alternative names (ip-link(8), altname), at most 127 bytes each
	Type    uint16   // ARPHRD_ (include/uapi/linux/if_arp.h)
	Address [6]byte  // hardware address, zero if it does not have six bytes
	Up      bool     // IFF_UP: set up by the administrator
	// Running is IFF_RUNNING: the interface is operational (ifOperStatus up or unknown). It is
	// false without a carrier.
	Running bool
	State   State
	Gone    bool // deleted, or moved to another namespace
}

// Called reports whether the interface has the name, as its name or as an alternative name. The
// kernel keeps both in one name space: no two interfaces of a network namespace share one.
func (l *Link) Called(name string) bool { return l.Name == name || slices.Contains(l.Alt, name) }

// A State is an interface's operational state, ifOperStatus of RFC 2863 in the kernel's numbers
// (IF_OPER_ in include/uapi/linux/if.h).
type State uint8

// String returns the state's name as ip(8) prints it, in lower case.
func (s State) String() string {
	names := [...]string{"unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"}
	if int(s) >= len(names) {
		return fmt.Sprintf("state %d", uint8(s))
	}
	return names[s]
}

// An Update has the changes that the kernel reported together, in their order, or all interfaces.
type Update struct {
	Links []Link
	// Complete means that Links holds every interface: an interface that is not in it is gone.
	Complete bool
}

// A Table holds the last reported state of each interface that exists. The zero value is an empty
// table. It is not safe for concurrent use.
type Table struct {
	links map[int]Link
	names map[string]int // index by name and by alternative name
}

// Apply brings the table up to date. It returns the links of the update in their order. A complete
// update is preceded by a Link with Gone set for each interface that is in the table and not in
// the update.
func (t *Table) Apply(u Update) []Link {
	links := u.Links
	if u.Complete {
		there := make(map[int]bool, len(u.Links))
		for _, l := range u.Links {
			there[l.Index] = true
		}
		var gone []Link
		for index, l := range t.links {
			if !there[index] {
				l.Gone = true
				gone = append(gone, l)
			}
		}
		slices.SortFunc(gone, func(a, b Link) int { return a.Index - b.Index })
		links = append(gone, links...)
		clear(t.links)
		clear(t.names)
	}
	if t.links == nil {
		t.links, t.names = map[int]Link{}, map[string]int{}
	}
	for _, l := range links {
		t.set(l)
	}
	return links
}

// set replaces the state of one interface.
func (t *Table) set(l Link) {
	if old, ok := t.links[l.Index]; ok {
		for _, name := range append(old.Alt[:len(old.Alt):len(old.Alt)], old.Name) {
			if t.names[name] == l.Index {
				delete(t.names, name)
			}
		}
		delete(t.links, l.Index)
	}
	if l.Gone {
		return
	}
	t.links[l.Index] = l
	t.names[l.Name] = l.Index
	for _, name := range l.Alt {
		t.names[name] = l.Index
	}
}

// Find returns the interface that has the name, as its name or as an alternative name.
func (t *Table) Find(name string) (Link, bool) {
	l, ok := t.links[t.names[name]]
	return l, ok
}

// All returns the interfaces that exist, in the order of their index.
func (t *Table) All() []Link {
	all := make([]Link, 0, len(t.links))
	for _, l := range t.links {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b Link) int { return a.Index - b.Index })
	return all
}

// Decode reads RTM_NEWLINK and RTM_DELLINK messages and ignores all others. It fails on a
// truncated one.
func Decode(messages []netlink.Message) ([]Link, error) {
	var links []Link
	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK {
			continue
		}
		// struct ifinfomsg: family, padding, type, index, flags, change mask.
		if len(m.Data) < unix.SizeofIfInfomsg {
			return nil, fmt.Errorf("rtnetlink message of %d bytes, want at least %d", len(m.Data), unix.SizeofIfInfomsg)
		}
		// AF_BRIDGE messages describe a port's place in its bridge: a port that leaves its bridge
		// gives an RTM_DELLINK, and the interface stays.
		if m.Data[0] != unix.AF_UNSPEC {
			continue
		}
		flags := binary.NativeEndian.Uint32(m.Data[8:])
		link := Link{
			Type:    binary.NativeEndian.Uint16(m.Data[2:]),
			Index:   int(int32(binary.NativeEndian.Uint32(m.Data[4:]))),
			Up:      flags&unix.IFF_UP != 0,
			Running: flags&unix.IFF_RUNNING != 0,
			Gone:    m.Header.Type == unix.RTM_DELLINK,
		}
		whole, err := link.attributes(m.Data[unix.SizeofIfInfomsg:])
		if err != nil {
			return nil, fmt.Errorf("rtnetlink attributes: %w", err)
		}
		if whole {
			links = append(links, link)
		}
	}
	return links, nil
}

// attributes reads the attributes of a link message. whole is false for a wireless event, which has
// the name and no more of the interface's state (wireless_send_event, net/wireless/wext-core.c).
func (l *Link) attributes(data []byte) (whole bool, err error) {
	attributes, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return false, err
	}
	whole = true
	for attributes.Next() {
		switch attributes.Type() {
		case unix.IFLA_IFNAME:
			l.Name = text(attributes.Bytes())
		case unix.IFLA_PROP_LIST:
			attributes.Nested(func(properties *netlink.AttributeDecoder) error {
				for properties.Next() {
					if properties.Type() == unix.IFLA_ALT_IFNAME {
						l.Alt = append(l.Alt, text(properties.Bytes()))
					}
				}
				return nil
			})
		case unix.IFLA_OPERSTATE:
			l.State = State(attributes.Uint8())
		case unix.IFLA_ADDRESS:
			if b := attributes.Bytes(); len(b) == len(l.Address) {
				l.Address = [6]byte(b)
			}
		case unix.IFLA_WIRELESS:
			whole = false
		}
	}
	return whole, attributes.Err()
}

// text returns a string that the kernel ends with a zero byte.
func text(b []byte) string {
	before, _, _ := bytes.Cut(b, []byte{0})
	return string(before)
}
