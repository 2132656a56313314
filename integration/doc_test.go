package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"maas-netmon/internal/testenv"
)

// Each test that the threat model names exists.
func TestThreatModelNamesTests(t *testing.T) {
	model, err := os.ReadFile("../doc/threat-model.md")
	testenv.Must(t, err)
	files, err := filepath.Glob("../*/*_test.go")
	testenv.Must(t, err)
	nested, err := filepath.Glob("../*/*/*_test.go")
	testenv.Must(t, err)
	there := map[string]bool{}
	for _, file := range append(files, nested...) {
		text, err := os.ReadFile(file)
		testenv.Must(t, err)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(text, -1) {
			there[string(m[1])] = true
		}
	}
	named := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(string(model), -1)
	if len(named) < 40 {
		t.Errorf("%d tests are named, want at least 40", len(named))
	}
	for _, name := range named {
		if !there[name] {
			t.Errorf("%s is named, but there is no such test", name)
		}
	}
}

// The jq examples of the manual page print the documented output.
func TestManualExamples(t *testing.T) {
	testenv.Require(t, testenv.Jq)
	page, err := os.ReadFile("../doc/maas-netmon.8")
	testenv.Must(t, err)
	_, examples, _ := strings.Cut(string(page), "\n.Sh EXAMPLES\n")
	var commands []string
	for _, m := range regexp.MustCompile(`(?m)^(?:\.Dl )?\$ ((?:.*\n)(?: .*\n)*)`).FindAllStringSubmatch(examples, -1) {
		if strings.Contains(m[1], "jq") {
			commands = append(commands, strings.NewReplacer(`\(dq`, `"`, `\e`, `\`).Replace(m[1]))
		}
	}
	want := []string{
		`{"ip":"10.0.0.5","mac":"02:00:00:00:00:0d","previous_mac":"02:00:00:00:00:0c","time":1795228119,"event":"MOVED","vid":null}
`,
		"-\t10.0.0.5\t02:00:00:00:00:0d\n200\t10.0.0.6\t02:00:00:00:00:0c\n",
		"logger -p daemon.alert -t gateway 10.0.0.5 moved from 02:00:00:00:00:0c to 02:00:00:00:00:0d\n",
	}
	if len(commands) != len(want) {
		t.Fatalf("%d examples with jq, want %d: %q", len(commands), len(want), commands)
	}
	for i, command := range commands {
		cmd := exec.Command("bash", "-ec", `maas-netmon() { printf %s "$LINES_OF_THE_TEST"; }; logger() { echo logger "$@"; }; `+command)
		cmd.Env = append(os.Environ(), "LINES_OF_THE_TEST="+arpLines)
		if got, err := cmd.CombinedOutput(); err != nil || string(got) != want[i] {
			t.Errorf("%s: %v, %q, want %q", command, err, got, want[i])
		}
	}
}
