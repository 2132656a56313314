// Package sandbox defines what a confined process is, and confines the caller.
//
// Two kinds of process use it. The monitor starts with CAP_NET_RAW: it raises the
// capability with [WithCapability] for the one call that needs it, gives up every
// privilege with [Drop], checks the parser with [Inspect], and confines itself with
// [ConfineMonitor]. The parser starts without a privilege and calls [ConfineParser]
// before it is given anything to read.
//
// Every layer holds for all threads, later ones included. Capabilities,
// no_new_privs and seccomp are attributes of a thread on Linux, so a plain
// system call would leave the other threads of the Go runtime as they are: the
// first two go through libcap's psx, which runs the call on each thread, and
// seccomp through SECCOMP_FILTER_FLAG_TSYNC. Dumpable and memory-deny-write-execute
// belong to the address space, resource limits to the process.
//
// The package does not know what is being protected or how the processes talk.
// Nothing here is safe for concurrent use.
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

// Layers tells which of the layers that a kernel may lack are in force. The others
// (empty capabilities, no_new_privs, not dumpable, seccomp) are never optional.
type Layers struct {
	MDWE     bool // PR_SET_MDWE, since Linux 6.3
	Landlock int  // the ABI that is enforced, 0 for none; since Linux 5.13
}

// A ParserGrant names what a confined parser may still use. Each descriptor is allowed by
// its number and everything else is refused, so a number that is not listed stays
// out of reach whatever it refers to later.
type ParserGrant struct {
	// Write lists the descriptors that may be written. It must not name a packet
	// socket: write(2) on one sends a frame.
	Write []int
	// Receive lists the sockets that may be received from, with recvmsg(2) until
	// [Confined.Tighten] and with read(2) from then on too.
	Receive []int
	// Sockets is the number of packet sockets that the process will be passed, Files the
	// number of files that follow them, which it may read. It can hold no other
	// descriptors than these and those that it has.
	Sockets, Files int
	// Memory is the number of bytes by which the process may grow: its heap, the stacks of
	// threads and the rings of sockets.
	Memory uint64
}

// A MonitorGrant names what a confined monitor may still use, like [ParserGrant].
type MonitorGrant struct {
	// Write lists the descriptors that may be written with write(2), Receive the sockets
	// that may be received from with recvmsg(2), Send those that may be sent to with
	// sendmsg(2), and Bind those that may be bound again with bind(2)
	// and asked with getsockname(2) what they are bound to.
	Write, Receive, Send, Bind []int
	// Rewrite lists files whose content may be replaced, Directory the one directory,
	// open with O_PATH, in which two files may exchange their names and a file be
	// removed; 0 for none.
	Rewrite   []int
	Directory int
	// Child is the pidfd of the process that may be signalled.
	Child int
	// KillPID is its process ID where it is killed by kill(2) instead, 0 otherwise.
	KillPID int
}

// ErrNoCapability is returned by WithCapability when the permitted set lacks the capability.
var ErrNoCapability = errors.New("capability not permitted")

// ClearEffective empties the effective capability set on all threads and keeps the permitted
// one: from here on a privilege is used only inside [WithCapability].
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

// WithCapability runs f with the capability v in the effective set, and with nothing else in
// it. It returns [ErrNoCapability] without calling f when v is not permitted.
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

// Drop gives up every capability and sets no_new_privs, on all threads, permanently.
// With CAP_SETPCAP (started as root) it also empties the bounding and ambient
// sets and locks the securebits, so that user 0 has no special rights
// any more (capabilities(7)).
func Drop() error {
	setpcap, err := cap.GetProc().GetFlag(cap.Permitted, cap.SETPCAP)
	if err != nil {
		return err
	}
	if setpcap {
		// A security module may refuse the use of a capability that is permitted, as AppArmor does
		// in a snap. no_new_privs, below, is enough to gain nothing.
		if err := cap.ModeNoPriv.Set(); err != nil && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("drop bounding set: %w", err)
		}
	}
	// The ambient set goes with the permitted one (capabilities(7)).
	if err := cap.NewSet().SetProc(); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	// Without it the exec of a file that has a capability would give it back.
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return nil
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

// SetUndumpable makes the process not dumpable: another process of the same user can then
// neither take a descriptor out of it (pidfd_getfd(2)), nor trace it, nor read its
// memory (PR_SET_DUMPABLE(2const)). An exec undoes it.
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

// ConfineParser confines the calling process, which needs no privilege for it, and gives
// up: capabilities, files, sockets, new programs, other processes, executable
// memory, and every system call that is not in the table in rules.go. The process can
// still be passed packet sockets and files, map the sockets, and then call
// [Confined.Tighten].
// ConfineParser must be called before the process is given anything. An error leaves the
// process half confined: it must end.
func ConfineParser(g ParserGrant) (*Confined, error) {
	c, err := confineWithoutSeccomp(g)
	if err != nil {
		return nil, err
	}
	return c, load(c.first)
}

// confineWithoutSeccomp is ConfineParser without its last layer. Seccomp decides before
// the other layers, so a test can see these at work only without it.
func confineWithoutSeccomp(g ParserGrant) (*Confined, error) {
	c := &Confined{}
	forceLazyInit()

	// First, so that no other process can reach in from here on.
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
	// Landlock has needed two for a moment.
	if err := limit("RLIMIT_NOFILE", unix.RLIMIT_NOFILE, uint64(len(descriptors)+len(passed))); err != nil {
		return nil, err
	}
	return c, nil
}

// Tighten gives up what only the hand-over needed: receiving a descriptor, mapping one,
// and loading a filter. From here on the process can make only the system calls that a
// frame, a line and the Go runtime need.
func (c *Confined) Tighten() error { return load(c.reader) }

// limitMemory limits the memory of the process to what it has and growth. RLIMIT_DATA
// alone is no bound: it does not count a mapping that has been written and is read-only now.
// RLIMIT_AS counts each mapping whatever it is used for. It includes more than 1 GiB of
// address space that the Go runtime reserves and hardly uses, so RLIMIT_DATA, which does
// not include that, is the first to stop a defect. Page tables are in neither: a mapping
// of one page can take three more (mmap(2), "vm.max_map_count").
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

// limit sets both limits of a resource (getrlimit(2)), or leaves a lower one that the
// administrator has set.
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

// ConfineMonitor confines the calling process for the rest of its life like
// [ConfineParser] does, by its own table. The privileges must be gone already (see [Drop]).
func ConfineMonitor(g MonitorGrant) (Layers, error) {
	layers, rules, err := confineMonitorWithoutSeccomp(g)
	if err != nil {
		return layers, err
	}
	return layers, load(rules)
}

// confineMonitorWithoutSeccomp is ConfineMonitor without its last layer. It returns the table for
// it.
func confineMonitorWithoutSeccomp(g MonitorGrant) (layers Layers, table []rule, err error) {
	forceLazyInit()
	if err := SetUndumpable(); err != nil {
		return layers, nil, err
	}
	descriptors, err := openDescriptors()
	if err != nil {
		return layers, nil, err
	}
	// The child was started before the Landlock domain exists and is outside of it. If
	// signals were scoped, the monitor could not kill it. seccomp names the one process
	// that may be signalled.
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

// openDescriptors returns the target of each link in /proc/self/fd by its number: what
// the process has open.
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
		// The descriptor that the directory itself was read by is gone by now.
		if kind, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			found[fd] = kind
		}
	}
	return found, nil
}

// eventfds returns the descriptors that are an eventfd: the Go runtime has one to wake
// its netpoller, under a number that is not known in advance.
func eventfds(open map[int]string) []int {
	var found []int
	for fd, kind := range open {
		if kind == "anon_inode:[eventfd]" {
			found = append(found, fd)
		}
	}
	return found
}

// unused returns the numbers that the next n descriptors will have: the kernel takes the
// lowest that is free (open(2)).
func unused(open map[int]string, n int) []int {
	var found []int
	for fd := 0; len(found) < n; fd++ {
		if _, used := open[fd]; !used {
			found = append(found, fd)
		}
	}
	return found
}

// restrict applies the layers that a kernel may lack, as far as this one has them.
func restrict(layers *Layers, config landlock.Config, rules []landlock.Rule) error {
	// Memory cannot become executable later (PR_SET_MDWE(2const)).
	switch err := unix.Prctl(unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0); err {
	case nil:
		layers.MDWE = true
	case unix.EINVAL: // before Linux 6.3
	default:
		return fmt.Errorf("set memory-deny-write-execute: %w", err)
	}

	// Every right in config that the kernel knows is denied, except for what the rules
	// allow; the parser has no rules. (Before ABI 8 go-landlock adds one of its own: to
	// list /proc/PID/task, which psx reads while it applies the domain to each thread.)
	// Descriptors that are open already are not affected.
	if err := config.BestEffort().Restrict(rules...); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	if abi, err := ll.LandlockGetABIVersion(); err == nil {
		layers.Landlock = abi
	}
	return nil
}

// forceLazyInit has the Go runtime and glibc do now what they would otherwise do later
// with a system call that a confined process must not make, and has faults end the
// process.
func forceLazyInit() {
	dieOfFaults()
	nameViolations()
	// The first timer makes the netpoller, with an epoll instance and an eventfd. Without
	// this one it would be the heap scavenger's, seconds after the first large collection.
	time.AfterFunc(time.Hour, func() {}).Stop()
	// time.Now().Zone() loads the zone from /etc/localtime.
	_, _ = time.Now().Zone()
	// Naming the number switches off the runtime's updater, which reads cgroup
	// files and asks for the affinity mask from time to time.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
}
