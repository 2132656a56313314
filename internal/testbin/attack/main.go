//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Attack is maas-netmon that attacks itself, for integration's tests: an act of internal/attack,
// named on the command line, is tried in one of the processes when it is confined. All else is as
// shipped.
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"maas-netmon/capture/packetsock"
	"maas-netmon/internal/app"
	"maas-netmon/internal/attack"
	"maas-netmon/internal/cli"
	"maas-netmon/internal/monitor"
	"maas-netmon/internal/parserproc"
	"maas-netmon/privsep"
)

// order is what the command line asks for, by
//
//	--attack PROCESS/THREAD/NAME
//
// PROCESS is monitor, parser, or unconfined, which is neither. THREAD is main or
// fresh. NAME is an act's.
var order struct {
	process, name string
	fresh         bool
}

// parent is the process that started this one: a confined one may not ask.
var parent = os.Getppid()

// attackOption is --attack with its value, to be passed on.
var attackOption []string

// init takes the option away before the program sees it.
func init() {
	i := slices.Index(os.Args, "--attack")
	if i < 0 || i+1 == len(os.Args) {
		return
	}
	attackOption = slices.Clone(os.Args[i : i+2])
	os.Args = slices.Delete(os.Args, i, i+2)
	words := strings.SplitN(attackOption[1], "/", 3)
	for len(words) < 3 {
		words = append(words, "")
	}
	order.process, order.fresh, order.name = words[0], words[1] == "fresh", words[2]
	switch order.process {
	case "unconfined":
		if err := unrestricted(os.Args[1]); err != nil {
			os.Exit(cli.PrintError(os.Stderr, err))
		}
		os.Exit(cli.ExitOK)
	case "idle":
		for {
			_ = unix.Pause()
		}
	}
}

func main() {
	os.Exit(app.Main(os.Args[1:], app.Hooks{
		Monitor: monitor.Hooks{LaunchArgs: launchArgs, Confined: attackMonitor},
		Parser:  attackParser,
	}))
}

// launchArgs passes the order on to the parser.
func launchArgs(args []string) []string { return slices.Insert(args, 1, attackOption...) }

// attackMonitor tries the act in the monitor.
func attackMonitor(h monitor.Handles) {
	if order.process != "monitor" {
		return
	}
	attack.Try(order.name, order.fresh, attack.Target{
		Packet: h.Packet, Control: h.Control, Netlink: h.Netlink, Peer: h.Parser,
	})
}

// attackParser tries the act in the parser.
func attackParser(stage parserproc.Stage, h parserproc.Handles) {
	if order.process != cli.RoleParser || stage != parserproc.Reading {
		return
	}
	t := attack.Target{Packet: h.Passed[0], Control: h.Conn.FD(), Netlink: -1, Peer: parent}
	if h.File {
		t.File = h.Passed[0]
	}
	attack.Try(order.name, order.fresh, t)
}

// unrestricted tries the act in this process, which has all privileges that it was
// started with, and gives it what it needs to succeed. It must be started in a mount
// namespace of its own.
func unrestricted(name string) error {
	if err := ownTmp(); err != nil {
		return err
	}
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	socket, err := packetsock.Open(ifi)
	if err != nil {
		return err
	}
	if err := packetsock.MakeRings([]*packetsock.Socket{socket}); err != nil {
		return err
	}
	if err := socket.Bind(ifi.Index); err != nil {
		return err
	}
	t := attack.Target{Netlink: -1, Packet: socket.FD()}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	t.Control = pair[0]

	peer := exec.Command("/proc/self/exe", "--attack", "idle")
	peer.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, PidFD: &t.PidFD}
	if err := peer.Start(); err != nil {
		return err
	}
	t.Peer = peer.Process.Pid

	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		return err
	}
	t.Pipe = pipe[0]
	if t.File, err = unix.MemfdCreate("frame", 0); err != nil {
		return err
	}
	for _, fd := range []int{pipe[1], t.File} {
		if _, err := unix.Write(fd, attack.Frame(order.name)); err != nil {
			return err
		}
	}
	if _, err := unix.Seek(t.File, 0, unix.SEEK_SET); err != nil {
		return err
	}
	if err := privsep.SetName("unconfined"); err != nil {
		return err
	}
	attack.Try(order.name, order.fresh, t)
	return nil
}

// ownTmp makes an empty /tmp that goes with the process, and goes there. It
// refuses where others would see it.
func ownTmp() error {
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return err
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", parent))
	if err != nil {
		return err
	}
	if ours == theirs {
		return fmt.Errorf("not in a mount namespace of its own")
	}
	if err := unix.Mount("none", "/tmp", "tmpfs", 0, ""); err != nil {
		return err
	}
	return os.Chdir("/tmp")
}
