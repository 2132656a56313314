package sandbox

// #include <signal.h>
//
// static void die_of_faults(void) {
//	static const int faults[] = {
//		SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSTKFLT, SIGSYS, SIGTRAP, SIGXCPU,
//	};
//	for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++)
//		signal(faults[i], SIG_DFL);
// }
import "C"

// dieOfFaults gives the signals of a fault their default action, in the place of the Go
// runtime's handler: a confined process whose memory is not what it should be is
// to end, at once and by that signal, for its parent to name. The runtime would run
// on in a handler, turn a fault into a panic that can be recovered from, or print
// stacks and registers.
func dieOfFaults() { C.die_of_faults() }
