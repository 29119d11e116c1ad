/*
 * A library to load before ours: the time of day that a program and its libraries see steps a day back and
 * forth every 300 ms. The other clocks go as they do.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int stepped(struct timespec *t)
{
	struct timespec steady;
	int result = (int)syscall(SYS_clock_gettime, CLOCK_REALTIME, t);

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &steady);
	t->tv_sec += (steady.tv_nsec / 300000000 & 1) ? 86400 : -86400;
	return result;
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
	return clock == CLOCK_REALTIME ? stepped(t) : (int)syscall(SYS_clock_gettime, clock, t);
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
	struct timespec now;
	int result = stepped(&now);

	(void)zone;
	*t = (struct timeval){ now.tv_sec, now.tv_nsec / 1000 };
	return result;
}

time_t time(time_t *t)
{
	struct timespec now;

	stepped(&now);
	if (t != NULL)
		*t = now.tv_sec;
	return now.tv_sec;
}
