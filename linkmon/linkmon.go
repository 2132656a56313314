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
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A Link is the state of an interface when the kernel spoke of it.
type Link struct {
	Index int    // ifindex; a new interface of the same name has another
	Name  string // at most 15 bytes, whatever root chose but '/', ':' and white space
	Type  uint16 // ARPHRD_ (include/uapi/linux/if_arp.h)
	Up    bool   // IFF_UP: the administrator wants it up
	// Running is IFF_RUNNING: it is operational (RFC 2863 ifOperStatus up or
	// unknown), which it is not without a carrier.
	Running bool
	Gone    bool // deleted, or moved to another namespace
}

// A Monitor is a subscription to changes of all interfaces in the network namespace.
// One goroutine may call Receive while another calls the other methods.
type Monitor struct {
	conn *netlink.Conn
}

// Open subscribes. What changes after it returns will be received; for what is
// there already, call [Monitor.Refresh].
func Open() (*Monitor, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: unix.RTMGRP_LINK})
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	return &Monitor{conn: conn}, nil
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
// on: a state may then be told twice, and none stays wrong.
func (m *Monitor) Receive() ([]Link, error) {
	for {
		messages, err := m.conn.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			if err := m.Refresh(); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, fmt.Errorf("receive from rtnetlink: %w", err)
		default:
			return Decode(messages)
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
			if attributes.Type() == unix.IFLA_IFNAME {
				name, _, _ := bytes.Cut(attributes.Bytes(), []byte{0})
				link.Name = string(name)
			}
		}
		if err := attributes.Err(); err != nil {
			return nil, fmt.Errorf("rtnetlink attributes: %w", err)
		}
		links = append(links, link)
	}
	return links, nil
}
