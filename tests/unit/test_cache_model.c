/* SPDX-License-Identifier: Apache-2.0 */
/* The flow cache against a model of it: random operations, and no packet is lost in any of them. */
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
	MODEL_FLOWS = 150,
	MODEL_CAPACITY = 64,
	MODEL_STEPS = 60000
};

/* An array of flows without tricks, searched from end to end. */
struct model_flow {
	bool present, ended, continued;
	struct flow_record record;
	uint64_t merged_at;
};

static struct {
	struct model_flow flow[MODEL_FLOWS];
	struct cache *cache;
	uint64_t now, merges, in, out, too_long, before;
	unsigned int count;
	enum flow_end forced;
} model;

static uint64_t model_quiet(const struct model_flow *flow)
{
	return flow->record.last_ns + (flow->ended ? LINGER : IDLE);
}

/* Too far from what the flow has, behind or before it. */
static bool model_apart(const struct model_flow *flow, uint64_t first, uint64_t last)
{
	uint64_t begin = flow->record.packets ? flow->record.first_ns : flow->record.last_ns;

	return first >= model_quiet(flow) || last + IDLE <= begin;
}

static bool model_too_long(const struct model_flow *flow, uint64_t first, uint64_t last)
{
	const struct flow_record *r = &flow->record;

	return r->packets && (last > r->first_ns + ACTIVE || first + ACTIVE < r->last_ns);
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

/* A full cache exports the flow that goes; one without packets since its last record just goes. */
static void model_evict(void)
{
	struct model_flow *oldest = model_oldest();

	if (!oldest->record.packets) {
		oldest->present = false;
		model.count--;
	}
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
	assert_true(got->record.last_ns - got->record.first_ns <= ACTIVE);
	model.too_long += model.forced == FLOW_END_ACTIVE;
	model.out += got->record.packets;
	if (model.forced) {
		assert_int_equal(got->end, model.forced);
		if (model.forced == FLOW_END_RESOURCES)
			assert_ptr_equal(flow, model_oldest());
		if (model.forced == FLOW_END_ACTIVE) {
			flow->continued = true;
			flow->record.packets = flow->record.octets = flow->record.tcp_flags = 0;
			return;
		}
	} else if (model_quiet(flow) <= model.now) {
		assert_int_equal(got->end, flow->ended ? FLOW_END_DETECTED : FLOW_END_IDLE);
	} else {
		assert_int_equal(got->end, FLOW_END_ACTIVE);
		assert_true(flow->record.first_ns + (flow->continued ? ACTIVE : ACTIVE / 2) <=
			    model.now);
		flow->continued = true;
		flow->record.packets = flow->record.octets = flow->record.tcp_flags = 0;
		return;
	}
	flow->present = false;
	model.count--;
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
	bool over = flow->present && model_apart(flow, first, last);

	memcpy(key.src, &number, sizeof(number));
	model.before += over && first < flow->record.first_ns;
	if (over)
		model.forced = flow->ended ? FLOW_END_DETECTED : FLOW_END_IDLE;
	else if (flow->present && model_too_long(flow, first, last))
		model.forced = FLOW_END_ACTIVE;
	if (!flow->present && model.count == MODEL_CAPACITY)
		model_evict();
	/* the only records a merge may bring: of this flow, which was over or too long, or of the oldest */
	if (!model.forced)
		model.forced = FLOW_END_RESOURCES;
	cache_merge(model.cache, &key, delta);
	model.forced = 0;
	if (over && flow->present) { /* it had nothing to say */
		flow->present = false;
		model.count--;
	}
	if (!flow->present) {
		*flow = (struct model_flow){.present = true, .record = *delta};
		flow->record.first_ns = first;
		flow->record.last_ns = last;
		model.count++;
	} else {
		model_sum(&flow->record, delta, first, last);
	}
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

/* After a pass in slices, during which time goes on, nothing is left that should have gone. */
static void model_expire(void)
{
	while (!cache_expire_some(model.cache, model.now, (uint32_t)random_below(8)))
		model.now += random_below(8) ? 0 : random_below(SEC);
	for (unsigned int i = 0; i < MODEL_FLOWS; i++) {
		struct model_flow *flow = &model.flow[i];

		if (!flow->present)
			continue;
		if (model_quiet(flow) <= model.now) {
			assert_int_equal(flow->record.packets, 0);
			flow->present = false;
			model.count--;
			continue;
		}
		if (flow->record.packets)
			assert_true(flow->record.first_ns + ACTIVE > model.now);
	}
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
	model.forced = FLOW_END_FORCED;
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
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_cost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
