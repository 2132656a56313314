package privsep

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"maas-netmon/internal/testenv"
)

// nobody is the user and group that the tests of this file become.
const nobody = 65534

// launchAs is a monitor that was started as root: it becomes nobody, drops every capability, starts
// a parser that does not protect itself, and prints the way in which it was started. how is
// "launch", or "plain" for an exec without any protection.
func launchAs(how string) error {
	if err := Become(nobody, nobody); err != nil {
		return err
	}
	if err := cap.NewSet().SetProc(); err != nil {
		return err
	}
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	args := []string{"test", childFlag + "naked"}
	var c *Child
	var err error
	if how == "plain" {
		var theirs *Conn
		c = &Child{}
		if c.Conn, theirs, err = pair(); err != nil {
			return err
		}
		c.pid, err = syscall.ForkExec(self, args, &syscall.ProcAttr{
			Files: []uintptr{0, 1, 2, uintptr(theirs.fd)}, Sys: &syscall.SysProcAttr{PidFD: &c.pidfd},
		})
	} else {
		c, err = Launch(args)
	}
	if err != nil {
		return err
	}
	hello, err := c.Receive(soon)
	if err != nil {
		return err
	}
	_, _, saved := unix.Getresgid()
	fmt.Printf("copy %d, parser's groups %v, monitor's saved group %d\n", hello.Values[0], hello.Values[1:4], saved)
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the test has checked it
	c.Kill()
	_, err = c.Wait()
	return err
}

// naked is the parser: it reports whether it was started from a copy, and its groups.
func naked() error {
	c, err := Inherit()
	if err != nil {
		return err
	}
	m := Message{Type: Hello}
	if path, err := os.Readlink(self); err != nil || strings.HasPrefix(path, "/memfd:") {
		m.Values[0] = 1
	}
	r, e, s := unix.Getresgid()
	m.Values[1], m.Values[2], m.Values[3] = uint64(r), uint64(e), uint64(s)
	if err := c.Send(m); err != nil {
		return err
	}
	_, err = c.Receive(-1)
	return err
}

// steal is a process of the same user and group: it tries to take the control socket, and to access
// the memory.
func steal(pid int) (stolen []string) {
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread() // credentials belong to the thread, and end with it
		for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, errno := unix.RawSyscall(call, nobody, nobody, nobody); errno != 0 {
				panic(errno)
			}
		}
		if pidfd, err := unix.PidfdOpen(pid, 0); err == nil {
			if fd, err := unix.PidfdGetfd(pidfd, controlFD, 0); err == nil {
				unix.Close(fd)
				stolen = append(stolen, "the control socket")
			}
			unix.Close(pidfd)
		}
		if fd, err := unix.Open(fmt.Sprintf("/proc/%d/mem", pid), unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
			unix.Close(fd)
			stolen = append(stolen, "the memory")
		}
		if err := unix.PtraceSeize(pid); err == nil {
			stolen = append(stolen, "control, as a tracer")
		}
	}()
	<-done
	return stolen
}

// withoutMemoryFiles returns a command that runs without permission to execute files in memory: in
// its own PID namespace, to which the setting belongs.
func withoutMemoryFiles(path, arg string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", `mount --make-rprivate / && mount -t proc proc /proc &&
		echo 2 >/proc/sys/vm/memfd_noexec && exec "$0" "$1"`, path, arg)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	return cmd
}

// A process of the same user cannot take anything from the parser, for each way in which it is
// started. The parser here does not protect itself, so it would be vulnerable during its whole
// life. From a parser that is executed without protection, the process takes everything.
func TestThief(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.PidFD)
	exe, err := os.Executable()
	testenv.Must(t, err)
	unreadable := filepath.Join(testenv.Dir(t), "test")
	if out, err := exec.Command("install", "-m", "0711", exe, unreadable).CombinedOutput(); err != nil {
		t.Fatalf("install: %v: %s", err, out)
	}
	const groups = "parser's groups [65534 65534 65534], monitor's saved group 65534\n"
	for _, c := range []struct {
		name, path, how string
		noMemory        bool
		want            string
		stolen          bool
	}{
		{"file that is not readable", unreadable, "launch", false, "copy 0, " + groups, false},
		{"copy in memory", exe, "launch", false, "copy 1, " + groups, false},
		{"another group", exe, "launch", true, "copy 0, " + groups, false},
		{"as any program", exe, "plain", false, "copy 0, parser's groups [65534 65534 65534], monitor's saved group 0\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(c.path, childFlag+c.how)
			if c.noMemory {
				testenv.Require(t, testenv.MemfdNoexec)
				cmd = withoutMemoryFiles(c.path, childFlag+c.how)
			}
			cmd.Stderr = os.Stderr
			stdin, err := cmd.StdinPipe()
			testenv.Must(t, err)
			stdout, err := cmd.StdoutPipe()
			testenv.Must(t, err)
			testenv.Must(t, cmd.Start())
			defer func() {
				stdin.Close()
				if err := cmd.Wait(); err != nil {
					t.Error(err)
				}
			}()
			got, err := bufio.NewReader(stdout).ReadString('\n')
			testenv.Must(t, err)
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			stolen := steal(testenv.ChildOf(t, cmd.Process.Pid))
			yama, _ := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
			wins := c.stolen && (len(yama) == 0 || yama[0] == '0')
			if (len(stolen) > 0) != wins {
				t.Errorf("stolen: %q", stolen)
			}
		})
	}
}

// If no way is possible, nothing is started: the file is readable, memory files may not be
// executed, and there is no other group.
func TestNoWay(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.MemfdNoexec)
	exe, err := os.Executable()
	testenv.Must(t, err)
	out, err := withoutMemoryFiles(exe, childFlag+"no way").CombinedOutput()
	got := fmt.Sprintf("%s%v", out, err)
	if want := ErrReadable.Error() + ": memfd_create: permission denied\nexit status 60"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// noWay becomes nobody without a saved group, as if that user had started it.
func noWay() error {
	if err := errors.Join(Become(nobody, nobody), dropSavedGroup()); err != nil {
		return err
	}
	_, err := Launch([]string{"test", childFlag + "naked"})
	return err
}
