package integration

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// output sends frames to the program, ends it after the line of the last one, and returns its
// output, with times replaced by TIME.
func output(t *testing.T, o testenv.Options, args []string, frames ...testenv.ARP) string {
	t.Helper()
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, o, append(args, a.Name)...)
	port := b.Port(t)
	last := p.Lines.Expect(func(l testenv.Line) bool { return strings.Contains(l.Raw, fence) })
	for _, f := range frames {
		testenv.Must(t, port.Send(f.Bytes()))
	}
	testenv.Must(t, port.Send(request(macD, fence).Bytes()))
	last.Await(t)
	p.Stop(t)
	var raw strings.Builder
	for _, l := range p.Lines.WaitEnd(t) {
		raw.WriteString(l.Raw + "\n")
	}
	text := regexp.MustCompile(`20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\dZ?`).ReplaceAllString(raw.String(), "TIME")
	return regexp.MustCompile(`"time":\d+`).ReplaceAllString(text, `"time":TIME`)
}

// Verbose text follows the event lines of its packet, in the layout of MAAS's former program.
func TestVerbose(t *testing.T) {
	const blocks = `{"ip":"10.0.0.5","mac":"02:00:00:00:00:0c","time":TIME,"event":"NEW","vid":100}
{"ip":"10.0.0.6","mac":"02:00:00:00:00:0d","time":TIME,"event":"NEW","vid":100}
ARP observed at TIME:
   802.1q VLAN ID (VID): 100 (0x064)
        Ethernet source: 02:00:00:00:00:0c
   Ethernet destination: ff:ff:ff:ff:ff:ff
          Hardware type: 0x0001
          Protocol type: 0x0800
Hardware address length: 6
Protocol address length: 4
              Operation: 2 (reply)
Sender hardware address: 02:00:00:00:00:0c
Sender protocol address: 10.0.0.5
Target hardware address: 02:00:00:00:00:0d
Target protocol address: 10.0.0.6

ARP observed at TIME:
        Ethernet source: 02:00:00:00:00:0c
   Ethernet destination: ff:ff:ff:ff:ff:ff
          Hardware type: 0x0001
          Protocol type: 0x0800
Hardware address length: 6
Protocol address length: 4
              Operation: 9
Sender hardware address: 02:00:00:00:00:0c
Sender protocol address: 10.0.0.5
Target hardware address: 00:00:00:00:00:00
Target protocol address: 10.0.0.254

`
	reply := testenv.ARP{Operation: 2, SenderMAC: macC, SenderIP: "10.0.0.5", TargetMAC: macD, TargetIP: "10.0.0.6"}
	other := request(macC, "10.0.0.5")
	other.Operation = 9
	for _, option := range []string{"-v", "--verbose"} {
		t.Run(option, func(t *testing.T) {
			t.Parallel()
			got := output(t, testenv.Options{}, []string{option}, tagged(reply, 0x8100, 100), other)
			got, _, _ = strings.Cut(got, `{"ip":"`+fence)
			if diff := cmp.Diff(blocks, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Verbose text has the time of the zone that the program was started in. The monitor passes the
// zone to the parser, whose environment is empty.
func TestVerboseTimeZone(t *testing.T) {
	t.Parallel()
	zone, err := time.LoadLocation("Asia/Kathmandu")
	if err != nil {
		zone = time.UTC // no zones are installed here, so the program uses UTC
	}
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{Env: []string{"TZ=Asia/Kathmandu"}}, "-v", a.Name)
	event := p.Lines.Expect(testenv.IP("10.0.0.5"))
	block := p.Lines.Expect(func(l testenv.Line) bool { return strings.HasPrefix(l.Raw, "ARP observed at ") })
	testenv.Must(t, b.Port(t).Send(request(macC, "10.0.0.5").Bytes()))
	want := time.Unix(event.Value(t).Time, 0).In(zone).Format("ARP observed at 2006-01-02 15:04:05:")
	if got := block.Value(t).Raw; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// With several interfaces, each packet has the name of its interface.
func TestVerboseInterface(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, "-v", a.Name, "lo")
	name := p.Lines.Expect(func(l testenv.Line) bool { return l.Raw == "              Interface: va" })
	testenv.Must(t, b.Port(t).Send(request(macC, "10.0.0.5").Bytes()))
	name.Await(t)
}

func TestFormatText(t *testing.T) {
	t.Parallel()
	got := output(t, testenv.Options{}, []string{"--format", "text"},
		request(macC, "10.0.0.5"), request(macD, "10.0.0.5"), tagged(request(macC, "192.168.100.200"), 0x88a8, 200, 0x8100, 100))
	got = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d `).ReplaceAllString(got, "TIME ")
	want := `TIME NEW       10.0.0.5        02:00:00:00:00:0c -
TIME MOVED     10.0.0.5        02:00:00:00:00:0d -    was 02:00:00:00:00:0c
TIME NEW       192.168.100.200 02:00:00:00:00:0c 200.100
TIME NEW       10.9.9.9        02:00:00:00:00:0d -
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Colour is used only on terminals, and not if the user disables it.
func TestColour(t *testing.T) {
	for _, c := range []struct {
		name     string
		terminal bool
		env      []string
		coloured bool
	}{
		{"terminal", true, nil, true},
		{"terminal, NO_COLOR empty", true, []string{"NO_COLOR="}, true},
		{"terminal, NO_COLOR", true, []string{"NO_COLOR=1"}, false},
		{"pipe", false, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, b := testenv.RawPair(t)
			r, w, err := os.Pipe()
			if c.terminal {
				r, w, err = terminal()
			}
			testenv.Must(t, err)
			defer r.Close()
			testenv.Watch(t, a.Namespace, testenv.Options{Stdout: w, Env: c.env}, "--format", "text", a.Name)
			testenv.Must(t, w.Close())
			testenv.Must(t, b.Port(t).Send(request(macC, "10.0.0.5").Bytes()))
			testenv.Must(t, r.SetReadDeadline(time.Now().Add(testenv.Patience)))
			line := make([]byte, 200)
			n, err := r.Read(line)
			testenv.Must(t, err)
			if got := strings.Contains(string(line[:n]), "\x1b["); got != c.coloured {
				t.Errorf("coloured: %v, want %v: %q", got, c.coloured, line[:n])
			}
		})
	}
}

// terminal returns both ends of a new pseudo-terminal (pty(7)).
func terminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	raw, err := master.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	var n int
	controlErr := raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if controlErr != nil || err != nil {
		return nil, nil, fmt.Errorf("%v, %w", controlErr, err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	return master, slave, err
}

// The counters are logged on request, at intervals, and at the end, one line per interface.
func TestCounters(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := testenv.Start(t, a.Namespace, testenv.Options{}, "--log-level", "warn", a.Name)
	sendUntilSeen(t, p, b.Port(t))
	asked := p.Log.Expect(testenv.Contains("msg=counters interface=va frames="), testenv.Contains(" new=1 "))
	p.Signal(t, unix.SIGUSR1)
	asked.Await(t)
	p.Stop(t)
	if n := len(p.Log.WaitEnd(t)); n != 1 {
		t.Errorf("%d lines of counters at level warn, want the one that was asked for", n)
	}

	p = testenv.Watch(t, a.Namespace, testenv.Options{}, "--stats-interval", "1s", a.Name, "lo")
	va := p.Log.ExpectN(2, testenv.Contains("msg=counters interface=va "))
	lo := p.Log.ExpectN(2, testenv.Contains("msg=counters interface=lo "))
	va.Await(t)
	lo.Await(t)
}
