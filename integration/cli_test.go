package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"maas-netmon/internal/testenv"
)

func TestBadInput(t *testing.T) {
	ns := testenv.Net(t)
	testenv.Must(t, ns.IP("link", "add", "va", "type", "veth", "peer", "name", "vb"))
	const see = "maas-netmon: hint: see maas-netmon --help\n"
	for _, c := range []struct {
		name   string
		args   []string
		status int
		stderr string
	}{
		{"no such interface", []string{"eth9"}, 1, "maas-netmon: eth9: no such network interface\n"},
		{"one of two is missing", []string{"va", "eth9"}, 1, "maas-netmon: eth9: no such network interface\n"},
		{"no interface", nil, 2, "maas-netmon: no INTERFACE given\n" + see},
		{"given twice", []string{"va", "vb", "va"}, 2, "maas-netmon: va: given twice\n" + see},
		{"too long", []string{strings.Repeat("x", 128)}, 2,
			"maas-netmon: \"" + strings.Repeat("x", 32) + "\": longer than the name of an interface can be (127 bytes)\n" + see},
		{"longest", []string{"fifteen-bytes-x"}, 1, "maas-netmon: fifteen-bytes-x: no such network interface\n"},
		{"empty", []string{""}, 2, "maas-netmon: the name of an interface is empty\n" + see},
		{"a path", []string{"../etc"}, 2, "maas-netmon: \"../etc\": invalid interface name\nmaas-netmon: hint: to read a file: maas-netmon -i ../etc\n"},
		{"two lines", []string{"a\nb"}, 2, "maas-netmon: \"a\\nb\": invalid interface name\n" + see},
		{"an escape sequence", []string{"\x1b[31m"}, 1, "maas-netmon: ?[31m: no such network interface\n"},
		{"unknown option", []string{"--bogus", "va"}, 2, "maas-netmon: unknown option --bogus\n" + see},
		{"option behind the interface", []string{"va", "--bogus"}, 2, "maas-netmon: unknown option --bogus\n" + see},
		{"value missing", []string{"va", "--refresh"}, 2, "maas-netmon: --refresh needs a value\n" + see},
		{"refresh too short", []string{"--refresh", "10ms", "va"}, 2,
			"maas-netmon: invalid value 10ms for --refresh: want at least 1s\n" + see},
		{"refresh negative", []string{"--refresh", "-1s", "va"}, 2,
			"maas-netmon: invalid value -1s for --refresh: want at least 1s\n" + see},
		{"refresh no duration", []string{"--refresh", "ten", "va"}, 2,
			"maas-netmon: invalid value \"ten\" for --refresh: want 10s, 10m\n" + see},
		{"no bindings", []string{"--max-bindings", "0", "va"}, 2,
			"maas-netmon: invalid value 0 for --max-bindings: want 1 to 1073741824\n" + see},
		{"too many bindings", []string{"--max-bindings", "99999999999999999999", "va"}, 2,
			"maas-netmon: invalid value \"99999999999999999999\" for --max-bindings: value out of range\n" + see},
		{"moved interval", []string{"--moved-interval", "25h", "va"}, 2,
			"maas-netmon: invalid value 25h0m0s for --moved-interval: want 0 to 24h0m0s\n" + see},
		{"negative moved interval", []string{"--moved-interval", "-1ns", "va"}, 2,
			"maas-netmon: invalid value -1ns for --moved-interval: want 0 to 24h0m0s\n" + see},
		{"max rate", []string{"--max-rate", "-1", "va"}, 2,
			"maas-netmon: invalid value -1 for --max-rate: want 0 to 1000000\n" + see},
		{"max rate with packets", []string{"-v", "--max-rate", "16", "va"}, 2,
			"maas-netmon: invalid value 16 for --max-rate: want at least 17 with -v, for the lines of one packet\n" + see},
		{"format", []string{"--format", "xml", "va"}, 2, "maas-netmon: invalid value \"xml\" for --format: want json or text\n" + see},
		{"stats interval", []string{"--stats-interval", "1ms", "va"}, 2,
			"maas-netmon: invalid value 1ms for --stats-interval: want at least 1s\n" + see},
		{"log level", []string{"--log-level", "loud", "va"}, 2,
			"maas-netmon: invalid value \"loud\" for --log-level: want debug, info, warn or error\n" + see},
		{"role without its socket", []string{"--role", "parser", "va"}, 2,
			"maas-netmon: the parser is started by the program itself, not by hand\n" + see},
		{"unknown role", []string{"--role", "king", "va"}, 2, "maas-netmon: no such role: \"king\"\n" + see},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, stdout, stderr := testenv.Run(t, ns, testenv.Options{}, c.args...)
			if status != c.status || stderr != c.stderr || stdout != "" {
				t.Errorf("exit status %d, want %d\nstandard error %q\nwant           %q\nstandard output %q",
					status, c.status, stderr, c.stderr, stdout)
			}
		})
	}
}

func TestNotEthernet(t *testing.T) {
	testenv.Require(t, testenv.Tun)
	ns := testenv.Net(t)
	testenv.Must(t, ns.IP("tuntap", "add", "dev", "tun0", "mode", "tun"))
	status, _, stderr := testenv.Run(t, ns, testenv.Options{}, "tun0")
	if want := "maas-netmon: tun0: not an Ethernet interface\n"; status != 4 || stderr != want {
		t.Errorf("exit status %d, want 4; standard error %q, want %q", status, stderr, want)
	}
}

// The user that the program becomes has no rights, for any accounts of the machine.
func TestUser(t *testing.T) {
	testenv.Require(t, testenv.Root)
	ns := testenv.Net(t)
	testenv.Must(t, ns.IP("link", "add", "va", "type", "veth", "peer", "name", "vb"))
	passwd := filepath.Join(testenv.Dir(t), "passwd")
	const see = "maas-netmon: hint: see maas-netmon --help\n"
	const choose = "maas-netmon: hint: --user NAME chooses another\n"
	for _, c := range []struct {
		name     string
		accounts string // user:x:uid:gid, one per line
		user     string // --user
		status   int
		stderr   string
	}{
		{"no such user", "", "mallory", 2, "maas-netmon: --user mallory: no such user\n" + see},
		{"root", "root:x:0:0", "root", 2, "maas-netmon: --user root: refusing to run as root\n" + see},
		{"root by another name", "toor:x:0:7", "toor", 2, "maas-netmon: --user toor: refusing to run as root\n" + see},
		{"root's number and 2^32", "toor:x:4294967296:7", "toor", 2,
			"maas-netmon: --user toor: uid: strconv.ParseUint: parsing \"4294967296\": value out of range\n" + see},
		{"root's group", "toor:x:7:0", "toor", 2, "maas-netmon: --user toor: refusing to run with root's group\n" + see},
		{"root's group and 2^32", "toor:x:7:4294967296", "toor", 2,
			"maas-netmon: --user toor: gid: strconv.ParseUint: parsing \"4294967296\": value out of range\n" + see},
		{"the default is root", "maas-netmon:x:0:7", "", 5,
			"maas-netmon: the user to become: maas-netmon: refusing to run as root\n" + choose},
		{"the default has root's group", "maas-netmon:x:7:0\nnobody:x:7:7", "", 5,
			"maas-netmon: the user to become: maas-netmon: refusing to run with root's group\n" + choose},
		{"nobody has root's group", "nobody:x:7:0", "", 5,
			"maas-netmon: the user to become: nobody: refusing to run with root's group\n" + choose},
	} {
		t.Run(c.name, func(t *testing.T) {
			accounts := ""
			for _, a := range strings.Fields(c.accounts) {
				accounts += a + "::/:/bin/sh\n"
			}
			testenv.Must(t, os.WriteFile(passwd, []byte(accounts), 0o644))
			args := []string{"va"}
			if c.user != "" {
				args = []string{"--user", c.user, "va"}
			}
			o := testenv.Options{Shell: `exec unshare --mount sh -c 'mount --bind ` + passwd + ` /etc/passwd && exec "$0" "$@"' "$0" "$@"`}
			status, _, stderr := testenv.Run(t, ns, o, args...)
			if status != c.status || stderr != c.stderr {
				t.Errorf("exit status %d, want %d\nstandard error %q\nwant           %q", status, c.status, stderr, c.stderr)
			}
		})
	}
}

// A user other than root cannot become another user, and the message explains that.
func TestUserNotRoot(t *testing.T) {
	testenv.Require(t, testenv.Root)
	path := testenv.CapableBinary(t, "cap_net_raw=p")
	status, _, stderr := testenv.Run(t, testenv.Net(t), testenv.Options{Path: path, UID: nobody}, "--user", "daemon", "lo")
	want := "maas-netmon: --user daemon: not started as root, it cannot become another user\n" +
		"maas-netmon: hint: see maas-netmon --help\n"
	if status != 2 || stderr != want {
		t.Errorf("exit status %d, want 2; standard error %q, want %q", status, stderr, want)
	}
}

// Without the capability, the message names it and the command that adds it.
func TestNoCapability(t *testing.T) {
	testenv.Require(t, testenv.Root)
	ns := testenv.Net(t)
	path := testenv.CapableBinary(t, "")
	status, _, stderr := testenv.Run(t, ns, testenv.Options{Path: path, UID: nobody}, "lo")
	want := "maas-netmon: CAP_NET_RAW is missing: no packet socket can be opened\n" +
		"maas-netmon: hint: sudo setcap cap_net_raw=p " + path + "\n"
	if status != 1 || stderr != want {
		t.Errorf("exit status %d, want 1; standard error %q, want %q", status, stderr, want)
	}
}

func TestStandardOutput(t *testing.T) {
	for _, c := range []struct {
		name, redirect, want string
	}{
		{"closed", ">&-", "maas-netmon: standard output is closed"},
		{"closed, and standard input", ">&- <&-", "maas-netmon: standard output is closed"},
		{"not for writing", "1</dev/null", "maas-netmon: standard output is not open for writing"},
		{"full", ">/dev/full", "maas-netmon: standard output: write: no space left on device"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := testenv.RawPair(t)
			p := testenv.Start(t, a.Namespace, testenv.Options{Shell: `exec "$0" "$@" ` + c.redirect}, a.Name)
			if c.name == "full" { // fails only when something is written
				p.Ready(t)
				testenv.Must(t, b.Port(t).Send(request(macC, "10.0.0.5").Bytes()))
			}
			if status := p.Exit(t); status != 1 {
				t.Errorf("exit status %d, want 1", status)
			}
			if got := errorLines(p.Log.WaitEnd(t)); len(got) != 1 || got[0] != c.want {
				t.Errorf("errors %q, want %q", got, c.want)
			}
		})
	}
}

// All lines can be written to a file, too.
func TestStandardOutputIsAFile(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	file, err := os.CreateTemp(t.TempDir(), "lines")
	testenv.Must(t, err)
	defer file.Close()
	p := testenv.Watch(t, a.Namespace, testenv.Options{Stdout: file}, a.Name)
	port := b.Port(t)
	const n = 2000
	for i := range n {
		testenv.Must(t, port.Send(request(macC, address(i)).Bytes()))
	}
	p.Stop(t)
	content, err := os.ReadFile(file.Name())
	testenv.Must(t, err)
	if got := strings.Count(string(content), "}\n"); got != n {
		t.Errorf("%d lines, want %d", got, n)
	}
}

func TestHelpAndVersion(t *testing.T) {
	ns := testenv.Net(t)
	for _, c := range []struct{ arg, want string }{
		{"--help", `^Usage: maas-netmon \[OPTION\]\.\.\. INTERFACE\.\.\.\n`},
		{"-h", `^Usage: maas-netmon \[OPTION\]\.\.\. INTERFACE\.\.\.\n`},
		{"--version", `^maas-netmon \S+ go1\.\S+\n$`},
	} {
		// Not JSON, so the lines are compared as they are.
		r, w, err := os.Pipe()
		testenv.Must(t, err)
		p := testenv.Start(t, ns, testenv.Options{Stdout: w}, c.arg)
		testenv.Must(t, w.Close())
		out := make([]byte, 1<<16)
		n, err := r.Read(out)
		testenv.Must(t, err)
		testenv.Must(t, r.Close())
		if status := p.Exit(t); status != 0 || !regexp.MustCompile(c.want).Match(out[:n]) {
			t.Errorf("%s: exit status %d, standard output %q", c.arg, status, out[:n])
		}
		if seen := p.Log.WaitEnd(t); len(seen) != 0 {
			t.Errorf("%s: standard error %q", c.arg, seen)
		}
	}
}

// The level can come from the environment, as in MAAS; an option overrides it, and an invalid level
// in the environment is not an error.
func TestLogLevel(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	for _, c := range []struct {
		name string
		env  []string
		args []string
		want []string // a part of each line of the log
	}{
		{"error", []string{"LOG_LEVEL=error"}, nil, nil},
		{"upper case", []string{"LOG_LEVEL=ERROR"}, nil, nil},
		{"an option", nil, []string{"--log-level", "warn"}, nil},
		{"an option overrides", []string{"LOG_LEVEL=error"}, []string{"--log-level=info"},
			[]string{"msg=watching", "msg=counters"}},
		{"debug", []string{"LOG_LEVEL=debug"}, nil, []string{"msg=watching", "msg=stopping", "msg=counters"}},
		{"nonsense", []string{"LOG_LEVEL=loud"}, nil, []string{`level=WARN msg="invalid environment variable, using the default"`, "msg=watching", "msg=counters"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := testenv.Start(t, a.Namespace, testenv.Options{Env: c.env}, append(c.args, a.Name)...)
			if len(c.want) != 0 {
				p.Ready(t)
			}
			seen := p.Lines.Expect(testenv.IP(fence))
			port := b.Port(t)
			for !seen.Met() { // at this level no line reports the start
				testenv.Must(t, port.Send(request(macD, fence).Bytes()))
				seen.Wait(10e6)
			}
			p.Stop(t)
			got := p.Log.WaitEnd(t)
			for i := range max(len(got), len(c.want)) {
				if i >= len(got) || i >= len(c.want) || !strings.Contains(got[i], c.want[i]) {
					t.Fatalf("log %q, want lines that hold %q", got, c.want)
				}
			}
		})
	}
}
