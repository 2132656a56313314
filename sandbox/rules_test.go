package sandbox

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"

	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

var testGrant = ParserGrant{Write: []int{1, 2, 3}, Receive: []int{3}}

// A table is one of those in rules.go, with its intended policy.
type table struct {
	name   string
	rules  []rule
	policy model
	calls  int // the number in doc/architecture.md
}

// tables returns the tables for a number of interfaces.
func tables(t testing.TB, interfaces int) []table {
	sockets := make([]int, interfaces)
	for i := range sockets {
		sockets[i] = 20 + i
	}
	parser := confined{process: "parser", pid: os.Getpid(), eventfds: []int{4}, write: testGrant.Write, receive: testGrant.Receive, sockets: sockets}
	reader := parser
	reader.process = "reader"
	fileParser, fileReader := parser, reader
	fileParser.sockets, fileParser.files = nil, []int{6}
	fileReader.sockets, fileReader.files = nil, []int{6}
	grant := MonitorGrant{Write: []int{2, 5}, Receive: []int{5, 6}, Send: []int{6}, Bind: sockets, Child: 8}
	monitor := confined{process: "monitor", pid: os.Getpid(), eventfds: []int{4}, write: grant.Write, receive: grant.Receive,
		send: grant.Send, sockets: sockets, child: grant.Child}
	metrics, metricsGrant := monitor, grant
	metricsGrant.Rewrite, metricsGrant.Directory = []int{9, 10}, 11
	metrics.metrics, metrics.directory = metricsGrant.Rewrite, metricsGrant.Directory
	ipv6, ipv6Grant := monitor, grant
	ipv6.memberships, ipv6Grant.Memberships = true, true
	byPID, byPIDGrant := monitor, grant
	byPIDGrant.KillPID = 4711
	byPID.killPID = byPIDGrant.KillPID
	page := documented(t)
	return []table{
		{"parser", parserRules(testGrant, []int{4}, sockets, nil), parser.policy(), page[0]},
		{"reader", readerRules(testGrant, []int{4}, sockets, nil), reader.policy(), page[1]},
		{"parser of a file", parserRules(testGrant, []int{4}, nil, []int{6}), fileParser.policy(), page[2]},
		{"reader of a file", readerRules(testGrant, []int{4}, nil, []int{6}), fileReader.policy(), page[3]},
		{"monitor", monitorRules(grant, []int{4}), monitor.policy(), page[4]},
		{killsByPID, monitorRules(byPIDGrant, []int{4}), byPID.policy(), page[4]},
		{"monitor with a metrics file", monitorRules(metricsGrant, []int{4}), metrics.policy(), page[4] + page[5]},
		{watchesIPv6, monitorRules(ipv6Grant, []int{4}), ipv6.policy(), page[4] + page[6]},
	}
}

// killsByPID returns the table of a monitor that ends the parser by kill(2).
const killsByPID = "monitor that kills by process ID"

// watchesIPv6 returns the table of a monitor with --ipv6.
const watchesIPv6 = "monitor with --ipv6"

// documented returns the numbers of system calls in doc/architecture.md, in its order.
func documented(t testing.TB) []int {
	t.Helper()
	text, err := os.ReadFile("../doc/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`\n\| seccomp \| (\d+) system calls [^|]* then (\d+) \((\d+) and (\d+) for a file\)[^|]*\| ` +
		"(\\d+), (\\d+) more for `--metrics-file` and (\\d+) more for `--ipv6`").FindSubmatch(text)
	if found == nil {
		t.Fatal("doc/architecture.md does not tell the number of system calls")
	}
	var numbers []int
	for _, digits := range found[1:] {
		n, err := strconv.Atoi(string(digits))
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// onlyIn has the calls that only one table has, by the name of the table.
var onlyIn = map[string]string{"kill": killsByPID, "setsockopt": watchesIPv6}

// The tables have as many system calls as the documents state, and each rule has a reason.
func TestRules(t *testing.T) {
	for _, table := range tables(t, 2) {
		calls := map[string]bool{"clone3": true} // ENOSYS, see compile
		for _, r := range table.rules {
			calls[r.call] = true
			if r.why == "" {
				t.Errorf("%s: %s has no reason", table.name, r.call)
			}
		}
		t.Logf("%s: %d system calls in %d rules", table.name, len(calls), len(table.rules))
		if len(calls) != table.calls {
			t.Errorf("%s: %d system calls, the documents say %d", table.name, len(calls), table.calls)
		}
		for _, forbidden := range []string{
			"open", "openat", "openat2", "socket", "connect", "execve", "execveat", "fork", "vfork",
			"ioctl", "ptrace", "dup", "dup2", "dup3", "fcntl", "sendto", "sendmmsg", "writev",
			"pidfd_getfd", "setsockopt", "io_uring_setup", "bpf", "unshare", "kill", "rt_sigqueueinfo",
		} {
			if only, ok := onlyIn[forbidden]; calls[forbidden] && (!ok || table.name != only) {
				t.Errorf("%s: %s is allowed", table.name, forbidden)
			}
		}
	}
}

// Reading an input needs no call that packet sockets do not need, and none on sockets.
func TestFileRules(t *testing.T) {
	calls := func(rules []rule) map[string]bool {
		found := map[string]bool{}
		for _, r := range rules {
			found[r.call] = true
			for _, a := range r.args {
				if r.call == "mmap" && a.i == 3 && a.value&unix.MAP_SHARED != 0 {
					t.Errorf("%+v: not only memory of its own", r)
				}
			}
		}
		return found
	}
	sockets := calls(parserRules(testGrant, []int{4}, nil, nil))
	for call := range calls(parserRules(testGrant, []int{4}, nil, []int{6})) {
		if !sockets[call] || call == "getsockopt" {
			t.Errorf("%s", call)
		}
	}
}

// Every rule with a descriptor compares its upper bits: the kernel ignores the upper half of
// a descriptor, so any looser condition lets write(fd | 1<<32) through.
func TestDescriptorsAreExact(t *testing.T) {
	for _, table := range tables(t, 1024) {
		for _, r := range table.rules {
			switch r.call {
			case "read", "write", "pwrite64", "ftruncate", "sendmsg", "recvmsg", "bind", "getsockname", "setsockopt", "pidfd_send_signal", "renameat2", "unlinkat":
				if len(r.args) == 0 || r.args[0].i != 0 || r.args[0].mask|1023 != allBits {
					t.Errorf("%s: %s is not bound to a descriptor: %+v", table.name, r.call, r.args)
				}
			}
		}
	}
}

func TestCompile(t *testing.T) {
	for _, table := range tables(t, 2) {
		f, err := compile(table.rules)
		if err != nil {
			t.Fatalf("%s: %v", table.name, err)
		}
		defer f.Release()
		if action, err := f.GetDefaultAction(); err != nil || action != seccomp.ActKillProcess {
			t.Errorf("%s: default action %v, %v", table.name, action, err)
		}
		if action, err := f.GetBadArchAction(); err != nil || action != seccomp.ActKillProcess {
			t.Errorf("%s: action for foreign architectures %v, %v", table.name, action, err)
		}
	}
	if _, err := compile([]rule{allow("no_such_call", "test")}); err == nil {
		t.Error("a system call that does not exist is no error")
	}
}

// The size of a filter hardly depends on the number of interfaces: 1,024 consecutive descriptors
// are a few blocks. The kernel accepts 4,096 instructions (BPF_MAXINSNS).
func TestFilterSizes(t *testing.T) {
	const most = 1024
	one, many := tables(t, 1), tables(t, most)
	for i, table := range many {
		few, all := len(export(t, native, one[i].rules)), len(export(t, native, table.rules))
		t.Logf("%s: %d instructions for 1 interface, %d for 64, %d for %d",
			table.name, few, len(export(t, native, tables(t, 64)[i].rules)), all, most)
		if all > few+400 {
			t.Errorf("%s: %d instructions for %d interfaces, %d for one", table.name, all, most, few)
		}
	}
}

// A span's rules allow its numbers and no others.
func TestAllowWithin(t *testing.T) {
	for first := range uint64(12) {
		for end := first; end < 24; end++ {
			filter := newProgram(export(t, native, allowWithin("close", "test", 0, span{first, end})))
			for v := range uint64(40) {
				want := uint32(killed)
				if v >= first && v < end {
					want = unix.SECCOMP_RET_ALLOW
				}
				c := call{nr: native.numbers["close"], arch: native.arch, args: args{v}}
				if got := filter.run(&c); got != want {
					t.Fatalf("from %d to %d: %d is %#x", first, end, v, got)
				}
				c.args[0] |= 1 << 32
				if got := filter.run(&c); got != killed {
					t.Fatalf("from %d to %d: %#x is %#x", first, end, c.args[0], got)
				}
			}
		}
	}
}

func TestSpans(t *testing.T) {
	got := spans([]int{9, 3, 4, 7, 5, 8})
	if want := []span{{3, 6}, {7, 10}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The time that compiling the filter adds to the start.
func BenchmarkCompile(b *testing.B) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	for _, table := range tables(b, 2) {
		b.Run(table.name, func(b *testing.B) {
			for b.Loop() {
				f, err := compile(table.rules)
				if err != nil {
					b.Fatal(err)
				}
				if err := f.ExportBPF(null); err != nil {
					b.Fatal(err)
				}
				f.Release()
			}
		})
	}
}
