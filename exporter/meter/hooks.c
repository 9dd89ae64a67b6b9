/* SPDX-License-Identifier: Apache-2.0 */
#include <net/if.h> /* before the kernel's own version of it */
#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/meter/hooks.h"
#include "exporter/meter/ifstats.h"
#include "exporter/meter/interface.h"
#include "exporter/meter/interface_queue.h"
#include "exporter/meter/netdev.h"
#include "exporter/meter/selection.h"
#include "exporter/thread.h"

/*
 * A tick is a second.  In each a fifth of the interfaces is looked after, and of those what failed is tried again when it
 * is due; in each fifth the kernel's counters are read.  The list of all interfaces is only to make up for what
 * the monitor may have missed without a word.
 */
#define ROUND_TICKS 5
#define LIST_TICKS  60

/* Messages of the monitor that are read before something else gets its turn. */
#define MONITOR_BATCH 256

/* What the loop's thread gets: copies that this thread does not touch any more. */
struct news {
	const struct hooks_view *view; /* NULL, as `ifstats`: there was no memory */
	struct ifstats *ifstats;
	bool tried; /* every interface has been, for the first time */
	int result; /* of that */
	bool detached;
};

/* What hooks_apply() asks for. */
struct wanted {
	enum hook_mode ingress;
	enum hook_mode egress;
	size_t count;
	char **interfaces; /* in one block with the strings */
};

struct hooks {
	struct hooks_options options; /* .interfaces, .ingress and .egress are those of the start */

	/* The loop's. */
	struct news *current; /* NULL before the first */
	struct loop_source *source;
	bool told_tried;
	bool stopping;
	struct wanted *prepared; /* by hooks_prepare(); NULL: nothing is */

	/* Both threads'. */
	pthread_t thread;
	bool running;
	int wake;		     /* eventfd: something was asked of the thread */
	int told;		     /* eventfd: `next` is there */
	_Atomic(struct news *) next; /* taken by exchange, by either: whoever has it frees it */
	atomic_bool stop;
	atomic_bool leave;
	atomic_bool rescan;
	_Atomic(struct wanted *) asked;	   /* taken by exchange, as `next` */
	_Atomic(struct datapath *) coming; /* which the hooks are to run; NULL: that which they do */
	_Atomic(struct datapath *) moved;  /* which they have come to run; NULL: has been told */
	atomic_bool applied;		   /* has not been told */

	/* The thread's. */
	struct interface_context context;
	struct selection *selection;
	struct ifstats ifstats;
	int monitor;
	int timer;
	struct wanted *wanted; /* what there was no memory for yet, or NULL */
	bool applying;	       /* `applied` is due when nothing of it is awaited */
	bool deselecting;      /* while the patterns change */
	unsigned int tick;
	bool list_due;
	bool tried;
	bool tried_told;       /* news have said so */
	int result;	       /* of the first round */
	bool changed;	       /* since the last news */
	bool told_this_second; /* there were news since the last tick */
	size_t short_reported; /* interfaces without descriptors, when that was last logged */
	struct interface_queue queue; /* what is to be tried now */
	bool awaiting;		      /* what is found is waited for: by tried() or applied() */
};

bool hooks_interface_meters(const struct hooks_interface *i)
{
	return i->ingress != HOOK_NONE || i->egress != HOOK_NONE;
}

static struct news *news_free(struct news *s)
{
	if (!s)
		return NULL;
	hooks_view_release(s->view);
	ifstats_free(s->ifstats);
	free(s);
	return NULL;
}
DEFINE_CLEANUP(struct news *, news_free)

static struct wanted *wanted_free(struct wanted *w)
{
	if (w)
		free(w->interfaces);
	free(w);
	return NULL;
}
DEFINE_CLEANUP(struct wanted *, wanted_free)

/* --- What the selection tells. */

/* Without memory it stays without, until it is looked after the next time. */
static struct interface *interface_of(struct target *t)
{
	if (!t->data) {
		t->data = calloc(1, sizeof(struct interface));
		if (t->data)
			interface_init(t->data, t);
	}
	return t->data;
}

static void on_found(void *userdata, struct target *t, _unused_ const struct netdev *dev)
{
	struct hooks *h = userdata;
	struct interface *i = interface_of(t);

	if (!i)
		return;
	i->view.ifindex = t->ifindex;
	backoff_reset(&i->retry);
	interface_queue_put(&h->queue, i, h->awaiting);
	h->changed = true;
}

static void on_changed(void *userdata, struct target *t, const struct netdev *dev)
{
	struct hooks *h = userdata;
	struct interface *i = interface_of(t);

	if (!i)
		return;
	snprintf(i->view.device, sizeof(i->view.device), "%s", dev->name);
	if (strcmp(i->view.name, t->name) != 0) {
		log_info("interface '%s' is now '%s'", i->view.name, t->name);
		snprintf(i->view.name, sizeof(i->view.name), "%s", t->name);
	}
	h->changed = true;
	backoff_hurry(&i->retry);
}

/* An interface given by two of its names is metered once. */
static void say_missing(struct hooks *h, struct target *t)
{
	struct interface *i = interface_of(t);
	const struct target *other = selection_target(h->selection, if_nametoindex(t->name));

	if (i && other)
		interface_failed(i, "is the interface '%s', which is metered already", other->name);
	else if (i)
		interface_failed(i, "no such interface: `ip link` lists them");
}

static void on_lost(void *userdata, struct target *t)
{
	struct hooks *h = userdata;
	struct interface *i = t->data;

	if (!i)
		return;
	interface_queue_remove(&h->queue, i);
	if (interface_meters(i) && h->deselecting)
		log_info("interface '%s' is not to be metered any more", i->view.name);
	else if (interface_meters(i))
		log_message(t->named ? LOG_WARNING : LOG_INFO, "interface '%s' is gone",
			    i->view.name);
	interface_detach(i, &h->context);
	i->view.ifindex = 0;
	h->changed = true;
	if (t->named) {
		say_missing(h, t);
		return;
	}
	free(i);
	t->data = NULL;
}

/* The interface is meant by another name than before; its hooks know nothing of that. */
static void on_handed(void *userdata, struct target *from, struct target *to)
{
	struct hooks *h = userdata;
	struct interface *i = from->data, *missing = to->data;

	if (missing) {
		interface_queue_remove(&h->queue, missing);
		free(missing);
	}
	to->data = i;
	from->data = NULL;
	if (i)
		snprintf(i->view.name, sizeof(i->view.name), "%s", to->name);
	h->changed = true;
}

static void on_message(void *userdata, const struct netdev_message *message)
{
	struct hooks *h = userdata;

	if (selection_update(h->selection, message) < 0)
		h->list_due = true; /* no memory: once more, later */
}

static void on_list_begins(void *userdata)
{
	struct hooks *h = userdata;

	selection_begin(h->selection);
}

/* What an interrupted list has is true; what it has not may be there all the same. */
static int list_interfaces(struct hooks *h)
{
	int r;

	h->list_due = false;
	r = netdev_list(on_message, on_list_begins, h);
	if (r == 0) {
		selection_end(h->selection);
		return 0;
	}
	h->list_due = true;
	if (r != -EINTR)
		return log_errno(LOG_ERR, r, "cannot list the interfaces");
	log_warning(
		"interfaces come and go so fast that %d lists of them were all interrupted: what "
		"is missing is found later",
		NETDEV_DUMP_TRIES);
	return 0;
}

static void read_monitor(struct hooks *h)
{
	int r = netdev_monitor_read(h->monitor, MONITOR_BATCH, on_message, h);

	if (r < 0)
		h->list_due = true; /* ENOBUFS: messages got lost; others: read them from a list */
}

/* --- What the thread tells. */

static bool any_attached(const struct hooks *h)
{
	const struct target *t;
	const struct interface *i;

	for (size_t n = 0; (t = selection_get(h->selection, n)); n++) {
		i = t->data;
		if (i && i->view.attached)
			return true;
	}
	return false;
}

static bool any_named(const struct hooks *h)
{
	const char *pattern;

	for (size_t n = 0; (pattern = selection_pattern(h->selection, n)); n++)
		if (!selection_is_glob(pattern))
			return true;
	return false;
}

static struct news *make_news(const struct hooks *h)
{
	const size_t count = selection_count(h->selection);
	_cleanup_(news_freep) struct news *s = calloc(1, sizeof(*s));
	struct hooks_view *view = s ? hooks_view_new(count) : NULL;
	const struct interface *i;

	if (!view)
		return NULL;
	s->view = view;
	view->count = 0;
	for (size_t n = 0; n < count; n++) {
		i = selection_get(h->selection, n)->data;
		if (i)
			view->interfaces[view->count++] = i->view;
	}
	if (ifstats_clone(&s->ifstats, &h->ifstats) < 0)
		return NULL;
	return TAKE_PTR(s);
}

static void wake(int event)
{
	const uint64_t one = 1;

	(void)!write(event, &one, sizeof(one)); /* full: it is readable already */
}

/* Without memory the loop goes on with what it has, unless it waits for this. */
static void tell(struct hooks *h, bool detached)
{
	struct news *s = make_news(h);

	if (!s && (!h->tried_told || detached))
		s = calloc(1, sizeof(*s));
	if (!s)
		return;
	s->tried = h->tried_told = h->tried;
	s->result = h->result;
	s->detached = detached;
	news_free(atomic_exchange(&h->next, s));
	wake(h->told);
	h->changed = false;
	h->told_this_second = true;
}

static void clear_event(int fd)
{
	uint64_t count;

	(void)!read(fd, &count, sizeof(count));
}

/* In the loop's thread. */
static int on_told(void *userdata, _unused_ uint32_t events)
{
	struct hooks *h = userdata;
	struct datapath *moved;
	struct news *s;
	bool applied;

	clear_event(h->told);
	moved = atomic_exchange(&h->moved, NULL);
	applied = atomic_exchange(&h->applied, false);
	s = atomic_exchange(&h->next, NULL); /* after them: not an older one than they are about */
	if (s) {
		news_free(h->current);
		h->current = s;
	}
	if (s && s->tried && !h->told_tried && !h->stopping) {
		h->told_tried = true;
		h->options.tried(h->options.userdata, s->result);
	}
	if (moved && h->options.moved && !h->stopping)
		h->options.moved(h->options.userdata, moved);
	if (applied && h->options.applied && !h->stopping)
		h->options.applied(h->options.userdata);
	if (s && s->detached)
		h->options.detached(h->options.userdata);
	return 0;
}

/* --- What the thread does. */

static size_t count_short(const struct hooks *h)
{
	const struct target *t;
	const struct interface *i;
	size_t count = 0;

	for (size_t n = 0; (t = selection_get(h->selection, n)); n++) {
		i = t->data;
		count += i && i->short_of_descriptors;
	}
	return count;
}

/* One line for all of them, when it becomes another number. */
static void report_descriptors(struct hooks *h)
{
	const struct descriptors *d = &h->context.descriptors;
	size_t count = count_short(h), all = selection_count(h->selection);
	uint64_t needed = descriptors_needed(d, all * interface_descriptors(&h->context));

	if (count && count != h->short_reported)
		log_error(
			"%zu of %zu interfaces are not metered for want of file descriptors: %llu are needed "
			"for all of them, the limit is %llu: raise it (LimitNOFILE= of the service, "
			"`ulimit -n`)",
			count, all, (unsigned long long)needed, (unsigned long long)d->limit);
	h->short_reported = count;
}

/* What is waited for, lest a mistyped glob go unnoticed; beside others that match it is no reason to worry. */
static void report_globs(const struct hooks *h)
{
	const int level = any_attached(h) ? LOG_NOTICE : LOG_WARNING;
	const char *glob;

	for (size_t n = 0; (glob = selection_pattern(h->selection, n)); n++)
		if (selection_is_glob(glob) && !selection_has_match(h->selection, glob))
			log_message(level,
				    "no interface matches '%s' yet: waiting for one to appear",
				    glob);
}

static void report_missing(struct hooks *h)
{
	struct target *t;

	for (size_t n = 0; (t = selection_get(h->selection, n)); n++)
		if (t->named && !t->ifindex)
			say_missing(h, t);
}

static void end_first_round(struct hooks *h)
{
	h->tried = true;
	h->result = !any_attached(h) && any_named(h) ? -ENODEV : 0;
	report_missing(h);
	report_globs(h);
	tell(h, false);
}

static void end_change(struct hooks *h)
{
	h->applying = false;
	report_missing(h);
	report_globs(h);
	tell(h, false);
	atomic_store(&h->applied, true); /* after what it is about, which it may be told without */
	wake(h->told);
}

/* Whoever waits does so for what the start found or the change touched: others may come and go without end. */
static void end_waiting(struct hooks *h)
{
	report_descriptors(h);
	if (!h->tried)
		end_first_round(h);
	if (h->applying)
		end_change(h);
}

static void try_next(struct hooks *h)
{
	struct interface *i = interface_queue_first(&h->queue);
	const struct netdev *dev;

	if (i) {
		interface_queue_remove(&h->queue, i);
		dev = selection_device(h->selection, i->view.ifindex);
		if (dev)
			interface_attach(i, &h->context, dev, clock_ns(CLOCK_MONOTONIC));
		h->changed = true;
	}
	if ((!h->tried || h->applying) && !interface_queue_awaits(&h->queue))
		end_waiting(h);
	else if (i && !interface_queue_first(&h->queue))
		report_descriptors(h);
}

static void look_after(struct hooks *h, struct target *t, uint64_t now_ns)
{
	struct interface *i = interface_of(t);
	bool attached;

	if (!i || !t->ifindex)
		return;
	attached = i->view.attached;
	if (interface_check(i, &h->context, now_ns))
		interface_queue_put(&h->queue, i, false);
	h->changed |= attached != i->view.attached;
}

static void on_tick(struct hooks *h)
{
	unsigned int slice = h->tick % ROUND_TICKS;
	size_t count = selection_count(h->selection);
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

	h->told_this_second = false;
	for (size_t n = count * slice / ROUND_TICKS; n < count * (slice + 1) / ROUND_TICKS; n++)
		look_after(h, selection_get(h->selection, n), now_ns);
	h->tick++;
	if (h->list_due || h->tick % LIST_TICKS == 0)
		list_interfaces(h);
	if (h->tick % ROUND_TICKS == 0) {
		ifstats_read(&h->ifstats); /* what will be known of those that go */
		h->changed = true;
	}
}

static void on_rescan(struct hooks *h)
{
	const struct target *t;
	struct interface *i;

	list_interfaces(h);
	for (size_t n = 0; (t = selection_get(h->selection, n)); n++) {
		i = t->data;
		if (!i || !t->ifindex)
			continue;
		backoff_reset(&i->retry);
		if (interface_check(i, &h->context, 0))
			interface_queue_put(&h->queue, i, false);
	}
}

/* --- Changes. */

/* Hooks that other modes do not touch are not looked at. */
static void set_modes(struct hooks *h, enum hook_mode ingress, enum hook_mode egress)
{
	const struct target *t;
	struct interface *i;

	if (ingress == h->context.ingress && egress == h->context.egress)
		return; /* a hook that is missing has nothing to do with this change */
	h->context.ingress = ingress;
	h->context.egress = egress;
	for (size_t n = 0; (t = selection_get(h->selection, n)); n++) {
		i = t->data;
		if (!i || !t->ifindex || !interface_differs(i, &h->context))
			continue;
		backoff_reset(&i->retry);
		interface_queue_put(&h->queue, i, true);
	}
}

/* Without memory the old patterns hold until the next turn, a second later at most. */
static void change(struct hooks *h)
{
	struct wanted *newer = atomic_exchange(&h->asked, NULL), *w;
	int r;

	if (newer) {
		wanted_free(h->wanted);
		h->wanted = newer;
	}
	w = h->wanted;
	if (!w)
		return;
	h->deselecting = h->awaiting = true;
	r = selection_set_patterns(h->selection, (const char *const *)w->interfaces, w->count);
	h->deselecting = h->awaiting = false;
	if (r < 0)
		return;
	h->list_due |= r > 0;
	set_modes(h, w->ingress, w->egress);
	wanted_freep(&h->wanted);
	h->applying = h->changed = true;
}

static void move(struct hooks *h)
{
	struct datapath *to = atomic_exchange(&h->coming, NULL);
	const struct target *t;
	struct interface *i;
	unsigned int failed = 0, failures;

	if (!to)
		return;
	datapath_inherit(to, h->context.datapath);
	h->context.datapath = to;
	for (size_t n = 0; (t = selection_get(h->selection, n)); n++) {
		i = t->data;
		failures = i ? interface_move(i, &h->context) : 0;
		if (failures)
			interface_queue_put(&h->queue, i, false);
		failed += failures;
	}
	h->changed |= failed > 0;
	atomic_store(&h->moved, to);
	wake(h->told);
}

static void wait_and_handle(struct hooks *h)
{
	enum {
		WAKE,
		TIMER,
		MONITOR
	};
	struct pollfd fds[] = {
		[WAKE] = {.fd = h->wake, .events = POLLIN},
		[TIMER] = {.fd = h->timer, .events = POLLIN},
		[MONITOR] = {.fd = h->monitor, .events = POLLIN},
	};

	if (poll(fds, ARRAY_SIZE(fds), interface_queue_first(&h->queue) ? 0 : -1) < 0)
		return;
	if (fds[WAKE].revents)
		clear_event(h->wake);
	if (fds[MONITOR].revents)
		read_monitor(h);
	if (fds[TIMER].revents) {
		clear_event(h->timer);
		on_tick(h);
	}
	if (atomic_exchange(&h->rescan, false))
		on_rescan(h);
	move(h);
	change(h);
}

/*
 * At once nothing is counted any more; then comes what takes long.  What is left when the process ends is detached
 * by the kernel, which takes as long.
 */
static void detach_all(struct hooks *h)
{
	const struct target *t;

	for (size_t n = 0; (t = selection_get(h->selection, n)); n++)
		if (t->data)
			interface_silence(t->data, &h->context);
	tell(h, true);
	for (size_t n = 0; (t = selection_get(h->selection, n)) && !atomic_load(&h->leave); n++)
		if (t->data)
			interface_detach(t->data, &h->context);
}

static void *hooks_thread(void *userdata)
{
	struct hooks *h = userdata;
	int r;

	pthread_setname_np(pthread_self(), "flowtally-hooks");
	h->awaiting = true;
	r = list_interfaces(h);
	h->awaiting = false;
	if (r < 0) {
		h->tried = true;
		h->result = r;
		tell(h, false);
	} else if (!interface_queue_awaits(&h->queue)) {
		end_first_round(h);
	}
	while (!atomic_load(&h->stop)) {
		wait_and_handle(h);
		if (!atomic_load(&h->stop) && r == 0)
			try_next(h);
		if (h->changed && h->tried && !h->told_this_second)
			tell(h, false);
	}
	detach_all(h);
	return NULL;
}

static int start_thread(struct hooks *h)
{
	int r = thread_start(&h->thread, SANDBOX_METERING, hooks_thread, h);

	h->running = r == 0;
	return r;
}

static int open_fds(struct hooks *h)
{
	const struct itimerspec timer = {.it_value.tv_sec = 1, .it_interval.tv_sec = 1};

	h->monitor = netdev_monitor_open();
	if (h->monitor < 0)
		return h->monitor;
	h->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	h->told = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	h->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (h->wake < 0 || h->told < 0 || h->timer < 0 ||
	    timerfd_settime(h->timer, 0, &timer, NULL) < 0)
		return -errno;
	return loop_add_fd(h->options.loop, h->told, EPOLLIN, on_told, h, &h->source);
}

int hooks_new(struct hooks **ret, const struct hooks_options *options)
{
	static const struct selection_events events = {
		.found = on_found, .changed = on_changed, .lost = on_lost, .handed = on_handed};
	_cleanup_(hooks_freep) struct hooks *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return log_errno(LOG_ERR, ENOMEM, "cannot watch the interfaces");
	h->options = *options;
	h->monitor = h->timer = h->wake = h->told = -1;
	h->context.idle = hook_load_idle(options->datapath);
	r = selection_new(&h->selection, options->interfaces, options->interface_count, &events, h)
		    ?: open_fds(h);
	if (r < 0)
		return log_errno(LOG_ERR, r, "cannot watch the interfaces");
	h->context = (struct interface_context){
		.datapath = options->datapath,
		.ingress = options->ingress,
		.egress = options->egress,
		.ifstats = &h->ifstats,
		.selection = h->selection,
		.idle = h->context.idle,
	};
	descriptors_init(&h->context.descriptors);
	r = start_thread(h);
	if (r < 0)
		return log_errno(LOG_ERR, r, "cannot start the thread of the interfaces");
	*ret = TAKE_PTR(h);
	return 0;
}

void hooks_rescan(struct hooks *h)
{
	atomic_store(&h->rescan, true);
	wake(h->wake);
}

int hooks_prepare(struct hooks *h, const struct hooks_change *change)
{
	_cleanup_(wanted_freep) struct wanted *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->ingress = change->ingress;
	w->egress = change->egress;
	w->count = change->interface_count;
	w->interfaces = selection_copy_patterns(change->interfaces, change->interface_count);
	if (!w->interfaces)
		return -ENOMEM;
	wanted_free(h->prepared);
	h->prepared = TAKE_PTR(w);
	return 0;
}

void hooks_apply(struct hooks *h)
{
	if (!h->prepared)
		return;
	wanted_free(atomic_exchange(&h->asked, TAKE_PTR(h->prepared)));
	wake(h->wake);
}

void hooks_set_datapath(struct hooks *h, struct datapath *datapath)
{
	atomic_store(&h->coming, datapath);
	wake(h->wake);
}

void hooks_stop(struct hooks *h)
{
	h->stopping = true;
	atomic_store(&h->stop, true);
	wake(h->wake);
}

struct hooks *hooks_free(struct hooks *h)
{
	struct target *t;

	if (!h)
		return NULL;
	if (h->running) {
		atomic_store(&h->leave, true);
		hooks_stop(h);
		pthread_join(h->thread, NULL);
	}
	loop_source_free(h->source);
	for (size_t n = 0; h->selection && (t = selection_get(h->selection, n)); n++)
		free(t->data);
	selection_free(h->selection);
	ifstats_clear(&h->ifstats);
	news_free(h->current);
	news_free(h->next);
	wanted_free(h->prepared);
	wanted_free(h->asked);
	wanted_free(h->wanted);
	closep(&h->monitor);
	closep(&h->timer);
	closep(&h->context.idle);
	closep(&h->wake);
	closep(&h->told);
	free(h);
	return NULL;
}

const struct hooks_interface *hooks_get(const struct hooks *h, size_t index)
{
	const struct hooks_view *view = hooks_newest(h);

	return view && index < view->count ? &view->interfaces[index] : NULL;
}

const struct hooks_view *hooks_newest(const struct hooks *h)
{
	return h->current ? h->current->view : NULL;
}

struct ifstats *hooks_ifstats(const struct hooks *h)
{
	return h && h->current ? h->current->ifstats : NULL;
}
