package integration

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"maas-netmon/internal/testenv"
)

// The program works for any state of a process that a service manager, a shell or a user may leave.
func TestStartedAnyhow(t *testing.T) {
	path := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, c := range []struct {
		name  string
		shell string
		env   []string
		root  bool
		quiet bool // it prints only its own log
	}{
		{name: "standard input closed", shell: `exec "$0" "$@" <&-`},
		{name: "locked memory forbidden", shell: `ulimit -l 0; exec "$0" "$@"`},
		{name: "umask", shell: `umask 0777; exec "$0" "$@"`},
		{name: "signals ignored", shell: `trap '' TERM INT HUP QUIT PIPE CHLD USR1; exec "$0" "$@"`},
		{name: "large stacks", shell: `ulimit -s 900000; exec "$0" "$@"`},
		{name: "small stacks", shell: `ulimit -Ss 256; exec "$0" "$@"`},
		{name: "a time zone that is a pipe", shell: fmt.Sprintf(`mkfifo %s; TZ=%[1]s LOG_LEVEL=x exec "$0" "$@"`, filepath.Join(testenv.Dir(t), "fifo")), env: []string{"PATH=/usr/bin:/bin"}},
		{name: "working directory deleted", shell: `d=$(mktemp -d); cd "$d"; rmdir "$d"; exec "$0" "$@"`},
		{name: "many descriptors", shell: `exec 3</ 4</ 5</ 6</ 7</ 8</ 9</; exec "$0" "$@"`},
		{name: "a path of the C library", shell: `exec "$0" "$@"`, env: []string{"LD_PRELOAD=/no/such", "GLIBC_TUNABLES=glibc.malloc.arena_max=9"}},
		{name: "settings of the Go runtime", shell: `exec "$0" "$@"`, quiet: true,
			env: []string{"GODEBUG=gctrace=1,schedtrace=10,updatemaxprocs=1,containermaxprocs=1", "GOGC=1", "GOMAXPROCS=64", "GOTRACEBACK=crash", "GOMEMLIMIT=1MiB"}},
		{name: "settings that end the Go runtime", shell: `exec "$0" "$@"`, quiet: true,
			env: []string{"GODEBUG=cgocheck=2,checkfinalizers=1,inittrace=1"}},
		{name: "read-only root", root: true, env: path, quiet: true,
			shell: `exec unshare -m sh -c 'mount --make-rprivate / && mount -o remount,bind,ro / && ! touch /file 2>/dev/null && exec "$0" "$@"' "$0" "$@"`},
		{name: "a time zone", shell: `exec "$0" "$@"`, env: []string{"TZ=Asia/Kathmandu"}},
		{name: "a time zone that is not there", shell: `exec "$0" "$@"`, env: []string{"TZ=No/Where"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root {
				testenv.Require(t, testenv.Root)
			}
			t.Parallel()
			a, b := testenv.RawPair(t)
			p := testenv.Watch(t, a.Namespace, testenv.Options{Shell: c.shell, Env: c.env}, a.Name)
			sendFence(t, p, b.Port(t)).Await(t)
			for _, pid := range []int{p.Pid(), p.Child(t)} {
				// A stack of the caller's size for each thread would be more.
				var size int
				_, err := fmt.Sscanf(testenv.Status(t, pid)[0]["VmSize"], "%d kB", &size)
				testenv.Must(t, err)
				if size > 2<<20 {
					t.Errorf("process %d has %d MiB of address space", pid, size>>10)
				}
			}
			p.Stop(t)
			if got := errorLines(p.Log.WaitEnd(t)); len(got) != 0 {
				t.Errorf("errors %q", got)
			}
			for _, line := range p.Log.WaitEnd(t) {
				if c.quiet && !strings.Contains(line, "level=") {
					t.Errorf("not a line of the log: %s", line)
				}
			}
		})
	}
}

// With standard error closed there are no messages; the lines are printed nevertheless, and no
// message appears among them.
func TestStandardErrorClosed(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := testenv.Start(t, a.Namespace, testenv.Options{Shell: `exec "$0" "$@" 2>&-`}, a.Name)
	sendUntilSeen(t, p, b.Port(t))
	p.Stop(t)
	for _, l := range p.Lines.WaitEnd(t) {
		if l.Event == "" {
			t.Errorf("no event among the lines: %s", l)
		}
	}
}

// Too few descriptors give an ordinary error, not a crash or a hang; and if they are enough to
// start, they are enough to run.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	var started, refused int
	for n := 4; n <= 24; n++ {
		p := testenv.Start(t, a.Namespace, testenv.Options{Shell: fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, n)}, a.Name)
		if want := fmt.Sprintf("maas-netmon: %d open files are allowed, 21 are needed", n); n < 21 {
			refused++
			if status := p.Exit(t); status != 1 {
				t.Errorf("%d descriptors: exit status %d", n, status)
			}
			if got := p.Log.WaitEnd(t); len(got) != 2 || got[0] != want || !strings.Contains(got[1], "hint: ulimit -n 21") {
				t.Errorf("%d descriptors: %q", n, got)
			}
			continue
		}
		started++
		p.Ready(t)
		sendFence(t, p, b.Port(t)).Await(t)
		p.Stop(t)
	}
	t.Logf("%d started, %d refused", started, refused)
}

// The kernel may free the inodes of /proc at any time. The program starts nevertheless: Landlock's
// rule for the list of threads is about one inode.
func TestStartWhileMemoryIsFreed(t *testing.T) {
	testenv.Require(t, testenv.CgroupMemory)
	t.Parallel()
	ns := testenv.Net(t)
	memory := testenv.NewMemory(t)
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		var err error
		for err == nil {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
				err = memory.Reclaim()
			}
		}
		<-stop
		stopped <- err
	}()
	// Each start failed half of the time when the rule's inode was not kept.
	for range 20 {
		status, _, stderr := testenv.Run(t, ns, testenv.Options{Shell: memory.Shell()}, "--check", "lo")
		if status != 0 {
			t.Errorf("exit status %d: %s", status, stderr)
			break
		}
	}
	close(stop)
	testenv.Must(t, <-stopped)
}

// The parser has one descriptor per interface, and no others.
func TestDescriptorsOfInterfaces(t *testing.T) {
	testenv.Require(t, testenv.Root) // to inspect an undumpable process
	t.Parallel()
	ns := testenv.Net(t)
	var names []string
	for i := range 8 {
		names = append(names, fmt.Sprintf("va%d", i))
		testenv.Must(t, ns.IP("link", "add", names[i], "type", "veth", "peer", "name", fmt.Sprintf("vb%d", i)))
	}
	count := func(names ...string) int {
		p := testenv.Watch(t, ns, testenv.Options{}, names...)
		entries, err := os.ReadDir(filepath.Join("/proc", fmt.Sprint(p.Child(t)), "fd"))
		testenv.Must(t, err)
		return len(entries)
	}
	one, eight := count(names[0]), count(names...)
	if eight-one != 7 {
		t.Errorf("%d descriptors with one interface, %d with eight", one, eight)
	}
}

// The program starts without /dev, as in a container that has none.
func TestNoDev(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{
		Shell: `exec unshare --mount sh -c 'mount -t tmpfs -o ro tmpfs /dev && exec "$0" "$@"' "$0" "$@"`,
	}, a.Name)
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/dev/null", p.Pid())); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("/dev/null: %v", err)
	}
	sendFence(t, p, b.Port(t)).Await(t)
	p.Stop(t)
}
