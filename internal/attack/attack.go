// Package attack is a table of acts that a confined process must not be able to do, and
// what is to become of each.
//
// A build of the program with the tag attack tries one of them inside the real
// monitor or the real parser, when both are confined as they are for the rest of
// their lives: it is code of the program's own process that tries, as it would be
// after a parser bug. The same build also tries an act unconfined, in a process of
// its own: an act that does nothing there would prove nothing here. integration
// runs them all and reads the table. The shipped program contains none of this.
//
// An act's first system call that its process may not make is the one the
// act is named after. Unconfined, none may harm the machine: what cannot be tried in
// throw-away namespaces is given arguments that the kernel refuses.
package attack

import (
	"encoding/binary"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An Outcome is what becomes of an act: one of the constants, or the name of the errno
// with which the kernel refuses it.
type Outcome string

const (
	NotTried Outcome = ""       // the act makes no sense there
	Killed   Outcome = "killed" // by seccomp: SIGSYS
	Done     Outcome = "done"

	// Of an unconfined process only.
	Sent       Outcome = "sent"         // done, and a frame has gone out
	DoneByRoot Outcome = "done by root" // user 0 of a user namespace may be refused
	Whatever   Outcome = "whatever"     // depends on the kernel; but no signal
)

// An Act is one row of the table.
type Act struct {
	Group string // what it would be good for
	Name  string // unique

	Parser, Monitor, Unconfined Outcome

	do func(Target) syscall.Errno
}

// A Target is what an attacker finds in a process.
type Target struct {
	Packet  int // the packet socket, or the input that is read in its place
	Control int // the socket that leads to the other process
	Netlink int // the monitor's netlink socket; -1 elsewhere
	Peer    int // the other process

	// Standard input, as good as any other number, where there are no such descriptors:
	// in parser and monitor, but for the input.
	File  int // a file with a frame in it
	Pipe  int // the reading end of a pipe with a frame in it
	PidFD int // of the other process
}

// Acts returns the table.
func Acts() []Act {
	return slices.Concat(harmless, transmission, reception, sockets(), files, programs,
		processes, privileges, memory, exhaustions, kernel, legacy)
}

// Source returns the source MAC of the frames that an act transmits.
func Source(name string) [6]byte {
	mac := [6]byte{2, 0xba, 0xd0}
	binary.BigEndian.PutUint16(mac[4:], uint16(slices.IndexFunc(Acts(), named(name))))
	return mac
}

func named(name string) func(Act) bool { return func(a Act) bool { return a.Name == name } }

// Try tries the act with that name, from the calling thread or from a fresh one, and says
// on standard error that it is about to, and what became of it if the process is still
// there:
//
//	attack: NAME: now
//	attack: NAME: EPERM
func Try(name string, fresh bool, t Target) {
	acts := Acts()
	i := slices.IndexFunc(acts, named(name))
	if i < 0 {
		say("no such act: " + name)
		return
	}
	mac := Source(name)
	copy(frame[6:], mac[:])
	try := func() {
		say(name + ": now")
		errno := acts[i].do(t)
		outcome := string(Done)
		if errno != 0 {
			outcome = unix.ErrnoName(errno)
		}
		say(name + ": " + outcome)
	}
	if fresh {
		onFreshThread(try)
	} else {
		try()
	}
}

// say writes a line to standard error, at once.
func say(line string) { _, _ = unix.Write(stderr, []byte("attack: "+line+"\n")) }

// onFreshThread runs f on a thread that was made after the confinement. There were
// fewer than crowd threads then: when that many goroutines hold one each, the last
// has a new one.
func onFreshThread(f func()) {
	const crowd = 32
	holding, done := make(chan bool), make(chan bool)
	for range crowd {
		go func() {
			runtime.LockOSThread()
			holding <- true
			<-done
		}()
		<-holding
	}
	go func() {
		runtime.LockOSThread()
		f()
		close(done)
	}()
	<-done
}

// dies is an act that kills either process.
func dies(group, name string, unconfined Outcome, do func(Target) syscall.Errno) Act {
	return Act{group, name, Killed, Killed, unconfined, do}
}

// sys is an act of one system call with constant arguments.
func sys(number uintptr, args ...uintptr) func(Target) syscall.Errno {
	return func(Target) syscall.Errno { return raw(number, args...) }
}

// raw makes a system call without the Go runtime's knowledge.
func raw(number uintptr, args ...uintptr) syscall.Errno {
	_, errno := value(number, args...)
	return errno
}

// value is raw for a call whose result is needed.
func value(number uintptr, args ...uintptr) (uintptr, syscall.Errno) {
	var a [6]uintptr
	copy(a[:], args)
	r, _, errno := syscall.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	return r, errno
}

// kept holds what keep and text gave the address of.
var kept []any

// keep returns the address of a copy of v that stays.
func keep[T any](v T) uintptr {
	p := &v
	kept = append(kept, p)
	return uintptr(unsafe.Pointer(p))
}

// text returns the address of s as a C string that stays.
func text(s string) uintptr {
	b := append([]byte(s), 0)
	kept = append(kept, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

// word is some memory under an address that is the same in every process of this
// executable.
var word [64]byte

func wordAddress() uintptr { return uintptr(unsafe.Pointer(&word)) }

// frame is what is transmitted: a broadcast of an EtherType for experiments (IEEE 802
// 9.2.4). Try fills in the source.
var frame = [60]byte{
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0, 0, 0, 0, 0, 0,
	0x88, 0xb5,
}

// Frame returns the frame, for files and pipes that an unconfined process sends from.
func Frame(name string) []byte {
	f, mac := frame, Source(name)
	copy(f[6:], mac[:])
	return f[:]
}

func frameAddress() uintptr { return uintptr(unsafe.Pointer(&frame)) }

// frameVector returns the address of a list of one buffer (readv(2)): the frame.
func frameVector() uintptr { return keep(unix.Iovec{Base: &frame[0], Len: uint64(len(frame))}) }

// frameMessage returns the address of a message (sendmsg(2)): the frame.
func frameMessage() uintptr { return keep(message()) }

func message() unix.Msghdr {
	iov := unix.Iovec{Base: &frame[0], Len: uint64(len(frame))}
	return unix.Msghdr{Iov: &iov, Iovlen: 1}
}

// Numbers that the table needs as unsigned ones.
const (
	stdout   = 1
	stderr   = 2
	frameLen = uintptr(len(frame))
	cwd      = ^uintptr(99) // AT_FDCWD
	none     = ^uintptr(0)  // -1
	page     = 4096
	high     = 1 << 32 // above what the kernel takes for a descriptor
	loopback = 1       // its index, in every network namespace
)
