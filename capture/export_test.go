package capture

import (
	"testing"

	"golang.org/x/sys/unix"
)

// UnmapAtEnd unmaps the rings of a reader with the test. Until then the kernel keeps the sockets,
// and it closes those of a process that ends one after the other.
func UnmapAtEnd(t *testing.T, r *Reader) {
	t.Cleanup(func() {
		for _, g := range r.rings {
			if err := unix.Munmap(g.slots); err != nil {
				t.Error(err)
			}
		}
	})
}
