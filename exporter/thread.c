/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/thread.h"
#include <errno.h>
#include <signal.h>
#include "exporter/util.h"

struct start {
	uint64_t keep;
	bool confined;
	void *(*run)(void *userdata);
	void *userdata;
};

static void *begin(void *userdata)
{
	const struct start start = *(struct start *)userdata;

	free(userdata);
	sandbox_enter_thread(start.keep, start.confined);
	return start.run(start.userdata);
}

int thread_start(pthread_t *ret, uint64_t keep, void *(*run)(void *userdata), void *userdata)
{
	_cleanup_(freep) struct start *start = malloc(sizeof(*start));
	sigset_t all, old;
	pthread_t thread;
	int r;

	if (!start)
		return -ENOMEM;
	*start = (struct start){keep, sandbox_is_confined(), run, userdata};
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, NULL, begin, start);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return -r;
	TAKE_PTR(start);
	*ret = thread;
	return 0;
}
