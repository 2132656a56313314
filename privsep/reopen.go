package privsep

import (
	"golang.org/x/sys/unix"
)

// ReopenStdout makes standard output non-blocking if it is a terminal or a pipe, without an effect
// on other processes that have it open. The flag belongs to the open file description (open(2)),
// which they share, so descriptor 1 gets its own description through /proc/self/fd. A failure is
// not reported: the caller has no permission to open the file again, a security module refuses,
// there is no /proc, or a FIFO has no reader any more. Then standard output stays as it is.
//
// Call it at the start of the program, before it becomes another user, which might have no
// permission.
func ReopenStdout() {
	var st unix.Stat_t
	if err := unix.Fstat(unix.Stdout, &st); err != nil {
		return
	}
	_, notTerminal := unix.IoctlGetTermios(unix.Stdout, unix.TCGETS)
	if st.Mode&unix.S_IFMT != unix.S_IFIFO && notTerminal != nil {
		return
	}
	// What is not open for reading never becomes the controlling terminal (tty_open in
	// drivers/tty).
	fd, err := unix.Open("/proc/self/fd/1", unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// The parser inherits it.
	_ = unix.Dup3(fd, unix.Stdout, 0)
}
