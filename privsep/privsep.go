// Package privsep divides a program into two processes of different privilege: the
// monitor, which opens what needs a privilege, and the parser, which reads what
// strangers wrote.
//
// It starts the parser ([Launch]) from the program's own executable, connects the
// two by a socket pair ([Conn]), and passes messages of one fixed size and, one at
// a time, descriptors. It can close what the program inherited ([CloseStray]) and
// become another user ([Become]). It does not know what the descriptors and
// numbers mean, and holds no opinion on confinement.
package privsep

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

// controlFD is the parser's end of the socket pair, by agreement between [Launch]
// and [Inherit].
const controlFD = 3

// CloseStray closes every descriptor above standard error that the program was
// started with, except keep, so that neither process holds one by accident: what it
// refers to would be readable behind every confinement. keep is marked close-on-exec; a
// number up to 2, or -1, keeps none. Call it first in main.
//
// The Go runtime's own two (its netpoller's epoll instance and eventfd, made early
// when a standard stream does not block) stay, and with them an inherited
// descriptor of these kinds, which leads nowhere.
func CloseStray(keep int) error {
	// None must reach the parser, whatever fails below. The call is new in Linux 5.9 (ENOSYS
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
			unix.CloseOnExec(fd) // for kernels that did not do it above
			continue
		}
		if err := unix.Close(fd); err != nil {
			return fmt.Errorf("close descriptor %d: %w", fd, err)
		}
	}
	return nil
}

// Become changes every user and group of the process to uid and gid, drops the
// supplementary groups, on all threads, and makes sure that there is no way
// back. It needs CAP_SETUID and CAP_SETGID permitted, and keeps the permitted
// capabilities: dropping them is the caller's next step.
func Become(uid, gid int) error {
	// Groups first: the user that remains could not change them any more.
	if err := cap.SetGroups(gid); err != nil {
		return fmt.Errorf("become group %d: %w", gid, err)
	}
	if err := cap.SetUID(uid); err != nil {
		return fmt.Errorf("become user %d: %w", uid, err)
	}
	return nil
}

// CannotReturn fails when the process can still become user 0, which means that
// something of its privilege is left.
func CannotReturn() error {
	if err := syscall.Setresuid(-1, 0, -1); err == nil {
		return errors.New("user 0 could be taken back")
	}
	return nil
}

// Mapped reports whether a user is known in this user namespace (user_namespaces(7)).
// Only a known one can be become.
func Mapped(uid int) (bool, error) {
	maps, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(maps)) {
		var inside, outside, count int
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err != nil {
			return false, fmt.Errorf("read uid_map: %w", err)
		}
		if uid >= inside && uid < inside+count {
			return true, nil
		}
	}
	return false, nil
}
