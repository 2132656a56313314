package cli

import (
	"flag"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var allOptions = cmp.Options{}

func defaults(interfaces ...string) Options {
	return Options{Format: FormatJSON, Refresh: defaultRefresh, MovedInterval: defaultMovedInterval, MaxBindings: defaultMaxBindings, Interfaces: interfaces}
}

func TestParseOptions(t *testing.T) {
	for _, c := range []struct {
		args string
		want func(*Options)
	}{
		{"eth0", nil},
		{"-- eth0", nil},
		{"eth0 --", nil},
		{"--refresh 30s eth0", func(o *Options) { o.Refresh = 30 * time.Second }},
		{"-refresh=30s eth0", func(o *Options) { o.Refresh = 30 * time.Second }},
		{"eth0 --refresh 30s", func(o *Options) { o.Refresh = 30 * time.Second }},
		{"eth0 --refresh 30s eth1", func(o *Options) {
			o.Refresh = 30 * time.Second
			o.Interfaces = []string{"eth0", "eth1"}
		}},
		{"-- --refresh eth0", func(o *Options) { o.Interfaces = []string{"--refresh", "eth0"} }},
		{"eth0 -- -x", func(o *Options) { o.Interfaces = []string{"eth0", "-x"} }},
		{"--max-bindings 7 eth0", func(o *Options) { o.MaxBindings = 7 }},
		{"--stats-interval 1m eth0", func(o *Options) { o.StatsInterval = time.Minute }},
		{"--user daemon eth0", func(o *Options) { o.User = "daemon" }},
		{"--log-level DEBUG eth0", func(o *Options) { o.LogLevel = slog.LevelDebug }},
		{"--metrics-file /tmp/x.prom eth0", func(o *Options) { o.MetricsFile = "/tmp/x.prom" }},
		{"--wait eth0", func(o *Options) { o.Wait = true }},
		{"--ipv6 eth0", func(o *Options) { o.IPv6 = true }},
		{"eth0 --ipv6=false", nil},
		{"-v eth0", func(o *Options) { o.Verbose = true }},
		{"--verbose --format text eth0", func(o *Options) { o.Verbose, o.Format = true, FormatText }},
		{"--check", func(o *Options) { o.Check, o.Interfaces = true, nil }},
		{"--check eth0", func(o *Options) { o.Check = true }},
		{"--moved-interval 0 --max-rate 300 eth0", func(o *Options) { o.MovedInterval, o.MaxRate = 0, 300 }},
		{"--moved-interval 24h -v --max-rate 17 eth0", func(o *Options) { o.MovedInterval, o.Verbose, o.MaxRate = 24*time.Hour, true, 17 }},
		{"-i a.pcap", func(o *Options) { o.Input, o.Interfaces, o.MovedInterval = "a.pcap", nil, 0 }},
		{"--moved-interval 5s -i a.pcap", func(o *Options) { o.Input, o.Interfaces, o.MovedInterval = "a.pcap", nil, 5*time.Second }},
		{"--input-file=- -v", func(o *Options) { o.Input, o.Interfaces, o.Verbose, o.MovedInterval = "-", nil, true, 0 }},
		{"--help --bogus", func(o *Options) { o.Help, o.Interfaces, o.MovedInterval = true, nil, unset }},
		{"--version", func(o *Options) { o.Version, o.Interfaces, o.MovedInterval = true, nil, unset }},
	} {
		want := defaults("eth0")
		if c.want != nil {
			c.want(&want)
		}
		got, err := ParseOptions(strings.Fields(c.args), Environment{})
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
		}
		if diff := cmp.Diff(want, got, allOptions); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.args, diff)
		}
	}
}

// The parser parses the monitor's argument list to the same options.
func TestParserArgs(t *testing.T) {
	for _, want := range []Options{
		defaults("eth0"),
		defaults("-v", "--", "eth0"),
		{Format: FormatJSON, Refresh: time.Second, MaxBindings: 1, Input: "-"},
		{Format: FormatJSON, Refresh: time.Second, MaxBindings: 1, Input: "--role"},
		{Format: FormatText, Colour: true, Verbose: true, IPv6: true, Zone: "Asia/Kathmandu", Journal: true, Check: true,
			Refresh: 90 * time.Second, MovedInterval: time.Minute, MaxRate: 300, MaxBindings: 1, Interfaces: []string{"eth0", "eth1"}},
	} {
		got, err := ParseOptions(want.ParserArgs()[1:], Environment{})
		if err != nil {
			t.Fatal(err)
		}
		want.Role = RoleParser
		if diff := cmp.Diff(want, got, allOptions); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

// An error names the option as it was typed, and the expected values.
func TestOptionErrors(t *testing.T) {
	for args, want := range map[string]string{
		"--bogus eth0":             "unknown option --bogus",
		"eth0 -bogus=1":            "unknown option -bogus",
		"--=x eth0":                "unknown option --=x",
		"-$1 eth0":                 "unknown option -$1",
		"eth0 --refresh":           "--refresh needs a value",
		"-i":                       "-i needs a value",
		"--refresh 10 eth0":        `invalid value "10" for --refresh: want 10s, 10m`,
		"--stats-interval=1 eth0":  `invalid value "1" for --stats-interval: want 10s, 10m`,
		"--max-bindings many eth0": `invalid value "many" for --max-bindings: want a number`,
		"--max-bindings 99999999999999999999 eth0": `invalid value "99999999999999999999" for --max-bindings: value out of range`,
		"--wait=perhaps eth0":                      `invalid value "perhaps" for --wait: want true or false`,
		"--log-level loud eth0":                    `invalid value "loud" for --log-level: want debug, info, warn or error`,
		"-i= eth0":                                 `invalid value "" for -i: no name`,
	} {
		if _, err := ParseOptions(strings.Fields(args), Environment{}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}

// Every option for users is in the help, and no other.
func TestUsageIsComplete(t *testing.T) {
	hidden := map[string]bool{"role": true, "colour": true, "zone": true, "journal": true, "pool": true, "instance": true}
	new(Options).flagSet().VisitAll(func(f *flag.Flag) {
		name := "--" + f.Name
		if len(f.Name) == 1 {
			name = "-" + f.Name
		}
		if shown := strings.Contains(Usage, name); shown == hidden[f.Name] {
			t.Errorf("%s: in the help: %v", name, shown)
		}
	})
	for line := range strings.Lines(Usage) {
		if len(line) > 81 {
			t.Errorf("longer than a terminal is wide: %q", line)
		}
	}
}

// The instance of a unit is the name of an interface, with or without systemd-escape(1).
func TestInstance(t *testing.T) {
	for instance, want := range map[string]string{
		"eth0": "eth0", "br-int": "br-int", `br\x2dint`: "br-int", "br-1f2e3d4c5b6a": "br-1f2e3d4c5b6a",
		`a\x2bb`: "a+b", `a\x5cx2db`: `a\x2db`, `caf\xc3\xa9`: "caf\xc3\xa9", `a\x2`: `a\x2`,
	} {
		o, err := ParseOptions([]string{"--wait", "--instance", instance}, Environment{})
		if err != nil || len(o.Interfaces) != 1 || o.Interfaces[0] != want {
			t.Errorf("%s: %q, %v; want %q", instance, o.Interfaces, err, want)
		}
	}
}
