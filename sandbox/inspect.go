package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// An Inspection is what [Inspect] saw of a confined process, for a person to read.
type Inspection struct {
	Threads  int
	Uid, Gid string // effective
	Filters  string // how many seccomp filters, inherited ones included; "" before Linux 5.9
	Bounding string // capability bounding set, in hexadecimal
}

// Inspect looks at another process from outside, in /proc, and returns an error
// that names the first layer it finds missing on any of its threads: capabilities,
// no_new_privs, a seccomp filter that is not the caller's too, the caller's own user,
// group and bounding set, that nobody traces it, and that it is not dumpable. It believes
// the kernel, and nothing that the process says (proc_pid_status(5)).
//
// /proc/PID/status alone would speak of the main thread only. A thread made while
// Inspect looks has the attributes of the thread that made it.
//
// The caller must have no privilege over the process, see [Drop]: that an attempt
// to look inside is refused is how Inspect knows that others of the same user
// are refused too.
func Inspect(pid int) (Inspection, error) {
	var found Inspection
	self, err := readStatus("/proc/self/status")
	if err != nil {
		return found, err
	}
	proc := fmt.Sprintf("/proc/%d", pid)
	tasks, err := os.ReadDir(filepath.Join(proc, "task"))
	if err != nil {
		return found, err
	}
	if len(tasks) == 0 {
		return found, fmt.Errorf("process %d has no thread", pid)
	}
	for _, t := range tasks {
		status, err := readStatus(filepath.Join(proc, "task", t.Name(), "status"))
		if errors.Is(err, fs.ErrNotExist) && t.Name() != tasks[0].Name() {
			continue // the thread has ended meanwhile
		}
		if err != nil {
			return found, err
		}
		if err := status.check(self); err != nil {
			return found, fmt.Errorf("thread %s of process %d: %w", t.Name(), pid, err)
		}
		found = Inspection{
			Threads: found.Threads + 1,
			Uid:     strings.Fields(status["Uid"])[1], Gid: strings.Fields(status["Gid"])[1],
			Filters: status["Seccomp_filters"], Bounding: status["CapBnd"],
		}
	}
	// What pidfd_getfd(2), ptrace(2) and /proc/PID/mem are subject to
	// (ptrace(2), "Ptrace access mode checking"); this only reads a link.
	if _, err := os.Readlink(filepath.Join(proc, "cwd")); !errors.Is(err, fs.ErrPermission) {
		return found, fmt.Errorf("process %d is dumpable: another process of its user can look inside (%v)", pid, err)
	}
	return found, nil
}

// status holds the fields of /proc/PID/status by name.
type status map[string]string

func readStatus(path string) (status, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := status{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		s[name] = strings.Join(strings.Fields(value), " ")
	}
	if err := lines.Err(); err != nil {
		// A thread that ends while its file is read gives ESRCH.
		return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return s, nil
}

// check compares one thread with what a confined one of our own user looks like. A field
// that is missing is as bad as one that is wrong.
func (s status) check(self status) error {
	none := strings.Repeat("0", 16)
	wants := []struct{ name, want string }{
		{"TracerPid", "0"},
		{"Uid", self["Uid"]}, // real, effective, saved, file system
		{"Gid", self["Gid"]},
		{"Groups", self["Groups"]},
		{"CapInh", none},
		{"CapPrm", none},
		{"CapEff", none},
		{"CapAmb", none},
		{"NoNewPrivs", "1"},
		{"Seccomp", "2"}, // SECCOMP_MODE_FILTER
		{"CapBnd", self["CapBnd"]},
	}
	// In a container both of us are born under a filter. One more must be there, where
	// the kernel counts them (since Linux 5.9).
	if inherited, ok := self["Seccomp_filters"]; ok {
		n, err := strconv.Atoi(inherited)
		if err != nil {
			return fmt.Errorf("field Seccomp_filters: %w", err)
		}
		wants = append(wants, struct{ name, want string }{"Seccomp_filters", strconv.Itoa(n + 1)})
	}
	for _, f := range wants {
		if got, ok := s[f.name]; !ok || got != f.want {
			return fmt.Errorf("%s is %q, want %q", f.name, got, f.want)
		}
	}
	return nil
}
