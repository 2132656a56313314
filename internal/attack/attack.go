// Package attack is a table of acts that a confined process must not be able to perform, with the
// expected outcomes.
//
// internal/testbin/attack tries one of them inside the real monitor or the real parser, after the
// last step of their confinement: the code of the process itself tries the act, as after the
// exploit of a parser bug. The same program also tries an act unconfined, in a separate process: an
// act that has no effect there would prove nothing here. integration runs them all and compares
// with the table. The shipped program contains none of this.
//
// An act is named after its first forbidden system call. Unconfined, no act may harm the machine:
// acts that cannot be tried in temporary namespaces have arguments that the kernel refuses.
package attack

import (
	"encoding/binary"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An Outcome is the result of an act: one of the constants, or the name of the errno with which the
// kernel refuses it.
type Outcome string

const (
	NotTried Outcome = ""       // not applicable there
	Killed   Outcome = "killed" // by seccomp: SIGSYS
	Done     Outcome = "done"

	// Only for an unconfined process.
	Sent       Outcome = "sent"         // done, and a frame has gone out
	DoneByRoot Outcome = "done by root" // user 0 of a user namespace may be refused
	Whatever   Outcome = "whatever"     // depends on the kernel; but no signal
)

// An Act is one row of the table.
type Act struct {
	Group string // the purpose of the act
	Name  string // unique

	Parser, Monitor, Unconfined Outcome

	do func(Target) syscall.Errno
}

// A Target has the descriptors and processes that an attacker finds in a process.
type Target struct {
	Packet  int // the packet socket, or the input in its place
	Control int // the socket to the other process
	Netlink int // the monitor's netlink socket; -1 elsewhere
	Peer    int // the other process

	// Standard input, instead, in processes without such descriptors: parser and monitor, except
	// for the input.
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

// Try tries the act with that name, from the calling thread or from a fresh one. It prints to
// standard error before the attempt, and the outcome afterwards if the process still exists:
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

// onFreshThread runs f on a thread that was created after the confinement. At that time there were
// fewer than crowd threads: when that many goroutines have one each, the last one has a new thread.
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

// raw makes a system call without notifying the Go runtime.
func raw(number uintptr, args ...uintptr) syscall.Errno {
	_, errno := value(number, args...)
	return errno
}

// value is raw for a call whose result is needed. A signal of the Go runtime may interrupt the
// call, for example fallocate(2) up to Linux 6.1.
func value(number uintptr, args ...uintptr) (r uintptr, errno syscall.Errno) {
	var a [6]uintptr
	copy(a[:], args)
	for errno = unix.EINTR; errno == unix.EINTR; {
		r, _, errno = syscall.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	}
	return r, errno
}

// kept refers to the objects of keep and text, so that they stay allocated.
var kept []any

// keep returns the address of a copy of v that stays allocated.
func keep[T any](v T) uintptr {
	p := &v
	kept = append(kept, p)
	return uintptr(unsafe.Pointer(p))
}

// text returns the address of a copy of s as a C string that stays allocated.
func text(s string) uintptr {
	b := append([]byte(s), 0)
	kept = append(kept, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

// word is memory at an address that is the same in every process of this executable.
var word [64]byte

func wordAddress() uintptr { return uintptr(unsafe.Pointer(&word)) }

// frame is the frame to transmit: a broadcast of an EtherType for experiments (IEEE 802 9.2.4). Try
// fills in the source.
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

// page is the size of a page of memory: 4 KiB on amd64, and that, 16 or 64 KiB on arm64.
var page = uintptr(unix.Getpagesize())

// Numbers that the table needs as unsigned ones.
const (
	stdout   = 1
	stderr   = 2
	frameLen = uintptr(len(frame))
	cwd      = ^uintptr(99) // AT_FDCWD
	none     = ^uintptr(0)  // -1
	high     = 1 << 32      // above the bits that the kernel uses of a descriptor
	loopback = 1            // its index, in every network namespace
)
