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

// chooseAccounts returns the users to become, in the order in which they are to be tried, or none
// when the program was not started as root. name is the option --user, "" where it was
// not given; inSnap tells that a snap has started the program.
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
		number int // where the name is not in the user data base; 0 for none
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

// snapDaemon returns the number that snapd gives to the user and group snap_daemon
// (snap/system_usernames.go in its source). On Ubuntu Core they are not in /etc/passwd.
func snapDaemon(inSnap bool) int {
	if inSnap {
		return 584788
	}
	return 0
}

// become makes the process the first of the users that it may become. Which ones those are, only
// the attempt tells: a user namespace, a capability that is missing or a seccomp filter can
// be in the way. If there is none, the process stays user 0, and the error of the last
// attempt is returned as refused: without a capability that user is allowed less than most, but
// the files of root are its own. If the user was chosen with --user, that is an error.
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

// isUserZero reports whether the process is user 0 of the machine. In a user namespace that is
// not the initial one, user 0 is an ordinary user outside.
func isUserZero() bool { return os.Getuid() == 0 && !privsep.InUserNamespace() }

// checkUserZero fails where the processes have stayed user 0 and Landlock is not there: only
// seccomp would then protect the files of root.
func checkUserZero(userZero bool, landlock int) error {
	if !userZero || landlock > 0 {
		return nil
	}
	return &cli.Failure{Status: cli.ExitConfinement,
		Err:  errors.New("it would stay user 0 without Landlock, and root's files be protected by seccomp alone"),
		Hint: "let it become another user (CAP_SETUID and CAP_SETGID), or start it as another user with CAP_NET_RAW"}
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

// lookup finds an account by its name or number. A number needs no entry in the user data base:
// its group is that of the same number then.
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
	// The kernel would cut a longer number, to 0 for instance.
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
