package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A CPULimit is a cgroup whose processes get a part of a processor (cgroups(7)).
type CPULimit struct {
	dir string
	v2  bool
}

// newCPULimit makes a cgroup without a limit.
func newCPULimit() (*CPULimit, error) {
	const v2, v1 = "/sys/fs/cgroup", "/sys/fs/cgroup/cpu"
	l := &CPULimit{dir: v1}
	if controllers, err := os.ReadFile(filepath.Join(v2, "cgroup.subtree_control")); err == nil {
		if !strings.Contains(" "+string(controllers)+" ", "cpu ") {
			return nil, errors.New("the root cgroup does not pass its CPU controller on")
		}
		l = &CPULimit{dir: v2, v2: true}
	}
	dir, err := os.MkdirTemp(l.dir, "netmon-test-")
	if err != nil {
		return nil, err
	}
	l.dir = dir
	if err := l.Set(0); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// NewCPULimit makes a cgroup without a limit, which is removed with the test. It needs
// [CgroupCPU].
func NewCPULimit(t testing.TB) *CPULimit {
	t.Helper()
	l, err := newCPULimit()
	Must(t, err)
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Log(err)
		}
	})
	return l
}

// Set gives the processes this many percent of one processor, together, or takes the limit
// away with 0.
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
	return os.WriteFile(filepath.Join(l.dir, file), []byte(quota), 0)
}

// Shell is a shell command line that runs "$0" "$@" inside.
func (l *CPULimit) Shell() string {
	return fmt.Sprintf(`echo $$ >%s/cgroup.procs && exec "$0" "$@"`, l.dir)
}

// close removes the cgroup, which must be empty.
func (l *CPULimit) close() error { return os.Remove(l.dir) }
