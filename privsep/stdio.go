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

// ErrAppArmor is wrapped by the errors of [CheckStdin] and [CheckStdout] if AppArmor has, or may
// have, removed the file.
//
// At each exec AppArmor removes open files that were opened by a process under a profile and for
// which the profile of the new program has no rule (match_file in security/apparmor/file.c). Older
// kernels (6.1) replace them with a null device of AppArmor. Newer kernels (6.12) close them, which
// looks as if the caller had closed them. Files that an unconfined process opened stay.
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
	wrong      int    // the access mode that is not sufficient
	substitute uint64 // see CheckStdin
}

// CheckStdin fails if the program was started with its standard input closed, not open for reading,
// or removed by AppArmor.
func CheckStdin() error {
	// For a program with a file capability, glibc replaces a closed standard input by /dev/full,
	// opened write-only, and a closed standard output by /dev/null, opened read-only
	// (csu/check_fds.c).
	return stream{unix.Stdin, "standard input", "reading", unix.O_WRONLY, unix.Mkdev(1, 7)}.check()
}

// CheckStdout fails if the program was started with its standard output closed, not open for
// writing, or removed by AppArmor: every line would be lost.
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
// Linux 6.8; earlier kernels do not close files for AppArmor. It needs no rule in the profile,
// unlike /proc/self/attr/current.
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
	// E2BIG: the label is longer than the buffer.
	return errno == unix.E2BIG || errno == 0 && !strings.HasPrefix(unix.ByteSliceToString(answer.text[:]), "unconfined")
}
