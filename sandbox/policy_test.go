package sandbox

import (
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// This is the policy of doc/system-calls.md, written a second time, by call and argument, and
// independently of rules.go. The filters from rules.go and libseccomp must implement the same
// policy, so a rule that is looser or tighter than the document fails a test.

// args are the arguments of a system call, as the kernel receives them.
type args = [6]uint64

// A permit is a call that a process may make if ok is true for the arguments.
type permit struct {
	call     string
	ok       func(args) bool
	examples []args // one per alternative, so that a test takes every path through a filter
}

// A confined describes a confined process and its descriptors.
type confined struct {
	process string // parser, reader (the parser that reads frames) or monitor
	pid     int

	eventfds []int // the Go runtime's
	write    []int // standard output, standard error, the control socket, the service manager
	receive  []int // the control socket, netlink
	sockets  []int // packet sockets
	files    []int // inputs
	send     []int // netlink
	metrics  []int // the two files of --metrics-file

	memberships bool // with --ipv6

	directory int // of --metrics-file, 0 for none
	child     int // the pidfd of the parser
	killPID   int // if kill(2) is used instead
}

// policy returns the calls that the process may make. Any other call kills the process.
func (p *confined) policy() []permit {
	list := []permit{
		always("nanosleep"), always("sched_yield"), always("clock_gettime"), always("clock_nanosleep"),
		always("getpid"), always("gettid"), always("rt_sigreturn"), always("rt_sigprocmask"),
		always("sigaltstack"), always("restart_syscall"), always("munmap"), always("brk"),
		always("set_robust_list"), always("rseq"), always("getrandom"), always("exit"),
		always("exit_group"), always("epoll_pwait"), always("ppoll"),

		{"tgkill", func(a args) bool { return a[0] == uint64(p.pid) }, []args{{uint64(p.pid)}}},
		{"mprotect", func(a args) bool { return a[2]&unix.PROT_EXEC == 0 }, []args{{}}},
		// Private mappings without a file. glibc passes -1 as a long, the Go runtime as an int.
		{"mmap", func(a args) bool {
			const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED | unix.MAP_NORESERVE |
				unix.MAP_STACK | unix.MAP_DROPPABLE
			return a[2]&unix.PROT_EXEC == 0 && a[3]&^flags == 0 && (a[4] == math.MaxUint64 || a[4] == math.MaxUint32)
		}, []args{{3: unix.MAP_PRIVATE, 4: math.MaxUint64}, {3: unix.MAP_PRIVATE, 4: math.MaxUint32}}},
		// pthread_create(3): a thread, not a process.
		{"clone", func(a args) bool {
			return a[0] == unix.CLONE_VM|unix.CLONE_FS|unix.CLONE_FILES|unix.CLONE_SIGHAND|unix.CLONE_THREAD|
				unix.CLONE_SYSVSEM|unix.CLONE_SETTLS|unix.CLONE_PARENT_SETTID|unix.CLONE_CHILD_CLEARTID
		}, []args{{0x3d0f00}}},
		{"prctl", func(a args) bool { return a[0] == unix.PR_SET_VMA && a[1] == unix.PR_SET_VMA_ANON_NAME },
			[]args{{unix.PR_SET_VMA, unix.PR_SET_VMA_ANON_NAME}}},
		// WAIT, WAKE, REQUEUE, WAKE_OP, WAIT_BITSET and WAKE_BITSET; private or not; two with the
		// real-time clock.
		oneOf("futex", 1, 0, 1, 3, 5, 9, 10, 128, 129, 131, 133, 137, 138, 265, 393),
		// DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE, COLLAPSE, GUARD_INSTALL, GUARD_REMOVE.
		oneOf("madvise", 2, 4, 8, 14, 15, 25, 102, 103),
		on("write", slices.Concat(p.eventfds, p.write)),
	}
	if p.process == "monitor" {
		list = append(list,
			always("epoll_ctl"), always("close"), always("shutdown"), always("wait4"),
			on("read", p.eventfds),
			on("recvmsg", p.receive),
			on("sendmsg", p.send),
			on("bind", p.sockets),
			on("getsockname", p.sockets),
			on("pwrite64", p.metrics),
			on("ftruncate", p.metrics),
			permit{"getsockopt", func(a args) bool { return a[1] == unix.SOL_SOCKET && a[2] == unix.SO_ERROR },
				[]args{{1: unix.SOL_SOCKET, 2: unix.SO_ERROR}}})
		if p.memberships {
			const solPacket, add, drop = 263, 1, 2 // include/linux/socket.h, if_packet.h
			list = append(list,
				onSocket("setsockopt", p.sockets, args{1: solPacket, 2: add}, 1, 2),
				onSocket("setsockopt", p.sockets, args{1: solPacket, 2: drop}, 1, 2))
		}
		if p.killPID != 0 {
			pid := uint64(p.killPID)
			list = append(list, permit{"kill", func(a args) bool { return a[0] == pid && a[1] == 9 }, []args{{pid, 9}}})
		} else {
			list = append(list, on("pidfd_send_signal", []int{p.child}))
		}
		if p.directory != 0 {
			d := uint64(p.directory)
			list = append(list,
				permit{"renameat2", func(a args) bool { return a[0] == d && a[2] == d && a[4] == unix.RENAME_EXCHANGE },
					[]args{{0: d, 2: d, 4: unix.RENAME_EXCHANGE}}},
				permit{"unlinkat", func(a args) bool { return a[0] == d && a[2] == 0 }, []args{{d}}})
		}
		return list
	}
	list = append(list,
		on("read", slices.Concat(p.eventfds, p.receive, p.files)),
		onSocket("getsockopt", p.sockets, args{1: unix.SOL_PACKET, 2: unix.PACKET_STATISTICS}, 1, 2),
		onSocket("getsockopt", p.sockets, args{1: unix.SOL_SOCKET, 2: unix.SO_ERROR}, 1, 2))
	if p.process == "parser" {
		ring := permit{"mmap", func(a args) bool {
			return slices.Contains(p.sockets, fd(a[4])) && a[2] == unix.PROT_READ|unix.PROT_WRITE && a[3] == unix.MAP_SHARED && a[5] == 0
		}, nil}
		for _, s := range p.sockets {
			ring.examples = append(ring.examples, args{2: unix.PROT_READ | unix.PROT_WRITE, 3: unix.MAP_SHARED, 4: uint64(s)})
		}
		const mode, tsync, esrch = 1, 1, 1 << 4 // SECCOMP_SET_MODE_FILTER and its flags, seccomp(2)
		list = append(list, ring,
			on("recvmsg", p.receive),
			permit{"seccomp", func(a args) bool { return a[0] == mode && (a[1] == tsync || a[1] == tsync|esrch) },
				[]args{{mode, tsync}, {mode, tsync | esrch}}})
	}
	return list
}

// fd returns a descriptor as a filter must treat it: a number with bits set in the upper half,
// which the kernel ignores, is not a descriptor.
func fd(a uint64) int {
	if a > math.MaxInt32 {
		return -1
	}
	return int(a)
}

// always permits a call with any arguments.
func always(call string) permit {
	return permit{call, func(args) bool { return true }, []args{{}}}
}

// oneOf permits a call if argument i has one of these values.
func oneOf(call string, i int, values ...uint64) permit {
	p := permit{call, func(a args) bool { return slices.Contains(values, a[i]) }, nil}
	for _, v := range values {
		var example args
		example[i] = v
		p.examples = append(p.examples, example)
	}
	return p
}

// on permits a call on one of these descriptors.
func on(call string, fds []int) permit { return onSocket(call, fds, args{}) }

// onSocket permits a call on one of these descriptors if the arguments with these numbers equal
// those in a.
func onSocket(call string, fds []int, a args, fixed ...int) permit {
	p := permit{call, func(got args) bool {
		for _, i := range fixed {
			if got[i] != a[i] {
				return false
			}
		}
		return slices.Contains(fds, fd(got[0]))
	}, nil}
	for _, fd := range fds {
		a[0] = uint64(fd)
		p.examples = append(p.examples, a)
	}
	return p
}

// The policy of each process has the same calls as doc/system-calls.md.
func TestPolicyIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../doc/system-calls.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| ((?:`[a-z0-9_]+`(?:, )?)+) \\| ([^|]+) \\|").FindAllStringSubmatch(string(text), -1) {
		calls := strings.Split(strings.ReplaceAll(row[1], "`", ""), ", ")
		switch strings.TrimSpace(row[2]) {
		case "both":
			documented["parser"] = append(documented["parser"], calls...)
			documented["reader"] = append(documented["reader"], calls...)
			documented["monitor"] = append(documented["monitor"], calls...)
		case "parser":
			documented["parser"] = append(documented["parser"], calls...)
			documented["reader"] = append(documented["reader"], calls...)
		case "parser at first":
			documented["parser"] = append(documented["parser"], calls...)
		case "monitor":
			documented["monitor"] = append(documented["monitor"], calls...)
		case "monitor, instead":
			if !slices.Equal(calls, []string{"kill"}) {
				t.Errorf("the monitor may call %v instead of others, the policy has kill", calls)
			}
		default:
			t.Errorf("unknown process in %q", row[0])
		}
	}
	for _, p := range []confined{
		{process: "parser", write: []int{1}, receive: []int{3}, sockets: []int{6}},
		{process: "reader", write: []int{1}, receive: []int{3}, sockets: []int{6}},
		{process: "monitor", write: []int{2}, receive: []int{5}, send: []int{6}, sockets: []int{7}, metrics: []int{9, 10}, directory: 11, memberships: true},
	} {
		want := []string{"clone3"} // ENOSYS
		for _, permit := range p.policy() {
			want = append(want, permit.call)
		}
		slices.Sort(want)
		got := documented[p.process]
		slices.Sort(got)
		if want, got = slices.Compact(want), slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("%s: the page has\n%v, the policy\n%v", p.process, got, want)
		}
	}
}
