/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/meter/descriptors.h"
#include <dirent.h>
#include <sys/resource.h>
#include "exporter/util.h"

/* What is assumed to be open where /proc is not mounted. */
#define OPEN_ASSUMED 64

static void closedirp(DIR **directory)
{
	if (*directory)
		closedir(*directory);
}

static uint64_t count_open(void)
{
	_cleanup_(closedirp) DIR *directory = opendir("/proc/self/fd");
	const struct dirent *entry;
	uint64_t count = 0;

	if (!directory)
		return OPEN_ASSUMED;
	while ((entry = readdir(directory)))
		count += entry->d_name[0] != '.';
	return count;
}

void descriptors_init(struct descriptors *d)
{
	struct rlimit limit = {.rlim_cur = RLIM_INFINITY};

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		rlim_t soft = limit.rlim_cur;

		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			limit.rlim_cur = soft;
	}
	*d = (struct descriptors){
		.limit = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur,
		.other = count_open() + DESCRIPTORS_RESERVE,
	};
}

bool descriptors_fit(const struct descriptors *d, uint64_t more)
{
	return d->other + d->hooks + more <= d->limit;
}

uint64_t descriptors_needed(const struct descriptors *d, uint64_t hooks)
{
	return d->other + hooks;
}
