package testenv

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A Namespace is a network namespace. It exists while it is open or a process is in it. Safe for
// concurrent use.
type Namespace struct {
	file *os.File
}

// onThread runs f on a separate thread, which ends with f. So changes that f makes to the thread do
// not affect others.
func onThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends
		result <- f()
	}()
	return <-result
}

// NewNamespace creates a network namespace with its loopback interface up.
func NewNamespace() (*Namespace, error) {
	var ns Namespace
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		ns.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, err
	}
	return &ns, ns.IP("link", "set", "lo", "up")
}

// Net returns a new namespace that is closed at the end of the test. It skips the test if none can
// be created.
func Net(t testing.TB) *Namespace {
	t.Helper()
	Require(t, Netns)
	ns, err := NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// Close closes the namespace.
func (ns *Namespace) Close() error { return ns.file.Close() }

// Do runs f inside the namespace. A socket that it opens, and a process that it starts, stay in the
// namespace.
func (ns *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// IP runs ip(8) inside the namespace.
func (ns *Namespace) IP(args ...string) error { return ns.ip("", args...) }

// Batch runs many commands of ip(8) inside the namespace, one per line.
func (ns *Namespace) Batch(commands string) error { return ns.ip(commands, "-batch", "-") }

func (ns *Namespace) ip(stdin string, args ...string) error {
	cmd := exec.Command("ip", args...)
	var out strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &out
	if err := ns.Do(cmd.Start); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}

// Path returns a path of the namespace for ip(8), valid in this process while the namespace is
// open.
func (ns *Namespace) Path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.file.Fd())
}

// Must fails the test for an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A Host is an interface in a namespace of its own or a shared one.
type Host struct {
	*Namespace
	Name string // of the interface
	MAC  MAC
}

// Connect creates a veth pair between two namespaces. The interfaces are down.
func Connect(a *Namespace, nameA string, macA MAC, b *Namespace, nameB string, macB MAC) (Host, Host, error) {
	hostA, hostB := Host{a, nameA, macA}, Host{b, nameB, macB}
	return hostA, hostB, a.IP("link", "add", nameA, "address", macA.String(), "type", "veth",
		"peer", "name", nameB, "address", macB.String(), "netns", b.Path())
}

// Up sets the interface up, with addresses like 10.0.0.1/24.
func (h Host) Up(addresses ...string) error {
	for _, a := range addresses {
		if err := h.IP("addr", "add", a, "dev", h.Name); err != nil {
			return err
		}
	}
	return h.IP("link", "set", h.Name, "up")
}

// AwaitRunning waits until the interface, which is up like its peer, is operational. The kernel
// sets the operational state later than the carrier (net/core/link_watch.c), by up to a second.
func (h Host) AwaitRunning() error {
	return h.Do(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		timeout := unix.NsecToTimeval(int64(Patience))
		err = errors.Join(
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
			unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}))
		for err == nil {
			var i *net.Interface
			if i, err = net.InterfaceByName(h.Name); err != nil || i.Flags&net.FlagRunning != 0 {
				break
			}
			if _, _, err = unix.Recvfrom(fd, make([]byte, 1<<16), 0); err == unix.EINTR {
				err = nil
			}
		}
		if err != nil {
			return fmt.Errorf("wait for %s: %w", h.Name, err)
		}
		return nil
	})
}

// Down sets the interface down.
func (h Host) Down() error { return h.IP("link", "set", h.Name, "down") }

// MAC and address plan of [Pair] and [RawPair].
var (
	MACA = MAC{2, 0, 0, 0, 0, 0xa}
	MACB = MAC{2, 0, 0, 0, 0, 0xb}
)

// Pair returns two hosts, "va" with 10.0.0.1 and "vb" with 10.0.0.2, each in its own namespace,
// connected and up. The program under test should run in the first.
func Pair(t testing.TB) (a, b Host) {
	t.Helper()
	a, b, err := Connect(Net(t), "va", MACA, Net(t), "vb", MACB)
	Must(t, err)
	Must(t, a.Up("10.0.0.1/24"))
	Must(t, b.Up("10.0.0.2/24"))
	return a, b
}

// RawPair returns two connected interfaces, "va" and "vb", that are up. They have no address, so
// the kernel sends nothing on them.
func RawPair(t testing.TB) (a, b Host) {
	t.Helper()
	a, b, err := Connect(Net(t), "va", MACA, Net(t), "vb", MACB)
	Must(t, err)
	Must(t, a.Up())
	Must(t, b.Up())
	return a, b
}
