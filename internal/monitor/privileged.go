// This file has all the code of this package that runs with a privilege: prepare, and the functions
// that it calls.

package monitor

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"maas-netmon/capture/packetsock"
	"maas-netmon/internal/cli"
	"maas-netmon/privsep"
	"maas-netmon/sandbox"
)

// prepared is the result of prepare.
type prepared struct {
	ifaces []*iface
	links  *links // nil for a file
	// staysRoot is the reason why the process is still user 0, or nil.
	staysRoot error
	userZero  bool // see isUserZero
}

// prepare does everything that needs a privilege and then drops every privilege, whether it
// succeeded or not. It opens no file whose name the caller has chosen, and logs nothing.
func prepare(o cli.Options) (prepared, error) {
	p, err := acquire(o)
	if dropErr := sandbox.Drop(); dropErr != nil {
		return prepared{}, cli.Unconfined(dropErr)
	}
	if err == nil && os.Getuid() != 0 {
		if err := privsep.CheckNoRoot(); err != nil {
			return prepared{}, cli.Unconfined(err)
		}
	}
	if err != nil {
		return p, err
	}
	return p, packetsock.MakeRings(sockets(p.ifaces), o.IPv6) // needs no privilege
}

// acquire opens the sockets and, if started as root, becomes another user. Capabilities are in the
// effective set only during the calls that need them.
func acquire(o cli.Options) (p prepared, err error) {
	if err := sandbox.SetUndumpable(); err != nil {
		return p, cli.Unconfined(err)
	}
	if err := sandbox.ClearEffective(); err != nil {
		return p, cli.Unconfined(err)
	}
	if err := privsep.CloseStray(cli.InputFD(o.Input)); err != nil {
		return p, cli.Unconfined(err)
	}
	if err := cli.CheckStdout(); err != nil {
		return p, err
	}
	// Do this before the user changes: the new user might have no permission. It opens only the
	// file that standard output refers to already, and cannot block.
	privsep.ReopenStdout()
	accounts, err := chooseAccounts(o.User, o.Snap != "")
	if err != nil {
		return p, err
	}
	var openErr error
	p.ifaces, p.links, openErr = openSockets(o)
	if p.staysRoot, err = become(accounts, o.User != "", o.Snap != ""); err != nil {
		return p, err
	}
	// A change of the user sets dumpable to the value of fs.suid_dumpable (proc(5)). Clear it
	// again.
	if err := sandbox.SetUndumpable(); err != nil {
		return p, cli.Unconfined(err)
	}
	p.userZero = isUserZero()
	return p, openErr
}

// openSockets subscribes to changes of interfaces, with CAP_NET_ADMIN if the process has it, for a
// longer queue. Then it opens a packet socket for each interface and for the pool. This is the only
// use of CAP_NET_RAW.
func openSockets(o cli.Options) ([]*iface, *links, error) {
	if o.Input != "" {
		return nil, nil, nil
	}
	var links *links
	open := func() (err error) {
		links, err = openLinks()
		return err
	}
	err := sandbox.WithCapability(cap.NET_ADMIN, open)
	if errors.Is(err, sandbox.ErrNoCapability) {
		err = open()
	}
	if err != nil {
		return nil, nil, err
	}
	all, err := links.List()
	if err != nil {
		return nil, links, err
	}
	ifaces, err := findInterfaces(o, all.Links)
	if err != nil || len(ifaces) == 0 { // --check without interfaces
		return nil, links, err
	}
	if err := checkLimits(len(ifaces)); err != nil {
		return nil, links, err
	}
	err = sandbox.WithCapability(cap.NET_RAW, func() error {
		for _, f := range ifaces {
			if f.socket, err = packetsock.Open(&net.Interface{Index: f.bound, Name: f.name}, o.IPv6); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, sandbox.ErrNoCapability) || errors.Is(err, unix.EPERM):
		return nil, links, noCapability(err)
	case errors.Is(err, packetsock.ErrNotEthernet):
		return nil, links, &cli.Failure{Status: cli.ExitNotEthernet, Err: err}
	case err != nil:
		return nil, links, err
	}
	return ifaces, links, nil
}
