package privsep

// extern int privsep_stdout_flags;
import "C"

import (
	"errors"

	"golang.org/x/sys/unix"
)

// CheckStdout fails when the program was started with its standard output closed or
// not open for writing: all that it has to say would be lost.
func CheckStdout() error {
	switch flags := C.privsep_stdout_flags; {
	case flags < 0:
		return errors.New("standard output is closed")
	case flags&unix.O_ACCMODE == unix.O_RDONLY:
		// Also what glibc opens there for a file-capable program.
		return errors.New("standard output is not open for writing")
	}
	return nil
}
