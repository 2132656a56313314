//go:build bench

// This file is only part of the build that profiles the confined parser, see doc/performance.md.
// The profile is written to a file that is opened before the confinement; the confinement allows a
// few more calls in this build (sandbox/rules_bench.go).

package parserproc

import (
	"os"
	"runtime/pprof"
	"time"
)

// profilePath is the file of the profile, written when the parser finishes.
const profilePath = "/tmp/maas-netmon-parser.pprof"

// profile begins a CPU profile. It returns the descriptors that it writes to, and the function that
// ends it.
func profile() (fds []int, end func()) {
	file, err := os.Create(profilePath)
	if err == nil {
		err = pprof.StartCPUProfile(file)
	}
	if err != nil {
		panic(err)
	}
	// The profile's goroutine reads /proc/self/maps, and creates the netpoller for its timer.
	time.Sleep(300 * time.Millisecond)
	return []int{int(file.Fd())}, pprof.StopCPUProfile
}
