// This file uses threads of C, because the Go runtime creates another one now and then when many of
// its own block or end, and keeps it. These end before the function returns.

#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_packet.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FEW = 4, MOST = 16 }; // sockets for each thread at least, threads at most

struct share {
	const int *fds;
	int first, end, step;
	const struct tpacket_req *ring;
	int err;
};

static void *serve(void *arg) {
	struct share *s = arg;
	for (int i = s->first; i < s->end; i += s->step)
		if ((s->ring ? setsockopt(s->fds[i], SOL_PACKET, PACKET_RX_RING, s->ring, sizeof *s->ring) : close(s->fds[i])) != 0)
			s->err = errno;
	return NULL;
}

// packetsock_in_parallel gives each of n sockets a ring, or closes it if ring is NULL. It returns
// the error number of one that failed, or 0.
int packetsock_in_parallel(const int *fds, int n, const struct tpacket_req *ring) {
	int step = n / FEW, created = 1, err = 0;
	if (step < 1)
		step = 1;
	if (step > MOST)
		step = MOST;
	struct share shares[MOST];
	for (int i = 0; i < step; i++)
		shares[i] = (struct share){.fds = fds, .first = i, .end = n, .step = step, .ring = ring};
	// Signals are for the threads of the Go runtime. A new thread blocks what its creator does.
	pthread_t threads[MOST];
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (created < step && pthread_create(&threads[created], NULL, serve, &shares[created]) == 0)
		created++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	// This thread has the first share, and those for which no thread could be created.
	serve(&shares[0]);
	for (int i = created; i < step; i++)
		serve(&shares[i]);
	for (int i = 1; i < created; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < step; i++)
		if (shares[i].err != 0)
			err = shares[i].err;
	return err;
}
