/* SPDX-License-Identifier: Apache-2.0 */
/* What status calls a problem: each of a table of sick exporters, what it is called and what mends it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "exporter/meter/ifstats.h"
#include "exporter/observe/status.h"

static struct hooks_interface interface;
static struct snapshot now, since;

/* A healthy one, with one interface and no collector. */
static int set_up(void **state)
{
	(void)state;
	interface = (struct hooks_interface){.name = "eth0",
					     .device = "eth0",
					     .ifindex = 2,
					     .ingress = HOOK_TCX,
					     .egress = HOOK_TCX,
					     .attached = true};
	now = (struct snapshot){
		.interval_ns = 5 * NSEC_PER_SEC, .interfaces = &interface, .interface_count = 1};
	now.kinds[RECORD_FLOW] =
		(struct snapshot_kind){.metered = true, .bank_limit = 1000, .cache_entries = 4000};
	since = now;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	free(now.ledger.collectors);
	free(since.ledger.collectors);
	now.ledger.collectors = since.ledger.collectors = NULL;
	return 0;
}

/* So many collectors in a snapshot, which tear_down() frees: the first has the number 1. */
static struct collector_stats *add_collectors(struct snapshot *s, unsigned int count)
{
	struct export_copy *all = calloc(1, sizeof(*all) + count * sizeof(*all->stats));

	assert_non_null(all);
	s->ledger.collectors = all;
	for (; all->count < count; all->count++)
		all->stats[all->count] = (struct collector_stats){
			.url = "ipfix://a", .state = COLLECTOR_UP, .number = all->count + 1};
	return all->stats;
}

/* One problem, in which these words are; NULL: none. */
static void expect(uint64_t age_ns, const char *what, const char *fix)
{
	json_t *list = status_problems(&now, &since, age_ns), *one;
	const char *said, *mends;

	assert_int_equal(json_array_size(list), what ? 1 : 0);
	if (what) {
		one = json_array_get(list, 0);
		said = json_string_value(json_object_get(one, "what"));
		mends = json_string_value(json_object_get(one, "fix"));
		if (!strstr(said, what) || !strstr(mends, fix))
			print_error("said: %s; fix: %s\n", said, mends);
		assert_non_null(strstr(said, what));
		assert_non_null(strstr(mends, fix));
	}
	json_decref(list);
}

static void test_healthy(void **state)
{
	(void)state;
	expect(0, NULL, NULL);
	/* what was lost long ago is in the ledger, and no problem any more */
	now.ledger.sides[RECORD_FLOW].seen[0] = 7;
	now.ledger.sides[RECORD_FLOW].reasons[0][REASON_BANK_FULL].packets = 7;
	since.ledger = now.ledger;
	expect(0, NULL, NULL);
}

static void test_age(void **state)
{
	(void)state;
	expect(20 * NSEC_PER_SEC, NULL, NULL);
	expect(21 * NSEC_PER_SEC, "have not been read for 21 s", "log");
}

static void test_clock(void **state)
{
	(void)state;
	now.started_ns = now.time_ns = since.time_ns = 1000 * NSEC_PER_SEC;
	now.time_ns += 100 * NSEC_PER_SEC;
	now.boottime_ns = 100 * NSEC_PER_SEC;
	expect(0, NULL, NULL);
	now.time_ns += 14 * NSEC_PER_SEC; /* slewed */
	expect(0, NULL, NULL);
	now.time_ns += 46 * NSEC_PER_SEC;
	expect(0, "the wall clock was set forward by 60 s", "timedatectl");
	since.time_ns += 60 * NSEC_PER_SEC; /* long ago */
	expect(0, NULL, NULL);
	now.time_ns -= 3600 * NSEC_PER_SEC;
	expect(0, "the wall clock was set back by 3600 s", "timedatectl");
}

/* Within the first minutes there is nothing older than the start. */
static void test_clock_since_start(void **state)
{
	json_t *list;

	(void)state;
	now.started_ns = 1000 * NSEC_PER_SEC;
	now.started_boottime_ns = 50 * NSEC_PER_SEC;
	now.boottime_ns = 60 * NSEC_PER_SEC;
	now.time_ns = 1010 * NSEC_PER_SEC;
	list = status_problems(&now, NULL, 0);
	assert_int_equal(json_array_size(list), 0);
	json_decref(list);
	now.time_ns = 900 * NSEC_PER_SEC;
	list = status_problems(&now, NULL, 0);
	assert_int_equal(json_array_size(list), 1);
	json_decref(list);
}

static void test_books(void **state)
{
	(void)state;
	now.ledger.sides[RECORD_FLOW].seen[0] = 1;
	expect(0, "the ledger does not balance", "--json");
	now.ledger.unsettled = true;
	expect(0, NULL, NULL);
	since.ledger.unsettled = true;
	expect(0, "has not been settled for a minute", "memory");
	now.ledger.unsettled = false;
	now.ledger.sides[RECORD_FLOW].seen[0] = 0;
	now.reloads.last_failed = true;
	expect(0, "configuration was not taken", "config check");
}

static void test_hooks(void **state)
{
	(void)state;
	interface.attached = false;
	strcpy(interface.reason, "held by 'other'");
	expect(0, "'eth0' is metered in one direction of two: held by 'other'", "interfaces");
	interface.ingress = interface.egress = HOOK_NONE;
	strcpy(interface.name, "e\x1b[1m");
	expect(0, "'e?[1m' is not metered: held by 'other'", "interfaces");
	now.interface_count = 0;
	expect(0, "no interface matches", "ip -br link");
	now.starting = true; /* a thousand take half a minute, and none is known before */
	expect(0, "interfaces are being attached", "wait");
}

static void test_losses(void **state)
{
	struct ledger_side *side = &now.ledger.sides[RECORD_FLOW];

	(void)state;
	side->seen[0] = 9;
	side->reasons[0][REASON_BANK_FULL].packets = 9;
	since.ledger.sides[RECORD_FLOW].reasons[0][REASON_BANK_FULL].packets = 4;
	expect(0, "5 packets of late are in no record: bank_full", "bank-entries: 2000");
	side->reasons[0][REASON_BANK_FULL].packets = 4;
	side->reasons[0][REASON_INSERT_ERROR].packets = 5;
	expect(0, "insert_error", "memory");
	side->reasons[0][REASON_INSERT_ERROR].packets = 0;
	side->seen[0] = 4;
	side->cache.exported[FLOW_END_RESOURCES] = 3;
	expect(0, "the cache is full: 3 records", "cache-entries: 8000");
	side->cache.exported[FLOW_END_RESOURCES] = 0;
	side->seen[0] = 6;
	side->accounted[0].packets = 2;
	side->evicted.packets = 2;
	expect(0, "2 packets of late were lost between bank and cache", "report");
}

static void test_banks(void **state)
{
	struct drain_stats *drain = &now.kinds[RECORD_FLOW].drain;
	struct drain_stats *before = &since.kinds[RECORD_FLOW].drain;

	(void)state;
	drain->swaps = 110;
	before->swaps = 90;
	drain->early = 9; /* a burst */
	expect(0, NULL, NULL);
	drain->early = 10; /* half of them */
	expect(0, NULL, NULL);
	drain->early = 11;
	expect(0, "11 of 20 readings of late came early", "bank-entries: 2000");
	before->early = 11;
	expect(0, NULL, NULL);
	drain->errors = 5;
	before->errors = 3;
	expect(0, "a bank could not be read 2 times of late", "memory");
}

static void test_drops(void **state)
{
	struct ledger_side *side = &now.ledger.sides[RECORD_DROP];

	(void)state;
	now.ledger.drops_traced = true;
	now.kinds[RECORD_DROP] =
		(struct snapshot_kind){.metered = true, .bank_limit = 100, .cache_entries = 400};
	side->seen[0] = side->accounted[0].packets = side->drained.packets = 5000;
	side->cache.packets = 5000;
	since.ledger.sides[RECORD_DROP] = *side;
	side->seen[0] = 5007;
	side->reasons[0][REASON_BUDGET].packets = 7;
	expect(0, "7 packets that were dropped of late are in no record: budget", "drops-budget");
	side->reasons[0][REASON_BUDGET].packets = 0;
	side->seen[0] = 10000;
	side->accounted[0].packets = side->drained.packets = side->cache.packets = 10000;
	now.ledger.drops_missed = 15;
	since.ledger.drops_missed = 10;
	expect(0, NULL, NULL); /* 5 of 5000 */
	now.ledger.drops_missed = 16;
	expect(0, "6 drops of late were missed", "drops-budget");
	now.kinds[RECORD_DROP].drain.swaps = now.kinds[RECORD_DROP].drain.early = 20;
	now.ledger.drops_missed = 10;
	expect(0, "the banks of drops fill before it is time: 20 of 20", "drop-entries: 200");
}

/* What the system said is told, and mended. */
static void test_errors(void **state)
{
	static const struct {
		const char *url;
		int error;
		const char *what, *fix;
	} errors[] = {
		{"ipfix://192.0.2.1:99?dscp=8", EMSGSIZE,
		 "cannot be sent to: Message too long: the MTU of the path is too small for its templates",
		 "url: ipfix+tcp://192.0.2.1:99?dscp=8; or template: minimal; or raise the MTU: tracepath -n 192.0.2.1 "},
		{"netflow9://a", EMSGSIZE, "too small for its templates", "template: minimal; or"},
		{"ipfix://192.0.2.1", ENETUNREACH, "cannot be sent to: Network is unreachable",
		 "ip route get 192.0.2.1;"},
		{"ipfix://[2001:db8::1]", EHOSTUNREACH, "No route to host",
		 "ip route get 2001:db8::1;"},
		{"ipfix://a.example", EHOSTUNREACH, "No route to host",
		 "ip route get $(getent ahosts a.example | head -n 1 | cut -d ' ' -f 1);"},
		{"ipfix+tcp://192.0.2.1", EACCES, "cannot be sent to: Permission denied",
		 "ip route get 192.0.2.1;"},
		{"ipfix://a", EADDRNOTAVAIL, "Cannot assign requested address", "ip -br address"},
		{"ipfix://a", EPERM, "cannot be sent to: Operation not permitted", "nft"},
		{"ipfix://a", ENOENT, "No such file or directory", "the log"}, /* of no meaning */
		{"ipfix+tcp://a", EMFILE, "Too many open files", "LimitNOFILE"},
		{"ipfix+tcp://a", EPIPE, "cannot be sent to: Broken pipe", "the log"},
		{"file:///a", EMFILE, "Too many open files", "LimitNOFILE"},
		{"file:///a/b", ENOSPC, "cannot be written: No space left", "df /a/b"},
		{"file:///a", EPERM, "cannot be written: Operation not permitted", "lsattr -d /a "},
		{"file:///a", EROFS, "cannot be written: Read-only file system", "findmnt -T /a "},
		{"json:///a b", EACCES, "cannot be written: Permission denied", "namei -l '/a b' "},
		{"json:///a", ENXIO, "cannot be written: No such device", "start who reads it"},
		{"json:-", EIO, "cannot be written: Input/output error", "df /dev/stdout"},
	};
	struct collector_stats *c;

	(void)state;
	c = add_collectors(&now, 1);
	c->state = COLLECTOR_FAILING;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		c->url = errors[i].url;
		c->error = errors[i].error;
		expect(0, errors[i].what, errors[i].fix);
	}
}

static void test_collectors(void **state)
{
	static const struct {
		const char *url;
		enum collector_state state;
		const char *what, *fix;
	} states[] = {
		{"ipfix://a", COLLECTOR_RESOLVING, "collector main has no address", "getent"},
		{"ipfix://a", COLLECTOR_REFUSED, "collector main cannot be reached", "port"},
		{"netflow9://a", COLLECTOR_REFUSED, "ICMP", "flowtally doctor"},
		{"ipfix+tcp://a", COLLECTOR_REFUSED, "collector main has refused connections",
		 "port"},
		{"ipfix://a", COLLECTOR_FAILING, "collector main cannot be sent to", "log"},
		{"ipfix+tcp://a", COLLECTOR_FAILING, "collector main cannot be sent to", "log"},
		{"file:///a", COLLECTOR_FAILING, "collector main cannot be written", "df"},
		{"json:-", COLLECTOR_FAILING, "collector main cannot be written", "df"},
		{"ipfix+tcp://a", COLLECTOR_STALLED, "collector main has taken nothing",
		 "collector"},
		{"json:///a", COLLECTOR_STALLED, "collector main has taken nothing", "pipe"},
		{"ipfix://a", COLLECTOR_UP, NULL, NULL},
		{"ipfix://a", COLLECTOR_REMOVED, NULL, NULL},
	};
	struct collector_stats *c;

	(void)state;
	c = add_collectors(&now, 1);
	c->name = "main";
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		c->url = states[i].url;
		c->state = states[i].state;
		expect(0, states[i].what, states[i].fix);
	}
	c->state = COLLECTOR_UP;
	for (int i = 0; i < _EXPORT_LOSS_MAX; i++) {
		c->lost[i].records = 3;
		expect(0, "collector main has lost 3 records of late", "");
		c->lost[i].records = 0;
	}
}

/* Two of one URL, one that was removed and added again, and the sums of those that were removed before. */
static void test_same_url(void **state)
{
	struct collector_stats *a, *b;

	(void)state;
	a = add_collectors(&now, 3);
	b = add_collectors(&since, 2);
	a[0].lost[EXPORT_LOSS_REFUSED].records = b[0].lost[EXPORT_LOSS_REFUSED].records = 100;
	a[1].lost[EXPORT_LOSS_REFUSED].records = b[1].lost[EXPORT_LOSS_REFUSED].records = 7;
	expect(0, NULL, NULL);
	a[1].lost[EXPORT_LOSS_REFUSED].records = 9;
	expect(0, "collector ipfix://a has lost 2 records of late (refused)", "port");
	a[1].lost[EXPORT_LOSS_REFUSED].records = 7;
	a[1].state = COLLECTOR_REMOVED;
	a[1].lost[EXPORT_LOSS_UNSENT].records = 5;
	expect(0, "the removed collector ipfix://a has lost 5 records of late (unsent)", "queue");
	a[1].lost[EXPORT_LOSS_UNSENT].records = 0;
	a[2].lost[EXPORT_LOSS_REFUSED].records = 1;
	expect(0, "collector ipfix://a has lost 1 records of late (refused)", "port");
	a[2].lost[EXPORT_LOSS_REFUSED].records = 0;
	a[0].lost[EXPORT_LOSS_REFUSED].records = 99; /* what falls cannot be: it says nothing */
	expect(0, NULL, NULL);
	a[2] = (struct collector_stats){.url = "removed collectors", .state = COLLECTOR_REMOVED};
	a[2].lost[EXPORT_LOSS_REFUSED].records = 1000;
	expect(0, NULL, NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {TEST(test_healthy), TEST(test_age),
					   TEST(test_clock),   TEST(test_clock_since_start),
					   TEST(test_books),   TEST(test_hooks),
					   TEST(test_losses),  TEST(test_banks),
					   TEST(test_drops),   TEST(test_collectors),
					   TEST(test_errors),  TEST(test_same_url)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
