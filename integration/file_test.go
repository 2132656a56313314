package integration

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"maas-netmon/capture/capturetest"
	"maas-netmon/internal/testenv"
)

// The time of the frames in the tests' inputs.
const fileSeconds = 1795228118

var littlePcap = capturetest.Pcap{Order: capturetest.Orders[0]}

// arpFrames are three frames, and arpLines their lines.
var arpFrames = [][]byte{
	request(macC, "10.0.0.5").Bytes(),
	request(macD, "10.0.0.5").Bytes(),
	tagged(request(macC, "10.0.0.6"), 0x88a8, 200, 0x8100, 100).Bytes(),
}

const arpLines = `{"ip":"10.0.0.5","mac":"02:00:00:00:00:0c","time":1795228118,"event":"NEW","vid":null}
{"ip":"10.0.0.5","mac":"02:00:00:00:00:0d","previous_mac":"02:00:00:00:00:0c","time":1795228119,"event":"MOVED","vid":null}
{"ip":"10.0.0.6","mac":"02:00:00:00:00:0c","time":1795228120,"event":"NEW","vid":200,"inner_vid":100}
`

// inputFile writes a file that all users may read, and returns its path.
func inputFile(t *testing.T, content []byte) string {
	t.Helper()
	// Not below t.TempDir, which only its owner may enter.
	dir, err := os.MkdirTemp("", "maas-netmon-test-")
	testenv.Must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	testenv.Must(t, os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "input.pcap")
	testenv.Must(t, os.WriteFile(path, content, 0o644))
	return path
}

// withoutPrivilege runs the program on a file as a user without any capability.
func withoutPrivilege(t *testing.T, shell string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	o := testenv.Options{Shell: shell}
	if testenv.Has(testenv.Root) {
		o.UID, o.Path = nobody, testenv.CapableBinary(t, "")
	}
	return testenv.Run(t, testenv.Net(t), o, append([]string{"--log-level", "warn"}, args...)...)
}

// Each format gives the same lines, by name and by standard input.
func TestFile(t *testing.T) {
	inputs := map[string][]byte{}
	for _, order := range capturetest.Orders {
		for _, nano := range []bool{false, true} {
			inputs[fmt.Sprintf("pcap %v %v", order, nano)] = capturetest.Pcap{Order: order, Nano: nano}.File(fileSeconds, arpFrames...)
		}
		n := capturetest.NG{Order: order}
		b := slices.Concat(n.Section(), n.Interface(1, 0), n.Interface(1, 0, capturetest.Option{Code: capturetest.TSResol, Value: []byte{0x80 | 30}}))
		for i, f := range arpFrames { // of two interfaces, in two sections
			second := fileSeconds + uint64(i)
			ticks := []uint64{second * 1e6, second<<30 | 1<<29}[i%2]
			b = slices.Concat(b, n.Enhanced(uint32(i%2), ticks, f, len(f)), n.Block(77, []byte("none")))
			if i == 1 {
				b = slices.Concat(b, n.Section(), n.Interface(1, 0))
			}
		}
		inputs[fmt.Sprintf("pcapng %v", order)] = b
		inputs[fmt.Sprintf("gzip of pcapng %v", order)] = capturetest.Gzip(b)
		// Two members, the border within a record.
		p := capturetest.Pcap{Order: order}.File(fileSeconds, arpFrames...)
		inputs[fmt.Sprintf("gzip of pcap %v", order)] = slices.Concat(capturetest.Gzip(p[:70]), capturetest.Gzip(p[70:]))
	}
	for name, content := range inputs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := inputFile(t, content)
			for _, c := range []struct{ shell, arg string }{
				{`exec "$0" "$@"`, path},
				{`exec "$0" "$@" <` + path, "-"},
				{`cat ` + path + ` | "$0" "$@"`, "-"},
				{`exec "$0" "$@" <` + path, "/dev/stdin"},
				{`exec "$0" "$@" 3<` + path, "/dev/fd/3"},
				{`cat ` + path + ` | "$0" "$@" 9<&0 </dev/null`, "/proc/self/fd/9"},
			} {
				status, stdout, stderr := withoutPrivilege(t, c.shell, "-i", c.arg)
				if diff := cmp.Diff(arpLines, stdout); status != 0 || stderr != "" || diff != "" {
					t.Errorf("%s: exit status %d, standard error %q, -want +got:\n%s", c.shell, status, stderr, diff)
				}
			}
		})
	}
}

// For an input that is not a capture, the hint is the command that converts it, quoted for a shell.
func TestOtherFormat(t *testing.T) {
	path := inputFile(t, []byte("\x28\xb5\x2f\xfd................"))
	quoted := filepath.Join(filepath.Dir(path), "it's one")
	testenv.Must(t, os.Rename(path, quoted))
	status, stdout, stderr := withoutPrivilege(t, "", "-i", quoted)
	want := "maas-netmon: " + quoted + ": neither pcap nor pcapng: it looks like zstd\n" +
		"maas-netmon: hint: zstd -dc '" + filepath.Dir(path) + `/it'\''s one' | maas-netmon -i -` + "\n"
	if status != 2 || stdout != "" || stderr != want {
		t.Errorf("exit status %d, %q, %q, want %q", status, stdout, stderr, want)
	}
}

// Frames of an interface that is not Ethernet are skipped and counted.
func TestOtherLinkTypes(t *testing.T) {
	n := capturetest.NG{Order: capturetest.Orders[1]}
	path := inputFile(t, slices.Concat(n.Section(), n.Interface(105, 0), n.Interface(1, 0),
		n.Enhanced(0, 0, arpFrames[1], 60), n.Enhanced(1, fileSeconds*1e6, arpFrames[0], 60)))
	status, stdout, stderr := testenv.Run(t, testenv.Net(t), testenv.Options{}, "-i", path)
	if first, _, _ := strings.Cut(arpLines, "\n"); status != 0 || stdout != first+"\n" {
		t.Errorf("exit status %d, %q", status, stdout)
	}
	if want := " unsupported=1 new=1 "; !strings.Contains(stderr, want) {
		t.Errorf("%q, want %q", stderr, want)
	}
}

// With -v, a packet of a cooked capture has no destination, one with two tags has both, and one
// that is not for IPv4 over Ethernet is printed, without an event.
func TestVerboseFile(t *testing.T) {
	sll := func(frame []byte) []byte {
		return slices.Concat([]byte{0, 1, 0, 1, 0, 6}, frame[6:12], []byte{0, 0}, frame[12:])
	}
	foreign := slices.Clone(arpFrames[0])
	foreign[15], foreign[18] = 6, 8 // IEEE 802, addresses of 8 bytes
	p := capturetest.Pcap{Order: capturetest.Orders[1], LinkType: 113}
	path := inputFile(t, p.File(fileSeconds, sll(arpFrames[2]), sll(foreign), sll(arpFrames[0])[:40]))
	block := func(second int, vids, hardware, length, ip string) string {
		return fmt.Sprintf(`ARP observed at 2026-11-21 02:28:%d:
%s        Ethernet source: 02:00:00:00:00:0c
   Ethernet destination: not captured
          Hardware type: %s
          Protocol type: 0x0800
Hardware address length: %s
Protocol address length: 4
              Operation: 1 (request)
Sender hardware address: 02:00:00:00:00:0c
Sender protocol address: %s
Target hardware address: 00:00:00:00:00:00
Target protocol address: 10.0.0.254

`, second, vids, hardware, length, ip)
	}
	want := `{"ip":"10.0.0.6","mac":"02:00:00:00:00:0c","time":1795228118,"event":"NEW","vid":200,"inner_vid":100}` + "\n" +
		block(38, "   802.1q VLAN ID (VID): 200 (0x0c8)\n    Inner VLAN ID (VID): 100 (0x064)\n", "0x0001", "6", "10.0.0.6") +
		block(39, "", "0x0006", "8", "10.0.0.5")
	status, got, stderr := testenv.Run(t, testenv.Net(t), testenv.Options{Env: []string{"TZ=UTC"}}, "-v", "-i", path)
	if diff := cmp.Diff(want, got); status != 0 || diff != "" {
		t.Errorf("exit status %d, -want +got:\n%s", status, diff)
	}
	if want := " short=1 not_arp=0 unsupported=1 "; !strings.Contains(stderr, want) {
		t.Errorf("%q, want %q", stderr, want)
	}
}

// Each error in an input has its status and one message, and the lines before it are printed.
func TestBadFile(t *testing.T) {
	good := littlePcap.File(fileSeconds, arpFrames...)
	end := len(good)
	n := capturetest.NG{Order: capturetest.Orders[1]}
	ng := slices.Concat(n.Section(), n.Interface(1, 0), n.Enhanced(0, fileSeconds*1e6, arpFrames[0], 60))
	newLine := arpLines[:strings.Index(arpLines, "\n")+1]
	for _, c := range []struct {
		name    string
		content []byte
		status  int
		lines   string
		says    string // the message after the name
	}{
		{"empty", nil, 3, "", "input ended before its header"},
		{"header cut", good[:20], 3, "", "input ended before its header"},
		{"another format", []byte("#!/bin/sh\nexit 0\n"), 2, "", "neither pcap nor pcapng: it looks like a script"},
		{"link type", capturetest.Pcap{Order: capturetest.Orders[1], LinkType: 105}.File(1, arpFrames...), 4, "",
			"its link type is not Ethernet: 105 (IEEE 802.11)"},
		{"record cut", slices.Concat(good, good[24:50]), 2, arpLines, fmt.Sprintf("damaged record at byte %d: the input ends within it", end)},
		{"record of 4 GiB", slices.Concat(good, littlePcap.RecordHeader(1<<32-1), good), 2, arpLines,
			fmt.Sprintf("damaged record at byte %d: 4294967295 bytes long", end)},
		{"pcapng of no interface", slices.Concat(capturetest.NG{Order: capturetest.Orders[1]}.Section(),
			capturetest.NG{Order: capturetest.Orders[1]}.Enhanced(0, 0, arpFrames[0], 60)), 2, "",
			"damaged record at byte 28: a packet of interface 0, of which the section has 0"},
		{"simple packet longer than its block", slices.Concat(ng, n.Block(3, slices.Concat([]byte{0, 0, 0, 44}, arpFrames[1][:40]))), 2, newLine,
			fmt.Sprintf("damaged record at byte %d: a packet of 44 bytes in a block with room for 40", len(ng))},
		{"long comment", slices.Concat(ng, n.Enhanced(0, 0, arpFrames[1], 60, slices.Repeat([]capturetest.Option{{Code: 1, Value: make([]byte, 65535)}}, 260)...)), 2, newLine,
			fmt.Sprintf("record beyond a limit of this program at byte %d: a block of 17040496 bytes, at most 16777216 are read", len(ng))},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := inputFile(t, c.content)
			for _, v := range []struct{ shell, arg, name string }{
				{`exec "$0" "$@"`, path, path},
				{`cat ` + path + ` | "$0" "$@"`, "-", "standard input"},
			} {
				status, stdout, stderr := withoutPrivilege(t, v.shell, "-i", v.arg)
				diff := cmp.Diff(c.lines, stdout)
				if want := "maas-netmon: " + v.name + ": " + c.says + "\n"; status != c.status || stderr != want || diff != "" {
					t.Errorf("exit status %d, want %d\n%swant\n%slines, -want +got:\n%s", status, c.status, stderr, want, diff)
				}
			}
		})
	}
}

// The time of an event is the second of the record, for any value of its sub-second field: 597
// seconds are less than the refresh interval. Times before 1970 or after 2106 do not overflow.
func TestTimeOfAFile(t *testing.T) {
	fraction := littlePcap.Record(fileSeconds+597, arpFrames[0], 60)
	littlePcap.Order.PutUint32(fraction[4:], 3_999_999)
	n := capturetest.NG{Order: capturetest.Orders[1]}
	at := func(second int64) []byte {
		return slices.Concat(n.Section(), n.Interface(1, 0, capturetest.Option{Code: capturetest.TSOffset, Value: n.Uint64(uint64(second))}),
			n.Enhanced(0, 999_999, arpFrames[0], 60))
	}
	for _, c := range []struct {
		name    string
		content []byte
		time    int64
	}{
		{"fraction of a refresh", slices.Concat(littlePcap.File(fileSeconds, arpFrames[0]), fraction), fileSeconds},
		{"before 1970", at(-1), -1},
		{"in 2106", at(1<<32 - 1), 1<<32 - 1},
		{"after 2106", at(1 << 32), 1 << 32},
		{"after all", at(1<<63 - 1), 1<<63 - 1},
		{"before all", at(-1 << 63), -1 << 63},
		{"simple packet", slices.Concat(n.Section(), n.Interface(1, 0), n.Simple(arpFrames[0], 60)), 0},
	} {
		status, stdout, stderr := withoutPrivilege(t, "", "-i", inputFile(t, c.content))
		want := fmt.Sprintf(`{"ip":"10.0.0.5","mac":"02:00:00:00:00:0c","time":%d,"event":"NEW","vid":null}`+"\n", c.time)
		if status != 0 || stdout != want || stderr != "" {
			t.Errorf("%s: exit status %d, %q, %q, want %q", c.name, status, stdout, stderr, want)
		}
	}
}

// Files that cannot be an input, and options that cannot be combined with one.
func TestNoFile(t *testing.T) {
	const see = "maas-netmon: hint: see maas-netmon --help\n"
	for _, c := range []struct {
		name, shell string
		args        []string
		status      int
		stderr      string
	}{
		{"missing", "", []string{"-i", "/no/such"}, 1, "maas-netmon: /no/such: no such file or directory\n"},
		{"directory", "", []string{"-i", "/"}, 1, "maas-netmon: /: is a directory\n"},
		{"directory as standard input", `exec "$0" "$@" </`, []string{"-i", "-"}, 1, "maas-netmon: standard input: is a directory\n"},
		{"with an interface", "", []string{"-i", "/dev/null", "lo"}, 2, "maas-netmon: -i and INTERFACE cannot be combined\n" + see},
		{"with --check", "", []string{"-i", "/dev/null", "--check"}, 2, "maas-netmon: -i and --check cannot be combined\n" + see},
		{"no name", "", []string{"--input-file", ""}, 2, "maas-netmon: invalid value \"\" for --input-file: no name\n" + see},
		{"not for reading", `exec "$0" "$@" 0>/dev/null`, []string{"-i", "-"}, 2, "maas-netmon: standard input is not open for reading\n" + see},
		{"nothing", `exec "$0" "$@" </dev/null`, []string{"-i", "-"}, 3, "maas-netmon: standard input: input ended before its header\n"},
		{"two files after -i", "", []string{"-i", "/dev/null", "b.pcap", "c.pcap"}, 2, "maas-netmon: one FILE only: b.pcap is another one\n" + see},
		{"two files", "", []string{"-i", "/dev/null", "--input-file=/dev/null"}, 2, "maas-netmon: invalid value \"/dev/null\" for --input-file: one FILE only\n" + see},
		{"descriptor not open", "", []string{"-i", "/dev/fd/77"}, 2, "maas-netmon: /dev/fd/77 is not open for reading\n" + see},
		{"no descriptor", "", []string{"-i", "/dev/fd/-1"}, 1, "maas-netmon: /dev/fd/-1: no such file or directory\n"},
		{"descriptor for writing", `exec "$0" "$@" 7>/dev/null`, []string{"-i", "/proc/self/fd/7"}, 2,
			"maas-netmon: /proc/self/fd/7 is not open for reading\n" + see},
		{"standard output", "", []string{"-i", "/dev/fd/1"}, 2, "maas-netmon: /dev/fd/1 is not open for reading\n" + see},
		{"no -i", "", []string{"x.pcap"}, 1, "maas-netmon: x.pcap: no such network interface\nmaas-netmon: hint: to read a file: maas-netmon -i x.pcap\n"},
		{"no -i, and a long name", "", []string{"dir/x.PCAPNG"}, 2,
			"maas-netmon: \"dir/x.PCAPNG\": invalid interface name\nmaas-netmon: hint: to read a file: maas-netmon -i dir/x.PCAPNG\n"},
		{"no -i for standard input", "", []string{"-"}, 1, "maas-netmon: -: no such network interface\nmaas-netmon: hint: to read a file: maas-netmon -i -\n"},
		{"closed", `exec "$0" "$@" <&-`, []string{"-i", "-"}, 2, "maas-netmon: standard input is closed\n" + see},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.shell == "" {
				c.shell = `exec "$0" "$@"`
			}
			status, stdout, stderr := withoutPrivilege(t, c.shell, c.args...)
			if status != c.status || stderr != c.stderr || stdout != "" {
				t.Errorf("exit status %d, want %d\nstandard error %q\nwant           %q\nstandard output %q",
					status, c.status, stderr, c.stderr, stdout)
			}
		})
	}
}

// A file that the user may not read is not read with root's rights.
func TestFileOfRoot(t *testing.T) {
	testenv.Require(t, testenv.Root)
	path := inputFile(t, littlePcap.File(fileSeconds, arpFrames...))
	testenv.Must(t, os.Chmod(path, 0o600))
	status, stdout, stderr := testenv.Run(t, testenv.Net(t), testenv.Options{}, "-i", path)
	uid, _ := becomes()
	want := "maas-netmon: " + path + ": permission denied\n" +
		"maas-netmon: hint: user " + uid + " must be able to open it; -i - reads what another user has opened\n"
	if status != 1 || stdout != "" || stderr != want {
		t.Errorf("exit status %d, %q, %q, want %q", status, stdout, stderr, want)
	}
}

// A terminal is refused as an input: the user has probably forgotten to redirect it.
func TestFileIsATerminal(t *testing.T) {
	master, slave, err := terminal()
	testenv.Must(t, err)
	defer master.Close()
	defer slave.Close()
	name := slave.Name()
	testenv.Must(t, slave.Chmod(0o666)) // for the user that root becomes
	for _, c := range []struct{ shell, arg, name string }{
		{`exec "$0" "$@" <` + name, "-", "standard input"},
		{`exec "$0" "$@"`, name, name},
	} {
		status, _, stderr := testenv.Run(t, testenv.Net(t), testenv.Options{Shell: c.shell}, "-i", c.arg)
		want := "maas-netmon: " + c.name + ": is a terminal, not a pipe or a file\nmaas-netmon: hint: see maas-netmon --help\n"
		if status != 2 || stderr != want {
			t.Errorf("exit status %d, %q, want %q", status, stderr, want)
		}
	}
}

// A terminal as standard output does not become the controlling terminal of a session leader that
// has none.
func TestTerminalIsNotTaken(t *testing.T) {
	t.Parallel()
	master, slave, err := terminal()
	testenv.Must(t, err)
	defer master.Close()
	defer slave.Close()
	path := filepath.Join(filepath.Dir(inputFile(t, nil)), "pipe")
	testenv.Must(t, unix.Mkfifo(path, 0o666))
	testenv.Must(t, os.Chmod(path, 0o666))
	p := testenv.Start(t, testenv.Net(t), testenv.Options{
		Stdout: slave, Shell: `exec setsid --wait "$0" "$@"`, Env: []string{"PATH=/usr/bin:/bin"},
	}, "-i", path)
	if _, ok := p.Log.Await(testenv.Contains("msg=reading")); !ok {
		t.Fatal(p.Log.Seen())
	}
	pid := p.Child(t) // of setsid(1), which had to fork
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	testenv.Must(t, err)
	const session, tty = 3, 4 // behind the name; proc_pid_stat(5)
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if fields[session] != strconv.Itoa(pid) || fields[tty] != "0" {
		t.Errorf("process %d: session %s, terminal %s, want its own session and no terminal", pid, fields[session], fields[tty])
	}
	testenv.Must(t, os.WriteFile(path, littlePcap.File(fileSeconds, arpFrames...), 0))
	if status := p.Exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// startOnPipe starts the program on a pipe, with no capability, and returns the pipe's
// other end.
func startOnPipe(t *testing.T, o testenv.Options, args ...string) (*testenv.Program, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	testenv.Must(t, err)
	defer r.Close()
	t.Cleanup(func() { w.Close() })
	if testenv.Has(testenv.Root) && o.UID == 0 {
		o.UID, o.Path = nobody, testenv.CapableBinary(t, "")
	}
	o.Stdin = r
	return testenv.Start(t, testenv.Net(t), o, append(args, "-i", "-")...), w
}

// A pipe that stalls in the middle of a record delays neither lines nor signals.
func TestPipeStalls(t *testing.T) {
	t.Parallel()
	content := littlePcap.File(fileSeconds, arpFrames...)
	p, w := startOnPipe(t, testenv.Options{})
	first, second := p.Lines.Expect(testenv.Event("NEW", "10.0.0.5")), p.Lines.Expect(testenv.Event("MOVED", "10.0.0.5"))
	_, err := w.Write(content[:110])
	testenv.Must(t, err)
	first.Await(t)
	_, err = w.Write(content[110:200])
	testenv.Must(t, err)
	second.Await(t)

	counters := p.Log.Expect(testenv.Contains("msg=counters file=- frames=2 "))
	p.Signal(t, unix.SIGUSR1)
	counters.Await(t)
	p.Stop(t)
	if got := errorLines(p.Log.WaitEnd(t)); len(got) != 0 {
		t.Errorf("errors %q", got)
	}
}

// A file is read only as fast as its lines can be written: a table that is smaller than the file
// forgets no binding that was not reported.
func TestFileWaitsForRoom(t *testing.T) {
	t.Parallel()
	const hosts = 60
	var frames [][]byte
	for i := range hosts {
		frames = append(frames, request(macC, fmt.Sprintf("10.0.1.%d", i)).Bytes())
	}
	path := inputFile(t, littlePcap.File(fileSeconds, frames...))
	status, stdout, stderr := testenv.Run(t, testenv.Net(t), testenv.Options{},
		"-i", path, "--max-rate", "40", "--max-bindings", "10")
	if n := strings.Count(stdout, `"event":"NEW"`); status != 0 || n != hosts {
		t.Errorf("exit status %d, %d lines, want %d; standard error %q", status, n, hosts, stderr)
	}
}

// The reader of a file's lines stalls: the program waits for it, and answers questions, also when
// it has reached the end of the file. It ends when it is stopped.
func TestReaderOfAFileStalls(t *testing.T) {
	t.Parallel()
	_, w := testenv.FullPipe(t)
	path := inputFile(t, littlePcap.File(fileSeconds, arpFrames...))
	p := testenv.Start(t, testenv.Net(t), testenv.Options{Stdout: w}, "-i", path, "--stats-interval", "1s")
	if _, ok := p.Log.Await(testenv.Contains("msg=reading")); !ok {
		t.Fatal(p.Log.Seen())
	}
	counters := p.Log.ExpectN(3, testenv.Contains("msg=counters file="+path+" frames=3 "))
	p.Signal(t, unix.SIGUSR1)
	counters.Await(t) // the program has read them, and still answers
	p.Stop(t)
	if got := errorLines(p.Log.WaitEnd(t)); len(got) != 1 || !strings.Contains(got[0], "the last lines are lost") {
		t.Errorf("errors %q", got)
	}
}

// An input without an end uses no more memory than a short one, and SIGTERM ends the program.
func TestEndlessInput(t *testing.T) {
	t.Parallel()
	p, w := startOnPipe(t, testenv.Options{})
	done := make(chan bool)
	go func() {
		defer close(done)
		content := bytes.Repeat(littlePcap.Record(fileSeconds, arpFrames[0], 60), 10_000)
		for _, err := w.Write(littlePcap.Header()); err == nil; _, err = w.Write(content) {
		}
	}()
	if _, ok := p.Log.Await(testenv.Contains("msg=reading")); !ok {
		t.Fatal(p.Log.Seen())
	}
	million := regexp.MustCompile(`frames=[1-9]\d{6,} `)
	enough := p.Log.Expect(million.MatchString)
	for deadline := time.Now().Add(testenv.Patience); !enough.Wait(50 * time.Millisecond); {
		if time.Now().After(deadline) {
			t.Fatalf("no million of frames: %q", p.Log.Seen())
		}
		p.Signal(t, unix.SIGUSR1)
	}
	var peak int
	_, err := fmt.Sscanf(testenv.Status(t, p.Child(t))[0]["VmHWM"], "%d kB", &peak)
	testenv.Must(t, err)
	t.Logf("the parser's peak: %d KiB", peak)
	if most := 32 << 10; peak > most {
		t.Errorf("the parser has used %d KiB, want at most %d", peak, most)
	}
	p.Stop(t)
	<-done // EPIPE
}

// A named pipe may have no writer yet.
func TestNamedPipe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(filepath.Dir(inputFile(t, nil)), "pipe")
	testenv.Must(t, unix.Mkfifo(path, 0o666))
	testenv.Must(t, os.Chmod(path, 0o666))
	start := func() *testenv.Program {
		p := testenv.Start(t, testenv.Net(t), testenv.Options{}, "-i", path)
		if _, ok := p.Log.Await(testenv.Contains("msg=reading")); !ok {
			t.Fatal(p.Log.Seen())
		}
		return p
	}
	p := start()
	for _, held := range descriptors(t, p.Pid()) {
		if strings.HasSuffix(held, path) {
			t.Errorf("the monitor kept the file that the parser reads: %s", held)
		}
	}
	p.Stop(t)
	p = start()
	testenv.Must(t, os.WriteFile(path, littlePcap.File(fileSeconds, arpFrames...), 0))
	if status := p.Exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if got := len(p.Lines.WaitEnd(t)); got != 3 {
		t.Errorf("%d lines", got)
	}
}

// The parser of a file is confined like that of frames from the LAN, and has the file, a pipe here,
// instead of the socket.
func TestFileConfined(t *testing.T) {
	t.Parallel()
	p, w := startOnPipe(t, testenv.Options{})
	if _, ok := p.Log.Await(testenv.Contains("msg=reading")); !ok {
		t.Fatal(p.Log.Seen())
	}
	want := confined()
	if testenv.Has(testenv.Root) {
		want["Uid"] = "65534 65534 65534 65534"
	}
	checkThreads(t, p, want)
	fds := []string{"0 /dev/null", "1 pipe", "2 pipe", "3 socket", "4 anon_inode", "5 anon_inode", "6 pipe"}
	if diff := cmp.Diff(fds, descriptors(t, p.Child(t))); diff != "" {
		t.Errorf("descriptors of the parser (-want +got):\n%s", diff)
	}
	_, err := w.Write(littlePcap.File(fileSeconds, arpFrames...))
	testenv.Must(t, err)
	testenv.Must(t, w.Close())
	if status := p.Exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// The progress of reading a file is shown on a terminal, and erased at the end.
func TestProgress(t *testing.T) {
	t.Parallel()
	master, slave, err := terminal()
	testenv.Must(t, err)
	defer master.Close()
	defer slave.Close()
	// The reader of the lines stalls until the progress has appeared.
	lines, w, err := os.Pipe()
	testenv.Must(t, err)
	defer lines.Close()
	var content []byte
	for i := range 60_000 {
		content = append(content, littlePcap.Record(fileSeconds, request(macC, address(i)).Bytes(), 60)...)
	}
	path := inputFile(t, slices.Concat(littlePcap.Header(), content))
	p := testenv.Start(t, testenv.Net(t), testenv.Options{Stdout: w, Shell: `exec "$0" "$@" 2>` + slave.Name()}, "--log-level", "error", "-i", path)
	testenv.Must(t, w.Close())
	testenv.Must(t, master.SetReadDeadline(time.Now().Add(testenv.Patience)))
	read := make([]byte, 100)
	n, err := master.Read(read)
	testenv.Must(t, err)
	if !regexp.MustCompile(`^ +\d%\r`).Match(read[:n]) {
		t.Errorf("seen %q", read[:n])
	}
	_, err = io.Copy(io.Discard, lines)
	testenv.Must(t, err)
	if status := p.Exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	n, err = master.Read(read)
	testenv.Must(t, err)
	if !strings.HasSuffix(string(read[:n]), "    \r") || strings.Contains(string(read[:n]), "\n") {
		t.Errorf("seen %q", read[:n])
	}
}
