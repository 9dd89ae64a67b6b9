/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/control.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/meter/kernel_clock.h"
#include "exporter/observe/clients.h"
#include "exporter/observe/listener.h"
#include "exporter/thread.h"

#define WAKE_RECORDS 1024 /* a ring that is written fast is read while that goes on */
#define NICE	     10	  /* metering comes before whoever asks */
#define LOOK_NS	     NSEC_PER_SEC
#define END_NS	     (NSEC_PER_SEC / 2)
#define END_LOOK_NS  (10 * NSEC_PER_MSEC)

struct control {
	struct ring *ring;
	struct clients *clients;
	struct listener *listener;
	const struct kernel_clock *clock;
	uint64_t told_ns;     /* CLOCK_BOOTTIME of the records that come now; 0: to be read */
	unsigned int written; /* records since the thread was woken */
	unsigned int kinds;   /* of the records that come */
	unsigned int settled; /* of these, since the ring was settled */
	int wake;	      /* eventfd */
	int joins[2];	      /* pipe: ends of connections that this process itself asks by */
	uint64_t ending_ns; /* atomic: CLOCK_MONOTONIC until which the end may last; 0: it has not begun */
	bool running;
	pthread_t thread;

	/* The thread's. */
	struct loop *loop;
	struct loop_source *wake_source, *join_source, *listen_source, *look, *again;
};

/* --- In the loop's thread. */

static void wake(struct control *c)
{
	const uint64_t one = 1;

	c->written = 0;
	(void)!write(c->wake, &one, sizeof(one)); /* nonblocking: full is awake */
}

void control_delta(struct control *c, const struct flow_key *key, const struct flow_record *record)
{
	struct ring_record r = {.key = *key, .record = *record};

	if (!c->told_ns)
		c->told_ns = clock_ns(CLOCK_BOOTTIME);
	r.told_ns = c->told_ns;
	r.record.first_ns = kernel_clock_boottime_ns(c->clock, record->first_ns);
	r.record.last_ns = kernel_clock_boottime_ns(c->clock, record->last_ns);
	ring_add(c->ring, &r);
	if (++c->written < WAKE_RECORDS)
		return;
	c->told_ns = 0;
	wake(c);
}

/* Nobody waits for a kind that does not come: one of the others has been read again then. */
void control_settled(struct control *c, unsigned int kinds)
{
	const bool again = (c->settled & kinds) != 0;

	c->settled = again ? kinds : c->settled | kinds;
	if (again || !(c->kinds & ~c->settled))
		ring_settle(c->ring);
	if (!(c->kinds & ~c->settled))
		c->settled = 0;
	c->told_ns = 0;
	wake(c);
}

int control_join(struct control *c)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	if (write(c->joins[1], &ends[1], sizeof(ends[1])) == sizeof(ends[1]))
		return ends[0];
	close(ends[0]);
	close(ends[1]);
	return -EAGAIN;
}

/* --- The thread. */

/* Those that have more to do go on soon; the others meanwhile. */
static int serve(void *userdata)
{
	struct control *c = userdata;
	const uint64_t ending_ns = __atomic_load_n(&c->ending_ns, __ATOMIC_ACQUIRE);
	const enum clients_state state = clients_serve(c->clients, ending_ns != 0);

	if (ending_ns && (state == CLIENTS_DONE || clock_ns(CLOCK_MONOTONIC) >= ending_ns))
		loop_stop(c->loop);
	else if (state == CLIENTS_BUSY)
		loop_set_timer(c->again, 1, 0);
	else if (ending_ns)
		loop_set_timer(c->again, END_LOOK_NS, 0);
	return 0;
}

static int on_again(void *userdata, _unused_ uint32_t events)
{
	return serve(userdata);
}

static int on_wake(void *userdata, _unused_ uint32_t events)
{
	struct control *c = userdata;
	uint64_t count;

	(void)!read(c->wake, &count, sizeof(count));
	return serve(c);
}

/* Whom we have no descriptor for waits, and is not asked about again and again. */
static void listen_again(struct control *c, bool on)
{
	if (c->listener)
		loop_set_events(c->listen_source, on ? EPOLLIN : 0);
}

static int on_look(void *userdata, _unused_ uint32_t events)
{
	struct control *c = userdata;

	clients_look(c->clients);
	listen_again(c, true);
	return serve(c);
}

static int on_join(void *userdata, _unused_ uint32_t events)
{
	struct control *c = userdata;
	int fd;

	while (read(c->joins[0], &fd, sizeof(fd)) == sizeof(fd))
		clients_add(c->clients, fd);
	return serve(c);
}

static int on_client(void *userdata, _unused_ uint32_t events)
{
	struct control *c = userdata;
	int fd = listener_accept(c->listener);

	if (fd >= 0)
		clients_add(c->clients, fd);
	else if (fd != -EAGAIN && fd != -EPERM && fd != -ECONNABORTED && fd != -EINTR)
		listen_again(c, false);
	return serve(c);
}

static void *run(void *userdata)
{
	struct control *c = userdata;

	pthread_setname_np(pthread_self(), "flowtally-ctrl");
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	(void)loop_run(c->loop);
	clients_clear(c->clients);
	return NULL;
}

/* --- Making one. */

static int make_loop(struct control *c)
{
	int r = loop_new(&c->loop);

	if (r == 0)
		r = loop_add_fd(c->loop, c->wake, EPOLLIN, on_wake, c, &c->wake_source);
	if (r == 0)
		r = loop_add_fd(c->loop, c->joins[0], EPOLLIN, on_join, c, &c->join_source);
	if (r == 0 && c->listener)
		r = loop_add_fd(c->loop, listener_fd(c->listener), EPOLLIN, on_client, c,
				&c->listen_source);
	if (r == 0)
		r = loop_add_timer(c->loop, on_look, c, &c->look);
	if (r == 0)
		r = loop_add_timer(c->loop, on_again, c, &c->again);
	if (r == 0)
		r = loop_set_timer(c->look, LOOK_NS, LOOK_NS);
	return r;
}

static int make_clients(struct control *c, const struct control_options *o)
{
	const struct clients_options options = {
		.ring = c->ring,
		.loop = c->loop,
		.snapshots = o->snapshots,
		.drop_names = o->drop_names,
		.enterprise = o->enterprise,
		.keep_ns = o->keep_ns,
		.path = o->path,
		.serve = serve,
		.userdata = c,
	};

	return clients_new(&c->clients, &options);
}

static int make(struct control *c, const struct control_options *o)
{
	int r;

	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wake < 0 || pipe2(c->joins, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	r = ring_new(&c->ring, o->records);
	if (r == 0) {
		ring_count_missed(c->ring, o->missed);
		r = make_loop(c);
	}
	if (r == 0)
		r = make_clients(c, o);
	if (r == 0)
		r = thread_start(&c->thread, run, c);
	c->running = r == 0;
	return r;
}

int control_new(struct control **ret, const struct control_options *o)
{
	_cleanup_(control_freep) struct control *c = calloc(1, sizeof(*c));
	const struct listener_options options = {.path = o->path, .group = o->group};
	char why[LISTENER_WHY_MAX];
	int r;

	if (!c)
		return log_errno(LOG_WARNING, -ENOMEM, "there is no control socket");
	c->wake = c->joins[0] = c->joins[1] = -1;
	c->clock = o->clock;
	c->kinds = o->kinds;
	r = o->path ? listener_new(&c->listener, &options, why) : 0;
	if (r < 0) {
		log_warning("there is no control socket, and `flowtally status` says nothing: %s",
			    why);
		return r;
	}
	r = make(c, o);
	if (r < 0)
		return log_errno(LOG_WARNING, r, "there is no control socket");
	if (o->path)
		log_info(
			"control socket '%s': %u recent records for `flowtally observe` take %.1f MB",
			o->path, o->records,
			(double)(ring_memory(o->records) + ring_order_memory(o->records)) / 1e6);
	*ret = TAKE_PTR(c);
	return 0;
}

void control_end(struct control *c, uint64_t deadline_ns)
{
	const uint64_t end_ns = MIN(deadline_ns, clock_ns(CLOCK_MONOTONIC) + END_NS);

	if (!c->running)
		return;
	ring_settle(c->ring);
	__atomic_store_n(&c->ending_ns, MAX(end_ns, (uint64_t)1), __ATOMIC_RELEASE);
	wake(c);
	pthread_join(c->thread, NULL);
	c->running = false;
}

struct control *control_free(struct control *c)
{
	int fd;

	if (!c)
		return NULL;
	control_end(c, 0);
	while (read(c->joins[0], &fd, sizeof(fd)) == sizeof(fd))
		close(fd);
	clients_freep(&c->clients);
	loop_source_freep(&c->again);
	loop_source_freep(&c->look);
	loop_source_freep(&c->listen_source);
	loop_source_freep(&c->join_source);
	loop_source_freep(&c->wake_source);
	loop_freep(&c->loop);
	listener_freep(&c->listener);
	ring_freep(&c->ring);
	closep(&c->joins[0]);
	closep(&c->joins[1]);
	closep(&c->wake);
	free(c);
	return NULL;
}
