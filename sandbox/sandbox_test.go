package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"maas-netmon/internal/testenv"
)

// roleFlag makes the test binary act as a process that is confined, or claims to be.
const roleFlag = "--sandbox-test="

func TestMain(m *testing.M) {
	runtime.LockOSThread()
	if len(os.Args) == 2 {
		if role, ok := strings.CutPrefix(os.Args[1], roleFlag); ok {
			os.Exit(play(role))
		}
	}
	os.Exit(m.Run())
}

// done is the output of a confined process after it has completed its act. An exit status of 0 is a
// success only with it.
const done = "done"

// play runs the other process.
func play(role string) int {
	if name, ok := strings.CutPrefix(role, "act "); ok {
		return playAct(name)
	}
	if name, ok := strings.CutPrefix(role, "lie "); ok {
		return playLie(name)
	}
	if name, ok := strings.CutPrefix(role, "layer "); ok {
		return playLayer(name)
	}
	if name, ok := strings.CutPrefix(role, "inspect "); ok {
		return playInspector(name)
	}
	switch role {
	case "1024 sockets":
		return playManySockets()
	case "privileges":
		return playPrivileges()
	case "empty bounding set":
		return playEmptyBounding()
	case "little privilege":
		return playLittlePrivilege()
	}
	fmt.Fprintf(os.Stderr, "no such role: %q\n", role)
	return 99
}

// testMemory is the number of bytes by which a confined process of the tests may grow.
const testMemory = 256 << 20

// confine confines the process like the real parser before it sends Hello, with standard output and
// error writable.
func confine() *Confined {
	c, err := ConfineParser(ParserGrant{Write: []int{1, 2}, Memory: testMemory})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(98)
	}
	return c
}

// say writes a text to standard output without an os.File, like the real parser.
func say(word string) { _, _ = unix.Write(1, []byte(word)) }

// An act is an operation that a confined process tries.
type act struct {
	name string
	// want is the signal that kills the process, or 0 if the act must succeed.
	want syscall.Signal
	do   func()
}

var acts = []act{
	{"nothing", 0, func() {}},
	{"collections", 0, func() {
		for range 20 {
			_ = make([]byte, 1<<20)
			runtime.GC()
		}
	}},
	{"timers", 0, func() {
		for range 100 {
			<-time.After(time.Millisecond)
		}
	}},
	{"threads", 0, func() {
		// Each goroutine is locked to its own thread, which ends with it.
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				runtime.LockOSThread()
				_ = unix.Gettid()
			})
		}
		wg.Wait()
	}},
	{"memory beyond the limit", 0, func() {
		_, err := unix.Mmap(-1, 0, 2<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != unix.ENOMEM {
			os.Exit(95)
		}
	}},
	{"recovered panic", 0, func() {
		defer func() { _ = recover() }()
		panic("on purpose")
	}},
	{"fault", syscall.SIGSEGV, func() {
		defer func() { _ = recover() }()
		var p *int
		*p = 1
	}},
	{"abort", syscall.SIGABRT, func() { _ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGABRT) }},
	{"open", syscall.SIGSYS, func() { _, _ = unix.Open("/etc/passwd", unix.O_RDONLY, 0) }},
	{"socket", syscall.SIGSYS, func() { _, _ = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0) }},
	{"packet socket", syscall.SIGSYS, func() { _, _ = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0) }},
	{"exec", syscall.SIGSYS, func() { _ = unix.Exec("/bin/true", []string{"true"}, nil) }},
	{"fork", syscall.SIGSYS, func() { _, _, _ = unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0) }},
	{"kill parent", syscall.SIGSYS, func() { _ = unix.Kill(os.Getppid(), 0) }},
	{"signal to another process", syscall.SIGSYS, func() { _ = unix.Tgkill(1, 1, 0) }},
	{"write elsewhere", syscall.SIGSYS, func() { _, _ = unix.Write(63, []byte("x")) }},
	{"write with high bits", syscall.SIGSYS, func() {
		_, _, _ = unix.Syscall(unix.SYS_WRITE, 1|1<<32, 0, 0)
	}},
	{"dup", syscall.SIGSYS, func() { _, _ = unix.Dup(0) }},
	{"executable mmap", syscall.SIGSYS, func() {
		_, _ = unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	}},
	{"executable mprotect", syscall.SIGSYS, func() {
		b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err == nil {
			_ = unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
		}
	}},
	{"ptrace", syscall.SIGSYS, func() { _ = unix.PtraceAttach(os.Getppid()) }},
	{"dumpable", syscall.SIGSYS, func() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }},
	{"user namespace", syscall.SIGSYS, func() { _ = unix.Unshare(unix.CLONE_NEWUSER) }},
	{"setsockopt", syscall.SIGSYS, func() { _ = unix.SetsockoptInt(0, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) }},
}

// playAct confines the process and tries an act, from the main thread or, if the name ends in a
// star, from a thread that was created afterwards.
func playAct(name string) int {
	name, fresh := strings.CutSuffix(name, "*")
	for _, a := range acts {
		if a.name != name {
			continue
		}
		if err := confine().Tighten(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 97
		}
		if fresh {
			ended := make(chan bool)
			go func() {
				runtime.LockOSThread()
				a.do()
				close(ended)
			}()
			<-ended
		} else {
			a.do()
		}
		say(done)
		return 0
	}
	return 99
}

// playManySockets confines a process that expects 1,024 sockets, receives them, and uses the first
// and the last, under the first filter and under the second. There is no room for another
// descriptor.
func playManySockets() int {
	const most, batch = 1024, 128
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
	if err != nil {
		return 90
	}
	copies := make([]int, batch)
	for i := range copies {
		copies[i] = pair[1] // any socket
	}
	for range most/batch + 1 {
		if err := unix.Sendmsg(pair[1], []byte{0}, unix.UnixRights(copies...), nil, 0); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 91
		}
	}
	c, err := ConfineParser(ParserGrant{Write: []int{1, 2}, Receive: pair[:1], Sockets: most, Memory: testMemory})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 98
	}
	receive := func() (fds []int) {
		control := make([]byte, unix.CmsgSpace(4*batch))
		_, n, _, _, err := unix.Recvmsg(pair[0], make([]byte, 1), control, 0)
		messages, err2 := unix.ParseSocketControlMessage(control[:n])
		if err == nil && err2 == nil && len(messages) == 1 {
			fds, _ = unix.ParseUnixRights(&messages[0])
		}
		return fds
	}
	var passed []int
	for range most / batch {
		passed = append(passed, receive()...)
	}
	if len(passed) != most || len(receive()) != 0 {
		return 92
	}
	use := func() (err error) {
		for _, fd := range []int{passed[0], passed[most/2], passed[most-1]} {
			_, e := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
			err = errors.Join(err, e)
		}
		return err
	}
	if err := errors.Join(use(), c.Tighten(), use()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 94
	}
	say(done)
	return 0
}

// A filter for 1,024 sockets loads, its numbers are those of the received sockets, and
// RLIMIT_NOFILE allows exactly that many.
func TestManySockets(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max < 2048 {
		t.Logf("NOT TESTED: %d open files are allowed, 2048 are needed", limit.Max)
		return
	}
	cmd := command(t, "1024 sockets")
	cmd.Stderr = os.Stderr
	if out, err := cmd.Output(); err != nil || string(out) != done {
		t.Errorf("got %q, %v", out, err)
	}
}

// command returns the test binary in a role.
func command(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, roleFlag+role)
	cmd.Env = []string{"GODEBUG=containermaxprocs=0,updatemaxprocs=0"} // as in package main
	return cmd
}

func TestConfined(t *testing.T) {
	for _, a := range acts {
		for _, thread := range []string{"", "*"} {
			t.Run(a.name+thread, func(t *testing.T) {
				t.Parallel()
				cmd := command(t, "act "+a.name+thread)
				var stderr strings.Builder
				cmd.Stderr = &stderr
				out, err := cmd.Output()
				if a.want == 0 {
					if err != nil || string(out) != done {
						t.Fatalf("got %q, %v, want to see it done; standard error: %s", out, err, &stderr)
					}
					return
				}
				var exit *exec.ExitError
				if !errors.As(err, &exit) {
					t.Fatalf("got %q, %v, want %v", out, err, a.want)
				}
				status := exit.Sys().(syscall.WaitStatus)
				if !status.Signaled() || status.Signal() != a.want || len(out) != 0 || stderr.Len() != 0 {
					t.Errorf("got %q, %v, want %v and not a word; standard error: %s", out, err, a.want, &stderr)
				}
			})
		}
	}
}

// A lie is a process that claims to be confined but lacks a layer.
type lie struct {
	name string
	want string // the layer that Inspect must name; "" for a process that does not lie
	do   func() error
}

var lies = []lie{
	{"confined", "", func() error { confine(); return nil }},
	{"nothing", "NoNewPrivs", func() error { return errors.Join(SetUndumpable(), cap.NewSet().SetProc()) }},
	{"capabilities", "CapPrm", func() error { // in a user namespace where it has all
		return errors.Join(SetUndumpable(), unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	}},
	{"no seccomp", "Seccomp", func() error { return errors.Join(SetUndumpable(), Drop()) }},
	// /proc/PID/status, which describes the main thread, is correct.
	{"seccomp on the main thread alone", "Seccomp", func() error {
		return errors.Join(SetUndumpable(), Drop(), filterThisThread())
	}},
	{"no_new_privs on the main thread alone", "NoNewPrivs", func() error {
		var bounds error
		for v := cap.Value(0); v < cap.MaxBits() && os.Getuid() == 0; v++ {
			bounds = errors.Join(bounds, cap.DropBound(v)) // like Drop
		}
		return errors.Join(SetUndumpable(), bounds, cap.NewSet().SetProc(), unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), filterThisThread())
	}},
	{"under our own filter alone", "Seccomp_filters", func() error { confine(); return nil }},
	{"dumpable", "dumpable", func() error {
		return errors.Join(limits(), Drop(), load(parserRules(ParserGrant{Write: []int{1, 2}}, nil, nil, nil)))
	}},
	{noCoreLimit, "RLIMIT_CORE", func() error { return limitedBut(unix.RLIMIT_CORE) }},
	{"no limit of locked memory", "RLIMIT_MEMLOCK", func() error { return limitedBut(unix.RLIMIT_MEMLOCK) }},
	{"no limit of data", "RLIMIT_DATA", func() error { return limitedBut(unix.RLIMIT_DATA) }},
	{"no limit of address space", "RLIMIT_AS", func() error { return limitedBut(unix.RLIMIT_AS) }},
	// The files of a thread that has ended belong to root, like those of an undumpable process.
	{"main thread has ended", "State", func() error {
		confine()
		say(done)
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
		return nil
	}},
}

const noCoreLimit = "no limit of core dumps"

// limitedBut confines the process except for one limit, if the machine does not set that limit
// itself.
func limitedBut(but int) error {
	errs := []error{SetUndumpable()}
	for resource, value := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_MEMLOCK: 0, unix.RLIMIT_DATA: 4 << 30, unix.RLIMIT_AS: 4 << 30} {
		if resource != but {
			errs = append(errs, limit("", resource, value))
		}
	}
	return errors.Join(append(errs, Drop(), load(parserRules(ParserGrant{Write: []int{1, 2}}, nil, nil, nil)))...)
}

// limits sets the limits that ConfineParser sets.
func limits() error {
	return errors.Join(limit("", unix.RLIMIT_CORE, 0), limit("", unix.RLIMIT_MEMLOCK, 0), limitMemory(testMemory))
}

// filterThisThread installs a filter that allows everything on the calling thread.
func filterThisThread() error {
	const allow = 0x7fff0000 // SECCOMP_RET_ALLOW
	filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: allow}}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}

// playLie sets up a lie, reports that, and waits to be inspected and killed.
func playLie(name string) int {
	for _, l := range lies {
		if l.name != name {
			continue
		}
		if err := l.do(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 97
		}
		say(done)
		for {
			_ = unix.Nanosleep(&unix.Timespec{Sec: 3600}, nil)
		}
	}
	return 99
}

// playInspector starts a liar, drops its own privileges like the monitor, and prints the result of
// Inspect.
func playInspector(name string) int {
	var l lie
	for _, l = range lies {
		if l.name == name {
			break
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return 90
	}
	liar := exec.Command(exe, roleFlag+"lie "+name)
	liar.Stderr = os.Stderr
	if l.name == "capabilities" {
		liar.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		}
	}
	stdout, err := liar.StdoutPipe()
	if err == nil {
		err = liar.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 91
	}
	defer func() {
		_ = liar.Process.Kill()
		_ = liar.Wait()
	}()
	if _, err = io.ReadFull(stdout, make([]byte, len(done))); err == nil {
		err = Drop()
	}
	for err == nil && l.want == "State" { // what it says, it says before its end
		main, err := readStatus(fmt.Sprintf("/proc/%d/status", liar.Process.Pid))
		if err != nil || strings.HasPrefix(main.fields["State"], "Z") {
			break
		}
		runtime.Gosched()
	}
	if err == nil && l.want == "Seccomp_filters" { // as in a container
		err = filterThisThread()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 96
	}
	found, err := Inspect(liar.Process.Pid)
	if err != nil {
		say(err.Error())
		return 0
	}
	if found.Threads < 2 || found.AddressSpace < testMemory || found.AddressSpace > 1<<40 {
		fmt.Fprintf(os.Stderr, "%+v\n", found)
		return 97
	}
	say(done)
	return 0
}

func TestInspect(t *testing.T) {
	for _, l := range lies {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			if l.name == "capabilities" {
				testenv.Require(t, testenv.Userns)
			}
			if l.name == noCoreLimit {
				testenv.Require(t, testenv.CoreDumps)
			}
			cmd := command(t, "inspect "+l.name)
			cmd.Stderr = os.Stderr
			got, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case l.want == "" && string(got) != done:
				t.Errorf("refused: %s", got)
			case l.want != "" && !strings.Contains(string(got), l.want):
				t.Errorf("got %q, want it to name %q", got, l.want)
			}
		})
	}
}

// A process that is not the caller's child is refused: it may be another process with the same ID.
func TestInspectAnother(t *testing.T) {
	if _, err := Inspect(os.Getppid()); err == nil || !strings.Contains(err.Error(), "PPid") {
		t.Errorf("the parent passes for the child: %v", err)
	}
}

// The owner of a process's files in /proc shows whether it is dumpable, also before Linux 6.16: of
// two processes of one user, the one that executes a file that the user cannot read is undumpable.
func TestDumpableByOwner(t *testing.T) {
	testenv.Require(t, testenv.Root)
	const uid = 1
	fd, err := unix.MemfdCreate("cat", unix.MFD_CLOEXEC)
	testenv.Must(t, err)
	text, err := os.ReadFile("/bin/cat")
	testenv.Must(t, err)
	_, err = unix.Write(fd, text)
	testenv.Must(t, errors.Join(err, unix.Fchmod(fd, 0o111)))
	unreadable, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_PATH|unix.O_CLOEXEC, 0)
	testenv.Must(t, errors.Join(err, unix.Close(fd)))
	defer unix.Close(unreadable)
	for path, want := range map[string]bool{"/bin/cat": true, fmt.Sprintf("/proc/self/fd/%d", unreadable): false} {
		cmd := exec.Command(path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		stdin, err := cmd.StdinPipe()
		testenv.Must(t, err)
		stdout, err := cmd.StdoutPipe()
		testenv.Must(t, errors.Join(err, cmd.Start()))
		// In execve(2) the kernel sets the mode after it has closed the descriptor that Start waits
		// for: only a program that answers has been executed.
		_, err = stdin.Write([]byte("\n"))
		testenv.Must(t, err)
		_, err = io.ReadFull(stdout, make([]byte, 1))
		testenv.Must(t, err)
		s, err := readStatus(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		mask := coredumpMask(cmd.Process.Pid)
		testenv.Must(t, errors.Join(err, cmd.Process.Kill()))
		_ = cmd.Wait()
		if dumpable, known := s.dumpableByOwner(uid, uid); dumpable != want || !known {
			t.Errorf("%s: dumpable %v (known: %v), want %v", path, dumpable, known, want)
		}
		if mask != 0 && mask&pidfdCoredumpUser != 0 != want {
			t.Errorf("%s: the pidfd tells %#x, want dumpable %v", path, mask, want)
		}
	}
	for _, ambiguous := range []uint32{0, 65534} {
		s := status{uid: ambiguous, gid: ambiguous}
		if _, known := s.dumpableByOwner(ambiguous, ambiguous); known {
			t.Errorf("user %d proves something", ambiguous)
		}
		if dumpable, known := s.dumpableByOwner(ambiguous, uid); dumpable || !known {
			t.Errorf("user %d with another group: dumpable %v (known: %v)", ambiguous, dumpable, known)
		}
	}
}

// A file of another file system is not accepted as /proc.
func TestInspectProc(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status")
	testenv.Must(t, os.WriteFile(path, []byte("Seccomp: 2\n"), 0o600))
	if _, err := readStatus(path); err == nil || !strings.Contains(err.Error(), "proc file system") {
		t.Errorf("a plain file passes for the kernel's: %v", err)
	}
}

func TestInspectNobody(t *testing.T) {
	// A process that does not exist: the ID is above any pid_max.
	if _, err := Inspect(1 << 30); err == nil {
		t.Error("a process that does not exist passes for confined")
	}
}

// A missing field is refused like a wrong one.
func TestCheckStatus(t *testing.T) {
	good := func() status {
		return status{fields: map[string]string{
			"Tgid": "10", "Pid": "11", "PPid": "9", "State": "S (sleeping)",
			"TracerPid": "0", "Uid": "1 1 1 1", "Gid": "2 2 2 2", "Groups": "",
			"CapInh": "0000000000000000", "CapPrm": "0000000000000000",
			"CapEff": "0000000000000000", "CapAmb": "0000000000000000",
			"CapBnd": "0000000000002000", "NoNewPrivs": "1", "Seccomp": "2", "Seccomp_filters": "2",
		}}
	}
	self := good()
	self.fields["Tgid"], self.fields["Seccomp_filters"] = "9", "1"
	check := func(s status) error { return s.check(10, "11", self) }
	if err := check(good()); err != nil {
		t.Fatalf("refused: %v", err)
	}
	for name, bad := range map[string]string{
		"Tgid": "1", "Pid": "10", "PPid": "1", "State": "Z (zombie)",
		"TracerPid": "7", "Uid": "1 0 1 1", "Gid": "2 2 0 2", "Groups": "0",
		"CapInh": "0000000000002000", "CapPrm": "0000000000002000",
		"CapEff": "0000000000002000", "CapAmb": "0000000000002000",
		"CapBnd": "0000000000000000", "NoNewPrivs": "0", "Seccomp": "1", "Seccomp_filters": "1",
	} {
		s := good()
		s.fields[name] = bad
		if err := check(s); err == nil {
			t.Errorf("%s %q passes", name, bad)
		}
		delete(s.fields, name)
		if err := check(s); err == nil {
			t.Errorf("without %s it passes", name)
		}
	}
	// If the caller has no such field (before Linux 5.9), none is required.
	delete(self.fields, "Seccomp_filters")
	s := good()
	delete(s.fields, "Seccomp_filters")
	if err := check(s); err != nil {
		t.Errorf("refused: %v", err)
	}
}
