package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/attack"
	"maas-netmon/internal/testenv"
)

// TestAttack tries each act of internal/attack inside the real parser and the real monitor while
// they run, and checks the outcome in the table. It also tries each act unconfined, to check that
// it is possible there.
func TestAttack(t *testing.T) {
	testenv.Require(t, testenv.Netns)
	t.Parallel()
	binary := testenv.TestBin(t, "attack")
	int80 := probeInt80(t, binary)
	t.Run("confined", func(t *testing.T) {
		t.Parallel()
		testConfined(t, binary, int80)
	})
	t.Run("with --ipv6", func(t *testing.T) {
		t.Parallel()
		testConfinedIPv6(t, binary, int80)
	})
	t.Run("reading a file", func(t *testing.T) {
		t.Parallel()
		testFileConfined(t, binary, int80)
	})
	t.Run("unconfined", func(t *testing.T) {
		t.Parallel()
		testUnconfined(t, binary, int80)
	})
	t.Run("named", func(t *testing.T) {
		t.Parallel()
		testNamed(t)
	})
	t.Run("not shipped", func(t *testing.T) {
		t.Parallel()
		testNotShipped(t, binary)
	})
}

// probeInt80 returns why int 0x80 cannot be tried on this machine, or nil.
func probeInt80(t *testing.T, binary string) error {
	a, _ := testenv.RawPair(t)
	return a.Do(func() error {
		out, err := exec.Command("unshare", "--mount", "--ipc", "--uts", binary,
			"--attack", "unconfined/main/getpid by int 0x80", a.Name).CombinedOutput()
		if err != nil {
			line, _, _ := bytes.Cut(out, []byte("\n"))
			return fmt.Errorf("int 0x80 without confinement: %w: %s", err, line)
		}
		return nil
	})
}

// requireSupport skips an act that the machine does not support: by int 0x80, with the error int80,
// or with memory that the kernel may drop.
func requireSupport(t *testing.T, act string, int80 error) {
	t.Helper()
	if act == "memory that the kernel may drop" {
		testenv.Require(t, testenv.Droppable)
	}
	if int80 != nil && strings.HasSuffix(act, " by int 0x80") {
		testenv.Lacks(t, testenv.Int80, int80)
	}
}

// testNamed checks that the build with the tag trap prints the name of a refused system call, in
// either process.
func testNamed(t *testing.T) {
	binary := testenv.TestBin(t, "attack", "trap")
	a, _ := testenv.RawPair(t)
	for _, process := range []string{"parser", "monitor"} {
		p := testenv.Start(t, a.Namespace, testenv.Options{Path: binary}, "--attack", process+"/main/socket AF_INET", a.Name)
		if status := p.Exit(t); status != 5 {
			t.Errorf("%s: exit status %d, want 5", process, status)
		}
		want := fmt.Sprintf("maas-netmon: the system call socket (%d) is not allowed", unix.SYS_SOCKET)
		if got := p.Log.WaitEnd(t); !slices.Contains(got, want) {
			t.Errorf("%s: %q, want %q", process, got, want)
		}
	}
}

// testConfined tries the table in each process, from the main thread and from a thread created
// after the confinement.
func testConfined(t *testing.T, binary string, int80 error) {
	a, b := testenv.RawPair(t)
	sniffed := b.Sniff(t)
	t.Run("try", func(t *testing.T) {
		for _, act := range attack.Acts() {
			t.Run(act.Name, func(t *testing.T) {
				t.Parallel()
				requireSupport(t, act.Name, int80)
				var attempts []attempt // concurrently: a start is mostly waiting
				for process, want := range map[string]attack.Outcome{"parser": act.Parser, "monitor": act.Monitor} {
					for _, thread := range []string{"main", "fresh"} {
						if want == attack.NotTried {
							continue
						}
						p := testenv.Start(t, a.Namespace, testenv.Options{Path: binary},
							"--attack", process+"/"+thread+"/"+act.Name, a.Name)
						attempts = append(attempts, attempt{p, act.Name, process, thread, want})
					}
				}
				for _, attempt := range attempts {
					if err := attempt.check(t); err != nil {
						t.Errorf("%s, %s thread: %v; log:\n%s", attempt.process, attempt.thread, err,
							strings.Join(attempt.program.Log.Seen(), "\n"))
					}
				}
			})
		}
	})
	// A frame from an act would arrive before this one.
	fence := sniffed.Expect(testenv.From(macD))
	testenv.Must(t, a.Port(t).Send(request(macD, "10.9.9.9").Bytes()))
	fence.Await(t)
	for _, act := range attack.Acts() {
		if slices.ContainsFunc(sniffed.Seen(), testenv.From(attack.Source(act.Name))) {
			t.Errorf("%s: a frame was transmitted", act.Name)
		}
	}
}

// testConfinedIPv6 tries the acts on sockets with --ipv6, under which the monitor may do two more.
// What it receives with them still has to pass the filter.
func testConfinedIPv6(t *testing.T, binary string, int80 error) {
	a, _ := testenv.RawPair(t)
	groups := []string{"transmit a frame", "receive more than the filter lets pass", "reach the network, or a local service"}
	for _, act := range attack.Acts() {
		if !slices.Contains(groups, act.Group) {
			continue
		}
		t.Run(act.Name, func(t *testing.T) {
			t.Parallel()
			requireSupport(t, act.Name, int80)
			for process, want := range map[string]attack.Outcome{"parser": act.Parser, "monitor": act.Monitor} {
				if process == "monitor" && slices.Contains([]string{"enter promiscuous mode", "receive all multicast"}, act.Name) {
					want = attack.Done
				}
				if want == attack.NotTried {
					continue
				}
				p := testenv.Start(t, a.Namespace, testenv.Options{Path: binary},
					"--ipv6", "--attack", process+"/main/"+act.Name, a.Name)
				if err := (attempt{p, act.Name, process, "main", want}).check(t); err != nil {
					t.Errorf("%s: %v; log:\n%s", process, err, strings.Join(p.Log.Seen(), "\n"))
				}
			}
		})
	}
}

// testFileConfined tries the acts in a parser that reads a file, which is in the place of the
// packet socket: the parser may read the file, and nothing else.
func testFileConfined(t *testing.T, binary string, int80 error) {
	path := inputFile(t, littlePcap.File(fileSeconds, arpFrames...))
	ns := testenv.Net(t)
	for _, act := range attack.Acts() {
		if act.Parser != attack.Killed && act.Name != "nothing at all" {
			continue
		}
		t.Run(act.Name, func(t *testing.T) {
			t.Parallel()
			requireSupport(t, act.Name, int80)
			want := act.Parser
			if act.Name == "read" {
				want = attack.Done
			}
			p := testenv.Start(t, ns, testenv.Options{Path: binary}, "--attack", "parser/main/"+act.Name, "-i", path)
			got, survived := outcome(p, act.Name)
			if !survived {
				got = attack.Killed
			}
			status := map[attack.Outcome]int{attack.Done: 0, attack.Killed: 5}[want]
			if act.Name == "read" {
				status = 2 // the act has read the header
			}
			if s := p.Exit(t); got != want || s != status || !slices.Contains(p.Log.WaitEnd(t), "attack: "+act.Name+": now") {
				t.Errorf("it is %s, exit status %d, want %s, %d; log:\n%s", got, s, want, status, strings.Join(p.Log.Seen(), "\n"))
			}
		})
	}
}

// An attempt is a program that tries an act.
type attempt struct {
	program               *testenv.Program
	name, process, thread string
	want                  attack.Outcome
}

// check checks the outcome of the act, and the end of the program.
func (a attempt) check(t *testing.T) error {
	p := a.program
	got, survived := outcome(p, a.name)
	if !slices.Contains(p.Log.Seen(), "attack: "+a.name+": now") {
		return errors.New("it was not tried")
	}
	if !survived {
		got = attack.Killed
	}
	if got != a.want {
		return fmt.Errorf("it is %s, want %s", got, a.want)
	}
	for _, line := range p.Log.Seen() {
		if _, held, ok := strings.Cut(line, "attack: "+a.name+" holds "); ok {
			var n int
			if _, err := fmt.Sscanf(held, "%d MiB", &n); err != nil || n == 0 || n > attack.MaxMemory>>21 {
				return fmt.Errorf("it held %q, want less than %d MiB", held, attack.MaxMemory>>21)
			}
		}
	}
	switch {
	case survived:
		// The program continues normally.
		p.Signal(t, sigTERM)
		if status := p.Exit(t); status != 0 {
			return fmt.Errorf("exit status %d", status)
		}
	case a.process == "monitor":
		// The log ends when the parser has ended, too.
		if by := p.Killer(t); by != syscall.SIGSYS {
			return fmt.Errorf("the monitor was ended by %v, want SIGSYS", by)
		}
	default:
		if status := p.Exit(t); status != 5 {
			return fmt.Errorf("exit status %d, want 5", status)
		}
		if !slices.ContainsFunc(p.Log.Seen(), testenv.Contains("the parser was killed by seccomp")) {
			return errors.New("seccomp is not named")
		}
	}
	return nil
}

// outcome waits for the outcome of an act, and reports whether its process survived.
func outcome(p *testenv.Program, name string) (attack.Outcome, bool) {
	prefix := "attack: " + name + ": "
	p.Log.Await(testenv.Contains(prefix)) // the start has a time of its own
	line, ok := p.Log.Await(testenv.Contains(prefix), testenv.Not(testenv.Contains(": now")))
	return attack.Outcome(strings.TrimPrefix(line, prefix)), ok
}

// testUnconfined tries the table in a process without the sandbox. An act with the same outcome
// everywhere would not prove that the sandbox refused it.
func testUnconfined(t *testing.T, binary string, int80 error) {
	a, b := testenv.RawPair(t)
	sniffed := b.Sniff(t)
	// A container's own filter refuses some of them.
	contained := testenv.Status(t, os.Getpid())[0]["Seccomp"] != "0"
	for _, act := range attack.Acts() {
		if act.Unconfined == attack.NotTried {
			continue
		}
		t.Run(act.Name, func(t *testing.T) {
			t.Parallel()
			requireSupport(t, act.Name, int80)
			sent := sniffed.Expect(testenv.From(attack.Source(act.Name)))
			p := testenv.Start(t, a.Namespace, testenv.Options{Path: binary, Shell: `exec unshare --mount --ipc --uts "$0" "$@"`},
				"--attack", "unconfined/main/"+act.Name, a.Name)
			got, survived := outcome(p, act.Name)
			if by := p.Killer(t); !survived || by != 0 {
				t.Fatalf("it was ended by %v; log: %q", by, p.Log.Seen())
			}
			if contained && got != attack.Done {
				t.Logf("NOT SHOWN TO BE POSSIBLE: the tests run under a seccomp filter themselves: %s", got)
				return
			}
			if want := act.Unconfined; got == "ENOSYS" && want != got && want != attack.Whatever {
				testenv.Lacks(t, testenv.Calls, unix.ENOSYS)
			}
			switch want := act.Unconfined; want {
			case attack.Whatever:
			case attack.Sent:
				if got != attack.Done {
					t.Fatalf("it is %s, want a frame", got)
				}
				sent.Await(t)
			case attack.DoneByRoot:
				if got != attack.Done && testenv.Has(testenv.Root) {
					t.Errorf("it is %s, want it done", got)
				}
			default:
				if got != want {
					t.Errorf("it is %s, want %s", got, want)
				}
			}
		})
	}
}

// The table matches the description in doc/threat-model.md.
func TestAttackTable(t *testing.T) {
	seen := map[string]bool{}
	killed := map[string]int{}
	var shown int
	for _, act := range attack.Acts() {
		if act.Name == "" || act.Group == "" || seen[act.Name] {
			t.Errorf("%q: no name, no group, or the name of another", act.Name)
		}
		seen[act.Name] = true
		if act.Parser == attack.Killed {
			killed["parser"]++
		}
		if act.Monitor == attack.Killed {
			killed["monitor"]++
		}
		if act.Unconfined == attack.Done || act.Unconfined == attack.Sent || act.Unconfined == attack.DoneByRoot {
			shown++
		}
	}
	t.Logf("%d acts; killed: %v; known to succeed unconfined: %d", len(seen), killed, shown)
	if killed["parser"] < 100 || killed["monitor"] < 100 || shown < 100 {
		t.Error("want at least 100 of each")
	}
}

// testNotShipped checks that the shipped program has no code of internal/attack.
func testNotShipped(t *testing.T, binary string) {
	trace := []byte("maas-netmon/internal/attack")
	for path, want := range map[string]bool{testenv.Binary(t): false, binary: true} {
		content, err := os.ReadFile(path)
		testenv.Must(t, err)
		if got := bytes.Contains(content, trace); got != want {
			t.Errorf("%s contains the attacks: %v, want %v", path, got, want)
		}
	}
	status, _, stderr := testenv.Run(t, testenv.Net(t), testenv.Options{}, "--attack", "parser/main/open", "lo")
	if status != 2 || !strings.Contains(stderr, "unknown option --attack") {
		t.Errorf("exit status %d, %q", status, stderr)
	}
}
