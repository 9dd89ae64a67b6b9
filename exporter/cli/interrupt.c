/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/interrupt.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>
#include "exporter/util.h"

static atomic_int came;
static sigset_t caught; /* empty, as sigemptyset() leaves it */

static void on_signal(_unused_ int number)
{
	atomic_store(&came, 1);
}

void interrupt_catch(int number)
{
	const struct sigaction action = {.sa_handler = on_signal};

	sigaddset(&caught, number);
	sigaction(number, &action, NULL);
}

bool interrupt_came(void)
{
	return atomic_load(&came);
}

const atomic_int *interrupt_flag(void)
{
	return &came;
}

/* Signals are held back from the question whether one came up to the wait, so that none is overlooked. */
int interrupt_wait(int fd, int timeout_ms)
{
	struct pollfd ends[] = {{.fd = fd, .events = POLLIN}, {.fd = STDOUT_FILENO}};
	const struct timespec time = {.tv_sec = timeout_ms / 1000,
				      .tv_nsec = timeout_ms % 1000 * 1000000L};
	sigset_t before;
	int r = -EINTR;

	sigprocmask(SIG_BLOCK, &caught, &before);
	if (!interrupt_came()) {
		r = ppoll(ends, ARRAY_SIZE(ends), timeout_ms < 0 ? NULL : &time, &before);
		r = r < 0 ? -errno : r;
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (r > 0 && ends[1].revents)
		return -EPIPE;
	return MIN(r, 1);
}
