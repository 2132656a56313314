package attack

import (
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const program = "run another program"

// programs has acts of exec. The executed program reports that it runs.
var programs = []Act{
	dies(program, "execve", Done, func(Target) syscall.Errno {
		return raw(unix.SYS_EXECVE, text("/bin/sh"), arguments("execve"), 0)
	}),
	dies(program, "execveat", Done, func(Target) syscall.Errno {
		return raw(unix.SYS_EXECVEAT, cwd, text("/bin/sh"), arguments("execveat"), 0, 0)
	}),
	dies(program, "execveat by a descriptor", "EACCES", sys(unix.SYS_EXECVEAT, 0, text(""), 0, 0, unix.AT_EMPTY_PATH)),
}

// arguments returns the argument list of a shell that reports an act as done.
func arguments(name string) uintptr {
	return keep([4]uintptr{text("sh"), text("-c"), text("echo attack: " + name + ": done >&2"), 0})
}

const reachIn = "reach into another process"

// processes has acts on the other process, and on all others.
var processes = []Act{
	dies(reachIn, "ptrace PTRACE_ATTACH", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(t.Peer))
	}),
	dies(reachIn, "ptrace PTRACE_SEIZE", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(t.Peer))
	}),
	// In other processes, the tests would become the tracer.
	dies(reachIn, "ptrace PTRACE_TRACEME", NotTried, sys(unix.SYS_PTRACE, unix.PTRACE_TRACEME)),
	dies(reachIn, "process_vm_readv", Done, vm(unix.SYS_PROCESS_VM_READV)),
	dies(reachIn, "process_vm_writev", Done, vm(unix.SYS_PROCESS_VM_WRITEV)),
	dies(reachIn, "open /proc/PID/mem", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_OPENAT, cwd, text("/proc/"+strconv.Itoa(t.Peer)+"/mem"), unix.O_RDWR)
	}),
	dies(reachIn, "kill", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_KILL, uintptr(t.Peer), uintptr(unix.SIGKILL))
	}),
	dies(reachIn, "kill the process group", Done, sys(unix.SYS_KILL, 0, 0)),
	dies(reachIn, "tkill", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_TKILL, uintptr(t.Peer), uintptr(unix.SIGKILL))
	}),
	dies(reachIn, "tgkill", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_TGKILL, uintptr(t.Peer), uintptr(t.Peer), uintptr(unix.SIGKILL))
	}),
	dies(reachIn, "tgkill, high bits in the process number", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_TGKILL, uintptr(t.Peer)|high, uintptr(t.Peer), uintptr(unix.SIGKILL))
	}),
	dies(reachIn, "rt_sigqueueinfo", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_RT_SIGQUEUEINFO, uintptr(t.Peer), uintptr(unix.SIGKILL), queued())
	}),
	dies(reachIn, "rt_tgsigqueueinfo", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_RT_TGSIGQUEUEINFO, uintptr(t.Peer), uintptr(t.Peer), uintptr(unix.SIGKILL), queued())
	}),
	dies(reachIn, "pidfd_open", Done, func(t Target) syscall.Errno { return raw(unix.SYS_PIDFD_OPEN, uintptr(t.Peer), 0) }),
	dies(reachIn, "pidfd_getfd", Done, func(t Target) syscall.Errno { return raw(unix.SYS_PIDFD_GETFD, uintptr(t.PidFD), 0, 0) }),
	// The monitor may, through its one descriptor of the parser.
	dies(reachIn, "pidfd_send_signal", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_PIDFD_SEND_SIGNAL, uintptr(t.PidFD), uintptr(unix.SIGKILL), 0, 0)
	}),
	dies(reachIn, "process_madvise", Whatever, func(t Target) syscall.Errno {
		return raw(unix.SYS_PROCESS_MADVISE, uintptr(t.PidFD), keep(unix.Iovec{}), 1, unix.MADV_COLD, 0)
	}),
	dies(reachIn, "process_mrelease", Whatever, func(t Target) syscall.Errno {
		return raw(unix.SYS_PROCESS_MRELEASE, uintptr(t.PidFD), 0)
	}),
	dies(reachIn, "kcmp", Whatever, func(t Target) syscall.Errno {
		return raw(unix.SYS_KCMP, uintptr(t.Peer), uintptr(t.Peer), 0, 0, 0)
	}),
	dies(reachIn, "move_pages", Whatever, func(t Target) syscall.Errno {
		return raw(unix.SYS_MOVE_PAGES, uintptr(t.Peer), 0, 0, 0, 0, 0)
	}),
	dies(reachIn, "get_robust_list", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_GET_ROBUST_LIST, uintptr(t.Peer), wordAddress(), wordAddress())
	}),
	dies(reachIn, "prlimit64", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_PRLIMIT64, uintptr(t.Peer), unix.RLIMIT_CORE, keep(unix.Rlimit{}), 0)
	}),
	dies(reachIn, "setpriority", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, uintptr(t.Peer), 19)
	}),
	dies(reachIn, "sched_setscheduler", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_SCHED_SETSCHEDULER, uintptr(t.Peer), unix.SCHED_BATCH, keep(int32(0)))
	}),
	dies(reachIn, "sched_setaffinity", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_SCHED_SETAFFINITY, uintptr(t.Peer), 8, keep(^uint64(0)))
	}),
	dies(reachIn, "setpgid", Whatever, func(t Target) syscall.Errno { return raw(unix.SYS_SETPGID, uintptr(t.Peer), 0) }),
	dies(reachIn, "setsid", Whatever, sys(unix.SYS_SETSID)),
	dies(reachIn, "waitid", Whatever, sys(unix.SYS_WAITID, unix.P_ALL, 0, 0, unix.WEXITED|unix.WNOHANG, 0)),
	{reachIn, "wait4", Killed, NotTried, Done, sys(unix.SYS_WAIT4, none, 0, unix.WNOHANG, 0)},
	dies(reachIn, "shmget", Done, sys(unix.SYS_SHMGET, unix.IPC_PRIVATE, page, 0o600)),
	dies(reachIn, "shmat", "EINVAL", sys(unix.SYS_SHMAT, none, 0, 0)),
	dies(reachIn, "semget", Done, sys(unix.SYS_SEMGET, unix.IPC_PRIVATE, 1, 0o600)),
	dies(reachIn, "msgget", Done, sys(unix.SYS_MSGGET, unix.IPC_PRIVATE, 0o600)),
	dies(reachIn, "mq_open", Done, sys(unix.SYS_MQ_OPEN, text("x"), unix.O_RDWR|unix.O_CREAT, 0o600, 0)),
	dies(reachIn, "mq_unlink", "ENOENT", sys(unix.SYS_MQ_UNLINK, text("none"))),
	dies(reachIn, "futex FUTEX_LOCK_PI", Done, futex(6)),
	dies(reachIn, "futex FUTEX_TRYLOCK_PI", Done, futex(8)),
	dies(reachIn, "futex FUTEX_UNLOCK_PI", "EPERM", futex(7)),
	dies(reachIn, "futex FUTEX_CMP_REQUEUE_PI", Whatever, futex(12)),
	dies(reachIn, "futex FUTEX_WAIT_REQUEUE_PI", Whatever, futex(11)),
	dies(reachIn, "futex FUTEX_LOCK_PI2", Whatever, futex(13)),
	dies(reachIn, "futex FUTEX_FD", "ENOSYS", futex(2)),
	dies(reachIn, "futex_waitv", Whatever, sys(unix.SYS_FUTEX_WAITV, 0, 0, 0, 0, 0)),
}

// vm is an act that copies between memory of this process and of the other.
func vm(number uintptr) func(Target) syscall.Errno {
	return func(t Target) syscall.Errno {
		local := keep(unix.Iovec{Base: &word[0], Len: 8})
		remote := keep([2]uintptr{wordAddress(), 8})
		return raw(number, uintptr(t.Peer), local, 1, remote, 1, 0)
	}
}

// queued returns the address of a siginfo_t of SI_QUEUE.
func queued() uintptr { return keep([32]int32{int32(unix.SIGKILL), 0, -1}) }

// futex is an act on a futex that is free, by the number of its operation
// (include/uapi/linux/futex.h).
func futex(operation uintptr) func(Target) syscall.Errno {
	return func(Target) syscall.Errno {
		return raw(unix.SYS_FUTEX, keep(uint32(0)), operation, 1, 0, keep(uint32(0)), 0)
	}
}

const privilege = "gain a privilege, or undo the confinement"

// privileges has acts that try to undo the confinement.
var privileges = []Act{
	dies(privilege, "capset", Done, func(Target) syscall.Errno { // CAP_NET_RAW
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		data := [2]unix.CapUserData{{Effective: 1 << unix.CAP_NET_RAW, Permitted: 1 << unix.CAP_NET_RAW}}
		return raw(unix.SYS_CAPSET, keep(header), keep(data))
	}),
	dies(privilege, "capget", Done, sys(unix.SYS_CAPGET, keep(unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}), keep([2]unix.CapUserData{}))),
	dies(privilege, "PR_CAP_AMBIENT", "EPERM", sys(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_RAW, 0, 0)),
	dies(privilege, "PR_CAPBSET_DROP", Done, sys(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, unix.CAP_NET_RAW)),
	dies(privilege, "PR_SET_SECUREBITS", Done, sys(unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, 0)),
	dies(privilege, "PR_SET_KEEPCAPS", Done, sys(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1)),
	dies(privilege, "PR_SET_NO_NEW_PRIVS 0", "EINVAL", sys(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0)),
	dies(privilege, "PR_SET_DUMPABLE 1", Done, sys(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1)),
	dies(privilege, "PR_SET_MDWE 0", Whatever, sys(unix.SYS_PRCTL, unix.PR_SET_MDWE, 0, 0, 0, 0)),
	dies(privilege, "PR_SET_PDEATHSIG 0", Done, sys(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, 0)),
	dies(privilege, "PR_SET_PTRACER", Whatever, func(t Target) syscall.Errno {
		return raw(unix.SYS_PRCTL, unix.PR_SET_PTRACER, uintptr(t.Peer))
	}),
	dies(privilege, "PR_SET_MM", Whatever, sys(unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_BRK, 0, 0, 0)),
	dies(privilege, "PR_SET_NAME", Done, sys(unix.SYS_PRCTL, unix.PR_SET_NAME, text("sshd"))),
	dies(privilege, "PR_SET_CHILD_SUBREAPER", Done, sys(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1)),
	dies(privilege, "PR_SET_TIMERSLACK", Done, sys(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, 1)),
	dies(privilege, "PR_SET_SPECULATION_CTRL", Whatever, sys(unix.SYS_PRCTL, unix.PR_SET_SPECULATION_CTRL, unix.PR_SPEC_STORE_BYPASS, unix.PR_SPEC_ENABLE)),
	dies(privilege, "PR_SET_SYSCALL_USER_DISPATCH", Whatever, sys(unix.SYS_PRCTL, unix.PR_SET_SYSCALL_USER_DISPATCH, unix.PR_SYS_DISPATCH_OFF)),
	dies(privilege, "PR_SET_VMA, not a name", "EINVAL", sys(unix.SYS_PRCTL, unix.PR_SET_VMA, 1)),
	dies(privilege, "PR_GET_DUMPABLE", Done, sys(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE)),
	dies(privilege, "PR_SET_SECCOMP", "EFAULT", sys(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, 0)),
	dies(privilege, "seccomp, one more filter", Done, addFilter(0)),
	dies(privilege, "seccomp, one more filter for all threads", Done, addFilter(unix.SECCOMP_FILTER_FLAG_TSYNC)),
	dies(privilege, "seccomp with a listener", Done, addFilter(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)),
	dies(privilege, "seccomp, asked what it can", Done, sys(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, keep(uint32(0)))),
	dies(privilege, "landlock_create_ruleset", Whatever, sys(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)),
	dies(privilege, "landlock_restrict_self", Whatever, sys(unix.SYS_LANDLOCK_RESTRICT_SELF, none, 0)),
	dies(privilege, "setuid", Done, sys(unix.SYS_SETUID, 0)),
	dies(privilege, "setgid", Done, sys(unix.SYS_SETGID, 0)),
	dies(privilege, "setreuid", Done, sys(unix.SYS_SETREUID, 0, 0)),
	dies(privilege, "setregid", Done, sys(unix.SYS_SETREGID, 0, 0)),
	dies(privilege, "setresuid", Done, sys(unix.SYS_SETRESUID, 0, 0, 0)),
	dies(privilege, "setresgid", Done, sys(unix.SYS_SETRESGID, 0, 0, 0)),
	dies(privilege, "setfsuid", Done, sys(unix.SYS_SETFSUID, 0)),
	dies(privilege, "setfsgid", Done, sys(unix.SYS_SETFSGID, 0)),
	dies(privilege, "setgroups", DoneByRoot, sys(unix.SYS_SETGROUPS, 0, 0)),
	dies(privilege, "setrlimit", Done, func(Target) syscall.Errno {
		return raw(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_CORE, keep(unix.Rlimit{}), 0)
	}),
	dies(privilege, "unshare CLONE_NEWUSER", "EINVAL", sys(unix.SYS_UNSHARE, unix.CLONE_NEWUSER)), // refused with several threads
	dies(privilege, "unshare CLONE_NEWNET", Done, sys(unix.SYS_UNSHARE, unix.CLONE_NEWNET)),
	dies(privilege, "unshare CLONE_FILES", Done, sys(unix.SYS_UNSHARE, unix.CLONE_FILES)),
	dies(privilege, "setns", "EINVAL", sys(unix.SYS_SETNS, 0, 0)),
	dies(privilege, "personality", Done, sys(unix.SYS_PERSONALITY, 0x0400000)), // READ_IMPLIES_EXEC
	dies(privilege, "add_key", Whatever, sys(unix.SYS_ADD_KEY, text("user"), text("x"), text("x"), 1, ^uintptr(1))),
	dies(privilege, "request_key", Whatever, sys(unix.SYS_REQUEST_KEY, text("user"), text("none"), 0, 0)),
	dies(privilege, "keyctl", Whatever, sys(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 0)),
}

// addFilter is an act that adds a seccomp filter, one that allows everything.
func addFilter(flags uintptr) func(Target) syscall.Errno {
	return func(Target) syscall.Errno {
		filter := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0x7fff0000} // SECCOMP_RET_ALLOW
		return raw(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, keep(unix.SockFprog{Len: 1, Filter: &filter}))
	}
}

const code = "run code that was not there, or disturb memory"

// memory has acts on the process's own memory.
var memory = []Act{
	dies(code, "mmap executable", Done, mmap(unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)),
	dies(code, "mmap writable and executable", Done, mmap(unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)),
	// The same descriptor, -1, with 32 bits.
	dies(code, "mmap executable, 32 bits of descriptor", Done,
		sys(unix.SYS_MMAP, 0, page, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, 0xffffffff, 0)),
	dies(code, "mmap shared, 32 bits of descriptor", Done,
		sys(unix.SYS_MMAP, 0, page, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_ANONYMOUS, 0xffffffff, 0)),
	dies(code, "mmap shared", Done, mmap(unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)),
	dies(code, "mmap locked", Done, mmap(unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_LOCKED)),
	dies(code, "mmap a stack that grows", Done, mmap(unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_GROWSDOWN)),
	dies(code, "mmap a file", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_MMAP, 0, page, unix.PROT_READ, unix.MAP_PRIVATE, uintptr(t.File), 0)
	}),
	dies(code, "mprotect executable", Done, onPage(func(address uintptr) syscall.Errno {
		return raw(unix.SYS_MPROTECT, address, page, unix.PROT_READ|unix.PROT_EXEC)
	})),
	dies(code, "mprotect writable and executable", Done, onPage(func(address uintptr) syscall.Errno {
		return raw(unix.SYS_MPROTECT, address, page, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC)
	})),
	dies(code, "mprotect the program's code writable and executable", Done, func(Target) syscall.Errno {
		pc, _, _, _ := runtime.Caller(0)
		return raw(unix.SYS_MPROTECT, pc&^(page-1), page, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC)
	}),
	dies(code, "pkey_mprotect", Done, onPage(func(address uintptr) syscall.Errno {
		return raw(unix.SYS_PKEY_MPROTECT, address, page, unix.PROT_READ|unix.PROT_EXEC, none)
	})),
	dies(code, "pkey_alloc", Whatever, sys(unix.SYS_PKEY_ALLOC, 0, 0)),
	dies(code, "mremap", Done, onPage(func(address uintptr) syscall.Errno {
		return raw(unix.SYS_MREMAP, address, page, 2*page, unix.MREMAP_MAYMOVE)
	})),
	dies(code, "remap_file_pages", Whatever, onPage(func(address uintptr) syscall.Errno {
		return raw(unix.SYS_REMAP_FILE_PAGES, address, page, 0, 0, 0)
	})),
	dies(code, "madvise MADV_DONTFORK", Done, onPage(func(address uintptr) syscall.Errno {
		return raw(unix.SYS_MADVISE, address, page, unix.MADV_DONTFORK)
	})),
	dies(code, "madvise MADV_MERGEABLE", Whatever, onPage(func(address uintptr) syscall.Errno {
		return raw(unix.SYS_MADVISE, address, page, unix.MADV_MERGEABLE)
	})),
	dies(code, "mlock", Done, onPage(func(address uintptr) syscall.Errno { return raw(unix.SYS_MLOCK, address, page) })),
	dies(code, "mlockall", Whatever, sys(unix.SYS_MLOCKALL, 0)),
	dies(code, "msync", Done, onPage(func(address uintptr) syscall.Errno { return raw(unix.SYS_MSYNC, address, page, unix.MS_ASYNC) })),
	dies(code, "mincore", Done, onPage(func(address uintptr) syscall.Errno {
		return raw(unix.SYS_MINCORE, address, page, wordAddress())
	})),
	dies(code, "mbind", Whatever, onPage(func(address uintptr) syscall.Errno { return raw(unix.SYS_MBIND, address, page, 0, 0, 0, 0) })),
	dies(code, "mseal", Whatever, onPage(func(address uintptr) syscall.Errno { return raw(462, address, page, 0) })),
	dies(code, "map_shadow_stack", Whatever, sys(453, 0, page, 0)),
	dies(code, "userfaultfd", Whatever, sys(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|1)), // UFFD_USER_MODE_ONLY
	dies(code, "membarrier", Done, sys(unix.SYS_MEMBARRIER, 0, 0, 0)),
	dies(code, "set_tid_address", Done, sys(unix.SYS_SET_TID_ADDRESS, wordAddress())),
}

// mmap is an act that maps a page.
func mmap(protection, flags uintptr) func(Target) syscall.Errno {
	return sys(unix.SYS_MMAP, 0, page, protection, flags, none, 0)
}

// onPage is an act on a separate page of memory, which any process may have.
func onPage(f func(address uintptr) syscall.Errno) func(Target) syscall.Errno {
	return func(Target) syscall.Errno {
		address, errno := value(unix.SYS_MMAP, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, none, 0)
		if errno != 0 {
			return errno
		}
		return f(address)
	}
}

const machine = "reach the kernel, or learn about the machine"

// kernel has acts with the other calls of the kernel.
var kernel = []Act{
	dies(machine, "bpf", Whatever, sys(unix.SYS_BPF, unix.BPF_MAP_CREATE, keep([12]uint32{unix.BPF_MAP_TYPE_ARRAY, 4, 4, 1}), 48)),
	dies(machine, "perf_event_open", Whatever, func(Target) syscall.Errno {
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Bits: unix.PerfBitDisabled | unix.PerfBitExcludeKernel}
		attr.Size = uint32(unsafe.Sizeof(attr))
		return raw(unix.SYS_PERF_EVENT_OPEN, keep(attr), 0, none, none, 0)
	}),
	dies(machine, "init_module", Whatever, sys(unix.SYS_INIT_MODULE, 0, 0, text(""))),
	dies(machine, "finit_module", Whatever, sys(unix.SYS_FINIT_MODULE, none, text(""), 0)),
	dies(machine, "delete_module", Whatever, sys(unix.SYS_DELETE_MODULE, text("no such module"), unix.O_NONBLOCK)),
	dies(machine, "kexec_load", Whatever, sys(unix.SYS_KEXEC_LOAD, 0, none, 0, none)), // no such flags
	dies(machine, "reboot", Whatever, sys(unix.SYS_REBOOT, 0, 0, 0)),                  // not its magic numbers
	dies(machine, "syslog", Whatever, sys(unix.SYS_SYSLOG, 10, 0, 0)),                 // the size of the buffer
	dies(machine, "acct", Whatever, sys(unix.SYS_ACCT, text("/tmp/none"))),
	dies(machine, "sethostname", Done, sys(unix.SYS_SETHOSTNAME, text("x"), 1)),
	dies(machine, "clock_settime", "EFAULT", sys(unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, 0)),
	dies(machine, "adjtimex", Done, sys(unix.SYS_ADJTIMEX, keep(unix.Timex{}))), // only reads
	dies(machine, "timer_create", Done, sys(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, 0, keep(int32(0)))),
	dies(machine, "setitimer", Done, sys(unix.SYS_SETITIMER, 0, keep([4]int64{}), 0)),
	dies(machine, "timerfd_create", Done, sys(unix.SYS_TIMERFD_CREATE, unix.CLOCK_MONOTONIC, 0)),
	dies(machine, "signalfd4", Done, sys(unix.SYS_SIGNALFD4, none, keep(uint64(0)), 8, 0)),
	dies(machine, "ioprio_set", Whatever, sys(unix.SYS_IOPRIO_SET, 1, 0, 0)),
	dies(machine, "rt_sigaction", Done, sys(unix.SYS_RT_SIGACTION, uintptr(unix.SIGUSR2), keep([4]uint64{}), 0, 8)),
	dies(machine, "uname", Done, sys(unix.SYS_UNAME, keep(unix.Utsname{}))),
	dies(machine, "sysinfo", Done, sys(unix.SYS_SYSINFO, keep(unix.Sysinfo_t{}))),
	dies(machine, "getrusage", Done, sys(unix.SYS_GETRUSAGE, 0, keep(unix.Rusage{}))),
	dies(machine, "getppid", Done, sys(unix.SYS_GETPPID)),
	dies(machine, "getuid", Done, sys(unix.SYS_GETUID)),
	dies(machine, "sched_getaffinity", Done, sys(unix.SYS_SCHED_GETAFFINITY, 0, 64, wordAddress())),
	dies(machine, "a call that does not exist", "ENOSYS", sys(9999)),
	dies(machine, "the call with the highest number", "ENOSYS", sys(0xffffffff)),
}
