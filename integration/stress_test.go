package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/testenv"
)

// stressTime is the duration of the tests below: NETMON_STRESS, 5 s if it is not set.
func stressTime(t *testing.T) time.Duration {
	t.Helper()
	s := os.Getenv("NETMON_STRESS")
	if s == "" {
		return 5 * time.Second
	}
	d, err := time.ParseDuration(s)
	testenv.Must(t, err)
	return d
}

// The confinement allows all acts of the Go runtime and the C library over a long time: both
// processes survive and lines are printed under load, with continuous garbage collections, threads
// that start and end, signals, a flapping link, and a changing CPU limit. internal/testbin/stress
// has the load on the runtime; everything else is as in the shipped program.
func TestItLasts(t *testing.T) {
	binary := testenv.TestBin(t, "stress")
	t.Run("unlimited", func(t *testing.T) {
		t.Parallel()
		testItLasts(t, testenv.Options{Path: binary}, nil)
	})
	// Settings with which the user could make the monitor's Go runtime and C library use other
	// system calls. (The Go runtime gets none of them, and the program sets the parser's
	// environment.)
	for name, env := range map[string][]string{
		"environment": {
			"GODEBUG=madvdontneed=0,asyncpreemptoff=1,gctrace=1,schedtrace=100,scavtrace=1,inittrace=1,dontfreezetheworld=1," +
				"updatemaxprocs=1,containermaxprocs=1,profstackdepth=1000,disablethp=1",
			"GOGC=1", "GOMEMLIMIT=1MiB", "GOMAXPROCS=64", "GOTRACEBACK=crash",
			"GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.arena_max=99:glibc.malloc.trim_threshold=0:glibc.pthread.stack_cache_size=0",
		},
		"another environment": {
			"GODEBUG=harddecommit=1,efence=1,decoratemappings=0,asynctimerchan=1,traceallocfree=1", "GOMAXPROCS=1",
			"GLIBC_TUNABLES=glibc.malloc.hugetlb=2:glibc.malloc.tcache_count=0:glibc.malloc.mmap_threshold=0:glibc.pthread.rseq=0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testItLasts(t, testenv.Options{Path: binary, Env: env}, nil)
		})
	}
	t.Run("CPU limit", func(t *testing.T) {
		testenv.Require(t, testenv.CgroupCPU)
		t.Parallel()
		limit := testenv.NewCPULimit(t)
		// A limit at the start makes the Go runtime read it.
		testenv.Must(t, limit.Set(150))
		testItLasts(t, testenv.Options{Path: binary, Shell: limit.Shell()}, limit)
	})
}

func testItLasts(t *testing.T, o testenv.Options, limit *testenv.CPULimit) {
	a, b := testenv.RawPair(t)
	p := testenv.Watch(t, a.Namespace, o, a.Name)
	pids := []int{p.Pid(), p.Child(t)}
	// By descriptors, so that no signal goes to another process with a reused ID.
	pidfds := []int{openProcess(t, pids[0]), openProcess(t, pids[1])}

	var strains sync.WaitGroup
	stop := make(chan struct{})
	// strain repeats f until the end, with a pause of d between.
	strain := func(d time.Duration, f func()) {
		strains.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(d):
					f()
				}
			}
		})
	}
	defer strains.Wait()
	defer close(stop)

	load := b.Port(t)
	var calm atomic.Bool
	strain(time.Millisecond, func() {
		if calm.Load() {
			return
		}
		for range 50 {
			i := rand.N(1 << 16)
			mac := testenv.MAC{2, 0, 0, 0, 0, byte(i)}
			if rand.N(500) == 0 {
				mac[4] = 1 // MOVED, and back with the next frame
			}
			_ = load.Send(request(mac, address(i)).Bytes()) // ENETDOWN while the link is down
		}
		_ = load.Send(make([]byte, 14+rand.N(1400))) // not ARP
	})
	signals := []syscall.Signal{syscall.SIGURG, syscall.SIGWINCH, syscall.SIGCHLD, syscall.SIGIO, syscall.SIGUSR1, syscall.SIGALRM}
	strain(3*time.Millisecond, func() {
		_ = unix.PidfdSendSignal(pidfds[rand.N(2)], signals[rand.N(len(signals))], nil, 0)
	})
	strain(300*time.Millisecond, func() {
		pidfd := pidfds[rand.N(2)]
		_ = unix.PidfdSendSignal(pidfd, syscall.SIGSTOP, nil, 0)
		<-time.After(rand.N(50 * time.Millisecond))
		_ = unix.PidfdSendSignal(pidfd, syscall.SIGCONT, nil, 0)
	})
	strain(time.Second, func() {
		if a.Down() != nil || a.Up() != nil {
			t.Error("the link cannot be set down and up")
		}
	})
	if limit != nil {
		strain(200*time.Millisecond, func() {
			if err := limit.Set([]int{0, 25, 50, 100, 200}[rand.N(5)]); err != nil {
				t.Error(err)
			}
		})
	}

	started := time.Now()
	port := b.Port(t)
	var lines int
	var slowest time.Duration
	ask := func() {
		t.Helper()
		ip := fmt.Sprintf("10.2.%d.%d", lines>>8&0xff, lines&0xff)
		// A separate MAC: the address may occur again.
		mac := testenv.MAC{2, 1, 0, byte(lines >> 16), byte(lines >> 8), byte(lines)}
		seen := p.Lines.Expect(testenv.And(testenv.IP(ip), testenv.At(mac)))
		asked := time.Now()
		for !seen.Wait(50 * time.Millisecond) { // the frame may be lost while the link is down
			if time.Since(asked) > testenv.Patience || !p.Running() {
				t.Fatalf("no line for %s after %d lines in %v; log:\n%s", ip, lines, time.Since(started), lastOf(p.Log.Seen()))
			}
			_ = port.Send(request(mac, ip).Bytes())
		}
		slowest = max(slowest, time.Since(asked))
		lines++
	}
	for end := started.Add(stressTime(t)); time.Now().Before(end); {
		ask()
	}
	checkThreads(t, p, confined())
	for i, name := range []string{"monitor", "parser"} {
		status := testenv.Status(t, pids[i])
		t.Logf("%s: %d threads, at most %s of memory", name, len(status), status[0]["VmHWM"])
		strained := ""
		for _, l := range p.Log.Seen() {
			if strings.HasPrefix(l, "stress of the "+name) {
				strained = l
			}
		}
		if strained == "" {
			t.Errorf("the %s was not under stress", name)
		}
		t.Log(strained)
	}
	t.Logf("%v: %d lines asked for, the slowest came after %v; %d lines in all", time.Since(started), lines, slowest, len(p.Lines.Seen()))

	// When it is stopped, the program waits half a second for its reader, which is this test. Read
	// all lines of the load before, so that only the other strains remain.
	calm.Store(true)
	ask()
	p.Stop(t)
	if got := errorLines(p.Log.WaitEnd(t)); len(got) != 0 {
		t.Errorf("errors %q", got)
	}
}

// lastOf returns the end of a long log.
func lastOf(lines []string) string {
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
