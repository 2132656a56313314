package main

import (
	"flag"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var allOptions = cmp.AllowUnexported(options{})

func defaults(interfaces ...string) options {
	return options{format: formatJSON, refresh: defaultRefresh, maxBindings: defaultMaxBindings, interfaces: interfaces}
}

func TestParseOptions(t *testing.T) {
	for _, c := range []struct {
		args string
		want func(*options)
	}{
		{"eth0", nil},
		{"-- eth0", nil},
		{"eth0 --", nil},
		{"--refresh 30s eth0", func(o *options) { o.refresh = 30 * time.Second }},
		{"-refresh=30s eth0", func(o *options) { o.refresh = 30 * time.Second }},
		{"eth0 --refresh 30s", func(o *options) { o.refresh = 30 * time.Second }},
		{"eth0 --refresh 30s eth1", func(o *options) {
			o.refresh = 30 * time.Second
			o.interfaces = []string{"eth0", "eth1"}
		}},
		{"-- --refresh eth0", func(o *options) { o.interfaces = []string{"--refresh", "eth0"} }},
		{"eth0 -- -x", func(o *options) { o.interfaces = []string{"eth0", "-x"} }},
		{"--max-bindings 7 eth0", func(o *options) { o.maxBindings = 7 }},
		{"--stats-interval 1m eth0", func(o *options) { o.statsInterval = time.Minute }},
		{"--user daemon eth0", func(o *options) { o.user = "daemon" }},
		{"--log-level DEBUG eth0", func(o *options) { o.logLevel = slog.LevelDebug }},
		{"--metrics-file /tmp/x.prom eth0", func(o *options) { o.metrics = "/tmp/x.prom" }},
		{"--wait eth0", func(o *options) { o.wait = true }},
		{"-v eth0", func(o *options) { o.verbose = true }},
		{"--verbose --format text eth0", func(o *options) { o.verbose, o.format = true, formatText }},
		{"--check", func(o *options) { o.check, o.interfaces = true, nil }},
		{"--check eth0", func(o *options) { o.check = true }},
		{"-i a.pcap", func(o *options) { o.input, o.interfaces = "a.pcap", nil }},
		{"--input-file=- -v", func(o *options) { o.input, o.interfaces, o.verbose = "-", nil, true }},
		{"--help --bogus", func(o *options) { o.help, o.interfaces = true, nil }},
		{"--version", func(o *options) { o.version, o.interfaces = true, nil }},
	} {
		want := defaults("eth0")
		if c.want != nil {
			c.want(&want)
		}
		got, err := parseOptions(strings.Fields(c.args), slog.LevelInfo)
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
		}
		if diff := cmp.Diff(want, got, allOptions); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.args, diff)
		}
	}
}

// What the monitor tells the parser is what the parser understands.
func TestParserArgs(t *testing.T) {
	for _, want := range []options{
		defaults("eth0"),
		defaults("-v", "--", "eth0"),
		{format: formatJSON, refresh: time.Second, maxBindings: 1, input: "-"},
		{format: formatJSON, refresh: time.Second, maxBindings: 1, input: "--role"},
		{format: formatText, colour: true, verbose: true, zone: "Asia/Kathmandu", journal: true, check: true,
			refresh: 90 * time.Second, maxBindings: 1, interfaces: []string{"eth0", "eth1"}},
	} {
		got, err := parseOptions(want.parserArgs()[1:], slog.LevelInfo)
		if err != nil {
			t.Fatal(err)
		}
		want.role = roleParser
		if diff := cmp.Diff(want, got, allOptions); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

// Every option that users may know is in the help, and no other is.
func TestUsageIsComplete(t *testing.T) {
	hidden := map[string]bool{"role": true, "colour": true, "zone": true, "journal": true}
	new(options).flagSet().VisitAll(func(f *flag.Flag) {
		name := "--" + f.Name
		if len(f.Name) == 1 {
			name = "-" + f.Name
		}
		if shown := strings.Contains(usage, name); shown == hidden[f.Name] {
			t.Errorf("%s: in the help: %v", name, shown)
		}
	})
	for line := range strings.Lines(usage) {
		if len(line) > 81 {
			t.Errorf("longer than a terminal is wide: %q", line)
		}
	}
}
