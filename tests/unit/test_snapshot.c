/* SPDX-License-Identifier: Apache-2.0 */
/* A snapshot is a copy of its own, and its readers in other threads keep it as long as they like. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include "exporter/observe/snapshot.h"
#include "exporter/observe/traffic.h"
#include "tests/unit/clock.h"

#define INTERVAL_NS (5 * NSEC_PER_SEC)

static struct meter *const no_meters[_RECORD_KIND_MAX];

/* As --summary json prints it. */
static char *print(const struct ledger *ledger)
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	assert_int_equal(ledger_print_json(ledger, file), 0);
	fclose(file);
	return text;
}

static struct ledger_collectors *make_collectors(const char *url, const char *name)
{
	size_t octets = sizeof(struct ledger_collectors) + sizeof(struct collector_stats) +
			strlen(url) + 1 + strlen(name) + 1;
	struct ledger_collectors *c = calloc(1, octets);
	char *texts;

	assert_non_null(c);
	c->octets = octets;
	c->count = 1;
	texts = (char *)&c->stats[1];
	c->stats[0].url = strcpy(texts, url);
	c->stats[0].name = strcpy(texts + strlen(url) + 1, name);
	c->stats[0].exported = (struct export_count){3, 30, 3000};
	return c;
}

/* All of what a ledger can point to is changed and freed behind the snapshot's back. */
static void test_copy(_unused_ void **state)
{
	static struct ledger_reasons reasons = {.reasons[2] = {7, 700}};
	static const struct flow_key keys[600];
	static const struct flow_record records[ARRAY_SIZE(keys)];
	struct ifstats stats = {0};
	struct ledger ledger = {0};
	_cleanup_(snapshot_releasep) const struct snapshot *s = NULL;
	_cleanup_(freep) char *before = NULL, *after = NULL;
	struct drop_reasons *names;
	struct sight *sight;
	struct traffic *traffic;
	struct flow_key key = {0};
	const struct snapshot_sources sources = {
		.ledger = &ledger, .meters = no_meters, .started_ns = 5, .interval_ns = INTERVAL_NS};

	assert_int_equal(drop_reasons_new(&names, "/nonexistent"), 0);
	assert_int_equal(sight_new(&sight), 0);
	assert_int_equal(traffic_new(&traffic), 0);
	stats.interfaces = calloc(600, sizeof(*stats.interfaces));
	assert_non_null(stats.interfaces);
	for (uint32_t i = 0; i < ARRAY_SIZE(keys); i++, stats.count++) {
		stats.interfaces[i].ifindex = i + 1;
		stats.interfaces[i].counters[IFSTAT_rx_packets] = 1000 + i;
		sight_make_room(sight, &stats);
		key.ifindex = i + 1;
		sight_account(sight, &key, &(struct flow_record){.packets = 50 + i}, 1);
	}
	ledger = (struct ledger){
		.sides[RECORD_FLOW].seen[DIRECTION_INGRESS] = 30,
		.drops_traced = true,
		.drop_reasons = &reasons,
		.drop_names = names,
		.ifstats = &stats,
		.sight = sight,
		.collectors = make_collectors("ipfix://192.0.2.1", "first"),
	};
	before = print(&ledger);
	assert_non_null(strstr(before, "\"name\":\"first\""));
	assert_non_null(strstr(before, "\"accounted\":649")); /* the 600th interface's */
	assert_non_null(strstr(before, "0x00000002"));
	assert_int_equal(snapshot_new((struct snapshot **)&s, &sources), 0);

	sight_account(sight, keys, records, ARRAY_SIZE(keys));
	sight_free(sight);
	memset(stats.interfaces, 0xff, 600 * sizeof(*stats.interfaces));
	ifstats_clear(&stats);
	memset(&reasons, 0xff, sizeof(reasons));
	memset((char *)ledger.collectors, 0xff, ledger.collectors->octets);
	ledger_clear(&ledger);
	traffic_free(traffic);
	after = print(&s->ledger);
	assert_string_equal(after, before);
	snapshot_releasep(&s);
	drop_reasons_free(names); /* which outlives snapshots */
}

static struct snapshot *make(void)
{
	static const struct ledger ledger;
	const struct snapshot_sources sources = {
		.ledger = &ledger, .meters = no_meters, .interval_ns = INTERVAL_NS};
	struct snapshot *s;

	assert_int_equal(snapshot_new(&s, &sources), 0);
	return s;
}

/* Numbers of the newest and of the one that rates are taken from; 0: none. */
static void expect(struct snapshots *snapshots, uint64_t newest, uint64_t before)
{
	_cleanup_(snapshot_releasep) const struct snapshot *old = NULL;
	_cleanup_(snapshot_releasep) const struct snapshot *s = snapshots_newest(snapshots, &old);

	assert_int_equal(s ? s->number : 0, newest);
	assert_int_equal(old ? old->number : 0, before);
}

/* Flows and drops swap one after the other: rates are over an interval, not over what lies between the two. */
static void test_before(_unused_ void **state)
{
	_cleanup_(snapshots_freep) struct snapshots *snapshots = NULL;

	clock_reset();
	assert_int_equal(snapshots_new(&snapshots), 0);
	expect(snapshots, 0, 0);
	snapshots_publish(snapshots, make());
	expect(snapshots, 1, 0);
	clock_skip(10 * NSEC_PER_MSEC);
	snapshots_publish(snapshots, make());
	expect(snapshots, 2, 1); /* the oldest there is */
	clock_skip(INTERVAL_NS - 15 * NSEC_PER_MSEC);
	snapshots_publish(snapshots, make());
	expect(snapshots, 3, 2);
	clock_skip(10 * NSEC_PER_MSEC);
	snapshots_publish(snapshots, make());
	expect(snapshots, 4, 2);
	clock_skip(INTERVAL_NS);
	snapshots_publish(snapshots, make());
	expect(snapshots, 5, 4);
}

#define ROUNDS 20000

static void *read_newest(void *userdata)
{
	struct snapshots *snapshots = userdata;
	uint64_t number = 0;

	while (number < ROUNDS) {
		_cleanup_(snapshot_releasep) const struct snapshot *old = NULL;
		_cleanup_(snapshot_releasep) const struct snapshot *s =
			snapshots_newest(snapshots, &old);
		const struct snapshot *again = snapshot_hold(s);

		if (s && (s->number < number || (old && old->number >= s->number)))
			return "a snapshot is older than the one before it";
		number = s ? s->number : 0;
		snapshot_release(again);
	}
	return NULL;
}

static void test_threads(_unused_ void **state)
{
	_cleanup_(snapshots_freep) struct snapshots *snapshots = NULL;
	pthread_t threads[3];
	void *wrong;

	assert_int_equal(snapshots_new(&snapshots), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_newest, snapshots), 0);
	for (unsigned int i = 0; i < ROUNDS; i++)
		snapshots_publish(snapshots, make());
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++) {
		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_null(wrong);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_before),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
