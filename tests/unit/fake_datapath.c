/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "tests/unit/fake_datapath.h"

#define ALIVE_MAX 8

struct bank {
	struct bank_count count;   /* of point 0, since load */
	struct flow_record record; /* what waits to be read; no packets: nothing */
};

struct datapath {
	enum record_kind kind;
	struct kernel_features features;
	unsigned int active;
	int wakeup;
	struct bank banks[2];
};

struct fake_failures fake_failures;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const struct datapath *alive[ALIVE_MAX];
static atomic_uint stale;

static int fail(atomic_int *left)
{
	int n = atomic_load(left);

	if (n > 0)
		atomic_fetch_sub(left, 1);
	return n ? -EIO : 0;
}

/* Whether it is there; puts `with` into its place, which may be itself. */
static bool find(const struct datapath *d, const struct datapath *with)
{
	bool found = false;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < ALIVE_MAX && !found; i++) {
		found = alive[i] == d;
		if (found)
			alive[i] = with;
	}
	pthread_mutex_unlock(&lock);
	return found;
}

unsigned int fake_alive(void)
{
	unsigned int count = 0;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < ALIVE_MAX; i++)
		count += alive[i] != NULL;
	pthread_mutex_unlock(&lock);
	return count;
}

unsigned int fake_stale(void)
{
	return atomic_load(&stale);
}

void fake_reset(void)
{
	atomic_store(&fake_failures.take_stubs, 0);
	atomic_store(&fake_failures.counts[0], 0);
	atomic_store(&fake_failures.counts[1], 0);
	atomic_store(&stale, 0);
}

void fake_give(struct datapath *d, uint64_t packets)
{
	struct bank *b;

	pthread_mutex_lock(&lock);
	b = &d->banks[d->active];
	b->count.seen += packets;
	b->count.packets += packets;
	b->count.octets += packets * 100;
	b->count.inserts += !b->record.packets;
	b->record.packets += packets;
	b->record.octets += packets * 100;
	pthread_mutex_unlock(&lock);
}

void fake_wake(struct datapath *d)
{
	(void)eventfd_write(d->wakeup, 1);
}

bool datapath_wakeup_clear(struct datapath *d)
{
	eventfd_t value;

	return eventfd_read(d->wakeup, &value) == 0;
}

int datapath_new(struct datapath **ret, const struct datapath_options *options)
{
	struct datapath *d = calloc(1, sizeof(*d));

	d->kind = options->kind;
	d->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!find(NULL, d))
		abort();
	*ret = d;
	return 0;
}

struct datapath *datapath_free(struct datapath *d)
{
	if (!d)
		return NULL;
	if (!find(d, NULL))
		abort();
	close(d->wakeup);
	free(d);
	return NULL;
}

int datapath_take_stubs(_unused_ const struct datapath *d)
{
	return fail(&fake_failures.take_stubs);
}

int datapath_swap(struct datapath *d, unsigned int *ret_old)
{
	pthread_mutex_lock(&lock);
	*ret_old = d->active;
	d->active = !d->active;
	pthread_mutex_unlock(&lock);
	return 0;
}

int datapath_read(struct datapath *d, unsigned int bank, _unused_ uint32_t *position,
		  struct flow_key *keys, struct flow_record *records, _unused_ uint32_t max,
		  uint32_t *ret_count, bool *ret_done)
{
	pthread_mutex_lock(&lock);
	keys[0] = (struct flow_key){.protocol = 17};
	records[0] = d->banks[bank].record;
	*ret_count = records[0].packets > 0;
	*ret_done = true;
	d->banks[bank].record = (struct flow_record){0};
	pthread_mutex_unlock(&lock);
	return 0;
}

int datapath_counts(const struct datapath *d, unsigned int point, struct hook_count *ret)
{
	struct hook_count count = {0};

	/* a read of point 0 is one of both banks, and fails as one: while the bank that stands still does */
	if (point == 0 && fail(&fake_failures.counts[!datapath_active(d)]) < 0)
		return -EIO;
	pthread_mutex_lock(&lock);
	for (int bank = 0; bank < 2 && point == 0; bank++)
		count.bank[bank] = d->banks[bank].count;
	pthread_mutex_unlock(&lock);
	*ret = count;
	return 0;
}

/* Slow, so that a datapath that another thread frees meanwhile is noticed. */
int datapath_stub_fd(const struct datapath *d, _unused_ enum datapath_program program)
{
	usleep(5000);
	if (!find(d, d))
		atomic_fetch_add(&stale, 1);
	return -1;
}

unsigned int datapath_active(const struct datapath *d)
{
	unsigned int active;

	pthread_mutex_lock(&lock);
	active = d->active;
	pthread_mutex_unlock(&lock);
	return active;
}

enum record_kind datapath_kind(const struct datapath *d)
{
	return d->kind;
}

int datapath_wakeup_fd(const struct datapath *d)
{
	return d->wakeup;
}

const struct kernel_features *datapath_features(const struct datapath *d)
{
	return &d->features;
}

/* --- What no test has looked at yet. */

int datapath_unrecorded(_unused_ const struct datapath *d, _unused_ datapath_visit visit,
			_unused_ void *userdata)
{
	return 0;
}

void datapath_reset_fill(_unused_ struct datapath *d, _unused_ unsigned int bank)
{
}

void datapath_inherit(_unused_ struct datapath *d, _unused_ const struct datapath *from)
{
}

void datapath_set_drop_filter(_unused_ struct datapath *d,
			      _unused_ const struct drop_filter *filter)
{
}

int datapath_set_bond(_unused_ struct datapath *d, _unused_ uint32_t ifindex,
		      _unused_ bool attached)
{
	return 0;
}

int datapath_map_fd(_unused_ const struct datapath *d, _unused_ const char *name)
{
	return -ENOENT;
}

int datapath_bank_fd(_unused_ const struct datapath *d, _unused_ unsigned int bank)
{
	return -ENOENT;
}

int datapath_program_fd(_unused_ const struct datapath *d, _unused_ enum datapath_program program)
{
	return -ENOENT;
}

uint32_t datapath_owner(_unused_ const struct datapath *d)
{
	return 0;
}

const char *datapath_program_name(_unused_ enum datapath_program program)
{
	return "fake";
}

/* As if there were many CPUs. */
uint32_t datapath_entries_min(void)
{
	return FAKE_ENTRIES_MIN;
}

uint64_t datapath_memory(_unused_ uint32_t bank_entries)
{
	return 0;
}
