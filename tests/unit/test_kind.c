/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds of records: their descriptors, and that the pipeline goes by them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "config/schema.h"
#include "exporter/meter/kind.h"
#include "exporter/pipeline.h"
#include "tests/unit/fake_datapath.h"

#define BANK  11111
#define CACHE 200
#define DROP  100

static const struct config sizes = {
	.bank_entries = BANK,
	.cache_entries = CACHE,
	.drop_entries = DROP,
	.idle_ns = 15 * NSEC_PER_SEC,
	.active_ns = 60 * NSEC_PER_SEC,
	.linger_ns = 2 * NSEC_PER_SEC,
};

/* Nothing is left out of a descriptor, and each size is one that can be set. */
static void test_descriptors(_unused_ void **state)
{
	for (int i = 0; i < _RECORD_KIND_MAX; i++) {
		const struct kind *kind = kind_get((enum record_kind)i);

		assert_non_null(kind);
		assert_non_null(kind->name);
		assert_in_range(kind->point_count, 1, POINTS_MAX);
		assert_non_null(kind->open);
		for (int n = 0; n < 2; n++) {
			const struct setting *s =
				setting_find(n ? kind->cache_setting : kind->bank_setting);

			assert_non_null(s);
			assert_int_equal(s->type, SETTING_NUMBER);
			assert_int_equal(s->size, sizeof(uint32_t));
			assert_int_equal(s->reload, RELOAD_APPLIES);
		}
	}
}

static void test_sizes(_unused_ void **state)
{
	const struct kind *flow = kind_get(RECORD_FLOW), *drop = kind_get(RECORD_DROP);

	assert_int_equal(setting_count(flow->bank_setting, &sizes), BANK);
	assert_int_equal(setting_count(flow->cache_setting, &sizes), CACHE);
	assert_int_equal(setting_count(drop->bank_setting, &sizes), DROP);
	assert_int_equal(setting_count(drop->cache_setting, &sizes), DROP);
}

static void nothing(_unused_ void *userdata)
{
}

static void no_kinds(_unused_ void *userdata, _unused_ unsigned int kinds)
{
}

static void no_record(_unused_ void *userdata, _unused_ const struct flow *flow)
{
}

static struct pipeline *open_pipeline(const struct config *config, struct drop_reasons *names)
{
	const struct pipeline_options options = {
		.config = config,
		.kinds = 1u << RECORD_FLOW | 1u << RECORD_DROP,
		.exports = true,
		.seed = 1,
		.drop_names = names,
		.record = no_record,
		.settled = nothing,
		.passed = no_kinds,
	};
	struct pipeline *p = NULL;

	assert_int_equal(pipeline_new(&p, &options), 0);
	return p;
}

/* Packets of so many flows, the last of which each had at that time; each ends with a FIN. */
static void add(struct pipeline *p, enum record_kind kind, uint32_t flows, uint64_t now_ns)
{
	for (uint32_t i = 0; i < flows; i++) {
		const struct flow_key key = {
			.ifindex = i, .protocol = 6, .kind = kind == RECORD_DROP ? FLOW_DROP : 0};
		const struct flow_record record = {.packets = 1,
						   .octets = 40,
						   .first_ns = now_ns,
						   .last_ns = now_ns,
						   .tcp_flags = 1};

		pipeline_add(p, kind, &key, &record, 1);
	}
}

static uint32_t cached(const struct pipeline *p, enum record_kind kind)
{
	struct ledger l = {0};
	uint32_t entries;

	pipeline_read(p, &l);
	entries = l.sides[kind].cache.entries;
	ledger_clear(&l);
	return entries;
}

/* Each cache has its own size, and gets its own when that changes. */
static void test_caches(_unused_ void **state)
{
	_cleanup_(drop_reasons_freep) struct drop_reasons *names = NULL;
	_cleanup_(pipeline_freep) struct pipeline *p = NULL;
	struct config running = sizes, next = sizes;

	assert_int_equal(drop_reasons_new(&names, NULL), 0);
	p = open_pipeline(&running, names);
	add(p, RECORD_FLOW, 300, NSEC_PER_SEC);
	add(p, RECORD_DROP, 300, NSEC_PER_SEC);
	assert_int_equal(cached(p, RECORD_FLOW), CACHE);
	assert_int_equal(cached(p, RECORD_DROP), DROP);
	next.drop_entries = 2 * DROP;
	assert_int_equal(pipeline_apply(p, &next), 0);
	add(p, RECORD_FLOW, 300, NSEC_PER_SEC);
	add(p, RECORD_DROP, 300, NSEC_PER_SEC);
	assert_int_equal(cached(p, RECORD_FLOW), CACHE);
	assert_int_equal(cached(p, RECORD_DROP), 2 * DROP);
}

/* That a FIN was dropped is not the end; one that arrived is, when the linger time is over. */
static void test_linger(_unused_ void **state)
{
	_cleanup_(drop_reasons_freep) struct drop_reasons *names = NULL;
	_cleanup_(pipeline_freep) struct pipeline *p = NULL;

	assert_int_equal(drop_reasons_new(&names, NULL), 0);
	p = open_pipeline(&sizes, names);
	add(p, RECORD_FLOW, 10, NSEC_PER_SEC);
	add(p, RECORD_DROP, 10, NSEC_PER_SEC);
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		pipeline_settle(p, (enum record_kind)kind, 4 * NSEC_PER_SEC);
	assert_int_equal(cached(p, RECORD_FLOW), 0);
	assert_int_equal(cached(p, RECORD_DROP), 10);
	pipeline_settle(p, RECORD_DROP, 17 * NSEC_PER_SEC);
	assert_int_equal(cached(p, RECORD_DROP), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_caches),
		cmocka_unit_test(test_linger),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
