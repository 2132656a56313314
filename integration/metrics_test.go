package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"maas-netmon/internal/testenv"
)

// metricsDir returns a directory in which all users may create files.
func metricsDir(t *testing.T) string {
	dir := testenv.Dir(t)
	testenv.Must(t, os.Chmod(dir, 0o777))
	return dir
}

// The metrics file exists from the start, is replaced at each interval, and is removed when the
// program ends. No other file remains.
func TestMetricsFile(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	dir := metricsDir(t)
	path := filepath.Join(dir, "maas.prom")
	testenv.Must(t, os.WriteFile(path, []byte("what was there before\n"), 0o666))
	testenv.Must(t, a.AwaitRunning())
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, "--metrics-file", path, "--stats-interval", "1s", a.Name, "lo")
	sendFence(t, p, b.Port(t)).Await(t)

	rounds := p.Log.ExpectN(3, testenv.Contains("msg=counters interface=va "))
	const begin, end = "# HELP maas_netmon_frames_total ", "\nmaas_netmon_build_info{"
	var text []byte
	for !rounds.Met() {
		var err error
		text, err = os.ReadFile(path)
		testenv.Must(t, err)
		if !strings.HasPrefix(string(text), begin) || !strings.Contains(string(text), end) || !strings.HasSuffix(string(text), "\n") {
			t.Fatalf("not whole:\n%s", text)
		}
	}
	for _, want := range []string{
		`maas_netmon_frames_total{interface="va"} 1`, `maas_netmon_frames_total{interface="lo"} 0`,
		`maas_netmon_frame_bytes_total{interface="va"} 60`, `maas_netmon_dropped_total{interface="va"} 0`,
		`maas_netmon_new_total{interface="va"} 1`, `maas_netmon_new_total{interface="lo"} 0`, `maas_netmon_bindings{interface="va"} 1`, `maas_netmon_bindings{interface="lo"} 0`,
		"# TYPE maas_netmon_bindings gauge",
		`maas_netmon_interface_up{interface="va"} 1`, `maas_netmon_flaps_total{interface="va"} 0`,
		`maas_netmon_max_bindings{watch="va lo"} 262144`, `maas_netmon_table_bindings{watch="va lo"} 1`,
	} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	p.Stop(t)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The state of the interfaces is in the file at once, and not only after the interval.
func TestMetricsFileAtTheStart(t *testing.T) {
	t.Parallel()
	a, _ := testenv.RawPair(t)
	testenv.Must(t, a.AwaitRunning())
	path := filepath.Join(metricsDir(t), "maas.prom")
	testenv.Watch(t, a.Namespace, testenv.Options{}, "--metrics-file", path, "--stats-interval", "1h", a.Name)
	for deadline := time.Now().Add(testenv.Patience); ; {
		text, err := os.ReadFile(path)
		testenv.Must(t, err)
		if strings.Contains(string(text), `maas_netmon_interface_up{interface="va"} 1`) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the interface is not up in\n%s", text)
		}
	}
}

// The counters of a file are the result of the run, and stay.
func TestMetricsOfAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(metricsDir(t), "maas.prom")
	status, _, stderr := testenv.Run(t, testenv.Net(t), testenv.Options{}, "--metrics-file", path, "-i", inputFile(t, littlePcap.File(fileSeconds, arpFrames...)))
	text, err := os.ReadFile(path)
	testenv.Must(t, err)
	if want := "maas_netmon_max_bindings{watch="; status != 0 || !strings.Contains(string(text), want) || strings.Contains(string(text), "interface_up") {
		t.Errorf("exit status %d, %s\n%s", status, stderr, text)
	}
}

// A program that is killed leaves a spare file, which the next one removes. It starts also with the
// same process ID, as in a container.
func TestMetricsFileAfterACrash(t *testing.T) {
	testenv.Require(t, testenv.Root)
	t.Parallel()
	a, _ := testenv.RawPair(t)
	dir := metricsDir(t)
	path := filepath.Join(dir, "maas.prom")
	// The program is process 1 of its own PID namespace.
	o := testenv.Options{Shell: `exec unshare --pid --fork --mount-proc "$0" "$@"`, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}}
	var left []string
	for range 3 {
		p := testenv.Watch(t, a.Namespace, o, "--metrics-file", path, a.Name)
		text, err := os.ReadFile(path)
		testenv.Must(t, err)
		if !strings.Contains(string(text), "\nmaas_netmon_bindings{") {
			t.Errorf("not whole:\n%s", text)
		}
		testenv.Must(t, syscall.Kill(p.Child(t), sigKILL))
		p.Exit(t)
		entries, err := os.ReadDir(dir)
		testenv.Must(t, err)
		left = nil
		for _, e := range entries {
			left = append(left, e.Name())
		}
		if len(left) != 2 || left[1] != "maas.prom" || !strings.HasPrefix(left[0], ".maas.prom.1.") {
			t.Errorf("after a crash there are %q", left)
		}
	}
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, "--metrics-file", path, a.Name)
	p.Stop(t)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("in the end there are %v, %v", entries, err)
	}
}

// A full disk affects only the metrics: the file keeps its old contents.
func TestMetricsFileOnAFullDisk(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	dir := metricsDir(t)
	path := filepath.Join(dir, "maas.prom")
	// A separate mount, which disappears with the program, with room for 4 KiB for both files.
	shell := fmt.Sprintf(`exec unshare -m sh -c 'mount -t tmpfs -o size=4k,mode=777 none %s && exec "$0" "$@"' "$0" "$@"`, dir)
	p := testenv.Watch(t, a.Namespace, testenv.Options{Shell: shell, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}},
		"--metrics-file", path, "--stats-interval", "1s", a.Name)
	// The program writes the file at its start, so the message can be there already.
	if _, ok := p.Log.Await(testenv.Contains("metrics file not written"), testenv.Contains("no space left on device")); !ok {
		t.Fatalf("no message about the full disk:\n%s", strings.Join(p.Log.Seen(), "\n"))
	}
	sendFence(t, p, b.Port(t)).Await(t)
	p.Stop(t)
	if n := strings.Count(strings.Join(p.Log.WaitEnd(t), "\n"), "metrics file not written"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// A metrics file that cannot be created gives a warning, and the program works without it.
func TestMetricsFileRefused(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	dir := metricsDir(t)
	testenv.Must(t, os.Mkdir(dir+"/dir.prom", 0o777))
	for _, c := range []struct{ name, path, want string }{
		{"no such directory", dir + "/none/maas.prom", "no such file or directory"},
		{"a directory", dir + "/dir.prom", "is a directory"},
		{"no file system for files", "/proc/maas.prom", ""},
		{"where only root may", "/maas.prom", "permission denied\" user="},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := testenv.Start(t, a.Namespace, testenv.Options{}, "--metrics-file", c.path, a.Name)
			warned := p.Log.Expect(testenv.Contains(`level=WARN msg="no metrics file until the next start" file=`+c.path), testenv.Contains(c.want))
			p.Ready(t)
			warned.Await(t)
			sendFence(t, p, b.Port(t)).Await(t)
			p.Stop(t)
		})
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	status, _, stderr := testenv.Run(t, a.Namespace, testenv.Options{}, "--metrics-file", dir+"/maas.txt", a.Name)
	if want := "the collector reads files that end in .prom"; status != 2 || !strings.Contains(stderr, want) {
		t.Errorf("exit status %d, want 2; %s", status, stderr)
	}
}
