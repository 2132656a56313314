package integration

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"maas-netmon/internal/testenv"
)

// journald is a shell command line that starts a separate journald, in a mount namespace, and runs
// "$0" "$@" with standard output and error to it, as the unit %[1]s. It waits for the first message
// of journald itself: journalctl --follow ends at once if the journal is empty. The limit of
// messages of a unit is Debian's default, 10,000 in 30 s, which journald raises with the free
// space.
const journald = `
exec unshare --mount --propagation private sh -euc '
mount -t tmpfs none /run
mount -t tmpfs none /etc/systemd
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /run/log/journal /run/systemd /sys/fs/cgroup/%[1]s
echo "[Journal]
Storage=volatile
RuntimeMaxUse=64M
ReadKMsg=no
Audit=no
ForwardToWall=no
RateLimitIntervalSec=30s
RateLimitBurst=10000" >/etc/systemd/journald.conf
(%[2]s </dev/null >/dev/null 2>&1 &)
until [ -S /run/systemd/journal/stdout ] &&
	journalctl --quiet --directory=/run/log/journal --lines=1 | grep -q .; do sleep 0.05; done
echo journald runs >&2
echo $$ >/sys/fs/cgroup/%[1]s/cgroup.procs
exec systemd-cat --identifier=maas-netmon "$0" "$@"' "$0" "$@"`

// A takeover during a flood of invented addresses is in the journal soon with the unit's
// --max-rate, and never without one, because journald drops messages beyond its limit.
func TestTakeoverIsInTheJournal(t *testing.T) {
	t.Parallel()
	testenv.Require(t, testenv.Root, testenv.Journald)
	for name, options := range map[string][]string{
		"with the unit's limit": {"--max-rate", unitRate(t)},
		"without a limit":       nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := testenv.RawPair(t)
			unit := fmt.Sprintf("netmon-test-%d-%d.service", os.Getpid(), len(options))
			t.Cleanup(func() { // after the program has ended
				out, err := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c",
					"mount -t cgroup2 none /sys/fs/cgroup && rmdir /sys/fs/cgroup/"+unit).CombinedOutput()
				if err != nil {
					t.Logf("remove cgroup: %v: %s", err, out)
				}
			})
			p := testenv.Start(t, a.Namespace, testenv.Options{
				Shell: fmt.Sprintf(journald, unit, testenv.JournaldPath),
				Env:   []string{"PATH=" + os.Getenv("PATH")},
			}, append(options, a.Name)...)
			if _, ok := p.Log.Await(testenv.Contains("journald runs")); !ok {
				t.Fatal("journald did not start")
			}
			journal := follow(t, fmt.Sprintf("/proc/%d/root/run/log/journal", p.Pid()), unit)
			port := b.Port(t)
			first := journal.Expect(testenv.Contains(`"ip":"10.0.0.5"`))
			for deadline := time.Now().Add(testenv.Patience); !first.Wait(100*time.Millisecond) && time.Now().Before(deadline); {
				testenv.Must(t, port.Send(request(macC, "10.0.0.5").Bytes()))
			}
			first.Await(t)
			takeover := journal.Expect(testenv.Contains(`"previous_mac":"`))
			pace(t, port, 60_000, 20_000, invented)
			testenv.Must(t, port.Send(request(macD, "10.0.0.5").Bytes()))
			if options != nil {
				takeover.Await(t)
			} else if takeover.Wait(3 * time.Second) {
				t.Error("the takeover is in the journal without --max-rate: this test shows nothing")
			}
			p.Stop(t)
		})
	}
}

// follow returns the messages of a unit in a journal, as they come.
func follow(t *testing.T, directory, unit string) *testenv.Stream[string] {
	t.Helper()
	cmd := exec.Command("journalctl", "--follow", "--lines=all", "--quiet", "--output=cat", "--directory", directory, "_SYSTEMD_UNIT="+unit)
	stdout, err := cmd.StdoutPipe()
	testenv.Must(t, err)
	testenv.Must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return testenv.Lines(stdout)
}

// unitRate returns the value of --max-rate in the unit.
func unitRate(t *testing.T) string {
	t.Helper()
	unit, err := os.ReadFile("../systemd/maas-netmon@.service")
	testenv.Must(t, err)
	_, rest, ok := strings.Cut(string(unit), "--max-rate ")
	rate, _, _ := strings.Cut(rest, " ")
	if !ok {
		t.Fatal("the unit has no --max-rate")
	}
	return rate
}
