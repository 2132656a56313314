package cli

import (
	"errors"

	"maas-netmon/privsep"
)

// CheckStdin fails if standard input cannot be read.
func CheckStdin() error {
	err := privsep.CheckStdin()
	switch {
	case errors.Is(err, privsep.ErrAppArmor):
		return &Failure{ExitFailure, err, "use cat FILE | maas-netmon -i -"}
	case err != nil:
		return UsageError(err)
	}
	return nil
}

// CheckStdout fails if standard output cannot be written: every line would be lost.
func CheckStdout() error {
	err := privsep.CheckStdout()
	if errors.Is(err, privsep.ErrAppArmor) {
		err = &Failure{ExitFailure, err, "use maas-netmon ... | cat >FILE"}
	}
	return err
}
