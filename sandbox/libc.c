// Runs before the Go runtime, and before there are threads.

#include <malloc.h>

// Limits glibc's malloc to one arena. For its ninth arena malloc opens a file, to determine the
// largest number of arenas; that happens only seconds to minutes later, with new threads. To return
// memory of any arena but the first to the kernel, it opens another file. A thread creates its
// arena when it first needs memory.
__attribute__((constructor)) static void one_arena(void) { mallopt(M_ARENA_MAX, 1); }
