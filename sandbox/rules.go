package sandbox

import (
	"math/bits"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// A rule allows one system call if all its conditions are true. Several rules for one call are
// alternatives. why names the part of the Go runtime, of glibc or of this program that needs the
// call. Each rule must have a reason.
type rule struct {
	call string
	why  string
	args []arg
}

// arg is the condition that argument number i of a call, under mask, equals value. It compares all
// 64 bits of the argument. The kernel ignores the upper half of a descriptor, so a condition on a
// descriptor has every bit in its mask: a number with bits set in the upper half does not match.
type arg struct {
	i           uint
	mask, value uint64
}

const allBits = ^uint64(0)

func eq(i uint, value int) arg              { return arg{i, allBits, uint64(value)} }
func bitsClear(i uint, bits int) arg        { return arg{i, uint64(bits), 0} }
func bitsWithin(i uint, allowed uint64) arg { return arg{i, ^allowed, 0} }

func allow(call, why string, args ...arg) rule { return rule{call, why, args} }

// allowEach returns one rule for each value of argument i, with the same further conditions.
func allowEach(call, why string, i uint, values []int, more ...arg) []rule {
	var rules []rule
	for _, v := range values {
		rules = append(rules, rule{call, why, append([]arg{eq(i, v)}, more...)})
	}
	return rules
}

// allowWithin returns rules for the values of argument i in a span, with the same further
// conditions. libseccomp supports one comparison per argument and rule, so the span is divided into
// blocks, like an address range into prefixes: the size of a block is a power of two, and its start
// a multiple of its size. n values need at most 2*log2(n) rules.
func allowWithin(call, why string, i uint, s span, more ...arg) []rule {
	var rules []rule
	for s.first < s.end {
		size := uint64(1) << bits.Len64(s.end-s.first) >> 1
		if s.first != 0 {
			size = min(size, s.first&-s.first)
		}
		rules = append(rules, rule{call, why, append([]arg{{i, -size, s.first}}, more...)})
		s.first += size
	}
	return rules
}

// A span contains the numbers from first up to, but not including, end.
type span struct{ first, end uint64 }

// spans returns the spans of consecutive numbers in fds, in ascending order.
func spans(fds []int) []span {
	fds = slices.Sorted(slices.Values(fds))
	var found []span
	for _, fd := range fds {
		if n := len(found); n > 0 && found[n-1].end == uint64(fd) {
			found[n-1].end++
			continue
		}
		found = append(found, span{uint64(fd), uint64(fd) + 1})
	}
	return found
}

// allowFDs is allowWithin for descriptors, whose numbers are mostly consecutive.
func allowFDs(call, why string, i uint, fds []int, more ...arg) []rule {
	var rules []rule
	for _, s := range spans(fds) {
		rules = append(rules, allowWithin(call, why, i, s, more...)...)
	}
	return rules
}

// The flags of clone in glibc's pthread_create (sysdeps/unix/sysv/linux/createthread): they create
// a thread of this process and nothing else.
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
	unix.CLONE_THREAD | unix.CLONE_SYSVSEM | unix.CLONE_SETTLS |
	unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID

// Operations of futex(2), include/uapi/linux/futex.h.
const (
	futexWait          = 0
	futexWake          = 1
	futexRequeue       = 3
	futexWakeOp        = 5
	futexWaitBitset    = 9
	futexWakeBitset    = 10
	futexPrivate       = 128 // FUTEX_PRIVATE_FLAG
	futexClockRealtime = 256 // FUTEX_CLOCK_REALTIME
)

// futexOps are the operations that locks need, without priority inheritance.
var futexOps = []int{
	futexWait, futexWake, futexRequeue, futexWakeOp, futexWaitBitset, futexWakeBitset,
	futexWait | futexPrivate, futexWake | futexPrivate, futexRequeue | futexPrivate,
	futexWakeOp | futexPrivate, futexWaitBitset | futexPrivate, futexWakeBitset | futexPrivate,
	futexWaitBitset | futexClockRealtime, futexWaitBitset | futexPrivate | futexClockRealtime,
}

// Advice of madvise(2) that x/sys does not name yet, include/uapi/asm-generic/mman-common.h.
const (
	madvGuardInstall = 102
	madvGuardRemove  = 103
)

// advice has the values that Go's heap uses, and glibc since 2.42 for guards of thread stacks.
var advice = []int{
	unix.MADV_DONTNEED, unix.MADV_FREE, unix.MADV_HUGEPAGE, unix.MADV_NOHUGEPAGE, unix.MADV_COLLAPSE,
	madvGuardInstall, madvGuardRemove,
}

// runtimeRules are the rules that any Go program with cgo needs to run, collect garbage and create
// threads on Linux, after forceLazyInit. eventfds are those of the netpoller. CONTRIBUTING.md
// describes how to find a missing call.
func runtimeRules(eventfds []int) []rule {
	anonymous := uint64(unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED |
		unix.MAP_NORESERVE | unix.MAP_STACK | unix.MAP_DROPPABLE)
	rules := []rule{
		allow("nanosleep", "runtime: usleep while spinning"),
		allow("sched_yield", "runtime: osyield"),
		allow("clock_gettime", "runtime: where the vDSO has no clock"),
		allow("clock_nanosleep", "glibc: usleep when pthread_create must wait"),
		allow("getpid", "runtime: before tgkill"),
		allow("gettid", "runtime: a new thread learns who it is"),
		allow("tgkill", "runtime: preempts its own threads with SIGURG", eq(0, os.Getpid())),
		allow("rt_sigreturn", "return from a signal handler"),
		allow("rt_sigprocmask", "runtime: a thread's mask"),
		allow("sigaltstack", "runtime: a thread's signal stack"),
		allow("restart_syscall", "the kernel resumes a call after SIGSTOP and SIGCONT"),
		allow("mmap", "runtime, glibc: memory, never executable",
			bitsClear(2, unix.PROT_EXEC), bitsWithin(3, anonymous), eq(4, 0xffffffff)),
		allow("mmap", "runtime, glibc: memory, never executable",
			bitsClear(2, unix.PROT_EXEC), bitsWithin(3, anonymous), eq(4, -1)),
		allow("mprotect", "runtime, glibc: never executable", bitsClear(2, unix.PROT_EXEC)),
		allow("munmap", "runtime, glibc: memory"),
		allow("brk", "glibc: malloc's first arena"),
		allow("clone", "glibc: a thread, nothing else", eq(0, threadFlags)),
		allow("set_robust_list", "glibc: a new thread"),
		allow("rseq", "glibc: a new thread"),
		allow("prctl", "runtime: names its memory (CONFIG_ANON_VMA_NAME)",
			eq(0, unix.PR_SET_VMA), eq(1, unix.PR_SET_VMA_ANON_NAME)),
		allow("getrandom", "runtime: seeds, where the vDSO has none"),
		allow("exit", "glibc: a thread ends"),
		allow("exit_group", "the end"),
	}
	rules = append(rules,
		allow("epoll_pwait", "netpoller, which all timers go through, the heap scavenger's too"))
	rules = append(rules, benchRules...)
	rules = append(rules, allowEach("write", "netpoller's wake-up", 0, eventfds)...)
	rules = append(rules, allowEach("read", "netpoller's wake-up", 0, eventfds)...)
	rules = append(rules, allowEach("futex", "runtime, glibc: locks", 1, futexOps)...)
	return append(rules, allowEach("madvise", "runtime, glibc: memory", 2, advice)...)
}

// readerRules has all calls of the parser from the first frame on. sockets are the packet sockets
// and files the inputs that it reads.
func readerRules(g ParserGrant, eventfds, sockets, files []int) []rule {
	rules := append(runtimeRules(eventfds),
		allow("ppoll", "sleeps until there are frames"))
	rules = append(rules, allowEach("write", "lines, errors, answers to the monitor", 0, g.Write)...)
	rules = append(rules, allowEach("read", "the monitor's messages", 0, g.Receive)...)
	rules = append(rules, allowFDs("read", "the input", 0, files)...)
	rules = append(rules, allowFDs("getsockopt", "frames the kernel dropped", 0, sockets,
		eq(1, unix.SOL_PACKET), eq(2, unix.PACKET_STATISTICS))...)
	return append(rules, allowFDs("getsockopt", "clears ENETDOWN", 0, sockets,
		eq(1, unix.SOL_SOCKET), eq(2, unix.SO_ERROR))...)
}

// parserRules is the first table of the parser: readerRules, and the calls that receive the sockets
// and files, which will have these numbers, map the sockets' rings, and load the filter of
// readerRules.
func parserRules(g ParserGrant, eventfds, sockets, files []int) []rule {
	rules := readerRules(g, eventfds, sockets, files)
	rules = append(rules, allowEach("recvmsg", "descriptors from the monitor", 0, g.Receive)...)
	rules = append(rules, allowFDs("mmap", "a socket's ring, once", 4, sockets,
		eq(2, unix.PROT_READ|unix.PROT_WRITE), eq(3, unix.MAP_SHARED), eq(5, 0))...)
	// libseccomp uses TSYNC_ESRCH if the kernel has it: a thread that cannot be synchronized is
	// then a separate error.
	tsync := []int{unix.SECCOMP_FILTER_FLAG_TSYNC, unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH}
	return append(rules, allowEach("seccomp", "readerRules", 1, tsync, eq(0, unix.SECCOMP_SET_MODE_FILTER))...)
}

// monitorRules is the table of the monitor while the parser runs: binding sockets again, netlink
// from the kernel, messages from the parser.
func monitorRules(g MonitorGrant, eventfds []int) []rule {
	rules := runtimeRules(eventfds)
	rules = append(rules, allowEach("write", "log, the parser, the service manager", 0, g.Write)...)
	rules = append(rules, allowEach("recvmsg", "the parser's numbers, netlink", 0, g.Receive)...)
	rules = append(rules, allowEach("sendmsg", "netlink", 0, g.Send)...)
	rules = append(rules, allowFDs("bind", "moves a packet socket to the interface that came back", 0, g.Bind)...)
	rules = append(rules, allowFDs("getsockname", "which interface a packet socket is bound to", 0, g.Bind)...)
	if g.Memberships {
		for _, option := range []int{unix.PACKET_ADD_MEMBERSHIP, unix.PACKET_DROP_MEMBERSHIP} {
			rules = append(rules, allowFDs("setsockopt", "receives the frames of all multicast groups", 0, g.Bind,
				eq(1, unix.SOL_PACKET), eq(2, option))...)
		}
	}
	rules = append(rules, allowEach("pwrite64", "metrics file", 0, g.Rewrite)...)
	rules = append(rules, allowEach("ftruncate", "metrics file", 0, g.Rewrite)...)
	if g.Directory != 0 {
		// A filter cannot read the names; Landlock restricts them to the directory.
		rules = append(rules,
			allow("renameat2", "metrics file", eq(0, g.Directory), eq(2, g.Directory), eq(4, unix.RENAME_EXCHANGE)),
			allow("unlinkat", "metrics file", eq(0, g.Directory), eq(2, 0)))
	}
	if g.KillPID != 0 {
		rules = append(rules, allow("kill", "ends the parser, where pidfd_send_signal is refused", eq(0, g.KillPID), eq(1, int(unix.SIGKILL))))
	} else {
		rules = append(rules, allow("pidfd_send_signal", "ends the parser", eq(0, g.Child)))
	}
	return append(rules,
		allow("ppoll", "waits for messages, and for room to log"),
		allow("epoll_ctl", "netpoller: a descriptor is closed"),
		allow("close", "at the end"),
		allow("shutdown", "tells the parser that it is over"),
		allow("getsockopt", "a socket's error", eq(1, unix.SOL_SOCKET), eq(2, unix.SO_ERROR)),
		allow("wait4", "how the parser ended"),
	)
}
