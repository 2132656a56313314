package monitor

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"maas-netmon/capture/packetsock"
	"maas-netmon/internal/cli"
	"maas-netmon/internal/control"
	"maas-netmon/internal/testenv"
)

var update = flag.Bool("update", false, "write testdata/metrics.prom instead of comparing with it")

// lock opens a file and locks it, as a living process does.
func lock(t *testing.T, path string) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
	testenv.Must(t, errors.Join(err, unix.Flock(fd, unix.LOCK_EX)))
	t.Cleanup(func() { unix.Close(fd) })
}

// contents returns the names in a directory.
func contents(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	testenv.Must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A spare file of a killed process is removed, and that of a living process is not, also if either
// has our process ID.
func TestSpareFiles(t *testing.T) {
	dir := t.TempDir()
	own := fmt.Sprintf(".a.prom.%d.", os.Getpid())
	for _, dead := range []string{".a.prom.7", ".a.prom.1234.0", own + "0", own + "7"} {
		testenv.Must(t, os.WriteFile(filepath.Join(dir, dead), nil, 0o600))
	}
	testenv.Must(t, unix.Mkfifo(filepath.Join(dir, ".a.prom.8.0"), 0o600)) // without a writer
	kept := []string{".a.prom.", ".a.prom.x", ".b.prom.1.0", "a.prom.1.0", own + "1", ".a.prom.99.0"}
	for _, name := range kept[:4] {
		testenv.Must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	// A symbolic link is not a spare file.
	kept = append(kept, ".a.prom.5.0")
	testenv.Must(t, os.Symlink("a.prom.1.0", filepath.Join(dir, ".a.prom.5.0")))
	for _, name := range kept[4:6] {
		lock(t, filepath.Join(dir, name))
	}
	path := filepath.Join(dir, "a.prom")
	f, err := openMetrics(path, "first\n")
	testenv.Must(t, err)
	if text, err := os.ReadFile(path); err != nil || string(text) != "first\n" {
		t.Errorf("the file has %q, %v", text, err)
	}
	want := append(slices.Clone(kept), "a.prom", own+"2")
	slices.Sort(want)
	if got := contents(t, dir); !slices.Equal(got, want) {
		t.Errorf("there are\n%q, want\n%q", got, want)
	}

	// Both of our files are locked, whichever has the name.
	for _, text := range []string{"second\n", "3\n"} {
		f.write(text)
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("the file has %q, %v, want %q", got, err, text)
		}
		(&metricsFile{path: path, name: "a.prom", dir: f.dir}).removeDead()
		if got := contents(t, dir); !slices.Equal(got, want) {
			t.Errorf("there are\n%q, want\n%q", got, want)
		}
	}
	f.remove(true)
	want = slices.DeleteFunc(want, func(name string) bool { return name == own+"2" })
	if got := contents(t, dir); !slices.Equal(got, want) {
		t.Errorf("there are\n%q, want\n%q", got, want)
	}
	f.remove(false)
	want = slices.DeleteFunc(want, func(name string) bool { return name == "a.prom" })
	if got := contents(t, dir); !slices.Equal(got, want) {
		t.Errorf("there are\n%q, want\n%q", got, want)
	}
}

// A metrics file that cannot be created leaves nothing behind.
func TestMetricsFileFails(t *testing.T) {
	dir := t.TempDir()
	testenv.Must(t, os.Mkdir(filepath.Join(dir, "a.prom"), 0o700))
	if _, err := openMetrics(filepath.Join(dir, "a.prom"), "text\n"); !errors.Is(err, unix.EISDIR) {
		t.Errorf("%v, want %v", err, unix.EISDIR)
	}
	if got := contents(t, dir); !slices.Equal(got, []string{"a.prom"}) {
		t.Errorf("left behind: %q", got)
	}
}

// The text of the metrics, which make lint has promtool check. Those of IPv6 are only in a file of
// their own.
func TestMetricsText(t *testing.T) {
	var ifaces []*iface
	for i, name := range []string{"eth0", `a"b\c`, ""} { // the last socket is free
		f := &iface{name: name, socket: new(packetsock.Socket), link: linkState{now: []condition{up, noCarrier, absent}[i]}}
		n := 0
		for _, c := range control.Table {
			if c.IPv6 {
				*c.Of(&f.counters) = uint64(100*i + 90)
				continue
			}
			*c.Of(&f.counters) = uint64(100*i + n)
			n++
		}
		if name == "" {
			f.pooled, f.counters = true, control.Counters{}
		}
		ifaces = append(ifaces, f)
	}
	for _, ipv6 := range []bool{false, true} {
		checkMetricsText(t, ifaces, ipv6)
	}
}

// checkMetricsText compares the metrics of interfaces with the expected ones.
func checkMetricsText(t *testing.T, ifaces []*iface, ipv6 bool) {
	t.Helper()
	got := metrics(ifaces, cli.Options{MaxBindings: 1000, Interfaces: []string{"eth0"}, Match: []string{`a"b\c`}, IPv6: ipv6})
	got = regexp.MustCompile(`(start_time_seconds\{.*\}) \d+`).ReplaceAllString(got, "$1 1795228118")
	got = regexp.MustCompile(`version="[^"]*",goversion="[^"]*"`).ReplaceAllString(got, `version="0.2.0",goversion="go1.26"`)
	golden := "testdata/metrics.prom"
	if ipv6 {
		golden = "testdata/metrics-ipv6.prom"
	}
	if *update {
		testenv.Must(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	testenv.Must(t, err)
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The alert rules and the dashboard name metrics that exist, and the dashboard is valid JSON.
func TestMetricNames(t *testing.T) {
	text, err := os.ReadFile("testdata/metrics-ipv6.prom")
	testenv.Must(t, err)
	for _, doc := range []string{"../../doc/alerts.yml", "../../doc/grafana.json"} {
		content, err := os.ReadFile(doc)
		testenv.Must(t, err)
		names := regexp.MustCompile(`maas_netmon_\w+`).FindAllString(string(content), -1)
		if len(names) < 10 {
			t.Errorf("%s names %d metrics, want at least 10", doc, len(names))
		}
		for _, name := range names {
			if !regexp.MustCompile(`(?m)^` + name + `\{`).Match(text) {
				t.Errorf("%s names %s, but there is no such metric", doc, name)
			}
		}
		if filepath.Ext(doc) == ".json" && !json.Valid(content) {
			t.Errorf("%s is not valid JSON", doc)
		}
	}
}
