package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"maas-netmon/internal/testenv"
)

// bash completes on a terminal: options after a space and after a "=", file names with spaces,
// directories, and only interfaces where an INTERFACE is expected. The name of an interface, which
// can have any character but a space, a slash and a colon, is never run as a command.
func TestBashCompletion(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"my file.pcap", "lounge"} {
		testenv.Must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	testenv.Must(t, os.Mkdir(filepath.Join(dir, "my dir"), 0o700))
	script, err := os.ReadFile("../completions/maas-netmon.bash")
	testenv.Must(t, err)
	// Interfaces, and a file that the kernel has beside them.
	net := filepath.Join(dir, "net")
	for _, name := range []string{"lo", "zz$(>ran)"} {
		testenv.Must(t, os.MkdirAll(filepath.Join(net, name), 0o700))
	}
	testenv.Must(t, os.WriteFile(filepath.Join(net, "zz_masters"), nil, 0o600))
	testenv.Must(t, os.WriteFile(filepath.Join(dir, "script"), []byte(strings.ReplaceAll(string(script), "/sys/class/net", net)), 0o600))
	master, slave, err := terminal()
	testenv.Must(t, err)
	defer master.Close()
	bash := exec.Command("bash", "--norc", "--noprofile", "-i")
	bash.Dir = dir
	bash.Env = []string{"TERM=dumb", "PS1=", "HOME=" + dir, "PATH=/usr/bin:/bin"}
	bash.Stdin, bash.Stdout, bash.Stderr = slave, slave, slave
	bash.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	testenv.Must(t, bash.Start())
	testenv.Must(t, slave.Close())
	defer func() {
		_ = bash.Process.Kill()
		_ = bash.Wait()
	}()
	output := testenv.Lines(master)
	_, err = fmt.Fprintf(master, "maas-netmon() { printf '<%%s>' \"$@\"; echo; }; . ./script\n")
	testenv.Must(t, err)
	for typed, want := range map[string]string{
		"-i my\\ f\t":                 "<-i><my file.pcap>",
		"-i \"my d\t":                 "<-i><my dir/>",
		"--input-file=my\\ f\t":       "<--input-file=my file.pcap>",
		"--metrics-f\tmy\\ d\t":       "<--metrics-file><my dir/>",
		"--format t\t":                "<--format><text>",
		"--format=t\t":                "<--format=text>",
		"--log-level=w\teth0":         "<--log-level=warn><eth0>",
		"--max-b\t10 --verb\t":        "<--max-bindings><10><--verbose>",
		"--match lo\t":                "<--match><lo>",
		"lo\t --wait":                 "<lo><--wait>",
		"zz\t --wait":                 "<zz$(>ran)><--wait>",
		"--user=roo\t --format=j\tlo": "<--user=root><--format=json><lo>",
	} {
		got := output.Expect(func(line string) bool { return strings.TrimRight(line, "\r") == want })
		_, err := fmt.Fprintf(master, "maas-netmon %s\n", typed)
		testenv.Must(t, err)
		got.Await(t)
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("the name of an interface was run as a command")
	}
}
