package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

const (
	sigTERM = syscall.SIGTERM
	sigINT  = syscall.SIGINT
	sigHUP  = syscall.SIGHUP
	sigQUIT = syscall.SIGQUIT
	sigKILL = syscall.SIGKILL
)

// address returns the i-th of many addresses.
func address(i int) string { return fmt.Sprintf("10.1.%d.%d", i>>8, i&0xff) }

// A signal ends both processes with status 0, whether only the monitor or the process group
// receives it; the frames in the ring are still reported.
func TestSignals(t *testing.T) {
	for _, c := range []struct {
		name  string
		sig   syscall.Signal
		group bool
	}{
		{"SIGTERM", sigTERM, false}, {"SIGTERM to the group", sigTERM, true},
		{"SIGINT", sigINT, false}, {"SIGINT to the group", sigINT, true},
		{"SIGHUP to the group", sigHUP, true}, {"SIGQUIT to the group", sigQUIT, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, b := testenv.RawPair(t)
			p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
			port := b.Port(t)
			pidfd := openProcess(t, p.Child(t))
			// A stopped parser cannot read them before the signal arrives.
			testenv.Must(t, unix.Kill(p.Child(t), unix.SIGSTOP))
			const n = 1000
			for i := range n {
				testenv.Must(t, port.Send(request(macC, address(i)).Bytes()))
			}
			if c.group {
				p.SignalGroup(t, c.sig)
			} else {
				p.Signal(t, c.sig)
			}
			testenv.Must(t, unix.Kill(p.Child(t), unix.SIGCONT))
			if status := p.Exit(t); status != 0 {
				t.Errorf("exit status %d, want 0", status)
			}
			if !testenv.Ended(t, pidfd) {
				t.Error("the parser is still there")
			}
			if lines := p.Lines.WaitEnd(t); len(lines) != n {
				t.Errorf("%d lines, want %d", len(lines), n)
			}
		})
	}
}

// openProcess returns a descriptor of a process, to wait for its end.
func openProcess(t *testing.T, pid int) int {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	testenv.Must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// A signal only to the parser has no effect: the monitor decides.
func TestSignalsToTheParser(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	for _, s := range []syscall.Signal{sigTERM, sigINT, sigHUP, sigQUIT, syscall.SIGUSR1, syscall.SIGPIPE} {
		testenv.Must(t, unix.Kill(p.Child(t), s))
	}
	sendFence(t, p, b.Port(t)).Await(t)
}

func TestParserDies(t *testing.T) {
	for _, c := range []struct {
		sig    syscall.Signal
		status int
		says   string
	}{
		{syscall.SIGKILL, 1, "maas-netmon: the parser was killed by SIGKILL"},
		{syscall.SIGABRT, 1, "maas-netmon: the parser was killed by SIGABRT"},
		{syscall.SIGSEGV, 1, "maas-netmon: the parser was killed by SIGSEGV"},
		{syscall.SIGSYS, 5, "maas-netmon: the parser was killed by seccomp"},
	} {
		t.Run(c.sig.String(), func(t *testing.T) {
			t.Parallel()
			a, _ := testenv.RawPair(t)
			p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
			says := p.Log.Expect(testenv.Contains(c.says))
			testenv.Must(t, unix.Kill(p.Child(t), c.sig))
			if status := p.Exit(t); status != c.status {
				t.Errorf("exit status %d, want %d", status, c.status)
			}
			says.Await(t)
		})
	}
}

func TestMonitorDies(t *testing.T) {
	t.Parallel()
	a, _ := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	pidfd := openProcess(t, p.Child(t))
	p.Signal(t, sigKILL)
	if !testenv.Ended(t, pidfd) {
		t.Error("the parser outlives the monitor")
	}
}

// The same for a compromised parser, which ignores the end of the control socket.
func TestMonitorOfALiarDies(t *testing.T) {
	t.Parallel()
	a, _, err := testenv.Connect(testenv.Net(t), "no-answer", testenv.MACA, testenv.Net(t), "vb", testenv.MACB)
	testenv.Must(t, err)
	p := testenv.Watch(t, a.Namespace, testenv.Options{Path: testenv.TestBin(t, "liar")}, "no-answer")
	pidfd := openProcess(t, p.Child(t))
	p.Signal(t, sigKILL)
	if !testenv.Ended(t, pidfd) {
		t.Error("the parser outlives the monitor")
	}
}

// After both processes were stopped and continued, the program works.
func TestStopAndContinue(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	p.SignalGroup(t, syscall.SIGSTOP)
	seen := p.Lines.Expect(testenv.IP("10.0.0.5"))
	testenv.Must(t, b.Port(t).Send(request(macC, "10.0.0.5").Bytes()))
	p.SignalGroup(t, syscall.SIGCONT)
	seen.Await(t)
}

// A parser that does not read is killed when the program ends.
func TestStuckParserIsKilled(t *testing.T) {
	t.Parallel()
	a, _ := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	pidfd := openProcess(t, p.Child(t))
	testenv.Must(t, unix.Kill(p.Child(t), unix.SIGSTOP))
	says := p.Log.Expect(testenv.Contains("the parser did not end in time"))
	p.Stop(t)
	says.Await(t)
	if !testenv.Ended(t, pidfd) {
		t.Error("the parser is still there")
	}
}

// Signals at any time during the start end the program, leave no process, and are not an error.
func TestStoppedWhileStarting(t *testing.T) {
	t.Parallel()
	a, _ := testenv.RawPair(t)
	for delay := time.Duration(0); delay < 60*time.Millisecond; delay += 2 * time.Millisecond {
		p := testenv.Start(t, a.Namespace, testenv.Options{}, a.Name)
		ended := p.Log.Expect(testenv.Contains("never said"))
		ended.Wait(delay) // no line reports the progress of the start
		p.SignalGroup(t, sigTERM)
		if status := p.Exit(t); status != 0 && status != -1 {
			t.Errorf("after %v: exit status %d, want 0, or dead before it could catch a signal", delay, status)
		}
		if got := errorLines(p.Log.WaitEnd(t)); len(got) != 0 {
			t.Errorf("after %v: errors %q", delay, got)
		}
	}
}

// errorLines returns the error lines of the log.
func errorLines(lines []string) []string {
	var errors []string
	for _, l := range lines {
		if strings.HasPrefix(l, "maas-netmon: ") && !strings.HasPrefix(l, "maas-netmon: hint: ") {
			errors = append(errors, l)
		}
	}
	return errors
}

// downAndUp sets an interface down and up, and waits for the program's messages.
func downAndUp(t *testing.T, p *testenv.Program, a testenv.Host) {
	t.Helper()
	down := p.Log.Expect(testenv.Contains("interface is down"))
	testenv.Must(t, a.Down())
	down.Await(t)
	up := p.Log.Expect(testenv.Contains("interface is up"))
	testenv.Must(t, a.Up())
	up.Await(t)
}

func TestLinkDownAndUp(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	downAndUp(t, p, a)
	sendFence(t, p, b.Port(t)).Await(t)
	noCarrier := p.Log.Expect(testenv.Contains("no carrier"))
	testenv.Must(t, b.Down())
	noCarrier.Await(t)
}

// An interface that is down at the start is watched nevertheless.
func TestStartedWhileDown(t *testing.T) {
	t.Parallel()
	a, b, err := testenv.Connect(testenv.Net(t), "va", testenv.MACA, testenv.Net(t), "vb", testenv.MACB)
	testenv.Must(t, err)
	testenv.Must(t, b.Up())
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	up := p.Log.Expect(testenv.Contains("interface is up"))
	testenv.Must(t, a.Up())
	up.Await(t)
	sendFence(t, p, b.Port(t)).Await(t)
}

// The program waits for an interface that does not exist yet, with --wait, and reports that once.
func TestWait(t *testing.T) {
	t.Parallel()
	here, there := testenv.Net(t), testenv.Net(t)
	p := testenv.Watch(t, here, testenv.Options{}, "--wait", "va", "vx")
	for _, name := range []string{"va", "vx"} {
		if n := strings.Count(strings.Join(p.Log.Seen(), "\n"), `msg="interface is not there, waiting for it" interface=`+name); n != 1 {
			t.Errorf("%s: said %d times that it is waited for", name, n)
		}
	}
	came := p.Log.Expect(testenv.Contains(`msg="interface is there" interface=va`))
	a, b, err := testenv.Connect(here, "va", testenv.MACA, there, "vb", testenv.MACB)
	testenv.Must(t, err)
	came.Await(t)
	up := p.Log.Expect(testenv.Contains(`msg="interface is up" interface=va`))
	testenv.Must(t, a.Up())
	testenv.Must(t, b.Up())
	up.Await(t)
	sendFence(t, p, b.Port(t)).Await(t)

	// An interface of that name must be Ethernet.
	message := "interface is there"
	t.Run("another type", func(t *testing.T) {
		testenv.Require(t, testenv.Tun)
		message = "interface is back"
		other := p.Log.Expect(testenv.Contains(`msg="interface is not Ethernet: waiting for another" interface=vx`))
		testenv.Must(t, here.IP("tuntap", "add", "dev", "vx", "mode", "tun"))
		other.Await(t)
		testenv.Must(t, here.IP("link", "del", "vx"))
	})
	back := p.Log.Expect(testenv.Contains(`msg="` + message + `" interface=vx`))
	x, y, err := testenv.Connect(here, "vx", testenv.MACA, there, "vy", testenv.MACB)
	testenv.Must(t, err)
	back.Await(t)
	testenv.Must(t, x.Up())
	testenv.Must(t, y.Up())
	seen := p.Lines.Expect(testenv.IP("10.0.0.7"), func(l testenv.Line) bool { return l.Interface == "vx" })
	port := y.Port(t)
	for deadline := time.Now().Add(testenv.Patience); !seen.Wait(10*time.Millisecond) && time.Now().Before(deadline); {
		testenv.Must(t, port.Send(request(macC, "10.0.0.7").Bytes()))
	}
	seen.Await(t)
	p.Stop(t)
}

// An interface that is deleted and created again under its name is watched again, without
// a capability; the bindings stay.
func TestDeletedAndMadeAnew(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	known := p.Lines.Expect(testenv.Event("NEW", "10.0.0.5"))
	testenv.Must(t, b.Port(t).Send(request(macC, "10.0.0.5").Bytes()))
	known.Await(t)

	gone := p.Log.Expect(testenv.Contains("interface is gone"))
	testenv.Must(t, a.IP("link", "del", a.Name))
	gone.Await(t)
	back := p.Log.Expect(testenv.Contains("interface is back"))
	up := p.Log.Expect(testenv.Contains("interface is up"))
	a, b, err := testenv.Connect(a.Namespace, "va", testenv.MACA, b.Namespace, "vb", testenv.MACB)
	testenv.Must(t, err)
	back.Await(t)
	testenv.Must(t, a.Up())
	testenv.Must(t, b.Up())
	up.Await(t)

	again := p.Lines.Expect(testenv.IP("10.0.0.5"))
	port := b.Port(t)
	testenv.Must(t, port.Send(request(macC, "10.0.0.5").Bytes()))
	again.NotBefore(t, sendFence(t, p, port))
}

// An interface that is renamed is not watched any more; renamed back, it is.
func TestRenamedAwayAndBack(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	gone := p.Log.Expect(testenv.Contains("interface is gone"))
	testenv.Must(t, a.IP("link", "set", a.Name, "down"))
	testenv.Must(t, a.IP("link", "set", a.Name, "name", "other"))
	gone.Await(t)

	// It has another name now, and must not be watched.
	other := testenv.Host{Namespace: a.Namespace, Name: "other", MAC: a.MAC}
	testenv.Must(t, other.Up())
	foreign := p.Lines.Expect(testenv.IP("10.0.0.5"))
	arrived := other.Sniff(t).Expect(testenv.From(macC))
	testenv.Must(t, b.Port(t).Send(request(macC, "10.0.0.5").Bytes()))
	arrived.Await(t)

	back := p.Log.Expect(testenv.Contains("interface is back"))
	testenv.Must(t, a.IP("link", "set", "other", "down"))
	testenv.Must(t, a.IP("link", "set", "other", "name", a.Name))
	back.Await(t)
	testenv.Must(t, a.Up())
	foreign.NotBefore(t, sendFence(t, p, b.Port(t)))
}
