package monitor

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"maas-netmon/internal/cli"
	"maas-netmon/linkmon"
	"maas-netmon/sandbox"
)

// Check implements --check: it brings both processes up in the same way as Run, without watching,
// and prints the results, one per line. Without CAP_NET_RAW it continues without sockets as far as
// possible.
func Check(o cli.Options) error {
	if err := checkLimits(len(o.Interfaces)); err != nil {
		return err
	}
	signals := catchSignals()
	var r checkReport
	r.capability()
	matching := r.interfaces(o)
	if r.problem != nil {
		o.Interfaces, o.Match = nil, nil
	}
	p, err := prepare(o)
	if stdoutErr := cli.CheckStdout(); stdoutErr != nil {
		return stdoutErr
	}
	if err != nil {
		if cli.StatusOf(err) == cli.ExitUsage {
			return err
		}
		r.complain(err)
		p.ifaces, o.Interfaces, o.Match = nil, nil, nil
	}
	fmt.Printf("maas-netmon %s, %s\n%s", cli.BuildVersion(), kernel(), r.text.String())
	printPrepared(p)
	if p.links == nil {
		if p.links, err = openLinks(); err != nil {
			return err
		}
	}
	m := newMonitor(p.ifaces, p.links, nil, signals)
	if _, size := m.poolUse(); size > 0 {
		fmt.Printf("ok  --match: %d of %d packet sockets will be in use\n", min(matching, size), size)
	}
	m.userZero = p.userZero
	if err := m.run(o); err != nil {
		return err
	}
	if r.problem != nil {
		fmt.Println("It would not run.")
		return cli.ErrAlreadyReported(cli.StatusOf(r.problem))
	}
	fmt.Println("It would run.")
	return nil
}

// A checkReport collects the results of --check from before the privileges are dropped. It is
// printed afterwards, because the reader of standard output could block a process that still has a
// privilege.
type checkReport struct {
	text    strings.Builder
	problem error // the first error
}

// complain adds an error.
func (r *checkReport) complain(err error) {
	fmt.Fprintf(&r.text, "no  %s\n", cli.Printable(err.Error()))
	var f *cli.Failure
	if errors.As(err, &f) && f.Hint != "" {
		fmt.Fprintf(&r.text, "    hint: %s\n", cli.Printable(f.Hint))
	}
	if r.problem == nil {
		r.problem = err
	}
}

// capability adds whether the process has CAP_NET_RAW.
func (r *checkReport) capability() {
	if err := sandbox.WithCapability(cap.NET_RAW, func() error { return nil }); err != nil {
		r.complain(noCapability(err))
		return
	}
	r.text.WriteString("ok  CAP_NET_RAW: permitted\n")
}

// interfaces adds the interfaces of the command line and of --match, and returns how many match.
func (r *checkReport) interfaces(o cli.Options) (matching int) {
	all, err := listInterfaces()
	if err != nil {
		r.complain(err)
	}
	for _, name := range o.Interfaces {
		l, err := findInterface(all, name)
		switch {
		case o.Wait && errors.Is(err, errNoInterface):
			fmt.Fprintf(&r.text, "ok  %s: is not there yet; frames will come when it is\n", name)
		case err != nil:
			r.complain(err)
		default:
			fmt.Fprintf(&r.text, "ok  %s: %s\n", name, state(l))
		}
	}
	for _, l := range all {
		if name := matchedName(o.Match, l); name != "" {
			matching++
			fmt.Fprintf(&r.text, "ok  %s: %s\n", name, state(l))
		}
	}
	return matching
}

// printPrepared prints the results of prepare.
func printPrepared(p prepared) {
	for _, f := range p.ifaces {
		if !f.pooled {
			fmt.Printf("ok  %s: packet socket, filter locked, ring\n", f.name)
		}
	}
	if p.staysRoot != nil {
		fmt.Printf("--  stays user 0, without a capability: %s\n", cli.Printable(p.staysRoot.Error()))
	}
}

// printLayers prints the layers of both processes' confinement.
func (m *monitor) printLayers() {
	s := m.confinement.inspection
	fmt.Printf("ok  parser: process %d, user %s, group %s, each of %d threads looked at from outside\n",
		m.child.Pid(), s.Uid, s.Gid, s.Threads)
	fmt.Printf("ok  parser: no capability; no_new_privs; bounding set %s\n", s.Bounding)
	fmt.Printf("ok  parser: not dumpable\n")
	fmt.Printf("ok  parser: at most %d MiB of address space\n", s.AddressSpace>>20)
	fmt.Printf("ok  parser: seccomp, %s when looked at, one more before the first frame\n", count(s.Filters, "filter"))
	printOptional("parser", m.confinement.parser)
	fmt.Printf("ok  monitor: no capability; no_new_privs; not dumpable; seccomp\n")
	printOptional("monitor", m.confinement.self)
}

// count returns a number with its noun. n is empty if the kernel does not report the number.
func count(n, what string) string {
	switch n {
	case "":
		return "a " + what
	case "1":
		return "1 " + what
	}
	return n + " " + what + "s"
}

// printOptional prints the layers that a kernel may lack.
func printOptional(process string, l sandbox.Layers) {
	if l.Landlock > 0 {
		fmt.Printf("ok  %s: Landlock, ABI %d\n", process, l.Landlock)
	} else {
		fmt.Printf("--  %s: no Landlock: it takes Linux 5.13, CONFIG_SECURITY_LANDLOCK, and landlock in the kernel's lsm= list\n", process)
	}
	if l.MDWE {
		fmt.Printf("ok  %s: no memory becomes executable (PR_SET_MDWE)\n", process)
	} else {
		fmt.Printf("--  %s: no PR_SET_MDWE: it takes Linux 6.3; seccomp refuses executable memory all the same\n", process)
	}
}

// kernel returns the kernel's name, release and machine.
func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return runtime.GOOS
	}
	return fmt.Sprintf("%s %s %s", unix.ByteSliceToString(u.Sysname[:]),
		unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:]))
}

// listInterfaces returns the interfaces that exist.
func listInterfaces() ([]linkmon.Link, error) {
	lister, err := linkmon.OpenLister()
	if err != nil {
		return nil, err
	}
	all, err := lister.List()
	return all.Links, errors.Join(err, lister.Close())
}

// state describes an interface.
func state(l linkmon.Link) string {
	switch {
	case l.Running:
		return "is up"
	case l.Up:
		return "is up, but has no carrier"
	}
	return "is down; frames will come when it is up"
}
