//go:build bench

package sandbox

// benchRules are the rules that the Go runtime's CPU profile needs. Only a build for measurements
// has them.
var benchRules = []rule{
	allow("timer_create", "a new thread's profile timer"),
	allow("timer_settime", "a thread's profile timer"),
	allow("timer_delete", "a thread's profile timer"),
	allow("setitimer", "the process's profile timer"),
}
