// Attacker tries the acts that the AppArmor profiles forbid, under one of the profiles: as root
// with every capability, without seccomp and the other layers. It is for vm/init:
//
//	attacker LABEL
//
// starts the file in the program's place, which must be a copy of this one, under the label, and
// fails unless each act has the expected result there. With the label unconfined every act must
// succeed: an act that cannot succeed proves nothing.
package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	program = "/usr/sbin/maas-netmon"
	victim  = "/tmp/victim"
)

// The labels.
const (
	unconfined = "unconfined"
	monitor    = "maas-netmon"
	parser     = "maas-netmon//&maas-netmon//parser"
)

// acts are the acts; allowed names the labels, besides unconfined, under which they succeed.
var acts = []struct {
	name    string
	allowed []string
	try     func() error
}{
	{"read the user data base", []string{monitor}, open("/etc/passwd", unix.O_RDONLY)},
	{"read another file", nil, open("/etc/apparmor.d/usr.sbin.maas-netmon", unix.O_RDONLY)},
	{"write a file", nil, open("/tmp/written", unix.O_CREAT|unix.O_WRONLY)},
	{"remove a file", nil, func() error { return unix.Unlink(victim) }},
	{"read memory of the machine", nil, open("/dev/mem", unix.O_RDONLY)},
	{"list a directory", nil, open("/etc", unix.O_RDONLY|unix.O_DIRECTORY)},
	{"make a packet socket", []string{monitor}, socket(unix.AF_PACKET, unix.SOCK_RAW)},
	{"make a cooked packet socket", nil, socket(unix.AF_PACKET, unix.SOCK_DGRAM)},
	{"make an IPv4 socket", nil, socket(unix.AF_INET, unix.SOCK_STREAM)},
	{"make an IPv6 socket", nil, socket(unix.AF_INET6, unix.SOCK_DGRAM)},
	{"make a netlink socket", []string{monitor}, socket(unix.AF_NETLINK, unix.SOCK_RAW)},
	{"mount", nil, func() error { return unix.Mount("none", "/lib/modules", "tmpfs", 0, "") }},
	{"make a namespace", nil, func() error { return unix.Unshare(unix.CLONE_NEWUTS) }},
	{"name the host", nil, func() error { return unix.Sethostname([]byte("owned")) }},
	{"signal the first process", nil, func() error { return unix.Kill(1, 0) }},
	{"signal a process that is labelled as the monitor", []string{monitor}, func() error { return unix.Kill(other, 0) }},
	{"trace the first process", nil, func() error { return unix.PtraceSeize(1) }},
	{"become another user", []string{monitor}, func() error { return unix.Setresuid(1000, 1000, 0) }},
	{"start a shell", nil, func() error { return unix.Exec("/opt/busybox", []string{"true"}, nil) }},
}

// other is the ID of an idle process under the monitor's profile.
var other int

func open(path string, flags int) func() error {
	return func() error {
		fd, err := unix.Open(path, flags, 0o600)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
}

func socket(family, kind int) func() error {
	return func() error {
		fd, err := unix.Socket(family, kind, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
}

func main() {
	runtime.LockOSThread() // labels, users and namespaces belong to the thread
	var err error
	switch len(os.Args) {
	case 1:
		time.Sleep(time.Hour)
	case 2:
		err = enter(os.Args[1])
	default:
		if other, err = strconv.Atoi(os.Args[2]); err == nil {
			err = attack(os.Args[1])
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// enter starts the copy under the label.
func enter(label string) error {
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		return err
	}
	if err := next(monitor); err != nil {
		return err
	}
	pid, err := syscall.ForkExec(program, []string{"attacker"}, nil)
	if err != nil {
		return err
	}
	if err := next(label); err != nil {
		return err
	}
	return unix.Exec(program, []string{"attacker", label, strconv.Itoa(pid)}, nil)
}

// next sets the label for the next exec of this thread.
func next(label string) error {
	return os.WriteFile("/proc/thread-self/attr/exec", []byte("exec "+label), 0)
}

// attack tries every act.
func attack(label string) error {
	wrong := 0
	for _, a := range acts {
		err := a.try()
		allowed := label == unconfined || slices.Contains(a.allowed, label)
		verdict := "as it should be"
		if denied := err == unix.EACCES || err == unix.EPERM; allowed != (err == nil) || !allowed != denied {
			verdict = "WRONG"
			wrong++
		}
		fmt.Printf("  %s: %s: %v: %s\n", label, a.name, err, verdict)
	}
	if wrong > 0 {
		return fmt.Errorf("%d acts did not end as they should", wrong)
	}
	return nil
}
