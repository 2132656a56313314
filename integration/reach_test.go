package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// A target is a process to attack.
type target struct {
	pid   int
	pidfd int
	page  uintptr // the start of its memory
}

// newTarget collects the facts about a process, as root.
func newTarget(t *testing.T, pid int) target {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	testenv.Must(t, err)
	var page uintptr
	_, err = fmt.Sscanf(string(maps), "%x-", &page)
	testenv.Must(t, err)
	return target{pid, openProcess(t, pid), page}
}

// proc returns the path of a file of the process.
func (x target) proc(name string) string { return fmt.Sprintf("/proc/%d/%s", x.pid, name) }

// reads returns a reach that opens a file of /proc/PID and reads a part of it.
func reads(name string) reach {
	return reach{"read " + name, func(x target) error {
		fd, err := unix.Open(x.proc(name), unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		at := int64(0)
		if name == "mem" {
			at = int64(x.page)
		}
		_, err = unix.Pread(fd, make([]byte, 8), at)
		return err
	}}
}

// writes returns a reach that opens a file of /proc/PID for writing.
func writes(name string) reach {
	return reach{"write " + name, func(x target) error {
		fd, err := unix.Open(x.proc(name), unix.O_WRONLY, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}}
}

// lists returns a reach that lists a directory of /proc/PID.
func lists(name string) reach {
	return reach{"list " + name, func(x target) error {
		_, err := os.ReadDir(x.proc(name))
		return err
	}}
}

// follows returns a reach that reads a link of /proc/PID and opens its target.
func follows(name string) reach {
	return reach{"follow " + name, func(x target) error {
		fd, err := unix.Open(x.proc(name), unix.O_PATH, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}}
}

// getFD returns a reach that takes a descriptor from the process.
func getFD(n int) reach {
	return reach{fmt.Sprintf("pidfd_getfd %d", n), func(x target) error {
		fd, err := unix.PidfdGetfd(x.pidfd, n, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}}
}

// A reach is a way into another process.
type reach struct {
	name string
	try  func(target) error
}

var reaches = []reach{
	getFD(0), getFD(1), getFD(2),
	reads("mem"), reads("maps"), reads("smaps"), reads("environ"), reads("auxv"), reads("pagemap"),
	reads("syscall"), reads("io"), reads("timers"),
	lists("fd"), lists("fdinfo"), lists("map_files"),
	follows("exe"), follows("cwd"), follows("root"), follows("fd/0"),
	follows("ns/net"), follows("ns/user"),
	writes("mem"), writes("clear_refs"), writes("oom_score_adj"), writes("coredump_filter"), writes("comm"),
	{"process_vm_readv", func(x target) error {
		var b [1]byte
		_, err := unix.ProcessVMReadv(x.pid, []unix.Iovec{{Base: &b[0], Len: 1}},
			[]unix.RemoteIovec{{Base: x.page, Len: 1}}, 0)
		return err
	}},
	{"process_vm_writev", func(x target) error {
		var b [1]byte
		_, err := unix.ProcessVMWritev(x.pid, []unix.Iovec{{Base: &b[0], Len: 1}},
			[]unix.RemoteIovec{{Base: x.page, Len: 1}}, 0)
		if err == unix.EFAULT {
			return nil // access was permitted; only the page is not writable
		}
		return err
	}},
	{"get_robust_list", func(x target) error {
		var head, size uintptr
		return errnoOf(unix.Syscall(unix.SYS_GET_ROBUST_LIST, uintptr(x.pid),
			uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&size))))
	}},
	{"kcmp", func(x target) error {
		const vm = 1 // KCMP_VM
		return errnoOf(unix.Syscall6(unix.SYS_KCMP, uintptr(x.pid), uintptr(x.pid), vm, 0, 0, 0))
	}},
	{"PTRACE_SEIZE", func(x target) error {
		err := unix.PtraceSeize(x.pid)
		if err == nil {
			_ = unix.PtraceInterrupt(x.pid) // a process must be stopped to be detached
			err = detach(x.pid)
		}
		return err
	}},
	{"PTRACE_ATTACH", func(x target) error {
		err := unix.PtraceAttach(x.pid)
		if err == nil {
			err = detach(x.pid)
		}
		return err
	}},
}

func errnoOf(_, _ uintptr, errno syscall.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}

// detach detaches from a process that is about to stop for the calling thread, its tracer.
func detach(pid int) error {
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WALL, nil); err != nil {
		return err
	}
	return unix.PtraceDetach(pid)
}

// asNobody runs f on a thread with the credentials of the user nobody.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	done := make(chan bool)
	go func() {
		defer close(done)
		becomeNobody(t)
		f()
	}()
	<-done
}

// unknown reports whether an attempt failed because the kernel lacks the call.
func unknown(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOSYS) }

// A process of the same user cannot take the packet socket, or anything else, from either process,
// and cannot read or change its memory.
func TestSameUserCannotReachIn(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.PidFD)
	t.Parallel()
	t.Run("file capability", func(t *testing.T) {
		t.Parallel()
		cannotReachIn(t, testenv.Options{Path: testenv.CapableBinary(t, "cap_net_raw=p"), UID: nobody})
	})
	t.Run("ambient capability", func(t *testing.T) {
		t.Parallel()
		cannotReachIn(t, ambient(t))
	})
}

// ambient starts a program as nobody with an ambient capability, from a file that nobody may read.
// The protection of a program with a file capability is missing here: the kernel makes such a
// process dumpable.
func ambient(t *testing.T) testenv.Options {
	t.Helper()
	path := testenv.CapableBinary(t, "")
	testenv.Must(t, os.Chmod(path, 0o755))
	return testenv.Options{Path: path, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
		Shell: `exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps +net_raw --ambient-caps +net_raw "$0" "$@"`}
}

func cannotReachIn(t *testing.T, o testenv.Options) {
	a, _ := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, o, a.Name)
	for name, pid := range map[string]int{"monitor": p.Pid(), "parser": p.Child(t)} {
		x := newTarget(t, pid)
		tries := append([]reach{}, reaches...)
		entries, err := os.ReadDir(x.proc("fd"))
		testenv.Must(t, err)
		for _, e := range entries { // including the packet socket
			var fd int
			_, err := fmt.Sscan(e.Name(), &fd)
			testenv.Must(t, err)
			tries = append(tries, getFD(fd), follows("fd/"+e.Name()))
		}
		asNobody(t, func() {
			for _, r := range tries {
				err := r.try(x)
				if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) && !unknown(err) {
					t.Errorf("%s: %s: %v, want it refused", name, r.name, err)
				}
			}
		})
	}
}

// The same while the program starts: the parser cannot be accessed from its first instruction on,
// whether its user may read the program's file or not. An attacker with the control socket would
// receive the packet socket instead of the parser.
func TestSameUserCannotReachInAtStart(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.PidFD)
	for name, mode := range map[string]os.FileMode{"readable": 0o755, "not readable": 0o711} {
		t.Run(name, func(t *testing.T) {
			a, _ := testenv.RawPair(t)
			path := testenv.CapableBinary(t, "cap_net_raw=p")
			testenv.Must(t, os.Chmod(path, mode))
			looked := 0
			for range 10 {
				p := testenv.Start(t, a.Namespace, testenv.Options{Path: path, UID: nobody}, a.Name)
				ready := p.Log.Expect(testenv.Contains("msg=watching"))
				asNobody(t, func() {
					for !ready.Met() {
						looked += snatch(t, p.Pid())
					}
				})
				p.Stop(t)
			}
			if looked == 0 {
				t.Error("the parser was never seen while it started")
			}
		})
	}
}

// Nor can it take the packet socket from a monitor that starts, even if the kernel permits access
// at first: not while the socket is opened, which the test interrupts, and not later.
func TestSameUserCannotTakeTheSocketAtStart(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.PidFD, testenv.HoldBind)
	a, _ := testenv.RawPair(t)
	o := ambient(t)
	binds := make(chan testenv.Bind)
	o.Binds = binds
	p := testenv.Start(t, a.Namespace, o, a.Name)
	pidfd := openProcess(t, p.Pid())
	tried := 0
	for flows := false; !flows; {
		select {
		case bind := <-binds:
			if bind.Packet {
				asNobody(t, func() { takePacketSocket(t, pidfd) })
				// The capability alone would refuse that. But the process is not dumpable either:
				// the kernel gives its files to root (proc(5)).
				var st unix.Stat_t
				testenv.Must(t, unix.Stat(fmt.Sprintf("/proc/%d/status", p.Pid()), &st))
				if st.Uid != 0 {
					t.Errorf("dumpable while it has the capability: its files belong to user %d", st.Uid)
				}
				tried++
				flows = bind.Protocol != 0
			}
			testenv.Must(t, bind.Continue())
		case <-time.After(testenv.Patience):
			t.Fatal("no packet socket was bound")
		}
	}
	if tried < 2 {
		t.Error("the opening of the socket was not seen")
	}
	testenv.ContinueAll(binds)
	p.Ready(t)
	asNobody(t, func() { takePacketSocket(t, pidfd) })
	p.Stop(t)
}

// takePacketSocket fails the test if the process lets the caller take its packet socket.
func takePacketSocket(t *testing.T, pidfd int) {
	for n := 3; n < 32; n++ {
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			continue
		}
		if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err == nil && domain == unix.AF_PACKET {
			t.Errorf("took the packet socket, descriptor %d", n)
		}
		unix.Close(fd)
	}
}

// All this depends on fs.suid_dumpable: if it is 1, the attempts above would succeed, and the
// program does not start. The setting belongs to the whole machine, so the test does not change it:
// it mounts a file in its place.
func TestSuidDumpable(t *testing.T) {
	a, _ := testenv.RawPair(t)
	capture := inputFile(t, littlePcap.File(fileSeconds, arpFrames...))
	const refused = "maas-netmon: fs.suid_dumpable is 1: any process of the user could reach into the parser while it starts\n" +
		"maas-netmon: hint: sysctl fs.suid_dumpable=0, or 2\n"
	path := filepath.Join(testenv.Dir(t), "suid_dumpable")
	start := func(mount string, args ...string) *testenv.Program {
		return testenv.Start(t, a.Namespace, testenv.Options{
			Shell: `exec unshare --mount sh -c 'mount ` + mount + ` && exec "$0" "$@"' "$0" "$@"`,
		}, args...)
	}
	for value, runs := range map[string]bool{"0\n": true, "1\n": false, "2\n": true} {
		testenv.Must(t, os.WriteFile(path, []byte(value), 0o644))
		for _, args := range [][]string{{a.Name}, {"--check", a.Name}, {"-i", capture}} {
			p := start("--bind "+path+" /proc/sys/fs/suid_dumpable", args...)
			if runs && len(args) == 1 {
				p.Ready(t)
				p.Signal(t, sigTERM)
			}
			status := p.Exit(t)
			said := strings.Join(p.Log.WaitEnd(t), "\n") + "\n"
			if runs && status != 0 || !runs && (status != 5 || said != refused) {
				t.Errorf("%q, %v: exit status %d, %q", value, args, status, said)
			}
		}
	}
	// As in the unit, which has ProcSubset=pid.
	start("-t tmpfs none /proc/sys", a.Name).Ready(t)
}

// snatch tries to take the descriptors of a child that a process may just have started, and returns
// the number of children that it tried.
func snatch(t *testing.T, parent int) (tries int) {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	for _, child := range strings.Fields(string(children)) {
		pid, err := strconv.Atoi(child)
		testenv.Must(t, err)
		pidfd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // ended
		}
		tries++
		for n := range 8 {
			if fd, err := unix.PidfdGetfd(pidfd, n, 0); err == nil {
				unix.Close(fd)
				t.Errorf("took descriptor %d out of the parser", n)
			}
		}
		unix.Close(pidfd)
	}
	return tries
}

// The same attempts succeed on an unprotected process of that user. So the protection of the
// program is what refuses them above.
func TestReachesWork(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.PidFD)
	t.Parallel()
	// Started by a shell: a wait for the end of a child would return when the child is stopped.
	cmd := exec.Command("sh", "-c", "cat; exit")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	stdin, err := cmd.StdinPipe()
	testenv.Must(t, err)
	stdout, err := cmd.StdoutPipe()
	testenv.Must(t, err)
	testenv.Must(t, cmd.Start())
	defer func() {
		stdin.Close()
		_ = cmd.Wait()
	}()
	_, err = stdin.Write([]byte("x"))
	testenv.Must(t, err)
	_, err = stdout.Read(make([]byte, 1)) // it runs
	testenv.Must(t, err)

	x := newTarget(t, testenv.ChildOf(t, cmd.Process.Pid))
	yama, _ := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	restricted := len(yama) > 0 && yama[0] != '0'
	asNobody(t, func() {
		for _, r := range reaches {
			err := r.try(x)
			if unknown(err) {
				t.Logf("%s: this kernel does not have it: %v", r.name, err)
				continue
			}
			if restricted && errors.Is(err, unix.EPERM) {
				t.Logf("%s: Yama (ptrace_scope %s) refuses it for every process", r.name, strings.TrimSpace(string(yama)))
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", r.name, err)
			}
		}
	})
}

// The same user can send signals: they end the program with a status that shows the reason, or stop
// it for some time, or have no effect. None has another effect.
func TestSignalsOfTheSameUser(t *testing.T) {
	testenv.Require(t, testenv.Root)
	path := testenv.CapableBinary(t, "cap_net_raw=p")
	start := func(t *testing.T, process string) (*testenv.Program, testenv.Host, int) {
		a, b := testenv.RawPair(t)
		p := testenv.Watch(t, a.Namespace, testenv.Options{Path: path, UID: nobody}, a.Name)
		if process == "parser" {
			return p, b, p.Child(t)
		}
		return p, b, p.Pid()
	}
	name := func(s syscall.Signal) string {
		if name := unix.SignalName(s); name != "" {
			return name
		}
		return fmt.Sprintf("signal %d", s)
	}
	send := func(t *testing.T, pidfd int, s syscall.Signal) {
		asNobody(t, func() {
			if err := unix.PidfdSendSignal(pidfd, s, nil, 0); err != nil {
				t.Errorf("signal %d: %v", s, err)
			}
		})
	}
	const killedBySignal = -1
	// The Go runtime does not handle 34, which musl uses. glibc uses 32 and 33: they end a process
	// or are ignored, depending on the parent (posix_spawn(3) ignores them).
	for process, ends := range map[string]map[syscall.Signal]int{
		"parser": {
			syscall.SIGKILL: 1, syscall.SIGABRT: 1, syscall.SIGBUS: 1, syscall.SIGFPE: 1, syscall.SIGILL: 1,
			syscall.SIGSEGV: 1, syscall.SIGSTKFLT: 1, syscall.SIGTRAP: 1, syscall.SIGXCPU: 1, syscall.SIGSYS: 5,
			34: 1,
		},
		"monitor": {
			syscall.SIGTERM: 0, syscall.SIGINT: 0, syscall.SIGHUP: 0, syscall.SIGQUIT: 0,
			syscall.SIGKILL: killedBySignal, syscall.SIGABRT: killedBySignal, syscall.SIGBUS: killedBySignal,
			syscall.SIGFPE: killedBySignal, syscall.SIGILL: killedBySignal, syscall.SIGSEGV: killedBySignal,
			syscall.SIGSTKFLT: killedBySignal, syscall.SIGTRAP: killedBySignal, syscall.SIGXCPU: killedBySignal,
			syscall.SIGSYS: killedBySignal, 34: killedBySignal,
		},
	} {
		t.Run(process+" goes on", func(t *testing.T) {
			t.Parallel()
			p, b, pid := start(t, process)
			pidfd := openProcess(t, pid)
			for s := syscall.Signal(1); s <= 64; s++ {
				if _, ok := ends[s]; !ok && s != 32 && s != 33 {
					send(t, pidfd, s)
					send(t, pidfd, syscall.SIGCONT)
				}
			}
			sendFence(t, p, b.Port(t)).Await(t)
			checkThreads(t, p, confined())
			p.Stop(t)
		})
		for s, want := range ends {
			t.Run(fmt.Sprintf("%s ends of %s", process, name(s)), func(t *testing.T) {
				t.Parallel()
				p, _, pid := start(t, process)
				parser := openProcess(t, p.Child(t))
				send(t, openProcess(t, pid), s)
				if status := p.Exit(t); status != want {
					t.Errorf("exit status %d, want %d", status, want)
				}
				if !testenv.Ended(t, parser) {
					t.Error("the parser is still there")
				}
				if want > 0 {
					got := errorLines(p.Log.WaitEnd(t))
					if len(got) != 1 || !strings.HasPrefix(got[0], "maas-netmon: the parser was killed by ") || !strings.Contains(got[0], name(s)) {
						t.Errorf("errors: %q", got)
					}
				}
			})
		}
	}
}
