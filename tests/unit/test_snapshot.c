/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots: readers in other threads keep one as long as they like. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include "exporter/observe/snapshot.h"
#include "tests/unit/clock.h"

#define INTERVAL_NS (5 * NSEC_PER_SEC)

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

static struct export_copy *make_collectors(const char *url, const char *name)
{
	size_t octets = sizeof(struct export_copy) + sizeof(struct collector_stats) + strlen(url) +
			1 + strlen(name) + 1;
	struct export_copy *c = calloc(1, octets);
	char *texts;

	assert_non_null(c);
	c->count = 1;
	texts = (char *)&c->stats[1];
	c->stats[0].url = memcpy(texts, url, strlen(url) + 1);
	c->stats[0].name = memcpy(texts + strlen(url) + 1, name, strlen(name) + 1);
	c->stats[0].exported = (struct export_count){3, 30, 3000};
	return c;
}

/* What a reader holds stays as it was when newer ones have come and the maker has let it go. */
static void test_hold(_unused_ void **state)
{
	static const char *const urls[] = {"ipfix://192.0.2.1", "ipfix://192.0.2.2"};
	_cleanup_(snapshots_freep) struct snapshots *snapshots = NULL;
	_cleanup_(freep) char *before = NULL, *after = NULL;
	const struct snapshot *held = NULL;

	assert_int_equal(snapshots_new(&snapshots), 0);
	for (unsigned int i = 0; i < 10; i++) {
		struct snapshot *s = snapshot_new();

		assert_non_null(s);
		s->ledger.sides[RECORD_FLOW].seen[DIRECTION_INGRESS] = 30 + i;
		s->ledger.collectors = make_collectors(urls[i > 0], "first");
		snapshots_publish(snapshots, s);
		snapshot_release(s);
		if (i > 0)
			continue;
		held = snapshots_newest(snapshots, NULL);
		before = print(&held->ledger);
	}
	assert_non_null(strstr(before, "192.0.2.1"));
	assert_non_null(strstr(before, "\"seen\":30"));
	after = print(&held->ledger);
	assert_string_equal(after, before);
	snapshot_release(held);
}

static void publish(struct snapshots *snapshots)
{
	struct snapshot *s = snapshot_new();

	assert_non_null(s);
	s->interval_ns = INTERVAL_NS;
	snapshots_publish(snapshots, s);
	snapshot_release(s);
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
	publish(snapshots);
	expect(snapshots, 1, 0);
	clock_skip(10 * NSEC_PER_MSEC);
	publish(snapshots);
	expect(snapshots, 2, 1); /* the oldest there is */
	clock_skip(INTERVAL_NS - 15 * NSEC_PER_MSEC);
	publish(snapshots);
	expect(snapshots, 3, 2);
	clock_skip(10 * NSEC_PER_MSEC);
	publish(snapshots);
	expect(snapshots, 4, 2);
	clock_skip(INTERVAL_NS);
	publish(snapshots);
	expect(snapshots, 5, 4);
}

#define ROUNDS 20000

static void *read_newest(void *userdata)
{
	struct snapshots *snapshots = userdata;
	uint64_t number = 0;

	while (number < ROUNDS) {
		_cleanup_(snapshot_releasep) const struct snapshot *old = NULL;
		_cleanup_(snapshot_releasep)
			const struct snapshot *s = snapshots_newest(snapshots, &old);
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
		publish(snapshots);
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++) {
		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_null(wrong);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hold),
		cmocka_unit_test(test_before),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
