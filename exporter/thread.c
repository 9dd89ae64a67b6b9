/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include "exporter/thread.h"

int thread_start(pthread_t *ret, void *(*run)(void *userdata), void *userdata)
{
	sigset_t all, old;
	pthread_t thread;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, NULL, run, userdata);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return -r;
	*ret = thread;
	return 0;
}
