package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"maas-netmon/internal/testenv"
)

// monitorLayers are acts that a layer of the monitor refuses, tried without seccomp. Each is also
// tried without the layers, where it must succeed. The working directory is that of the metrics
// file; next to it is a directory named other.
var monitorLayers = []layer{
	{"monitor: Landlock, a file", 1, false, unix.EACCES, func() error {
		_, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0)
		return err
	}},
	{"monitor: Landlock, a program", 1, false, unix.EACCES, func() error {
		return unix.Exec("/bin/echo", []string{"echo", "-n", "ran"}, nil)
	}},
	{"monitor: Landlock, TCP", 4, false, unix.EACCES, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return unix.Connect(fd, &unix.SockaddrInet4{Port: 1, Addr: [4]byte{127, 0, 0, 1}})
	}},
	{"monitor: Landlock, a name elsewhere", 1, false, unix.EACCES, func() error { return unix.Unlink("../other/file") }},
	{"monitor: Landlock, a name in the directory", 1, false, nil, func() error { return unix.Rename("file", "renamed") }},
	{"monitor: Landlock, content in the directory", 1, false, unix.EACCES, func() error {
		_, err := unix.Open("file", unix.O_WRONLY, 0)
		return err
	}},
	// The parser is older than the domain, and the monitor must be able to kill it.
	{"monitor: Landlock, a signal", 6, false, nil, func() error { return unix.Kill(os.Getppid(), 0) }},
	{"monitor: MDWE", 0, false, unix.EACCES, func() error {
		b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return err
		}
		return unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
	}},
	{"monitor: dumpable", 0, false, unix.EPERM, func() error {
		dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if err == nil && dumpable == 0 {
			return unix.EPERM
		}
		return err
	}},
}

// confineMonitorLayers confines the calling process by the layers of the monitor except seccomp.
func confineMonitorLayers() error {
	dir, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, _, err = confineMonitorWithoutSeccomp(MonitorGrant{Directory: dir})
	return err
}

// If the filter of the monitor failed, the other layers would still refuse their acts.
func TestMonitorLayers(t *testing.T) {
	for _, l := range monitorLayers {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			if strings.HasSuffix(l.name, "MDWE") {
				testenv.Require(t, testenv.MDWE)
			}
			if l.landlock > 0 && !hasLandlock(t, l.landlock) {
				return
			}
			for _, free := range []string{"", "*"} {
				top := t.TempDir()
				for _, name := range []string{"metrics", "other"} {
					testenv.Must(t, os.Mkdir(filepath.Join(top, name), 0o700))
					testenv.Must(t, os.WriteFile(filepath.Join(top, name, "file"), nil, 0o600))
				}
				cmd := command(t, "layer "+l.name+free)
				cmd.Dir = filepath.Join(top, "metrics")
				out, err := cmd.Output()
				testenv.Must(t, err)
				if got := string(out); free == "" && got != outcome(l.want) {
					t.Errorf("got %s, want %s", got, outcome(l.want))
				} else if free != "" && l.want != nil && got == outcome(l.want) {
					t.Errorf("without the layers, it is %s too", got)
				}
			}
		})
	}
}

// privileges is the output of a test about privileges.
func printPrivileges(what string) {
	set := cap.GetProc()
	bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	bound, _ := cap.GetBound(cap.NET_RAW)
	ambient, _ := cap.GetAmbient(cap.NET_RAW)
	effective, _ := set.GetFlag(cap.Effective, cap.NET_RAW)
	permitted, _ := set.GetFlag(cap.Permitted, cap.NET_RAW)
	noNewPrivs, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	say(fmt.Sprintf("%s: permitted %v, effective %v, bounding %v, ambient %v, securebits %#x, no_new_privs %d %v\n",
		what, permitted, effective, bound, ambient, bits, noNewPrivs, err))
}

// playPrivileges performs the monitor's steps with its privileges, as root.
func playPrivileges() int {
	inherit := cap.GetProc()
	if errors.Join(inherit.SetFlag(cap.Inheritable, true, cap.NET_RAW), inherit.SetProc(), cap.SetAmbient(true, cap.NET_RAW)) != nil {
		return 90
	}
	if err := ClearEffective(); err != nil {
		return 91
	}
	printPrivileges("cleared")
	if err := WithCapability(cap.NET_RAW, func() error { printPrivileges("with"); return nil }); err != nil {
		return 92
	}
	printPrivileges("after")
	if err := Drop(); err != nil {
		return 93
	}
	printPrivileges("dropped")
	return 0
}

// playLittlePrivilege does the same without CAP_SETPCAP, which a file capability does not give:
// that no_new_privs is set does not depend on it.
func playLittlePrivilege() int {
	little := cap.NewSet()
	if errors.Join(little.SetFlag(cap.Permitted, true, cap.NET_RAW), little.SetProc()) != nil {
		return 90
	}
	if err := Drop(); err != nil {
		return 93
	}
	printPrivileges("dropped")
	return 0
}

// playEmptyBounding drops the privileges of a program that has emptied its bounding set before.
func playEmptyBounding() int {
	for c := cap.Value(0); cap.DropBound(c) == nil; c++ {
	}
	if err := Drop(); err != nil {
		return 93
	}
	printPrivileges("dropped")
	return 0
}

// A capability is effective for the one call, and permanently dropped after Drop, with everything
// that could restore it.
func TestPrivileges(t *testing.T) {
	testenv.Require(t, testenv.Root)
	out, err := command(t, "privileges").Output()
	testenv.Must(t, err)
	const locked = 0xef // all of capabilities(7), and their locks; see cap.ModeNoPriv
	dropped := fmt.Sprintf("dropped: permitted false, effective false, bounding false, ambient false, securebits %#x, no_new_privs 1 <nil>\n", locked)
	want := strings.Join([]string{
		"cleared: permitted true, effective false, bounding true, ambient true, securebits 0x0, no_new_privs 0 <nil>",
		"with: permitted true, effective true, bounding true, ambient true, securebits 0x0, no_new_privs 0 <nil>",
		"after: permitted true, effective false, bounding true, ambient true, securebits 0x0, no_new_privs 0 <nil>",
		dropped,
	}, "\n")
	if string(out) != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	out, err = command(t, "empty bounding set").Output()
	testenv.Must(t, err)
	if string(out) != dropped {
		t.Errorf("with an empty bounding set: got\n%swant\n%s", out, dropped)
	}
	out, err = command(t, "little privilege").Output()
	testenv.Must(t, err)
	const little = "dropped: permitted false, effective false, bounding true, ambient false, securebits 0x0, no_new_privs 1 <nil>\n"
	if string(out) != little {
		t.Errorf("without CAP_SETPCAP: got\n%swant\n%s", out, little)
	}
}

// Limits that differ from those of a confined process are refused.
func TestCheckLimits(t *testing.T) {
	if _, err := checkLimits(os.Getpid()); err == nil {
		t.Error("the limits of the test pass for those of a confined process")
	}
}
