package attack

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

const exhaustion = "take the memory of the machine"

// exhaustions allocate memory until the kernel refuses more, in each way that a limit might not
// count, or until they have more than [MaxMemory]. They write at most the first page of a mapping
// and release everything, to save the memory of the test machine; the limit does not depend on
// whether the rest is written. They report the amount that they could hold:
//
//	attack: NAME holds N MiB
//
// The monitor has no limit, because it reads no untrusted input.
var exhaustions = []Act{
	takes("memory that is written", Done, held{size: 16 << 20, protection: writable, flags: private}),
	takes("memory that is written, then read-only", Done, held{size: 16 << 20, protection: writable, flags: private, then: protect}),
	takes("memory that is read-only", Done, held{size: 64 << 20, protection: unix.PROT_READ, flags: private}),
	takes("memory without access", Done, held{size: 64 << 20, protection: unix.PROT_NONE, flags: private}),
	takes("memory that is not reserved", Done, held{size: 64 << 20, protection: writable, flags: private | unix.MAP_NORESERVE}),
	takes("memory that the kernel may drop", Whatever, held{size: 16 << 20, protection: writable, flags: unix.MAP_DROPPABLE | unix.MAP_ANONYMOUS}),
	takes("stacks of threads", Done, held{size: 8 << 20, protection: writable, flags: private | unix.MAP_STACK}),
	// One page each, at such distances that none shares a page table: three more pages (those of
	// 4 KiB; larger ones need fewer tables).
	takes("page tables", Whatever, held{size: 4096, protection: writable, flags: private, apart: 1 << 30, tables: 3 * 4096}),
	takes("the program's break", Done, held{then: grow}),
}

const (
	writable = unix.PROT_READ | unix.PROT_WRITE
	private  = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
)

// MaxMemory is more than a parser with a small table may have.
const MaxMemory = 4 << 30

// held is a way to allocate memory.
type held struct {
	size       uintptr // of a mapping
	protection uintptr
	flags      uintptr
	apart      uintptr // distance of the addresses, 0 if the kernel chooses them alone
	tables     uintptr // page tables per mapping
	then       func(address, size uintptr) syscall.Errno
}

// takes is an act that allocates memory.
func takes(name string, unconfined Outcome, h held) Act {
	return Act{exhaustion, name, "ENOMEM", NotTried, unconfined, func(Target) syscall.Errno {
		total, errno := h.take()
		say(fmt.Sprintf("%s holds %d MiB", name, total>>20))
		return errno
	}}
}

// mappings are the mappings that take holds, allocated in advance: at the limit it cannot allocate.
var mappings [1 << 17]uintptr

// take maps memory until the kernel refuses.
func (h held) take() (total uintptr, errno syscall.Errno) {
	n := 0
	for ; total < MaxMemory && n < len(mappings); n++ {
		var address uintptr
		if h.size == 0 {
			if errno = h.then(uintptr(n), 16<<20); errno != 0 {
				break
			}
			total += 16 << 20
			continue
		}
		at := uintptr(0)
		if h.apart != 0 {
			at = 1<<40 + uintptr(n)*h.apart // the kernel takes another one if it is in use
		}
		address, errno = value(unix.SYS_MMAP, at, h.size, h.protection, h.flags, none, 0)
		if errno != 0 {
			break
		}
		mappings[n] = address
		if h.protection&unix.PROT_WRITE != 0 && (h.tables == 0 || n%256 == 0) {
			touch(address)
		}
		if h.then != nil {
			if errno = h.then(address, h.size); errno != 0 {
				break
			}
		}
		total += h.size + h.tables
	}
	for _, address := range mappings[:min(n+1, len(mappings))] {
		if address != 0 {
			_ = raw(unix.SYS_MUNMAP, address, h.size)
		}
	}
	if h.size == 0 {
		_ = grow(0, 0)
	}
	return total, errno
}

// touch makes the kernel write to memory at an address that Go does not manage.
func touch(address uintptr) { _ = raw(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, address) }

func protect(address, size uintptr) syscall.Errno {
	return raw(unix.SYS_MPROTECT, address, size, unix.PROT_READ)
}

// first is the program's break before grow changed it.
var first uintptr

// grow moves the program's break (brk(2)) to n+1 times size above the first; size 0 restores it.
func grow(n, size uintptr) syscall.Errno {
	if first == 0 {
		first, _ = value(unix.SYS_BRK, 0)
	}
	want := first
	if size > 0 {
		want += (n + 1) * size
	}
	if got, _ := value(unix.SYS_BRK, want); got != want {
		return unix.ENOMEM
	}
	return 0
}
