package monitor

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/cli"
	"maas-netmon/privsep"
)

// An account is a user and its primary group.
type account struct {
	name     string
	uid, gid int
}

// startedAsRoot reports whether there is another user to become.
func startedAsRoot() bool { return os.Getuid() == 0 || os.Geteuid() == 0 }

// chooseAccounts returns the users to become, in the order to try, or none if the program was not
// started as root. name is the option --user, or "". inSnap means that a snap has started the
// program.
func chooseAccounts(name string, inSnap bool) ([]account, error) {
	if !startedAsRoot() {
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
		return []account{a}, nil
	}
	var found []account
	for _, candidate := range []struct {
		name   string
		number int // used if the name is not in the user database; 0 for none
	}{
		{"maas-netmon", 0},
		{"snap_daemon", snapDaemon(inSnap)},
		{"nobody", 65534}, // the kernel's overflow user
	} {
		a, err := lookup(candidate.name)
		if errors.Is(err, errNoUser) && candidate.number != 0 {
			a, err = account{candidate.name, candidate.number, candidate.number}, nil
		}
		if errors.Is(err, errNoUser) {
			continue
		}
		if err == nil {
			err = a.check()
		}
		if err != nil {
			return nil, &cli.Failure{Status: cli.ExitConfinement,
				Err: fmt.Errorf("the user to become: %w", err), Hint: "--user NAME chooses another"}
		}
		found = append(found, a)
	}
	return found, nil
}

// snapDaemon returns the ID that snapd assigns to the user and group snap_daemon
// (snap/system_usernames.go in its source), or 0 outside a snap. On Ubuntu Core they are not in
// /etc/passwd.
func snapDaemon(inSnap bool) int {
	if inSnap {
		return 584788
	}
	return 0
}

// become changes the user of the process to the first of the accounts for which that succeeds. Only
// the attempt shows whether it does: a user namespace, a missing capability or a seccomp filter can
// prevent it. If all fail, the process stays user 0, and refused is the error of the last attempt.
// Without capabilities user 0 has few rights, but it owns the files of root (see checkUserZero). If
// the user was chosen with --user, a failure is an error.
func become(accounts []account, chosen, inSnap bool) (refused, err error) {
	for _, a := range accounts {
		refused = privsep.Become(a.uid, a.gid)
		if refused == nil {
			return nil, nil
		}
		refused = fmt.Errorf("%s: %w", a.name, refused)
	}
	if refused == nil || !chosen {
		return refused, nil
	}
	f := &cli.Failure{Status: cli.ExitConfinement, Err: fmt.Errorf("--user %w", refused)}
	switch {
	case errors.Is(refused, unix.EINVAL):
		f.Hint = "this user namespace does not have that user"
	case errors.Is(refused, unix.EPERM) && inSnap:
		f.Hint = "snapd lets a snap become snap_daemon only: leave --user out"
	default:
		f.Hint = "it needs CAP_SETUID and CAP_SETGID too; or start it as another user with cap_net_raw"
	}
	return nil, f
}

// isUserZero reports whether the process is user 0 of the machine. In a user namespace other than
// the initial one, user 0 is an ordinary user of the machine.
func isUserZero() bool { return os.Getuid() == 0 && !privsep.InUserNamespace() }

// checkUserZero fails if the processes are still user 0 and there is no Landlock: then only seccomp
// would protect the files of root.
func checkUserZero(userZero bool, landlock int) error {
	if !userZero || landlock > 0 {
		return nil
	}
	return &cli.Failure{Status: cli.ExitConfinement,
		Err:  errors.New("it would stay user 0 without Landlock, and root's files be protected by seccomp alone"),
		Hint: "let it become another user (CAP_SETUID and CAP_SETGID), or start it as another user with CAP_NET_RAW"}
}

// check refuses an account that is root under another name, or whose group is root's.
func (a *account) check() error {
	switch {
	case a.uid == 0:
		return fmt.Errorf("%s: refusing to run as root", a.name)
	case a.gid == 0:
		return fmt.Errorf("%s: refusing to run with root's group", a.name)
	}
	return nil
}

// errNoUser is returned by lookup for an unknown name.
var errNoUser = errors.New("no such user")

// lookup finds an account by its name or number. A number without an entry in the user database is
// valid: its group has the same number.
func lookup(name string) (account, error) {
	u, err := user.Lookup(name)
	number, notNumber := strconv.ParseUint(name, 10, 32)
	if err != nil && notNumber == nil {
		if u, err = user.LookupId(name); err != nil {
			return account{name, int(number), int(number)}, nil
		}
	}
	if err != nil {
		return account{}, fmt.Errorf("%s: %w", name, errNoUser)
	}
	// The kernel truncates a longer number, possibly to 0, which is root.
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("%s: uid: %w", name, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("%s: gid: %w", name, err)
	}
	return account{name, int(uid), int(gid)}, nil
}
