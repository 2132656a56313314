package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"maas-netmon/internal/testenv"
)

// Each test that the threat model names is there.
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
