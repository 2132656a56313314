package integration

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// stdouts are the types of standard output that can have a slow reader: w is the program's end, r
// the reader's.
var stdouts = map[string]func(*testing.T) (r, w *os.File){
	"pipe": func(t *testing.T) (r, w *os.File) { return pipe(t, false) },
	// The caller has made this one non-blocking.
	nonblockingPipe: func(t *testing.T) (r, w *os.File) { return pipe(t, true) },
	"FIFO": func(t *testing.T) (r, w *os.File) {
		path := filepath.Join(testenv.Dir(t), "fifo")
		testenv.Must(t, unix.Mkfifo(path, 0o600))
		r, err := os.OpenFile(path, os.O_RDWR, 0) // does not wait for a writer
		testenv.Must(t, err)
		defer r.Close()
		w, err = os.OpenFile(path, os.O_WRONLY, 0)
		testenv.Must(t, err)
		r, err = os.OpenFile(path, os.O_RDONLY, 0)
		testenv.Must(t, err)
		return r, w
	},
	"socket": func(t *testing.T) (r, w *os.File) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		testenv.Must(t, err)
		return os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
	},
	"terminal": func(t *testing.T) (r, w *os.File) {
		r, w, err := terminal()
		testenv.Must(t, err)
		return r, w
	},
}

const nonblockingPipe = "non-blocking pipe"

// pipe returns a new pipe. Its write end is not known to Go's poller, which would change the flags.
func pipe(t *testing.T, nonblocking bool) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	testenv.Must(t, unix.Pipe2(fds[:], unix.O_CLOEXEC))
	r, w = os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	testenv.Must(t, unix.SetNonblock(fds[1], nonblocking))
	return r, w
}

// readAll reads up to the end of file, or up to the error that a terminal returns instead when its
// other end is closed.
func readAll(r *os.File) string {
	text, _ := io.ReadAll(r)
	return strings.ReplaceAll(string(text), "\r\n", "\n") // a terminal converts newlines
}

// isNonblocking reports whether an open file description is non-blocking.
func isNonblocking(t *testing.T, f *os.File) bool {
	t.Helper()
	raw, err := f.SyscallConn()
	testenv.Must(t, err)
	var flags int
	testenv.Must(t, raw.Control(func(fd uintptr) {
		flags, err = unix.FcntlInt(fd, unix.F_GETFL, 0)
	}))
	testenv.Must(t, err)
	return flags&unix.O_NONBLOCK != 0
}

// A reader that stalls does not block the program: it reads frames and answers questions, and
// SIGTERM ends it within a second. Only whole lines are written. The flags of standard output do
// not change for other processes that share it.
func TestReaderStalls(t *testing.T) {
	for kind, open := range stdouts {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a, b := testenv.RawPair(t)
			r, w := open(t)
			defer r.Close()
			p := testenv.Watch(t, a.Namespace, testenv.Options{Stdout: w}, a.Name)
			if isNonblocking(t, w) != (kind == nonblockingPipe) {
				t.Error("the flags of the standard output have changed")
			}
			testenv.Must(t, w.Close())
			port := b.Port(t)
			// More lines than fit into any of them: a socket holds some 210 KiB.
			const n = 6000
			for i := range n {
				testenv.Must(t, port.Send(request(macC, address(i)).Bytes()))
			}
			all := p.Log.Expect(regexp.MustCompile(fmt.Sprintf(`msg=counters .* frames=%d .* bindings=%d `, n, n)).MatchString)
			for deadline := time.Now().Add(testenv.Patience); !all.Wait(50 * time.Millisecond); {
				if time.Now().After(deadline) {
					t.Fatalf("not all frames are read: %q", p.Log.Seen())
				}
				p.Signal(t, unix.SIGUSR1)
			}
			// Read a part; the rest stays.
			if _, err := r.Read(make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			started := time.Now()
			p.Stop(t)
			// The program promises a second; allow more on a slow machine.
			if took := time.Since(started); took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
			log := p.Log.WaitEnd(t)
			got := errorLines(log)
			if len(got) != 1 || got[0] != "maas-netmon: standard output: the reader stalled; the last lines are lost" {
				t.Errorf("errors: %q", got)
			}
			if !slices.ContainsFunc(log, regexp.MustCompile(`msg=counters .* unreported=[1-9]\d\d`).MatchString) {
				t.Errorf("lost lines are not counted: %q", log)
			}
			if kind == "terminal" {
				return // closing the other end has discarded its contents
			}
			if text := readAll(r); !strings.HasSuffix(text, "}\n") {
				t.Errorf("the last line is cut: %q", text[max(0, len(text)-100):])
			}
		})
	}
}

// A reader that stalls and then continues receives a line per binding, the move first.
func TestStallLosesNoBinding(t *testing.T) {
	for kind, open := range stdouts {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a, b := testenv.RawPair(t)
			r, w := open(t)
			defer r.Close()
			p := testenv.Watch(t, a.Namespace, testenv.Options{Stdout: w}, a.Name)
			testenv.Must(t, w.Close())
			port := b.Port(t)
			testenv.Must(t, port.Send(request(macC, "10.0.0.5").Bytes()))
			lines := bufio.NewReader(r)
			if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, `"10.0.0.5"`) {
				t.Fatalf("%q, %v", line, err)
			}
			const n = 6000
			for i := range n {
				if i == n-100 {
					testenv.Must(t, port.Send(request(macD, "10.0.0.5").Bytes()))
				}
				testenv.Must(t, port.Send(request(macC, address(i)).Bytes()))
			}
			all := p.Log.Expect(regexp.MustCompile(fmt.Sprintf(` frames=%d `, n+2)).MatchString)
			for deadline := time.Now().Add(testenv.Patience); !all.Wait(50 * time.Millisecond); {
				if time.Now().After(deadline) {
					t.Fatalf("not all frames are read: %q", p.Log.Seen())
				}
				p.Signal(t, unix.SIGUSR1)
			}
			seen := make(map[string]bool)
			moved := -1
			for i := range n + 1 {
				line, err := lines.ReadString('\n')
				if err != nil {
					t.Fatalf("after %d lines: %v", i, err)
				}
				if seen[line] {
					t.Errorf("twice: %s", line)
				}
				seen[line] = true
				if strings.Contains(line, `"MOVED"`) {
					moved = i
				}
			}
			// The move overtakes all lines that were not yet in the buffers of the kernel and the
			// program.
			if moved < 0 || moved > n-500 {
				t.Errorf("the move comes as line %d of %d", moved, n+1)
			}
		})
	}
}

// The reader exits: the program ends at once, although no frame arrives.
func TestReaderGoesAway(t *testing.T) {
	for kind, open := range stdouts {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a, _ := testenv.RawPair(t)
			r, w := open(t)
			p := testenv.Watch(t, a.Namespace, testenv.Options{Stdout: w}, a.Name)
			testenv.Must(t, w.Close())
			started := time.Now()
			testenv.Must(t, r.Close())
			if status := p.Exit(t); status != 1 {
				t.Errorf("exit status %d, want 1", status)
			}
			if took := time.Since(started); took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
			got := errorLines(p.Log.WaitEnd(t))
			if len(got) != 1 || got[0] != "maas-netmon: standard output: the reader is gone" {
				t.Errorf("errors: %q", got)
			}
		})
	}
}

// The same while the program waits for room.
func TestReaderThatStalledGoesAway(t *testing.T) {
	for kind, open := range stdouts {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a, b := testenv.RawPair(t)
			r, w := open(t)
			p := testenv.Watch(t, a.Namespace, testenv.Options{Stdout: w}, a.Name)
			testenv.Must(t, w.Close())
			port := b.Port(t)
			for i := range 6000 {
				testenv.Must(t, port.Send(request(macC, address(i)).Bytes()))
			}
			testenv.Must(t, r.Close())
			if status := p.Exit(t); status != 1 {
				t.Errorf("exit status %d, want 1", status)
			}
			got := errorLines(p.Log.WaitEnd(t))
			want := regexp.MustCompile(`^maas-netmon: standard output: (the reader is gone|write: (broken pipe|input/output error))$`)
			if len(got) != 1 || !want.MatchString(got[0]) {
				t.Errorf("errors: %q", got)
			}
		})
	}
}

// pace sends n frames at a rate per second.
func pace(t *testing.T, port *testenv.Port, n, rate int, frame func(i int) testenv.ARP) {
	t.Helper()
	const perSecond = 100
	tick := time.NewTicker(time.Second / perSecond)
	defer tick.Stop()
	start := time.Now()
	for i := 0; i < n; {
		<-tick.C
		for due := int(time.Since(start).Seconds() * float64(rate)); i < min(n, due); i++ {
			testenv.Must(t, port.Send(frame(i).Bytes()))
		}
	}
}

// invented returns a request with the i-th of many addresses.
func invented(i int) testenv.ARP {
	return request(testenv.MAC{2, 0xbb, 0, byte(i >> 16), byte(i >> 8), byte(i)}, fmt.Sprintf("10.%d.%d.%d", 64+i>>16, i>>8&0xff, i&0xff))
}

// A reader stalls while 200,000 new bindings arrive, 20,000 per second. Afterwards it receives a
// line for each, and the moves before most of them. The program uses as much memory as without a
// stall.
func TestLongStall(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	r, w, err := os.Pipe()
	testenv.Must(t, err)
	defer r.Close()
	null, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
	testenv.Must(t, err)
	defer null.Close()
	p := testenv.Watch(t, a.Namespace, testenv.Options{Stdout: w}, a.Name)
	other := testenv.Watch(t, a.Namespace, testenv.Options{Stdout: null}, a.Name)
	testenv.Must(t, w.Close())
	port := b.Port(t)

	const n, rate, moves = 200_000, 20_000, 20
	lines := bufio.NewReader(r)
	for i := range moves {
		testenv.Must(t, port.Send(request(macC, fmt.Sprintf("10.0.0.%d", i+1)).Bytes()))
	}
	for range moves {
		_, err := lines.ReadString('\n')
		testenv.Must(t, err)
	}
	pace(t, port, n, rate, func(i int) testenv.ARP {
		if i > 0 && i%(n/moves) == 0 {
			testenv.Must(t, port.Send(request(macD, fmt.Sprintf("10.0.0.%d", i/(n/moves))).Bytes()))
		}
		return invented(i)
	})
	frames := regexp.MustCompile(` frames=(\d+) .* dropped=(\d+) `)
	var counters []string
	for deadline := time.Now().Add(testenv.Patience); counters == nil || counters[1] != fmt.Sprint(n+2*moves-1); {
		if time.Now().After(deadline) {
			t.Fatalf("not all frames are seen: %q", counters)
		}
		line := p.Log.Expect(frames.MatchString)
		p.Signal(t, unix.SIGUSR1)
		counters = frames.FindStringSubmatch(line.Value(t))
	}
	if counters[2] != "0" {
		t.Errorf("the kernel dropped %s frames", counters[2])
	}
	var peaks [2]int
	for i, program := range []*testenv.Program{p, other} {
		_, err := fmt.Sscanf(testenv.Status(t, program.Child(t))[0]["VmHWM"], "%d kB", &peaks[i])
		testenv.Must(t, err)
	}
	t.Logf("peaks: %d KiB with the stall, %d KiB without", peaks[0], peaks[1])
	if peaks[0] > peaks[1]+4<<10 {
		t.Errorf("the stall takes memory: %d KiB, %d KiB without", peaks[0], peaks[1])
	}

	seen := make(map[string]bool)
	last, moved := 0, 0
	for i := range n + moves - 1 {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("after %d lines: %v", i, err)
		}
		if seen[line] {
			t.Errorf("twice: %s", line)
		}
		seen[line] = true
		if strings.Contains(line, `"MOVED"`) {
			last = i
			moved++
		}
	}
	// Before them come the lines that were already in the pipe and in the program's buffer.
	t.Logf("the last move is line %d", last)
	if moved != moves-1 || last > 2000 {
		t.Errorf("%d moves, the last one is line %d", moved, last)
	}
	p.Stop(t)
}

// Two hosts claim the same address, 1,000 frames per second: this gives about a line per second,
// and the last state after they have stopped. Each move is counted.
func TestQuarrel(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, testenv.Options{}, a.Name)
	port := b.Port(t)
	const n, seconds = 4000, 4
	owners := [...]testenv.MAC{macC, macD}
	start := time.Now()
	pace(t, port, n, n/seconds, func(i int) testenv.ARP { return request(owners[i%2], "10.0.0.5") })
	took := time.Since(start)
	moves := 0
	deadline := time.Now().Add(testenv.Patience)
	var lines []testenv.Line
	for moves != n-1 {
		if time.Now().After(deadline) {
			t.Fatalf("%d moves in the lines, want %d: %v", moves, n-1, p.Lines.Seen())
		}
		p.Lines.Expect(testenv.Event("MOVED", "10.0.0.5")).Wait(50 * time.Millisecond)
		lines = p.Lines.Seen()
		moves = 0
		for _, l := range lines {
			if l.Event == "MOVED" {
				moves += max(1, l.Moves)
			}
		}
	}
	if most := int(took.Seconds()) + 4; len(lines) > most || len(lines) < 4 {
		t.Errorf("%d lines in %v", len(lines), took)
	}
	if last := lines[len(lines)-1]; last.MAC != owners[(n-1)%2].String() || last.PreviousMAC != owners[n%2].String() {
		t.Errorf("the last line is %v", last)
	}
	wants(t, lines) // compare with the schema
}

// With a limit of 100 lines per second, a takeover during a flood of invented addresses, each of
// which also moves, is among the next lines, and no second has more than 100.
func TestMaxRate(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	r, w, err := os.Pipe()
	testenv.Must(t, err)
	defer r.Close()
	const rate = 100
	p := testenv.Watch(t, a.Namespace, testenv.Options{Stdout: w}, "--max-rate", fmt.Sprint(rate), a.Name)
	testenv.Must(t, w.Close())
	port := b.Port(t)
	lines := bufio.NewReader(r)
	testenv.Must(t, port.Send(request(macC, "10.0.0.5").Bytes()))
	if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, `"10.0.0.5"`) {
		t.Fatalf("%q, %v", line, err)
	}
	for i := range 3000 {
		testenv.Must(t, port.Send(invented(i).Bytes()))
		again := invented(i)
		again.SenderMAC[0] = 6
		again.Source = again.SenderMAC
		testenv.Must(t, port.Send(again.Bytes()))
	}
	testenv.Must(t, port.Send(request(macD, "10.0.0.5").Bytes()))
	var times []time.Time
	moved := -1
	for range 5 * rate {
		line, err := lines.ReadString('\n')
		testenv.Must(t, err)
		times = append(times, time.Now())
		if strings.Contains(line, `"10.0.0.5"`) {
			moved = len(times)
		}
	}
	if moved < 0 || moved > 2*rate {
		t.Errorf("the takeover is line %d", moved)
	}
	// A line can be read late, and so be close to the next ones: 4 seconds must have passed for the
	// lines of 5 seconds.
	if took := times[len(times)-1].Sub(times[0]); took < 3500*time.Millisecond {
		t.Errorf("%d lines within %v", len(times), took)
	}
	p.Stop(t)
}

// Packets of -v without room are dropped and counted; the events are printed.
func TestVerboseStall(t *testing.T) {
	t.Parallel()
	a, b := testenv.RawPair(t)
	r, w, err := os.Pipe()
	testenv.Must(t, err)
	defer r.Close()
	p := testenv.Watch(t, a.Namespace, testenv.Options{Stdout: w}, "-v", a.Name)
	testenv.Must(t, w.Close())
	port := b.Port(t)
	const n = 2000
	for i := range n {
		testenv.Must(t, port.Send(request(macC, address(i)).Bytes()))
	}
	counters := regexp.MustCompile(fmt.Sprintf(` frames=%d .* packets_dropped=([1-9]\d*)`, n))
	all := p.Log.Expect(counters.MatchString)
	for deadline := time.Now().Add(testenv.Patience); !all.Wait(50 * time.Millisecond); {
		if time.Now().After(deadline) {
			t.Fatalf("%q", p.Log.Seen())
		}
		p.Signal(t, unix.SIGUSR1)
	}
	var dropped int
	_, err = fmt.Sscan(counters.FindStringSubmatch(all.Value(t))[1], &dropped)
	testenv.Must(t, err)
	p.Signal(t, sigTERM)
	text := readAll(r)
	events, packets := strings.Count(text, `"event":"NEW"`), strings.Count(text, "ARP observed at ")
	if events != n || packets != n-dropped {
		t.Errorf("%d events and %d packets, %d dropped, of %d", events, packets, dropped, n)
	}
	for block := range strings.SplitSeq(text, "ARP observed at ") {
		if _, rest, _ := strings.Cut(block, "\n\n"); strings.Contains(rest, "Hardware") {
			t.Errorf("a packet is cut: %q", block)
		}
	}
	if status := p.Exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}
