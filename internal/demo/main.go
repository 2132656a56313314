// Demo shows maas-netmon at work: it creates a small LAN of network namespaces, where the kernels
// of the hosts send ARP, runs the program on the rack's bridge, and causes events. It changes
// nothing outside the namespaces, and they disappear with it.
//
//	demo PATH-OF-MAAS-NETMON
//
// For a user other than root it runs in a user namespace. It exits with 0 after all kinds of lines
// have appeared.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: demo PATH-OF-MAAS-NETMON")
		os.Exit(2)
	}
	if os.Getuid() != 0 {
		status, err := testenv.Reexec()
		if err != nil {
			fmt.Fprintf(os.Stderr, "demo: this kernel lets only root make namespaces (%v): sudo make demo\n", err)
			status = 1
		}
		os.Exit(status)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

// say prints a comment between the program's lines.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "# "+format+"\n", args...) }

// lan is the rack and its hosts, each with an interface eth0 on the rack's bridge.
type lan struct {
	rack  *testenv.Namespace
	hosts []testenv.Host
}

func makeLAN(n int) (*lan, error) {
	rack, err := testenv.NewNamespace()
	if err != nil {
		return nil, fmt.Errorf("%w (in a container or on Ubuntu 24.04: sudo make demo)", err)
	}
	l := &lan{rack: rack}
	for _, args := range [][]string{
		{"link", "add", "br0", "type", "bridge"},
		{"addr", "add", "10.0.0.1/24", "dev", "br0"},
		{"link", "set", "br0", "up"},
	} {
		if err := rack.IP(args...); err != nil {
			return nil, err
		}
	}
	for i := range n {
		ns, err := testenv.NewNamespace()
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("port%d", i+1)
		port, host, err := testenv.Connect(rack, name, testenv.MAC{2, 0, 0, 1, 0, byte(i + 1)},
			ns, "eth0", testenv.MAC{2, 0, 0, 0, 0, byte(i + 1)})
		if err != nil {
			return nil, err
		}
		if err := rack.IP("link", "set", name, "master", "br0"); err != nil {
			return nil, err
		}
		if err := port.Up(); err != nil {
			return nil, err
		}
		if err := host.Up(fmt.Sprintf("10.0.0.%d/24", 10+i+1)); err != nil {
			return nil, err
		}
		l.hosts = append(l.hosts, host)
	}
	return l, nil
}

// talk makes a host's kernel request the rack's address again, from one of its addresses.
func talk(h testenv.Host, from string) error {
	if err := h.IP("neigh", "flush", "all"); err != nil {
		return err
	}
	return h.Do(func() error {
		conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)},
			&net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 9})
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("hello"))
		return err
	})
}

// talkVLAN makes a host send a frame in VLAN 100: from a real VLAN device, or, if the kernel does
// not support that, a tagged frame that the demo builds.
func talkVLAN(h testenv.Host) error {
	if err := h.IP("link", "add", "link", h.Name, "name", "eth0.100", "type", "vlan", "id", "100"); err == nil {
		say("(on a real VLAN device)")
		if err := (testenv.Host{Namespace: h.Namespace, Name: "eth0.100"}).Up("10.0.100.13/24"); err != nil {
			return err
		}
		return h.Talk("10.0.100.1")
	}
	say("(by a raw tagged frame: this kernel has no 8021q)")
	port, err := h.Open()
	if err != nil {
		return err
	}
	defer port.Close()
	return port.Send(testenv.ARP{SenderMAC: h.MAC, SenderIP: "10.0.100.13", TargetIP: "10.0.100.1",
		Tags: []testenv.Tag{{TPID: 0x8100, TCI: 100}}}.Bytes())
}

// program is maas-netmon on the rack's bridge.
type program struct {
	cmd   *exec.Cmd
	lines *testenv.Stream[testenv.Line]
}

// start starts the program and returns when it reads.
func (l *lan) start(path string) (*program, error) {
	p := &program{
		cmd:   exec.Command(path, "--refresh", "1s", "br0"),
		lines: testenv.NewStream[testenv.Line]("lines"),
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := l.rack.Do(p.cmd.Start); err != nil {
		return nil, err
	}
	ready := make(chan bool, 1)
	go copyLines(stderr, func(line []byte) {
		os.Stderr.Write(line)
		select {
		case ready <- true:
		default:
		}
	})
	go copyLines(stdout, func(line []byte) {
		os.Stdout.Write(line)
		v := testenv.Line{Raw: string(line)}
		if err := json.Unmarshal(line, &v); err == nil {
			p.lines.Publish(v)
		}
	})
	select {
	case <-ready:
		return p, nil
	case <-time.After(testenv.Patience):
		return p, fmt.Errorf("%s does not start", path)
	}
}

// copyLines passes each line, with its newline, to f.
func copyLines(r io.Reader, f func([]byte)) {
	b := bufio.NewReader(r)
	for {
		line, err := b.ReadBytes('\n')
		if err != nil {
			return
		}
		f(line)
	}
}

// step is an event, and the line that it must cause.
type step struct {
	what string
	do   func() error
	// again is repeated until the line appears.
	again func() error
	want  []func(testenv.Line) bool
}

func run(path string) error {
	l, err := makeLAN(3)
	if err != nil {
		return err
	}
	say("a LAN in network namespaces: a rack, 10.0.0.1 on bridge br0, and three hosts")
	p, err := l.start(path)
	if err != nil {
		return err
	}
	defer func() {
		_ = p.cmd.Process.Signal(unix.SIGTERM)
		_ = p.cmd.Wait()
	}()
	h := l.hosts
	nothing := func() error { return nil }
	from := func(h testenv.Host, address string) func() error {
		return func() error { return talk(h, address) }
	}
	give := func(h testenv.Host, verb string) error {
		return h.IP("addr", verb, "10.0.0.50/24", "dev", h.Name)
	}
	type lines = []func(testenv.Line) bool
	for _, s := range []step{
		{"host 1 asks for the rack", nothing, from(h[0], "10.0.0.11"), lines{testenv.Event("NEW", "10.0.0.11")}},
		{"host 2 asks for the rack", nothing, from(h[1], "10.0.0.12"), lines{testenv.Event("NEW", "10.0.0.12")}},
		{"host 3 says hello in VLAN 100", func() error { return talkVLAN(h[2]) }, nothing,
			lines{testenv.Event("NEW", "10.0.100.13"), testenv.VID(100)}},
		{"host 1 takes a second address, 10.0.0.50", func() error { return give(h[0], "add") },
			from(h[0], "10.0.0.50"), lines{testenv.Event("NEW", "10.0.0.50")}},
		{"10.0.0.50 moves to host 2", func() error { return errors.Join(give(h[0], "del"), give(h[1], "add")) },
			from(h[1], "10.0.0.50"), lines{testenv.Event("MOVED", "10.0.0.50"), testenv.At(h[1].MAC)}},
		{"host 1 goes on talking (--refresh is 1s here; the default is 10m)", nothing,
			from(h[0], "10.0.0.11"), lines{testenv.Event("REFRESHED", "10.0.0.11")}},
	} {
		say("%s", s.what)
		if err := p.step(s); err != nil {
			return err
		}
	}
	say("that is all: every line above was printed by a process without any privilege")
	return nil
}

// step performs a step and waits for its line.
func (p *program) step(s step) error {
	seen := p.lines.Expect(s.want...)
	if err := s.do(); err != nil {
		return err
	}
	for deadline := time.Now().Add(testenv.Patience); time.Now().Before(deadline); {
		if err := s.again(); err != nil {
			return err
		}
		if seen.Wait(300 * time.Millisecond) {
			return nil
		}
	}
	return fmt.Errorf("no line for: %s", s.what)
}
