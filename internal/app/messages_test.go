package app

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden file instead of comparing with it")

// All texts that the program can print, in one file: every string with a space in the shipped code,
// and every message of the log, by package. A changed message appears in a review as a change of
// that file.
func TestMessages(t *testing.T) {
	const golden = "testdata/messages.txt"
	out, err := exec.Command("go", "list", "-deps", "-f",
		`{{if not .Standard}}{{range .GoFiles}}{{$.ImportPath}} {{$.Dir}} {{.}}{{"\n"}}{{end}}`+
			`{{range .CgoFiles}}{{$.ImportPath}} {{$.Dir}} {{.}}{{"\n"}}{{end}}`+
			`{{range .CFiles}}{{$.ImportPath}} {{$.Dir}} {{.}}{{"\n"}}{{end}}{{end}}`, "maas-netmon/cmd/maas-netmon").Output()
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]map[string]bool{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) != 3 || !strings.HasPrefix(words[0], module) {
			continue
		}
		name := strings.TrimPrefix(words[0], module)
		if texts[name] == nil {
			texts[name] = map[string]bool{}
		}
		source := filepath.Join(words[1], words[2])
		if filepath.Ext(source) == ".c" {
			collectC(t, texts[name], source)
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), source, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool { return collect(texts[name], n) })
	}
	var page bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if len(texts[name]) > 0 {
			fmt.Fprintf(&page, "# %s\n", name)
		}
		for _, text := range slices.Sorted(maps.Keys(texts[name])) {
			fmt.Fprintln(&page, text)
		}
	}
	if *update {
		if err := os.WriteFile(golden, page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(page.String(), "\n")); diff != "" {
		t.Errorf("%s is not what the code prints (go test ./internal/app -run TestMessages -update):\n%s", golden, diff)
	}
}

// collect adds the text of a node to texts. It reports whether to look into the node.
func collect(texts map[string]bool, n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ImportSpec:
		return false
	case *ast.Field:
		// The tag of a field is not a message, and its type cannot contain one.
		return false
	case *ast.CallExpr:
		// The reasons in the table of system calls are in doc/system-calls.md.
		if f, ok := n.Fun.(*ast.Ident); ok && (strings.HasPrefix(f.Name, "allow") || f.Name == "always") {
			return false
		}
		// A message of the log can be a single word.
		if text, literal := logged(n); literal {
			texts[text] = true
		}
	case *ast.BinaryExpr, *ast.BasicLit:
		text, literal := joined(n.(ast.Expr))
		if literal {
			add(texts, text)
			return false
		}
	}
	return true
}

// logged returns the message of a call that logs one. It reports whether it is a literal.
func logged(call *ast.CallExpr) (text string, literal bool) {
	logs := false
	switch f := call.Fun.(type) {
	case *ast.Ident:
		logs = f.Name == "log"
	case *ast.SelectorExpr:
		x, ok := f.X.(*ast.Ident)
		logs = ok && x.Name == "slog" && slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, f.Sel.Name)
	}
	if !logs || len(call.Args) == 0 {
		return "", false
	}
	return joined(call.Args[0])
}

var stringC = regexp.MustCompile(`"(?:[^"\\\n]|\\.)*"`)

// collectC adds the strings of a C file to texts.
func collectC(t *testing.T, texts map[string]bool, source string) {
	t.Helper()
	code, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	for _, quoted := range stringC.FindAllString(string(code), -1) {
		text, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("%s: %s: %v", source, quoted, err)
		}
		add(texts, text)
	}
}

// add adds a text to texts, if it has a space.
func add(texts map[string]bool, text string) {
	if text = strings.Trim(text, "\n"); strings.Contains(strings.TrimSpace(text), " ") {
		texts[text] = true
	}
}

// joined returns the text of a string literal or of a sum that contains one, with ... for the parts
// that are not literals. It reports whether there is a literal in it.
func joined(e ast.Expr) (text string, literal bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, err := strconv.Unquote(e.Value)
			return text, err == nil
		}
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			left, a := joined(e.X)
			right, b := joined(e.Y)
			return left + right, a || b
		}
	}
	return "...", false
}
