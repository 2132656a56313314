package linkmon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// receiveBuffer is the wanted size of the subscription's queue in bytes. The kernel grants it with
// CAP_NET_ADMIN (SO_RCVBUFFORCE), otherwise at most net.core.rmem_max (SO_RCVBUF, socket(7)).
const receiveBuffer = 2 << 20

// A Monitor is a subscription to the changes of all interfaces of the network namespace it was
// opened in. One goroutine may call Wait or Pending, while another one calls the other methods.
type Monitor struct {
	conn   *netlink.Conn
	fd     int // of conn
	buffer []byte
	lister *Lister
	lost   bool    // the interfaces have to be listed when the queue is empty
	list   *Update // all interfaces, to be returned when the queue is empty
}

// Open subscribes. Next then returns a list of the interfaces that exist already. No privilege is
// needed; with CAP_NET_ADMIN in the effective set the queue is longer.
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
	m := &Monitor{conn: conn, buffer: make([]byte, datagramBuffer), lister: lister, lost: true}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { m.fd = int(fd) })
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// FDs returns the descriptors of the subscription and of the [Lister], valid until Close. Next
// calls recvmsg(2) on both and sendmsg(2) on the second; Wait and Pending call ppoll(2) on the
// first.
func (m *Monitor) FDs() (subscription, lister int) { return m.fd, m.lister.fd }

// Next returns the changes of the oldest message that the kernel has queued, without waiting. An
// Update without Links means that there is none. If the kernel dropped a message (ENOBUFS), Next
// also lists all interfaces: a state may be reported twice, and none stays wrong. list means that
// the Update is such a list; it is not Complete if interfaces were added and deleted during each
// attempt, and another one follows. If the kernel gives no list, the error is [ErrList]; call
// Relist later.
//
// After ENOBUFS the kernel drops further messages without an error, even if there is room, until
// the queue was empty once (NETLINK_S_CONGESTED in net/netlink/af_netlink.c). So Next first returns
// what is queued and lists the interfaces when the queue is empty. What changes after that is
// queued, or reported by another ENOBUFS.
//
// A message that is queued while the list is made can be older than the list. So Next keeps the
// list, brings it up to date with each message, and returns it when the queue is empty again: no
// Update contains a state that is older than one returned before.
func (m *Monitor) Next() (u Update, list bool, err error) {
	for {
		messages, err := receive(m.fd, &m.buffer)
		switch {
		case errors.Is(err, unix.EAGAIN) && m.list != nil:
			u, m.list = *m.list, nil
			return u, true, nil
		case errors.Is(err, unix.EAGAIN) && m.lost:
			all, err := m.lister.List()
			if err != nil {
				m.lost = false
				return Update{}, false, err
			}
			m.list, m.lost = &all, !all.Complete
			continue
		case errors.Is(err, unix.EAGAIN):
			return Update{}, false, nil
		case droppedMessages(err):
			// The list cannot be brought up to date any more.
			m.list, m.lost = nil, true
			continue
		case err != nil:
			return Update{}, false, fmt.Errorf("receive from rtnetlink: %w", err)
		}
		links, err := Decode(messages)
		if m.list != nil {
			m.list.correct(links)
		}
		if err != nil || len(links) > 0 {
			return Update{Links: links}, false, err
		}
	}
}

// droppedMessages reports whether an error means that a message is lost.
func droppedMessages(err error) bool {
	return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) || errors.Is(err, errTooLong)
}

// correct replaces the state of interfaces by a newer one.
func (u *Update) correct(changes []Link) {
	for _, l := range changes {
		u.Links = slices.DeleteFunc(u.Links, func(old Link) bool { return old.Index == l.Index })
		if !l.Gone {
			u.Links = append(u.Links, l)
		}
	}
}

// Relist makes Next list all interfaces like after a loss.
func (m *Monitor) Relist() { m.list, m.lost = nil, true }

// Due reports whether Next will return a list, even without another message.
func (m *Monitor) Due() bool { return m.lost || m.list != nil }

// Wait waits until the kernel has queued a message or lost one.
func (m *Monitor) Wait() error {
	raw, err := m.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for rtnetlink: %w", err)
	}
	readErr := raw.Read(func(uintptr) bool {
		var pending bool
		pending, err = m.Pending()
		return pending || err != nil
	})
	if err := errors.Join(readErr, err); err != nil {
		return fmt.Errorf("wait for rtnetlink: %w", err)
	}
	return nil
}

// Pending reports whether the kernel has queued a message, or lost one, that Next has not read yet.
func (m *Monitor) Pending() (bool, error) {
	for {
		n, err := unix.Ppoll([]unix.PollFd{{Fd: int32(m.fd), Events: unix.POLLIN}}, &unix.Timespec{}, nil)
		if !errors.Is(err, unix.EINTR) {
			return n > 0, os.NewSyscallError("ppoll", err)
		}
	}
}

// Receive waits until Next returns Links, and returns them.
func (m *Monitor) Receive() (Update, error) {
	for {
		u, _, err := m.Next()
		if err != nil || len(u.Links) > 0 {
			return u, err
		}
		if m.Due() {
			continue
		}
		if err := m.Wait(); err != nil {
			return Update{}, err
		}
	}
}

// List returns the state of all interfaces now. Messages that are queued can be older. See
// [Lister.List].
func (m *Monitor) List() (Update, error) { return m.lister.List() }

// Close ends the subscription and a Wait.
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
	m.Relist()
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = m.conn.SetReadDeadline(time.Unix(1, 0))
		close(ended)
	})
	defer func() {
		if !stop() {
			<-ended
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
