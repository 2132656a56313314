package linkmon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// receiveBuffer is the wanted size of the subscription's queue in bytes. The kernel grants it with
// CAP_NET_ADMIN (SO_RCVBUFFORCE), otherwise at most net.core.rmem_max (SO_RCVBUF, socket(7)).
const receiveBuffer = 2 << 20

// A Monitor is a subscription to the changes of all interfaces of the network namespace it was
// opened in. One goroutine may call Receive, while another one calls List and Pending.
type Monitor struct {
	conn   *netlink.Conn
	lister *Lister
	lost   bool // all interfaces have to be listed before the next message is useful
}

// Open subscribes. The first Update that Receive returns is complete: it holds the interfaces that
// exist already. No privilege is needed; with CAP_NET_ADMIN in the effective set the queue is
// longer.
func Open() (*Monitor, error) {
	lister, err := OpenLister()
	if err != nil {
		return nil, err
	}
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: unix.RTMGRP_LINK})
	if err != nil {
		_ = lister.Close()
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	_ = conn.SetReadBuffer(receiveBuffer) // a shorter queue only means more listings
	return &Monitor{conn: conn, lister: lister, lost: true}, nil
}

// FDs returns the descriptors of the subscription and of the [Lister], valid until Close. Receive
// calls recvmsg(2) on the first and Pending ppoll(2), List calls sendmsg(2) and recvmsg(2) on
// the second.
func (m *Monitor) FDs() (subscription, lister int, err error) {
	raw, err := m.conn.SyscallConn()
	if err != nil {
		return -1, -1, err
	}
	err = raw.Control(func(fd uintptr) { subscription = int(fd) })
	return subscription, m.lister.fd, err
}

// Receive waits for messages from the kernel and returns the changes. If the kernel dropped a
// message (ENOBUFS), Receive lists all interfaces and returns a complete Update: a state may be
// reported twice, and none stays wrong.
//
// After ENOBUFS the kernel drops further messages without an error, even if there is room, until
// the queue was empty once (NETLINK_S_CONGESTED in net/netlink/af_netlink.c). So Receive first
// returns what is queued and lists the interfaces when the queue is empty. What changes after
// that is queued, or reported by another ENOBUFS.
func (m *Monitor) Receive() (Update, error) {
	for {
		if m.lost {
			pending, err := m.peek()
			if err != nil {
				return Update{}, err
			}
			if !pending {
				u, err := m.List()
				m.lost = !u.Complete
				return u, err
			}
		}
		messages, err := m.conn.Receive()
		if droppedMessages(err) {
			m.lost = true
			continue
		}
		if err != nil {
			return Update{}, fmt.Errorf("receive from rtnetlink: %w", err)
		}
		links, err := Decode(messages)
		if err != nil || len(links) > 0 {
			return Update{Links: links}, err
		}
	}
}

// droppedMessages reports whether an error means that the kernel could not queue messages.
func droppedMessages(err error) bool {
	return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)
}

// List returns the state of all interfaces now. It uses no queued message and does not block. See
// [Lister.List].
func (m *Monitor) List() (Update, error) { return m.lister.List() }

// Pending reports whether the kernel has queued a message, or lost one, that Receive has not read
// yet.
func (m *Monitor) Pending() (bool, error) {
	fd, _, err := m.FDs()
	if err != nil {
		return false, err
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Ppoll(poll, &unix.Timespec{}, nil)
	return n > 0, err
}

// peek looks for a queued message without reading it, and reads the report of a lost one. From an
// empty queue it reads EAGAIN, which also ends the congestion.
func (m *Monitor) peek() (pending bool, err error) {
	raw, err := m.conn.SyscallConn()
	if err != nil {
		return false, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, _, _, err = unix.Recvmsg(int(fd), b[:], nil, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	switch {
	case controlErr != nil:
		return false, controlErr
	case err == nil, droppedMessages(err):
		return true, nil
	case errors.Is(err, unix.EAGAIN):
		return false, nil
	}
	return false, fmt.Errorf("receive from rtnetlink: %w", err)
}

// Close ends the subscription and a Receive that waits.
func (m *Monitor) Close() error { return errors.Join(m.conn.Close(), m.lister.Close()) }

// WaitAttach waits until there is an interface of that name, and returns it.
func (m *Monitor) WaitAttach(ctx context.Context, name string) (Link, error) {
	return m.wait(ctx, &Table{}, func(l Link) bool { return l.Called(name) && !l.Gone })
}

// WaitDetach waits until an interface is deleted, in another namespace, or renamed.
func (m *Monitor) WaitDetach(ctx context.Context, attached Link) (Link, error) {
	return m.wait(ctx, known(attached), func(l Link) bool {
		return l.Index == attached.Index && (l.Gone || l.Name != attached.Name)
	})
}

// WaitCarrier waits until an interface has lost its carrier, or was set down, and is
// running again.
func (m *Monitor) WaitCarrier(ctx context.Context, attached Link) (Link, error) {
	lost := false
	return m.wait(ctx, known(attached), func(l Link) bool {
		if l.Index != attached.Index {
			return false
		}
		lost = lost || !l.Running
		return lost && l.Running
	})
}

// known returns a table of one interface.
func known(l Link) *Table {
	t := &Table{}
	t.Apply(Update{Links: []Link{l}})
	return t
}

// wait lists all interfaces and receives until one satisfies want. When the context ends it returns
// the context's error.
func (m *Monitor) wait(ctx context.Context, table *Table, want func(Link) bool) (Link, error) {
	m.lost = true
	stop := context.AfterFunc(ctx, func() { _ = m.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() {
			_ = m.conn.SetReadDeadline(time.Time{})
		}
	}()
	for {
		u, err := m.Receive()
		if ctx.Err() != nil {
			return Link{}, ctx.Err()
		}
		if err != nil {
			return Link{}, err
		}
		for _, l := range table.Apply(u) {
			if want(l) {
				return l, nil
			}
		}
	}
}
