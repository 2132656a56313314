// Package linkmon tells what becomes of network interfaces: that one is there, under
// which index and name, of which type, up and with a carrier, or gone. The kernel
// says so over rtnetlink (rtnetlink(7)); nothing is polled.
//
// It runs in the monitor, needs no privilege, and reads messages that the kernel
// wrote: nobody on the network chooses a byte of them. It does not know what its
// caller does with an interface.
package linkmon

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A Link is the state of an interface when the kernel spoke of it. It is comparable.
type Link struct {
	Index   int     // ifindex; a new interface of the same name has another
	Name    string  // at most 15 bytes, whatever root chose but '/', ':' and white space
	Type    uint16  // ARPHRD_ (include/uapi/linux/if_arp.h)
	Address [6]byte // hardware address, zero if it is not one of six bytes
	Up      bool    // IFF_UP: the administrator wants it up
	// Running is IFF_RUNNING: it is operational (ifOperStatus up or unknown), which it is
	// not without a carrier.
	Running bool
	State   State
	Gone    bool // deleted, or moved to another namespace
}

// A State is an interface's operational state, ifOperStatus of RFC 2863 as the kernel
// counts it (IF_OPER_ in include/uapi/linux/if.h).
type State uint8

// String returns the state's name as ip(8) has it, in lower case.
func (s State) String() string {
	names := [...]string{"unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"}
	if int(s) >= len(names) {
		return fmt.Sprintf("state %d", uint8(s))
	}
	return names[s]
}

// A Monitor is a subscription to changes of all interfaces in the network namespace.
// One goroutine may receive while another calls Refresh or FD.
type Monitor struct {
	conn  *netlink.Conn
	known table
}

// Open subscribes. What changes after it returns will be received; for what is
// there already, call [Monitor.Refresh].
func Open() (*Monitor, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: unix.RTMGRP_LINK})
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	return &Monitor{conn: conn, known: table{}}, nil
}

// FD returns the socket's descriptor, valid until Close.
func (m *Monitor) FD() (int, error) {
	raw, err := m.conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	number := -1
	err = raw.Control(func(fd uintptr) { number = int(fd) })
	return number, err
}

// Refresh asks the kernel for the state of all interfaces; Receive will give it.
func (m *Monitor) Refresh() error {
	_, err := m.conn.Send(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request | netlink.Dump},
		Data:   make([]byte, unix.SizeofIfInfomsg),
	})
	if err != nil {
		return fmt.Errorf("ask for interfaces: %w", err)
	}
	return nil
}

// Receive waits for the kernel and returns what it said, in order. When the kernel
// could not queue a message (ENOBUFS), Receive asks for everything again and goes
// on: a state may then be told twice, none stays wrong, and an interface whose end
// was not told is Gone.
func (m *Monitor) Receive() ([]Link, error) {
	for {
		messages, err := m.conn.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			if err := m.Refresh(); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("receive from rtnetlink: %w", err)
		}
		links, again, err := m.known.process(messages)
		if err == nil && again {
			err = m.Refresh()
		}
		return links, err
	}
}

// table holds what the kernel said last of each interface that is there, by index.
type table map[int]Link

// process decodes messages and keeps the table. To a whole dump it adds those interfaces
// that are known and not in it. again says that the dump was overtaken by changes, and
// has to be asked for anew.
func (t table) process(messages []netlink.Message) (links []Link, again bool, err error) {
	links, err = Decode(messages)
	if err != nil {
		return nil, false, err
	}
	dump := false
	for _, m := range messages {
		dump = dump || m.Header.Flags&netlink.Multi != 0
		again = again || m.Header.Flags&netlink.DumpInterrupted != 0
	}
	there := map[int]bool{}
	for _, l := range links {
		there[l.Index] = true
	}
	for index, l := range t {
		if dump && !again && !there[index] {
			l.Gone = true
			links = append(links, l)
		}
	}
	for _, l := range links {
		if l.Gone {
			delete(t, l.Index)
		} else {
			t[l.Index] = l
		}
	}
	return links, again, nil
}

// WaitAttach waits until there is an interface of that name, and returns it.
func (m *Monitor) WaitAttach(ctx context.Context, name string) (Link, error) {
	return m.wait(ctx, func(l Link) bool { return l.Name == name && !l.Gone })
}

// WaitDetach waits until an interface is deleted, in another namespace, or renamed.
func (m *Monitor) WaitDetach(ctx context.Context, attached Link) (Link, error) {
	return m.wait(ctx, func(l Link) bool {
		return l.Index == attached.Index && (l.Gone || l.Name != attached.Name)
	})
}

// WaitCarrier waits until an interface has lost its carrier, or was set down, and is
// running again.
func (m *Monitor) WaitCarrier(ctx context.Context, attached Link) (Link, error) {
	lost := false
	return m.wait(ctx, func(l Link) bool {
		if l.Index != attached.Index {
			return false
		}
		lost = lost || !l.Running
		return lost && l.Running
	})
}

// wait asks for the state of all interfaces and receives until one is what is wanted. When
// the context ends it returns its error.
func (m *Monitor) wait(ctx context.Context, want func(Link) bool) (Link, error) {
	if err := m.Refresh(); err != nil {
		return Link{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = m.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() {
			_ = m.conn.SetReadDeadline(time.Time{})
		}
	}()
	for {
		links, err := m.Receive()
		if ctx.Err() != nil {
			return Link{}, ctx.Err()
		}
		if err != nil {
			return Link{}, err
		}
		for _, l := range links {
			if want(l) {
				return l, nil
			}
		}
	}
}

// Close ends the subscription and a Receive that waits.
func (m *Monitor) Close() error { return m.conn.Close() }

// Decode reads RTM_NEWLINK and RTM_DELLINK messages and passes over all others. It
// fails on a truncated one.
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
		// AF_BRIDGE messages speak of a port's place in its bridge, not of an interface:
		// a port that leaves its bridge gives an RTM_DELLINK and stays.
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
		attributes, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofIfInfomsg:])
		if err != nil {
			return nil, fmt.Errorf("rtnetlink attributes: %w", err)
		}
		for attributes.Next() {
			switch attributes.Type() {
			case unix.IFLA_IFNAME:
				name, _, _ := bytes.Cut(attributes.Bytes(), []byte{0})
				link.Name = string(name)
			case unix.IFLA_OPERSTATE:
				link.State = State(attributes.Uint8())
			case unix.IFLA_ADDRESS:
				if b := attributes.Bytes(); len(b) == len(link.Address) {
					link.Address = [6]byte(b)
				}
			}
		}
		if err := attributes.Err(); err != nil {
			return nil, fmt.Errorf("rtnetlink attributes: %w", err)
		}
		links = append(links, link)
	}
	return links, nil
}
