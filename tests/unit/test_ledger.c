/* SPDX-License-Identifier: Apache-2.0 */
/* The books: what they say when counters are missing, that they say it again, and that they own what they show. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include "exporter/meter/ifstats.h"
#include "exporter/meter/sight.h"
#include "exporter/observe/ledger.h"

static char text[8192];

/* What the ledger is called, and its sums. */
static const char *print(const struct ledger *l, bool json)
{
	FILE *file = fmemopen(text, sizeof(text), "w");

	assert_non_null(file);
	if (json)
		assert_int_equal(ledger_print_json(l, file), 0);
	else
		ledger_print_text(l, file);
	assert_int_equal(fclose(file), 0);
	return text;
}

static unsigned int times_in(const char *haystack, const char *needle)
{
	unsigned int count = 0;

	for (; (haystack = strstr(haystack, needle)); haystack++)
		count++;
	return count;
}

/* 10 packets came, 6 of which have left the bank and the cache. */
static struct ledger good(void)
{
	return (struct ledger){
		.sides[RECORD_FLOW] = {.seen = {10, 0},
				       .accounted = {{10, 1000}},
				       .drained = {8, 800},
				       .cache = {.packets = 2, .octets = 200}},
	};
}

static void test_balanced(_unused_ void **state)
{
	struct ledger l = good();

	assert_true(ledger_balanced(&l));
	assert_int_equal(ledger_bank(&l, RECORD_FLOW).packets, 2);
	assert_int_equal(ledger_bank(&l, RECORD_FLOW).octets, 200);
	assert_int_equal(ledger_handed_over(&l, RECORD_FLOW).packets, 6);
	/* more came out than went in, be it octets alone */
	l.sides[RECORD_FLOW].drained.octets = 1001;
	assert_false(ledger_balanced(&l));
	assert_int_equal(ledger_bank(&l, RECORD_FLOW).octets, 0);
	l = good();
	l.sides[RECORD_FLOW].cache.octets = 801;
	assert_false(ledger_balanced(&l));
}

/* Less is known to be accounted than was read: no sum is below nothing, and nobody is accused. */
static void test_unsettled(_unused_ void **state)
{
	struct ledger l = good();

	l.sides[RECORD_FLOW].drained = (struct ledger_amount){30, 3000};
	l.unsettled = true;
	assert_int_equal(ledger_bank(&l, RECORD_FLOW).packets, 0);
	assert_int_equal(ledger_bank(&l, RECORD_FLOW).octets, 0);
	assert_non_null(strstr(print(&l, false), "not all counters could be read"));
	assert_null(strstr(text, "BALANCE"));
	assert_non_null(strstr(text, " + bank 0 "));
	assert_non_null(strstr(print(&l, true), "\"settled\":false"));
	l = good();
	assert_int_equal(strncmp(print(&l, false), "balances, lost 0 packets\nseen 10 ", 33), 0);
	assert_non_null(strstr(print(&l, true), "\"settled\":true,\"balanced\":true"));
}

/* What the ledger_watch() of these ledgers logs: "b" balanced, "x" not, "u" not settled. */
static void watch(const char *ledgers)
{
	int saved = dup(STDERR_FILENO), file = memfd_create("stderr", MFD_CLOEXEC);
	bool unbalanced = false;
	ssize_t length;

	assert_true(saved >= 0 && file >= 0 && dup2(file, STDERR_FILENO) >= 0);
	for (; *ledgers; ledgers++) {
		struct ledger l = good();

		l.sides[RECORD_FLOW].seen[1] = *ledgers == 'b' ? 0 : 1;
		l.unsettled = *ledgers == 'u';
		ledger_watch(&l, &unbalanced);
	}
	dup2(saved, STDERR_FILENO);
	close(saved);
	length = pread(file, text, sizeof(text) - 1, 0);
	close(file);
	assert_true(length >= 0);
	text[length] = '\0';
}

static void expect_said(const char *ledgers, unsigned int not_balanced, unsigned int again)
{
	watch(ledgers);
	assert_int_equal(times_in(text, "does not balance"), not_balanced);
	assert_int_equal(times_in(text, "balances again"), again);
}

static void test_watch(_unused_ void **state)
{
	expect_said("bbb", 0, 0);
	expect_said("bxxx", 1, 0);
	expect_said("bxb", 1, 1);
	expect_said("xbx", 2, 1);
	expect_said("uuu", 0, 0);
	/* what is not known is neither */
	expect_said("xuxuxb", 1, 1);
	expect_said("xubx", 2, 1);
}

/* Each kind by itself: what has left its cache was given. */
static void test_given(_unused_ void **state)
{
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++) {
		struct export_copy collectors = {0};
		struct ledger l = {.collectors = &collectors};

		l.sides[kind] = good().sides[RECORD_FLOW];
		assert_false(ledger_balanced(&l));
		collectors.totals.kinds[kind].packets = 6;
		collectors.totals.kinds[kind].octets = 600;
		assert_true(ledger_balanced(&l));
		collectors.totals.kinds[kind].octets = 601;
		assert_false(ledger_balanced(&l));
	}
}

/* The last words: what is queued is not sent any more, and the sum is the same. */
static void test_abandon(_unused_ void **state)
{
	struct export_copy *copy = calloc(1, sizeof(*copy) + sizeof(copy->stats[0]));
	struct collector_stats *c;

	assert_non_null(copy);
	c = &copy->stats[0];
	copy->count = 1;
	c->queued = (struct export_count){3, 30, 300};
	c->lost[EXPORT_LOSS_UNSENT] = (struct export_count){1, 2, 3};
	export_copy_abandon(copy);
	assert_int_equal(c->queued.packets, 0);
	assert_int_equal(c->lost[EXPORT_LOSS_UNSENT].records, 4);
	assert_int_equal(c->lost[EXPORT_LOSS_UNSENT].packets, 32);
	assert_int_equal(c->lost[EXPORT_LOSS_UNSENT].octets, 303);
	free(copy);
}

/* What the hooks saw goes on after the ledger was read; the kernel's counters are told anew, and the old ones let go. */
static void test_owned(_unused_ void **state)
{
	struct ifstats *stats = calloc(1, sizeof(*stats));
	struct sight *sight;
	struct ledger l = good();
	const struct flow_key key = {.ifindex = 7};
	const struct flow_record record = {.packets = 5};

	assert_non_null(stats);
	stats->count = 1;
	stats->interfaces = calloc(1, sizeof(*stats->interfaces));
	assert_non_null(stats->interfaces);
	snprintf(stats->interfaces[0].name, sizeof(stats->interfaces[0].name), "eth7");
	stats->interfaces[0].ifindex = 7;
	stats->interfaces[0].counters[IFSTAT_rx_packets] = 77;
	assert_int_equal(sight_new(&sight), 0);
	sight_account(sight, &key, &record, 1);
	ledger_read_interfaces(&l, stats, sight);
	/* the next turn of the loop */
	sight_account(sight, &key, &record, 1);
	ifstats_free(stats);
	sight_free(sight);
	print(&l, true);
	assert_non_null(strstr(text, "\"name\":\"eth7\",\"ifindex\":7,\"rx_packets\":77,"));
	assert_non_null(strstr(text, "\"accounted\":5,\"unrecorded\":0"));
	ledger_read_interfaces(&l, NULL, NULL);
	assert_null(l.ifstats);
	assert_null(l.sight);
	ledger_clear(&l);
}

/* Octets that the process has allocated. */
static size_t allocated(void)
{
	const struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

/* The loop reads a ledger after each swap: what nobody changes is held, and of the rest little is copied. */
static void test_thousand(_unused_ void **state)
{
	struct ifstats *stats = calloc(1, sizeof(*stats));
	_cleanup_(sight_freep) struct sight *sight = NULL;
	struct ledger l = good();
	struct flow_key key = {0};
	const struct flow_record record = {.packets = 5};
	size_t before;

	assert_non_null(stats);
	stats->count = 1000;
	stats->interfaces = calloc(stats->count, sizeof(*stats->interfaces));
	assert_non_null(stats->interfaces);
	assert_int_equal(sight_new(&sight), 0);
	for (size_t n = 0; n < stats->count; n++)
		stats->interfaces[n].ifindex = (uint32_t)n + 1;
	sight_make_room(sight, stats);
	for (size_t n = 0; n < stats->count; n++) {
		key.ifindex = (uint32_t)n + 1;
		sight_account(sight, &key, &record, 1);
	}
	before = allocated();
	ledger_read_interfaces(&l, stats, sight);
	assert_true(allocated() - before < 400 * stats->count);
	assert_ptr_equal(l.ifstats, stats);
	assert_int_equal(sight_get(l.sight, 1000)->sides[DIRECTION_INGRESS].accounted, 5);
	ifstats_free(stats);
	ledger_clear(&l);
	assert_true(allocated() < before - 1000 * sizeof(struct ifstats_interface));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_balanced), cmocka_unit_test(test_unsettled),
		cmocka_unit_test(test_watch),	 cmocka_unit_test(test_given),
		cmocka_unit_test(test_abandon),	 cmocka_unit_test(test_owned),
		cmocka_unit_test(test_thousand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
