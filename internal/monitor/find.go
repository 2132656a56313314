package monitor

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"maas-netmon/capture"
	"maas-netmon/internal/cli"
	"maas-netmon/linkmon"
)

// errNoInterface is returned by findInterface.
var errNoInterface = errors.New("no such network interface")

// findInterface returns the interface that has the name, as its name or as an alternative name.
func findInterface(all []linkmon.Link, name string) (linkmon.Link, error) {
	before, _, at := strings.Cut(name, "@")
	hint := false
	for _, l := range all {
		if l.Called(name) {
			return l, nil
		}
		hint = hint || at && l.Name == before
	}
	if hint {
		return linkmon.Link{}, &cli.Failure{Status: cli.ExitFailure, Err: fmt.Errorf("%s: no such network interface", name),
			Hint: "its name is " + before + ": after the @, ip link prints the interface's peer or the one below it"}
	}
	return linkmon.Link{}, &cli.Failure{Status: cli.ExitFailure, Err: fmt.Errorf("%s: %w", name, errNoInterface), Hint: cli.FileHint(name)}
}

// findInterfaces returns the interfaces of the command line, and the pool for --match. Their
// sockets are not open yet.
func findInterfaces(o cli.Options, all []linkmon.Link) ([]*iface, error) {
	var ifaces []*iface
	for _, name := range o.Interfaces {
		l, err := findInterface(all, name)
		if err != nil && !(o.Wait && errors.Is(err, errNoInterface)) {
			return nil, err
		}
		for _, f := range ifaces {
			if l.Index != 0 && f.bound == l.Index {
				return nil, cli.UsageError(fmt.Errorf("%s and %s are the same interface", f.name, name))
			}
		}
		ifaces = append(ifaces, &iface{name: name, bound: l.Index})
	}
	if len(o.Match) > 0 {
		matching := 0
		for _, l := range all {
			if matchedName(o.Match, l) != "" {
				matching++
			}
		}
		for range poolSize(matching, len(ifaces)) {
			ifaces = append(ifaces, &iface{pooled: true})
		}
	}
	return ifaces, nil
}

// minPool is the smallest pool of sockets.
const minPool = 64

// poolSize returns the number of sockets to open for interfaces that match: twice as many as match
// now, within the limit on all sockets together with the others of the command line.
func poolSize(matching, others int) int {
	return min(max(2*matching, minPool), capture.MaxSockets-others)
}

// matchedName returns the name or the alternative name of an Ethernet interface that matches one of
// the patterns, or "".
func matchedName(patterns []string, l linkmon.Link) string {
	if l.Gone || l.Type != unix.ARPHRD_ETHER {
		return ""
	}
	for _, name := range append([]string{l.Name}, l.Alt...) {
		for _, pattern := range patterns {
			if ok, err := path.Match(pattern, name); ok && err == nil {
				return name
			}
		}
	}
	return ""
}
