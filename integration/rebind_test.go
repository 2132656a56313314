package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// A replacement changes which interface has the name va, in a namespace where va and vx exist
// and are up, each with a peer, vb and vy. Afterwards an interface va exists and is up.
type replacement struct {
	name string
	do   func(t *testing.T, ns, other *testenv.Namespace, index int)
	peer string // of va afterwards
}

var replacements = []replacement{
	{"lent to another namespace and returned", func(t *testing.T, ns, other *testenv.Namespace, _ int) {
		testenv.Must(t, ns.IP("link", "set", "va", "netns", other.Path()))
		testenv.Must(t, other.IP("link", "set", "va", "netns", ns.Path()))
		testenv.Must(t, ns.IP("link", "set", "va", "up"))
	}, "vb"},
	{"created again under the same index", func(t *testing.T, ns, _ *testenv.Namespace, index int) {
		testenv.Must(t, ns.Batch(fmt.Sprintf("link del va\nlink add va index %d type veth peer name vb\nlink set va up\nlink set vb up\n", index)))
	}, "vb"},
	{"created again", func(t *testing.T, ns, _ *testenv.Namespace, _ int) {
		testenv.Must(t, ns.Batch("link del va\nlink add va type veth peer name vb\nlink set va up\nlink set vb up\n"))
	}, "vb"},
	{"names swapped", func(t *testing.T, ns, _ *testenv.Namespace, _ int) {
		testenv.Must(t, ns.Batch("link set va down\nlink set vx down\n"+
			"link set va name tmp\nlink set vx name va\nlink set tmp name vx\nlink set va up\nlink set vx up\n"))
	}, ""},
}

// rebindPair creates va and vx with their peers in a namespace, and quiet links whose changes fill
// the monitor's queue.
func rebindPair(t *testing.T) *testenv.Namespace {
	t.Helper()
	ns := testenv.Net(t)
	testenv.Must(t, ns.Batch(`link add va type veth peer name vb
link add vx type veth peer name vy
link add noise type veth peer name noisepeer
link set va up
link set vb up
link set vx up
link set vy up
`))
	return ns
}

// indexOf returns an interface's index.
func indexOf(t *testing.T, ns *testenv.Namespace, name string) int {
	t.Helper()
	var index int
	testenv.Must(t, ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
			return err
		}
		index = int(ifr.Uint32())
		return nil
	}))
	return index
}

// lostMessages returns how many messages to subscribers of interface changes the kernel dropped
// in the namespace, where the program is the only one.
func lostMessages(t *testing.T, ns *testenv.Namespace) string {
	t.Helper()
	return subscriber(t, ns)[8]
}

// subscriber returns the columns of the only subscriber to interface changes in the namespace: its
// address, protocol, port, groups, memory read and written, dump, references, drops, inode.
func subscriber(t *testing.T, ns *testenv.Namespace) []string {
	t.Helper()
	var sockets []byte
	testenv.Must(t, ns.Do(func() (err error) {
		sockets, err = os.ReadFile("/proc/thread-self/net/netlink")
		return err
	}))
	for line := range strings.Lines(string(sockets)) {
		if f := strings.Fields(line); len(f) == 10 && f[3] == "00000001" {
			return f
		}
	}
	t.Fatal("no subscriber in /proc/net/netlink")
	return nil
}

// loseMessages changes interfaces until the kernel drops messages to the stopped monitor.
func loseMessages(t *testing.T, ns *testenv.Namespace) {
	t.Helper()
	for before := lostMessages(t, ns); lostMessages(t, ns) == before; {
		testenv.Must(t, ns.Batch(strings.Repeat("link set noise mtu 1400\nlink set noise mtu 1500\n", 100)))
	}
}

// heard sends frames through an interface's peer until one gives a line.
func heard(t *testing.T, ns *testenv.Namespace, p *testenv.Program, peer, ip string) {
	t.Helper()
	seen := p.Lines.Expect(testenv.IP(ip))
	port, err := testenv.Host{Namespace: ns, Name: peer}.Open()
	testenv.Must(t, err)
	defer port.Close()
	for deadline := time.Now().Add(testenv.Patience); !seen.Wait(10 * time.Millisecond); {
		if time.Now().After(deadline) {
			t.Fatalf("no frame is seen; the program's log:\n%s", strings.Join(p.Log.Seen(), "\n"))
		}
		if err := port.Send(request(macC, ip).Bytes()); err != nil && !errors.Is(err, unix.ENETDOWN) {
			testenv.Must(t, err)
		}
	}
}

// The interface of a name is replaced many times, while the kernel's messages are lost and the
// monitor is slowed down. After each time a frame gives its line.
func TestReplacedWhileMessagesAreLost(t *testing.T) {
	const rounds = 25 // of each replacement
	slowed := map[string]func(t *testing.T, p *testenv.Program) (resume func()){
		"stopped": func(t *testing.T, p *testenv.Program) func() {
			p.Signal(t, unix.SIGSTOP)
			return func() { p.Signal(t, unix.SIGCONT) }
		},
		"nice": func(t *testing.T, p *testenv.Program) func() {
			testenv.Must(t, unix.Setpriority(unix.PRIO_PROCESS, p.Pid(), 19))
			return func() {}
		},
		"a tenth of a processor": func(t *testing.T, p *testenv.Program) func() {
			stop, stopped := make(chan bool), make(chan bool)
			ticker := time.NewTicker(5 * time.Millisecond)
			go func() {
				defer close(stopped)
				for i := 0; ; i++ {
					select {
					case <-ticker.C:
						_ = unix.Kill(p.Pid(), map[bool]unix.Signal{true: unix.SIGCONT, false: unix.SIGSTOP}[i%10 == 0])
					case <-stop:
						_ = unix.Kill(p.Pid(), unix.SIGCONT)
						return
					}
				}
			}()
			return func() { ticker.Stop(); close(stop); <-stopped }
		},
	}
	for _, r := range replacements {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			ns, other := rebindPair(t), testenv.Net(t)
			p := testenv.Watch(t, ns, testenv.Options{}, "va")
			round := 0
			for how, slow := range slowed {
				for range rounds / len(slowed) {
					round++
					resume := slow(t, p)
					if how == "stopped" {
						loseMessages(t, ns)
					} else {
						testenv.Must(t, ns.Batch(strings.Repeat("link set noise mtu 1400\nlink set noise mtu 1500\n", 100)))
					}
					r.do(t, ns, other, indexOf(t, ns, "va"))
					resume()
					peer := r.peer
					if peer == "" {
						peer = []string{"vb", "vy"}[round%2]
					}
					heard(t, ns, p, peer, fmt.Sprintf("10.0.0.%d", round))
				}
			}
		})
	}
}

// netlinkSocket returns a copy of one of the monitor's rtnetlink sockets: the subscriber to changes
// of interfaces, or the one that lists them.
func netlinkSocket(t *testing.T, p *testenv.Program, subscriber bool) int {
	t.Helper()
	testenv.Require(t, testenv.Root) // only root can access the monitor's descriptors
	pidfd := openProcess(t, p.Pid())
	for number := range 64 {
		fd, err := unix.PidfdGetfd(pidfd, number, 0)
		if errors.Is(err, unix.EBADF) {
			continue
		}
		testenv.Must(t, err)
		name, err := unix.Getsockname(fd)
		if netlink, ok := name.(*unix.SockaddrNetlink); ok && err == nil && (netlink.Groups != 0) == subscriber {
			t.Cleanup(func() { unix.Close(fd) })
			return fd
		}
		testenv.Must(t, unix.Close(fd))
	}
	t.Fatalf("the monitor has no such socket (subscriber: %v)", subscriber)
	return -1
}

// cut makes the kernel drop each message for a socket before it reaches the queue, without an
// error.
func cut(t *testing.T, fd int) {
	t.Helper()
	testenv.Must(t, unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET}}))
}

// No message reaches the monitor. It detects that a socket is not bound to the interface of its
// name, binds it again, reports and counts that, and feeds the watchdog again.
func TestReplacedWithoutMessages(t *testing.T) {
	for _, r := range replacements {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			ns, other := rebindPair(t), testenv.Net(t)
			env, said := serviceManager(t)
			p := testenv.Watch(t, ns, testenv.Options{Env: append(env, "WATCHDOG_USEC=200000")}, "va")
			heard(t, ns, p, "vb", "10.0.0.1")
			cut(t, netlinkSocket(t, p, true))
			again := p.Log.Expect(testenv.Contains(`msg="interface changed without a message of the kernel, bound again" interface=va`))
			index := indexOf(t, ns, "va")
			p.Signal(t, unix.SIGSTOP) // it would count twice if it saw the time without an interface, too
			r.do(t, ns, other, index)
			p.Signal(t, unix.SIGCONT)
			again.Await(t)
			fed := said.Expect(testenv.Contains("WATCHDOG=1"))
			peer := r.peer
			if peer == "" {
				peer = "vy"
			}
			heard(t, ns, p, peer, "10.0.0.2")
			fed.Await(t)
			p.Stop(t)
			if log := strings.Join(p.Log.WaitEnd(t), "\n"); !strings.Contains(log, " rebound=1") {
				t.Errorf("not counted once:\n%s", log)
			}
		})
	}
}

// An interface that was deleted without a message is not reported as watched.
func TestDeletedWithoutMessages(t *testing.T) {
	t.Parallel()
	ns := rebindPair(t)
	env, _ := serviceManager(t)
	p := testenv.Watch(t, ns, testenv.Options{Env: append(env, "WATCHDOG_USEC=200000")}, "va")
	heard(t, ns, p, "vb", "10.0.0.1")
	cut(t, netlinkSocket(t, p, true))
	gone := p.Log.Expect(testenv.Contains(`msg="interface is gone, waiting for it" interface=va`))
	testenv.Must(t, ns.IP("link", "del", "va"))
	gone.Await(t)
}

// A name comes and goes while the monitor compares its bindings with lists of all interfaces. Each
// change is counted once: the state of a list and that of a message that is older than the list do
// not alternate.
func TestChangesWhileCompared(t *testing.T) {
	t.Parallel()
	const rounds, changes = 20, 10 // so few that one queue holds them
	ns := rebindPair(t)
	add, del := "link property add dev va altname coming\n", "link property del dev va altname coming\n"
	testenv.Must(t, ns.Batch(add))
	env, _ := serviceManager(t)
	path := filepath.Join(metricsDir(t), "maas.prom")
	p := testenv.Watch(t, ns, testenv.Options{Env: append(env, "WATCHDOG_USEC=20000")}, "--metrics-file", path, "--stats-interval", "1s", "coming")
	heard(t, ns, p, "vb", "10.0.0.1")
	await := func(what string, met func() bool) {
		t.Helper()
		for deadline := time.Now().Add(testenv.Patience); !met(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s; the program's log:\n%s", what, strings.Join(p.Log.Seen(), "\n"))
			}
		}
	}
	for range rounds {
		testenv.Must(t, ns.Batch(strings.Repeat(del+add, changes/2)))
		await("the monitor does not read", func() bool { return subscriber(t, ns)[4] == "0" })
	}
	if lost := lostMessages(t, ns); lost != "0" {
		t.Fatalf("%s messages are lost: this test tests nothing", lost)
	}
	heard(t, ns, p, "vb", "10.0.0.2")
	var text string
	await("no metrics", func() bool {
		b, err := os.ReadFile(path)
		testenv.Must(t, err)
		text = string(b)
		return strings.Contains(text, `maas_netmon_new_total{interface="coming"} 2`+"\n")
	})
	if want := fmt.Sprintf(`maas_netmon_flaps_total{interface="coming"} %d`, rounds*changes); !strings.Contains(text, want+"\n") {
		t.Errorf("no %q in\n%s", want, text)
	}
	p.Stop(t)
	if log := strings.Join(p.Log.WaitEnd(t), "\n"); !strings.Contains(log, " rebound=0") {
		t.Errorf("a change is taken for one without a message:\n%s", log)
	}
}

// The kernel gives no list of the interfaces for a while, as when memory is short. The program goes
// on, and does not feed the watchdog.
func TestNoList(t *testing.T) {
	t.Parallel()
	ns := rebindPair(t)
	env, said := serviceManager(t)
	p := testenv.Watch(t, ns, testenv.Options{Env: append(env, "WATCHDOG_USEC=200000")}, "va")
	said.Expect(testenv.Contains("WATCHDOG=1")).Await(t)
	const message = `msg="cannot follow interfaces" err="list interfaces: resource temporarily unavailable"`
	lister := netlinkSocket(t, p, false)
	failed := p.Log.Expect(testenv.Contains(message))
	cut(t, lister)
	failed.Await(t)
	fed := said.Expect(testenv.Contains("WATCHDOG=1"))
	p.Log.ExpectN(2, testenv.Contains(message)).Await(t)
	if fed.Met() {
		t.Error("the watchdog is fed, but nobody knows whether the interface is watched")
	}
	testenv.Must(t, unix.SetsockoptInt(lister, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
	fed.Await(t)
	heard(t, ns, p, "vb", "10.0.0.1")
	p.Stop(t)
}
