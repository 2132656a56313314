package sandbox

import (
	"runtime"
	"testing"

	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// An abi has the numbers of the system calls of one architecture. The filters of both architectures
// are tested on each: libseccomp compiles for any.
type abi struct {
	name    string // as GOARCH
	arch    uint32 // as in struct seccomp_data
	scmp    seccomp.ScmpArch
	numbers map[string]uint32
}

var amd64 = &abi{"amd64", unix.AUDIT_ARCH_X86_64, seccomp.ArchAMD64, map[string]uint32{
	"bind": 49, "brk": 12, "clock_gettime": 228, "clock_nanosleep": 230, "clone": 56, "clone3": 435,
	"close": 3, "epoll_ctl": 233, "epoll_pwait": 281, "exit": 60, "exit_group": 231, "ftruncate": 77,
	"futex": 202, "getpid": 39, "getrandom": 318, "getsockname": 51, "getsockopt": 55, "gettid": 186,
	"kill": 62, "madvise": 28, "mmap": 9, "mprotect": 10, "munmap": 11, "nanosleep": 35, "openat": 257,
	"pidfd_send_signal": 424, "ppoll": 271, "prctl": 157, "pwrite64": 18, "read": 0, "recvmsg": 47,
	"renameat2": 316, "restart_syscall": 219, "rseq": 334, "rt_sigprocmask": 14, "rt_sigreturn": 15,
	"sched_yield": 24, "seccomp": 317, "sendmsg": 46, "set_robust_list": 273, "setsockopt": 54, "shutdown": 48,
	"sigaltstack": 131, "tgkill": 234, "unlinkat": 263, "wait4": 61, "write": 1,
}}

var arm64 = &abi{"arm64", unix.AUDIT_ARCH_AARCH64, seccomp.ArchARM64, map[string]uint32{
	"bind": 200, "brk": 214, "clock_gettime": 113, "clock_nanosleep": 115, "clone": 220, "clone3": 435,
	"close": 57, "epoll_ctl": 21, "epoll_pwait": 22, "exit": 93, "exit_group": 94, "ftruncate": 46,
	"futex": 98, "getpid": 172, "getrandom": 278, "getsockname": 204, "getsockopt": 209, "gettid": 178,
	"kill": 129, "madvise": 233, "mmap": 222, "mprotect": 226, "munmap": 215, "nanosleep": 101, "openat": 56,
	"pidfd_send_signal": 424, "ppoll": 73, "prctl": 167, "pwrite64": 68, "read": 63, "recvmsg": 212,
	"renameat2": 276, "restart_syscall": 128, "rseq": 293, "rt_sigprocmask": 135, "rt_sigreturn": 139,
	"sched_yield": 124, "seccomp": 277, "sendmsg": 211, "set_robust_list": 99, "setsockopt": 208, "shutdown": 210,
	"sigaltstack": 132, "tgkill": 131, "unlinkat": 35, "wait4": 260, "write": 64,
}}

var abis = []*abi{amd64, arm64}

// native is the architecture of the test, and of the filters that the kernel holds.
var native = map[string]*abi{"amd64": amd64, "arm64": arm64}[runtime.GOARCH]

// The numbers equal those of x/sys, which come from the kernel's headers.
func TestNumbers(t *testing.T) {
	theirs := map[string]uint32{
		"bind": unix.SYS_BIND, "brk": unix.SYS_BRK, "clock_gettime": unix.SYS_CLOCK_GETTIME,
		"clock_nanosleep": unix.SYS_CLOCK_NANOSLEEP, "clone": unix.SYS_CLONE, "clone3": unix.SYS_CLONE3,
		"close": unix.SYS_CLOSE, "epoll_ctl": unix.SYS_EPOLL_CTL, "epoll_pwait": unix.SYS_EPOLL_PWAIT,
		"exit": unix.SYS_EXIT, "exit_group": unix.SYS_EXIT_GROUP, "ftruncate": unix.SYS_FTRUNCATE,
		"futex": unix.SYS_FUTEX, "getpid": unix.SYS_GETPID, "getrandom": unix.SYS_GETRANDOM,
		"getsockname": unix.SYS_GETSOCKNAME, "getsockopt": unix.SYS_GETSOCKOPT, "gettid": unix.SYS_GETTID,
		"kill": unix.SYS_KILL, "madvise": unix.SYS_MADVISE, "mmap": unix.SYS_MMAP,
		"mprotect": unix.SYS_MPROTECT, "munmap": unix.SYS_MUNMAP, "nanosleep": unix.SYS_NANOSLEEP,
		"openat": unix.SYS_OPENAT, "pidfd_send_signal": unix.SYS_PIDFD_SEND_SIGNAL, "ppoll": unix.SYS_PPOLL,
		"prctl": unix.SYS_PRCTL, "pwrite64": unix.SYS_PWRITE64, "read": unix.SYS_READ,
		"recvmsg": unix.SYS_RECVMSG, "renameat2": unix.SYS_RENAMEAT2,
		"restart_syscall": unix.SYS_RESTART_SYSCALL, "rseq": unix.SYS_RSEQ,
		"rt_sigprocmask": unix.SYS_RT_SIGPROCMASK, "rt_sigreturn": unix.SYS_RT_SIGRETURN,
		"sched_yield": unix.SYS_SCHED_YIELD, "seccomp": unix.SYS_SECCOMP, "sendmsg": unix.SYS_SENDMSG,
		"set_robust_list": unix.SYS_SET_ROBUST_LIST, "setsockopt": unix.SYS_SETSOCKOPT, "shutdown": unix.SYS_SHUTDOWN,
		"sigaltstack": unix.SYS_SIGALTSTACK, "tgkill": unix.SYS_TGKILL, "unlinkat": unix.SYS_UNLINKAT,
		"wait4": unix.SYS_WAIT4, "write": unix.SYS_WRITE,
	}
	for _, a := range abis {
		if len(a.numbers) != len(theirs) {
			t.Errorf("%s: %d numbers, want %d", a.name, len(a.numbers), len(theirs))
		}
		for call := range theirs {
			if _, ok := a.numbers[call]; !ok {
				t.Errorf("%s: no number of %s", a.name, call)
			}
		}
	}
	for call, nr := range theirs {
		if native.numbers[call] != nr {
			t.Errorf("%s: %s is %d, not %d", native.name, call, nr, native.numbers[call])
		}
	}
}
