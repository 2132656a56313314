package monitor

import (
	"errors"
	"testing"

	"maas-netmon/internal/cli"
)

// If the processes stay user 0 of the machine, Landlock is required.
func TestUserZeroNeedsLandlock(t *testing.T) {
	for _, c := range []struct {
		userZero bool
		landlock int
		runs     bool
	}{{false, 0, true}, {false, 7, true}, {true, 7, true}, {true, 1, true}, {true, 0, false}} {
		err := checkUserZero(c.userZero, c.landlock)
		var f *cli.Failure
		if (err == nil) != c.runs || err != nil && (!errors.As(err, &f) || f.Status != cli.ExitConfinement || f.Hint == "") {
			t.Errorf("user 0 %v, Landlock %d: %v", c.userZero, c.landlock, err)
		}
	}
}
