//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Attack is maas-netmon with an attack from inside, for integration's tests: it tries an act of
// internal/attack, named on the command line, in one of the processes after its confinement.
// Everything else is as in the shipped program.
package main

import (
	"fmt"
	"io"
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

// order is the attack that the command line requests, by
//
//	--attack PROCESS/THREAD/NAME
//
// PROCESS is monitor, parser, or unconfined, which is neither. THREAD is main or fresh. NAME is the
// name of an act.
var order struct {
	process, name string
	fresh         bool
}

// parent is the process that started this one, read early: a confined process may not call
// getppid(2).
var parent = os.Getppid()

// attackOption is --attack with its value, for the parser.
var attackOption []string

// init removes the option before the program parses the command line.
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
		fmt.Println("ready")
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

// launchArgs passes the order to the parser.
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

// unrestricted tries the act in this process, which keeps all its privileges, and provides
// everything that the act needs to succeed. It must be started in its own mount namespace.
func unrestricted(name string) error {
	if err := ownTmp(); err != nil {
		return err
	}
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	socket, err := packetsock.Open(ifi, false)
	if err != nil {
		return err
	}
	if err := packetsock.MakeRings([]*packetsock.Socket{socket}, false); err != nil {
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
	ready, err := peer.StdoutPipe()
	if err != nil {
		return err
	}
	if err := peer.Start(); err != nil {
		return err
	}
	// Start returns before the kernel has mapped the program: process_vm_readv would find nothing.
	if _, err := io.ReadFull(ready, make([]byte, len("ready"))); err != nil {
		return fmt.Errorf("idle process: %w", err)
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

// ownTmp mounts an empty /tmp that disappears with the process, and changes to it. It refuses if
// other processes would see the mount.
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
