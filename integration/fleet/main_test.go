// Package fleet tests that the program's lines reach an engine, as in doc/fleet.md, and that no
// line is lost when the engine dies.
package fleet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"maas-netmon/internal/testenv"
)

// TestMain is also the engine, in a process that a test starts and kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(engineDir); dir != "" {
		os.Exit(runEngine(dir, os.Getenv(enginePort)))
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(testenv.Main(m))
}

// prepare sees to the program and to the loopback of the namespaces that testenv.Main
// makes for a user.
func prepare() error {
	if os.Getuid() == 0 && !testenv.Has(testenv.Root) {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			return fmt.Errorf("ip: %w: %s", err, out)
		}
	}
	if os.Getenv("NETMON_BIN") != "" {
		return nil
	}
	// testenv would build the program in this module, which lacks its dependencies.
	path, err := filepath.Abs("../../bin/maas-netmon")
	if err != nil {
		return err
	}
	if out, err := exec.Command("make", "-C", "../..", "build").CombinedOutput(); err != nil {
		return fmt.Errorf("make build: %w: %s", err, out)
	}
	return os.Setenv("NETMON_BIN", path)
}
