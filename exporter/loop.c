/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include "exporter/loop.h"

#define BATCH 32

enum source_kind {
	SOURCE_FD,
	SOURCE_TIMER,
	SOURCE_SIGNAL,
};

struct loop_source {
	struct loop *loop;
	struct loop_source *next; /* signals only: they belong to the loop */
	loop_callback callback;
	void *userdata;
	enum source_kind kind;
	int fd; /* ours, unless SOURCE_FD */
};

struct loop {
	int epoll;
	bool stopping;
	struct loop_source *signals;
	struct epoll_event batch[BATCH]; /* what epoll_wait() returned and is being called back */
	int batch_count;
};

int loop_new(struct loop **ret)
{
	_cleanup_(loop_freep) struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return -ENOMEM;
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll < 0)
		return -errno;
	*ret = TAKE_PTR(loop);
	return 0;
}

struct loop *loop_free(struct loop *loop)
{
	if (!loop)
		return NULL;
	while (loop->signals) {
		struct loop_source *source = loop->signals;

		loop->signals = source->next;
		loop_source_free(source);
	}
	closep(&loop->epoll);
	free(loop);
	return NULL;
}

/* Takes fd over, also on failure, unless it is SOURCE_FD. */
static int add_source(struct loop *loop, enum source_kind kind, int fd, uint32_t events,
		      loop_callback callback, void *userdata, struct loop_source **ret)
{
	_cleanup_(closep) int own_fd = kind == SOURCE_FD ? -1 : fd;
	_cleanup_(freep) struct loop_source *source = calloc(1, sizeof(*source));
	struct epoll_event event = {.events = events, .data.ptr = source};

	if (!source)
		return -ENOMEM;
	*source = (struct loop_source){
		.loop = loop,
		.callback = callback,
		.userdata = userdata,
		.kind = kind,
	};
	if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	source->fd = kind == SOURCE_FD ? fd : TAKE_FD(own_fd);
	if (kind == SOURCE_SIGNAL) {
		source->next = loop->signals;
		loop->signals = source;
	}
	*ret = TAKE_PTR(source);
	return 0;
}

int loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_callback callback, void *userdata,
		struct loop_source **ret)
{
	return add_source(loop, SOURCE_FD, fd, events, callback, userdata, ret);
}

int loop_set_events(struct loop_source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	if (epoll_ctl(source->loop->epoll, EPOLL_CTL_MOD, source->fd, &event) < 0)
		return -errno;
	return 0;
}

int loop_add_timer(struct loop *loop, loop_callback callback, void *userdata,
		   struct loop_source **ret)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	return add_source(loop, SOURCE_TIMER, fd, EPOLLIN, callback, userdata, ret);
}

int loop_set_timer(struct loop_source *timer, uint64_t first_ns, uint64_t interval_ns)
{
	struct itimerspec spec = {
		.it_value = {.tv_sec = (time_t)(first_ns / NSEC_PER_SEC),
			     .tv_nsec = (long)(first_ns % NSEC_PER_SEC)},
		.it_interval = {.tv_sec = (time_t)(interval_ns / NSEC_PER_SEC),
				.tv_nsec = (long)(interval_ns % NSEC_PER_SEC)},
	};

	if (timerfd_settime(timer->fd, 0, &spec, NULL) < 0)
		return -errno;
	return 0;
}

int loop_add_signal(struct loop *loop, int signal, loop_callback callback, void *userdata)
{
	struct loop_source *source;
	sigset_t set;
	int fd, r;

	sigemptyset(&set);
	if (sigaddset(&set, signal) < 0)
		return -errno;
	r = pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (r)
		return -r;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	return add_source(loop, SOURCE_SIGNAL, fd, EPOLLIN, callback, userdata, &source);
}

struct loop_source *loop_source_free(struct loop_source *source)
{
	struct loop *loop;

	if (!source)
		return NULL;
	loop = source->loop;
	epoll_ctl(loop->epoll, EPOLL_CTL_DEL, source->fd, NULL);
	/* Events of it that have been fetched already are not to be called back any more. */
	for (int i = 0; i < loop->batch_count; i++)
		if (loop->batch[i].data.ptr == source)
			loop->batch[i].data.ptr = NULL;
	if (source->kind != SOURCE_FD)
		close(source->fd);
	free(source);
	return NULL;
}

/* Whether the source has an event still: a timer may have been set anew since epoll_wait(). */
static bool source_consume(const struct loop_source *source)
{
	struct signalfd_siginfo info;
	uint64_t expirations;

	switch (source->kind) {
	case SOURCE_FD:
		return true;
	case SOURCE_TIMER:
		return read(source->fd, &expirations, sizeof(expirations)) == sizeof(expirations);
	case SOURCE_SIGNAL:
		return read(source->fd, &info, sizeof(info)) == sizeof(info);
	}
	return false;
}

int loop_run(struct loop *loop)
{
	int r = 0;

	while (!loop->stopping && r >= 0) {
		int count = epoll_wait(loop->epoll, loop->batch, BATCH, -1);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		loop->batch_count = count;
		for (int i = 0; i < count && !loop->stopping && r >= 0; i++) {
			struct loop_source *source = loop->batch[i].data.ptr;

			if (source && source_consume(source))
				r = source->callback(source->userdata, loop->batch[i].events);
		}
		loop->batch_count = 0;
	}
	loop->stopping = false;
	return r < 0 ? r : 0;
}

void loop_stop(struct loop *loop)
{
	loop->stopping = true;
}
