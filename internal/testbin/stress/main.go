//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Stress is maas-netmon with the Go runtime and glibc under stress in both processes, for
// integration's test that the confinement allows what they need. The confinement and everything
// else are as in the shipped program.
package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"maas-netmon/internal/app"
	"maas-netmon/internal/monitor"
	"maas-netmon/internal/parserproc"
)

// rounds counts the completed rounds.
var rounds struct {
	collections, threads, allocated, panics, stacks, timers, resizes atomic.Uint64
}

func main() {
	os.Exit(app.Main(os.Args[1:], app.Hooks{
		Monitor: monitor.Hooks{Confined: func(monitor.Handles) { stress("monitor") }},
		Parser: func(stage parserproc.Stage, _ parserproc.Handles) {
			if stage == parserproc.Reading {
				stress("parser")
			}
		},
	}))
}

// stress starts all loads. Each pauses between its rounds, so that the program's own work can run
// on a machine with few processors.
func stress(process string) {
	debug.SetGCPercent(5)
	every(time.Millisecond, collect)
	every(time.Millisecond, allocate)
	every(5*time.Millisecond, makeThreads)
	every(20*time.Millisecond, blockThreads)
	every(3*time.Millisecond, panicAndRecover)
	every(10*time.Millisecond, growStacks)
	every(2*time.Millisecond, setTimers)
	every(30*time.Millisecond, resize)
	every(200*time.Millisecond, spin)
	every(200*time.Millisecond, crowd)
	every(time.Second, func() {
		r := &rounds
		line := fmt.Sprintf("stress of the %s: %d collections, %d threads, %d MB, %d panics, %d stacks, %d timers, %d resizes\n",
			process, r.collections.Load(), r.threads.Load(), r.allocated.Load()>>20,
			r.panics.Load(), r.stacks.Load(), r.timers.Load(), r.resizes.Load())
		_, _ = unix.Write(unix.Stderr, []byte(line))
	})
}

// every repeats f without end, with pauses of up to twice d.
func every(d time.Duration, f func()) {
	go func() {
		for {
			f()
			<-time.After(rand.N(2 * d))
		}
	}()
}

// collect collects garbage, and sometimes returns all free memory to the kernel or changes the
// collector's target.
func collect() {
	rounds.collections.Add(1)
	switch rand.N(20) {
	case 0:
		debug.FreeOSMemory()
	case 1:
		debug.SetGCPercent(1 + rand.N(100))
	case 2:
		debug.SetMemoryLimit(int64(64+rand.N(256)) << 20)
	case 3:
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
	default:
		runtime.GC()
	}
}

// kept holds some of the objects of allocate for some time.
var kept [32][]byte

// allocate allocates small and large objects, and writes to them.
func allocate() {
	n := 1 << rand.N(20)
	if rand.N(200) == 0 {
		n = 32 << 20
	}
	b := make([]byte, n)
	for i := 0; i < n; i += 4096 {
		b[i] = 1
	}
	runtime.AddCleanup(&b[0], func(int) {}, 0)
	kept[rand.N(len(kept))] = b
	rounds.allocated.Add(uint64(n))
}

// makeThreads creates threads that end with their goroutine.
func makeThreads() {
	var wg sync.WaitGroup
	for range 1 + rand.N(16) {
		wg.Go(func() {
			runtime.LockOSThread()
			rounds.threads.Add(1)
			_ = make([]byte, 1<<rand.N(20))
		})
	}
	wg.Wait()
}

// blockThreads blocks many threads at the same time, so that the runtime creates more.
func blockThreads() {
	var wg sync.WaitGroup
	for range 1 + rand.N(64) {
		wg.Go(func() {
			t := unix.NsecToTimespec(int64(rand.N(5 * time.Millisecond)))
			_ = unix.Nanosleep(&t, nil)
		})
	}
	wg.Wait()
}

// panicAndRecover panics and recovers, except by memory faults: those end a confined process.
func panicAndRecover() {
	defer func() {
		if recover() != nil {
			rounds.panics.Add(1)
		}
		_ = debug.Stack()
	}()
	switch i := rand.N(4); i {
	case 0:
		panic("on purpose")
	case 1:
		var c chan int
		close(c)
	case 2:
		_ = kept[len(kept)+i-2:]
		_ = kept[:0][i]
	case 3:
		var x any = i
		_ = x.(string)
	}
}

// growStacks runs goroutines whose stacks grow to megabytes and shrink again.
func growStacks() {
	var wg sync.WaitGroup
	for range 1 + rand.N(4) {
		wg.Go(func() { _ = deep(rand.N(5000)) })
	}
	wg.Wait()
	rounds.stacks.Add(1)
}

func deep(n int) byte {
	var frame [128]byte
	frame[n%len(frame)] = 1
	if n == 0 {
		return frame[0]
	}
	return deep(n-1) + frame[n%len(frame)]
}

// setTimers creates timers, resets them and stops some.
func setTimers() {
	var timers [64]*time.Timer
	for i := range timers {
		timers[i] = time.AfterFunc(rand.N(5*time.Millisecond), func() { rounds.timers.Add(1) })
	}
	for _, t := range timers {
		if rand.N(2) == 0 {
			t.Reset(rand.N(time.Millisecond))
		} else if rand.N(2) == 0 {
			t.Stop()
		}
	}
}

// resize changes the number of threads that run Go code at the same time.
func resize() {
	runtime.GOMAXPROCS(1 + rand.N(2*runtime.NumCPU()))
	rounds.resizes.Add(1)
}

// spin computes without a pause, so that the runtime must preempt it by a signal.
func spin() {
	end := time.Now().Add(rand.N(20 * time.Millisecond))
	for time.Now().Before(end) {
		x := uint64(1)
		for range 1 << 20 {
			x = x*6364136223846793005 + 1
		}
		if x == 0 {
			panic("cannot be")
		}
	}
}

// crowd runs thousands of goroutines that contend for a lock.
func crowd() {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range rand.N(5000) {
		wg.Go(func() {
			mu.Lock()
			defer mu.Unlock()
			runtime.Gosched()
		})
	}
	wg.Wait()
}
