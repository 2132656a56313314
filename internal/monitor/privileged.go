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

	"maas-netmon/capture"
	"maas-netmon/internal/cli"
	"maas-netmon/privsep"
	"maas-netmon/sandbox"
)

// prepared is what prepare leaves behind.
type prepared struct {
	ifaces []*iface
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
	return p, err
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
	ifaces, openErr := openSockets(o.Interfaces, o.Wait)
	p.ifaces = ifaces
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

// openSockets opens a packet socket for each of the named interfaces, those that are not
// there yet among them if they are to be waited for. It is the one thing that
// CAP_NET_RAW is used for.
func openSockets(names []string, wait bool) ([]*iface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var found []*net.Interface
	for _, name := range names {
		ifi, err := findInterface(all, name)
		if wait && errors.Is(err, errNoInterface) {
			ifi, err = &net.Interface{Name: name}, nil
		}
		if err != nil {
			return nil, err
		}
		found = append(found, ifi)
	}
	if len(found) == 0 {
		return nil, nil // a file, or --check without an interface
	}
	var ifaces []*iface
	slots := capture.RingSlots(len(found))
	err = sandbox.WithCapability(cap.NET_RAW, func() error {
		for i, ifi := range found {
			socket, err := capture.Open(ifi, slots)
			if err != nil {
				return fmt.Errorf("%s: %w", names[i], err)
			}
			ifaces = append(ifaces, &iface{name: names[i], socket: socket, bound: ifi.Index})
		}
		return nil
	})
	switch {
	case errors.Is(err, sandbox.ErrNoCapability) || errors.Is(err, unix.EPERM):
		return nil, noCapability(err)
	case errors.Is(err, capture.ErrNotEthernet):
		return nil, &cli.Failure{Status: cli.ExitNotEthernet, Err: err}
	}
	return ifaces, err
}

// errNoInterface is returned by findInterface.
var errNoInterface = errors.New("no such network interface")

// findInterface returns the interface of a name.
func findInterface(all []net.Interface, name string) (*net.Interface, error) {
	for i := range all {
		if all[i].Name == name {
			return &all[i], nil
		}
	}
	return nil, &cli.Failure{Status: cli.ExitFailure, Err: fmt.Errorf("%s: %w", name, errNoInterface), Hint: cli.FileHint(name)}
}
