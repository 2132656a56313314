package integration

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// serviceManager listens like systemd and returns the environment of a service, and its messages.
func serviceManager(t *testing.T) (env []string, said *testenv.Stream[string]) {
	t.Helper()
	path := filepath.Join(testenv.Dir(t), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	testenv.Must(t, err)
	testenv.Must(t, os.Chmod(path, 0o777))
	said = testenv.NewStream[string]("notifications")
	ended := make(chan bool)
	go func() {
		defer close(ended)
		defer said.End()
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			said.Publish(string(b[:n]))
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-ended
	})
	return []string{"NOTIFY_SOCKET=" + path}, said
}

// The service manager receives messages when both processes are confined and the parser reads,
// about the status, and at the end.
func TestServiceManager(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	env, said := serviceManager(t)
	ready := said.Expect(testenv.Contains("READY=1"))
	p := testenv.Start(t, a.Namespace, testenv.Options{Env: append(env, "WATCHDOG_USEC=100000")}, a.Name)
	if got := ready.Value(t); got != "READY=1\nSTATUS=0 bindings; 0 frames, 0 of them lost" {
		t.Errorf("ready: %q", got)
	}
	checkThreads(t, p, confined())
	counted := said.Expect(testenv.Contains("WATCHDOG=1\nSTATUS=1 bindings; 1 frames, 0 of them lost"))
	sendFence(t, p, b.Port(t)).Await(t)
	counted.Await(t)
	stopping := said.Expect(func(s string) bool { return s == "STOPPING=1" })
	p.Signal(t, sigTERM)
	stopping.Await(t)
	if status := p.Exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// statusOf is the predicate that this is the status of the interfaces, before the counters.
func statusOf(interfaces string) func(string) bool {
	return func(said string) bool {
		for line := range strings.Lines(said) {
			if status, ok := strings.CutPrefix(line, "STATUS="); ok {
				before, _, found := strings.Cut(status, "0 bindings; ")
				return found && before == interfaces
			}
		}
		return false
	}
}

// An interface from which no frame can be received is in the status, with the reason, from the
// start and after each change, and gives a warning.
func TestStatusOfInterfaces(t *testing.T) {
	t.Parallel()
	ns := testenv.Net(t)
	env, said := serviceManager(t)
	missing := said.Expect(testenv.Contains("READY=1"), statusOf("va: absent; "))
	p := testenv.Start(t, ns, testenv.Options{Env: env}, "--wait", "va")
	warned := p.Log.Expect(testenv.Contains(`level=WARN msg="interface is not there, waiting for it" interface=va`))
	missing.Await(t)
	warned.Await(t)
	for _, step := range []struct{ command, status, warning string }{
		{"link add va type veth peer name vb", "va: down; ", "interface is down"},
		{"link set va up", "va: no carrier; ", "interface has no carrier"},
		{"link set vb up", "", ""},
		{"link set vb down", "va: no carrier; ", "interface has no carrier"},
		{"link del va", "va: absent; ", "interface is gone, waiting for it"},
	} {
		told := said.Expect(statusOf(step.status))
		warned := p.Log.Expect(testenv.Contains("level=WARN"), testenv.Contains(step.warning), testenv.Contains("interface=va"))
		testenv.Must(t, ns.IP(strings.Fields(step.command)...))
		told.Await(t)
		if step.warning != "" {
			warned.Await(t)
		}
	}
}

// A pattern that no interface matches is in the status, and so are its interfaces.
func TestStatusOfPatterns(t *testing.T) {
	t.Parallel()
	ns := testenv.Net(t)
	env, said := serviceManager(t)
	none := said.Expect(statusOf("va*: absent; "))
	p := testenv.Start(t, ns, testenv.Options{Env: env}, "--match", "va*")
	unmatched := testenv.Contains(`level=WARN msg="no interface matches, waiting for one" match=va*`)
	warned := p.Log.Expect(unmatched)
	none.Await(t)
	warned.Await(t)
	for _, step := range []struct{ command, status string }{
		{"link add va1 type veth peer name vb1", "va1: down; "},
		{"link set va1 up", "va1: no carrier; "},
		{"link set vb1 up", ""},
		{"link add va2 type veth peer name vb2", "va2: down; "},
		{"link del va2", ""},
	} {
		told := said.Expect(statusOf(step.status))
		testenv.Must(t, ns.IP(strings.Fields(step.command)...))
		told.Await(t)
	}
	again, none := p.Log.Expect(unmatched), said.Expect(statusOf("va*: absent; "))
	testenv.Must(t, ns.IP("link", "del", "va1"))
	again.Await(t)
	none.Await(t)

	// Of many interfaces, only the first ones.
	many := said.Expect(testenv.Contains("va10: down; va11: down; va12: down; va13: down; va14: down; 3 more are not up; 0 bindings; "))
	var add strings.Builder
	for i := range 8 {
		fmt.Fprintf(&add, "link add va1%d type veth peer name vb1%d\n", i, i)
	}
	testenv.Must(t, ns.Batch(add.String()))
	many.Await(t)
}

// A layer that the kernel lacks is reported once, not as a warning.
func TestMissingLayers(t *testing.T) {
	t.Parallel()
	a, _ := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	p.Stop(t)
	check := strings.Join(p.Log.WaitEnd(t), "\n")
	for missing, said := range map[string]string{"mdwe=false": "this kernel has no PR_SET_MDWE", "landlock=0": "this kernel has no Landlock"} {
		want := strings.Count(check, missing) // as in the line about the start
		if got := strings.Count(check, `level=INFO msg="`+said+`"`); got != want || strings.Count(check, said) != want {
			t.Errorf("%q %d times, want %d:\n%s", said, got, want, check)
		}
	}
}

// The watchdog is not fed while the parser is stuck.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	a, _ := testenv.RawPair(t)
	env, said := serviceManager(t)
	fed := said.Expect(testenv.Contains("WATCHDOG=1"))
	p := testenv.Watch(t, a.Namespace, testenv.Options{Env: append(env, "WATCHDOG_USEC=100000")}, "--log-level", "debug", a.Name)
	fed.Await(t)
	parser := openProcess(t, p.Child(t))
	stuck := p.Log.Expect(testenv.Contains("the parser has not answered"))
	testenv.Must(t, unix.PidfdSendSignal(parser, unix.SIGSTOP, nil, 0))
	stuck.Await(t)
	hungry := said.Expect(testenv.Contains("WATCHDOG=1"))
	hungry.NotBefore(t, p.Log.ExpectN(5, testenv.Contains("the parser has not answered")))
	again := said.Expect(testenv.Contains("WATCHDOG=1"))
	testenv.Must(t, unix.PidfdSendSignal(parser, unix.SIGCONT, nil, 0))
	again.Await(t)
}

// The variables of a watchdog for another process are ignored.
func TestWatchdogOfAnotherProcess(t *testing.T) {
	t.Parallel()
	a, _ := testenv.RawPair(t)
	env, said := serviceManager(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{Env: append(env, "WATCHDOG_USEC=20000", "WATCHDOG_PID=1")}, a.Name)
	fed := said.Expect(testenv.Contains("WATCHDOG=1"))
	asked := p.Log.Expect(testenv.Contains("msg=counters"))
	p.Signal(t, unix.SIGUSR1)
	asked.Await(t)
	p.Stop(t)
	fed.Wait(0)
	if n := strings.Count(fmt.Sprint(said.Seen()), "WATCHDOG=1"); n > 3 { // one per round of answers
		t.Errorf("fed %d times", n)
	}
}

// Messages to the journal have their priority, and no time, which the journal adds.
func TestJournal(t *testing.T) {
	t.Parallel()
	a, _ := testenv.RawPair(t)
	r, w, err := os.Pipe()
	testenv.Must(t, err)
	defer r.Close()
	var st unix.Stat_t
	testenv.Must(t, unix.Fstat(int(w.Fd()), &st))
	env := []string{fmt.Sprintf("JOURNAL_STREAM=%d:%d", st.Dev, st.Ino)}
	testenv.Must(t, a.Down())
	p := testenv.Start(t, a.Namespace, testenv.Options{Stderr: w, Env: env}, a.Name)
	reader := testenv.Lines(r)
	reader.Expect(testenv.Contains("interface is down")).Wait(testenv.Patience)
	p.Stop(t)
	testenv.Must(t, w.Close())
	got := regexp.MustCompile(`parser=\d+ landlock=\d+ mdwe=\w+`).ReplaceAllString(strings.Join(reader.WaitEnd(t), "\n"), "PARSER")
	want := `<6>msg=watching interfaces=[va] PARSER
<4>msg="interface is down" interface=va
<6>msg=counters interface=va frames=0 bytes=0 dropped=0`
	if !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// Errors of either process, too.
	for _, args := range [][]string{{"eth9"}, {"--bogus"}} {
		r, w, err := os.Pipe()
		testenv.Must(t, err)
		defer r.Close()
		testenv.Must(t, unix.Fstat(int(w.Fd()), &st))
		env := []string{fmt.Sprintf("JOURNAL_STREAM=%d:%d", st.Dev, st.Ino)}
		testenv.Start(t, a.Namespace, testenv.Options{Stderr: w, Env: env}, args...).Exit(t)
		testenv.Must(t, w.Close())
		for _, line := range testenv.Lines(r).WaitEnd(t) {
			if !strings.HasPrefix(line, "<3>maas-netmon: ") {
				t.Errorf("%q: %q", args, line)
			}
		}
	}
}
