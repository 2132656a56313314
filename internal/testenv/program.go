package testenv

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Line is one line of the program's standard output. No expectation matches a line with unknown
// fields.
type Line struct {
	Raw string `json:"-"`
	Bad error  `json:"-"` // why it is not a valid line; then the rest is zero

	IP          string `json:"ip"`
	MAC         string `json:"mac"`
	PreviousMAC string `json:"previous_mac"`
	Time        int64  `json:"time"`
	Event       string `json:"event"`
	VID         *int   `json:"vid"`
	InnerVID    *int   `json:"inner_vid"`
	Interface   string `json:"interface"`
	Moves       int    `json:"moves"`
}

// String returns the line as it was printed, and its error.
func (l Line) String() string {
	if l.Bad != nil {
		return fmt.Sprintf("%s (%v)", l.Raw, l.Bad)
	}
	return l.Raw
}

// parseLine decodes a line strictly.
func parseLine(raw string) Line {
	l := Line{Raw: raw}
	d := json.NewDecoder(strings.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return Line{Raw: raw, Bad: err}
	}
	return l
}

// Event is the predicate that a line is of this kind (NEW, MOVED, REFRESHED) and
// about this address.
func Event(kind, ip string) func(Line) bool {
	return func(l Line) bool { return l.Event == kind && l.IP == ip }
}

// IP is the predicate that a line is about this address.
func IP(ip string) func(Line) bool { return func(l Line) bool { return l.IP == ip } }

// VID is the predicate that a line has this VID; -1 means null.
func VID(vid int) func(Line) bool {
	return func(l Line) bool { return number(l.VID) == vid }
}

// number returns the value at p, or -1.
func number(p *int) int {
	if p == nil {
		return -1
	}
	return *p
}

// At is the predicate that a line is about a binding to this MAC.
func At(m MAC) func(Line) bool { return func(l Line) bool { return l.MAC == m.String() } }

// Contains is the predicate that a line of text contains s.
func Contains(s string) func(string) bool {
	return func(line string) bool { return strings.Contains(line, s) }
}

var build = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("NETMON_BIN"); path != "" {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "maas-netmon-test-")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "maas-netmon")
	// Any user may run it, for any umask.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	if err := goBuild(path, "pie", "maas-netmon/cmd/maas-netmon"); err != nil {
		return "", err
	}
	return path, os.Chmod(path, 0o755)
})

// goBuild builds a program, with further build tags. The flags that change compiled packages are
// those of the Makefile: with others, Go would compile the standard library again.
func goBuild(path, mode, program string, tags ...string) error {
	tags = append([]string{"osusergo", "netgo"}, tags...)
	out, err := exec.Command("go", "build", "-trimpath", "-buildmode="+mode, "-buildvcs=false",
		"-tags", strings.Join(tags, ","), "-o", path, program).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	return nil
}

// built is the directory of the programs that build has built.
var built string

// removeBuilt removes the directory.
func removeBuilt() {
	if built != "" {
		_ = os.RemoveAll(built)
	}
}

// Binary returns the path of the program under test: $NETMON_BIN, or else a program that it builds.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := build()
	Must(t, err)
	return path
}

// Dir returns a new directory that any user may enter, unlike t.TempDir's.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "maas-netmon-test-")
	Must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	Must(t, os.Chmod(dir, 0o755))
	return dir
}

// CapableBinary returns a copy of the program that any user may run, with a file capability in the
// form of setcap(8).
func CapableBinary(t testing.TB, capability string) string {
	t.Helper()
	path := filepath.Join(Dir(t), "maas-netmon")
	// Copy in another process: a process that another test forks could inherit a descriptor that is
	// open for writing here, and the file would be "busy".
	out, err := exec.Command("install", "-m", "0755", Binary(t), path).CombinedOutput()
	if err != nil {
		t.Fatalf("install: %v: %s", err, out)
	}
	if capability == "" {
		return path
	}
	setcap, err := exec.LookPath("setcap")
	if err != nil {
		setcap = "/sbin/setcap" // not in every user's PATH
	}
	out, err = exec.Command(setcap, capability, path).CombinedOutput()
	if err != nil {
		t.Fatalf("setcap: %v: %s", err, out)
	}
	return path
}

// TestBin builds a program of internal/testbin, with further build tags, and returns its path. Such
// a program is the program under test with additions for tests. On a machine without a compiler,
// the environment variable NETMON_TESTBIN names a directory that has the program, as NAME or
// NAME-TAG.
func TestBin(t testing.TB, name string, tags ...string) string {
	t.Helper()
	if dir := os.Getenv("NETMON_TESTBIN"); dir != "" {
		return filepath.Join(dir, strings.Join(append([]string{name}, tags...), "-"))
	}
	path := filepath.Join(Dir(t), "maas-netmon")
	mode := "pie"
	if name == "attack" {
		// Some acts need variables below 4 GiB, or at the same address in both processes.
		mode = "exe"
	}
	Must(t, goBuild(path, mode, "maas-netmon/internal/testbin/"+name, tags...))
	Must(t, os.Chmod(path, 0o755))
	return path
}

// Options control the start of a Program.
type Options struct {
	Path   string   // of the program; Binary's if empty
	UID    int      // the user, with the group of the same number; 0 does not change the user
	Env    []string // its complete environment
	Stdin  *os.File // instead of /dev/null
	Stdout *os.File // instead of Lines
	Stderr *os.File // instead of Log
	Shell  string   // a shell command line to run it by, as "$0" "$@"

	// Binds receives each bind(2) of either process, which waits for its Continue. It is closed
	// when the program ends. It needs [HoldBind].
	Binds chan Bind
}

// A Program is the program under test, in its own process group.
type Program struct {
	Lines *Stream[Line]
	Log   *Stream[string] // lines of standard error
	cmd   *exec.Cmd
	ended chan struct{}
}

// Start starts the program inside a namespace. The program is killed at the end of the test.
func Start(t testing.TB, ns *Namespace, o Options, args ...string) *Program {
	t.Helper()
	if o.Path == "" {
		o.Path = Binary(t)
	}
	cmd := exec.Command(o.Path, args...)
	if o.Shell != "" {
		cmd = exec.Command("/bin/sh", append([]string{"-c", o.Shell, o.Path}, args...)...)
	}
	cmd.Env = append([]string{}, o.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if o.UID != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(o.UID), Gid: uint32(o.UID)}
	}
	if o.Stdin != nil { // a nil *os.File is not a nil io.Reader
		cmd.Stdin = o.Stdin
	}
	p := &Program{
		Lines: NewStream[Line]("lines"), Log: NewStream[string]("log"),
		cmd: cmd, ended: make(chan struct{}),
	}
	var readers sync.WaitGroup
	connect := func(publish func(string), end func()) *os.File {
		r, w, err := os.Pipe()
		Must(t, err)
		readers.Go(func() {
			defer r.Close()
			defer end()
			scan(r, publish)
		})
		return w
	}
	if o.Stderr != nil {
		cmd.Stderr = o.Stderr
		p.Log.End()
	} else {
		stderr := connect(p.Log.Publish, p.Log.End)
		defer stderr.Close()
		cmd.Stderr = stderr
	}
	if o.Stdout != nil {
		cmd.Stdout = o.Stdout
		p.Lines.End()
	} else {
		stdout := connect(func(s string) { p.Lines.Publish(parseLine(s)) }, p.Lines.End)
		defer stdout.Close()
		cmd.Stdout = stdout
	}
	listener := -1
	err := ns.Do(func() (err error) {
		if o.Binds != nil {
			if listener, err = holdBinds(); err != nil {
				return err
			}
		}
		return cmd.Start()
	})
	Must(t, err)
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	if o.Binds != nil {
		readers.Go(func() {
			if err := passBinds(listener, o.Binds, p.ended); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // the group: both processes
		<-p.ended
		readers.Wait()
	})
	return p
}

// Lines returns the lines of a file as they arrive.
func Lines(r io.Reader) *Stream[string] {
	s := NewStream[string]("lines")
	go func() {
		defer s.End()
		scan(r, s.Publish)
	}()
	return s
}

// scan publishes each line of r; one that does not end in a newline is marked.
func scan(r io.Reader, publish func(string)) {
	b := bufio.NewReader(r)
	for {
		line, err := b.ReadString('\n')
		switch {
		case err == nil:
			publish(strings.TrimSuffix(line, "\n"))
		case line != "":
			publish(line + " (no newline)")
			return
		default:
			return
		}
	}
}

// Watch starts the program on interfaces and waits until it reads.
func Watch(t testing.TB, ns *Namespace, o Options, args ...string) *Program {
	t.Helper()
	p := Start(t, ns, o, args...)
	p.Ready(t)
	return p
}

// Ready waits until the program reports that it reads.
func (p *Program) Ready(t testing.TB) {
	t.Helper()
	ready := p.Log.Expect(Contains("msg=watching"))
	for _, line := range p.Log.Seen() {
		if strings.Contains(line, "msg=watching") {
			return // reported before the expectation existed
		}
	}
	if ready.Wait(Patience) {
		return
	}
	t.Fatalf("the program is not ready; it said:\n%s", p.Log.dump())
}

// Pid returns the monitor's process ID.
func (p *Program) Pid() int { return p.cmd.Process.Pid }

// Child returns the parser's process ID: the only child of the monitor.
func (p *Program) Child(t testing.TB) int {
	t.Helper()
	return ChildOf(t, p.Pid())
}

// AwaitChild waits until the monitor has started a parser.
func (p *Program) AwaitChild(t testing.TB) {
	t.Helper()
	path := fmt.Sprintf("/proc/%d/task/%d/children", p.Pid(), p.Pid())
	for end := time.Now().Add(Patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		children, err := os.ReadFile(path)
		Must(t, err)
		if len(bytes.TrimSpace(children)) > 0 {
			return
		}
	}
	t.Fatalf("the monitor starts no parser; it said:\n%s", p.Log.dump())
}

// ChildOf returns the only child of a process.
func ChildOf(t testing.TB, parent int) int {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	Must(t, err)
	children := strings.Fields(string(content))
	if len(children) != 1 {
		t.Fatalf("the children of process %d are %q, want one", parent, children)
	}
	pid, err := strconv.Atoi(children[0])
	Must(t, err)
	return pid
}

// Signal sends a signal to the monitor.
func (p *Program) Signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	Must(t, p.cmd.Process.Signal(s))
}

// SignalGroup sends a signal to the process group, as MAAS does.
func (p *Program) SignalGroup(t testing.TB, s syscall.Signal) {
	t.Helper()
	Must(t, unix.Kill(-p.Pid(), s))
}

// Running reports whether the program has not ended yet.
func (p *Program) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Exit waits for the end of the program and returns its exit status.
func (p *Program) Exit(t testing.TB) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(Patience):
		t.Fatalf("the program does not end; it said:\n%s", p.Log.dump())
	}
	p.NoTrace(t)
	return p.cmd.ProcessState.ExitCode()
}

// Stop ends the program with SIGTERM and waits until it has ended, with exit status 0.
func (p *Program) Stop(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGTERM)
	if status := p.Exit(t); status != 0 {
		t.Errorf("exit status %d; it said:\n%s", status, p.Log.dump())
	}
}

// End ends the program with SIGTERM, unless it has ended by itself with an error, and returns its
// exit status.
func (p *Program) End(t testing.TB) int {
	t.Helper()
	err := p.cmd.Process.Signal(syscall.SIGTERM)
	status := p.Exit(t)
	if !errors.Is(err, os.ErrProcessDone) || status == 0 {
		Must(t, err)
	}
	return status
}

// Killer waits for the end of the program and returns the signal that killed it, or 0.
func (p *Program) Killer(t testing.TB) syscall.Signal {
	t.Helper()
	p.Exit(t)
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return status.Signal()
	}
	return 0
}

// Run starts the program, waits for its end, and returns its exit status and its output.
func Run(t testing.TB, ns *Namespace, o Options, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	p := Start(t, ns, o, args...)
	status = p.Exit(t)
	for _, l := range p.Lines.WaitEnd(t) {
		stdout += l.Raw + "\n"
	}
	for _, l := range p.Log.WaitEnd(t) {
		stderr += l + "\n"
	}
	return status, stdout, stderr
}

// NoTrace fails the test if a Go stack trace was printed.
func (p *Program) NoTrace(t testing.TB) {
	t.Helper()
	for _, line := range p.Log.Seen() {
		if strings.HasPrefix(line, "goroutine ") || strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") {
			t.Fatalf("a stack trace:\n%s", p.Log.dump())
		}
	}
}

// Delay returns the time that the threads of a process have waited for a processor
// (/proc/PID/task/TID/schedstat, Documentation/scheduler/sched-stats.rst), without those that have
// ended.
func Delay(t testing.TB, pid int) (sum time.Duration) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	Must(t, err)
	for _, path := range files {
		var ran, waited int64
		content, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		Must(t, err)
		_, err = fmt.Sscan(string(content), &ran, &waited)
		Must(t, err)
		sum += time.Duration(waited)
	}
	return sum
}

// Stalled returns the time in which some thread of the machine has waited for a processor
// (/proc/pressure/cpu, Documentation/accounting/psi.rst), or 0 if the kernel does not tell.
func Stalled(t testing.TB) time.Duration {
	t.Helper()
	content, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return 0
	}
	var ignored string
	var total int64 // in microseconds
	_, err = fmt.Sscanf(string(content), "some avg10=%s avg60=%s avg300=%s total=%d", &ignored, &ignored, &ignored, &total)
	Must(t, err)
	return time.Duration(total) * time.Microsecond
}

// CPU returns the processor time of all threads that a process has or had.
func CPU(pid int) (time.Duration, error) {
	// The clock of another process (clock_getcpuclockid(3)), in nanoseconds.
	const scheduled = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// Status returns the fields of each thread of a process (proc_pid_status(5)).
func Status(t testing.TB, pid int) []map[string]string {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	Must(t, err)
	var threads []map[string]string
	for _, path := range tasks {
		content, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		Must(t, err)
		fields := map[string]string{}
		for line := range bytes.Lines(content) {
			name, value, _ := strings.Cut(string(line), ":")
			fields[name] = strings.Join(strings.Fields(value), " ")
		}
		threads = append(threads, fields)
	}
	if len(threads) == 0 {
		t.Fatalf("process %d has no thread", pid)
	}
	return threads
}

// Ended reports whether a process ends within [Patience]. The descriptor must have been opened
// while the process existed (pidfd_open(2)).
func Ended(t testing.TB, pidfd int) bool {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(Patience.Milliseconds()))
		if err != unix.EINTR { // the runtime's own signals
			return err == nil && n == 1
		}
	}
}
