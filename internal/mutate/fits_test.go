package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each mutant fits the code: the text that it replaces occurs once.
func TestMutantsFit(t *testing.T) {
	for _, m := range all() {
		text, err := os.ReadFile(filepath.Join("../..", m.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), m.old); n != 1 {
			t.Errorf("%s: %s: found %d times instead of once: %s", m.rule, m.file, n, m.old)
		}
	}
}
