package sandbox

import (
	"os"
	"testing"

	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

var testGrant = Grant{Write: []int{1, 2, 3}, Receive: []int{3}}

var tables = []struct {
	name  string
	rules []rule
	most  int // system calls: the promise of doc/threat-model.md
}{
	{"parser", parserRules(testGrant, []int{4}, []int{6, 7}, nil), 32},
	{"reader", readerRules(testGrant, []int{4}, []int{6, 7}, nil), 32},
	{"parser of a file", parserRules(testGrant, []int{4}, nil, []int{6}), 32},
	{"reader of a file", readerRules(testGrant, []int{4}, nil, []int{6}), 32},
	{"monitor", monitorRules(Grant{Write: []int{2, 5}, Receive: []int{5, 6}, Send: []int{6}, Bind: []int{7}, Child: 8, Rewrite: []int{9, 10}, Directory: 11}, []int{4}), 45},
}

// The tables stay short, and each rule has its reason.
func TestRules(t *testing.T) {
	for _, table := range tables {
		calls := map[string]bool{"clone3": true} // ENOSYS, see compile
		for _, r := range table.rules {
			calls[r.call] = true
			if r.why == "" {
				t.Errorf("%s: %s has no reason", table.name, r.call)
			}
		}
		t.Logf("%s: %d system calls in %d rules", table.name, len(calls), len(table.rules))
		if len(calls) > table.most {
			t.Errorf("%s: %d system calls, want at most %d", table.name, len(calls), table.most)
		}
		for _, forbidden := range []string{
			"open", "openat", "openat2", "socket", "connect", "execve", "execveat", "fork", "vfork",
			"ioctl", "ptrace", "dup", "dup2", "dup3", "fcntl", "sendto", "sendmmsg", "writev",
			"pidfd_getfd", "setsockopt", "io_uring_setup", "bpf", "unshare", "kill", "rt_sigqueueinfo",
		} {
			if calls[forbidden] {
				t.Errorf("%s: %s is allowed", table.name, forbidden)
			}
		}
	}
}

// To read an input takes nothing that packet sockets do not: the one call is there anyway,
// and none on sockets is.
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

// Every rule with a descriptor names it exactly: the kernel takes the low 32 bits of
// a descriptor, so any looser condition lets write(fd | 1<<32) through.
func TestDescriptorsAreExact(t *testing.T) {
	for _, table := range tables {
		for _, r := range table.rules {
			switch r.call {
			case "read", "write", "pwrite64", "ftruncate", "sendmsg", "recvmsg", "bind", "pidfd_send_signal", "renameat2", "unlinkat":
				if len(r.args) == 0 || r.args[0].i != 0 || r.args[0].mask != all {
					t.Errorf("%s: %s is not bound to one descriptor: %+v", table.name, r.call, r.args)
				}
			}
		}
	}
}

func TestCompile(t *testing.T) {
	for _, table := range tables {
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
	if _, err := compile([]rule{with("no_such_call", "test")}); err == nil {
		t.Error("a system call that does not exist is no error")
	}
}

// What the compilation of the filter adds to the start.
func BenchmarkCompile(b *testing.B) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	for _, table := range tables {
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
