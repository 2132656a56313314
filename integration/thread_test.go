package integration

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// becomeNobody makes the calling goroutine's thread, which ends with the goroutine, a
// process of an ordinary user: the system calls are raw, so that the other threads stay.
func becomeNobody(t *testing.T) {
	runtime.LockOSThread()
	// No privilege over the process is left with the user: the ids are what counts.
	for _, call := range [][4]uintptr{
		{unix.SYS_SETGROUPS, 0, 0, 0},
		{unix.SYS_SETRESGID, nobody, nobody, nobody},
		{unix.SYS_SETRESUID, nobody, nobody, nobody},
	} {
		if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
			t.Errorf("become nobody: %v", errno)
		}
	}
}
