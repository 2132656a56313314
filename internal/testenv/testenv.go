// Package testenv provides an environment on the real kernel for tests: network namespaces with
// real links, sending and capturing frames, and the program under test in a namespace. Expectations
// are created before the stimulus, so that no event is missed and no test sleeps.
//
// [Main] lets the tests run as root or, in a user namespace, as any user. [Require] skips a test if
// the machine lacks a feature, and reports that, or fails the test if NETMON_REQUIRE requires the
// feature.
//
// It is for tests and for internal/demo. Namespaces have no name and are held by a descriptor, so
// that they disappear with the process, also after a crash.
package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A Feature is something that a machine may lack.
type Feature string

const (
	Netns    Feature = "netns"  // network namespaces with veth pairs
	Tun      Feature = "tun"    // tun devices
	Userns   Feature = "userns" // user namespaces
	Root     Feature = "root"   // the initial user namespace's user 0
	VLAN     Feature = "8021q"  // VLAN devices
	Bridge   Feature = "bridge"
	Macvlan  Feature = "macvlan"
	VXLAN    Feature = "vxlan"
	PidFD    Feature = "pidfd"    // pidfd_getfd(2), since Linux 5.6
	Landlock Feature = "landlock" // since Linux 5.13

	// Processors: there is more than one.
	Processors Feature = "processors"

	// Tcpdump: it is installed, and can change to its own user, which user 0 of a user namespace
	// cannot.
	Tcpdump Feature = "tcpdump"

	// Jq: jq(1) is installed.
	Jq Feature = "jq"

	// Journald: systemd-journald(8) and its tools are installed, and cgroups of version 2 can be
	// mounted.
	Journald Feature = "journald"

	// SeccompGet: root may read the seccomp filters of a process
	// (CONFIG_CHECKPOINT_RESTORE, and no filter on the tests themselves).
	SeccompGet Feature = "seccomp-get"

	// MDWE: memory can be kept from becoming executable (PR_SET_MDWE, since Linux 6.3).
	MDWE Feature = "mdwe"

	// Droppable: memory that the kernel may drop can be mapped (MAP_DROPPABLE, since Linux 6.11).
	Droppable Feature = "droppable"

	// MemfdNoexec: a PID namespace can refuse the execution of files in memory
	// (vm.memfd_noexec, since Linux 6.3).
	MemfdNoexec Feature = "memfd-noexec"

	// LiveRename: an interface that is up can get another name (since Linux 6.2).
	LiveRename Feature = "live-rename"

	// Memberships: ip-link(8) shows the number of memberships of all multicast groups (since Linux
	// 6.0 and iproute2 6.0). Tests detect that themselves ([Lacks]).
	Memberships Feature = "memberships"

	// TypeMessages: a message reports that an interface has another type (since Linux 5.13). Tests
	// detect that themselves ([Lacks]).
	TypeMessages Feature = "type-messages"

	// HoldBind: a system call can be suspended (seccomp_unotify(2), since Linux 5.9).
	HoldBind Feature = "seccomp-unotify"

	// Int80: the kernel supports int 0x80, the entry point of 32-bit programs. Some virtual
	// machines end the process with SIGSEGV instead. Tests detect that themselves ([Lacks]).
	Int80 Feature = "int80"

	// Calls: the kernel has each system call of the attacks, and takes its number as 32 bits (since
	// Linux 5.14). Tests detect that themselves ([Lacks]).
	Calls Feature = "calls"

	// CoreDumps: core dumps are not disabled for the tests (RLIMIT_CORE).
	CoreDumps Feature = "core-dumps"

	// GoCommand: the go command is in PATH. Tests detect that themselves ([Lacks]).
	GoCommand Feature = "go"

	// CgroupCPU: a cgroup with a CPU limit can be created.
	CgroupCPU Feature = "cgroup-cpu"

	// CgroupPids: the same for the number of processes.
	CgroupPids Feature = "cgroup-pids"

	// CgroupMemory: the kernel can be made to free the memory of a cgroup (version 2: Linux 5.19).
	CgroupMemory Feature = "cgroup-memory"
)

// notEverywhere are the features that NETMON_REQUIRE=all does not include, because the machines
// that build the project lack them: they must be named.
var notEverywhere = []Feature{VLAN, Tcpdump, Int80}

// ofRoot are the features that NETMON_REQUIRE=all includes only for root, because another user
// lacks them on those machines, too.
var ofRoot = []Feature{Root, Tun, Journald, SeccompGet, CgroupCPU, CgroupPids, CgroupMemory}

// Require skips the test if the machine lacks a feature. If the environment variable NETMON_REQUIRE
// names the feature, in a list with commas, or is "all", the test fails instead.
func Require(t testing.TB, features ...Feature) {
	t.Helper()
	for _, f := range features {
		if err := probe(f); err != nil {
			Lacks(t, f, err)
		}
	}
}

// NotRaced skips a test of memory in a build with the race detector, which has memory of its own
// for each byte. Every such test also runs without it.
func NotRaced(t testing.TB) {
	t.Helper()
	if info, _ := debug.ReadBuildInfo(); slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("not with the race detector")
	}
}

// Lacks ends a test that has detected a missing feature, like [Require].
func Lacks(t testing.TB, f Feature, err error) {
	t.Helper()
	required := strings.Split(os.Getenv("NETMON_REQUIRE"), ",")
	all := slices.Contains(required, "all") && !slices.Contains(notEverywhere, f)
	if probe(Root) != nil && slices.Contains(ofRoot, f) {
		all = false
	}
	if all || slices.Contains(required, string(f)) {
		t.Fatalf("this machine lacks %s, which NETMON_REQUIRE demands: %v", f, err)
	}
	t.Skipf("SKIPPED, NOT TESTED: this machine lacks %s: %v", f, err)
}

// Has reports whether the machine has a feature. Use it to choose expected results, not to skip a
// test.
func Has(f Feature) bool { return probe(f) == nil }

// probe returns the reason why the machine lacks a feature, or nil.
func probe(f Feature) error {
	switch f {
	case Netns:
		ns, err := NewNamespace()
		if err != nil {
			return err
		}
		defer ns.Close()
		return ns.IP("link", "add", "va", "type", "veth", "peer", "name", "vb")
	case Tun:
		ns, err := NewNamespace()
		if err != nil {
			return err
		}
		defer ns.Close()
		return ns.IP("tuntap", "add", "dev", "tun0", "mode", "tun")
	case Tcpdump:
		return probeTcpdump()
	case Jq:
		_, err := exec.LookPath("jq")
		return err
	case Journald:
		return probeJournald()
	case VLAN:
		return probeLink("link", "va", "name", "vx", "type", "vlan", "id", "1")
	case Bridge:
		return probeLink("name", "vx", "type", "bridge")
	case Macvlan:
		return probeLink("link", "va", "name", "vx", "type", "macvlan")
	case VXLAN:
		return probeLink("name", "vx", "type", "vxlan", "id", "1", "dstport", "4789")
	case Userns:
		cmd := exec.Command("/proc/self/exe", "-test.run=^$")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
		return cmd.Run()
	case Root:
		if os.Getuid() != 0 || inUserNamespace() {
			return errors.New("not the initial user namespace's root")
		}
		return nil
	case PidFD:
		_, err := unix.PidfdOpen(os.Getpid(), 0)
		return err
	case Landlock:
		_, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
		if errno != 0 {
			return errno
		}
		return nil
	case Processors:
		if runtime.NumCPU() == 1 {
			return errors.New("one processor")
		}
		return nil
	case Droppable:
		_, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_DROPPABLE|unix.MAP_ANONYMOUS)
		return err
	case CoreDumps:
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil {
			return err
		}
		if limit.Max == 0 {
			return errors.New("the hard limit RLIMIT_CORE is 0")
		}
		return nil
	case SeccompGet:
		return probeSeccompGet()
	case MDWE:
		_, err := unix.PrctlRetInt(unix.PR_GET_MDWE, 0, 0, 0, 0)
		return os.NewSyscallError("prctl", err)
	case LiveRename:
		ns, err := NewNamespace()
		if err != nil {
			return err
		}
		defer ns.Close()
		return ns.Batch("link add va type veth peer name vb\nlink set va up\nlink set va name vx\n")
	case MemfdNoexec:
		_, err := os.Stat("/proc/sys/vm/memfd_noexec")
		return err
	case HoldBind:
		return probeHoldBind()
	case CgroupCPU:
		l, err := newCPULimit()
		if err != nil {
			return err
		}
		return l.close()
	case CgroupPids:
		l, err := newPidsLimit()
		if err != nil {
			return err
		}
		return l.close()
	case CgroupMemory:
		m, err := newMemory()
		if err != nil {
			return err
		}
		return m.close()
	}
	return fmt.Errorf("no such feature: %q", f)
}

// probeTcpdump runs tcpdump on an empty capture.
func probeTcpdump() error {
	path, err := LookTcpdump()
	if err != nil {
		return err
	}
	cmd := exec.Command(path, "-r", "-")
	cmd.Stdin = strings.NewReader("\xa1\xb2\xc3\xd4\x00\x02\x00\x04" + strings.Repeat("\x00", 10) + "\xff\xff\x00\x00\x00\x01")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("tcpdump: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// LookTcpdump returns the path of tcpdump(8), which is not in every user's PATH.
func LookTcpdump() (string, error) {
	if path, err := exec.LookPath("tcpdump"); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/tcpdump")
}

// JournaldPath is the path of systemd-journald(8) on Debian.
const JournaldPath = "/usr/lib/systemd/systemd-journald"

func probeJournald() error {
	for _, name := range []string{JournaldPath, "systemd-cat", "journalctl"} {
		if _, err := exec.LookPath(name); err != nil {
			return err
		}
	}
	out, err := exec.Command("unshare", "--mount", "--propagation", "private", "mount", "-t", "cgroup2", "none", "/sys/fs/cgroup").CombinedOutput()
	if err != nil {
		return fmt.Errorf("mount cgroup2: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// probeLink creates an interface in a namespace that has a veth pair.
func probeLink(args ...string) error {
	ns, err := NewNamespace()
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := ns.IP("link", "add", "va", "type", "veth", "peer", "name", "vb"); err != nil {
		return err
	}
	return ns.IP(append([]string{"link", "add"}, args...)...)
}

// inUserNamespace reports whether user IDs are mapped, that is, whether some differ inside and
// outside (user_namespaces(7)).
func inUserNamespace() bool {
	maps, err := os.ReadFile("/proc/self/uid_map")
	return err != nil || strings.Join(strings.Fields(string(maps)), " ") != "0 0 4294967295"
}

// inside marks the process that Main started in a user namespace.
const inside = "NETMON_TEST_INSIDE"

// Main runs the tests of a package and returns the exit status. For a user other than root it first
// creates a user namespace in which the user is user 0. If the kernel refuses that, the tests run
// without it, and Require reports the missing features.
func Main(m *testing.M) int {
	if err := closeInheritedOnExec(); err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		return 1
	}
	if os.Getuid() != 0 && os.Getenv(inside) == "" {
		if status, err := Reexec(); err == nil {
			return status
		}
	}
	// Under nohup(1) the programs that the tests start would ignore SIGHUP as well. A signal that
	// is caught has its default action again after an exec, and still does not end the tests.
	if signal.Ignored(unix.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), unix.SIGHUP)
	}
	defer removeBuilt()
	return m.Run()
}

// closeInheritedOnExec marks the descriptors that this process has inherited, such as that of a
// lock of flock(1). The programs that the tests start do not get them, because some tests limit or
// count the descriptors. It marks each by itself: Linux 5.10 lacks CLOSE_RANGE_CLOEXEC.
func closeInheritedOnExec() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// Reexec runs the program again as user 0 of a new user namespace and returns its exit status.
func Reexec() (int, error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}
