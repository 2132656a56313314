// This file runs before the Go runtime. It is in this package because only the program and its test
// programs contain it: any other program would lose the capabilities of those that it starts.

#define _GNU_SOURCE
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// empty_bounding empties the bounding set of a process that root has started, while it has one
// thread. sandbox.Drop would need 41 calls, each made by all threads after a signal: half a second
// on a busy machine. It does nothing without CAP_NET_RAW, so that the hint about that can tell
// whether it was in the set. A refusal is left to sandbox.Drop.
__attribute__((constructor)) static void empty_bounding(void) {
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
	if (syscall(SYS_capget, &header, sets) != 0 || (sets[0].effective & 1U << CAP_NET_RAW) == 0)
		return;
	for (unsigned long c = 0; prctl(PR_CAPBSET_DROP, c, 0, 0, 0) == 0; c++)
		;
}
