package cli

import (
	"errors"

	"maas-netmon/privsep"
)

// CheckStdout fails when what the program prints would be lost.
func CheckStdout() error {
	err := privsep.CheckStdout()
	if errors.Is(err, privsep.ErrReplaced) {
		err = &Failure{ExitFailure, err, "put cat between: maas-netmon ... | cat >FILE"}
	}
	return err
}
