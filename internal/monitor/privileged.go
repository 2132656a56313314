// This file is all that runs in this package while there is a privilege: prepare, and what
// it calls.

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

// prepared is what prepare leaves behind.
type prepared struct {
	ifaces []*iface
	links  *links // nil for a file
	// staysRoot tells why the process is still user 0, if it is.
	staysRoot error
	userZero  bool // see isUserZero
}

// prepare does what needs a privilege and then gives every privilege up, whether it
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
	return p, packetsock.MakeRings(sockets(p.ifaces)) // without a privilege
}

// acquire opens the sockets and, started as root, becomes another user. Capabilities are in
// the effective set only for the calls that need them.
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
	// Before the user changes, who might have no permission. It opens nothing but what standard
	// output is already, and cannot wait for anybody.
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
	// A change of the user makes the process as dumpable as fs.suid_dumpable says (proc(5)).
	if err := sandbox.SetUndumpable(); err != nil {
		return p, cli.Unconfined(err)
	}
	p.userZero = isUserZero()
	return p, openErr
}

// openSockets subscribes to the interfaces, with CAP_NET_ADMIN if there is one, for a longer queue,
// and opens a packet socket for each of them and for the pool. That is the one thing that
// CAP_NET_RAW is used for.
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
	if err != nil || len(ifaces) == 0 { // none for --check
		return nil, links, err
	}
	if err := checkLimits(len(ifaces)); err != nil {
		return nil, links, err
	}
	err = sandbox.WithCapability(cap.NET_RAW, func() error {
		for _, f := range ifaces {
			if f.socket, err = packetsock.Open(&net.Interface{Index: f.bound, Name: f.name}); err != nil {
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
