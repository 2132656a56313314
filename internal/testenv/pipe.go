package testenv

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// FullPipe returns the ends of a pipe that is full: a write blocks until the pipe is read.
func FullPipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	Must(t, unix.Pipe2(fds[:], unix.O_CLOEXEC))
	r, w = os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	t.Cleanup(func() { r.Close(); w.Close() })
	// The capacity of the pipe (F_GETPIPE_SZ, pipe(7)).
	size, err := unix.FcntlInt(uintptr(fds[1]), unix.F_GETPIPE_SZ, 0)
	Must(t, err)
	_, err = w.Write(make([]byte, size))
	Must(t, err)
	return r, w
}

// Wake returns a descriptor to wait for, and a function that makes it readable.
func Wake(t testing.TB) (fd int, wake func()) {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	Must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd, func() {
		_, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		Must(t, err)
	}
}
