/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flow cache against a model of it: random operations, other timeouts and sizes among them, and no packet is
 * lost in any of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "exporter/meter/cache.h"

#define SEC    NSEC_PER_SEC
#define IDLE   (15 * SEC)
#define ACTIVE (60 * SEC)
#define LINGER (2 * SEC)
#define SYN    0x02
#define FIN    0x01
#define RST    0x04
#define ACK    0x10

enum {
	MODEL_FLOWS = 300,
	MODEL_CAPACITY = 64,
	MODEL_CAPACITY_MAX = 280, /* from 64, 128, 256 and 512 buckets */
	MODEL_STEPS = 60000
};

/* An array of flows without tricks, searched from end to end. */
struct model_flow {
	bool present, ended, continued;
	struct flow_record record;
	uint64_t merged_at;
	uint64_t longest; /* active timeout since the record began */
};

static struct {
	struct model_flow flow[MODEL_FLOWS];
	struct cache *cache;
	uint64_t idle, active, linger;
	unsigned int capacity;
	uint64_t now, merges, in, out, too_long, before, shrunk, interrupted;
	unsigned int count;
	bool flushing;
	struct model_flow *merging; /* NULL: a pass */
	enum flow_end forced;	    /* what a record of it must be; 0: there must be none */
	bool evicted;
} model;

static uint64_t model_quiet(const struct model_flow *flow)
{
	return flow->record.last_ns + (flow->ended ? MIN(model.linger, model.idle) : model.idle);
}

/* Too far from what the flow has, behind or before it. */
static bool model_apart(const struct model_flow *flow, uint64_t first, uint64_t last)
{
	uint64_t begin = flow->record.packets ? flow->record.first_ns : flow->record.last_ns;

	return first >= model_quiet(flow) || last + model.idle <= begin;
}

/* By what comes, or already, since the timeout has become shorter. */
static bool model_too_long(const struct model_flow *flow, uint64_t first, uint64_t last)
{
	const struct flow_record *r = &flow->record;

	return r->packets && MAX(last, r->last_ns) > MIN(first, r->first_ns) + model.active;
}

static struct model_flow *model_oldest(void)
{
	struct model_flow *oldest = NULL;

	for (unsigned int i = 0; i < MODEL_FLOWS; i++)
		if (model.flow[i].present &&
		    (!oldest || model.flow[i].merged_at < oldest->merged_at))
			oldest = &model.flow[i];
	assert_non_null(oldest);
	return oldest;
}

static void model_leave(struct model_flow *flow)
{
	flow->present = false;
	model.count--;
}

/* A flow without packets since its last record just goes. */
static void model_leave_silent(struct model_flow *flow)
{
	assert_int_equal(flow->record.packets, 0);
	model_leave(flow);
}

static void model_continue(struct model_flow *flow)
{
	flow->continued = true;
	flow->longest = 0;
	flow->record.packets = flow->record.octets = flow->record.tcp_flags = 0;
}

/* The oldest flow goes, for want of room: what is older than it had nothing to say, and goes too in a pass. */
static void model_evict(const struct model_flow *flow)
{
	assert_true(model.merging ? model.count >= model.capacity : model.count > model.capacity);
	while (!model.merging && model_oldest() != flow && model.count > model.capacity + 1)
		model_leave_silent(model_oldest());
	assert_ptr_equal(flow, model_oldest());
	model.evicted = true;
	model.shrunk += !model.merging;
}

/* What a pass has ended without a word, before it comes to those for which there is no room. */
static void model_leave_quiet(void)
{
	for (unsigned int i = 0; i < MODEL_FLOWS; i++)
		if (model.flow[i].present && model_quiet(&model.flow[i]) <= model.now)
			model_leave_silent(&model.flow[i]);
}

static void model_sink(void *userdata, const struct flow *got)
{
	struct model_flow *flow;
	uint32_t number = 0;

	(void)userdata;
	memcpy(&number, got->key.src, sizeof(number));
	flow = &model.flow[number];
	assert_true(flow->present);
	assert_memory_equal(&got->record, &flow->record, sizeof(got->record));
	assert_true(got->record.first_ns <= got->record.last_ns);
	assert_true(got->record.last_ns - got->record.first_ns <= flow->longest);
	model.out += got->record.packets;
	if (model.flushing) {
		assert_int_equal(got->end, FLOW_END_FORCED);
	} else if (flow == model.merging) {
		assert_int_equal(got->end, model.forced);
		model.too_long += model.forced == FLOW_END_ACTIVE;
	} else if (got->end == FLOW_END_RESOURCES) {
		if (!model.merging)
			model_leave_quiet();
		model_evict(flow);
	} else if (model_quiet(flow) <= model.now) {
		assert_null(model.merging);
		assert_int_equal(got->end, flow->ended ? FLOW_END_DETECTED : FLOW_END_IDLE);
	} else {
		assert_null(model.merging);
		assert_int_equal(got->end, FLOW_END_ACTIVE);
		assert_true(flow->record.first_ns +
				    (flow->continued ? model.active : model.active / 2) <=
			    model.now);
	}
	if (got->end == FLOW_END_ACTIVE)
		model_continue(flow);
	else
		model_leave(flow);
}

static void model_sum(struct flow_record *record, const struct flow_record *delta, uint64_t first,
		      uint64_t last)
{
	bool none = !record->packets;

	record->packets += delta->packets;
	record->octets += delta->octets;
	record->tcp_flags |= delta->tcp_flags;
	if (none || first < record->first_ns)
		record->first_ns = first;
	if (none || last > record->last_ns)
		record->last_ns = last;
	if (none || delta->min_length < record->min_length)
		record->min_length = delta->min_length;
	if (none || delta->max_length > record->max_length)
		record->max_length = delta->max_length;
}

/* The delta's times may be the wrong way round. */
static void model_merge(uint32_t number, const struct flow_record *delta)
{
	uint64_t first = MIN(delta->first_ns, delta->last_ns);
	uint64_t last = MAX(delta->first_ns, delta->last_ns);
	struct model_flow *flow = &model.flow[number];
	struct flow_key key = {.protocol = 6};
	bool over = flow->present && model_apart(flow, first, last), full;

	memcpy(key.src, &number, sizeof(number));
	model.before += over && first < flow->record.first_ns;
	/* the only records a merge may bring: of this flow, which was over or too long, and of the oldest */
	model.forced = 0;
	if (over)
		model.forced = flow->ended ? FLOW_END_DETECTED : FLOW_END_IDLE;
	else if (flow->present && model_too_long(flow, first, last))
		model.forced = FLOW_END_ACTIVE;
	if (over && !flow->record.packets)
		model_leave(flow);
	full = model.count - (over && flow->present) >= model.capacity;
	model.merging = flow;
	model.evicted = false;
	cache_merge(model.cache, &key, delta);
	model.merging = NULL;
	if (!flow->present && full && !model.evicted)
		model_leave_silent(model_oldest());
	if (!flow->present) {
		*flow = (struct model_flow){.present = true, .record = *delta};
		flow->record.first_ns = first;
		flow->record.last_ns = last;
		flow->longest = last - first;
		model.count++;
	} else {
		model_sum(&flow->record, delta, first, last);
	}
	flow->longest = MAX(flow->longest, model.active);
	flow->ended |= (delta->tcp_flags & (FIN | RST)) != 0;
	flow->merged_at = ++model.merges;
	model.in += delta->packets;
}

static uint64_t random_below(uint64_t limit)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x % limit;
}

static void model_random_merge(uint32_t flows)
{
	static const uint32_t flags[] = {FIN, RST, SYN, ACK, 0};
	uint64_t late = random_below(100), kind = random_below(60);
	uint64_t behind = random_below(late == 0 ? 100 * SEC : late < 20 ? 20 * SEC : SEC);
	uint64_t length = 40 + random_below(1400);
	struct flow_record delta = {.packets = 1 + random_below(9),
				    .octets = length * 3,
				    .last_ns = model.now - behind,
				    .tcp_flags = flags[MIN(kind, ARRAY_SIZE(flags) - 1)],
				    .min_length = (__u16)length,
				    .max_length = (__u16)(length + random_below(50)),
				    .min_ttl = 64,
				    .max_ttl = 64};

	delta.first_ns = delta.last_ns - random_below(SEC);
	if (random_below(10) == 0) /* a race between CPUs, by a tick */
		delta.first_ns = delta.last_ns + 4 * NSEC_PER_MSEC;
	model_merge((uint32_t)random_below(flows), &delta);
}

/* In a pass nothing becomes longer: what that has ended without a word the model knows at its end alone. */
static void model_change(bool in_pass)
{
	uint64_t idle = SEC / 2 + random_below(30 * SEC), linger = random_below(2 * IDLE);
	unsigned int capacity = CACHE_ENTRIES_MIN +
				(unsigned int)random_below(MODEL_CAPACITY_MAX - CACHE_ENTRIES_MIN);

	if (random_below(2)) {
		model.idle = in_pass ? MIN(idle, model.idle) : idle;
		model.linger = in_pass ? MIN(linger, model.linger) : linger;
		model.active = 2 * SEC + random_below(120 * SEC);
		assert_int_equal(
			cache_set_timeouts(model.cache, model.idle, model.active, model.linger), 0);
	} else {
		model.capacity = in_pass ? MIN(capacity, model.capacity) : capacity;
		assert_int_equal(cache_resize(model.cache, model.capacity), 0);
	}
}

/* After a pass in slices, during which time goes on, nothing is left that should have gone. */
static void model_expire(void)
{
	while (!cache_expire_some(model.cache, model.now, (uint32_t)random_below(8))) {
		model.now += random_below(8) ? 0 : random_below(SEC);
		model.interrupted++;
		if (random_below(100) == 0)
			model_change(true);
	}
	model_leave_quiet();
	while (model.count > model.capacity)
		model_leave_silent(model_oldest());
	for (unsigned int i = 0; i < MODEL_FLOWS; i++)
		if (model.flow[i].present && model.flow[i].record.packets)
			assert_true(model.flow[i].record.first_ns + model.active > model.now);
}

static void test_model(void **state)
{
	struct cache_options options = {.entries = MODEL_CAPACITY,
					.idle_ns = IDLE,
					.active_ns = ACTIVE,
					.linger_ns = LINGER,
					.sink = model_sink,
					.seed = 2}; /* with others a way out may be rare */
	_cleanup_(cache_freep) struct cache *cache = NULL;
	const struct cache_stats *stats;

	(void)state;
	assert_int_equal(cache_new(&cache, &options), 0);
	model.cache = cache;
	model.idle = IDLE;
	model.active = ACTIVE;
	model.linger = LINGER;
	model.capacity = MODEL_CAPACITY;
	model.now = 1000 * SEC;
	stats = cache_stats(cache);
	for (unsigned int step = 0; step < MODEL_STEPS; step++) {
		uint64_t dice = random_below(1000);

		if (dice < 700)
			model_random_merge(30);
		else if (dice < 702) /* more than fit at once */
			for (unsigned int i = 0; i < MODEL_FLOWS; i++)
				model_random_merge(MODEL_FLOWS);
		else if (dice < 990)
			model.now += random_below(SEC / 2);
		else if (dice < 998)
			model.now += random_below(20 * SEC);
		else
			model.now += random_below(100000 * SEC);
		if (dice >= 500 && dice < 510)
			model_change(false);
		if (dice % 4 == 0 && step / 500 % 2) /* at times for long not */
			model_expire();
		assert_int_equal(stats->packets, model.in - model.out);
		assert_int_equal(stats->entries, model.count);
	}
	/* Each way out has been taken. */
	assert_true(stats->exported[FLOW_END_IDLE] > 100);
	assert_true(stats->exported[FLOW_END_ACTIVE] > 100);
	assert_true(stats->exported[FLOW_END_DETECTED] > 100);
	assert_true(stats->exported[FLOW_END_RESOURCES] > 100);
	assert_true(model.too_long > 10);
	assert_true(model.before > 100);
	assert_true(model.shrunk > 100);
	assert_true(model.interrupted > 1000);
	model.flushing = true;
	cache_flush(cache, FLOW_END_FORCED);
	assert_int_equal(model.in, model.out);
	assert_int_equal(stats->packets, 0);
	assert_int_equal(stats->octets, 0);
	assert_int_equal(stats->entries, 0);
}

static void count_sink(void *userdata, const struct flow *flow)
{
	(void)flow;
	++*(unsigned int *)userdata;
}

/* Passes that expire nothing look at no flow: 100,000 of them over 65,536 flows would take minutes. */
static void test_cost(void **state)
{
	unsigned int exported = 0;
	struct cache_options options = {.entries = 65536,
					.idle_ns = 3600 * SEC,
					.active_ns = 3600 * SEC,
					.linger_ns = LINGER,
					.sink = count_sink,
					.userdata = &exported};
	struct flow_record delta = {.packets = 1, .first_ns = 1000 * SEC, .last_ns = 1000 * SEC};
	_cleanup_(cache_freep) struct cache *cache = NULL;
	uint64_t start = clock_ns(CLOCK_PROCESS_CPUTIME_ID);

	(void)state;
	assert_int_equal(cache_new(&cache, &options), 0);
	cache_expire(cache, 1000 * SEC);
	for (uint32_t i = 0; i < options.entries; i++) {
		struct flow_key key = {.protocol = 17};

		memcpy(key.dst, &i, sizeof(i));
		cache_merge(cache, &key, &delta);
	}
	for (uint64_t pass = 0; pass < 100000; pass++)
		cache_expire(cache, 1000 * SEC + pass * NSEC_PER_MSEC);
	assert_int_equal(exported, 0);
	assert_true(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start < 5 * SEC);
}

/* What a cache has exported, as octets. */
struct exported {
	uint8_t octets[1 << 20];
	size_t length;
};

static void keep_sink(void *userdata, const struct flow *flow)
{
	struct exported *e = userdata;
	uint32_t end = flow->end;

	assert_true(e->length + sizeof(flow->key) + sizeof(flow->record) + sizeof(end) <=
		    sizeof(e->octets));
	memcpy(e->octets + e->length, &flow->key, sizeof(flow->key));
	e->length += sizeof(flow->key);
	memcpy(e->octets + e->length, &flow->record, sizeof(flow->record));
	e->length += sizeof(flow->record);
	memcpy(e->octets + e->length, &end, sizeof(end));
	e->length += sizeof(end);
}

/* Many at once are what they are one by one: full caches and equal keys in a batch too. */
static void test_many(void **state)
{
	static struct exported one, many;
	struct cache_options options = {.entries = CACHE_ENTRIES_MIN,
					.idle_ns = IDLE,
					.active_ns = ACTIVE,
					.linger_ns = LINGER,
					.seed = 1,
					.sink = keep_sink,
					.userdata = &one};
	_cleanup_(cache_freep) struct cache *singles = NULL, *batches = NULL;
	struct flow_key keys[50] = {0};
	struct flow_record deltas[ARRAY_SIZE(keys)] = {0};
	uint64_t now = 1000 * SEC;

	(void)state;
	assert_int_equal(cache_new(&singles, &options), 0);
	options.userdata = &many;
	assert_int_equal(cache_new(&batches, &options), 0);
	for (unsigned int round = 0; round < 100; round++) {
		uint32_t count = (uint32_t)random_below(ARRAY_SIZE(keys) + 1);

		for (uint32_t i = 0; i < count; i++) {
			uint32_t number = (uint32_t)random_below(150);

			memcpy(keys[i].dst, &number, sizeof(number));
			deltas[i].packets = random_below(3); /* of some there is none */
			deltas[i].last_ns = now - random_below(SEC);
			deltas[i].first_ns = deltas[i].last_ns - random_below(SEC);
			cache_merge(singles, &keys[i], &deltas[i]);
		}
		cache_merge_many(batches, keys, deltas, count);
		now += random_below(IDLE / 2);
		cache_expire(singles, now);
		cache_expire(batches, now);
	}
	cache_flush(singles, FLOW_END_FORCED);
	cache_flush(batches, FLOW_END_FORCED);
	assert_true(cache_stats(singles)->exported[FLOW_END_RESOURCES] > 0);
	assert_true(cache_stats(singles)->exported[FLOW_END_IDLE] > 0);
	assert_int_equal(one.length, many.length);
	assert_memory_equal(one.octets, many.octets, one.length);
	assert_memory_equal(cache_stats(singles), cache_stats(batches), sizeof(struct cache_stats));
}

static void sum_sink(void *userdata, const struct flow *flow)
{
	*(uint64_t *)userdata += flow->record.packets;
}

/* Merges between the slices of a pass, of flows that wait to be looked at and of others. */
static void test_slices(void **state)
{
	uint64_t in = 0, out = 0, now = 1000 * SEC;
	struct cache_options options = {.entries = 2000,
					.idle_ns = IDLE,
					.active_ns = ACTIVE,
					.linger_ns = LINGER,
					.sink = sum_sink,
					.userdata = &out};
	_cleanup_(cache_freep) struct cache *cache = NULL;
	unsigned int interrupted = 0;

	(void)state;
	assert_int_equal(cache_new(&cache, &options), 0);
	for (unsigned int step = 0; step < 100000; step++) {
		uint32_t number = (uint32_t)random_below(2500);
		struct flow_record delta = {.packets = 1 + random_below(9), .last_ns = now};
		struct flow_key key = {.protocol = 17};

		memcpy(key.dst, &number, sizeof(number));
		delta.first_ns = now - random_below(SEC);
		cache_merge(cache, &key, &delta);
		in += delta.packets;
		if (random_below(500) == 0)
			now += random_below(2 * IDLE);
		if (random_below(2000) == 0)
			assert_int_equal(cache_resize(cache, 64 + (uint32_t)random_below(2500)), 0);
		if (random_below(2000) == 0)
			assert_int_equal(cache_set_timeouts(cache, 1 + random_below(IDLE),
							    1 + random_below(ACTIVE), LINGER),
					 0);
		interrupted += !cache_expire_some(cache, now, (uint32_t)random_below(4));
		assert_int_equal(in, out + cache_stats(cache)->packets);
	}
	assert_true(interrupted > 10000);
	while (!cache_expire_some(cache, now + IDLE, 7))
		;
	assert_int_equal(cache_stats(cache)->entries, 0);
	assert_int_equal(in, out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_cost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
