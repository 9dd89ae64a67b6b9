/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/live.h"
#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include "exporter/cli/top_screen.h"
#include "exporter/cli/top_view.h"
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/observe/control.h"
#include "exporter/thread.h"

#define NICE	   10	/* metering comes before whoever looks */
#define TEXT_MS	   5000 /* between two pictures, where they are text */
#define PATIENCE_S 1

struct live {
	struct live_options options;
	struct top_view *view;
	bool screen;
	atomic_int ended;
	int wake, over;		   /* eventfds: for the thread, and from it */
	int error;		   /* why it is over; 0: the user wants the end */
	char why[TOP_MESSAGE_MAX]; /* of the error */
	struct loop_source *source;
	pthread_t thread;
	bool running;
};

/* Of the process, as there is one terminal. */
static struct termios before;
static atomic_int taken;

void live_abandon(void)
{
	if (atomic_exchange(&taken, 0) && !top_screen_in_background())
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &before);
	log_release();
}

/* --- The thread. */

static int join(const void *userdata, struct client **ret, char why[CLIENT_WHY_MAX])
{
	int fd = control_join((struct control *)userdata);
	int r = fd < 0 ? fd : client_new(ret, fd);

	if (r < 0)
		snprintf(why, CLIENT_WHY_MAX, "%s", strerror(-r));
	return r;
}

static void *run(void *userdata)
{
	struct live *l = userdata;
	const uint64_t one = 1;
	int r;

	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	(void)top_view_ask(l->view); /* it is tried again */
	r = l->screen ? top_view_screen(l->view, l->why) : top_view_batch(l->view, 0);
	if (l->screen)
		live_abandon();
	if (r != -ENOTTY)
		snprintf(l->why, sizeof(l->why), "%s",
			 r == -ENODATA ? "the terminal has gone"
			 : l->screen   ? strerror(-r)
				       : top_view_message(l->view));
	l->error = r;
	(void)!write(l->over, &one, sizeof(one)); /* the loop reads the two after that */
	return NULL;
}

static int on_over(void *userdata, _unused_ uint32_t events)
{
	struct live *l = userdata;
	uint64_t count;

	(void)!read(l->over, &count, sizeof(count));
	l->options.ended(l->options.userdata, l->error, l->why);
	return 0;
}

/* --- Making one. */

static int make(struct live *l)
{
	struct top_view_options options = {
		.connect = join,
		.userdata = l->options.control,
		.choice = l->options.choice,
		.own = true,
		.ended = &l->ended,
	};
	int r;

	l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->over = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake < 0 || l->over < 0)
		return -errno;
	options.wake = l->wake;
	if (!l->screen)
		options.choice.every_ms = MAX(options.choice.every_ms, (uint64_t)TEXT_MS);
	r = top_view_new(&l->view, &options);
	if (r == 0)
		r = loop_add_fd(l->options.loop, l->over, EPOLLIN, on_over, l, &l->source);
	return r;
}

static void take_terminal(struct live *l)
{
	if (!l->screen)
		return;
	atomic_store(&taken, tcgetattr(STDIN_FILENO, &before) == 0);
	if (isatty(STDERR_FILENO))
		log_hold();
}

int live_new(struct live **ret, const struct live_options *options)
{
	_cleanup_(live_freep) struct live *l = calloc(1, sizeof(*l));
	char why[TOP_MESSAGE_MAX];
	int r;

	if (!l)
		return -ENOMEM;
	setlocale(LC_CTYPE, ""); /* what signs the terminal has */
	l->options = *options;
	l->wake = l->over = -1;
	l->screen = top_screen_possible(why);
	if (!l->screen)
		log_info("%s: pictures follow as text", why);
	r = make(l);
	if (r < 0)
		return r;
	take_terminal(l);
	r = thread_start(&l->thread, run, l);
	l->running = r == 0;
	if (r == 0)
		*ret = TAKE_PTR(l);
	return r;
}

/* False: it waits for a terminal or a reader that takes nothing. */
static bool end_thread(struct live *l)
{
	const uint64_t one = 1;
	struct timespec until;

	atomic_store(&l->ended, 1);
	(void)!write(l->wake, &one, sizeof(one));
	clock_gettime(CLOCK_MONOTONIC, &until); /* the wall clock may be set back */
	until.tv_sec += PATIENCE_S;
	if (l->running && pthread_clockjoin_np(l->thread, NULL, CLOCK_MONOTONIC, &until) != 0)
		return false;
	l->running = false;
	return true;
}

struct live *live_free(struct live *l)
{
	bool ended;

	if (!l)
		return NULL;
	ended = end_thread(l);
	live_abandon();
	loop_source_freep(&l->source);
	if (!ended) /* the thread still has the rest */
		return NULL;
	top_view_freep(&l->view);
	closep(&l->wake);
	closep(&l->over);
	free(l);
	return NULL;
}
