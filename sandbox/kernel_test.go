package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// What the kernel holds for each thread of the running program, both processes, is what
// the tables say.
func TestFiltersInTheKernel(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.SeccompGet)
	t.Parallel()
	a, b := testenv.Pair(t)
	// Behind a shell, so that the monitor is not our child.
	p := testenv.Watch(t, a.Namespace, testenv.Options{Shell: `"$0" "$@"; exit $?`}, a.Name)
	monitor := p.Child(t)
	// A frame, so that the threads that come with work are there too.
	seen := p.Lines.Expect(testenv.IP("10.0.0.5"))
	testenv.Must(t, b.Port(t).Send(testenv.ARP{SenderMAC: testenv.MACB, SenderIP: "10.0.0.5", TargetIP: "10.0.0.9"}.Bytes()))
	seen.True(t)

	for _, process := range []struct {
		name string
		pid  int
	}{
		{"monitor", monitor},
		{"parser", testenv.ChildOf(t, monitor)},
	} {
		t.Run(process.name, func(t *testing.T) {
			var models []model
			for _, rules := range tablesOf(t, process.name, process.pid) {
				models = append(models, ofProcess(rules, process.pid))
			}
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
			s := subject{models: models}
			for i, f := range first {
				s.programs = append(s.programs, newProgram(f))
				t.Logf("filter %d of %d threads: %d instructions", i, len(threads), len(f))
			}
			s.check(t)
		})
	}
	// It was stopped, and goes on.
	seen = p.Lines.Expect(testenv.IP("10.0.0.6"))
	testenv.Must(t, b.Port(t).Send(testenv.ARP{SenderMAC: testenv.MACB, SenderIP: "10.0.0.6", TargetIP: "10.0.0.9"}.Bytes()))
	seen.True(t)
}

// ofProcess returns a table as it is made in another process.
func ofProcess(rules []rule, pid int) []rule {
	rules = slices.Clone(rules)
	for i, r := range rules {
		if r.call == "tgkill" {
			rules[i] = with(r.call, r.why, is(0, pid))
		}
	}
	return rules
}

// tablesOf returns the tables that are in force at the same time in a running process, by
// what its descriptors are.
func tablesOf(t *testing.T, name string, pid int) [][]rule {
	t.Helper()
	fds := descriptorsOf(t, pid)
	if len(fds["control"]) != 1 || len(fds["packet"]) != 1 || len(fds["eventfd"]) == 0 {
		t.Fatalf("descriptors of the %s: %v", name, fds)
	}
	control := fds["control"][0]
	if name == "parser" {
		g := Grant{Write: []int{1, 2, control}, Receive: []int{control}}
		return [][]rule{parserRules(g, fds["eventfd"], fds["packet"], nil), readerRules(g, fds["eventfd"], fds["packet"], nil)}
	}
	if len(fds["netlink"]) != 1 || len(fds["pidfd"]) != 1 {
		t.Fatalf("descriptors of the %s: %v", name, fds)
	}
	netlink := fds["netlink"][0]
	return [][]rule{monitorRules(Grant{
		Write:   []int{2, control},
		Receive: []int{control, netlink},
		Send:    []int{netlink},
		Bind:    fds["packet"],
		Child:   fds["pidfd"][0],
	}, fds["eventfd"])}
}

// descriptorsOf returns the descriptors of a process by their kind.
func descriptorsOf(t *testing.T, pid int) map[string][]int {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	testenv.Must(t, err)
	pidfd, err := unix.PidfdOpen(pid, 0)
	testenv.Must(t, err)
	defer unix.Close(pidfd)
	domains := map[int]string{unix.AF_UNIX: "control", unix.AF_NETLINK: "netlink", unix.AF_PACKET: "packet"}
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
		case strings.HasPrefix(kind, "socket:"):
			ours, err := unix.PidfdGetfd(pidfd, fd, 0)
			testenv.Must(t, err)
			domain, err := unix.GetsockoptInt(ours, unix.SOL_SOCKET, unix.SO_DOMAIN)
			unix.Close(ours)
			testenv.Must(t, err)
			kind = domains[domain]
		}
		fds[kind] = append(fds[kind], fd)
	}
	return fds
}
