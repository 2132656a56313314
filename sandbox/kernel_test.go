package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"maas-netmon/capture/capturetest"
	"maas-netmon/internal/testenv"
)

// The filters in the kernel, for each thread of both processes of the running program, are those of
// the tables.
func TestFiltersInTheKernel(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.SeccompGet)
	t.Parallel()
	a, b := testenv.Pair(t)
	// Through a shell, so that the monitor is not a child of the test.
	p := testenv.Watch(t, a.Namespace, testenv.Options{Shell: `"$0" "$@"; exit $?`}, a.Name)
	monitor := p.Child(t)
	// Send a frame, so that the threads that start with work exist too.
	seen := p.Lines.Expect(testenv.IP("10.0.0.5"))
	testenv.Must(t, b.Port(t).Send(testenv.ARP{SenderMAC: testenv.MACB, SenderIP: "10.0.0.5", TargetIP: "10.0.0.9"}.Bytes()))
	seen.Await(t)

	checkFilters(t, monitor)
	// It was stopped, and continues.
	seen = p.Lines.Expect(testenv.IP("10.0.0.6"))
	testenv.Must(t, b.Port(t).Send(testenv.ARP{SenderMAC: testenv.MACB, SenderIP: "10.0.0.6", TargetIP: "10.0.0.9"}.Bytes()))
	seen.Await(t)
}

// The same for a program that reads a file: a pipe, so that it does not end.
func TestFiltersInTheKernelForAFile(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.SeccompGet)
	t.Parallel()
	r, w, err := os.Pipe()
	testenv.Must(t, err)
	defer w.Close()
	p := testenv.Start(t, testenv.Net(t), testenv.Options{Stdin: r, Shell: `"$0" "$@"; exit $?`}, "-i", "-")
	testenv.Must(t, r.Close())
	if _, ok := p.Log.Await(testenv.Contains("msg=reading")); !ok {
		t.Fatal(p.Log.Seen())
	}
	checkFilters(t, p.Child(t))
	frame := testenv.ARP{SenderMAC: testenv.MACB, SenderIP: "10.0.0.5", TargetIP: "10.0.0.9"}.Bytes()
	_, err = w.Write(capturetest.Pcap{Order: capturetest.Orders[0]}.File(0, frame))
	testenv.Must(t, errors.Join(err, w.Close()))
	if status := p.Exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// checkFilters compares the filters of each thread of a program with its tables.
func checkFilters(t *testing.T, monitor int) {
	for _, process := range []struct {
		name string
		pid  int
	}{
		{"monitor", monitor},
		{"parser", testenv.ChildOf(t, monitor)},
	} {
		t.Run(process.name, func(t *testing.T) {
			models := policiesOf(t, process.name, process.pid)
			threads := testenv.SeccompFilters(t, process.pid)
			if len(threads) < 2 {
				t.Fatalf("%d thread, want several", len(threads))
			}
			var first [][]unix.SockFilter
			for tid, filters := range threads {
				if len(filters) != len(models) {
					t.Fatalf("thread %d has %d filters, want %d", tid, len(filters), len(models))
				}
				if first == nil {
					first = filters
				}
				if !slices.EqualFunc(filters, first, slices.Equal[[]unix.SockFilter]) {
					t.Errorf("thread %d has other filters than another", tid)
				}
			}
			s := subject{abi: native, models: models}
			for i, f := range first {
				s.programs = append(s.programs, newProgram(f))
				t.Logf("filter %d of %d threads: %d instructions", i, len(threads), len(f))
			}
			s.check(t)
		})
	}
}

// policiesOf returns the policies that are in force together in a running process, according to its
// descriptors.
func policiesOf(t *testing.T, name string, pid int) []model {
	t.Helper()
	fds := descriptorsOf(t, pid)
	p := confined{process: name, pid: pid, eventfds: fds["eventfd"], sockets: fds["packet"]}
	for _, fd := range fds["pipe"] {
		if fd > 2 { // not a standard stream
			p.files = append(p.files, fd)
		}
	}
	if len(fds["control"]) != 1 || len(fds["eventfd"]) == 0 {
		t.Fatalf("descriptors of the %s: %v", name, fds)
	}
	control := fds["control"][0]
	if name == "parser" {
		if len(p.sockets)+len(p.files) != 1 {
			t.Fatalf("descriptors of the parser: %v", fds)
		}
		p.write, p.receive = []int{1, 2, control}, []int{control}
		reader := p
		reader.process = "reader"
		return []model{p.policy(), reader.policy()}
	}
	if len(fds["subscription"]) != len(p.sockets) || len(fds["lister"]) != len(p.sockets) || len(fds["pidfd"]) != 1 {
		t.Fatalf("descriptors of the %s: %v", name, fds)
	}
	p.write, p.receive = []int{2, control}, slices.Concat([]int{control}, fds["subscription"], fds["lister"])
	p.send, p.child = fds["lister"], fds["pidfd"][0]
	return []model{p.policy()}
}

// descriptorsOf returns the descriptors of a process by their type.
func descriptorsOf(t *testing.T, pid int) map[string][]int {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	testenv.Must(t, err)
	pidfd, err := unix.PidfdOpen(pid, 0)
	testenv.Must(t, err)
	defer unix.Close(pidfd)
	domains := map[int]string{unix.AF_UNIX: "control", unix.AF_NETLINK: "lister", unix.AF_PACKET: "packet"}
	fds := map[string][]int{}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		testenv.Must(t, err)
		kind, err := os.Readlink(filepath.Join(dir, e.Name()))
		testenv.Must(t, err)
		switch {
		case strings.Contains(kind, "eventfd"):
			kind = "eventfd"
		case strings.Contains(kind, "pidfd"):
			kind = "pidfd"
		case strings.HasPrefix(kind, "pipe:"):
			kind = "pipe"
		case strings.HasPrefix(kind, "socket:"):
			ours, err := unix.PidfdGetfd(pidfd, fd, 0)
			testenv.Must(t, err)
			domain, err := unix.GetsockoptInt(ours, unix.SOL_SOCKET, unix.SO_DOMAIN)
			testenv.Must(t, err)
			kind = domains[domain]
			name, err := unix.Getsockname(ours)
			testenv.Must(t, err)
			if nl, ok := name.(*unix.SockaddrNetlink); ok && nl.Groups != 0 {
				kind = "subscription"
			}
			unix.Close(ours)
		}
		fds[kind] = append(fds[kind], fd)
	}
	return fds
}
