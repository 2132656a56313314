package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// counted returns the log lines with the counters of an interface.
func counted(log []string, name string) (lines []string) {
	for _, l := range log {
		if strings.Contains(l, "msg=counters") && strings.Contains(l, " interface="+name+" ") {
			lines = append(lines, l)
		}
	}
	return lines
}

// heardOn is like heard, for one interface.
func heardOn(t *testing.T, ns *testenv.Namespace, p *testenv.Program, name, peer, ip string) {
	t.Helper()
	heard(t, ns, p, peer, ip)
	for _, l := range p.Lines.Seen() {
		if l.IP == ip && l.Interface != name {
			t.Errorf("%s: interface %q, want %q", l.Raw, l.Interface, name)
		}
	}
}

// Interfaces that match are watched without a privilege: those that exist, those that appear later,
// and those that are renamed to a matching name. Each line has the interface. When an interface
// disappears, its bindings are forgotten, and its socket is free for another one.
func TestMatch(t *testing.T) {
	t.Parallel()
	ns := testenv.Net(t)
	add := func(name, peer string) {
		t.Helper()
		testenv.Must(t, ns.Batch(fmt.Sprintf("link add %s type veth peer name %s\nlink set %s up\nlink set %s up\n", name, peer, name, peer)))
	}
	add("va0", "p0")
	add("other", "p1")
	p := testenv.Watch(t, ns, testenv.Options{}, "--match", "va*", "--match", "altname-*")
	heardOn(t, ns, p, "va0", "p0", "10.0.0.1")
	add("va1", "p2")
	heardOn(t, ns, p, "va1", "p2", "10.0.0.2")

	// An alternative name.
	testenv.Must(t, ns.IP("link", "property", "add", "dev", "other", "altname", "altname-of-more-than-15-bytes"))
	heardOn(t, ns, p, "altname-of-more-than-15-bytes", "p1", "10.0.0.3")

	// Renamed: for the user it is another interface. (A frame that comes before the monitor reads
	// the kernel's message has the old name.)
	there := p.Log.Expect(testenv.Contains(`msg="interface is there" interface=va2`))
	testenv.Must(t, ns.Batch("link set va1 down\nlink set va1 name va2\nlink set va2 up\n"))
	there.Await(t)
	heardOn(t, ns, p, "va2", "p2", "10.0.0.4")

	// Deleted: its bindings are forgotten, and a new interface gets the socket.
	gone := p.Log.Expect(testenv.Contains(`msg="interface is gone" interface=va0`))
	testenv.Must(t, ns.IP("link", "del", "va0"))
	gone.Await(t)
	again := p.Lines.ExpectN(1, testenv.Event("NEW", "10.0.0.1"))
	add("va0", "p0")
	heardOn(t, ns, p, "va0", "p0", "10.0.0.5")
	port := testenv.Host{Namespace: ns, Name: "p0"}.Port(t)
	testenv.Must(t, port.Send(request(macC, "10.0.0.1").Bytes()))
	again.Await(t)

	counters := p.Log.Expect(testenv.Contains(`msg="sockets for --match" used=3 sockets=64`))
	p.Signal(t, unix.SIGUSR1)
	counters.Await(t)
	p.Stop(t)
	log := p.Log.WaitEnd(t)
	if len(counted(log, "va0")) == 0 || len(counted(log, `""`)) != 0 {
		t.Errorf("counters of the interfaces that match:\n%s", strings.Join(log, "\n"))
	}
}

// An INTERFACE that also matches is watched once. The program waits for a pattern that matches
// nothing.
func TestMatchAndInterface(t *testing.T) {
	t.Parallel()
	ns := rebindPair(t)
	p := testenv.Start(t, ns, testenv.Options{}, "--match", "v[ax]", "--match", "eth*", "va")
	waits := p.Log.Expect(testenv.Contains(`level=WARN msg="no interface matches, waiting for one" match=eth*`))
	p.Ready(t)
	heardOn(t, ns, p, "va", "vb", "10.0.0.1")
	heardOn(t, ns, p, "vx", "vy", "10.0.0.2")
	waits.Wait(0)
	twice := p.Lines.ExpectN(2, testenv.And(testenv.IP("10.0.0.3"), func(l testenv.Line) bool { return l.Interface == "va" }))
	heardOn(t, ns, p, "va", "vb", "10.0.0.3")
	if twice.Wait(0) {
		t.Error("watched twice")
	}
	one := p.Log.Expect(testenv.Contains(`msg="sockets for --match" used=1 sockets=64`))
	p.Signal(t, unix.SIGUSR1)
	one.Await(t)
	if log := strings.Join(p.Log.Seen(), "\n"); !strings.Contains(log, "match=eth*") || strings.Contains(log, "match=v[") {
		t.Errorf("patterns that match nothing:\n%s", log)
	}
}

// Interfaces come and go, far more than there are sockets.
func TestMatchChurn(t *testing.T) {
	t.Parallel()
	ns := testenv.Net(t)
	p := testenv.Watch(t, ns, testenv.Options{}, "--match", "m*")
	for i := range 20 {
		var add, del strings.Builder
		for n := range 10 {
			fmt.Fprintf(&add, "link add m%d type veth peer name q%d\nlink set m%d up\nlink set q%d up\n", n, n, n, n)
			fmt.Fprintf(&del, "link del m%d\n", n)
		}
		testenv.Must(t, ns.Batch(add.String()))
		heardOn(t, ns, p, fmt.Sprintf("m%d", i%10), fmt.Sprintf("q%d", i%10), fmt.Sprintf("10.0.1.%d", i))
		testenv.Must(t, ns.Batch(del.String()))
	}
	free := p.Log.Expect(testenv.Contains(`msg="sockets for --match" used=0 sockets=64`))
	for !free.Wait(1100e6) {
		p.Signal(t, unix.SIGUSR1)
		if !p.Running() {
			t.Fatal("it ended")
		}
	}
}

// More interfaces match than there are sockets: that is reported, and the others are watched.
func TestMatchPoolExhausted(t *testing.T) {
	t.Parallel()
	ns := testenv.Net(t)
	p := testenv.Watch(t, ns, testenv.Options{}, "--match", "m*")
	low := p.Log.Expect(testenv.Contains(`msg="the sockets for --match are running out; a restart opens more"`))
	var add strings.Builder
	for n := range 70 {
		fmt.Fprintf(&add, "link add m%d type veth peer name q%d\nlink set m%d up\nlink set q%d up\n", n, n, n, n)
	}
	testenv.Must(t, ns.Batch(add.String()))
	low.Await(t)
	heardOn(t, ns, p, "m0", "q0", "10.0.0.1")
	testenv.Must(t, ns.IP("link", "del", "m1"))
	testenv.Must(t, ns.IP("link", "del", "m2"))
	// The sockets of deleted interfaces are used for others that wait.
	full := p.Log.Expect(testenv.Contains(`msg="sockets for --match" used=64 sockets=64`))
	p.Signal(t, unix.SIGUSR1)
	full.Await(t)
}

// Alternative names are names, also after the interface was created again, and the line has the
// name that the user gave.
func TestAlternativeName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", 127)
	ns := rebindPair(t)
	testenv.Must(t, ns.IP("link", "property", "add", "dev", "va", "altname", long))
	p := testenv.Watch(t, ns, testenv.Options{}, "--wait", long, "later:0")
	heardOn(t, ns, p, long, "vb", "10.0.0.1")
	testenv.Must(t, ns.IP("link", "property", "add", "dev", "vx", "altname", "later:0"))
	heardOn(t, ns, p, "later:0", "vy", "10.0.0.2")
	testenv.Must(t, ns.Batch("link del va\nlink add va type veth peer name vb\nlink property add dev va altname "+long+"\nlink set va up\nlink set vb up\n"))
	heardOn(t, ns, p, long, "vb", "10.0.0.3")
}

// Invalid names.
func TestWrongNames(t *testing.T) {
	t.Parallel()
	ns := rebindPair(t)
	testenv.Must(t, ns.IP("link", "property", "add", "dev", "va", "altname", "alternative"))
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"va@vb", 1, "maas-netmon: va@vb: no such network interface\nmaas-netmon: hint: its name is va: after the @, ip link prints the interface's peer or the one below it\n"},
		{"--wait va@vb", 1, "maas-netmon: va@vb: no such network interface\nmaas-netmon: hint: its name is va: after the @, ip link prints the interface's peer or the one below it\n"},
		{"va alternative", 2, "maas-netmon: va and alternative are the same interface\nmaas-netmon: hint: see maas-netmon --help\n"},
		{"--match [a", 2, "maas-netmon: invalid value \"[a\" for --match: want a pattern like 'eth*' or 'en[ps]*'\nmaas-netmon: hint: see maas-netmon --help\n"},
		{"--match a* -i -", 2, "maas-netmon: -i and --match cannot be combined\nmaas-netmon: hint: see maas-netmon --help\n"},
		{"a:b", 1, "maas-netmon: a:b: no such network interface\n"},
	} {
		status, stdout, stderr := testenv.Run(t, ns, testenv.Options{}, strings.Fields(c.args)...)
		if status != c.status || stdout != "" || stderr != c.want {
			t.Errorf("%s: status %d, %q, %q; want %d, %q", c.args, status, stdout, stderr, c.status, c.want)
		}
	}
}

// SIGUSR1 in a loop logs the counters once per second.
func TestManySIGUSR1(t *testing.T) {
	t.Parallel()
	a, _ := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	first, second := p.Log.Expect(testenv.Contains("msg=counters")), p.Log.ExpectN(2, testenv.Contains("msg=counters"))
	start := time.Now()
	p.Signal(t, unix.SIGUSR1)
	first.Await(t)
	for !second.Wait(time.Millisecond) {
		p.Signal(t, unix.SIGUSR1)
	}
	if took := time.Since(start); took < time.Second {
		t.Errorf("logged twice in %v", took)
	}
}

// The parser knows the name of an interface before the socket is bound: a frame that comes while
// the parser does not read its messages is not reported without one.
func TestMatchNameFirst(t *testing.T) {
	t.Parallel()
	ns := testenv.Net(t)
	p := testenv.Watch(t, ns, testenv.Options{}, "--match", "m*")
	child := p.Child(t)
	testenv.Must(t, unix.Kill(child, unix.SIGSTOP))
	testenv.Must(t, ns.Batch("link add m0 type veth peer name q0\nlink set m0 up\nlink set q0 up\n"+
		strings.Repeat("link set m0 mtu 1400\nlink set m0 mtu 1500\n", 20)))
	port := testenv.Host{Namespace: ns, Name: "q0"}.Port(t)
	for range 20 {
		testenv.Must(t, port.Send(request(macC, "10.0.0.1").Bytes()))
	}
	testenv.Must(t, unix.Kill(child, unix.SIGCONT))
	heardOn(t, ns, p, "m0", "q0", "10.0.0.1")
}
