// Package privsep divides a program into two processes of different privilege: the monitor, which
// performs the acts that need a privilege, and the parser, which reads untrusted input.
//
// It starts the parser ([Launch]) from the program's own executable, connects the two by a socket
// pair ([Conn]), and passes messages of one fixed size and, one at a time, descriptors. It can
// close the descriptors that the program inherited ([CloseStray]) and become another user
// ([Become]). It does not interpret the descriptors and numbers, and does not confine a process.
//
// Its C part, preinit.c, runs in both processes before the Go runtime starts. It sets the variables
// that the runtime reads, and ends the process with one line if the runtime would crash for lack of
// threads or memory.
package privsep

// #cgo LDFLAGS: -Wl,--wrap=pthread_create -Wl,--wrap=mmap
// #include <sys/types.h>
// extern pid_t privsep_parent;
import "C"

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// controlFD is the number of the parser's end of the socket pair, used by [Launch] and [Inherit].
const controlFD = 3

// CloseStray closes every descriptor above standard error that the program was started with, except
// keep, so that neither process has such a descriptor: even a confined process could still read
// from it or write to it. keep is marked close-on-exec; a number up to 2, or -1, keeps none. Call
// it first in main.
//
// The two descriptors of the Go runtime stay (its netpoller's epoll instance and eventfd, created
// early if a standard stream is non-blocking). So does an inherited descriptor of these types; it
// gives access to nothing else.
func CloseStray(keep int) error {
	// None must reach the parser, even if a step below fails. The call is new in Linux 5.9 (ENOSYS
	// before), the flag in 5.11 (EINVAL before).
	if err := unix.CloseRange(controlFD, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC); err != nil && err != unix.ENOSYS && err != unix.EINVAL {
		return fmt.Errorf("mark descriptors close-on-exec: %w", err)
	}
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list descriptors: %w", err)
	}
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil {
			return fmt.Errorf("list descriptors: %w", err)
		}
		if fd < controlFD || fd == int(dir.Fd()) {
			continue
		}
		if kind, _ := os.Readlink("/proc/self/fd/" + name); fd == keep || strings.HasPrefix(kind, "anon_inode:[event") {
			unix.CloseOnExec(fd) // for kernels that refused the call above
			continue
		}
		if err := unix.Close(fd); err != nil {
			return fmt.Errorf("close descriptor %d: %w", fd, err)
		}
	}
	return nil
}

// Become changes every user and group of the process to uid and gid and drops the supplementary
// groups, on all threads. It needs CAP_SETUID and CAP_SETGID permitted, and keeps the permitted
// capabilities: the caller has to drop them next. After an error the group may be changed, but not
// the user.
//
// If the new user may read the program's file, the former group remains as the saved set-group-ID
// until [Launch], which needs it and then drops it.
func Become(uid, gid int) error {
	was := os.Getgid()
	// Groups first: the new user may not change them.
	if err := cap.SetGroups(gid); err != nil {
		return fmt.Errorf("become group %d: %w", gid, err)
	}
	if err := cap.SetUID(uid); err != nil {
		return fmt.Errorf("become user %d: %w", uid, err)
	}
	if was == gid || !readable(self) {
		return nil
	}
	return saveGroup(was)
}

// saveGroup makes a group the saved set-group-ID on all threads. A refusal is not an error.
func saveGroup(saved int) error {
	set := cap.GetProc()
	if err := set.SetFlag(cap.Effective, true, cap.SETGID); err != nil {
		return err
	}
	if err := set.SetProc(); err != nil {
		return fmt.Errorf("raise CAP_SETGID: %w", err)
	}
	gid := os.Getgid()
	_ = syscall.Setresgid(gid, gid, saved)
	if err := set.ClearFlag(cap.Effective); err != nil {
		return err
	}
	return set.SetProc()
}

// savedGroup returns the saved set-group-ID if it is not the real one.
func savedGroup() (gid int, ok bool) {
	real, _, saved := unix.Getresgid()
	return saved, saved != real
}

// dropSavedGroup makes the real group the saved one on all threads.
func dropSavedGroup() error {
	gid := os.Getgid()
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return fmt.Errorf("leave the former group: %w", err)
	}
	return nil
}

// CheckNoRoot fails if the process can still become user 0, that is, if it has kept a privilege.
func CheckNoRoot() error {
	if err := syscall.Setresuid(-1, 0, -1); err == nil {
		return errors.New("user 0 could be taken back")
	}
	return nil
}

// InUserNamespace reports whether the process is in a user namespace other than the initial one, in
// which user IDs are not those of the machine (user_namespaces(7)). If a security module hides the
// map, InUserNamespace assumes the initial one.
func InUserNamespace() bool {
	maps, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(maps)), " ") != "0 0 4294967295"
}

// EndWithParent makes the kernel send SIGTERM to the calling process when its parent ends. A change
// of the user or of capabilities undoes that (PR_SET_PDEATHSIG(2const)), so call it after all
// privileges are dropped. In the kernel, the parent is the thread that started this process. It
// fails with [ErrParentEnded] if the parent has ended since this process started.
func EndWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0); err != nil {
		return fmt.Errorf("set parent-death signal: %w", err)
	}
	if os.Getppid() != int(C.privsep_parent) {
		return ErrParentEnded
	}
	return nil
}

// ErrParentEnded is returned by [EndWithParent].
var ErrParentEnded = errors.New("the process that started it has ended")
