//go:build trap

// This file is only part of the build that finds the system call that a new Go or C library needs:
// see CONTRIBUTING.md. The call is refused here too, and the process ends; but a compromised
// process could replace the handler and continue.

package sandbox

// #cgo pkg-config: libseccomp
// #include <seccomp.h>
// #include <signal.h>
// #include <stdio.h>
// #include <string.h>
// #include <unistd.h>
//
// static void name(int sig, siginfo_t *info, void *context) {
//	char line[100];
//	char *call = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, info->si_syscall);
//	snprintf(line, sizeof line, "maas-netmon: the system call %s (%d) is not allowed\n",
//		call ? call : "unknown", info->si_syscall);
//	if (write(STDERR_FILENO, line, strlen(line)) < 0)
//		_exit(1);
//	_exit(5);
// }
//
// static void name_violations(void) {
//	struct sigaction action = {.sa_sigaction = name, .sa_flags = SA_SIGINFO | SA_ONSTACK};
//	sigaction(SIGSYS, &action, NULL);
// }
import "C"

import seccomp "github.com/seccomp/libseccomp-golang"

// violation makes the kernel send SIGSYS to the process (seccomp(2)).
const violation = seccomp.ActTrap

// nameViolations makes the process print the name of the call, and end.
func nameViolations() { C.name_violations() }
