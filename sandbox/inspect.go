package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An Inspection has the facts that [Inspect] found about a confined process, for display.
type Inspection struct {
	Threads      int
	Uid, Gid     string // effective
	Filters      string // number of seccomp filters, inherited ones included; "" before Linux 5.9
	Bounding     string // capability bounding set, in hexadecimal
	AddressSpace uint64 // bytes (RLIMIT_AS)
}

// maxLooks is the largest number of attempts of Inspect if threads begin or end meanwhile.
const maxLooks = 20

// Inspect inspects a child of the calling process from outside, in /proc, and returns an error that
// names the first layer that is missing on any of its threads. It relies on the kernel, and on
// nothing that the process reports.
//
// The caller must have dropped its privileges, see [Drop]. A security module (AppArmor, SELinux,
// Yama, Landlock) cannot fake any of the answers: a module can refuse to let a file be read, which
// Inspect treats as a missing layer, but it cannot change the contents of the file or its owner.
//
//   - /proc must be a proc file system. One that belongs to another PID namespace shows
//     another process under the number: Tgid, Pid and PPid must fit.
//   - Every thread is looked at, because credentials and filters are a thread's. A thread
//     that begins while Inspect looks could be missed if its creator ends in time, so the
//     list must be the same before and after.
//   - State: a main thread that has ended keeps its fields, while the others go on.
//   - TracerPid is 0 for a tracer in an outer PID namespace, which has power over the
//     caller too.
//   - Uid, Gid, Groups show 65534 for an ID that has no mapping in the caller's user
//     namespace. Such an ID is not the caller's, and it takes a privilege to get it.
//   - CapInh, CapPrm, CapEff, CapBnd and CapAmb are relative to the process's user
//     namespace. Empty sets are empty in every namespace.
//   - Seccomp and Seccomp_filters (since Linux 5.9) count filters and do not tell what
//     they allow: PTRACE_SECCOMP_GET_FILTER takes CAP_SYS_ADMIN. The filters that the
//     caller has too are inherited and do not count.
//   - Limits: the hard ones, which the process cannot raise.
//   - Dumpable: see undumpable. AppArmor answers EACCES in the place of what ptrace(2)
//     would say, so a refused attempt proves nothing.
func Inspect(pid int) (Inspection, error) {
	self, err := readStatus("/proc/self/status")
	if err != nil {
		return Inspection{}, err
	}
	for range maxLooks {
		before, err := threadsOf(pid)
		if err != nil {
			return Inspection{}, err
		}
		found, err := inspectThreads(pid, before, self)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return found, err
		}
		after, err := threadsOf(pid)
		if err != nil {
			return found, err
		}
		if found.Threads > 0 && found.Threads == len(before) && slices.Equal(before, after) {
			found.AddressSpace, err = checkLimits(pid)
			return found, err
		}
	}
	return Inspection{}, fmt.Errorf("threads of process %d come and go", pid)
}

// threadsOf returns the thread IDs of a process.
func threadsOf(pid int) ([]string, error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, t := range tasks {
		ids = append(ids, t.Name())
	}
	return ids, nil
}

// inspectThreads inspects these threads. If one has ended, it returns an error that wraps
// [fs.ErrNotExist].
func inspectThreads(pid int, threads []string, self status) (Inspection, error) {
	var found Inspection
	for _, tid := range threads {
		s, err := readStatus(fmt.Sprintf("/proc/%d/task/%s/status", pid, tid))
		if err != nil {
			return found, err
		}
		if err := s.check(pid, tid, self); err != nil {
			return found, fmt.Errorf("thread %s of process %d: %w", tid, pid, err)
		}
		if err := s.undumpable(pid); err != nil {
			return found, err
		}
		found = Inspection{
			Threads: found.Threads + 1,
			Uid:     strings.Fields(s.fields["Uid"])[1], Gid: strings.Fields(s.fields["Gid"])[1],
			Filters: s.fields["Seccomp_filters"], Bounding: s.fields["CapBnd"],
		}
	}
	return found, nil
}

// status is a /proc/PID/status: its fields by name, and the owner of the file
// (proc_pid_status(5)).
type status struct {
	fields   map[string]string
	uid, gid uint32
}

func readStatus(path string) (status, error) {
	s := status{fields: map[string]string{}}
	err := readProc(path, func(f *os.File) error {
		var st unix.Stat_t
		err := unix.Fstat(int(f.Fd()), &st)
		s.uid, s.gid = st.Uid, st.Gid
		return os.NewSyscallError("fstat", err)
	}, func(line string) {
		name, value, _ := strings.Cut(line, ":")
		s.fields[name] = strings.Join(strings.Fields(value), " ")
	})
	return s, err
}

// readProc reads a file of proc(5) line by line, after it has called look. If the process or thread
// has ended, the error wraps [fs.ErrNotExist].
func readProc(path string, look func(*os.File) error, each func(line string)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var mounted unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &mounted); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	if mounted.Type != unix.PROC_SUPER_MAGIC {
		return fmt.Errorf("%s is not a file of the proc file system", path)
	}
	if err := look(f); err != nil {
		return err
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		each(lines.Text())
	}
	if err := lines.Err(); err != nil {
		// ESRCH: the thread ended while its file was read.
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return nil
}

// check compares one thread with the state of a confined thread of the caller's user. A missing
// field is an error, like a wrong one.
func (s status) check(pid int, tid string, self status) error {
	none := strings.Repeat("0", 16)
	wants := []struct{ name, want string }{
		{"Tgid", strconv.Itoa(pid)},
		{"Pid", tid},
		{"PPid", self.fields["Tgid"]},
		{"TracerPid", "0"},
		{"Uid", self.fields["Uid"]}, // real, effective, saved, file system
		{"Gid", self.fields["Gid"]},
		{"Groups", self.fields["Groups"]},
		{"CapInh", none},
		{"CapPrm", none},
		{"CapEff", none},
		{"CapAmb", none},
		{"NoNewPrivs", "1"},
		{"Seccomp", "2"}, // SECCOMP_MODE_FILTER
		{"CapBnd", self.fields["CapBnd"]},
	}
	// In a container both processes start under a filter. The child must have at least one more, if
	// the kernel counts them (since Linux 5.9).
	if inherited, ok := self.fields["Seccomp_filters"]; ok {
		n, err := strconv.Atoi(inherited)
		if err != nil {
			return fmt.Errorf("field Seccomp_filters: %w", err)
		}
		wants = append(wants, struct{ name, want string }{"Seccomp_filters", strconv.Itoa(n + 1)})
	}
	for _, f := range wants {
		if got, ok := s.fields[f.name]; !ok || got != f.want {
			return fmt.Errorf("%s is %q, want %q", f.name, got, f.want)
		}
	}
	if state := s.fields["State"]; state == "" || strings.ContainsAny(state[:1], "ZX") {
		return fmt.Errorf("the parser has ended: State is %q", state)
	}
	return nil
}

// undumpable returns an error unless the kernel confirms that no other process of the same user can
// access the process, or take a descriptor from it (ptrace(2), "Ptrace access mode checking"). An
// attempt would not prove that: a security module may refuse the attempt of this process and allow
// that of another one.
//
// Since Linux 6.16 the pidfd of a process provides the answer (PIDFD_GET_INFO, fs/pidfs.c).
// Otherwise the owner of its files in /proc does, see dumpableByOwner. If neither does, undumpable
// makes an attempt.
func (s status) undumpable(pid int) error {
	mask := coredumpMask(pid)
	dumpable, known := mask&pidfdCoredumpUser != 0, mask != 0
	if !known {
		dumpable, known = s.dumpableByOwner(uint32(os.Geteuid()), uint32(os.Getegid()))
	}
	if !known {
		_, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		dumpable = !errors.Is(err, fs.ErrPermission)
	}
	if dumpable {
		return fmt.Errorf("process %d is dumpable: another process of its user can look inside", pid)
	}
	return nil
}

// dumpableByOwner determines from the owner of the status file whether a process with these
// effective IDs is dumpable. The owner of an undumpable process's files is the root of its user
// namespace (proc_pid(5)). That proves nothing if the IDs are this root, or 65534, which also
// stands for an unmapped root (user_namespaces(7)).
func (s status) dumpableByOwner(euid, egid uint32) (dumpable, known bool) {
	const overflow = 65534
	if s.uid != euid || s.gid != egid {
		return false, true
	}
	return true, euid != 0 && euid != overflow
}

// From include/uapi/linux/pidfd.h, since Linux 6.16.
const (
	pidfdGetInfo      = 0xc048ff0b // _IOWR(0xff, 11, 72 bytes)
	pidfdInfoCoredump = 1 << 4
	pidfdCoredumpUser = 1 << 2 // dumpable; the other bits have other values
)

// coredumpMask returns the way in which the kernel would dump the core of a process, one of the
// bits PIDFD_COREDUMP_*, or 0 if the kernel does not report it.
func coredumpMask(pid int) uint32 {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	// struct pidfd_info: masks, cgroup, 11 process and user IDs, exit code, core dump.
	info := struct {
		mask, cgroup uint64
		ids          [12]uint32
		coredump     [2]uint32
	}{mask: pidfdInfoCoredump}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	if errno != 0 || info.mask&pidfdInfoCoredump == 0 {
		return 0
	}
	return info.coredump[0]
}

// checkLimits checks the hard resource limits of a process and returns that of its address space.
// prlimit(2) needs only the same user; a security module may hide /proc/PID/limits, as AppArmor
// does in a snap.
func checkLimits(pid int) (addressSpace uint64, err error) {
	for _, l := range []struct {
		name     string
		resource int
		most     uint64
	}{
		{"RLIMIT_CORE", unix.RLIMIT_CORE, 0},
		{"RLIMIT_MEMLOCK", unix.RLIMIT_MEMLOCK, 0},
		{"RLIMIT_DATA", unix.RLIMIT_DATA, unix.RLIM_INFINITY - 1},
		{"RLIMIT_AS", unix.RLIMIT_AS, unix.RLIM_INFINITY - 1},
	} {
		var limit unix.Rlimit
		if err := unix.Prlimit(pid, l.resource, nil, &limit); err != nil {
			return 0, os.NewSyscallError("prlimit", err)
		}
		if limit.Max > l.most {
			return 0, fmt.Errorf("%s is %d, want at most %d", l.name, limit.Max, l.most)
		}
		addressSpace = limit.Max
	}
	return addressSpace, nil
}
