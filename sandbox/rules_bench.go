//go:build bench

package sandbox

// benchRules are what the Go runtime's CPU profile needs. They are only in a build that
// measures.
var benchRules = []rule{
	with("timer_create", "a new thread's profile timer"),
	with("timer_settime", "a thread's profile timer"),
	with("timer_delete", "a thread's profile timer"),
	with("setitimer", "the process's profile timer"),
}
