package integration

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// If the parser violates the protocol in any way, the monitor kills it and ends, with a status and
// one line with the reason. internal/testbin/liar is the lying parser; the monitor is that of the
// shipped program.
func TestLyingParser(t *testing.T) {
	liar := testenv.TestBin(t, "liar")
	const (
		malformed  = "the parser was killed: malformed message: "
		unexpected = malformed + "unexpected "
	)
	type outcome struct {
		status int
		says   string // the beginning of the error line
	}
	seccomp := outcome{5, "the parser was killed by seccomp"}
	lies := map[string]outcome{
		"exit":       {1, "the parser exited unexpectedly"},
		"exit-late":  {1, "the parser exited unexpectedly"},
		"exit-usage": {1, "the parser ended with exit status 2"}, // like a crash of the Go runtime
		"exit-99":    {1, "the parser ended with exit status 99"},

		"unconfined": {5, "the parser is not confined: "},
		"hidden":     {5, "the parser is not confined: "},
		"dumpable":   {5, "the parser is not confined: process "},

		"close":         {1, "the parser was killed: it closed its socket and went on"},
		"shutdown":      {1, "the parser was killed: it closed its socket and went on"},
		"close-late":    seccomp,
		"shutdown-late": seccomp,
		"empty":         {5, malformed + "0 bytes, want 200"},

		"short":      {5, malformed + "199 bytes, want 200"},
		"byte":       {5, malformed + "1 bytes, want 200"},
		"long":       {5, malformed + "201 bytes, want 200"},
		"very-long":  {5, malformed + "201 bytes, want 200"}, // only this much is read
		"version":    {5, malformed + "version 2, want 1"},
		"type-0":     {5, malformed + "type 0"},
		"type-99":    {5, malformed + "type 99"},
		"reserved":   {5, malformed + "reserved bytes"},
		"short-late": {5, malformed + "8 bytes, want 200"},
		"long-late":  {5, malformed + "201 bytes, want 200"},

		"ready-first":  {5, unexpected + "ready 0"},
		"pong-first":   {5, unexpected + "pong 0"},
		"stop-first":   {5, unexpected + "stop 0"},
		"socket-first": {5, unexpected + "socket 0"},
		"hello-twice":  {5, unexpected + "hello 0"},
		"hello-late":   {5, unexpected + "hello 0"},
		"ready-twice":  {5, unexpected + "ready 0"},
		"ping-back":    {5, unexpected + "ping 0"},
		"end-of-what":  {5, unexpected + "end 0"},
		"pong-unasked": {5, unexpected + "pong 0"},
		"flood":        {5, unexpected + "pong 0"},
		"flood-early":  {5, unexpected + "hello 0"},

		"descriptor":      {5, malformed + "an unexpected descriptor"},
		"descriptors":     {5, malformed + "an unexpected descriptor"},
		"descriptor-late": seccomp,
	}
	for i := range 40 {
		lies[fmt.Sprintf("random%d", i)] = outcome{5, malformed}
	}
	// Answers to the last question, which the monitor asks when it receives a signal.
	answers := map[string]outcome{
		"pong-index":   {5, unexpected + "pong 1"},
		"pong-far":     {5, unexpected + "pong 65535"},
		"pong-twice":   {5, unexpected + "pong 0"},
		"pong-numbers": {0, ""},
	}

	startWith := func(t *testing.T, o testenv.Options, lie string) *testenv.Program {
		a, _, err := testenv.Connect(testenv.Net(t), lie, testenv.MACA, testenv.Net(t), "vb", testenv.MACB)
		testenv.Must(t, err)
		o.Path = liar
		return testenv.Start(t, a.Namespace, o, lie)
	}
	start := func(t *testing.T, lie string) *testenv.Program {
		return startWith(t, testenv.Options{}, lie)
	}
	check := func(t *testing.T, p *testenv.Program, want outcome) {
		if status := p.Exit(t); status != want.status {
			t.Errorf("exit status %d, want %d", status, want.status)
		}
		got := strings.Join(errorLines(p.Log.WaitEnd(t)), "\n")
		if want.says == "" && got != "" || want.says != "" && !strings.HasPrefix(got, "maas-netmon: "+want.says) || strings.Contains(got, "\n") {
			t.Errorf("errors: %q, want one line: %s", got, want.says)
		}
	}
	for lie, want := range lies {
		t.Run(lie, func(t *testing.T) {
			t.Parallel()
			check(t, start(t, lie), want)
		})
	}
	for lie, want := range answers {
		t.Run(lie, func(t *testing.T) {
			t.Parallel()
			p := start(t, lie)
			p.Ready(t)
			p.Signal(t, sigTERM)
			check(t, p, want)
		})
	}
	t.Run("blind", func(t *testing.T) {
		t.Parallel()
		a, _, err := testenv.Connect(testenv.Net(t), "blind", testenv.MACA, testenv.Net(t), "vb", testenv.MACB)
		testenv.Must(t, err)
		p := testenv.Start(t, a.Namespace, testenv.Options{Path: liar}, "--stats-interval", "1s", "blind")
		check(t, p, outcome{5, unexpected + "pong 0"})
	})
	// No frame arrives before the parser is inspected.
	for _, lie := range []string{"unconfined", "hidden"} {
		t.Run(lie+", no frame", func(t *testing.T) {
			testenv.Require(t, testenv.HoldBind)
			t.Parallel()
			binds := make(chan testenv.Bind)
			p := startWith(t, testenv.Options{Binds: binds}, lie)
			held := 0
			for bind := range binds {
				held++
				if bind.Packet && bind.Protocol != 0 {
					t.Error("a packet socket was bound")
				}
				testenv.Must(t, bind.Continue())
			}
			if held == 0 {
				t.Error("no bind was seen")
			}
			check(t, p, lies[lie])
		})
	}
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		first, late := start(t, "silent"), start(t, "silent-late")
		// The timeout of the handshake, which is as long as the test's patience.
		first.Log.Expect(testenv.Contains("the parser sent no")).Wait(2 * testenv.Patience)
		check(t, first, outcome{1, "the parser sent no hello within 10s"})
		check(t, late, outcome{1, "the parser sent no ready within 10s"})
	})
	// Its input has ended, it answers the last questions and goes on.
	t.Run("end-and-stay", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(testenv.Dir(t), "end-and-stay")
		testenv.Must(t, os.WriteFile(path, nil, 0o644))
		p := testenv.Start(t, testenv.Net(t), testenv.Options{Path: liar}, "-i", path)
		p.Log.Expect(testenv.Contains("did not end")).Wait(2 * testenv.Patience)
		check(t, p, outcome{1, "the parser did not end within 10s of its input"})
	})
	t.Run("silent, SIGTERM", func(t *testing.T) {
		t.Parallel()
		p := start(t, "silent")
		p.AwaitChild(t) // no line reports its progress; the monitor catches signals before it starts a parser
		p.Signal(t, sigTERM)
		check(t, p, outcome{0, ""})
	})
}

// A parser that gives no complete answer is killed 40 s after the last one: if it is stopped, if it
// reads and does not answer, and if it answers only for the first interface.
func TestSilentParser(t *testing.T) {
	liar := testenv.TestBin(t, "liar")
	const limit = 40 * time.Second
	for _, c := range []struct {
		lie  string // "" for an honest parser, which is stopped
		args []string
	}{
		{"", nil},
		{"no-answer", nil},
		{"no-answer", []string{"--stats-interval", "1s"}},
		{"first-answer", []string{"--stats-interval", "1s"}},
	} {
		t.Run(strings.Join(append([]string{c.lie}, c.args...), " "), func(t *testing.T) {
			t.Parallel()
			name := cmp.Or(c.lie, "va")
			a, _, err := testenv.Connect(testenv.Net(t), name, testenv.MACA, testenv.Net(t), "vb", testenv.MACB)
			testenv.Must(t, err)
			p := testenv.Start(t, a.Namespace, testenv.Options{Path: liar}, append(c.args, name, "lo")...)
			p.Ready(t)
			begin := time.Now()
			if c.lie == "" {
				testenv.Must(t, unix.Kill(p.Child(t), unix.SIGSTOP))
			}
			silent := p.Log.Expect(testenv.Contains("the parser has not answered for 40s"))
			if !silent.Wait(limit + testenv.Patience) {
				t.Fatalf("still there after %v", time.Since(begin))
			}
			if took := time.Since(begin); took < limit-2*time.Second {
				t.Errorf("it was ended after %v", took)
			}
			if status := p.Exit(t); status != 1 {
				t.Errorf("exit status %d, want 1", status)
			}
		})
	}
}
