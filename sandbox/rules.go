package sandbox

import (
	"os"

	"golang.org/x/sys/unix"
)

// A rule allows one system call when all its conditions hold. Several rules for one
// call are alternatives. why names the part of the Go runtime, of glibc or of
// this program that needs the call: a rule without a reason goes.
type rule struct {
	call string
	why  string
	args []arg
}

// arg is the condition that argument number i of a call, under mask, is value. All
// 64 bits are compared where the kernel's type is wider than an int or where
// mask is full: a descriptor with high bits set, which the kernel would cut off,
// does not match.
type arg struct {
	i           uint
	mask, value uint64
}

const all = ^uint64(0)

func is(i uint, value int) arg             { return arg{i, all, uint64(value)} }
func without(i uint, bits int) arg         { return arg{i, uint64(bits), 0} }
func only(i uint, allowed uint64) arg      { return arg{i, ^allowed, 0} }
func with(call, why string, a ...arg) rule { return rule{call, why, a} }

// each returns one rule for each of the values of argument i, under the same further
// conditions.
func each(call, why string, i uint, values []int, more ...arg) []rule {
	var rules []rule
	for _, v := range values {
		rules = append(rules, rule{call, why, append([]arg{is(i, v)}, more...)})
	}
	return rules
}

// clone's flags as glibc's pthread_create gives them (sysdeps/unix/sysv/linux/createthread):
// a thread of this process and nothing else.
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
	unix.CLONE_THREAD | unix.CLONE_SYSVSEM | unix.CLONE_SETTLS |
	unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID

// Of futex(2): the plain operations, with and without FUTEX_PRIVATE_FLAG (128) and
// FUTEX_CLOCK_REALTIME (256). None of those with priority inheritance.
var futexOps = []int{
	0, 1, 3, 5, 9, 10, // WAIT, WAKE, REQUEUE, WAKE_OP, WAIT_BITSET, WAKE_BITSET
	128, 129, 131, 133, 137, 138,
	9 + 256, 137 + 256,
}

// Of madvise(2): DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE, COLLAPSE (Go's heap),
// GUARD_INSTALL and GUARD_REMOVE (glibc's thread stacks, since 2.42).
var madvises = []int{4, 8, 14, 15, 25, 102, 103}

// runtimeRules are what any Go program with cgo needs to run, collect garbage and
// make threads on Linux, with everything lazy already done by settle. eventfds are
// the netpoller's. Measured by running both processes under the filter:
// CONTRIBUTING tells how to add to it.
func runtimeRules(eventfds []int) []rule {
	anonymous := uint64(unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED |
		unix.MAP_NORESERVE | unix.MAP_STACK | unix.MAP_DROPPABLE)
	rules := []rule{
		with("nanosleep", "runtime: usleep while spinning"),
		with("sched_yield", "runtime: osyield"),
		with("clock_gettime", "runtime: where the vDSO has no clock"),
		with("clock_nanosleep", "glibc: usleep when pthread_create must wait"),
		with("getpid", "runtime: before tgkill"),
		with("gettid", "runtime: a new thread learns who it is"),
		with("tgkill", "runtime: preempts its own threads with SIGURG", is(0, os.Getpid())),
		with("rt_sigreturn", "return from a signal handler"),
		with("rt_sigprocmask", "runtime: a thread's mask"),
		with("sigaltstack", "runtime: a thread's signal stack"),
		with("restart_syscall", "the kernel resumes a call after SIGSTOP and SIGCONT"),
		with("mmap", "runtime, glibc: memory, never executable",
			without(2, unix.PROT_EXEC), only(3, anonymous), is(4, 0xffffffff)),
		with("mmap", "runtime, glibc: memory, never executable",
			without(2, unix.PROT_EXEC), only(3, anonymous), is(4, -1)),
		with("mprotect", "runtime, glibc: never executable", without(2, unix.PROT_EXEC)),
		with("munmap", "runtime, glibc: memory"),
		with("brk", "glibc: malloc's first arena"),
		with("clone", "glibc: a thread, nothing else", is(0, threadFlags)),
		with("set_robust_list", "glibc: a new thread"),
		with("rseq", "glibc: a new thread"),
		with("prctl", "runtime: names its memory (CONFIG_ANON_VMA_NAME)",
			is(0, unix.PR_SET_VMA), is(1, unix.PR_SET_VMA_ANON_NAME)),
		with("getrandom", "runtime: seeds, where the vDSO has none"),
		with("exit", "glibc: a thread ends"),
		with("exit_group", "the end"),
	}
	rules = append(rules,
		with("epoll_pwait", "netpoller, which all timers go through, the heap scavenger's too"))
	rules = append(rules, benchRules...)
	rules = append(rules, each("write", "netpoller's wake-up", 0, eventfds)...)
	rules = append(rules, each("read", "netpoller's wake-up", 0, eventfds)...)
	rules = append(rules, each("futex", "runtime, glibc: locks", 1, futexOps)...)
	return append(rules, each("madvise", "runtime, glibc: memory", 2, madvises)...)
}

// readerRules is the whole of what the parser can ask of the kernel from the first frame
// on. sockets are the packet sockets and files the inputs that it reads.
func readerRules(g Grant, eventfds, sockets, files []int) []rule {
	rules := append(runtimeRules(eventfds),
		with("ppoll", "sleeps until there are frames"))
	rules = append(rules, each("write", "lines, errors, answers to the monitor", 0, g.Write)...)
	rules = append(rules, each("read", "the monitor's messages", 0, g.Receive)...)
	rules = append(rules, each("read", "the input", 0, files)...)
	rules = append(rules, each("getsockopt", "frames the kernel dropped", 0, sockets,
		is(1, unix.SOL_PACKET), is(2, unix.PACKET_STATISTICS))...)
	return append(rules, each("getsockopt", "clears ENETDOWN", 0, sockets,
		is(1, unix.SOL_SOCKET), is(2, unix.SO_ERROR))...)
}

// parserRules is what the parser is first confined to: readerRules, and what it takes to
// be given the sockets and files, which will have these numbers, to map the sockets' rings,
// and to put readerRules in force.
func parserRules(g Grant, eventfds, sockets, files []int) []rule {
	rules := readerRules(g, eventfds, sockets, files)
	rules = append(rules, each("recvmsg", "descriptors from the monitor", 0, g.Receive)...)
	rules = append(rules, each("mmap", "a socket's ring, once", 4, sockets,
		is(2, unix.PROT_READ|unix.PROT_WRITE), is(3, unix.MAP_SHARED), is(5, 0))...)
	// ESRCH is how libseccomp likes to be told that a thread could not follow.
	tsync := []int{unix.SECCOMP_FILTER_FLAG_TSYNC, unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH}
	return append(rules, each("seccomp", "readerRules", 1, tsync, is(0, unix.SECCOMP_SET_MODE_FILTER))...)
}

// monitorRules is the same for the monitor once the parser runs: sockets that are bound
// anew, netlink from the kernel, numbers from the parser.
func monitorRules(g Grant, eventfds []int) []rule {
	rules := runtimeRules(eventfds)
	rules = append(rules, each("write", "log, the parser, the service manager", 0, g.Write)...)
	rules = append(rules, each("recvmsg", "the parser's numbers, netlink", 0, g.Receive)...)
	rules = append(rules, each("sendmsg", "netlink", 0, g.Send)...)
	rules = append(rules, each("bind", "moves a packet socket to the interface that came back", 0, g.Bind)...)
	rules = append(rules, each("pwrite64", "metrics file", 0, g.Rewrite)...)
	rules = append(rules, each("ftruncate", "metrics file", 0, g.Rewrite)...)
	if g.Directory != 0 {
		// The names are out of a filter's sight; Landlock keeps them in the directory.
		rules = append(rules,
			with("renameat2", "metrics file", is(0, g.Directory), is(2, g.Directory), is(4, unix.RENAME_EXCHANGE)),
			with("unlinkat", "metrics file", is(0, g.Directory), is(2, 0)))
	}
	return append(rules,
		with("ppoll", "waits for the parser's message, and for room to log"),
		with("epoll_ctl", "netpoller: a descriptor is closed"),
		with("close", "at the end"),
		with("shutdown", "tells the parser that it is over"),
		with("getsockopt", "a socket's error", is(1, unix.SOL_SOCKET), is(2, unix.SO_ERROR)),
		with("wait4", "how the parser ended"),
		with("pidfd_send_signal", "ends the parser", is(0, g.Child)),
	)
}
