package privsep

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Child is the parser as the monitor sees it. Not safe for concurrent use, but for
// Kill, and for one goroutine that receives.
type Child struct {
	*Conn
	pid, pidfd int
}

// Launch starts the program's own executable anew as the parser: with the given
// argument list (args[0] included), nothing in the environment that is not ours,
// nothing to read on standard input, this process's standard output and error, and its
// end of the socket pair. Every other descriptor must be close-on-exec (see
// [CloseStray]), and every privilege given up.
//
// No process of the same user can look into the parser, from its first instruction on;
// see [executable]. Where the administrator has it otherwise, it is not started:
// [ErrDumpable].
//
// The parser asks for a signal when the thread that made it ends
// (PR_SET_PDEATHSIG(2const) speaks of the thread): the calling goroutine must be
// locked to a thread that lasts as long as the process, as main's is after
// runtime.LockOSThread in an init function.
func Launch(args []string) (*Child, error) {
	if err := checkDumpable(); err != nil {
		return nil, err
	}
	path, done, err := executable()
	if err != nil {
		return nil, fmt.Errorf("prepare executable: %w", err)
	}
	defer done()
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		ours.Close()
		return nil, err
	}
	defer null.Close()
	c := &Child{Conn: ours}
	// Not os.StartProcess: it would make a non-blocking standard output, which
	// others may share, blocking.
	c.pid, err = syscall.ForkExec(path, args, &syscall.ProcAttr{
		// Before debug.SetTraceback and runtime.GOMAXPROCS can say so.
		Env:   []string{"GOTRACEBACK=none", "GOMAXPROCS=1"},
		Files: []uintptr{null.Fd(), 1, 2, uintptr(theirs.fd)},
		Sys:   &syscall.SysProcAttr{PidFD: &c.pidfd},
	})
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("start parser: %w", err)
	}
	return c, nil
}

// executable returns the path of the file that is running, for an exec that makes a
// process which is not dumpable, and what to do after it.
//
// A program can make itself not dumpable, but not before it runs: until then any process
// of the same user could take the control socket out of it (pidfd_getfd(2)), stop it, and
// be given what the parser is to be given. A process that executes a file which it may
// not read, though, is not dumpable from the start (PR_SET_DUMPABLE(2const); would_dump
// in fs/exec.c). So where our user may read the program's file, what is executed is a
// copy in memory that nobody may.
func executable() (path string, done func(), err error) {
	const self = "/proc/self/exe" // the file that is running, even if another took its name
	// Not by opening it: a security module may refuse that and the exec not care.
	if err := unix.Access(self, unix.R_OK); err == unix.EACCES {
		return self, func() {}, nil
	}
	file, err := os.Open(self)
	if err != nil {
		return "", nil, err
	}
	defer file.Close()
	fd, err := unix.MemfdCreate("maas-netmon", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate("maas-netmon", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return "", nil, os.NewSyscallError("memfd_create", err)
	}
	memory := os.NewFile(uintptr(fd), "memfd")
	defer memory.Close()
	if _, err := io.Copy(memory, file); err != nil {
		return "", nil, err
	}
	if err := unix.Fchmod(fd, 0o111); err != nil {
		return "", nil, os.NewSyscallError("fchmod", err)
	}
	// A file that is open for writing cannot be executed, and this one cannot be opened for
	// reading; O_PATH is neither. Its number must be none of those that the child gets.
	opened, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, os.NewSyscallError("open", err)
	}
	defer unix.Close(opened)
	ref, err := unix.FcntlInt(uintptr(opened), unix.F_DUPFD_CLOEXEC, controlFD+1)
	if err != nil {
		return "", nil, os.NewSyscallError("fcntl", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", ref), func() { unix.Close(ref) }, nil
}

// ErrDumpable is returned by [Launch] where the parser would be within reach at first.
var ErrDumpable = errors.New("fs.suid_dumpable is 1: any process of the user could reach into the parser while it starts")

// checkDumpable looks at what [executable] relies on: the kernel makes such a process as
// dumpable as fs.suid_dumpable says (proc_sys_fs(5)), of which 0 and 2 keep others of its
// user out. Where the administrator hides /proc/sys (systemd's ProcSubset=, or a
// security module), it cannot be told.
func checkDumpable() error {
	value, err := os.ReadFile("/proc/sys/fs/suid_dumpable")
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission):
		return nil
	case err != nil:
		return err
	case string(value) == "1\n":
		return ErrDumpable
	}
	return nil
}

// Pid returns the parser's process number.
func (c *Child) Pid() int { return c.pid }

// PidFD returns the descriptor (pidfd_open(2)) by which Kill finds the parser.
func (c *Child) PidFD() int { return c.pidfd }

// Kill ends the parser at once. One that has ended already is no error. Safe for
// concurrent use.
func (c *Child) Kill() {
	_ = unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0)
}

// Wait waits for the end of the parser and tells how it was.
func (c *Child) Wait() (unix.WaitStatus, error) {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(c.pid, &status, 0, nil)
		if err != unix.EINTR {
			return status, os.NewSyscallError("wait4", err)
		}
	}
}

// SetName names the process as ps(1) and pgrep(1) show it: one that was started from
// /proc/self/exe would be called exe. name is cut to 15 bytes.
func SetName(name string) error {
	b, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	err = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(b)), 0, 0, 0)
	return os.NewSyscallError("prctl", err)
}

// DieWithParent has the kernel kill the calling process when the thread that
// started it ends (PR_SET_PDEATHSIG(2const)). It fails with [ErrNotStarted] when
// that has happened already.
func DieWithParent(c *Conn) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set parent-death signal: %w", err)
	}
	return c.checkPeer()
}
