package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// The reader of standard error stalls: the program continues, and ends at once when stopped.
func TestErrorReaderStalls(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	_, w := testenv.FullPipe(t)
	p := testenv.Start(t, a.Namespace, testenv.Options{Stderr: w}, a.Name)
	sendUntilSeen(t, p, b.Port(t))
	p.Stop(t)
	// An error that is not read still has its exit status.
	if status := testenv.Start(t, a.Namespace, testenv.Options{Stderr: w}, "eth9").Exit(t); status != 1 {
		t.Errorf("exit status %d", status)
	}
}

// The program does not wait for a service manager that does not read.
func TestServiceManagerStalls(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	path := filepath.Join(testenv.Dir(t), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	testenv.Must(t, err)
	defer manager.Close()
	testenv.Must(t, os.Chmod(path, 0o777))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	testenv.Must(t, err)
	defer unix.Close(fd)
	for err == nil {
		err = unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrUnix{Name: path})
	}
	if err != unix.EAGAIN {
		t.Fatal(err)
	}
	full := regexp.MustCompile(`cannot notify the service manager.*resource temporarily unavailable`)
	p := testenv.Start(t, a.Namespace, testenv.Options{Env: []string{"NOTIFY_SOCKET=" + path}}, a.Name)
	p.Log.Expect(full.MatchString).Await(t)
	sendFence(t, p, b.Port(t)).Await(t)
	p.Stop(t)
}

// A full table is reported once, for any number of interfaces.
func TestEvictionsAreSaidOnce(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	for i := range 2 {
		testenv.Must(t, a.IP("link", "add", fmt.Sprintf("vx%d", i), "type", "veth", "peer", "name", fmt.Sprintf("vy%d", i)))
	}
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, "--max-bindings", "4", "vx0", a.Name, "vx1")
	port := b.Port(t)
	seen := p.Lines.Expect(testenv.IP("10.0.0.20"))
	for i := range 20 {
		testenv.Must(t, port.Send(request(macC, fmt.Sprintf("10.0.0.%d", i+1)).Bytes()))
	}
	seen.Await(t)
	p.Stop(t)
	said := 0
	for _, l := range p.Log.WaitEnd(t) {
		if strings.Contains(l, "table is full") {
			said++
			if !strings.HasSuffix(l, "lost=16") {
				t.Errorf("log: %s", l)
			}
		}
	}
	if said != 1 {
		t.Errorf("said %d times", said)
	}
}

var number = regexp.MustCompile(`/proc/\d+/`)

// Limits and mounts under which the program cannot work are an error with a hint.
func TestImpossibleSurroundings(t *testing.T) {
	for _, c := range []struct {
		name   string
		root   bool
		shell  string
		status int
		want   string
	}{
		{"no pending signals", false, `exec prlimit --sigpending=0 "$0" "$@"`, 1,
			"maas-netmon: 0 pending signals are allowed, 64 are needed\n" +
				"maas-netmon: hint: ulimit -i 64, or LimitSIGPENDING=64 in a systemd unit"},
		{"little address space", false, `exec prlimit --as=2000000000 "$0" "$@"`, 1,
			"maas-netmon: 1907 MiB of address space are allowed, 2048 are needed\n" +
				"maas-netmon: hint: ulimit -v 2097152, or LimitAS=2G in a systemd unit"},
		{"little memory", false, `exec prlimit --data=200000000 "$0" "$@"`, 1,
			"maas-netmon: 190 MiB of data are allowed, 256 are needed\n" +
				"maas-netmon: hint: ulimit -d 262144, or LimitDATA=256M in a systemd unit"},
		{"hardly any address space", false, `exec prlimit --as=12000000 "$0" "$@"`, 1,
			"maas-netmon: 11 MiB of address space are allowed, 2048 are needed\n" +
				"maas-netmon: hint: ulimit -v 2097152, or LimitAS=2G in a systemd unit"},
		{"hardly any memory", false, `exec prlimit --data=1200000 "$0" "$@"`, 1,
			"maas-netmon: 1 MiB of data are allowed, 256 are needed\n" +
				"maas-netmon: hint: ulimit -d 262144, or LimitDATA=256M in a systemd unit"},
		{"few threads", false, `exec prlimit --nproc=31 "$0" "$@"`, 1,
			"maas-netmon: 31 processes and threads are allowed, 32 are needed\n" +
				"maas-netmon: hint: ulimit -u 32, or LimitNPROC=32 in a systemd unit"},
		{"little stack", false, `exec prlimit --stack=300000 "$0" "$@"`, 1,
			"maas-netmon: 0 MiB of stack are allowed, 1 are needed\n" +
				"maas-netmon: hint: ulimit -Hs 1024, or LimitSTACK= in a systemd unit"},
		{"no /proc", true, `exec unshare -m sh -c 'umount -l /proc && exec "$0" "$@"' "$0" "$@"`, 5,
			"maas-netmon: /proc is not mounted, or is that of another process ID namespace\n" +
				"maas-netmon: hint: mount -t proc proc /proc"},
		{"/proc of another namespace", true, `exec unshare --pid --fork "$0" "$@"`, 5,
			"maas-netmon: /proc is not mounted, or is that of another process ID namespace\n" +
				"maas-netmon: hint: mount -t proc proc /proc"},
		{"just enough", false, `exec prlimit --as=2147483648 --data=268435456 "$0" --version >&2`, 0, ""},
		{"hidepid", true, `exec unshare -m sh -c 'mount -t proc -o hidepid=2 proc /proc && exec "$0" "$@"' "$0" "$@"`, 5,
			"maas-netmon: the parser is not confined: open /proc/N/task: no such file or directory\n" +
				"maas-netmon: hint: a /proc that is mounted with hidepid hides the parser from the program itself"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root {
				testenv.Require(t, testenv.Root)
			}
			t.Parallel()
			a, _ := testenv.RawPair(t)
			status, _, stderr := testenv.Run(t, a.Namespace, testenv.Options{Shell: c.shell, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}}, a.Name)
			got := number.ReplaceAllString(strings.TrimSpace(stderr), "/proc/N/")
			if status != c.status || got != c.want && c.want != "" {
				t.Errorf("exit status %d, want %d\n%s\nwant\n%s", status, c.status, got, c.want)
			}
		})
	}
}

// watchBriefly ends the program as soon as it watches, or waits until it has ended, and returns its
// exit status and its log. A program that watches can end by itself: the Go runtime can need one
// more thread at any time.
func watchBriefly(t *testing.T, p *testenv.Program) (watching bool, status int, log []string) {
	t.Helper()
	if _, watching = p.Log.Await(testenv.Contains("msg=watching")); watching {
		status = p.End(t)
	} else {
		status = p.Exit(t)
	}
	log = p.Log.WaitEnd(t)
	p.NoTrace(t)
	return watching, status, log
}

// For any limit on threads, the program runs, or ends with an error and a hint: at its start,
// when it is confined, and later. There is no dump of the Go runtime, and no kill by seccomp.
func TestFewThreads(t *testing.T) {
	testenv.Require(t, testenv.Root)
	a, _ := testenv.RawPair(t)
	path := testenv.CapableBinary(t, "cap_net_raw=p")
	// The limit is one of the user, so the user is one that only this test has.
	user := 1<<20 + os.Getpid()
	held, refused := 0, 0
	hold := func() {
		sleep := exec.Command("sleep", "10m")
		sleep.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user)}}
		testenv.Must(t, sleep.Start())
		t.Cleanup(func() { _, _ = sleep.Process.Kill(), sleep.Wait() })
		held++
	}
	for held < 12 {
		hold()
	}
	for ; held < 30; hold() {
		p := testenv.Start(t, a.Namespace, testenv.Options{Path: path, UID: user, Shell: `exec prlimit --nproc=32 "$0" "$@"`}, a.Name)
		watching, status, log := watchBriefly(t, p)
		if watching && status == 0 {
			continue
		}
		refused++
		hint := slices.ContainsFunc(log, testenv.Contains("maas-netmon: hint: raise TasksMax="))
		if status != 1 || !hint || len(errorLines(log)) > 4 {
			t.Errorf("%d threads and processes besides: exit status %d\n%s", held, status, strings.Join(log, "\n"))
		}
	}
	if refused == 0 {
		t.Error("it always ran")
	}
}

// The same if a cgroup limits processes and threads, like TasksMax= of a unit. With a limit that is
// barely sufficient, a thread can be missing only at the end. For 64 interfaces, 16 threads make
// rings at the same time. They are no reason to refuse.
func TestFewThreadsInACgroup(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.CgroupPids)
	ns := testenv.Net(t)
	names := pairs(t, ns, 64)
	for _, c := range []struct{ interfaces, from, to int }{{1, 1, 24}, {64, 8, 20}} {
		started, refused := 0, 0
		for n := c.from; n <= c.to; n++ {
			limit := testenv.NewPidsLimit(t)
			testenv.Must(t, limit.Set(n))
			p := testenv.Start(t, ns, testenv.Options{Shell: limit.Shell()}, names[:c.interfaces]...)
			_, status, log := watchBriefly(t, p)
			got := withoutLog(log)
			if half := len(got) / 2; len(got) == 4 && slices.Equal(got[:half], got[half:]) {
				got = got[:half] // a thread was missing in each process
			}
			switch {
			case status == 0 && len(got) == 0:
				started++
			case status == 1 && len(got) == 2 && strings.HasPrefix(got[0], "maas-netmon: ") && strings.HasPrefix(got[1], "maas-netmon: hint: raise TasksMax="):
				refused++
			default:
				t.Errorf("%d interfaces, %d threads: exit status %d\n%s", c.interfaces, n, status, strings.Join(got, "\n"))
			}
		}
		t.Logf("%d interfaces: %d started, %d refused", c.interfaces, started, refused)
		if started == 0 || refused == 0 {
			t.Errorf("%d interfaces: %d started, %d refused", c.interfaces, started, refused)
		}
	}
}

// withoutLog returns the lines that are not from the log.
func withoutLog(lines []string) []string {
	return slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, " level=") })
}
