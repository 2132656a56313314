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

// Each test, file, heading and target of make that a document names exists.
func TestDocumentsNameWhatExists(t *testing.T) {
	files, err := filepath.Glob("../*/*_test.go")
	testenv.Must(t, err)
	nested, err := filepath.Glob("../*/*/*_test.go")
	testenv.Must(t, err)
	there := map[string]bool{}
	for _, file := range append(files, nested...) {
		text, err := os.ReadFile(file)
		testenv.Must(t, err)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`).FindAllSubmatch(text, -1) {
			there[string(m[1])] = true
		}
	}
	makefile, err := os.ReadFile("../Makefile")
	testenv.Must(t, err)
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllSubmatch(makefile, -1) {
		there["make "+string(m[1])] = true
	}
	documents, err := filepath.Glob("../*.md")
	testenv.Must(t, err)
	more, err := filepath.Glob("../doc/*.md")
	testenv.Must(t, err)

	var tests, links, targets int
	for _, document := range append(documents, more...) {
		text := read(t, document)
		for _, name := range regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w+`).FindAllString(text, -1) {
			tests++
			if !there[name] {
				t.Errorf("%s: there is no %s", document, name)
			}
		}
		for _, m := range regexp.MustCompile("(?m)(?:`|^    |&& |sudo )make\\s+([a-z][a-z0-9-]+)").FindAllStringSubmatch(text, -1) {
			targets++
			if !there["make "+m[1]] {
				t.Errorf("%s: there is no make %s", document, m[1])
			}
		}
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
			path, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			links++
			target := document
			if path != "" {
				target = filepath.Join(filepath.Dir(document), path)
			}
			if _, err := os.Stat(target); err != nil || heading != "" && !hasHeading(read(t, target), heading) {
				t.Errorf("%s: there is no %s", document, m[1])
			}
		}
	}
	if tests < 150 || links < 50 || targets < 60 {
		t.Errorf("%d tests, %d links and %d targets are named", tests, links, targets)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	testenv.Must(t, err)
	return string(text)
}

// hasHeading reports whether a document has a heading with this anchor, formed as on GitHub.
func hasHeading(document, anchor string) bool {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(document, -1) {
		kept := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		if strings.ReplaceAll(kept, " ", "-") == anchor {
			return true
		}
	}
	return false
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

// The documents say that there is no mail address, as long as there is none.
func TestNoMailAddress(t *testing.T) {
	control, err := os.ReadFile("../debian/control")
	testenv.Must(t, err)
	none := strings.Contains(string(control), "@users.noreply.")
	for _, name := range []string{"../SECURITY.md", "../debian/README.Debian"} {
		text, err := os.ReadFile(name)
		testenv.Must(t, err)
		if said := strings.Contains(string(text), "There is no mail address yet"); said != none {
			t.Errorf("%s says that there is no address: %v, want %v as in debian/control", name, said, none)
		}
	}
}
