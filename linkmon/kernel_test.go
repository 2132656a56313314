package linkmon

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

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
	testenv.Must(t, m.conn.SetReadDeadline(time.Now().Add(6*testenv.Patience)))
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	t.Cleanup(cancel)
	return ns, m, ctx
}

// until receives until an interface satisfies the condition.
func until(t *testing.T, m *Monitor, what string, want func(Link) bool) Link {
	t.Helper()
	for {
		u, err := m.Receive()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, l := range u.Links {
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
	// A slow kernel reports the interface before its state is computed: running, and unknown.
	up := until(t, m, "up", func(l Link) bool { return ours(l) && l.Running && l.State.String() == "up" })
	if !up.Up {
		t.Errorf("up: %+v", up)
	}
	do("set", "vb", "down")
	lost := until(t, m, "no carrier", func(l Link) bool { return ours(l) && !l.Running })
	if !lost.Up || lost.State.String() != "lowerlayerdown" && lost.State.String() != "down" {
		t.Errorf("without a carrier: %+v", lost)
	}
	do("set", "va", "address", "02:00:00:00:00:77")
	until(t, m, "another address", func(l Link) bool { return ours(l) && l.Address == [6]byte{2, 0, 0, 0, 0, 0x77} })
	do("property", "add", "dev", "va", "altname", "alternative", "altname", longName)
	until(t, m, "alternative names", func(l Link) bool {
		return ours(l) && slices.Equal(l.Alt, []string{"alternative", longName})
	})
	do("property", "del", "dev", "va", "altname", "alternative")
	until(t, m, "one alternative name less", func(l Link) bool { return ours(l) && slices.Equal(l.Alt, []string{longName}) })
	do("set", "va", "down")
	until(t, m, "down", func(l Link) bool { return ours(l) && !l.Up })
	do("set", "va", "name", "other")
	until(t, m, "renamed", func(l Link) bool { return ours(l) && l.Name == "other" })
	do("set", "other", "name", "va")
	until(t, m, "renamed back", func(l Link) bool { return ours(l) && l.Name == "va" })
	do("del", "va")
	until(t, m, "gone", func(l Link) bool { return ours(l) && l.Gone })
	do("add", "va", "type", "veth", "peer", "name", "vc")
	again := until(t, m, "created again", func(l Link) bool { return l.Name == "va" })
	if again.Index == va.Index {
		t.Errorf("created again under the same index: %+v", again)
	}
}

// longName has as many bytes as an alternative name can have (ALTIFNAMSIZ is 128).
var longName = strings.Repeat("n", 127)

// An interface changes its type and keeps its index.
func TestTypeChanges(t *testing.T) {
	testenv.Require(t, testenv.Tun)
	ns, m, _ := open(t)
	var tap int
	testenv.Must(t, ns.Do(func() (err error) {
		if tap, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		ifr, err := unix.NewIfreq("tap0")
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		return unix.IoctlIfreq(tap, unix.TUNSETIFF, ifr)
	}))
	defer unix.Close(tap)
	ethernet := until(t, m, "tap0", func(l Link) bool { return l.Name == "tap0" && l.Type == unix.ARPHRD_ETHER })
	for _, typ := range []uint16{unix.ARPHRD_IEEE80211_RADIOTAP, unix.ARPHRD_ETHER} {
		testenv.Must(t, unix.IoctlSetInt(tap, unix.TUNSETLINK, int(typ)))
		// The kernel queues the message about the type, if it has one, before this one.
		fence := [6]byte{2, 0, 0, 0, byte(typ >> 8), byte(typ)}
		testenv.Must(t, ns.IP("link", "set", "va", "address", net.HardwareAddr(fence[:]).String()))
		changed := false
		until(t, m, "another address", func(l Link) bool {
			changed = changed || l.Index == ethernet.Index && l.Type == typ
			return l.Name == "va" && l.Address == fence
		})
		if !changed {
			testenv.Lacks(t, testenv.TypeMessages, fmt.Errorf("no message about type %d", typ))
		}
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

	// When the context ends, the wait ends, and the subscription stays usable.
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := m.WaitAttach(short, "never"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	_, err = m.WaitAttach(ctx, "vx")
	testenv.Must(t, err)
}

// dropped returns how many messages for the subscription the kernel dropped.
func dropped(t *testing.T, ns *testenv.Namespace, m *Monitor) string {
	t.Helper()
	fd, _ := m.FDs()
	var st unix.Stat_t
	testenv.Must(t, unix.Fstat(fd, &st))
	var sockets []byte
	testenv.Must(t, ns.Do(func() (err error) {
		sockets, err = os.ReadFile("/proc/thread-self/net/netlink")
		return err
	}))
	// The last two columns are the number of dropped messages and the socket's inode.
	for line := range strings.Lines(string(sockets)) {
		if fields := strings.Fields(line); len(fields) == 10 && fields[9] == fmt.Sprint(st.Ino) {
			return fields[8]
		}
	}
	t.Fatal("the subscription is not in /proc/net/netlink")
	return ""
}

// Interfaces change while the kernel drops messages: before the loss is reported, while the queue
// is read afterwards (then no error reports what is dropped), and at each point between. In the
// end the table has the kernel's state, and an update mentioned the interface after the change,
// also if it has the index and the name that it had before.
func TestChangesWhileMessagesAreLost(t *testing.T) {
	for _, c := range []struct{ name, commands string }{
		{"deleted", "link del va"},
		{"created again under the same index", "link del va\nlink add va index %d type veth peer name vb"},
		{"lent to another namespace", "netns"},
		{"names swapped", "link set va name tmp\nlink set vx name va\nlink set tmp name vx"},
		{"another alternative name", "link property del dev va altname first\nlink property add dev va altname second"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Contains(c.commands, "name tmp") {
				testenv.Require(t, testenv.LiveRename)
			}
			ns, m, _ := open(t)
			other := testenv.Net(t)
			testenv.Must(t, m.conn.SetReadBuffer(2048))
			var table Table
			receive := func(what string) []Link {
				t.Helper()
				testenv.Must(t, m.conn.SetReadDeadline(time.Now().Add(testenv.Patience)))
				u, err := m.Receive()
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				return table.Apply(u)
			}
			for i := range 12 {
				testenv.Must(t, ns.Batch("link add vx type veth peer name vy\nlink property add dev va altname first\nlink set va up\nlink set vb up\n"))
				converge(t, ns, &table, receive)
				va, _ := table.Find("va")

				for before := dropped(t, ns, m); dropped(t, ns, m) == before; {
					testenv.Must(t, ns.Batch(strings.Repeat("link set vy mtu 1400\nlink set vy mtu 1500\n", 20)))
				}
				for range i {
					if pending, err := m.Pending(); err != nil || !pending {
						break
					}
					receive("a part of the queue")
				}
				switch {
				case strings.Contains(c.commands, "%d"):
					testenv.Must(t, ns.Batch(fmt.Sprintf(c.commands, va.Index)))
				case strings.Contains(c.commands, "netns"):
					testenv.Must(t, ns.IP("link", "set", "va", "netns", other.Path()))
					testenv.Must(t, other.IP("link", "set", "va", "netns", ns.Path()))
				default:
					testenv.Must(t, ns.Batch(c.commands))
				}
				mentioned := converge(t, ns, &table, receive)
				if _, ok := table.Find("va"); ok && !mentioned["va"] {
					t.Errorf("after %d updates: no update mentioned the interface", i)
				}
				// The same start for the next run.
				for _, name := range []string{"va", "vx"} {
					if _, ok := table.Find(name); ok {
						testenv.Must(t, ns.IP("link", "del", name))
					}
				}
				testenv.Must(t, ns.IP("link", "add", "va", "type", "veth", "peer", "name", "vb"))
			}
		})
	}
}

// Messages are lost after a list was made and before it is returned: among them that vb has another
// name. The next message says that vx is vb now. The list is not returned, because it has two
// interfaces of that name, and another one is made.
func TestLossAfterList(t *testing.T) {
	ns, m, _ := open(t)
	testenv.Must(t, ns.IP("link", "add", "vx", "type", "veth", "peer", "name", "vy"))
	next := func() (u Update, list bool) {
		t.Helper()
		u, list, err := m.Next()
		testenv.Must(t, err)
		return u, list
	}
	for list := false; !list; {
		_, list = next()
	}
	old, err := m.List()
	testenv.Must(t, err)
	m.list = &old
	testenv.Must(t, m.conn.SetReadBuffer(2048))
	for before := dropped(t, ns, m); dropped(t, ns, m) == before; {
		testenv.Must(t, ns.Batch("link set va mtu 1400\nlink set va mtu 1500\n"))
	}
	testenv.Must(t, ns.IP("link", "set", "vb", "name", "tmp"))
	for pending := true; pending; {
		next()
		pending, err = m.Pending()
		testenv.Must(t, err)
	}
	testenv.Must(t, ns.IP("link", "set", "vx", "name", "vb"))
	for list := false; !list; {
		var u Update
		u, list = next()
		names := map[string]int{}
		for _, l := range u.Links {
			names[l.Name]++
		}
		if names["vb"] > 1 || list && names["tmp"] != 1 {
			t.Errorf("%+v", u)
		}
	}
}

// If the kernel gives no list, Next says so, and does not try again by itself.
func TestNoList(t *testing.T) {
	_, m, _ := open(t)
	testenv.Must(t, unix.SetsockoptSockFprog(m.lister.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET}})) // the answer is dropped
	m.Relist()
	if u, list, err := m.Next(); !errors.Is(err, ErrList) || list || len(u.Links) > 0 {
		t.Errorf("%+v, %v, %v", u, list, err)
	}
	if m.Due() {
		t.Error("another list is due")
	}
	testenv.Must(t, unix.SetsockoptInt(m.lister.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
	m.Relist()
	if u, list, err := m.Next(); err != nil || !list || !u.Complete {
		t.Errorf("afterwards: %+v, %v, %v", u, list, err)
	}
}

// converge receives until the table has the kernel's state, and returns the names of the
// interfaces that the updates mentioned.
func converge(t *testing.T, ns *testenv.Namespace, table *Table, receive func(string) []Link) map[string]bool {
	t.Helper()
	var lister *Lister
	testenv.Must(t, ns.Do(func() (err error) {
		lister, err = OpenLister()
		return err
	}))
	defer lister.Close()
	mentioned := map[string]bool{}
	for {
		truth, err := lister.List()
		testenv.Must(t, err)
		slices.SortFunc(truth.Links, func(a, b Link) int { return a.Index - b.Index })
		diff := cmp.Diff(truth.Links, table.All())
		if diff == "" && len(mentioned) > 0 {
			return mentioned
		}
		for _, l := range receive("not the kernel's state (-kernel +table):\n" + diff) {
			mentioned[l.Name] = true
		}
	}
}

// An interface changes a thousand times while all are listed again and again. No update has a state
// that is older than one before it, although a list contains changes whose messages are queued.
func TestOrder(t *testing.T) {
	ns, m, _ := open(t)
	const changes = 1000
	var commands strings.Builder
	for i := range changes {
		fmt.Fprintf(&commands, "link set va address 02:00:00:00:%02x:%02x\n", (i+1)>>8, (i+1)&0xff)
	}
	done := make(chan error, 1)
	go func() { done <- ns.Batch(commands.String()) }()
	last, lists := uint16(0), 0
	seen := func(u Update) {
		for _, l := range u.Links {
			if l.Name != "va" || l.Address[0] != 2 || l.Address[1] != 0 || l.Address[2] != 0 {
				continue // its first address is random
			}
			now := binary.BigEndian.Uint16(l.Address[4:])
			if now < last {
				t.Fatalf("state %d after %d, complete: %v, after %d lists", now, last, u.Complete, lists)
			}
			last = now
		}
	}
	for last < changes {
		m.Relist()
		for list := false; !list; {
			var u Update
			var err error
			u, list, err = m.Next()
			testenv.Must(t, err)
			seen(u)
		}
		lists++
	}
	testenv.Must(t, <-done)
}

// While interfaces come and go, a listing is complete or reports that it is not.
func TestListWhileInterfacesChange(t *testing.T) {
	ns, m, _ := open(t)
	var commands strings.Builder
	for i := range 100 { // more than one message holds
		fmt.Fprintf(&commands, "link add a%d type veth peer name b%d\n", i, i)
	}
	testenv.Must(t, ns.Batch(commands.String()))
	done := make(chan error)
	go func() {
		done <- ns.Batch(strings.Repeat("link add x type veth peer name y\nlink del x\n", 200))
	}()
	for {
		u, err := m.List()
		testenv.Must(t, err)
		names := map[string]bool{}
		for _, l := range u.Links {
			names[l.Name] = true
		}
		for i := range 100 {
			if u.Complete && (!names[fmt.Sprintf("a%d", i)] || !names[fmt.Sprintf("b%d", i)]) {
				t.Fatalf("a%d or b%d is missing in a complete listing: %v", i, i, slices.Sorted(maps.Keys(names)))
			}
		}
		select {
		case err := <-done:
			testenv.Must(t, err)
			return
		default:
		}
	}
}

// An answer that was not read to its end makes the kernel refuse the next request (EBUSY). The next
// listing is complete nevertheless.
func TestListAfterUnreadAnswer(t *testing.T) {
	ns, m, _ := open(t)
	var commands strings.Builder
	for i := range 100 {
		fmt.Fprintf(&commands, "link add a%d type veth peer name b%d\n", i, i)
	}
	testenv.Must(t, ns.Batch(commands.String()))
	if a := m.lister.ask(); a.err != nil || a.interrupted {
		t.Fatalf("first answer: %+v", a)
	}
	testenv.Must(t, unix.Sendmsg(m.lister.fd, listRequest(1000), nil, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}, 0))
	if a := m.lister.ask(); !errors.Is(a.err, unix.EBUSY) {
		t.Fatalf("the kernel took a second request (%v): this test tests nothing", a.err)
	}
	if a := m.lister.attempt(); a.err != nil || len(a.links) != 203 { // lo, va, vb
		t.Errorf("%d interfaces, %v", len(a.links), a.err)
	}
}

// With CAP_NET_ADMIN the queue is longer than net.core.rmem_max allows.
func TestReceiveBuffer(t *testing.T) {
	testenv.Require(t, testenv.Root)
	_, m, _ := open(t)
	got, err := m.conn.ReadBuffer()
	testenv.Must(t, err)
	if got < 2*receiveBuffer { // the kernel doubles it (socket(7))
		t.Errorf("queue of %d bytes, want %d", got, 2*receiveBuffer)
	}
}
