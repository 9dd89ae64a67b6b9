/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include "config/print.h"
#include "config/problems.h"
#include "exporter/notify.h"
#include "exporter/reload.h"
#include "exporter/watch.h"
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/thread.h"

/*
 * An editor truncates a file, writes it and closes it; a copy takes longer.  It is read when nothing has happened to it for
 * this long, but not later than LIMIT_NS after the first change.  All else in the directory wakes the loop once in that time.
 */
#define SETTLE_NS (100 * NSEC_PER_MSEC)
#define LIMIT_NS  (2 * NSEC_PER_SEC)

/* What the thread and the loop have in common.  The last of them to leave frees it. */
struct reading {
	unsigned int owners; /* by atomic operations */
	struct config_request *request;
	int done;     /* eventfd: the thread has written what follows, and is at its end */
	bool watched; /* asked for: watch the file first, so that no change is missed */
	struct watch *watch;
	int watch_error;
	int result; /* of config_load() */
	struct config config;
	struct problems problems;
};

struct reload {
	struct reload_options options;
	struct reload_stats stats;
	struct reading *reading;
	struct loop_source *done;
	struct watch *watch;	     /* NULL: none */
	struct loop_source *changes; /* of its descriptor; takes no events while the timer runs */
	struct loop_source *timer;
	uint64_t changed_ns; /* of the first change that has not been read yet; 0: none */
	int watch_error;     /* that was told last */
	bool under_way;
	bool again; /* once more after that */
	bool first; /* it is the look after the start */
	bool ready;
	bool told; /* the manager has been told of a reload, and waits for READY=1 */
};

/* --- The thread */

static struct reading *reading_leave(struct reading *g)
{
	if (__atomic_sub_fetch(&g->owners, 1, __ATOMIC_ACQ_REL) > 0)
		return NULL;
	watch_freep(&g->watch);
	config_clear(&g->config);
	problems_clear(&g->problems);
	config_request_freep(&g->request);
	closep(&g->done);
	free(g);
	return NULL;
}
DEFINE_CLEANUP(struct reading *, reading_leave)

static void *read_file(void *userdata)
{
	_cleanup_(reading_leavep) struct reading *g = userdata;

	if (g->watched)
		g->watch_error = watch_new(&g->watch, g->request->file);
	g->result = config_load(&g->config, g->request, &g->problems);
	(void)eventfd_write(g->done, 1);
	return NULL;
}

static int start_thread(struct reading *g)
{
	pthread_t thread;
	int r;

	__atomic_add_fetch(&g->owners, 1, __ATOMIC_ACQ_REL);
	r = thread_start(&thread, SANDBOX_CAP(CAP_DAC_OVERRIDE), read_file, g);
	if (r < 0)
		__atomic_sub_fetch(&g->owners, 1, __ATOMIC_ACQ_REL);
	else
		pthread_detach(thread);
	return r;
}

/* --- What becomes of a configuration */

static const char *path_of(const struct reload *r)
{
	return r->reading->request->file;
}

static void count(struct reload *r, bool failed)
{
	if (failed)
		r->stats.failed++;
	else
		r->stats.good++;
	r->stats.last_failed = failed;
	r->stats.last_ns = clock_ns(CLOCK_REALTIME);
}

/* A setting that has its default again stands nowhere: the file is named. */
static void refuse_change(struct problems *problems, const struct config *config,
			  const struct setting *s, const char *runs, const char *wanted)
{
	const struct config_origin *origin = &config->origins[setting_number(s)];
	const struct config_source source = config_source_of(config, s, origin);
	char where[CONFIG_SOURCE_MAX];

	problems_error(problems,
		       "%s%s%s cannot change without a restart: '%s' runs, '%s' is wanted",
		       origin->layer == CONFIG_DEFAULT ? config->path : "",
		       origin->layer == CONFIG_DEFAULT ? ": " : "",
		       config_source_print(&source, where), runs, wanted);
}

/* Adds an error for each setting that differs and takes a restart.  -EINVAL, -ENOMEM. */
static int check_fixed(const struct config *running, const struct config *config,
		       struct problems *problems)
{
	for (size_t i = 0; i < settings_count; i++) {
		_cleanup_(freep) char *runs = NULL, *wanted = NULL;
		const struct setting *s = &settings[i];
		int r;

		if (!setting_in_file(s) || s->reload != RELOAD_NEVER)
			continue;
		r = setting_print(s, running, &runs) ?: setting_print(s, config, &wanted);
		if (r < 0)
			return r;
		if (strcmp(runs ?: "", wanted ?: "") != 0)
			refuse_change(problems, config, s, runs ?: "nothing", wanted ?: "nothing");
	}
	return problems->errors ? -EINVAL : 0;
}

/* The lines of `config diff`; *ret is how many. */
static int print_changes(const struct config *running, const struct config *config, char **ret_text,
			 size_t *ret)
{
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);
	int r;

	if (!file)
		return -ENOMEM;
	r = config_print_difference(file, running, config, ret);
	if (fclose(file) != 0)
		r = -ENOMEM;
	if (r == 0)
		*ret_text = TAKE_PTR(text);
	return r;
}

static void log_lines(char *text)
{
	char *line;

	while ((line = strsep(&text, "\n")))
		if (*line)
			log_info("%s", line);
}

/* What becomes of a good file, beside errors. */
enum {
	IN_FORCE,
	UNCHANGED, /* there was nothing to change */
	UNDER_WAY, /* reload_applied() says */
};

/* -ECANCELED: it could not be put in force, which was said; -EINVAL: it is not to be, which is left to be said; -ENOMEM. */
static int put_in_force(struct reload *r, struct config *config, struct problems *problems)
{
	const struct config *running = r->options.running;
	_cleanup_(freep) char *changes = NULL;
	size_t changed = 0;
	int error = check_fixed(running, config, problems)
			    ?: print_changes(running, config, &changes, &changed);

	if (error < 0 || !changed)
		return error < 0 ? error : UNCHANGED;
	problems_log(problems); /* warnings */
	log_lines(changes);
	error = r->options.apply(r->options.userdata, config);
	if (error < 0)
		return -ECANCELED; /* it has said why */
	return error ? UNDER_WAY : IN_FORCE;
}

static void tell_result(struct reload *r, int result)
{
	struct reading *g = r->reading;

	if (result == -EINVAL)
		problems_log(&g->problems);
	else if (result == -ENOMEM)
		log_errno(LOG_ERR, result, "cannot read '%s'", path_of(r));
	if (result < 0)
		log_error("'%s' is not taken: all stays as it was", path_of(r));
	else if (result == IN_FORCE)
		log_notice("'%s' is in force", path_of(r));
	else if (!r->first)
		log_info("'%s' has changed nothing", path_of(r));
	if (result != UNCHANGED || !r->first)
		count(r, result < 0);
	config_clear(&g->config);
	problems_clear(&g->problems);
}

/* --- Watching */

static int on_changes(void *userdata, _unused_ uint32_t events)
{
	struct reload *r = userdata;

	return loop_set_events(r->changes, 0) ?: loop_set_timer(r->timer, SETTLE_NS, 0);
}

static int on_timer(void *userdata, _unused_ uint32_t events)
{
	struct reload *r = userdata;
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	enum watch_change change = r->watch ? watch_read(r->watch) : WATCH_NOTHING;

	if (change == WATCH_CHANGED && !r->changed_ns)
		r->changed_ns = now_ns;
	if (r->changed_ns && change != WATCH_NOTHING && now_ns - r->changed_ns < LIMIT_NS)
		return loop_set_timer(r->timer, SETTLE_NS, 0);
	if (r->changes && loop_set_events(r->changes, EPOLLIN) < 0)
		r->changes = loop_source_free(r->changes);
	if (!r->changed_ns)
		return 0;
	r->changed_ns = 0;
	log_info("'%s' has changed, reading it again", path_of(r));
	reload_request(r);
	return 0;
}

static void stop_watching(struct reload *r)
{
	loop_source_freep(&r->changes);
	watch_freep(&r->watch);
	r->changed_ns = 0;
}

/* The watch that was made before the reading has all that happened since. */
static void take_watch(struct reload *r)
{
	struct reading *g = r->reading;
	int error = g->watch_error;

	if (g->watch) {
		stop_watching(r);
		r->watch = TAKE_PTR(g->watch);
		error = loop_add_fd(r->options.loop, watch_fd(r->watch), EPOLLIN, on_changes, r,
				    &r->changes);
	}
	if (error < 0 && error != r->watch_error)
		log_errno(LOG_WARNING, error, "cannot watch '%s', SIGHUP reads it again",
			  path_of(r));
	r->watch_error = error;
}

/* As the configuration that runs has it now. */
static void heed_setting(struct reload *r)
{
	if (!r->options.running->watch)
		stop_watching(r);
	else if (!r->reading->watched)
		r->again = true;
}

/* --- The whole */

static void tell_reloading(struct reload *r)
{
	if (!r->ready)
		return;
	notifier_tell_reloading(r->options.notifier);
	r->told = true;
}

static void tell_ready(struct reload *r)
{
	if (r->told)
		notifier_tell(r->options.notifier, "READY=1");
	r->told = false;
}

static void start(struct reload *r)
{
	struct reading *g = r->reading;
	int error;

	r->again = false;
	g->watched = r->options.running->watch;
	g->watch_error = 0;
	tell_reloading(r);
	error = start_thread(g);
	r->under_way = error == 0;
	if (error == 0)
		return;
	log_errno(LOG_ERR, error, "cannot read '%s' again", path_of(r));
	count(r, true);
	r->first = false;
	tell_ready(r);
}

static void finish(struct reload *r, int result)
{
	r->under_way = false;
	tell_result(r, result);
	heed_setting(r);
	r->first = false;
	if (r->again)
		start(r);
	else
		tell_ready(r);
}

static int on_done(void *userdata, _unused_ uint32_t events)
{
	struct reload *r = userdata;
	struct reading *g = r->reading;
	eventfd_t value;
	int result;

	if (eventfd_read(g->done, &value) < 0)
		return 0;
	result = g->result;
	take_watch(r);
	if (result == 0)
		result = put_in_force(r, &g->config, &g->problems);
	if (result != UNDER_WAY)
		finish(r, result);
	return 0;
}

void reload_applied(struct reload *r, int error)
{
	finish(r, error < 0 ? -ECANCELED : IN_FORCE);
}

static int make_reading(struct reload *r)
{
	struct reading *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	r->reading = g;
	g->owners = 1;
	g->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (g->done < 0)
		return -errno;
	g->request = config_request_copy(r->options.request);
	return g->request ? 0 : -ENOMEM;
}

int reload_new(struct reload **ret, const struct reload_options *options)
{
	_cleanup_(reload_freep) struct reload *r = calloc(1, sizeof(*r));
	int error;

	if (!r)
		return -ENOMEM;
	r->options = *options;
	error = make_reading(r)
			?: loop_add_fd(options->loop, r->reading->done, EPOLLIN, on_done, r,
				       &r->done)
			?: loop_add_timer(options->loop, on_timer, r, &r->timer);
	if (error < 0)
		return error;
	r->options.request = r->reading->request;
	/* What has changed since the file was read at the start, where changes are to be noticed. */
	r->first = options->running->watch;
	if (r->first)
		start(r);
	*ret = TAKE_PTR(r);
	return 0;
}

struct reload *reload_free(struct reload *r)
{
	stop_watching(r);
	loop_source_freep(&r->timer);
	loop_source_freep(&r->done);
	if (r->reading)
		reading_leavep(&r->reading);
	free(r);
	return NULL;
}

void reload_ready(struct reload *r)
{
	r->ready = true;
}

void reload_request(struct reload *r)
{
	if (r->under_way && !r->again)
		log_info("'%s' is being read, and will be once more after that", path_of(r));
	if (r->under_way)
		r->again = true;
	else
		start(r);
}

bool reload_busy(const struct reload *r)
{
	return r->under_way || r->changed_ns;
}

const struct reload_stats *reload_stats(const struct reload *r)
{
	return &r->stats;
}
