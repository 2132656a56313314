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

// dieOfFaults restores the default action for the signals of a fault, instead of the Go runtime's
// handler: a confined process whose memory is corrupted must end at once, by that signal, which its
// parent reports. The runtime would continue in a handler, convert the fault to a panic that can be
// recovered, or print stacks and registers.
func dieOfFaults() { C.die_of_faults() }
