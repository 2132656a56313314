// Runs before the Go runtime, in either process: what would be too late after it.

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

// Without the memory and threads that it wants, the runtime dies with a stack.
static void need(int resource, rlim_t least, rlim_t unit, const char *what) {
	struct rlimit limit;
	if (getrlimit(resource, &limit) == 0 && limit.rlim_cur < least) {
		dprintf(STDERR_FILENO, "maas-netmon: %llu %s are allowed, %llu are needed\n",
			(unsigned long long)(limit.rlim_cur / unit), what, (unsigned long long)(least / unit));
		_exit(1);
	}
}

__attribute__((constructor)) static void before(void) {
	const rlim_t MiB = 1 << 20;
	need(RLIMIT_AS, 2048 * MiB, MiB, "MiB of address space");
	need(RLIMIT_DATA, 256 * MiB, MiB, "MiB of data");
	need(RLIMIT_NPROC, 32, 1, "processes and threads");
}
