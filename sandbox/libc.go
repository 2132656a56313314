package sandbox

// #define _GNU_SOURCE
// #include <pthread.h>
// #include <signal.h>
//
// static int small_stacks(size_t size) {
//	pthread_attr_t attr;
//	pthread_attr_init(&attr);
//	pthread_attr_setstacksize(&attr, size);
//	return pthread_setattr_default_np(&attr);
// }
//
// static void die_of_faults(void) {
//	static const int faults[] = {
//		SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSTKFLT, SIGSYS, SIGTRAP, SIGXCPU,
//	};
//	for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++)
//		signal(faults[i], SIG_DFL);
// }
import "C"

// dieOfFaults gives the signals of a fault their default action instead of the Go
// runtime's handler: a confined process whose memory is corrupted must end at once, by
// that signal, which its parent reports. The runtime would continue in a handler, turn a
// fault into a panic that can be recovered from, or print stacks and registers.
func dieOfFaults() { C.die_of_faults() }

// smallStacks gives threads that begin later a stack of 1 MiB. Without it a stack is as large
// as RLIMIT_STACK of whoever has started the program, and a few would reach RLIMIT_AS. A Go
// thread needs the stack for the runtime and for C.
func smallStacks() { C.small_stacks(1 << 20) }
