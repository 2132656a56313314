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
		name   string
		pid    int
		tables func(Grant, []int) [][]rule // in force at the same time
	}{
		{"monitor", monitor, func(g Grant, eventfds []int) [][]rule { return [][]rule{monitorRules(g, eventfds)} }},
		{"parser", testenv.ChildOf(t, monitor), func(g Grant, eventfds []int) [][]rule { return [][]rule{parserRules(g, eventfds)} }},
	} {
		t.Run(process.name, func(t *testing.T) {
			g, eventfds := grantOf(t, process.name, process.pid)
			var models []model
			for _, rules := range process.tables(g, eventfds) {
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

// grantOf returns what a running process was granted, and the descriptors that are an
// eventfd, by what its descriptors are.
func grantOf(t *testing.T, name string, pid int) (g Grant, eventfds []int) {
	t.Helper()
	var control, netlink, packet []int
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	testenv.Must(t, err)
	pidfd, err := unix.PidfdOpen(pid, 0)
	testenv.Must(t, err)
	defer unix.Close(pidfd)
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		testenv.Must(t, err)
		kind, err := os.Readlink(filepath.Join(dir, e.Name()))
		testenv.Must(t, err)
		switch {
		case strings.Contains(kind, "eventfd"):
			eventfds = append(eventfds, fd)
		case strings.Contains(kind, "pidfd"):
			g.Child = fd
		case strings.HasPrefix(kind, "socket:"):
			copied, err := unix.PidfdGetfd(pidfd, fd, 0)
			testenv.Must(t, err)
			domain, err := unix.GetsockoptInt(copied, unix.SOL_SOCKET, unix.SO_DOMAIN)
			unix.Close(copied)
			testenv.Must(t, err)
			switch domain {
			case unix.AF_UNIX:
				control = append(control, fd)
			case unix.AF_NETLINK:
				netlink = append(netlink, fd)
			case unix.AF_PACKET:
				packet = append(packet, fd)
			}
		}
	}
	if len(control) != 1 || len(packet) != 1 || len(eventfds) == 0 {
		t.Fatalf("%s: control sockets %d, packet sockets %d, eventfds %d", name, control, packet, eventfds)
	}
	if name == "parser" {
		g.Write = []int{1, 2, control[0]}
		g.Receive = control
		return g, eventfds
	}
	g.Write = []int{2, control[0]}
	g.Receive = append(control, netlink...)
	g.Send = netlink
	g.Bind = packet
	return g, eventfds
}
