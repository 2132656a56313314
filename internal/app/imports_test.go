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

// Neither process contains the code of the other: the packages that the monitor imports, directly
// or indirectly, cannot parse a frame; those that the parser imports have neither the code that
// runs with the privilege nor code that opens a packet or netlink socket.
func TestHalvesAreSeparate(t *testing.T) {
	whole := importsOf(t, module+"internal/app")
	for half, forbidden := range map[string][]string{
		"internal/monitor": {module + "internal/parserproc", module + "parser", module + "tracker",
			module + "report", module + "capture/pcapfile"},
		"internal/parserproc": {module + "internal/monitor", module + "linkmon", module + "capture/packetsock",
			"github.com/mdlayher/netlink", "github.com/mdlayher/packet", "github.com/mdlayher/socket"},
	} {
		imported := importsOf(t, module+half)
		for _, name := range forbidden {
			if slices.Contains(imported, name) {
				t.Errorf("%s imports %s", half, name)
			}
			if !slices.Contains(whole, name) {
				t.Errorf("%s is not part of the program: %s is forbidden in vain", name, half)
			}
		}
	}
}

// importsOf returns the packages that a package imports, directly or indirectly.
func importsOf(t *testing.T, name string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
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
