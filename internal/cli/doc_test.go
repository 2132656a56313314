package cli

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hiddenOptions are the options with which the monitor starts the parser.
var hiddenOptions = []string{"role", "colour", "zone", "journal", "pool", "instance"}

// item is an entry of a list: the term, and its description in one line.
type item struct{ name, text string }

// usageList returns the entries of a part of the usage text.
func usageList(t *testing.T, heading string) []item {
	t.Helper()
	_, part, ok := strings.Cut(Usage, "\n"+heading+":\n")
	if !ok {
		t.Fatalf("--help has no %q", heading)
	}
	part, _, _ = strings.Cut(part, "\n\n")
	entry := regexp.MustCompile(`^  (\S.*?)(?:  +(\S.*))?$`)
	var items []item
	for line := range strings.Lines(strings.TrimRight(part, "\n")) {
		line = strings.TrimRight(line, "\n")
		m := entry.FindStringSubmatch(line)
		switch last := len(items) - 1; {
		case m != nil:
			items = append(items, item{m[1], m[2]})
		case last < 0:
			t.Fatalf("--help, %q: no entry begins in the line %q", heading, line)
		default:
			items[last].text = strings.TrimSpace(items[last].text + " " + strings.TrimSpace(line))
		}
	}
	return items
}

// manualList returns the entries of the first list in a section of the manual page, without the
// paragraphs after a .Pp.
func manualList(t *testing.T, section string) []item {
	t.Helper()
	page, err := os.ReadFile("../../doc/maas-netmon.8")
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(page), "\n.Sh "+section)
	if !ok {
		t.Fatalf("the manual page has no section %q", section)
	}
	_, part, _ = strings.Cut(part, "\n.Bl ")
	part, _, _ = strings.Cut(part, "\n.El")
	var items []item
	for _, entry := range strings.Split(part, "\n.It ")[1:] {
		entry, _, _ = strings.Cut(entry, "\n.Pp")
		name, text, _ := strings.Cut(entry, "\n")
		name = strings.NewReplacer("Fl -", "--", "Fl ", "-", " ,", ",", "Ar ", "").Replace(name)
		items = append(items, item{name, strings.ReplaceAll(text, "\n", " ")})
	}
	return items
}

// The manual page describes options and exit statuses in the same words as --help.
func TestManualPage(t *testing.T) {
	for heading, section := range map[string]string{"Options": "DESCRIPTION", "Exit status": "EXIT STATUS"} {
		diff := cmp.Diff(usageList(t, heading), manualList(t, section), cmp.AllowUnexported(item{}))
		if diff != "" {
			t.Errorf("doc/maas-netmon.8, %s: -help +manual:\n%s", section, diff)
		}
	}
}

// --help names all options except the hidden ones, and no others.
func TestUsageOptions(t *testing.T) {
	var want []string
	new(Options).flagSet().VisitAll(func(f *flag.Flag) {
		if !slices.Contains(hiddenOptions, f.Name) {
			want = append(want, f.Name)
		}
	})
	want = append(want, "help") // the flag package's own
	if got := optionNames(t); !slices.Equal(sorted(want), sorted(got)) {
		t.Errorf("options: %v, in --help: %v", sorted(want), sorted(got))
	}
}

// Each completion has all options.
func TestCompletions(t *testing.T) {
	for file, form := range map[string]func(string) string{
		"maas-netmon.bash": dashed,
		"_maas-netmon":     dashed,
		"maas-netmon.fish": func(name string) string {
			if len(name) == 1 {
				return "-s " + name
			}
			return "-l " + name
		},
	} {
		b, err := os.ReadFile("../../completions/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range optionNames(t) {
			word := regexp.MustCompile(regexp.QuoteMeta(form(name)) + `\b`)
			if !word.Match(b) {
				t.Errorf("completions/%s does not know %s", file, dashed(name))
			}
		}
	}
}

// optionNames returns the names of the options in --help, without dashes.
func optionNames(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, i := range usageList(t, "Options") {
		for _, m := range regexp.MustCompile(`-(-[a-z0-9-]+|[a-z]\b)`).FindAllStringSubmatch(i.name, -1) {
			names = append(names, strings.TrimPrefix(m[1], "-"))
		}
	}
	return names
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }
