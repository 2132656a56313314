// Command mutate tests the tests: it breaks each rule of parser, tracker, report and files once, as
// listed in mutants.go and nd.go, and each protective act, as listed in guards.go, links.go,
// messages.go and sockets.go, and checks that a test fails.
//
//	go run ./internal/mutate            all of them
//	go run ./internal/mutate PATTERN    those whose rule or file contains PATTERN
//
// It never writes to the work tree: it passes the broken file to the go command as an overlay. It
// prints one line per mutant and exits with status 1 if one of them survives, or if a mutant does
// not fit the code.
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// mutant is one way to break the code: the only occurrence of old in a file becomes new, which
// breaks a rule.
type mutant struct {
	rule     string
	file     string
	old, new string
}

// guard is a mutant of a protective act, and the test that must fail: "./PACKAGE REGEXP". A test
// that starts the program builds it with the mutant.
type guard struct {
	rule     string
	file     string
	old, new string
	by       string
}

// packages are the packages with the tests that must fail.
var packages = []string{"./parser", "./tracker", "./report", "./fuzz", "./capture/pcapfile"}

func main() {
	pattern := strings.Join(os.Args[1:], " ")
	if err := run(pattern); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// all returns the mutants of all lists.
func all() []guard {
	var list []guard
	for _, m := range mutants {
		list = append(list, guard{m.rule, m.file, m.old, m.new, ""})
	}
	return slices.Concat(list, guards, linkGuards, socketGuards, messageGuards, ndGuards)
}

func run(pattern string) error {
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// Any user may enter it, as tests change the user.
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}

	chosen := slices.DeleteFunc(all(), func(m guard) bool { return !strings.Contains(m.rule+" "+m.file, pattern) })
	passed := map[string]bool{}
	for _, m := range chosen {
		if passed[m.by] {
			continue
		}
		if out, err := test(dir, nil, m.by); err != nil || strings.Contains(out, "no tests to run") {
			return fmt.Errorf("the tests %s do not pass without a mutant: %w\n%s", m.by, err, out)
		}
		passed[m.by] = true
	}
	var tried, survived int
	for _, m := range chosen {
		tried++
		killer, err := kill(dir, m)
		switch {
		case err != nil:
			survived++
			killer = "ERROR: " + err.Error()
		case killer == "":
			survived++
			killer = "SURVIVED"
		}
		fmt.Printf("%-20s %-64s %s\n", m.file, m.rule, killer)
	}
	fmt.Printf("%d mutants, %d survived\n", tried, survived)
	if survived > 0 {
		return fmt.Errorf("no test fails for %d mutants", survived)
	}
	return nil
}

// kill tests a mutant and returns the name of the first test that fails, or "" if none does.
func kill(dir string, m guard) (string, error) {
	text, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return "", fmt.Errorf("found %d times instead of once: %s", n, m.old)
	}
	broken := filepath.Join(dir, "broken.go")
	if err := os.WriteFile(broken, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o600); err != nil {
		return "", err
	}
	file, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	out, err := test(dir, map[string]string{file: broken}, m.by)
	if err == nil {
		return "", nil
	}
	if strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]") {
		return "", fmt.Errorf("does not compile:\n%s", out)
	}
	for _, pattern := range []string{`--- FAIL: (\S+)`, `(?m)^(panic: .*|fatal error: .*)$`} {
		if match := regexp.MustCompile(pattern).FindStringSubmatch(out); match != nil {
			return match[1], nil
		}
	}
	return "", fmt.Errorf("neither passes nor fails: %w\n%s", err, out)
}

// test runs the tests of packages, or those that by names, with some files replaced.
func test(dir string, replace map[string]string, by string) (string, error) {
	overlay := filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		return "", err
	}
	args := []string{"test", "-tags=osusergo,netgo", "-vet=off", "-count=1", "-failfast", "-timeout=3m"}
	if pkg, pattern, ok := strings.Cut(by, " "); ok {
		args = append(args, "-run", pattern, pkg)
	} else {
		args = append(args, packages...)
	}
	cmd := exec.Command(cmp.Or(os.Getenv("GO"), "go"), args...)
	// Through the environment, so that a test that builds the program builds the mutant.
	cmd.Env = append(os.Environ(), "GOFLAGS=-overlay="+overlay, "NETMON_BIN=",
		"TMPDIR="+dir) // a test that panics or is killed leaves its files there
	out, err := cmd.CombinedOutput()
	return string(out), err
}
