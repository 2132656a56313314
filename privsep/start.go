package privsep

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Child is the parser as the monitor sees it. Not safe for concurrent use, except for
// Kill, and for one goroutine that receives.
type Child struct {
	*Conn
	pid, pidfd int
	byPID      bool // pidfd_send_signal(2) is refused

	mu     sync.Mutex
	reaped bool
}

// Launch starts the program's own executable as the parser: with the given argument list (args[0]
// included), an environment of two variables, an empty standard input, this process's standard
// output and error, and its end of the socket pair. Every other descriptor must be close-on-exec
// (see [CloseStray]), and every privilege dropped, except for the group that [Become] saved. Launch
// drops that too.
//
// From its first instruction on, no other process of the same user can access the parser. A program
// can make itself undumpable only after its start. Before that, any process of the same user could
// take the control socket from it (pidfd_getfd(2)), or open its memory for writing and keep it
// open. So Launch makes the kernel start the parser undumpable, in one of three ways
// (PR_SET_DUMPABLE(2const); begin_new_exec and would_dump in fs/exec.c):
//
//   - Our user may not read the program's file: it is executed.
//   - Otherwise a copy in memory that nobody may read is executed.
//   - Where that is refused (by AppArmor in a snap, or by the sysctl vm.memfd_noexec), the file is
//     executed with an effective group that is not the real one. [Become] saved that group. The
//     parser gives it up before its runtime starts (preinit.c).
//
// If none is possible, Launch fails with [ErrReadable], and with fs.suid_dumpable=1, which
// undoes all three, with [ErrDumpable].
//
// The parser requests a signal for the end of the thread that started it (for
// PR_SET_PDEATHSIG(2const) that thread is the parent). So the calling goroutine must be locked to a
// thread that lasts as long as the process, such as main after runtime.LockOSThread in an init
// function.
func Launch(args []string) (*Child, error) {
	c, err := launch(args)
	if _, ok := savedGroup(); ok {
		if dropErr := dropSavedGroup(); dropErr != nil {
			err = errors.Join(err, dropErr)
		}
	}
	if err != nil && c != nil {
		c.Kill()
		_, _ = c.Wait()
		c.Close()
		return nil, err
	}
	return c, err
}

func launch(args []string) (*Child, error) {
	if err := checkDumpable(); err != nil {
		return nil, err
	}
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	input, err := noInput()
	if err != nil {
		ours.Close()
		return nil, err
	}
	defer input.Close()
	c := &Child{Conn: ours}
	// Not os.StartProcess: it would clear O_NONBLOCK on standard output, also for other processes
	// that share it.
	c.pid, err = fork(args, &syscall.ProcAttr{
		// In effect earlier than debug.SetTraceback and runtime.GOMAXPROCS in the parser's main.
		Env:   []string{"GOTRACEBACK=none", "GOMAXPROCS=1"},
		Files: []uintptr{input.Fd(), 1, 2, uintptr(theirs.fd)},
		// The parser requests the same signal (DieWithParent), because some ways to start it clear
		// the request. Until then it would outlive a monitor that ends early, and report that.
		Sys: &syscall.SysProcAttr{PidFD: &c.pidfd, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("start parser: %w", err)
	}
	// A seccomp filter that does not know the call refuses it (snapd's does), and Linux before 5.1
	// does not have it. Signal 0 only tests that.
	err = unix.PidfdSendSignal(c.pidfd, 0, nil, 0)
	c.byPID = err == unix.EPERM || err == unix.ENOSYS
	return c, nil
}

// noInput opens the parser's standard input: /dev/null or, in a container without it, a pipe
// without a writer.
func noInput() (*os.File, error) {
	if null, err := os.Open(os.DevNull); err == nil {
		return null, nil
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	return os.NewFile(uintptr(pipe[0]), "pipe"), unix.Close(pipe[1])
}

// ErrReadable is returned by [Launch] if the parser would be dumpable at its start.
var ErrReadable = errors.New("the program's file is readable, and no copy of it in memory may be executed")

// self is the file of the running program, even if another file has taken its name.
const self = "/proc/self/exe"

// readable reports whether the user may read a file. It does not open the file, because a security
// module could refuse that, and the kernel's decision at exec does not depend on security modules.
func readable(path string) bool { return unix.Access(path, unix.R_OK) != unix.EACCES }

// fork starts the parser undumpable, in one of the ways that [Launch] describes.
func fork(args []string, attr *syscall.ProcAttr) (pid int, err error) {
	if !readable(self) {
		return syscall.ForkExec(self, args, attr)
	}
	pid, err = forkCopy(args, attr)
	if !errors.Is(err, fs.ErrPermission) {
		return pid, err
	}
	gid, ok := savedGroup()
	if !ok {
		return 0, fmt.Errorf("%w: %w", ErrReadable, err)
	}
	attr.Sys.Credential = &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(gid), NoSetGroups: true}
	return syscall.ForkExec(self, args, attr)
}

// forkCopy starts the parser from a copy of the file in memory.
func forkCopy(args []string, attr *syscall.ProcAttr) (pid int, err error) {
	file, err := os.Open(self)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	fd, err := unix.MemfdCreate("maas-netmon", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate("maas-netmon", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return 0, os.NewSyscallError("memfd_create", err)
	}
	memory := os.NewFile(uintptr(fd), "memfd")
	defer memory.Close()
	if _, err := io.Copy(memory, file); err != nil {
		return 0, err
	}
	if err := unix.Fchmod(fd, 0o111); err != nil {
		return 0, os.NewSyscallError("fchmod", err)
	}
	// A file that is open for writing cannot be executed, and this one cannot be opened for
	// reading. O_PATH needs neither. Its number must differ from those that the child receives.
	opened, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("open", err)
	}
	defer unix.Close(opened)
	ref, err := unix.FcntlInt(uintptr(opened), unix.F_DUPFD_CLOEXEC, controlFD+1)
	if err != nil {
		return 0, os.NewSyscallError("fcntl", err)
	}
	defer unix.Close(ref)
	if err := memory.Close(); err != nil {
		return 0, err
	}
	return syscall.ForkExec(fmt.Sprintf("/proc/self/fd/%d", ref), args, attr)
}

// ErrDumpable is returned by [Launch] if fs.suid_dumpable=1: then every new process is dumpable.
var ErrDumpable = errors.New("fs.suid_dumpable is 1: any process of the user could reach into the parser while it starts")

// checkDumpable checks the setting that [Launch] relies on: the kernel sets dumpable of such a
// process to fs.suid_dumpable (proc_sys_fs(5)); 0 and 2 keep out other processes of the user. If
// /proc/sys is hidden (by systemd's ProcSubset=, or a security module), the setting is unknown, and
// the program starts.
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

// Pid returns the parser's process ID.
func (c *Child) Pid() int { return c.pid }

// PidFD returns the descriptor (pidfd_open(2)) of the parser.
func (c *Child) PidFD() int { return c.pidfd }

// KilledByPID reports whether Kill uses kill(2), because pidfd_send_signal(2) is refused.
func (c *Child) KilledByPID() bool { return c.byPID }

// Kill ends the parser at once. It has no effect on a parser that has ended already. Safe for
// concurrent use.
func (c *Child) Kill() {
	if !c.byPID {
		_ = unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0)
		return
	}
	// Until Wait has reaped the parser, no other process can have its process ID.
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reaped {
		_ = unix.Kill(c.pid, unix.SIGKILL)
	}
}

// Wait waits for the end of the parser and returns its status.
func (c *Child) Wait() (unix.WaitStatus, error) {
	// A pidfd becomes readable when its process has ended. Poll it without the lock, so that Kill
	// can be called meanwhile.
	for {
		n, err := unix.Ppoll([]unix.PollFd{{Fd: int32(c.pidfd), Events: unix.POLLIN}}, nil, nil)
		if err != nil && err != unix.EINTR {
			return 0, os.NewSyscallError("ppoll", err)
		}
		if n > 0 {
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(c.pid, &status, 0, nil)
		if err != unix.EINTR {
			c.reaped = true
			return status, os.NewSyscallError("wait4", err)
		}
	}
}

// SetName sets the name of the process that ps(1) and pgrep(1) show: a process that was started
// from /proc/self/exe would be called exe. The kernel truncates name to 15 bytes.
func SetName(name string) error {
	b, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	err = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(b)), 0, 0, 0)
	return os.NewSyscallError("prctl", err)
}

// DieWithParent makes the kernel kill the calling process when the thread that started it ends
// (PR_SET_PDEATHSIG(2const)). It fails with [ErrNotStarted] if that thread has ended already.
func DieWithParent(c *Conn) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set parent-death signal: %w", err)
	}
	return c.checkPeer()
}
