package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Cgroup is a new control group with one controller (cgroups(7)).
type Cgroup struct {
	dir string
	v2  bool
}

// newCgroup creates a cgroup, in either version of the hierarchy.
func newCgroup(controller string) (Cgroup, error) {
	const v2 = "/sys/fs/cgroup"
	g := Cgroup{dir: filepath.Join(v2, controller)}
	if controllers, err := os.ReadFile(filepath.Join(v2, "cgroup.subtree_control")); err == nil {
		if !slices.Contains(strings.Fields(string(controllers)), controller) {
			return g, fmt.Errorf("the root cgroup does not pass its controller %s on", controller)
		}
		g = Cgroup{dir: v2, v2: true}
	}
	dir, err := os.MkdirTemp(g.dir, "netmon-test-")
	g.dir = dir
	return g, err
}

// Shell is a shell command line that runs "$0" "$@" inside.
func (g Cgroup) Shell() string {
	return fmt.Sprintf(`echo $$ >%s/cgroup.procs && exec "$0" "$@"`, g.dir)
}

func (g Cgroup) set(file, value string) error {
	return os.WriteFile(filepath.Join(g.dir, file), []byte(value), 0)
}

// close removes the cgroup, which must be empty.
func (g Cgroup) close() error { return os.Remove(g.dir) }

// remove removes the cgroup at the end of the test. A process that was killed can need a moment to
// leave it.
func (g Cgroup) remove(t testing.TB) {
	t.Cleanup(func() {
		err := g.close()
		for end := time.Now().Add(Patience); err != nil && time.Now().Before(end); err = g.close() {
			runtime.Gosched()
		}
		if err != nil {
			t.Log(err)
		}
	})
}

// newPidsLimit creates a cgroup with a limit on the number of processes and threads.
func newPidsLimit() (PidsLimit, error) {
	g, err := newCgroup("pids")
	if err == nil {
		err = g.set("pids.max", "max")
	}
	return PidsLimit{g}, err
}

// A PidsLimit is a cgroup whose processes and threads are counted.
type PidsLimit struct{ Cgroup }

// NewPidsLimit creates a cgroup without a limit, which is removed at the end of the test. It needs
// [CgroupPids].
func NewPidsLimit(t testing.TB) PidsLimit {
	t.Helper()
	l, err := newPidsLimit()
	Must(t, err)
	l.remove(t)
	return l
}

// Set allows this many processes and threads, together.
func (l PidsLimit) Set(n int) error { return l.set("pids.max", strconv.Itoa(n)) }

// A Memory is a cgroup whose memory is counted.
type Memory struct{ Cgroup }

// newMemory creates a cgroup that can be told to free its memory.
func newMemory() (Memory, error) {
	g, err := newCgroup("memory")
	if err != nil {
		return Memory{}, err
	}
	m := Memory{g}
	if err := m.Reclaim(); err != nil {
		return m, errors.Join(err, m.close())
	}
	return m, nil
}

// NewMemory creates a cgroup without a limit, which is removed at the end of the test. It needs
// [CgroupMemory].
func NewMemory(t testing.TB) Memory {
	t.Helper()
	m, err := newMemory()
	Must(t, err)
	m.remove(t)
	return m
}

// Reclaim makes the kernel free what the processes can do without, such as unused inodes.
func (m Memory) Reclaim() error {
	if !m.v2 {
		return m.set("memory.force_empty", "0")
	}
	err := m.set("memory.reclaim", "1G")
	if errors.Is(err, unix.EAGAIN) { // there is less
		err = nil
	}
	return err
}

// A CPULimit is a cgroup that limits the processor time of its processes.
type CPULimit struct{ Cgroup }

// newCPULimit creates a cgroup without a limit.
func newCPULimit() (*CPULimit, error) {
	g, err := newCgroup("cpu")
	if err != nil {
		return nil, err
	}
	l := &CPULimit{g}
	if err := l.Set(0); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// NewCPULimit creates a cgroup without a limit, which is removed at the end of the test. It needs
// [CgroupCPU].
func NewCPULimit(t testing.TB) *CPULimit {
	t.Helper()
	l, err := newCPULimit()
	Must(t, err)
	l.remove(t)
	return l
}

// Set limits the processes, together, to this percentage of one processor; 0 removes the limit.
func (l *CPULimit) Set(percent int) error {
	const period = 100_000 // microseconds
	quota := strconv.Itoa(percent * period / 100)
	file := "cpu.cfs_quota_us"
	switch {
	case l.v2 && percent == 0:
		file, quota = "cpu.max", "max"
	case l.v2:
		file, quota = "cpu.max", fmt.Sprint(quota, " ", period)
	case percent == 0:
		quota = "-1"
	}
	return l.set(file, quota)
}
