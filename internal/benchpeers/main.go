// Benchpeers compares maas-netmon with its alternatives (tcpdump with MAAS's own options, arpwatch,
// addrwatch, MAAS's own program) and with the lower limit, a loop that only empties the same ring,
// on the same frames, in private network namespaces.
//
//	benchpeers [-runs N] [-case NAME,...] [-maas FILE] [-json FILE] [-svg FILE] MAAS-NETMON
//
// It leaves out an alternative that is not in PATH. With -maas it measures MAAS's own program too.
// It needs root, and an otherwise idle machine. It prints each run, then a table of medians and
// ratios with their targets. It does not fail if a target is missed: it only measures.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"maas-netmon/internal/testenv"
)

func main() {
	runs := flag.Int("runs", 5, "how often each measurement is repeated")
	only := flag.String("case", "", "the cases to run, with commas between; all if empty")
	maasBinary := flag.String("maas", "", "MAAS's own maas-netmon, to measure beside the others")
	jsonFile := flag.String("json", "", "the file for the results")
	svgFile := flag.String("svg", "", "the file for the plot")
	drained := flag.String("drain", "", "internal: empty the ring of this interface")
	look := flag.Bool("look", false, "internal: with -drain, look at the frames")
	to := flag.String("sendto", "", "only send, from this interface: for profiles")
	rate := flag.Int("rate", 0, "with -sendto: frames a second, 0 as fast as it can")
	frames := flag.Int("frames", 1_000_000, "with -sendto: how many")
	hosts := flag.Int("hosts", 256, "with -sendto: from how many hosts")
	flag.Parse()
	err := func() error {
		if *to != "" {
			s, err := openSender(*to)
			if err != nil {
				return err
			}
			defer s.close()
			_, err = s.send(0, *hosts, *frames, *rate)
			return err
		}
		if *drained != "" {
			return drain(*drained, *look)
		}
		if flag.NArg() != 1 {
			return errors.New("one argument: the path of maas-netmon")
		}
		return measure(flag.Arg(0), *maasBinary, *runs, *only, *jsonFile, *svgFile)
	}()
	if err != nil {
		fmt.Fprintf(os.Stderr, "benchpeers: %v\n", err)
		os.Exit(1)
	}
}

// A lab is the environment of the measurements: a namespace for the subjects, and another one for
// the sender.
type lab struct {
	dir   string
	rack  *testenv.Namespace
	host  *testenv.Namespace
	send  *sender
	every []*subject
	count int // number of repetitions of a measurement
	runs  int // number of runs up to now
	begun []*run
	results
}

// newLab creates the namespaces, with a link between them, va and vb.
func newLab(dir, binary, maasBinary string, count int) (*lab, error) {
	l := &lab{dir: dir, count: count}
	var err error
	if l.rack, err = testenv.NewNamespace(); err != nil {
		return nil, fmt.Errorf("%w (it needs root)", err)
	}
	if l.host, err = testenv.NewNamespace(); err != nil {
		return nil, err
	}
	_, far, err := l.link("va", "vb")
	if err != nil {
		return nil, err
	}
	// arpwatch does not run without an address.
	if err := l.rack.IP("addr", "add", "10.0.0.1/8", "dev", "va"); err != nil {
		return nil, err
	}
	if err := l.noNames(); err != nil {
		return nil, err
	}
	if err := far.Do(func() (err error) {
		l.send, err = openSender(far.Name)
		return err
	}); err != nil {
		return nil, err
	}
	l.every, l.Missing, err = subjects(dir, binary, maasBinary)
	return l, err
}

// noNames makes every name server fail at once: arpwatch looks up the name of each new address, and
// would wait.
func (l *lab) noNames() error {
	config, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return nil // then there is no name server
	}
	for line := range strings.Lines(string(config)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		ip, err := netip.ParseAddr(words[1])
		if err != nil || !ip.Is4() || ip.IsLoopback() { // those are unreachable here
			continue
		}
		if err := l.rack.IP("route", "add", "unreachable", ip.String()); err != nil {
			return err
		}
	}
	return nil
}

// link creates another link. The kernel sends nothing on it.
func (l *lab) link(near, far string) (a, b testenv.Host, err error) {
	a, b, err = testenv.Connect(l.rack, near, testenv.MACA, l.host, far, testenv.MACB)
	if err != nil {
		return a, b, err
	}
	for _, h := range []testenv.Host{a, b} {
		if err := h.IP("link", "set", h.Name, "arp", "off", "addrgenmode", "none"); err != nil {
			return a, b, err
		}
		if err := h.Up(); err != nil {
			return a, b, err
		}
	}
	return a, b, nil
}

func (l *lab) close() {
	for _, r := range l.begun {
		_ = r.cmd.Process.Kill() // has no effect on one that was stopped
	}
	if l.send != nil {
		l.send.close()
	}
	for _, ns := range []*testenv.Namespace{l.rack, l.host} {
		if ns != nil {
			ns.Close()
		}
	}
}

// named returns the named subjects that are installed.
func (l *lab) named(names ...string) []*subject {
	var found []*subject
	for _, s := range l.every {
		if slices.Contains(names, s.name) {
			found = append(found, s)
		}
	}
	return found
}

// measure runs the cases and writes the results.
func measure(binary, maasBinary string, count int, only, jsonFile, svgFile string) error {
	dir, err := os.MkdirTemp("", "benchpeers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	defer os.Remove(filepath.Join("/dev/shm", filepath.Base(dir))) // see begin
	defer os.Remove(filepath.Join("/dev/shm", sharedLog(dir)))
	// tcpdump and arpwatch become other users.
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	l, err := newLab(dir, binary, maasBinary, count)
	if l != nil {
		defer l.close()
	}
	if err != nil {
		return err
	}
	for _, name := range l.Missing {
		fmt.Printf("skipped, not installed: %s\n", name)
	}
	l.describe(binary)
	for _, c := range cases {
		if only != "" && !slices.Contains(strings.Split(only, ","), c.name) {
			continue
		}
		fmt.Printf("# %s: %s\n", c.name, c.what)
		if err := c.run(l); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	l.printTable(os.Stdout)
	if jsonFile != "" {
		if err := l.writeJSON(jsonFile); err != nil {
			return err
		}
	}
	if svgFile != "" {
		return l.writePlot(svgFile)
	}
	return nil
}
