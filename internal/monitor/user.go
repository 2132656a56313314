package monitor

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"maas-netmon/internal/cli"
	"maas-netmon/privsep"
)

// An account is a user and its primary group.
type account struct {
	name     string
	uid, gid int
}

// chooseUser returns the user to become, or nil when the program was not started as
// root and so stays who it is. name is the option --user, "" where it was not given.
func chooseUser(name string) (*account, error) {
	if os.Geteuid() != 0 && os.Getuid() != 0 {
		if name != "" {
			return nil, cli.UsageError(fmt.Errorf("--user %s: not started as root, it cannot become another user", name))
		}
		return nil, nil
	}
	if name != "" {
		a, err := lookup(name)
		if err == nil {
			err = a.check()
		}
		if err != nil {
			return nil, cli.UsageError(fmt.Errorf("--user %w", err))
		}
		return a, nil
	}
	a, err := lookup("maas-netmon")
	if errors.Is(err, errNoUser) {
		a, err = lookup("nobody")
	}
	if errors.Is(err, errNoUser) {
		a, err = &account{"nobody", 65534, 65534}, nil // the kernel's overflow user
	}
	if err == nil {
		err = a.check()
	}
	if err != nil {
		return nil, &cli.Failure{Status: cli.ExitConfinement, Err: fmt.Errorf("the user to become: %w", err), Hint: "--user NAME chooses another"}
	}
	// In a user namespace that knows user 0 alone (unshare -r), that user is an
	// ordinary one outside, and there is no other to become.
	mapped, err := privsep.Mapped(a.uid)
	if err != nil {
		return nil, cli.Unconfined(err)
	}
	if !mapped {
		return nil, nil
	}
	return a, nil
}

// check refuses what is root by another name, or by its group.
func (a *account) check() error {
	switch {
	case a.uid == 0:
		return fmt.Errorf("%s: is root, who is not to be used", a.name)
	case a.gid == 0:
		return fmt.Errorf("%s: its group is root's, which is not to be used", a.name)
	}
	return nil
}

// errNoUser is returned by lookup.
var errNoUser = errors.New("no such user")

func lookup(name string) (*account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, errNoUser)
	}
	// The kernel would cut a longer number, to 0 for instance.
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%s: uid: %w", name, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%s: gid: %w", name, err)
	}
	return &account{name, int(uid), int(gid)}, nil
}
