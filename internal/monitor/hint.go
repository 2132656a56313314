package monitor

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"maas-netmon/internal/cli"
	"maas-netmon/privsep"
	"maas-netmon/sandbox"
)

// noCapability returns the error for a start without CAP_NET_RAW, or with one that has no effect.
// Its hint names the cause. It must be called before [sandbox.Drop], which changes the state that
// it reads. err is the error from the attempt to use the capability.
func noCapability(err error) error {
	f := &cli.Failure{Status: cli.ExitFailure, Err: errors.New("CAP_NET_RAW is missing: no packet socket can be opened")}
	if !errors.Is(err, sandbox.ErrNoCapability) {
		f.Err = errors.New("CAP_NET_RAW is there, but a packet socket is refused")
	}
	f.Hint = capabilityHint(errors.Is(err, sandbox.ErrNoCapability))
	return f
}

// capabilityHint finds out why CAP_NET_RAW is missing, or has no effect.
func capabilityHint(missing bool) string {
	switch bounding, _ := cap.GetBound(cap.NET_RAW); {
	case !missing && privsep.InUserNamespace():
		return "the capability is that of a user namespace, and the network namespace belongs to another one"
	case !missing:
		return "a security module or an inherited seccomp filter refuses packet sockets"
	case !bounding:
		return "CAP_NET_RAW is not in the bounding set: add it to CapabilityBoundingSet= in a systemd unit, or --cap-add NET_RAW to a container"
	case os.Getuid() == 0:
		return "started as root without CAP_NET_RAW: add it to the capabilities that root is started with"
	}
	exe, err := os.Executable()
	if err != nil {
		exe = "/usr/sbin/maas-netmon"
	}
	const self = "/proc/self/exe"
	n, err := unix.Getxattr(self, "security.capability", nil)
	if err == unix.EOVERFLOW {
		return "a file's capability of another user namespace has no effect in this one"
	}
	if err != nil || n == 0 {
		return "sudo setcap cap_net_raw=p " + exe
	}
	// The file has a capability that did not take effect.
	var fs unix.Statfs_t
	noNewPrivs, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	switch {
	case err == nil && noNewPrivs == 1:
		return "no_new_privs was set before the start, so the file's capability has no effect: " +
			"use AmbientCapabilities=CAP_NET_RAW in a systemd unit, or start it without no_new_privs"
	case unix.Statfs(self, &fs) == nil && fs.Flags&unix.ST_NOSUID != 0:
		return fmt.Sprintf("%s is on a file system that is mounted nosuid, where a file's capability has no effect: install it elsewhere", exe)
	}
	return "the file's capabilities are not those that are needed, or it is being traced: sudo setcap cap_net_raw=p " + exe
}
