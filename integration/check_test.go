package integration

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maas-netmon/internal/testenv"
)

const layers = `ok  parser: process N, user UID, group UID, each of N threads looked at from outside
ok  parser: no capability; no_new_privs; bounding set SET
ok  parser: not dumpable
ok  parser: at most N MiB of address space
ok  parser: seccomp, FILTERS when looked at, one more before the first frame
ok  parser: Landlock, ABI N
ok  parser: no memory becomes executable (PR_SET_MDWE)
ok  monitor: no capability; no_new_privs; not dumpable; seccomp
ok  monitor: Landlock, ABI N
ok  monitor: no memory becomes executable (PR_SET_MDWE)
`

// --check starts both processes and prints their state, with different privileges.
func TestCheck(t *testing.T) {
	testenv.Require(t, testenv.Landlock, testenv.Tun)
	ns := testenv.Net(t)
	testenv.Must(t, ns.IP("link", "add", "va", "type", "veth", "peer", "name", "vb"))
	testenv.Must(t, ns.IP("tuntap", "add", "dev", "tun0", "mode", "tun"))
	const permitted = "ok  CAP_NET_RAW: permitted\n"
	for _, c := range []struct {
		name   string
		path   string
		uid    int
		args   []string
		status int
		want   string
	}{
		{"as root", "", 0, []string{"--check", "va"}, 0, permitted +
			"ok  va: is down; frames will come when it is up\nok  va: packet socket, filter locked, ring\n" + layers + "It would run.\n"},
		{"no interface", "", 0, []string{"--check"}, 0, permitted + layers + "It would run.\n"},
		{"missing interface", "", 0, []string{"--check", "va", "eth9"}, 1, permitted +
			"ok  va: is down; frames will come when it is up\nno  eth9: no such network interface\n" + layers + "It would not run.\n"},
		{"interface that is waited for", "", 0, []string{"--check", "--wait", "eth9"}, 0, permitted +
			"ok  eth9: is not there yet; frames will come when it is\nok  eth9: packet socket, filter locked, ring\n" + layers + "It would run.\n"},
		{"not Ethernet", "", 0, []string{"--check", "tun0"}, 4, permitted +
			"ok  tun0: is down; frames will come when it is up\nno  tun0: not an Ethernet interface\n" + layers + "It would not run.\n"},
		{"no capability", testenv.CapableBinary(t, ""), nobody, []string{"--check", "va"}, 1,
			"no  CAP_NET_RAW is missing: no packet socket can be opened\n    hint: sudo setcap cap_net_raw=p PATH\n" +
				"ok  va: is down; frames will come when it is up\n" + layers + "It would not run.\n"},
		{"file capability", testenv.CapableBinary(t, "cap_net_raw=p"), nobody, []string{"--check", "va"}, 0, permitted +
			"ok  va: is down; frames will come when it is up\nok  va: packet socket, filter locked, ring\n" + layers + "It would run.\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.uid != 0 {
				testenv.Require(t, testenv.Root)
			}
			status, stdout, stderr := testenv.Run(t, ns, testenv.Options{Path: c.path, UID: c.uid}, c.args...)
			version, got, _ := strings.Cut(stdout, "\n")
			if !regexp.MustCompile(`^maas-netmon \S+ go1\S*, Linux \S+ \S+$`).MatchString(version) {
				t.Errorf("version: %q", version)
			}
			for _, r := range [][2]string{
				{`process \d+`, "process N"}, {`at most 1[56]\d\d MiB`, "at most N MiB"}, {`of \d+ threads`, "of N threads"}, {`ABI \d+`, "ABI N"},
				{`set [0-9a-f]{16}`, "set SET"}, {`user \d+, group \d+`, "user UID, group UID"},
				{`seccomp, \d+ filters?`, "seccomp, FILTERS"}, {`(cap_net_raw=p) .*`, "$1 PATH"},
			} {
				got = regexp.MustCompile(r[0]).ReplaceAllString(got, r[1])
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if status != c.status || stderr != "" {
				t.Errorf("exit status %d, want %d; standard error %q", status, c.status, stderr)
			}
		})
	}
}
