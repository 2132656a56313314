//go:build bench

// This file is only in the build that profiles the parser while it is confined, see
// doc/performance.md. The profile goes into a file that is opened before the confinement,
// which allows a little more in this build (sandbox/rules_bench.go).

package parserproc

import (
	"os"
	"runtime/pprof"
	"time"
)

// profilePath is written when the parser finishes.
const profilePath = "/tmp/maas-netmon-parser.pprof"

// profile begins a CPU profile. It returns the descriptors to be written and what ends it.
func profile() (fds []int, end func()) {
	file, err := os.Create(profilePath)
	if err == nil {
		err = pprof.StartCPUProfile(file)
	}
	if err != nil {
		panic(err)
	}
	// The profile's goroutine reads /proc/self/maps, and makes the netpoller for its timer.
	time.Sleep(300 * time.Millisecond)
	return []int{int(file.Fd())}, pprof.StopCPUProfile
}
