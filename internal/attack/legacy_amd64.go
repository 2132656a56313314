package attack

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// legacy has acts that only this architecture has: two more entry points of the kernel, and calls
// that newer architectures lack. It also has acts that need assembly: new processes, whose first
// instruction must be known.
var legacy = []Act{
	dies(transmit, "write by int 0x80", Sent, func(t Target) syscall.Errno {
		return i386(4, uintptr(t.Packet), frameAddress(), frameLen)
	}),
	dies(transmit, "write by x32", Whatever, func(t Target) syscall.Errno { // most kernels are built without x32
		return raw(unix.SYS_WRITE|x32, uintptr(t.Packet), frameAddress(), frameLen)
	}),
	dies(machine, "getpid by int 0x80", Done, func(Target) syscall.Errno { return i386(20, 0, 0, 0) }),
	dies(machine, "getpid by x32", Whatever, sys(unix.SYS_GETPID|x32)),
	dies(network, "socket by int 0x80", Done, func(Target) syscall.Errno { return i386(359, unix.AF_INET, unix.SOCK_DGRAM, 0) }),
	dies(fileSystem, "open by int 0x80", "EFAULT", func(Target) syscall.Errno { return i386(5, 0, unix.O_RDONLY, 0) }),
	dies(transmit, "dup2 over standard output, then write", Sent, through(func(t Target) (uintptr, syscall.Errno) {
		return value(unix.SYS_DUP2, uintptr(t.Packet), stdout)
	})),
	dies(fileSystem, "open", Done, sys(unix.SYS_OPEN, text("/etc/passwd"), unix.O_RDONLY)),
	dies(fileSystem, "creat", Done, sys(unix.SYS_CREAT, text("/tmp/new"), 0o600)),
	dies(fileSystem, "mknod", Done, sys(unix.SYS_MKNOD, text("/tmp/fifo"), unix.S_IFIFO|0o600, 0)),
	dies(fileSystem, "pipe", Done, func(Target) syscall.Errno { return raw(unix.SYS_PIPE, keep([2]int32{})) }),
	dies(fileSystem, "inotify_init", Done, sys(unix.SYS_INOTIFY_INIT)),
	dies(machine, "alarm", Done, sys(unix.SYS_ALARM, 0)),
	dies(machine, "modify_ldt", Whatever, sys(unix.SYS_MODIFY_LDT, 0, wordAddress(), 64)),
	dies(machine, "arch_prctl", Done, sys(unix.SYS_ARCH_PRCTL, 0x1004, wordAddress())), // ARCH_GET_GS
	dies(machine, "iopl", Whatever, sys(unix.SYS_IOPL, 3)),
	dies(machine, "ioperm", Whatever, sys(unix.SYS_IOPERM, 0x80, 1, 1)),
	dies(privilege, "setrlimit, the old one", Done, func(Target) syscall.Errno {
		return raw(unix.SYS_SETRLIMIT, unix.RLIMIT_CORE, keep(unix.Rlimit{}))
	}),

	dies(program, "fork", Done, process(unix.SYS_FORK)),
	dies(program, "vfork", Done, process(unix.SYS_VFORK)),
	dies(program, "clone a process", Done, process(unix.SYS_CLONE, uintptr(unix.SIGCHLD))),
	dies(program, "clone a process that shares memory", Done, process(unix.SYS_CLONE, unix.CLONE_VM|unix.CLONE_VFORK|uintptr(unix.SIGCHLD))),
	dies(program, "clone a process with a descriptor for it", Done, func(Target) syscall.Errno {
		return spawn(unix.SYS_CLONE, unix.CLONE_PIDFD|uintptr(unix.SIGCHLD), 0, keep(int32(0)))
	}),
	dies(program, "clone a sibling", Whatever, process(unix.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD))),
	dies(privilege, "clone into a user namespace", Whatever, process(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD))),
	dies(privilege, "clone into a network namespace", Done, process(unix.SYS_CLONE, unix.CLONE_NEWNET|uintptr(unix.SIGCHLD))),
	dies(program, "clone a thread without its usual flags", "EINVAL", process(unix.SYS_CLONE, unix.CLONE_THREAD)),
	// The filter cannot see its flags, and answers ENOSYS.
	{program, "clone3 a process", "ENOSYS", "ENOSYS", Done, func(Target) syscall.Errno {
		return spawn(unix.SYS_CLONE3, keep([8]uint64{4: uint64(unix.SIGCHLD)}), 64, 0)
	}},
	{privilege, "clone3 into a user namespace", "ENOSYS", "ENOSYS", Whatever, func(Target) syscall.Errno {
		return spawn(unix.SYS_CLONE3, keep([8]uint64{unix.CLONE_NEWUSER, 4: uint64(unix.SIGCHLD)}), 64, 0)
	}},
}

// x32 marks the number of a call of the x32 ABI (syscall(2)).
const x32 = 0x40000000

// i386 makes a system call through the entry point for 32-bit programs. Addresses must be below 4
// GiB, like those of variables in an executable that is not position-independent.
func i386(number, a, b, c uintptr) syscall.Errno { return failed(int64(int32(int80(number, a, b, c)))) }

// process is an act that creates a process, which ends at once.
func process(number uintptr, args ...uintptr) func(Target) syscall.Errno {
	return func(Target) syscall.Errno {
		var a [3]uintptr
		copy(a[:], args)
		return spawn(number, a[0], a[1], a[2])
	}
}

func spawn(number, a, b, c uintptr) syscall.Errno { return failed(int64(spawnExit(number, a, b, c))) }

// failed returns the errno in the raw result of a system call.
func failed(result int64) syscall.Errno {
	if result < 0 && result > -4096 {
		return syscall.Errno(-result)
	}
	return 0
}

// int80 makes a system call by int 0x80 and returns its raw result.
func int80(number, a, b, c uintptr) uintptr

// spawnExit makes a system call that creates a process and returns its raw result. The new process,
// which may share this one's stack, ends without using it.
func spawnExit(number, a, b, c uintptr) uintptr
