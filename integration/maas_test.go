package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"maas-netmon/internal/testenv"
)

// A rack acts as MAAS's rack service: it starts the program for an interface and parses its
// standard output like the service, and publishes the objects that a region would receive.
type rack struct {
	iface  string
	cmd    *exec.Cmd
	region *testenv.Stream[map[string]any]
	log    *testenv.Stream[string]
	ended  chan error
}

// startRack starts the program with an empty standard input, in its own process group, and with the
// environment of a service.
func startRack(t *testing.T, ns *testenv.Namespace, path, iface string, uid uint32) *rack {
	t.Helper()
	r := &rack{
		iface: iface, cmd: exec.Command(path, iface),
		region: testenv.NewStream[map[string]any]("region"), ended: make(chan error, 1),
	}
	r.cmd.Env = []string{
		"LANG=C.UTF-8", "LC_ALL=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/var/lib/maas", "MAAS_CLUSTER_CONFIG=/etc/maas/rackd.conf", "PYTHONUNBUFFERED=1", "LOG_LEVEL=info",
	}
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if uid != 0 {
		r.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	}
	stdout, err := r.cmd.StdoutPipe()
	testenv.Must(t, err)
	stderr, err := r.cmd.StderrPipe()
	testenv.Must(t, err)
	testenv.Must(t, ns.Do(r.cmd.Start))
	r.log = testenv.Lines(stderr)
	go func() {
		defer r.region.End()
		r.read(t, stdout)
		r.log.WaitEnd(t)
		r.ended <- r.cmd.Wait()
	}()
	t.Cleanup(func() { _ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) })
	return r
}

// read reads in pieces that do not depend on lines, and decodes each line when its newline has
// arrived.
func (r *rack) read(t *testing.T, stdout io.Reader) {
	var rest []byte
	piece := make([]byte, 7)
	for {
		n, err := stdout.Read(piece)
		rest = append(rest, piece[:n]...)
		for {
			line, after, found := bytes.Cut(rest, []byte("\n"))
			if !found {
				break
			}
			rest = after
			var object map[string]any
			if err := json.Unmarshal(line, &object); err != nil {
				t.Errorf("%s: %v", line, err)
				continue
			}
			object["interface"] = r.iface
			if err := acceptable(object); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			r.region.Publish(object)
		}
		if err != nil {
			break
		}
	}
	if len(rest) > 0 {
		t.Errorf("the last line has no end: %q", rest)
	}
}

// acceptable checks an object like the region's model, which stores ip, mac, time, vid and
// interface and creates a VLAN for a vid that is not null.
func acceptable(object map[string]any) error {
	ip, _ := object["ip"].(string)
	if net.ParseIP(ip).To4() == nil {
		return fmt.Errorf("ip %v", object["ip"])
	}
	mac, _ := object["mac"].(string)
	if parsed, err := net.ParseMAC(mac); err != nil || len(parsed) != 6 || mac != strings.ToLower(mac) {
		return fmt.Errorf("mac %v", object["mac"])
	}
	if time, ok := object["time"].(float64); !ok || time != float64(int64(time)) || time <= 0 {
		return fmt.Errorf("time %v", object["time"])
	}
	switch vid := object["vid"].(type) {
	case nil:
		if _, there := object["vid"]; !there {
			return fmt.Errorf("no vid")
		}
	case float64:
		if vid < 1 || vid > 4094 || vid != float64(int(vid)) {
			return fmt.Errorf("vid %v", vid)
		}
	default:
		return fmt.Errorf("vid %v", vid)
	}
	switch object["event"] {
	case "NEW", "REFRESHED":
	case "MOVED":
		if previous, _ := object["previous_mac"].(string); previous == "" {
			return fmt.Errorf("MOVED without previous_mac")
		}
	default:
		return fmt.Errorf("event %v", object["event"])
	}
	return nil
}

// has is the predicate that a region's object has these values.
func has(event, ip string, vid any) func(map[string]any) bool {
	return func(o map[string]any) bool { return o["event"] == event && o["ip"] == ip && o["vid"] == vid }
}

// MAAS's rack service starts the program, parses each line, stops it by its process group, and
// starts it again when it has ended.
func TestMAAS(t *testing.T) {
	testenv.Require(t, testenv.Root)
	t.Parallel()
	a, b := testenv.RawPair(t)
	path := testenv.CapableBinary(t, "cap_net_raw=p")
	const maas = 999 // the rack's user
	r := startRack(t, a.Namespace, path, a.Name, maas)
	ready := r.log.Expect(testenv.Contains("msg=watching"))
	ready.Await(t)

	port := b.Port(t)
	seen := []*testenv.Expectation[map[string]any]{
		r.region.Expect(has("NEW", "10.0.0.5", nil)), r.region.Expect(has("MOVED", "10.0.0.5", nil)), r.region.Expect(has("NEW", "10.0.0.5", 100.0)),
	}
	for _, frame := range []testenv.ARP{
		request(macC, "10.0.0.5"), request(macD, "10.0.0.5"), tagged(request(macC, "10.0.0.5"), 0x8100, 100),
		{SenderMAC: macC, SenderIP: "0.0.0.0", TargetIP: "10.0.0.5"}, // a probe, which must not become a binding
	} {
		testenv.Must(t, port.Send(frame.Bytes()))
	}
	for _, e := range seen {
		e.Await(t)
	}

	// The program is killed, and started again: all bindings are NEW again.
	testenv.Must(t, r.cmd.Process.Kill())
	<-r.ended
	r = startRack(t, a.Namespace, path, a.Name, maas)
	r.log.Expect(testenv.Contains("msg=watching")).Await(t)
	again := r.region.Expect(has("NEW", "10.0.0.5", nil))
	testenv.Must(t, port.Send(request(macC, "10.0.0.5").Bytes()))
	again.Await(t)

	// The process group is stopped, with lines still in transit.
	for i := range 50 {
		testenv.Must(t, port.Send(request(macC, fmt.Sprintf("10.0.1.%d", i+1)).Bytes()))
	}
	testenv.Must(t, syscall.Kill(-r.cmd.Process.Pid, syscall.SIGTERM))
	if err := <-r.ended; err != nil {
		t.Errorf("stopped: %v", err)
	}
	if n := len(r.region.WaitEnd(t)); n != 51 {
		t.Errorf("%d lines, want 51", n)
	}
}

// A client acts as the region's client of MAAS's rack service: for an interface it starts a
// wrapper, which starts the program and waits for it, and reads the program's lines from the pipe
// that the wrapper inherited. To stop, it signals only the wrapper, and continues to read.
type client struct {
	wrapper         *exec.Cmd
	lines           *testenv.Stream[string]
	monitor, parser int // pidfds
}

func startClient(t *testing.T, ns *testenv.Namespace, iface string) *client {
	t.Helper()
	c := &client{wrapper: exec.Command("/bin/sh", "-c", `"$0" "$@"; exit $?`, testenv.Binary(t), iface)}
	c.wrapper.Env = maasEnv
	c.wrapper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // os.setpgrp()
	stdout, out, err := os.Pipe()
	testenv.Must(t, err)
	stderr, errOut, err := os.Pipe()
	testenv.Must(t, err)
	c.wrapper.Stdout, c.wrapper.Stderr = out, errOut
	c.lines = testenv.Lines(stdout)
	ready := testenv.Lines(stderr).Expect(testenv.Contains("msg=watching"))
	testenv.Must(t, ns.Do(c.wrapper.Start))
	out.Close()
	errOut.Close()
	t.Cleanup(func() { _ = syscall.Kill(-c.wrapper.Process.Pid, syscall.SIGKILL) })
	ready.Await(t)
	monitor := testenv.ChildOf(t, c.wrapper.Process.Pid)
	c.monitor, c.parser = openProcess(t, monitor), openProcess(t, testenv.ChildOf(t, monitor))
	return c
}

// stop ends the wrapper like the first step of twisted's terminateProcess.
func (c *client) stop(t *testing.T) {
	t.Helper()
	testenv.Must(t, c.wrapper.Process.Signal(syscall.SIGTERM))
	_ = c.wrapper.Wait()
}

// After ten stops and starts one pair of processes exists, and each ARP packet gives one report.
func TestMAASClient(t *testing.T) {
	testenv.Require(t, testenv.Root)
	a, b := testenv.RawPair(t)
	var clients []*client
	for range 10 {
		if n := len(clients); n > 0 {
			clients[n-1].stop(t)
		}
		clients = append(clients, startClient(t, a.Namespace, a.Name))
	}
	last := clients[len(clients)-1]
	for i, c := range clients[:len(clients)-1] {
		if !testenv.Ended(t, c.monitor) || !testenv.Ended(t, c.parser) {
			t.Fatalf("start %d: a process goes on after the stop", i)
		}
	}
	for i := range 5 {
		seen := last.lines.Expect(testenv.Contains(fmt.Sprintf(`"ip":"10.0.2.%d"`, i+1)))
		testenv.Must(t, b.Port(t).Send(request(macC, fmt.Sprintf("10.0.2.%d", i+1)).Bytes()))
		seen.Await(t)
	}
	last.stop(t)
	if !testenv.Ended(t, last.monitor) {
		t.Fatal("it outlives its wrapper")
	}
	reports := 0
	for _, c := range clients {
		reports += len(c.lines.WaitEnd(t))
	}
	if reports != 5 {
		t.Errorf("%d reports of 5 packets", reports)
	}
}
