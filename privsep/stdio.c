// Runs before the Go runtime, which opens /dev/null in the place of a standard
// stream that is closed: after that, nobody could tell.

#include <fcntl.h>
#include <unistd.h>

int privsep_stdout_flags;

__attribute__((constructor)) static void look(void) {
	privsep_stdout_flags = fcntl(STDOUT_FILENO, F_GETFL);
}
