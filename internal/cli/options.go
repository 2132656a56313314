package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"maas-netmon/capture"
)

// Usage is the text of --help.
const Usage = `Usage: maas-netmon [OPTION]... INTERFACE...
       maas-netmon [OPTION]... -i FILE
       maas-netmon [OPTION]... --check [INTERFACE]...

Watch the ARP traffic of network interfaces, including VLAN-tagged frames, and
print one JSON object per line when a (VLAN, IPv4 address) is first seen (NEW),
moves to another MAC (MOVED), or is seen again after a while (REFRESHED).

Options:
  -i, --input-file FILE
                      read a pcap or pcapng file or pipe instead of an
                      interface; - is standard input. Needs no privilege
  -v, --verbose       also print each packet in full, as text
  --ipv6              also IPv6 neighbours (RFC 4861)
  --format FORMAT     json, or text: columns for people (default json)
  --match GLOB        also watch every Ethernet interface whose name, or
                      alternative name, matches, including those that appear
                      later; may be repeated; '*' matches all
  --wait              wait for an INTERFACE that does not exist yet
  --refresh DURATION  report a binding as REFRESHED if it is seen again this
                      long after its last event (default 10m)
  --moved-interval DURATION
                      report a binding that keeps moving at most this often
                      (default 1s; with -i 0, every move)
  --max-rate N        print at most N lines per second, moves first (default 0,
                      no limit)
  --max-bindings N    remember at most N bindings, over all interfaces; the
                      least recently seen is evicted first (default 262144)
  --stats-interval DURATION
                      log the counters this often; SIGUSR1 logs them once, and
                      the end of the program too
  --metrics-file FILE
                      write the counters for node_exporter's textfile collector
                      at the stats interval (15s if there is none)
  --user NAME or UID  when started as root: the user to become (default: the
                      first possible of maas-netmon, snap_daemon and nobody)
  --die-with-parent   end when the parent process ends; the default in MAAS's
                      snap (SNAP_NAME=maas)
  --check             report whether the program would run here: capability,
                      interfaces, every layer of confinement; exit with 0 if so
  --log-level LEVEL   debug, info, warn or error (default: LOG_LEVEL in the
                      environment, or info)
  --version           print the version and exit
  --help              print this help and exit

Interfaces need CAP_NET_RAW, for an instant at the start:
setcap cap_net_raw=p maas-netmon.

Exit status:
  0  ended by SIGTERM, SIGINT, SIGQUIT or SIGHUP, or end of the input file
  1  run-time failure
  2  wrong usage, or an input that is damaged or of another format
  3  input ended before its header
  4  not an Ethernet interface or link type
  5  confinement could not be set up, or was violated
`

const (
	defaultRefresh     = 10 * time.Minute
	defaultMaxBindings = 262144
	// MaxBindings is the largest value of --max-bindings. It equals tracker.MaxBindings. The
	// monitor must not import package tracker; package parserproc does not compile if the two
	// differ.
	MaxBindings          = 1 << 30
	defaultMovedInterval = time.Second // for interfaces; 0 for a file
	// unset is the value of a duration that was not given.
	unset = time.Duration(math.MinInt64)
	// MaxMovedInterval is the largest value of --moved-interval. It equals
	// tracker.MaxMovedInterval.
	MaxMovedInterval = 24 * time.Hour
	// maxMaxRate is the largest value of --max-rate, MinVerboseRate the smallest with -v.
	maxMaxRate     = 1_000_000
	MinVerboseRate = 17
	// MaxName is the largest number of bytes in the name of an interface: an alternative name has
	// 127 (ALTIFNAMSIZ in include/uapi/linux/if.h).
	MaxName = 127
	// DefaultMetricsInterval is the time between two writes of the metrics file, without
	// --stats-interval.
	DefaultMetricsInterval = 15 * time.Second
)

// The formats of events.
const (
	FormatJSON = "json"
	FormatText = "text"
)

// RoleParser is the value of the option --role with which the monitor starts the parser. Like
// --colour, --zone, --pool, --journal and --instance (for the systemd unit), it is not for users
// and not in the help.
const RoleParser = "parser"

// Options are the options and arguments of the command line, for both processes.
type Options struct {
	Help, Version bool
	Check         bool
	Role          string
	Verbose       bool
	IPv6          bool // Neighbor Discovery, too
	Wait          bool // for interfaces that do not exist yet
	Format        string
	Colour        bool   // of text
	Zone          string // as TZ in the environment, for verbose text
	Journal       bool   // standard error is the journal
	Refresh       time.Duration
	MovedInterval time.Duration
	MaxRate       int // lines per second, 0 for no limit
	MaxBindings   int
	StatsInterval time.Duration // 0: never
	MetricsFile   string        // file; "" for none
	User          string
	DieWithParent bool
	Snap          string // the snap that started the program, from the environment
	LogLevel      slog.Level
	Input         string // the file to read, "-" for standard input; "" for interfaces
	Interfaces    []string
	Match         []string // patterns of names, of more interfaces
	Pool          int      // for the parser: the number of sockets for Match
}

// Sources returns the names of the interfaces or the file.
func (o *Options) Sources() []string {
	if o.Input != "" {
		return []string{o.Input}
	}
	return o.Interfaces
}

// flagSet returns the options for package flag.
func (o *Options) flagSet() *flag.FlagSet {
	fs := flag.NewFlagSet("maas-netmon", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.BoolVar(&o.Version, "version", false, "")
	fs.BoolVar(&o.Check, "check", false, "")
	fs.StringVar(&o.Role, "role", "", "")
	fs.BoolVar(&o.Colour, "colour", false, "")
	fs.StringVar(&o.Zone, "zone", "", "")
	fs.BoolVar(&o.Journal, "journal", false, "")
	fs.BoolVar(&o.Verbose, "v", false, "")
	fs.BoolVar(&o.Verbose, "verbose", false, "")
	fs.BoolVar(&o.IPv6, "ipv6", false, "")
	fs.StringVar(&o.Format, "format", FormatJSON, "")
	fs.DurationVar(&o.StatsInterval, "stats-interval", 0, "")
	fs.StringVar(&o.MetricsFile, "metrics-file", "", "")
	fs.DurationVar(&o.Refresh, "refresh", defaultRefresh, "")
	fs.DurationVar(&o.MovedInterval, "moved-interval", unset, "")
	fs.IntVar(&o.MaxRate, "max-rate", 0, "")
	fs.IntVar(&o.MaxBindings, "max-bindings", defaultMaxBindings, "")
	fs.BoolVar(&o.Wait, "wait", false, "")
	fs.IntVar(&o.Pool, "pool", 0, "")
	fs.Func("instance", "", func(s string) error {
		o.Interfaces = append(o.Interfaces, unescapeInstance(s))
		return nil
	})
	fs.Func("match", "", func(s string) error {
		if _, err := path.Match(s, ""); err != nil || s == "" {
			return errors.New("want a pattern like 'eth*' or 'en[ps]*'")
		}
		o.Match = append(o.Match, s)
		return nil
	})
	fs.StringVar(&o.User, "user", "", "")
	fs.BoolVar(&o.DieWithParent, "die-with-parent", o.Snap == "maas", "")
	input := func(s string) error {
		switch {
		case s == "":
			return errors.New("no name")
		case o.Input != "":
			return errors.New("one FILE only")
		}
		o.Input = s
		return nil
	}
	fs.Func("i", "", input)
	fs.Func("input-file", "", input)
	fs.Func("log-level", "", func(s string) (err error) {
		o.LogLevel, err = parseLevel(s)
		return err
	})
	return fs
}

// ParseOptions parses the arguments, without the program's name. Options may follow interfaces;
// "--" ends the options.
func ParseOptions(args []string, env Environment) (Options, error) {
	o := Options{LogLevel: env.LogLevel, Snap: env.Snap}
	fs := o.flagSet()
	for {
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			o.Help = true
			return o, nil
		} else if err != nil {
			// The remaining arguments follow the wrong option.
			return o, plainError(err, args[max(0, len(args)-fs.NArg()-1)])
		}
		rest := fs.Args()
		ended := len(args) > len(rest) && args[len(args)-len(rest)-1] == "--"
		if ended || len(rest) == 0 {
			o.Interfaces = append(o.Interfaces, rest...)
			break
		}
		o.Interfaces = append(o.Interfaces, rest[0])
		args = rest[1:]
	}
	if o.Version {
		return o, nil
	}
	if o.MovedInterval == unset {
		o.MovedInterval = defaultMovedInterval
		if o.Input != "" {
			o.MovedInterval = 0
		}
	}
	return o, o.validate()
}

// flagErrors maps the forms of package flag's errors to the program's own messages. ${typed} is the
// option as the user typed it.
var flagErrors = []struct {
	form  *regexp.Regexp
	plain string
}{
	{regexp.MustCompile(`^flag provided but not defined: -.*$`), "unknown option ${typed}"},
	{regexp.MustCompile(`^bad flag syntax: (.*)$`), "unknown option $1"},
	{regexp.MustCompile(`^flag needs an argument: -(.)$`), "-$1 needs a value"},
	{regexp.MustCompile(`^flag needs an argument: -(.+)$`), "--$1 needs a value"},
	{regexp.MustCompile(`^invalid boolean value (".*") for -(.+): parse error$`), "invalid value $1 for --$2: want true or false"},
	{regexp.MustCompile(`^invalid value (".*") for flag -(refresh|.*-interval): parse error$`), "invalid value $1 for --$2: want 10s, 10m"},
	{regexp.MustCompile(`^invalid value (".*") for flag -(.+): parse error$`), "invalid value $1 for --$2: want a number"},
	{regexp.MustCompile(`^invalid value (".*") for flag -(.): (.*)$`), "invalid value $1 for -$2: $3"},
	{regexp.MustCompile(`^invalid value (".*") for flag -(.+?): (.*)$`), "invalid value $1 for --$2: $3"},
}

// plainError converts an error of package flag to the form of the program's other errors. typed is
// the argument with the error.
func plainError(err error, typed string) error {
	text := err.Error()
	for _, e := range flagErrors {
		if !e.form.MatchString(text) {
			continue
		}
		option, _, _ := strings.Cut(typed, "=")
		text = e.form.ReplaceAllString(text, strings.ReplaceAll(e.plain, "${typed}", strings.ReplaceAll(option, "$", "$$")))
		break
	}
	return errors.New(text)
}

// validate refuses values and combinations that cannot work.
func (o *Options) validate() error {
	switch {
	case o.Role != "" && o.Role != RoleParser:
		return fmt.Errorf("no such role: %q", o.Role)
	case o.Format != FormatJSON && o.Format != FormatText:
		return fmt.Errorf("invalid value %.32q for --format: want json or text", o.Format)
	case o.MetricsFile != "" && !strings.HasSuffix(o.MetricsFile, ".prom"):
		return fmt.Errorf("invalid value %q for --metrics-file: the collector reads files that end in .prom", o.MetricsFile)
	case o.StatsInterval != 0 && o.StatsInterval < time.Second:
		return fmt.Errorf("invalid value %v for --stats-interval: want at least 1s", o.StatsInterval)
	case o.Refresh < time.Second:
		return fmt.Errorf("invalid value %v for --refresh: want at least 1s", o.Refresh)
	case o.MovedInterval < 0 || o.MovedInterval > MaxMovedInterval:
		return fmt.Errorf("invalid value %v for --moved-interval: want 0 to %v", o.MovedInterval, MaxMovedInterval)
	case o.MaxRate < 0 || o.MaxRate > maxMaxRate:
		return fmt.Errorf("invalid value %d for --max-rate: want 0 to %d", o.MaxRate, maxMaxRate)
	case o.Verbose && o.MaxRate > 0 && o.MaxRate < MinVerboseRate:
		return fmt.Errorf("invalid value %d for --max-rate: want at least %d with -v, for the lines of one packet", o.MaxRate, MinVerboseRate)
	case o.MaxBindings < 1 || o.MaxBindings > MaxBindings:
		return fmt.Errorf("invalid value %d for --max-bindings: want 1 to %d", o.MaxBindings, MaxBindings)
	case o.Input != "" && len(o.Interfaces) > 0 && FileHint(o.Interfaces[0]) != "":
		return fmt.Errorf("one FILE only: %s is another one", o.Interfaces[0])
	case o.Input != "" && len(o.Interfaces) > 0:
		return errors.New("-i and INTERFACE cannot be combined")
	case o.Input != "" && o.Check:
		return errors.New("-i and --check cannot be combined")
	case o.Input != "" && len(o.Match) > 0:
		return errors.New("-i and --match cannot be combined")
	case o.Pool < 0 || o.Pool > capture.MaxSockets:
		return fmt.Errorf("invalid value %d for --pool", o.Pool)
	case o.Input == "" && len(o.Interfaces) == 0 && len(o.Match) == 0 && o.Role == "" && !o.Check:
		return errors.New("no INTERFACE given")
	case len(o.Interfaces) > capture.MaxSockets:
		return fmt.Errorf("%d INTERFACEs given: at most %d are possible", len(o.Interfaces), capture.MaxSockets)
	}
	for i, name := range o.Interfaces {
		if err := checkName(name); err != nil {
			if hint := FileHint(name); hint != "" {
				return &Failure{ExitUsage, err, hint}
			}
			return err
		}
		if slices.Contains(o.Interfaces[:i], name) {
			return fmt.Errorf("%s: given twice", name)
		}
	}
	return nil
}

// checkName refuses a text that can be neither the name of an interface (dev_valid_name in
// net/core/dev.c) nor an alternative name (by the rules of ip(8)).
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the name of an interface is empty")
	case len(name) > MaxName:
		return fmt.Errorf("%.32q: longer than the name of an interface can be (%d bytes)", name, MaxName)
	case name == "." || name == ".." || strings.ContainsFunc(name, func(r rune) bool {
		return r == '/' || r == 0 || unicode.IsSpace(r)
	}):
		return fmt.Errorf("%q: invalid interface name", name)
	}
	return nil
}

// escaped is a byte of a unit's instance as systemd-escape(1) prints it.
var escaped = regexp.MustCompile(`\\x[0-9a-f]{2}`)

// unescapeInstance returns the interface for the instance name of a systemd unit. A dash stays a
// dash, unlike in systemd's own %I, where it becomes the slash of a path.
func unescapeInstance(s string) string {
	return escaped.ReplaceAllStringFunc(s, func(hex string) string {
		b, _ := strconv.ParseUint(hex[2:], 16, 8) // two digits
		return string([]byte{byte(b)})
	})
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

// ParserArgs returns the argument list of the parser for these options.
func (o *Options) ParserArgs() []string {
	args := []string{"maas-netmon", "--role", RoleParser, "--check=" + strconv.FormatBool(o.Check),
		"--verbose=" + strconv.FormatBool(o.Verbose), "--ipv6=" + strconv.FormatBool(o.IPv6),
		"--format", o.Format, "--colour=" + strconv.FormatBool(o.Colour), "--zone", o.Zone, "--journal=" + strconv.FormatBool(o.Journal),
		"--moved-interval", o.MovedInterval.String(), "--max-rate", strconv.Itoa(o.MaxRate),
		"--refresh", o.Refresh.String(), "--max-bindings", strconv.Itoa(o.MaxBindings), "--pool", strconv.Itoa(o.Pool)}
	if o.Input != "" {
		return append(args, "--input-file", o.Input)
	}
	return append(append(args, "--"), o.Interfaces...)
}
