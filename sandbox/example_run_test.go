package sandbox_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// With one of these arguments the test binary is the process of an example.
func init() {
	if len(os.Args) != 2 {
		return
	}
	switch os.Args[1] {
	case "example of a capability":
		ExampleWithCapability()
	case "example of a parser":
		ExampleConfineParser()
		_, _ = unix.Write(unix.Stdout, []byte("confined"))
		_, _ = unix.Open("/etc/passwd", unix.O_RDONLY, 0) // is fatal
		_, _ = unix.Write(unix.Stdout, []byte("not confined"))
	default:
		return
	}
	unix.Exit(0)
}

// example returns the command of an example with the settings of package main.
func example(name string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", "example of "+name)
	cmd.Env = []string{"GODEBUG=containermaxprocs=0,updatemaxprocs=0"}
	return cmd
}

// The examples work, each in a process of its own.
func TestExamples(t *testing.T) {
	t.Run("ConfineParser", func(t *testing.T) {
		ours, theirs, err := os.Pipe() // any descriptor
		testenv.Must(t, err)
		defer ours.Close()
		defer theirs.Close()
		cmd := example("a parser")
		cmd.ExtraFiles = []*os.File{theirs}
		out, err := cmd.Output()
		if string(out) != "confined" || err == nil || !strings.HasPrefix(err.Error(), "signal: bad system call") {
			t.Errorf("%v: %q", err, out)
		}
	})
	t.Run("WithCapability", func(t *testing.T) {
		testenv.Require(t, testenv.Root)
		if out, err := example("a capability").CombinedOutput(); err != nil || !strings.Contains(string(out), "opened") {
			t.Errorf("%v: %q", err, out)
		}
	})
}
