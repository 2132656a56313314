package privsep

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Child is the parser as the monitor sees it. Not safe for concurrent use, but for
// Kill.
type Child struct {
	*Conn
	pid, pidfd int
}

// Launch starts the program's own executable anew as the parser: with the given
// argument list (args[0] included), an empty environment, nothing to read on standard
// input, this process's standard output and error, and its end of the socket
// pair. Every other descriptor must be close-on-exec (see [CloseStray]).
//
// The executable is /proc/self/exe: the file that is running, even if another took
// its name. The parser asks for a signal when the thread that made it ends
// (PR_SET_PDEATHSIG(2const) speaks of the thread): the calling goroutine must be
// locked to a thread that lasts as long as the process, as main's is after
// runtime.LockOSThread in an init function.
func Launch(args []string) (*Child, error) {
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
	c.pid, err = syscall.ForkExec("/proc/self/exe", args, &syscall.ProcAttr{
		Env:   []string{},
		Files: []uintptr{null.Fd(), 1, 2, uintptr(theirs.fd)},
		Sys:   &syscall.SysProcAttr{PidFD: &c.pidfd},
	})
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("start parser: %w", err)
	}
	return c, nil
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
