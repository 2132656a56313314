// This file runs before the Go runtime, in both processes. It records state that is not visible
// later, and refuses environments in which the runtime or a library would crash with a dump instead
// of one line.

#if !defined __linux__ || defined __ILP32__ || !(defined __x86_64__ || defined __aarch64__)
#error "maas-netmon is for Linux on amd64 or arm64 only: doc/architecture.md, Architectures, tells why"
#endif

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

// The process that started this one, read as early as possible.
pid_t privsep_parent;

enum { failure = 1, confinement = 5 }; // exit statuses

#define MIB ((rlim_t)1 << 20)
#define STACK (1 * MIB) // of each thread

// need ends the program if the limit of a resource is below what the Go runtime reserves.
static void need(int resource, rlim_t least, rlim_t unit, const char *what, const char *hint) {
	struct rlimit limit;
	if (getrlimit(resource, &limit) == 0 && limit.rlim_cur < least) {
		dprintf(STDERR_FILENO, "maas-netmon: %llu %s are allowed, %llu are needed\nmaas-netmon: hint: %s\n",
			(unsigned long long)(limit.rlim_cur / unit), what, (unsigned long long)(least / unit), hint);
		_exit(failure);
	}
}

// set_stacks gives each thread a stack of the same size. glibc would use the caller's RLIMIT_STACK,
// which may exceed the memory limit of the process, or be too small.
static void set_stacks(void) {
	struct rlimit limit;
	if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur < STACK) {
		limit.rlim_cur = limit.rlim_max < STACK ? limit.rlim_max : STACK;
		setrlimit(RLIMIT_STACK, &limit);
	}
	need(RLIMIT_STACK, STACK, MIB, "MiB of stack", "ulimit -Hs 1024, or LimitSTACK= in a systemd unit");
	pthread_attr_t attr;
	if (pthread_attr_init(&attr) == 0) {
		pthread_attr_setstacksize(&attr, STACK);
		pthread_setattr_default_np(&attr);
		pthread_attr_destroy(&attr);
	}
}

// need_proc ends the program unless /proc is that of our process ID namespace. psx finds the
// threads there, and the monitor inspects the parser there.
static void need_proc(void) {
	char self[32] = "";
	if (readlink("/proc/self", self, sizeof self - 1) < 0 || atol(self) != getpid()) {
		dprintf(STDERR_FILENO, "maas-netmon: /proc is not mounted, or is that of another process ID namespace\n"
			"maas-netmon: hint: mount -t proc proc /proc\n");
		_exit(confinement);
	}
}

// set_runtime makes the Go runtime independent of the caller's environment, which it reads before
// main. The two variables that the program needs get its own values. The pointers are replaced, not
// removed: the runtime finds the auxiliary vector after the last one.
static void set_runtime(char **envp) {
	static const struct {
		const char *name, *ours;
	} variables[] = {
		{"GODEBUG=", ""}, {"GOGC=", ""}, {"GOMEMLIMIT=", ""}, {"GOMAXPROCS=", "GOMAXPROCS=1"}, {"GOTRACEBACK=", "GOTRACEBACK=none"},
	};
	for (; *envp != NULL; envp++)
		for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
			if (strncmp(*envp, variables[i].name, strlen(variables[i].name)) == 0)
				*envp = (char *)variables[i].ours;
}

// leave_group drops an effective group that is not the real one. The parser can be started with
// such a group, see Launch. So a set-group-ID bit on the program's file has no effect.
static void leave_group(void) {
	gid_t real = getgid();
	if (getegid() != real && setresgid(real, real, real) != 0) {
		dprintf(STDERR_FILENO, "maas-netmon: leave group %ld: %s\n", (long)getegid(), strerror(errno));
		_exit(confinement);
	}
}

// glibc calls a constructor with the arguments of main.
__attribute__((constructor(101))) static void preinit(int argc, char **argv, char **envp) {
	(void)argc, (void)argv;
	privsep_parent = getppid();
	set_runtime(envp);
	leave_group();
	need_proc();
	need(RLIMIT_AS, 2048 * MIB, MIB, "MiB of address space", "ulimit -v 2097152, or LimitAS=2G in a systemd unit");
	need(RLIMIT_DATA, 256 * MIB, MIB, "MiB of data", "ulimit -d 262144, or LimitDATA=256M in a systemd unit");
	need(RLIMIT_NPROC, 32, 1, "processes and threads", "ulimit -u 32, or LimitNPROC=32 in a systemd unit");
	set_stacks();
}

// fail ends a process, confined or not, with an error and a hint. Otherwise the Go runtime would
// print a dump and exit with the status of wrong usage.
static _Noreturn void fail(const char *what, int err, const char *hint) {
	char text[256];
	// Not dprintf, which calls lseek(2).
	int n = snprintf(text, sizeof text, "maas-netmon: %s: %s\nmaas-netmon: hint: %s\n", what, strerror(err), hint);
	if (write(STDERR_FILENO, text, n) < 0) {
		// there is no place to report it
	}
	_exit(failure);
}

int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

// __wrap_pthread_create is pthread_create for the Go runtime, which tries 20 times, in one thread
// (_cgo_try_pthread_create in runtime/cgo). C code of this program tries once and goes on without.
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*f)(void *), void *arg) {
	static _Thread_local int failures; // others may succeed at the same time
	int err = __real_pthread_create(thread, attr, f, arg);
	if (err == 0)
		failures = 0;
	else if (err != EAGAIN || ++failures >= 20)
		fail("cannot create a thread", err, "raise TasksMax= of the systemd unit, pids.max of the cgroup, or ulimit -u");
	return err;
}

void *__real_mmap(void *, size_t, int, int, int, off_t);

// __wrap_mmap is mmap for the Go runtime (runtime/cgo), which survives no failure of it.
void *__wrap_mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset) {
	void *p = __real_mmap(addr, length, prot, flags, fd, offset);
	if (p == MAP_FAILED)
		fail("out of memory", errno, "raise LimitAS= and LimitDATA= of the systemd unit, or ulimit -v and -d; see vm.overcommit_memory too");
	return p;
}
