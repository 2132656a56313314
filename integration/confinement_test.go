package integration

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maas-netmon/internal/testenv"
)

const nobody = 65534

// noCapability is an empty set in the form of /proc/PID/status.
const noCapability = "0000000000000000"

// checkThreads checks each thread of both processes from outside.
func checkThreads(t *testing.T, p *testenv.Program, want map[string]string) {
	t.Helper()
	for name, pid := range map[string]int{"monitor": p.Pid(), "parser": p.Child(t)} {
		threads := testenv.Status(t, pid)
		if len(threads) < 2 {
			t.Errorf("%s: %d thread, want several, as a Go program has", name, len(threads))
		}
		for _, thread := range threads {
			for field, value := range want {
				if thread[field] != value {
					t.Errorf("%s, thread %s: %s is %q, want %q", name, thread["Pid"], field, thread[field], value)
				}
			}
		}
	}
}

func confined() map[string]string {
	return map[string]string{
		"CapInh": noCapability, "CapPrm": noCapability, "CapEff": noCapability, "CapAmb": noCapability,
		"NoNewPrivs": "1", "Seccomp": "2",
	}
}

func TestConfinedAsStarted(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	checkThreads(t, p, confined())
	// Threads that the work has created are confined, too.
	sendFence(t, p, b.Port(t)).Await(t)
	checkThreads(t, p, confined())
}

// No frame arrives before both processes are confined: when the bind(2) that starts the flow is
// suspended, all their threads are confined.
func TestConfinedBeforeTheFirstFrame(t *testing.T) {
	testenv.Require(t, testenv.HoldBind)
	t.Parallel()
	a, b := testenv.RawPair(t)
	binds := make(chan testenv.Bind)
	p := testenv.Start(t, a.Namespace, testenv.Options{Binds: binds}, a.Name)
	want := confined()
	for flows := false; !flows; {
		select {
		case bind := <-binds:
			if flows = bind.Packet && bind.Protocol != 0; flows {
				checkThreads(t, p, want)
			} else {
				// The filter that suspends the bind counts, too.
				before, err := strconv.Atoi(testenv.Status(t, p.Pid())[0]["Seccomp_filters"])
				testenv.Must(t, err)
				want["Seccomp_filters"] = fmt.Sprint(before + 1)
			}
			testenv.Must(t, bind.Continue())
		case <-time.After(testenv.Patience):
			t.Fatal("no packet socket was bound")
		}
	}
	testenv.ContinueAll(binds)
	p.Ready(t)
	sendFence(t, p, b.Port(t)).Await(t)
}

// becomes returns the user and the group that a program started as root becomes: those of the
// package, if it is installed.
func becomes() (uid, gid string) {
	if u, err := user.Lookup("maas-netmon"); err == nil {
		return u.Uid, u.Gid
	}
	return "65534", "65534"
}

// Started as root, the program becomes another user and keeps no right of root.
func TestStartedAsRoot(t *testing.T) {
	testenv.Require(t, testenv.Root)
	t.Parallel()
	a, _ := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	want := confined()
	want["CapBnd"] = noCapability
	uid, gid := becomes()
	want["Uid"], want["Gid"] = strings.Repeat(" "+uid, 4)[1:], strings.Repeat(" "+gid, 4)[1:]
	want["Groups"] = ""
	checkThreads(t, p, want)

	// Only the group may execute the package's file, and so start the second process.
	p = testenv.Watch(t, a.Namespace, testenv.Options{Path: testenv.CapableBinary(t, "")}, "--user", "daemon", a.Name)
	want["Uid"], want["Gid"] = "1 1 1 1", "1 1 1 1"
	checkThreads(t, p, want)

	// A number needs no entry in the user database.
	p = testenv.Watch(t, a.Namespace, testenv.Options{Path: testenv.CapableBinary(t, "")}, "--user", "54321", a.Name)
	want["Uid"], want["Gid"] = "54321 54321 54321 54321", "54321 54321 54321 54321"
	checkThreads(t, p, want)
}

// Started as root, the program empties its bounding set before it has threads. Without CAP_NET_RAW
// it leaves the set alone, so that its hint can name the cause.
func TestBoundingSetBeforeThreads(t *testing.T) {
	testenv.Require(t, testenv.Root)
	for _, c := range []struct{ name, start, want string }{
		{"with every capability", "", noCapability},
		{"with two", "setpriv --bounding-set -all,+net_raw,+setpcap", noCapability},
		{"without CAP_NET_RAW", "setpriv --bounding-set -all,+setpcap", "0000000000000100"},
		{"another user", "setpriv --bounding-set -all,+net_raw --reuid 65534 --clear-groups", "0000000000002000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			attack := testenv.TestBin(t, "attack")
			command := exec.Command("sh", "-c", "exec "+c.start+` "$0" --attack idle`, attack)
			ready, err := command.StdoutPipe()
			testenv.Must(t, err)
			testenv.Must(t, command.Start())
			defer func() { _, _ = command.Process.Kill(), command.Wait() }()
			_, err = io.ReadFull(ready, make([]byte, len("ready")))
			testenv.Must(t, err)
			for _, thread := range testenv.Status(t, command.Process.Pid) {
				if got := thread["CapBnd"]; got != c.want {
					t.Errorf("thread %s: the bounding set is %s, want %s", thread["Pid"], got, c.want)
				}
			}
		})
	}
}

// The usual installation: a file capability and an ordinary user, without other privileges.
func TestFileCapability(t *testing.T) {
	testenv.Require(t, testenv.Root)
	for _, c := range []struct {
		capability string
		mode       os.FileMode
	}{
		{"cap_net_raw=p", 0o755},
		{"cap_net_raw=ep", 0o755},
		{"cap_net_raw=p", 0o711}, // the parser is executed from the file that has the capability
	} {
		t.Run(fmt.Sprint(c.capability, " ", c.mode), func(t *testing.T) {
			t.Parallel()
			a, b := testenv.RawPair(t)
			path := testenv.CapableBinary(t, c.capability)
			testenv.Must(t, os.Chmod(path, c.mode))
			p := testenv.Watch(t, a.Namespace, testenv.Options{Path: path, UID: nobody}, a.Name)
			want := confined()
			want["Uid"], want["Gid"] = "65534 65534 65534 65534", "65534 65534 65534 65534"
			checkThreads(t, p, want)
			sendFence(t, p, b.Port(t)).Await(t)

			// Binding to the interface again needs no capability.
			back := p.Log.Expect(testenv.Contains("interface is back"))
			testenv.Must(t, a.IP("link", "del", a.Name))
			a, b, err := testenv.Connect(a.Namespace, "va", testenv.MACA, b.Namespace, "vb", testenv.MACB)
			testenv.Must(t, err)
			back.Await(t)
			up := p.Log.Expect(testenv.Contains("interface is up"))
			testenv.Must(t, a.Up())
			testenv.Must(t, b.Up())
			up.Await(t)
			seen := p.Lines.Expect(testenv.IP("10.0.0.77"))
			testenv.Must(t, b.Port(t).Send(request(macC, "10.0.0.77").Bytes()))
			seen.Await(t)
		})
	}
}

// descriptors returns the number and the type of each descriptor of a process.
func descriptors(t *testing.T, pid int) []string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrPermission) {
		testenv.Require(t, testenv.Root) // to inspect an undumpable process
	}
	testenv.Must(t, err)
	var got []string
	for _, e := range entries {
		kind, err := os.Readlink(filepath.Join(dir, e.Name()))
		testenv.Must(t, err)
		kind, _, _ = strings.Cut(kind, ":[")
		got = append(got, e.Name()+" "+kind)
	}
	return got
}

// The parser has only the descriptors that it needs, for any descriptors that the program was
// started with.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	a, _ := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace,
		testenv.Options{Shell: `exec 7</etc/passwd 8</etc/group 9</; exec "$0" "$@"`}, a.Name)
	want := []string{
		"0 /dev/null", "1 pipe", "2 pipe", "3 socket", // standard streams, control
		"4 anon_inode", "5 anon_inode", // of the Go netpoller
		"6 socket", // of the interface
	}
	if diff := cmp.Diff(want, descriptors(t, p.Child(t))); diff != "" {
		t.Errorf("descriptors of the parser (-want +got):\n%s", diff)
	}
	for _, held := range descriptors(t, p.Pid()) {
		switch _, kind, _ := strings.Cut(held, " "); kind {
		case "/etc/passwd", "/etc/group", "/":
			t.Errorf("the monitor kept descriptor %s", held)
		}
	}
}

// A capability is raised for one call, and no other capability with it, although root has all.
func TestOneCapabilityForOneCall(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.HoldBind)
	t.Parallel()
	a, _ := testenv.RawPair(t)
	binds := make(chan testenv.Bind)
	p := testenv.Start(t, a.Namespace, testenv.Options{Binds: binds}, a.Name)
	const netRaw, netAdmin = "0000000000002000", "0000000000001000"
	seen := map[string]bool{}
	for flows := false; !flows; {
		select {
		case bind := <-binds:
			want := netAdmin // the rtnetlink socket, for a longer queue
			if bind.Packet {
				want = netRaw
				flows = bind.Protocol != 0
			}
			if !flows { // while the socket is opened
				seen[want] = true
				for _, thread := range testenv.Status(t, p.Pid()) {
					if thread["CapEff"] != want {
						t.Errorf("thread %s: CapEff is %s, want %s", thread["Pid"], thread["CapEff"], want)
					}
				}
			}
			testenv.Must(t, bind.Continue())
		case <-time.After(testenv.Patience):
			t.Fatal("no packet socket was bound")
		}
	}
	if len(seen) != 2 {
		t.Error("the opening of the sockets was not seen")
	}
	testenv.ContinueAll(binds)
	p.Ready(t)
}
