/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LD_PRELOAD: a wall clock that is off by as many seconds as the file $FLOWTALLY_CLOCK_SHIM says, so
 * that a test can step it while a program runs, and nothing else on the machine notices.  A second number
 * is what CLOCK_BOOTTIME is off by: both together are what a sleep of the machine looks like.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t offset_s(clockid_t clock)
{
	const char *path = getenv("FLOWTALLY_CLOCK_SHIM");
	FILE *file = path ? fopen(path, "re") : NULL;
	char text[64] = "", *rest;
	time_t wall;

	if (!file)
		return 0;
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	wall = strtol(text, &rest, 10);
	return clock == CLOCK_BOOTTIME ? strtol(rest, NULL, 10) : wall;
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	int r = (int)syscall(SYS_clock_gettime, clock, ret);

	if (r == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_BOOTTIME))
		ret->tv_sec += offset_s(clock);
	return r;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
	int r = (int)syscall(SYS_gettimeofday, ret, zone);

	if (r == 0)
		ret->tv_sec += offset_s(CLOCK_REALTIME);
	return r;
}

time_t time(time_t *ret)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (ret)
		*ret = now.tv_sec;
	return now.tv_sec;
}
