// This file runs before the Go runtime, which opens /dev/null for each closed standard stream:
// afterwards the difference is not visible.

#include <fcntl.h>
#include <unistd.h>

// The flags of standard input and output as in open(2), or -1 if closed.
int privsep_stream_flags[2];

__attribute__((constructor)) static void note_streams(void) {
	privsep_stream_flags[0] = fcntl(STDIN_FILENO, F_GETFL);
	privsep_stream_flags[1] = fcntl(STDOUT_FILENO, F_GETFL);
}
