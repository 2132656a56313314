// Package sandbox confines the calling process, and inspects a confined one.
//
// Two kinds of process use it. The monitor starts with CAP_NET_RAW: it raises the capability with
// [WithCapability] for the one call that needs it, drops every privilege with [Drop], checks the
// parser with [Inspect], and confines itself with [ConfineMonitor]. The parser starts without a
// privilege and calls [ConfineParser] before it receives any input.
//
// Every layer applies to all threads, including later ones. Capabilities, no_new_privs and seccomp
// are attributes of a thread on Linux, so a plain system call would not change the other threads of
// the Go runtime. The first two are set through libcap's psx, which runs the call on each thread,
// and seccomp with SECCOMP_FILTER_FLAG_TSYNC. Dumpable and memory-deny-write-execute belong to the
// address space, resource limits to the process.
//
// The package is independent of the program that it protects, and of the communication between its
// processes. Nothing here is safe for concurrent use. It needs cgo and libseccomp, and only builds
// for Linux on amd64 and arm64.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// Layers lists the optional layers, which a kernel may lack, that are in force. The others (empty
// capabilities, no_new_privs, not dumpable, seccomp) are mandatory.
type Layers struct {
	MDWE     bool // PR_SET_MDWE, since Linux 6.3
	Landlock int  // the ABI that is enforced, 0 for none; since Linux 5.13
}

// A ParserGrant lists the resources that a confined parser may still use. Each descriptor is
// allowed by its number and everything else is refused, so a number that is not listed cannot be
// used, whatever file it refers to later.
type ParserGrant struct {
	// Write lists the descriptors that may be written. It must not name a packet
	// socket: write(2) on one sends a frame.
	Write []int
	// Receive lists the sockets from which the process may receive: with recvmsg(2) only until
	// [Confined.Tighten], with read(2) afterwards too.
	Receive []int
	// Sockets is the number of packet sockets that the process will receive, Files the number of
	// files that follow them, which it may read. It cannot have other descriptors than these and
	// its present ones.
	Sockets, Files int
	// Memory is the number of bytes by which the process may grow, including its heap, the stacks
	// of threads and the rings of sockets.
	Memory uint64
}

// A MonitorGrant lists the resources that a confined monitor may still use, like [ParserGrant].
type MonitorGrant struct {
	// Write lists the descriptors that may be written with write(2), Receive the sockets that may
	// be received from with recvmsg(2), Send those that may be sent to with sendmsg(2), and Bind
	// those that may be bound again with bind(2) and whose address may be read with getsockname(2).
	Write, Receive, Send, Bind []int
	// Memberships reports whether the packet sockets in Bind may add and drop memberships
	// (setsockopt(2), PACKET_ADD_MEMBERSHIP in packet(7)).
	Memberships bool
	// Rewrite lists files whose content may be replaced, Directory the one directory,
	// open with O_PATH, in which two files may exchange their names and a file be
	// removed; 0 for none.
	Rewrite   []int
	Directory int
	// Child is the pidfd of the process that may be signalled.
	Child int
	// KillPID is its process ID if it is killed by kill(2) instead, otherwise 0.
	KillPID int
}

// ErrNoCapability is returned by WithCapability when the permitted set lacks the capability.
var ErrNoCapability = errors.New("capability not permitted")

// ClearEffective empties the effective capability set on all threads and keeps the permitted one:
// from then on a privilege is effective only inside [WithCapability].
func ClearEffective() error {
	set := cap.GetProc()
	if err := set.ClearFlag(cap.Effective); err != nil {
		return err
	}
	if err := set.SetProc(); err != nil {
		return fmt.Errorf("clear effective capabilities: %w", err)
	}
	return nil
}

// WithCapability runs f with only the capability v in the effective set. It returns
// [ErrNoCapability] without calling f if v is not permitted.
func WithCapability(v cap.Value, f func() error) error {
	set := cap.GetProc()
	if ok, err := set.GetFlag(cap.Permitted, v); err != nil || !ok {
		return fmt.Errorf("%w: %v", ErrNoCapability, v)
	}
	if err := set.SetFlag(cap.Effective, true, v); err != nil {
		return err
	}
	if err := set.SetProc(); err != nil {
		return fmt.Errorf("raise %v: %w", v, err)
	}
	return errors.Join(f(), ClearEffective())
}

// Drop drops every capability and sets no_new_privs, on all threads, permanently. With CAP_SETPCAP
// (started as root) it also empties the bounding and ambient sets and locks the securebits, so that
// user 0 has no special rights afterwards (capabilities(7)). A program that has emptied its
// bounding set before it had threads starts faster: Drop needs a call per capability on each.
func Drop() error {
	setpcap, err := cap.GetProc().GetFlag(cap.Permitted, cap.SETPCAP)
	if err != nil {
		return err
	}
	if setpcap {
		mode := cap.ModeNoPriv
		if isBoundingEmpty() {
			mode = cap.ModePure1EInit // all of it but the bounding set
		}
		// A security module may refuse the use of a permitted capability, as AppArmor does in a
		// snap. no_new_privs, below, is sufficient: the process cannot gain a privilege.
		if err := mode.Set(); err != nil && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("drop bounding set: %w", err)
		}
	}
	// This clears the ambient set too (capabilities(7)).
	if err := cap.NewSet().SetProc(); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	// Without it, the exec of a file with a capability would restore the capability.
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return nil
}

// isBoundingEmpty reports whether the bounding set is empty already.
func isBoundingEmpty() bool {
	for c := cap.Value(0); ; c++ {
		switch in, err := cap.GetBound(c); {
		case err != nil: // beyond the last capability
			return c > 0
		case in:
			return false
		}
	}
}

// CheckNoCapability fails when the process has a capability, or could raise one: the effective set
// is a part of the permitted one (capabilities(7)).
func CheckNoCapability() error {
	set := cap.GetProc()
	if d, err := set.Cf(cap.NewSet()); err != nil || d.Has(cap.Permitted) {
		return fmt.Errorf("the parser must not have a capability, but has %q", set)
	}
	return nil
}

// SetUndumpable makes the process not dumpable: another process of the same user can then neither
// take a descriptor from it (pidfd_getfd(2)), nor trace it, nor read its memory
// (PR_SET_DUMPABLE(2const)). An exec undoes it.
func SetUndumpable() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("set not dumpable: %w", err)
	}
	return nil
}

// A Confined is a process that [ConfineParser] has confined.
type Confined struct {
	Layers
	first, reader []rule // tables of the two filters
}

// ConfineParser confines the calling process, and needs no privilege. Afterwards the process has no
// access to capabilities, files, new sockets, new programs, other processes, executable memory, and
// every system call that is not in the table in rules.go. It can still receive packet sockets and
// files, map the sockets, and then call [Confined.Tighten]. Call ConfineParser before the process
// receives any input. After an error the process is only partly confined: it must end.
func ConfineParser(g ParserGrant) (*Confined, error) {
	c, err := confineWithoutSeccomp(g)
	if err != nil {
		return nil, err
	}
	return c, load(c.first)
}

// confineWithoutSeccomp is ConfineParser without its last layer. Seccomp decides before the other
// layers, so a test can observe them only without it.
func confineWithoutSeccomp(g ParserGrant) (*Confined, error) {
	c := &Confined{}
	forceLazyInit()

	// First, so that no other process can access this one from here on.
	if err := SetUndumpable(); err != nil {
		return nil, err
	}
	if err := limit("RLIMIT_CORE", unix.RLIMIT_CORE, 0); err != nil {
		return nil, err
	}
	if err := limit("RLIMIT_MEMLOCK", unix.RLIMIT_MEMLOCK, 0); err != nil {
		return nil, err
	}
	if err := Drop(); err != nil {
		return nil, err
	}
	descriptors, err := openDescriptors()
	if err != nil {
		return nil, err
	}
	events, passed := eventfds(descriptors), unused(descriptors, g.Sockets+g.Files)
	sockets, files := passed[:g.Sockets], passed[g.Sockets:]
	c.first, c.reader = parserRules(g, events, sockets, files), readerRules(g, events, sockets, files)
	if err := limitMemory(g.Memory); err != nil {
		return nil, err
	}
	if err := restrict(&c.Layers, landlock.V11, nil); err != nil {
		return nil, err
	}
	// Landlock needs two descriptors temporarily, so this limit comes after it.
	if err := limit("RLIMIT_NOFILE", unix.RLIMIT_NOFILE, uint64(len(descriptors)+len(passed))); err != nil {
		return nil, err
	}
	return c, nil
}

// Tighten loads the second filter, without the calls that only the hand-over needed: receiving
// descriptors, mapping them, and loading a filter. Afterwards the process can make only the system
// calls that are needed to read frames, to write lines, and by the Go runtime.
func (c *Confined) Tighten() error { return load(c.reader) }

// limitMemory limits the memory of the process to its present size plus growth. RLIMIT_DATA alone
// is not a bound: it does not count a mapping that was written and then made read-only. RLIMIT_AS
// counts every mapping. It includes more than 1 GiB of address space that the Go runtime reserves
// and hardly uses, so RLIMIT_DATA, which does not include that, is reached first. Neither includes
// page tables: a mapping of one page can take three more (mmap(2), "vm.max_map_count").
func limitMemory(growth uint64) error {
	text, err := os.ReadFile("/proc/self/statm") // in pages, proc_pid_statm(5)
	if err != nil {
		return err
	}
	var size, resident, shared, code, unused, data uint64
	if _, err := fmt.Sscan(string(text), &size, &resident, &shared, &code, &unused, &data); err != nil {
		return fmt.Errorf("read statm: %w", err)
	}
	page := uint64(os.Getpagesize())
	return errors.Join(
		limit("RLIMIT_AS", unix.RLIMIT_AS, size*page+growth),
		limit("RLIMIT_DATA", unix.RLIMIT_DATA, data*page+growth))
}

// limit sets both limits of a resource (getrlimit(2)), but keeps a lower limit of the
// administrator.
func limit(name string, resource int, value uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(resource, &now); err != nil {
		return fmt.Errorf("get %s: %w", name, err)
	}
	value = min(value, now.Max)
	if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value}); err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}

// ConfineMonitor permanently confines the calling process like [ConfineParser], with its own table.
// All privileges must be dropped before (see [Drop]).
func ConfineMonitor(g MonitorGrant) (Layers, error) {
	layers, rules, err := confineMonitorWithoutSeccomp(g)
	if err != nil {
		return layers, err
	}
	return layers, load(rules)
}

// confineMonitorWithoutSeccomp is ConfineMonitor without its last layer. It returns the table for
// that layer.
func confineMonitorWithoutSeccomp(g MonitorGrant) (layers Layers, table []rule, err error) {
	forceLazyInit()
	if err := SetUndumpable(); err != nil {
		return layers, nil, err
	}
	descriptors, err := openDescriptors()
	if err != nil {
		return layers, nil, err
	}
	// The child was started before the Landlock domain exists and is outside of it. If Landlock
	// scoped signals, the monitor could not kill the child. seccomp allows signals only to the
	// child instead.
	config := landlock.V11
	config.Scoped &^= ll.ScopeSignal
	var rules []landlock.Rule
	if g.Directory != 0 {
		const names = ll.AccessFSMakeReg | ll.AccessFSRemoveFile
		rules = append(rules, landlock.PathAccess(names, fmt.Sprintf("/proc/self/fd/%d", g.Directory)))
	}
	err = restrict(&layers, config, rules)
	return layers, monitorRules(g, eventfds(descriptors)), err
}

// openDescriptors returns the open descriptors of the process, with the target of each link in
// /proc/self/fd.
func openDescriptors() (map[int]string, error) {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	found := map[int]string{}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, fmt.Errorf("list descriptors: %w", err)
		}
		// Skip the descriptor of the directory itself, which is closed already.
		if kind, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			found[fd] = kind
		}
	}
	return found, nil
}

// eventfds returns the descriptors that are eventfds. The Go runtime has one to wake its netpoller,
// and its number is not known in advance.
func eventfds(open map[int]string) []int {
	var found []int
	for fd, kind := range open {
		if kind == "anon_inode:[eventfd]" {
			found = append(found, fd)
		}
	}
	return found
}

// unused returns the numbers that the next n descriptors will have: the kernel uses the lowest free
// number (open(2)).
func unused(open map[int]string, n int) []int {
	var found []int
	for fd := 0; len(found) < n; fd++ {
		if _, used := open[fd]; !used {
			found = append(found, fd)
		}
	}
	return found
}

// restrict applies the optional layers that this kernel has.
func restrict(layers *Layers, config landlock.Config, rules []landlock.Rule) error {
	// Memory cannot become executable later (PR_SET_MDWE(2const)).
	switch err := unix.Prctl(unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0); err {
	case nil:
		layers.MDWE = true
	case unix.EINVAL: // before Linux 6.3
	default:
		return fmt.Errorf("set memory-deny-write-execute: %w", err)
	}

	// Every right in config that the kernel supports is denied, except for those that the rules
	// allow; the parser has no rules. (Before ABI 8, go-landlock adds a rule: to list
	// /proc/PID/task, which psx reads while it applies the domain to each thread.) Descriptors that
	// are already open are not affected.
	//
	// The rule is for the inode that the directory has now. If the kernel frees the inode to gain
	// memory, the directory gets another one, psx may not read it, and kills the process. An open
	// descriptor keeps it.
	tasks, err := unix.Open(fmt.Sprintf("/proc/%d/task", os.Getpid()), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the list of threads: %w", err)
	}
	defer unix.Close(tasks)
	if err := config.BestEffort().Restrict(rules...); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	if abi, err := ll.LandlockGetABIVersion(); err == nil {
		layers.Landlock = abi
	}
	return nil
}

// forceLazyInit triggers the lazy initialization of the Go runtime and glibc, which would later
// need system calls that a confined process must not make. It also makes faults end the process.
func forceLazyInit() {
	dieOfFaults()
	nameViolations()
	// The first timer creates the netpoller, with an epoll instance and an eventfd. Otherwise that
	// would be the heap scavenger's timer, seconds after the first large collection.
	time.AfterFunc(time.Hour, func() {}).Stop()
	// time.Now().Zone() loads the zone from /etc/localtime.
	_, _ = time.Now().Zone()
	// Setting the number disables the runtime's updater, which periodically reads cgroup files and
	// the affinity mask.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
}
