/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include "exporter/stop.h"
#include "exporter/log.h"
#include "exporter/thread.h"

/* What the process has for its last words, of the time there is or after a second signal. */
#define LAST_NS (1 * NSEC_PER_SEC)

/* A signal that comes twice by two ways, to the process and to its group, is one. */
#define SAME_NS (200 * NSEC_PER_MSEC)

#define INTERRUPT_MS 50
#define FLUSH_MS     100 /* between two looks at the time */

struct stop {
	struct stop_options options;
	atomic_uint_least64_t timeout_ns;
	pthread_t thread;
	pthread_t caller; /* of stop_new() */
	bool running;
	atomic_bool leaving;	   /* the thread is to return */
	int signals;		   /* signalfd */
	int begun;		   /* eventfd: readable when the end has begun */
	int wake;		   /* eventfd: the thread is to look again */
	atomic_bool again;	   /* another signal came */
	atomic_bool heard;	   /* the caller knows that the end has begun */
	_Atomic uint64_t begun_ns; /* 0: not yet */
	_Atomic uint64_t end_ns;   /* when the process has to be gone; UINT64_MAX: not known */
};

static void post(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		log_errno(LOG_ERR, errno, "cannot wake a thread");
}

void stop_begin(struct stop *s)
{
	uint64_t before = 0, now_ns = clock_ns(CLOCK_MONOTONIC);

	if (!atomic_compare_exchange_strong(&s->begun_ns, &before, now_ns))
		return;
	atomic_store(&s->end_ns, now_ns + atomic_load(&s->timeout_ns));
	post(s->begun);
	post(s->wake); /* there is a time to watch now */
}

static void on_signal(struct stop *s)
{
	uint64_t begun_ns = atomic_load(&s->begun_ns), now_ns = clock_ns(CLOCK_MONOTONIC);

	if (!begun_ns) {
		stop_begin(s);
	} else if (!atomic_load(&s->again) && now_ns - begun_ns >= SAME_NS) {
		atomic_store(&s->again, true);
		atomic_store(&s->end_ns, MIN(atomic_load(&s->end_ns), now_ns + LAST_NS));
	}
}

/* ms, rounded up; -1: no time is known. */
static int time_left(const struct stop *s)
{
	uint64_t end_ns = atomic_load(&s->end_ns), now_ns = clock_ns(CLOCK_MONOTONIC);

	if (end_ns == UINT64_MAX)
		return -1;
	if (end_ns <= now_ns)
		return 0;
	return (int)MIN((end_ns - now_ns) / NSEC_PER_MSEC + 1, 3600000u);
}

static void end_process(struct stop *s)
{
	if (s->options.overdue)
		s->options.overdue(s->options.userdata);
	log_flush(0);
	_exit(1);
}

static void *stop_thread(void *userdata)
{
	struct stop *s = userdata;
	struct pollfd fds[] = {{.fd = s->signals, .events = POLLIN},
			       {.fd = s->wake, .events = POLLIN}};
	struct signalfd_siginfo info;
	uint64_t count;

	pthread_setname_np(pthread_self(), "flowtally-stop");
	for (;;) {
		int left = time_left(s);

		if (left == 0)
			end_process(s);
		/* again and again: it may just be about to read */
		if (left > 0 && s->options.interrupt && !atomic_load(&s->heard)) {
			pthread_kill(s->caller, SIGUSR1);
			left = MIN(left, INTERRUPT_MS);
		}
		poll(fds, ARRAY_SIZE(fds), left);
		while (read(s->signals, &info, sizeof(info)) == sizeof(info))
			on_signal(s);
		if (read(s->wake, &count, sizeof(count)) == sizeof(count) &&
		    atomic_load(&s->leaving))
			return NULL;
	}
}

static bool ignores_hangup(void)
{
	struct sigaction action;

	return sigaction(SIGHUP, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static void do_nothing(_unused_ int number)
{
}

static int open_fds(struct stop *s)
{
	const struct sigaction interrupt = {.sa_handler = do_nothing};
	sigset_t set;
	int r;

	if (s->options.interrupt && sigaction(SIGUSR1, &interrupt, NULL) < 0)
		return -errno;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (s->options.hangup && !ignores_hangup())
		sigaddset(&set, SIGHUP);
	r = pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (r)
		return -r;
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	s->begun = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return s->signals < 0 || s->begun < 0 || s->wake < 0 ? -errno : 0;
}

static int start_thread(struct stop *s)
{
	int r;

	s->caller = pthread_self();
	r = thread_start(&s->thread, SANDBOX_NOTHING, stop_thread, s);
	s->running = r == 0;
	return r;
}

int stop_new(struct stop **ret, const struct stop_options *options)
{
	_cleanup_(stop_freep) struct stop *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->options = *options;
	s->signals = s->begun = s->wake = -1;
	atomic_store(&s->timeout_ns, options->timeout_ns);
	atomic_store(&s->end_ns, UINT64_MAX);
	r = open_fds(s) ?: start_thread(s);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

struct stop *stop_free(struct stop *s)
{
	if (!s)
		return NULL;
	if (s->running) {
		atomic_store(&s->leaving, true);
		post(s->wake);
		pthread_join(s->thread, NULL); /* does not return when the process is being ended */
	}
	closep(&s->signals);
	closep(&s->begun);
	closep(&s->wake);
	free(s);
	return NULL;
}

void stop_set_timeout(struct stop *s, uint64_t timeout_ns)
{
	atomic_store(&s->timeout_ns, timeout_ns);
}

int stop_fd(const struct stop *s)
{
	return s->begun;
}

bool stop_begun(struct stop *s)
{
	if (!atomic_load(&s->begun_ns))
		return false;
	atomic_store(&s->heard, true);
	return true;
}

uint64_t stop_deadline_ns(const void *userdata)
{
	const struct stop *s = userdata;
	uint64_t end_ns = atomic_load(&s->end_ns);

	if (atomic_load(&s->again))
		return 0;
	return end_ns == UINT64_MAX ? end_ns
				    : end_ns - MIN(LAST_NS, atomic_load(&s->timeout_ns) / 4);
}

const char *stop_why(const struct stop *s)
{
	if (atomic_load(&s->again))
		return "another signal";
	return stop_deadline_ns(s) <= clock_ns(CLOCK_MONOTONIC) ? "--stop-timeout" : NULL;
}

void stop_flush_log(const struct stop *s)
{
	while (!log_flush(FLUSH_MS) && time_left(s) != 0)
		;
}
