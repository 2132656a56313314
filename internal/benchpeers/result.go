package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// results has all measurements, and the machine.
type results struct {
	Machine      string         `json:"machine"`
	Program      string         `json:"program"`
	Date         string         `json:"date"`
	Load         string         `json:"load_average_at_start"`
	Missing      []string       `json:"missing_peers"`
	Measurements []*measurement `json:"measurements"`
	Targets      []target       `json:"targets"`
}

// A measurement is one number of one subject, measured several times.
type measurement struct {
	Case    string    `json:"case"`
	Subject string    `json:"subject"`
	Metric  string    `json:"metric"`
	X       int       `json:"x,omitempty"` // the parameter of a growing cost
	Median  float64   `json:"median"`
	Values  []float64 `json:"values"`
}

// A target is a condition on medians.
type target struct {
	What string  `json:"what"`
	Got  float64 `json:"got"`
	Most float64 `json:"at_most"`
	Met  bool    `json:"met"`
}

// describe records the machine.
func (r *results) describe(binary string) {
	r.Date = time.Now().UTC().Format(time.DateOnly)
	model := "unknown processor"
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(cpuinfo)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	r.Machine = fmt.Sprintf("%d × %s, Linux %s, %s", runtime.NumCPU(), model, strings.TrimSpace(string(kernel)), runtime.Version())
	version, _ := exec.Command(binary, "--version").Output()
	r.Program = strings.TrimSpace(string(version))
	average, _ := os.ReadFile("/proc/loadavg")
	r.Load = strings.Join(strings.Fields(string(average))[:1], "")
	fmt.Printf("%s\n%s\nload average %s\n", r.Machine, r.Program, r.Load)
}

// add records one value, and prints it.
func (r *results) add(name, subject, metric string, v float64) { r.at(name, subject, metric, 0, v) }

// at is add for a cost at x.
func (r *results) at(name, subject, metric string, x int, v float64) {
	fmt.Printf("%s\t%s\t%s\t%d\t%.4g\n", name, subject, metric, x, v)
	m := r.find(name, subject, metric, x)
	if m == nil {
		m = &measurement{Case: name, Subject: subject, Metric: metric, X: x}
		r.Measurements = append(r.Measurements, m)
	}
	m.Values = append(m.Values, v)
	m.Median = median(m.Values)
}

func (r *results) find(name, subject, metric string, x int) *measurement {
	for _, m := range r.Measurements {
		if m.Case == name && m.Subject == subject && m.Metric == metric && m.X == x {
			return m
		}
	}
	return nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// judge compares the medians with the targets. It skips values that were not measured.
func (r *results) judge() {
	r.Targets = nil
	value := func(name, subject, metric string, x int) (float64, bool) {
		m := r.find(name, subject, metric, x)
		if m == nil {
			return 0, false
		}
		return m.Median, true
	}
	want := func(what string, got, most float64) {
		r.Targets = append(r.Targets, target{what, got, most, got <= most})
	}
	most := func(name, subject, metric string, limit float64) {
		if v, ok := value(name, subject, metric, 0); ok {
			want(fmt.Sprintf("%s: %s, %s", name, subject, metric), v, limit)
		}
	}
	ratio := func(name, metric, peer string, limit float64) {
		v, ok := value(name, ours, metric, 0)
		if p, ok2 := value(name, peer, metric, 0); ok && ok2 {
			want(fmt.Sprintf("%s: %s, ratio to %s", name, metric, peer), v/p, limit)
		}
	}
	for _, c := range []struct {
		rate  int
		peer  string
		limit float64
	}{{100, tcpdumpPipe, 0.4}, {1_000, tcpdumpPipe, 0.1}, {10_000, tcpdumpPipe, 0.05}, {50_000, arpwatch, 1}} {
		v, ok := value("daily", ours, "CPU %", c.rate)
		if p, ok2 := value("daily", c.peer, "CPU %", c.rate); ok && ok2 {
			want(fmt.Sprintf("daily: CPU at %d frames a second, ratio to %s", c.rate, c.peer), v/p, c.limit)
		}
	}
	if v, ok := value("quiet", tcpdumpPipe, "p99 ms", 0); ok {
		most("quiet", ours, "p99 ms", v+0.3)
	}
	most("latency", ours, "longest ms", 150)
	most("new", ours, "lost %", 1)
	most("surprise", ours, "lost %", 0)
	most("busy", ours, "lost, part of what 100 ms bring beyond the ring", 1)
	most("busy", ours, "lost and not counted", 0)
	most("burst", ours, "lost", 0)
	most("stall", ours, "lost %", 0)
	ratio("full", "CPU ns/frame", tcpdumpNull, 0.20)
	ratio("full", "CPU ns/frame", bare, 1.5)
	if v, ok := value("full", bare, "lost %", 0); ok && v == 0 {
		most("full", ours, "lost %", 0)
	}
	ratio("steady", "CPU ns/frame", arpwatch, 1)
	for _, s := range []string{ours, oursCopied} {
		most("start", s, "ms", 30)
		most("idle", s, "wake-ups/s", 1)
		most("idle", s, "PSS MiB", 12)
	}
	most("flood", ours, "told twice", 0)
	for _, c := range []struct {
		n     int
		limit float64
	}{{64, 24}, {500, 64}} {
		if v, ok := value("interfaces", ours, "PSS MiB", c.n); ok {
			want(fmt.Sprintf("interfaces: PSS of %d, MiB", c.n), v, c.limit)
		}
	}
	one, ok := value("interfaces", ours, "threads", 1)
	if many, ok2 := value("interfaces", ours, "threads", 500); ok && ok2 {
		want("interfaces: threads of 500 beyond those of one", many-one, 0)
	}
	for _, rate := range interfaceRates {
		metric := fmt.Sprintf("CPU ns/frame at %d/s", rate)
		one, ok := value("interfaces", ours, metric, 1)
		if many, ok2 := value("interfaces", ours, metric, 500); ok && ok2 {
			want("interfaces: "+metric+", ratio of 500 to one", many/one, 1.5)
		}
	}
}

// printTable prints the medians, as tables of Markdown.
func (r *results) printTable(w io.Writer) {
	r.judge()
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintln(t, "\n| target\t| measured\t| at most\t| met\t|\n| ---\t| ---\t| ---\t| ---\t|")
	for _, g := range r.Targets {
		fmt.Fprintf(t, "| %s\t| %.3g\t| %.3g\t| %s\t|\n", g.What, g.Got, g.Most, map[bool]string{true: "yes", false: "**no**"}[g.Met])
	}
	fmt.Fprintln(t, "\n| case\t| subject\t| \t| median\t| from\t| to\t|\n| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t|")
	for _, m := range r.Measurements {
		name := m.Case
		if m.X != 0 {
			name = fmt.Sprintf("%s, %d", m.Case, m.X)
		}
		if m.Median < 0 {
			fmt.Fprintf(t, "| %s\t| %s\t| %s\t| not told\t| \t| \t|\n", name, m.Subject, m.Metric)
			continue
		}
		fmt.Fprintf(t, "| %s\t| %s\t| %s\t| %.3g\t| %.3g\t| %.3g\t|\n", name, m.Subject, m.Metric,
			m.Median, slices.Min(m.Values), slices.Max(m.Values))
	}
	t.Flush()
}

// writeJSON writes everything.
func (r *results) writeJSON(file string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
