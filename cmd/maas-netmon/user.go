package main

import (
	"fmt"
	"os"
	"os/user"
	"strconv"

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
		return nil, nil
	}
	if name != "" {
		a, err := lookup(name)
		if err == nil && a.uid == 0 {
			err = fmt.Errorf("--user %s: is root, who is not to be used", name)
		}
		if err != nil {
			return nil, usageError(err)
		}
		return a, nil
	}
	a, err := lookup("maas-netmon")
	if err != nil {
		a, err = lookup("nobody")
	}
	if err != nil {
		a = &account{"nobody", 65534, 65534} // the kernel's overflow user
	}
	// In a user namespace that knows user 0 alone (unshare -r), that user is an
	// ordinary one outside, and there is no other to become.
	mapped, err := privsep.Mapped(a.uid)
	if err != nil {
		return nil, unconfined(err)
	}
	if !mapped {
		return nil, nil
	}
	return a, nil
}

func lookup(name string) (*account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("--user %s: no such user", name)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, fmt.Errorf("--user %s: uid %q: %w", name, u.Uid, err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, fmt.Errorf("--user %s: gid %q: %w", name, u.Gid, err)
	}
	return &account{name, uid, gid}, nil
}
