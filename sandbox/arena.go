package sandbox

// #include <malloc.h>
// static int one_arena(void) { return mallopt(M_ARENA_MAX, 1); }
import "C"

// oneArena keeps glibc's malloc to one arena. When it makes its ninth, which
// takes new threads and seconds to minutes, it opens
// /sys/devices/system/cpu/online to learn how many it may have.
func oneArena() { C.one_arena() }
