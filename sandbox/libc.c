// Runs before the Go runtime, and before there are threads.

#include <malloc.h>

// Keeps glibc's malloc to one arena. For its ninth it opens a file, to learn how many it may
// have, which takes new threads and seconds to minutes; to give memory of any but the
// first back to the kernel, another one. A thread makes its arena when it first needs
// memory.
__attribute__((constructor)) static void one_arena(void) { mallopt(M_ARENA_MAX, 1); }
