package privsep

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// childFlag makes the test binary act as the parser, or as a process that is not a parser.
const childFlag = "--privsep-test="

func init() { runtime.LockOSThread() } // to the main thread, whose children are counted

func TestMain(m *testing.M) {
	if len(os.Args) == 2 {
		if role, ok := strings.CutPrefix(os.Args[1], childFlag); ok {
			unix.Exit(child(role)) // os.Exit warns on standard error under go test -cover
		}
	}
	// The first step of CloseStray; its own test covers the rest.
	if err := unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC); err != nil && err != unix.ENOSYS && err != unix.EINVAL {
		panic(err)
	}
	os.Exit(m.Run())
}

// child is the other process. It reports in Values, or on standard error if started by hand.
func child(role string) int {
	switch role {
	case "parser":
		c, err := Inherit()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 10
		}
		if err := DieWithParent(c); err != nil {
			return 11
		}
		if err := SetName("a-name-of-a-process"); err != nil {
			return 12
		}
		m := Message{Type: Hello}
		m.Values[0] = uint64(len(os.Environ()))
		m.Values[1] = uint64(len(descriptors()))
		if err := c.Send(m); err != nil {
			return 14
		}
		// Until the monitor ends.
		if _, err := c.Receive(-1); err != nil {
			return 0
		}
		return 15
	case "early parser":
		// Does nothing but live, and never requests a signal.
		c, err := Inherit()
		if err != nil {
			return 16
		}
		if err := c.Send(Message{Type: Hello}); err != nil {
			return 17
		}
		select {}
	case "parser without a request":
		// Some ways to start it leave no request: see launch.
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0); err != nil {
			return 18
		}
		c, err := Inherit()
		if err != nil {
			return 16
		}
		if err := DieWithParent(c); err != nil {
			return 11
		}
		if err := c.Send(Message{Type: Hello}); err != nil {
			return 17
		}
		select {}
	case "monitor of a parser", "monitor of an early parser", "monitor of a parser without a request":
		// Starts a parser and waits to be killed.
		parser := strings.TrimLeft(strings.TrimPrefix(role, "monitor of a"), "n ")
		c, err := Launch([]string{"test", childFlag + parser})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 20
		}
		if _, err := c.Receive(soon); err != nil {
			return 21
		}
		fmt.Println(c.Pid())
		select {}
	case "stray", "stray but 5":
		keep := -1
		if role != "stray" {
			keep = 5
		}
		if err := CloseStray(keep); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 30
		}
		for _, d := range descriptors()[3:] {
			// The netpoller's descriptors, created for the directory that CloseStray reads.
			if !strings.Contains(d, "anon_inode:[event") {
				fmt.Println(d)
			}
		}
		return 0
	case "by hand":
		if _, err := Inherit(); !errors.Is(err, ErrNotStarted) {
			fmt.Println(err)
			return 40
		}
		return 0
	case "launch", "plain":
		if err := launchAs(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 60
		}
		return 0
	case "naked":
		if err := naked(); err != nil && err != io.EOF {
			fmt.Fprintln(os.Stderr, err)
			return 60
		}
		return 0
	case "no way":
		if err := noWay(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 60
		}
		return 0
	case "settings":
		fmt.Printf("%q %d %v %d", os.Environ(), debug.SetGCPercent(100), debug.SetMemoryLimit(-1) == math.MaxInt64, runtime.GOMAXPROCS(0))
		return 0
	case "hungry":
		// As much as there is, and some more.
		var now unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_AS, &now); err != nil {
			return 70
		}
		now.Cur = 3 << 30
		if err := unix.Setrlimit(unix.RLIMIT_AS, &now); err != nil {
			return 71
		}
		var held [][]byte
		for range 100 {
			held = append(held, make([]byte, 64<<20))
		}
		return len(held)
	case "stdout":
		if err := CheckStdout(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 50
		}
		return 0
	}
	return 99
}

// descriptors lists the open descriptors without opening any, except those of the Go runtime of a
// test binary: the files of its cgroup's CPU limit.
func descriptors() []string {
	var found []string
	for fd := range 128 {
		kind, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err == nil && !strings.HasPrefix(kind, "/sys/fs/cgroup/") {
			found = append(found, fmt.Sprintf("%d is %s", fd, kind))
		}
	}
	return found
}

// startParser starts the test binary as the parser.
func startParser(t *testing.T) *Child {
	t.Helper()
	c, err := Launch([]string{"test", childFlag + "parser"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLaunch(t *testing.T) {
	// The child must not receive the descriptor, for any number.
	r, _ := pipe(t)
	if _, err := unix.FcntlInt(uintptr(r), unix.F_DUPFD_CLOEXEC, 40); err != nil {
		t.Fatal(err)
	}
	c := startParser(t)
	defer c.Close()
	m, err := c.Receive(soon)
	if err != nil {
		t.Fatal(err)
	}
	if m.Values[0] != 2 {
		t.Errorf("%d variables in the environment, want GOTRACEBACK and GOMAXPROCS alone", m.Values[0])
	}
	if m.Values[1] != 4 {
		t.Errorf("%d descriptors, want standard input, output, error and the control socket", m.Values[1])
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", c.Pid()))
	if want := "a-name-of-a-pro\n"; err != nil || string(comm) != want {
		t.Errorf("name is %q, %v, want %q", comm, err, want)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if status, err := c.Wait(); err != nil || !status.Exited() || status.ExitStatus() != 0 {
		t.Errorf("ended with %v, %v, want exit status 0", status, err)
	}
	c.Kill() // no effect on a process that has ended
}

func TestKill(t *testing.T) {
	c := startParser(t)
	defer c.Close()
	if _, err := c.Receive(soon); err != nil {
		t.Fatal(err)
	}
	c.Kill()
	if status, err := c.Wait(); err != nil || !status.Signaled() || status.Signal() != unix.SIGKILL {
		t.Errorf("ended with %v, %v, want SIGKILL", status, err)
	}
}

// A parser ends with its monitor, also before it has requested that itself, and if the request was
// cleared when it started.
func TestChildDiesWithParent(t *testing.T) {
	for _, role := range []string{"monitor of a parser", "monitor of an early parser", "monitor of a parser without a request"} {
		t.Run(role, func(t *testing.T) { childDiesWith(t, role) })
	}
}

func childDiesWith(t *testing.T, role string) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	monitor := exec.Command(exe, childFlag+role)
	monitor.Stderr = os.Stderr
	stdout, err := monitor.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, scanErr := fmt.Fscan(stdout, &pid)
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err := monitor.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = monitor.Wait()
	if scanErr != nil || err != nil {
		t.Fatal(scanErr, err)
	}
	defer unix.Close(pidfd)
	// A pidfd is readable once its process has ended.
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(soon.Milliseconds()))
	if n != 1 || err != nil {
		t.Errorf("the parser outlives its monitor: %d, %v", n, err)
		if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil {
			t.Error(err)
		}
	}
}

// runChild runs the test binary in a role and returns what it printed.
func runChild(t *testing.T, role string, alter func(*exec.Cmd)) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, childFlag+role)
	alter(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s%v", out, err)
	}
	return string(out)
}

func TestCloseStray(t *testing.T) {
	secret, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	for _, c := range []struct {
		name  string
		files []*os.File
	}{
		{"none", nil},
		{"one", []*os.File{secret}},
		{"many", slices.Repeat([]*os.File{secret}, 20)},
	} {
		if got := runChild(t, "stray", func(cmd *exec.Cmd) { cmd.ExtraFiles = c.files }); got != "" {
			t.Errorf("%s: still open: %s", c.name, got)
		}
	}
	got := runChild(t, "stray but 5", func(cmd *exec.Cmd) { cmd.ExtraFiles = slices.Repeat([]*os.File{secret}, 20) })
	if want := "5 is /etc/passwd\n"; got != want {
		t.Errorf("still open but the one to keep: %q, want %q", got, want)
	}
}

func TestInheritByHand(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	other := func(kind int) *os.File {
		fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fds[1])
		return os.NewFile(uintptr(fds[0]), "other")
	}
	stream := other(unix.SOCK_STREAM)
	defer stream.Close()
	for _, c := range []struct {
		name  string
		files []*os.File
	}{
		{"nothing", nil},
		{"a file", []*os.File{file}},
		{"a stream socket", []*os.File{stream}},
	} {
		if got := runChild(t, "by hand", func(cmd *exec.Cmd) { cmd.ExtraFiles = c.files }); got != "" {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	// A socket of the right type whose creator is not the parent: started through a shell.
	right := other(unix.SOCK_SEQPACKET)
	defer right.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `"$0" "$1"; exit $?`, exe, childFlag+"by hand")
	cmd.ExtraFiles = []*os.File{right}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("a socket of somebody else: %s%v", out, err)
	}
}

func TestCheckStdout(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ redirect, want string }{
		{"", ""},
		{">/dev/null", ""},
		{">&-", "standard output is closed\nexit status 50"},
		{"1</dev/null", "standard output is not open for writing\nexit status 50"},
	} {
		cmd := exec.Command("/bin/sh", "-c", `exec "$0" "$1" `+c.redirect, exe, childFlag+"stdout")
		out, err := cmd.CombinedOutput()
		got := string(out)
		if err != nil {
			got += err.Error()
		}
		if got != c.want {
			t.Errorf("%q: got %q, want %q", c.redirect, got, c.want)
		}
	}
}

// No variable of the environment changes the Go runtime.
func TestRuntimeVariables(t *testing.T) {
	got := runChild(t, "settings", func(cmd *exec.Cmd) {
		cmd.Env = []string{"GODEBUG=inittrace=1", "GOGC=7", "A=b", "GOMEMLIMIT=1GiB", "GOMAXPROCS=64", "GOTRACEBACK=crash", "GODEBUG=cgocheck=2"}
	})
	if want := `["A=b" "GOMAXPROCS=1" "GOTRACEBACK=none"] 100 true 1`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// If the Go runtime gets no memory, the process ends with one line and a status instead of a dump.
func TestOutOfMemory(t *testing.T) {
	testenv.NotRaced(t)
	got := runChild(t, "hungry", func(*exec.Cmd) {})
	const want = "maas-netmon: out of memory: Cannot allocate memory\nmaas-netmon: hint: raise LimitAS= and LimitDATA= "
	if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "\nexit status 1") || strings.Count(got, "\n") != 2 {
		t.Errorf("got %q", got)
	}
}
