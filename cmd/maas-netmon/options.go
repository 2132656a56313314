package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

const usage = `Usage: maas-netmon [OPTION]... INTERFACE...
       maas-netmon [OPTION]... -i FILE
       maas-netmon [OPTION]... --check [INTERFACE]...

Watch the ARP traffic of network interfaces, VLAN-tagged frames included, and
print one JSON object a line when a (VLAN, IPv4 address) is first seen (NEW),
moves to another MAC (MOVED), or is seen again after a while (REFRESHED).

Options:
  -i, --input-file FILE
                      read pcap or pcapng instead of an interface; - is standard
                      input, a pipe or a file. Needs no privilege
  -v, --verbose       also print each ARP packet in full, as text
  --format FORMAT     json, or text: a line of columns for people (default json)
  --wait              an INTERFACE that does not exist yet is waited for
  --refresh DURATION  how long a binding stays quiet before REFRESHED (default
                      10m)
  --max-bindings N    how many bindings are remembered, over all interfaces; the
                      least recently seen goes first (default 262144)
  --stats-interval DURATION
                      print the counters to standard error this often; SIGUSR1
                      prints them once, the end prints them too
  --metrics-file FILE
                      the counters for node_exporter's textfile collector,
                      written whole, at the stats interval (15s if there is
                      none)
  --user NAME         when started as root: the user to become (default
                      maas-netmon if there is one, else nobody)
  --check             print what this kernel and this installation give:
                      capability, interfaces, every layer of the confinement;
                      exit with 0 if it would run
  --log-level LEVEL   debug, info, warn or error (default info, or what
                      LOG_LEVEL in the environment says)
  --version           print the version and exit
  --help              print this help and exit

For interfaces, CAP_NET_RAW is needed for an instant at the start:
setcap cap_net_raw=p maas-netmon.

Exit status:
  0  ended by SIGTERM or SIGINT, or end of the input file
  1  run-time failure
  2  wrong usage, or an input that is damaged or of another format
  3  input ended before its header
  4  not an Ethernet interface or link type
  5  confinement could not be set up, or was violated
`

const (
	defaultRefresh     = 10 * time.Minute
	defaultMaxBindings = 262144
	// defaultMetricsInterval is how often the metrics file is written.
	defaultMetricsInterval = 15 * time.Second
)

// The formats of events.
const (
	formatJSON = "json"
	formatText = "text"
)

// roleParser is the value of the option --role. With it, with --colour, --zone and
// --journal, which are not for users either, the monitor starts its other half.
const roleParser = "parser"

// options are the command line, of both processes.
type options struct {
	help, version bool
	check         bool
	role          string
	verbose       bool
	wait          bool // for interfaces that do not exist yet
	format        string
	colour        bool   // of text
	zone          string // as TZ in the environment, for verbose text
	journal       bool   // standard error is the journal
	refresh       time.Duration
	maxBindings   int
	statsInterval time.Duration // 0: never
	metrics       string        // file; "" for none
	user          string
	logLevel      slog.Level
	input         string // the file to be read, "-" for standard input; "" for interfaces
	interfaces    []string
}

// sources returns the names of what is read.
func (o *options) sources() []string {
	if o.input != "" {
		return []string{o.input}
	}
	return o.interfaces
}

// flagSet returns the options as the flag package understands them.
func (o *options) flagSet() *flag.FlagSet {
	fs := flag.NewFlagSet("maas-netmon", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.BoolVar(&o.version, "version", false, "")
	fs.BoolVar(&o.check, "check", false, "")
	fs.StringVar(&o.role, "role", "", "")
	fs.BoolVar(&o.colour, "colour", false, "")
	fs.StringVar(&o.zone, "zone", "", "")
	fs.BoolVar(&o.journal, "journal", false, "")
	fs.BoolVar(&o.verbose, "v", false, "")
	fs.BoolVar(&o.verbose, "verbose", false, "")
	fs.StringVar(&o.format, "format", formatJSON, "")
	fs.DurationVar(&o.statsInterval, "stats-interval", 0, "")
	fs.StringVar(&o.metrics, "metrics-file", "", "")
	fs.DurationVar(&o.refresh, "refresh", defaultRefresh, "")
	fs.IntVar(&o.maxBindings, "max-bindings", defaultMaxBindings, "")
	fs.BoolVar(&o.wait, "wait", false, "")
	fs.StringVar(&o.user, "user", "", "")
	input := func(s string) error {
		if o.input = s; s == "" {
			return errors.New("no name")
		}
		return nil
	}
	fs.Func("i", "", input)
	fs.Func("input-file", "", input)
	fs.Func("log-level", "", func(s string) (err error) {
		o.logLevel, err = parseLevel(s)
		return err
	})
	return fs
}

// parseOptions reads the arguments, without the program's name. Options may stand
// behind interfaces; "--" ends them.
func parseOptions(args []string, logLevel slog.Level) (options, error) {
	var o options
	o.logLevel = logLevel
	fs := o.flagSet()
	for {
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			o.help = true
			return o, nil
		} else if err != nil {
			return o, err
		}
		rest := fs.Args()
		ended := len(args) > len(rest) && args[len(args)-len(rest)-1] == "--"
		if ended || len(rest) == 0 {
			o.interfaces = append(o.interfaces, rest...)
			break
		}
		o.interfaces = append(o.interfaces, rest[0])
		args = rest[1:]
	}
	if o.version {
		return o, nil
	}
	return o, o.validate()
}

// validate refuses what no kernel can make sense of.
func (o *options) validate() error {
	switch {
	case o.role != "" && o.role != roleParser:
		return fmt.Errorf("no such role: %q", o.role)
	case o.format != formatJSON && o.format != formatText:
		return fmt.Errorf("invalid value %.32q for --format: want json or text", o.format)
	case o.metrics != "" && !strings.HasSuffix(o.metrics, ".prom"):
		return fmt.Errorf("invalid value %q for --metrics-file: the collector reads files that end in .prom", o.metrics)
	case o.statsInterval != 0 && o.statsInterval < time.Second:
		return fmt.Errorf("invalid value %v for --stats-interval: want at least 1s", o.statsInterval)
	case o.refresh < time.Second:
		return fmt.Errorf("invalid value %v for --refresh: want at least 1s", o.refresh)
	case o.maxBindings < 1 || o.maxBindings > 1<<30:
		return fmt.Errorf("invalid value %d for --max-bindings: want 1 to %d", o.maxBindings, 1<<30)
	case o.input != "" && len(o.interfaces) > 0:
		return errors.New("-i and INTERFACE exclude each other")
	case o.input != "" && o.check:
		return errors.New("-i and --check exclude each other")
	case o.input == "" && len(o.interfaces) == 0 && !o.check:
		return errors.New("no INTERFACE given")
	}
	for i, name := range o.interfaces {
		if err := checkName(name); err != nil {
			return err
		}
		if slices.Contains(o.interfaces[:i], name) {
			return fmt.Errorf("%s: given twice", name)
		}
	}
	return nil
}

// checkName refuses what the kernel does not take as the name of an interface
// (dev_valid_name in net/core/dev.c).
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the name of an interface is empty")
	case len(name) >= unix.IFNAMSIZ:
		return fmt.Errorf("%.32q: longer than the name of an interface can be (%d bytes)", name, unix.IFNAMSIZ-1)
	case name == "." || name == ".." || strings.ContainsFunc(name, func(r rune) bool {
		return r == '/' || r == ':' || r == 0 || unicode.IsSpace(r)
	}):
		return fmt.Errorf("%q: not the name of an interface", name)
	}
	return nil
}

// parseLevel reads the name of a log level.
func parseLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return slog.LevelInfo, errors.New("want debug, info, warn or error")
}

// parserArgs returns the argument list of the parser for these options.
func (o *options) parserArgs() []string {
	args := []string{"maas-netmon", "--role", roleParser, "--check=" + strconv.FormatBool(o.check),
		"--verbose=" + strconv.FormatBool(o.verbose),
		"--format", o.format, "--colour=" + strconv.FormatBool(o.colour), "--zone", o.zone, "--journal=" + strconv.FormatBool(o.journal),
		"--refresh", o.refresh.String(), "--max-bindings", strconv.Itoa(o.maxBindings)}
	if o.input != "" {
		return append(args, "--input-file", o.input)
	}
	return append(append(args, "--"), o.interfaces...)
}
