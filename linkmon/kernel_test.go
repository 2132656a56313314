package linkmon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"maas-netmon/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// open subscribes in a namespace with a pair of links, and returns a context that bounds
// the test.
func open(t *testing.T) (*testenv.Namespace, *Monitor, context.Context) {
	t.Helper()
	testenv.Require(t, testenv.Netns)
	t.Parallel()
	ns := testenv.Net(t)
	testenv.Must(t, ns.IP("link", "add", "va", "type", "veth", "peer", "name", "vb"))
	var m *Monitor
	testenv.Must(t, ns.Do(func() (err error) {
		m, err = Open()
		return err
	}))
	t.Cleanup(func() { m.Close() })
	testenv.Must(t, m.conn.SetReadDeadline(time.Now().Add(testenv.Patience)))
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	t.Cleanup(cancel)
	return ns, m, ctx
}

// until receives until an interface is as wanted.
func until(t *testing.T, m *Monitor, what string, want func(Link) bool) Link {
	t.Helper()
	for {
		links, err := m.Receive()
		testenv.Must(t, err)
		for _, l := range links {
			if want(l) {
				return l
			}
		}
	}
}

func TestChanges(t *testing.T) {
	ns, m, ctx := open(t)
	do := func(args ...string) {
		t.Helper()
		testenv.Must(t, ns.IP(append([]string{"link"}, args...)...))
	}
	va, err := m.WaitAttach(ctx, "va")
	testenv.Must(t, err)
	if va.Up || va.Running || va.Gone {
		t.Errorf("at the start: %+v", va)
	}
	ours := func(l Link) bool { return l.Index == va.Index }

	do("set", "vb", "up")
	do("set", "va", "up")
	up := until(t, m, "up", func(l Link) bool { return ours(l) && l.Running })
	if !up.Up || up.State.String() != "up" {
		t.Errorf("up: %+v", up)
	}
	do("set", "vb", "down")
	lost := until(t, m, "no carrier", func(l Link) bool { return ours(l) && !l.Running })
	if !lost.Up || lost.State.String() != "lowerlayerdown" && lost.State.String() != "down" {
		t.Errorf("without a carrier: %+v", lost)
	}
	do("set", "va", "address", "02:00:00:00:00:77")
	until(t, m, "another address", func(l Link) bool { return ours(l) && l.Address == [6]byte{2, 0, 0, 0, 0, 0x77} })
	do("set", "va", "down")
	until(t, m, "down", func(l Link) bool { return ours(l) && !l.Up })
	do("set", "va", "name", "other")
	until(t, m, "renamed", func(l Link) bool { return ours(l) && l.Name == "other" })
	do("set", "other", "name", "va")
	until(t, m, "renamed back", func(l Link) bool { return ours(l) && l.Name == "va" })
	do("del", "va")
	until(t, m, "gone", func(l Link) bool { return ours(l) && l.Gone })
	do("add", "va", "type", "veth", "peer", "name", "vc")
	anew := until(t, m, "made anew", func(l Link) bool { return l.Name == "va" })
	if anew.Index == va.Index {
		t.Errorf("made anew under the same index: %+v", anew)
	}
}

func TestWait(t *testing.T) {
	ns, m, ctx := open(t)
	va, err := m.WaitAttach(ctx, "va")
	testenv.Must(t, err)

	wait := func(f func() (Link, error), stimulus ...string) Link {
		t.Helper()
		type result struct {
			Link
			err error
		}
		done := make(chan result, 1)
		go func() {
			l, err := f()
			done <- result{l, err}
		}()
		for _, command := range stimulus {
			testenv.Must(t, ns.IP(strings.Fields(command)...))
		}
		r := <-done
		testenv.Must(t, r.err)
		return r.Link
	}
	testenv.Must(t, ns.IP("link", "set", "va", "up"))
	testenv.Must(t, ns.IP("link", "set", "vb", "up"))
	if l := wait(func() (Link, error) { return m.WaitCarrier(ctx, va) }, "link set vb down", "link set vb up"); !l.Running {
		t.Errorf("after the carrier came back: %+v", l)
	}
	if l := wait(func() (Link, error) { return m.WaitDetach(ctx, va) }, "link del va"); !l.Gone {
		t.Errorf("detached: %+v", l)
	}
	if l := wait(func() (Link, error) { return m.WaitAttach(ctx, "vx") }, "link add vx type veth peer name vy"); l.Name != "vx" {
		t.Errorf("attached: %+v", l)
	}

	// A context that ends ends the wait, and leaves the subscription usable.
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := m.WaitAttach(short, "never"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	_, err = m.WaitAttach(ctx, "vx")
	testenv.Must(t, err)
}

// More changes than the socket's queue holds: what was lost is asked for, and what was
// deleted meanwhile is gone.
func TestBurst(t *testing.T) {
	ns, m, ctx := open(t)
	_, err := m.WaitAttach(ctx, "va")
	testenv.Must(t, err)
	testenv.Must(t, m.conn.SetReadBuffer(2048))
	var commands strings.Builder
	for i := range 500 {
		fmt.Fprintf(&commands, "link set va %s\n", []string{"up", "down"}[i%2])
	}
	commands.WriteString("link add last type veth peer name lastpeer\nlink del va\nlink set last up\n")
	for range 500 {
		commands.WriteString("link set last mtu 1400\nlink set last mtu 1500\n")
	}
	testenv.Must(t, ns.Batch(commands.String()))
	gone, up := false, false
	for !gone || !up {
		links, err := m.Receive()
		testenv.Must(t, err)
		for _, l := range links {
			switch l.Name {
			case "va":
				gone = l.Gone
			case "last":
				up = l.Up
			}
		}
	}
}
