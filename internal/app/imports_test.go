package app

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "maas-netmon/"

// Neither process contains the code of the other: the packages that the monitor imports, directly or
// not, cannot parse a frame, and those that the parser imports do not have the code that runs with
// the privilege.
func TestHalvesAreSeparate(t *testing.T) {
	for half, forbidden := range map[string][]string{
		"internal/monitor":    {"internal/parserproc", "parser", "tracker", "report", "capture/pcapfile", "internal/app"},
		"internal/parserproc": {"internal/monitor", "linkmon", "internal/app"},
	} {
		out, err := exec.Command("go", "list", "-deps", module+half).Output()
		if err != nil {
			t.Fatal(err)
		}
		imported := strings.Fields(string(out))
		if !slices.Contains(imported, module+"privsep") {
			t.Fatalf("%s: go list shows no imports", half)
		}
		for _, name := range forbidden {
			if slices.Contains(imported, module+name) {
				t.Errorf("%s imports %s", half, name)
			}
		}
	}
}

// The import graph in doc/architecture.md is the real one.
func TestImportGraph(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "maas-netmon/cmd/maas-netmon").Output()
	if err != nil {
		t.Fatal(err)
	}
	real := map[string]string{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		var imports []string
		for _, w := range words[1:] {
			if name, ok := strings.CutPrefix(w, module); ok {
				imports = append(imports, name)
			}
		}
		if name, ok := strings.CutPrefix(words[0], module); ok && len(imports) > 0 {
			real[name] = strings.Join(imports, " ")
		}
	}

	page, err := os.ReadFile("../../doc/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(page), "(a test compares):\n\n")
	if !ok {
		t.Fatal("doc/architecture.md has no import graph")
	}
	block, _, _ = strings.Cut(block, "\n\n")
	documented := map[string]string{}
	for line := range strings.Lines(block) {
		words := strings.Fields(line)
		documented[words[0]] = strings.Join(words[1:], " ")
	}
	if diff := cmp.Diff(real, documented); diff != "" {
		t.Errorf("-real +documented:\n%s", diff)
	}
}
