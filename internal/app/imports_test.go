package app

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The import graph in doc/architecture.md is the real one.
func TestImportGraph(t *testing.T) {
	const module = "maas-netmon/"
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
