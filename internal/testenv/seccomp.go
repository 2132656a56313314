package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SeccompFilters returns, for each thread of a process, its seccomp filters in the kernel, the
// newest first. It needs [SeccompGet]. It stops each thread for a short time. The process must not
// be a child of the test, because a wait for the child's end would report the stop.
func SeccompFilters(t testing.TB, pid int) map[int][][]unix.SockFilter {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	Must(t, err)
	found := map[int][][]unix.SockFilter{}
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		Must(t, err)
		filters, err := seccompFilters(tid)
		if errors.Is(err, unix.ESRCH) {
			continue // it has ended meanwhile
		}
		Must(t, err)
		found[tid] = filters
	}
	return found
}

// seccompFilters reads the filters of one thread.
func seccompFilters(tid int) (filters [][]unix.SockFilter, err error) {
	err = onThread(func() error { // a tracer is a thread, so use the same thread for all calls
		if err := unix.PtraceSeize(tid); err != nil {
			return fmt.Errorf("trace thread %d: %w", tid, err)
		}
		defer func() { _ = unix.PtraceDetach(tid) }()
		if err := unix.PtraceInterrupt(tid); err != nil {
			return fmt.Errorf("stop thread %d: %w", tid, err)
		}
		var status unix.WaitStatus
		if _, err := unix.Wait4(tid, &status, unix.WALL, nil); err != nil {
			return fmt.Errorf("wait for thread %d: %w", tid, err)
		}
		for i := 0; ; i++ {
			filter, err := seccompFilter(tid, i)
			if errors.Is(err, unix.ENOENT) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read seccomp filter %d of thread %d: %w", i, tid, err)
			}
			filters = append(filters, filter)
		}
	})
	return filters, err
}

// seccompFilter reads the filter of that index (PTRACE_SECCOMP_GET_FILTER in ptrace(2)).
func seccompFilter(tid, index int) ([]unix.SockFilter, error) {
	const most = 4096 // BPF_MAXINSNS
	code := make([]unix.SockFilter, most)
	n, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SECCOMP_GET_FILTER,
		uintptr(tid), uintptr(index), uintptr(unsafe.Pointer(&code[0])), 0, 0)
	if errno != 0 {
		return nil, errno
	}
	return code[:n], nil
}

// probeSeccompGet tries it on a process with a filter that allows everything.
func probeSeccompGet() error {
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	filter := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	prog := unix.SockFprog{Len: 1, Filter: &filter}
	err = onThread(func() error { // the process inherits the filter from the thread
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
		if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
			return err
		}
		return cmd.Start()
	})
	if err != nil {
		return err
	}
	_, err = seccompFilters(cmd.Process.Pid)
	return errors.Join(err, stdin.Close(), cmd.Wait())
}
