package privsep

// extern int privsep_stdout_flags;
import "C"

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrReplaced is returned by [CheckStdout] for a file that [Replaced] speaks of.
var ErrReplaced = errors.New("AppArmor does not let this program have the file")

// Replaced reports whether AppArmor has put its own null device in the place of a file
// that the program was started with. It does so in each exec, where its profile has no rule
// for a file that a process under a profile had opened; what an unconfined one had opened is
// passed on (match_file in security/apparmor/file.c).
func Replaced(fd int) bool {
	var fs unix.Statfs_t
	err := unix.Fstatfs(fd, &fs)
	return err == nil && fs.Type == unix.SECURITYFS_MAGIC
}

// CheckStdout fails when the program was started with its standard output closed, not
// open for writing or replaced: all that it has to say would be lost.
func CheckStdout() error {
	switch flags := C.privsep_stdout_flags; {
	case flags < 0:
		return errors.New("standard output is closed")
	case flags&unix.O_ACCMODE == unix.O_RDONLY:
		// Also what glibc opens there for a file-capable program.
		return errors.New("standard output is not open for writing")
	}
	if Replaced(unix.Stdout) {
		return fmt.Errorf("standard output: %w", ErrReplaced)
	}
	return nil
}
