package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The example works, and its parser is confined.
func TestExample(t *testing.T) {
	dir := t.TempDir()
	program, file := filepath.Join(dir, "example"), filepath.Join(dir, "file")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(file, []byte("one\ntwo\nthree\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, file).CombinedOutput()
	if err != nil || string(out) != "3 lines\n" {
		t.Errorf("%v: %q", err, out)
	}
}
