package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"maas-netmon/internal/testenv"
)

// The package compiles only on the architectures and systems on which it was tested, and the
// compiler's message names them. The file is compiled alone, because there is no cross compiler for
// the rest of the package here.
func TestPlatforms(t *testing.T) {
	program, err := exec.LookPath("go")
	if err != nil {
		testenv.Lacks(t, testenv.GoCommand, err)
	}
	text, err := os.ReadFile("platform.go")
	testenv.Must(t, err)
	dir := t.TempDir()
	testenv.Must(t, os.WriteFile(filepath.Join(dir, "platform.go"), text, 0o644))
	testenv.Must(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module platform\n"), 0o644))
	const (
		refused = "undefined: maas_netmon_is_for_linux_on_amd64_or_arm64_only"
		allowed = "build constraints exclude all Go files"
	)
	for platform, want := range map[string]string{
		"linux/amd64": allowed, "linux/arm64": allowed,
		"linux/386": refused, "linux/arm": refused, "linux/loong64": refused, "linux/mips64le": refused,
		"linux/ppc64le": refused, "linux/riscv64": refused, "linux/s390x": refused,
		"freebsd/amd64": refused, "darwin/arm64": refused,
	} {
		goos, goarch, _ := strings.Cut(platform, "/")
		cmd := exec.Command(program, "build", ".")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s\nwant %q", platform, err, out, want)
		}
	}
}
