package privsep_test

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// With one of these arguments the test binary is one of the two processes of Example.
func init() {
	if len(os.Args) == 2 && (os.Args[1] == "example" || os.Args[1] == "parse") {
		Example()
		unix.Exit(0)
	}
}

// The example works in a process of its own: CloseStray would close descriptors of the tests.
func TestExample(t *testing.T) {
	out, err := exec.Command("/proc/self/exe", "example").CombinedOutput()
	if err != nil || string(out) != "hello 42\n" {
		t.Errorf("%v: %q", err, out)
	}
}
