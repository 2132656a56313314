package privsep

// extern int privsep_stream_flags[2];
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrAppArmor is what the errors of [CheckStdin] and [CheckStdout] wrap where AppArmor has taken the
// file away, or may have.
//
// AppArmor looks at each exec for files that a process under a profile has opened and for which
// the profile of the new program has no rule (match_file in security/apparmor/file.c). Older
// kernels (6.1) put a null device of AppArmor in their place. On newer ones (6.12) such a file is
// closed, and cannot be told from one that the caller has closed. What an unconfined process has
// opened is passed on.
var ErrAppArmor = errors.New("AppArmor does not let this program have the file")

// Replaced reports whether a descriptor that the program was started with refers to AppArmor's null
// device, see [ErrAppArmor].
func Replaced(fd int) bool {
	var fs unix.Statfs_t
	err := unix.Fstatfs(fd, &fs)
	return err == nil && fs.Type == unix.SECURITYFS_MAGIC
}

// A stream is a standard stream that the program was started with.
type stream struct {
	fd         int
	name, verb string
	wrong      int    // the access mode that does not do
	substitute uint64 // see CheckStdin
}

// CheckStdin fails if the program was started with its standard input closed, not open for
// reading, or taken away by AppArmor.
func CheckStdin() error {
	// For a program with a file capability glibc opens /dev/full, write-only, in the place of a
	// closed standard input, and /dev/null, read-only, in that of a closed standard output
	// (csu/check_fds.c).
	return stream{unix.Stdin, "standard input", "reading", unix.O_WRONLY, unix.Mkdev(1, 7)}.check()
}

// CheckStdout fails if the program was started with its standard output closed, not open for
// writing, or taken away by AppArmor: every line would be lost.
func CheckStdout() error {
	return stream{unix.Stdout, "standard output", "writing", unix.O_RDONLY, unix.Mkdev(1, 3)}.check()
}

func (s stream) check() error {
	flags := int(C.privsep_stream_flags[s.fd])
	closed := flags < 0
	if !closed {
		if Replaced(s.fd) {
			return fmt.Errorf("%s: %w", s.name, ErrAppArmor)
		}
		if flags&unix.O_ACCMODE != s.wrong {
			return nil
		}
		var st unix.Stat_t
		err := unix.Fstat(s.fd, &st)
		if err != nil || uint64(st.Rdev) != s.substitute || !underAppArmor() {
			return fmt.Errorf("%s is not open for %s", s.name, s.verb)
		}
	}
	if underAppArmor() {
		return fmt.Errorf("%s is closed, or %w", s.name, ErrAppArmor)
	}
	return fmt.Errorf("%s is closed", s.name)
}

// underAppArmor reports whether the process is under a profile of AppArmor. The call is new in
// Linux 6.8; before, AppArmor closes no file. It needs no rule in the profile, unlike
// /proc/self/attr/current.
func underAppArmor() bool {
	const (
		attrCurrent  = 100 // include/uapi/linux/lsm.h
		idAppArmor   = 104
		singleModule = 1
	)
	var answer struct { // struct lsm_ctx
		id, flags, len, textLen uint64
		text                    [512]byte
	}
	answer.id = idAppArmor
	size := uint32(unsafe.Sizeof(answer))
	_, _, errno := unix.Syscall6(unix.SYS_LSM_GET_SELF_ATTR, attrCurrent, uintptr(unsafe.Pointer(&answer)),
		uintptr(unsafe.Pointer(&size)), singleModule, 0, 0)
	// E2BIG: a longer label than there is room for.
	return errno == unix.E2BIG || errno == 0 && !strings.HasPrefix(unix.ByteSliceToString(answer.text[:]), "unconfined")
}
