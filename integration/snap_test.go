package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"maas-netmon/internal/testenv"
)

// snapDaemon is the ID that snapd assigns to the user and group snap_daemon.
const snapDaemon = 584788

// snapFlag makes the test binary start a program like snapd starts a daemon of MAAS's snap.
const snapFlag = "--like-a-snap"

// snapConfine applies the restrictions of root in MAAS's snap, and executes the program: the file
// is readable and on a read-only file system; snap_daemon is the only possible other user; calls
// that are not in snapd's list of system calls fail with EPERM, and so do the acts that AppArmor
// denies there: the use of CAP_SETPCAP, and the execution of a file in memory.
func snapConfine(args []string) error {
	runtime.LockOSThread()
	dir := "/mnt"
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{"tmpfs", dir, "tmpfs", 0},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	program, passwd := filepath.Join(dir, "maas-netmon"), filepath.Join(dir, "passwd")
	if out, err := exec.Command("install", "-m", "0755", args[0], program).CombinedOutput(); err != nil {
		return fmt.Errorf("install: %w: %s", err, out)
	}
	users := fmt.Sprintf("root:x:0:0::/root:/bin/sh\nsnap_daemon:x:%d:%d::/nonexistent:/bin/false\nnobody:x:65534:65534::/:/bin/false\n", snapDaemon, snapDaemon)
	if err := os.WriteFile(passwd, []byte(users), 0o644); err != nil {
		return err
	}
	if err := unix.Mount(passwd, "/etc/passwd", "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NODEV, ""); err != nil {
		return err
	}
	for _, c := range []cap.Value{cap.DAC_OVERRIDE, cap.DAC_READ_SEARCH, cap.FOWNER, cap.FSETID, cap.KILL, cap.SYS_BOOT, cap.SYS_RESOURCE} {
		if err := cap.DropBound(c); err != nil {
			return err
		}
	}
	if err := refuseLikeSnapd(); err != nil {
		return err
	}
	return unix.Exec(program, append([]string{"maas-netmon"}, args[1:]...), os.Environ())
}

// refuseLikeSnapd loads the filter. snapd has a list of allowed calls; this filter refuses the
// calls that are not in that list and that this program could use.
func refuseLikeSnapd() error {
	filter, err := seccomp.NewFilter(seccomp.ActAllow)
	if err != nil {
		return err
	}
	if err := filter.SetNoNewPrivsBit(false); err != nil { // snapd does not set it
		return err
	}
	refuse := func(call string, action seccomp.ScmpAction, conditions ...seccomp.ScmpCondition) error {
		number, err := seccomp.GetSyscallFromName(call)
		if err != nil {
			return err
		}
		if len(conditions) == 0 {
			return filter.AddRule(number, action)
		}
		return filter.AddRuleConditional(number, action, conditions)
	}
	eperm := seccomp.ActErrno.SetReturnCode(int16(unix.EPERM))
	for _, call := range []string{"pidfd_send_signal", "pidfd_getfd", "ptrace", "process_vm_readv", "openat2", "mount",
		"add_key", "keyctl", "setfsuid", "setfsgid", "io_uring_setup", "userfaultfd", "perf_event_open"} {
		if err := refuse(call, eperm); err != nil {
			return fmt.Errorf("%s: %w", call, err)
		}
	}
	if err := refuse("setgroups", eperm, seccomp.ScmpCondition{Argument: 0, Op: seccomp.CompareNotEqual, Operand1: 0}); err != nil {
		return err
	}
	// Only root and snap_daemon are allowed as users and groups. A filter can compare an argument
	// only once, so this refuses some other IDs.
	for call, n := range map[string]uint{"setuid": 1, "setgid": 1, "setresuid": 3, "setresgid": 3} {
		for i := range n {
			for _, other := range []uint64{1, 33, 999, 65534} {
				if err := refuse(call, eperm, seccomp.ScmpCondition{Argument: i, Op: seccomp.CompareEqual, Operand1: other}); err != nil {
					return fmt.Errorf("%s: %w", call, err)
				}
			}
		}
	}
	for _, option := range []uint64{unix.PR_CAPBSET_DROP, unix.PR_SET_SECUREBITS} {
		if err := refuse("prctl", eperm, seccomp.ScmpCondition{Argument: 0, Op: seccomp.CompareEqual, Operand1: option}); err != nil {
			return err
		}
	}
	if err := refuse("memfd_create", seccomp.ActErrno.SetReturnCode(int16(unix.EACCES))); err != nil {
		return err
	}
	return filter.Load()
}

// maasEnv is the environment of MAAS's rack service in its snap.
var maasEnv = []string{
	"SNAP_NAME=maas", "SNAP_INSTANCE_NAME=maas", "SNAP=/snap/maas/x1", "SNAP_DATA=/var/snap/maas/x1", "MAAS_PATH=/snap/maas/x1",
	"LANG=C.UTF-8", "LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONUNBUFFERED=1", "LOG_LEVEL=info",
}

// inSnap starts the program like MAAS's snap.
func inSnap(t *testing.T, ns *testenv.Namespace, args ...string) *testenv.Program {
	t.Helper()
	exe, err := os.Executable()
	testenv.Must(t, err)
	return testenv.Start(t, ns, testenv.Options{
		Path: exe, Env: maasEnv, Shell: `exec unshare --mount "$0" "$@"`,
	}, append([]string{snapFlag, testenv.Binary(t)}, args...)...)
}

// In MAAS's snap the program starts, confined as elsewhere, and its parser cannot be accessed.
func TestSnap(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.Landlock)
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := inSnap(t, a.Namespace, a.Name)
	p.Ready(t)
	for name, pid := range map[string]int{"monitor": p.Pid(), "parser": p.Child(t)} {
		for _, s := range testenv.Status(t, pid) {
			id := strings.TrimSpace(strings.Repeat(fmt.Sprint(snapDaemon, " "), 4))
			if s["Uid"] != id || s["Gid"] != id || s["Groups"] != "" {
				t.Errorf("%s: users %q, groups %q %q", name, s["Uid"], s["Gid"], s["Groups"])
			}
			for _, set := range []string{"CapPrm", "CapEff", "CapInh", "CapAmb"} {
				if strings.Trim(s[set], "0") != "" {
					t.Errorf("%s: %s is %s", name, set, s[set])
				}
			}
			if s["NoNewPrivs"] != "1" || s["Seccomp"] != "2" {
				t.Errorf("%s: no_new_privs %s, seccomp %s", name, s["NoNewPrivs"], s["Seccomp"])
			}
		}
	}
	sendFence(t, p, b.Port(t)).Await(t)
	p.Stop(t)
}

// A stopped parser cannot prevent the program from ending, although pidfd_send_signal is refused.
func TestSnapStoppedParser(t *testing.T) {
	testenv.Require(t, testenv.Root)
	t.Parallel()
	a, _ := testenv.RawPair(t)
	p := inSnap(t, a.Namespace, a.Name)
	p.Ready(t)
	child := openProcess(t, p.Child(t))
	testenv.Must(t, unix.PidfdSendSignal(child, unix.SIGSTOP, nil, 0))
	p.Stop(t)
	if !testenv.Ended(t, child) {
		t.Error("the parser goes on")
	}
}

func TestSnapCheck(t *testing.T) {
	testenv.Require(t, testenv.Root)
	t.Parallel()
	a, _ := testenv.RawPair(t)
	p := inSnap(t, a.Namespace, "--check", a.Name)
	status := p.Exit(t)
	var said strings.Builder
	for _, l := range p.Lines.WaitEnd(t) {
		said.WriteString(l.Raw + "\n")
	}
	if status != 0 || !strings.Contains(said.String(), fmt.Sprintf("user %d, group %d", snapDaemon, snapDaemon)) ||
		!strings.HasSuffix(said.String(), "It would run.\n") {
		t.Errorf("exit status %d\n%s", status, said.String())
	}
}

// A user other than snap_daemon is refused there, with a reason.
func TestSnapUser(t *testing.T) {
	testenv.Require(t, testenv.Root)
	t.Parallel()
	a, _ := testenv.RawPair(t)
	p := inSnap(t, a.Namespace, "--user", "nobody", a.Name)
	status := p.Exit(t)
	want := []string{"maas-netmon: --user nobody: become group 65534: operation not permitted",
		"maas-netmon: hint: snapd lets a snap become snap_daemon only: leave --user out"}
	if got := p.Log.WaitEnd(t); status != 5 || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("exit status %d, %q", status, got)
	}
}

// The program starts and stops a hundred times.
func TestSnapRestarts(t *testing.T) {
	testenv.Require(t, testenv.Root)
	a, _ := testenv.RawPair(t)
	for i := range 100 {
		p := inSnap(t, a.Namespace, a.Name)
		p.Ready(t)
		p.Signal(t, sigTERM)
		if status := p.Exit(t); status != 0 {
			t.Fatalf("start %d: exit status %d", i, status)
		}
	}
}

// If the program cannot become another user, as in a container with only CAP_NET_RAW, it stays user
// 0 without a capability, and reports that.
func TestUserZero(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.Landlock)
	t.Parallel()
	a, b := testenv.RawPair(t)
	alone := testenv.Options{Shell: `exec setpriv --bounding-set -all,+net_raw "$0" "$@"`, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}}
	p := testenv.Watch(t, a.Namespace, alone, a.Name)
	for name, pid := range map[string]int{"monitor": p.Pid(), "parser": p.Child(t)} {
		for _, s := range testenv.Status(t, pid) {
			if s["Uid"] != "0 0 0 0" || strings.Trim(s["CapPrm"]+s["CapEff"]+s["CapInh"]+s["CapAmb"], "0") != "" || s["NoNewPrivs"] != "1" || s["Seccomp"] != "2" {
				t.Errorf("%s: %v", name, s)
			}
		}
	}
	if !strings.Contains(strings.Join(p.Log.Seen(), "\n"), "stays user 0, without a capability") {
		t.Error("it does not say so")
	}
	sendFence(t, p, b.Port(t)).Await(t)
	status, stdout, stderr := testenv.Run(t, a.Namespace, alone, "--check", a.Name)
	if status != 0 || !strings.Contains(stdout, "--  stays user 0, without a capability: ") || !strings.HasSuffix(stdout, "It would run.\n") {
		t.Errorf("--check: exit status %d\n%s%s", status, stdout, stderr)
	}
}

// The program ends with the process that started it, and not before.
func TestDieWithParent(t *testing.T) {
	testenv.Require(t, testenv.Root)
	for _, c := range []struct {
		name string
		args []string
		env  []string
		ends bool
	}{
		{"option", []string{"--die-with-parent"}, nil, true},
		{"MAAS's snap", nil, []string{"SNAP_NAME=maas"}, true},
		{"MAAS's snap, switched off", []string{"--die-with-parent=false"}, []string{"SNAP_NAME=maas"}, false},
		{"another snap", nil, []string{"SNAP_NAME=other"}, false},
		{"none", nil, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, b := testenv.RawPair(t)
			shell := testenv.Start(t, a.Namespace, testenv.Options{Shell: `"$0" "$@"; exit`, Env: c.env}, append(c.args, a.Name)...)
			shell.Ready(t)
			monitor := shell.Child(t)
			parser := testenv.ChildOf(t, monitor)
			m, p := openProcess(t, monitor), openProcess(t, parser)
			shell.Signal(t, syscall.SIGKILL)
			if c.ends {
				if !testenv.Ended(t, m) || !testenv.Ended(t, p) {
					t.Error("it outlives its starter")
				}
				return
			}
			sendFence(t, shell, b.Port(t)).Await(t)
			testenv.Must(t, unix.PidfdSendSignal(m, unix.SIGTERM, nil, 0))
			if !testenv.Ended(t, m) {
				t.Error("it does not end")
			}
		})
	}
}

// The files of the part in doc/snap.md have the modes that snapd requires: all users may read and
// execute the command and each directory in its path.
func TestSnapModes(t *testing.T) {
	page, err := os.ReadFile("../doc/snap.md")
	testenv.Must(t, err)
	_, parameters, _ := strings.Cut(string(page), "make-parameters: [")
	parameters, _, _ = strings.Cut(parameters, "]")
	_, command, _ := strings.Cut(string(page), "command: ")
	command, _, _ = strings.Cut(command, "\n")
	dir := testenv.Dir(t)
	args := append([]string{"-C", "..", "-o", "bin/maas-netmon", "install", "DESTDIR=" + dir}, strings.Split(parameters, ", ")...)
	if out, err := exec.Command("make", args...).CombinedOutput(); err != nil {
		t.Fatalf("make: %v: %s", err, out)
	}
	for path := command; path != "."; path = filepath.Dir(path) {
		info, err := os.Stat(filepath.Join(dir, path))
		testenv.Must(t, err)
		if info.Mode().Perm()&0o555 != 0o555 {
			t.Errorf("%s: %v", path, info.Mode())
		}
	}
}

// A diversion as in doc/compatibility.md preserves the file during an upgrade of MAAS's package.
func TestDiversion(t *testing.T) {
	testenv.Require(t, testenv.Root)
	root := testenv.Dir(t)
	shell := func(script string) string {
		cmd := exec.Command("/bin/sh", "-ec", script)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "ROOT=" + root, "DPKG_ROOT="}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
		return string(out)
	}
	shell(`mkdir -p $ROOT/var/lib/dpkg/info $ROOT/var/lib/dpkg/updates $ROOT/var/log; touch $ROOT/var/lib/dpkg/status
for v in 3.7 3.8; do
	d=$ROOT/src/$v; mkdir -p $d/DEBIAN $d/usr/sbin; echo "MAAS $v" >$d/usr/sbin/maas-netmon
	printf 'Package: maas-netmon\nVersion: 1:%s\nArchitecture: all\nMaintainer: none <none@example.com>\nDescription: made up\n' $v >$d/DEBIAN/control
	dpkg-deb -b $d $ROOT/$v.deb
done
dpkg --root=$ROOT -i $ROOT/3.7.deb
dpkg-divert --root $ROOT --local --rename --divert /usr/sbin/maas-netmon.maas --add /usr/sbin/maas-netmon
echo ours >$ROOT/usr/sbin/maas-netmon
dpkg --root=$ROOT -i $ROOT/3.8.deb`)
	if got := shell(`cat $ROOT/usr/sbin/maas-netmon $ROOT/usr/sbin/maas-netmon.maas`); got != "ours\nMAAS 3.8\n" {
		t.Errorf("after the upgrade: %q", got)
	}
	if got := shell(`rm $ROOT/usr/sbin/maas-netmon; dpkg-divert --root $ROOT --local --rename --remove /usr/sbin/maas-netmon >/dev/null; cat $ROOT/usr/sbin/maas-netmon`); got != "MAAS 3.8\n" {
		t.Errorf("after its removal: %q", got)
	}
}

// Each reason for a missing capability has its own hint.
func TestCapabilityHints(t *testing.T) {
	testenv.Require(t, testenv.Root)
	a, _ := testenv.RawPair(t)
	path := testenv.CapableBinary(t, "cap_net_raw=p")
	foreign := testenv.CapableBinary(t, "")
	if out, err := exec.Command("/sbin/setcap", "-n", "100000", "cap_net_raw=p", foreign).CombinedOutput(); err != nil {
		t.Fatalf("setcap: %v: %s", err, out)
	}
	const userns = `unshare -U --map-user=1000 --map-group=1000 "$0" "$@"`
	const as = `setpriv --reuid 65534 --regid 65534 --clear-groups `
	for _, c := range []struct{ name, path, shell, hint string }{
		{"no capability on the file", testenv.CapableBinary(t, ""), `exec ` + as + `"$0" "$@"`, "sudo setcap cap_net_raw=p "},
		{"no_new_privs", path, `exec ` + as + `setpriv --no-new-privs "$0" "$@"`, "no_new_privs was set"},
		{"bounding set", path, `exec ` + as + `--bounding-set -net_raw "$0" "$@"`, "CAP_NET_RAW is not in the bounding set"},
		{"nosuid", path, `exec unshare -m sh -c 'mount --bind "$1" "$1" && mount -o remount,bind,nosuid "$1" && shift && exec ` + as + `"$0" "$@"' "$0" "${0%/*}" "$@"`, "is mounted nosuid"},
		{"root without it", testenv.CapableBinary(t, ""), `exec setpriv --bounding-set -net_raw "$0" "$@"`, "CAP_NET_RAW is not in the bounding set"},
		{"root without privileges", testenv.CapableBinary(t, ""), `exec setpriv --securebits +noroot "$0" "$@"`, "started as root without CAP_NET_RAW"},
		{"another capability", testenv.CapableBinary(t, "cap_net_admin=p"), `exec ` + as + `"$0" "$@"`, "the file's capabilities are not those that are needed"},
		{"file of another user namespace", foreign, `exec ` + userns, "a file's capability of another user namespace"},
		{"file in a user namespace", path, `exec ` + userns, "the network namespace belongs to another one"},
		{"user namespace", testenv.CapableBinary(t, ""), `exec unshare -r "$0" "$@"`, "the network namespace belongs to another one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := testenv.Options{Path: c.path, Shell: c.shell, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}}
			status, _, stderr := testenv.Run(t, a.Namespace, o, a.Name)
			if status != 1 || !strings.Contains(stderr, "hint: ") || !strings.Contains(stderr, c.hint) {
				t.Errorf("exit status %d\n%s\nwant the hint %q", status, stderr, c.hint)
			}
			if _, stdout, _ := testenv.Run(t, a.Namespace, o, "--check", a.Name); !strings.Contains(stdout, c.hint) {
				t.Errorf("--check:\n%s\nwant the hint %q", stdout, c.hint)
			}
		})
	}
}
