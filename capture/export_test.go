package capture

import (
	"testing"

	"golang.org/x/sys/unix"
)

// UnmapAtEnd unmaps the rings of a reader at the end of the test. Until then the kernel keeps the
// sockets. At the end of a process it would close them one after the other.
func UnmapAtEnd(t *testing.T, r *Reader) {
	t.Cleanup(func() {
		for _, g := range r.rings {
			if err := unix.Munmap(g.slots); err != nil {
				t.Error(err)
			}
		}
	})
}
