/* SPDX-License-Identifier: Apache-2.0 */
/* When a collector is dead, tried and up, by a clock that the test moves. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "exporter/export/transport/udp_health.h"
#include "exporter/util.h"

#define SEC NSEC_PER_SEC
#define MS  NSEC_PER_MSEC

static const struct in6_addr address = {.s6_addr = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}};
static struct udp_host hosts[3];
static uint64_t now;

static int setup(void **state)
{
	(void)state;
	now = 1000 * SEC;
	for (unsigned int i = 0; i < ARRAY_SIZE(hosts); i++)
		hosts[i] = (struct udp_host){0};
	return 0;
}

static void begin(struct udp_health *h)
{
	udp_health_start(h, udp_host_get(hosts, ARRAY_SIZE(hosts), &address, 0), now);
}

/* A host that sends no more than one error a second, to all collectors together. */
struct limited_host {
	uint64_t answered_ns;
	uint64_t delay_ns; /* from message to error */
	uint64_t due_ns;   /* of the error under way; 0: none */
	uint64_t sent_ns;
	int error;
};

/*
 * Runs collectors with as many records as they may send, at a host that answers each message with an error, if
 * its limit allows.  Counts messages with records that went.
 */
static void run(struct udp_health *h, unsigned int count, struct limited_host *host, uint64_t until,
		unsigned int *records, unsigned int *ups)
{
	for (; now < until; now += 10 * MS) {
		for (unsigned int i = 0; i < count; i++) {
			enum udp_phase before = h[i].phase;
			bool sent = false;

			udp_health_step(&h[i], now);
			*ups += h[i].phase == UDP_UP && before != UDP_UP;
			if (udp_health_probe_due(&h[i], now)) {
				udp_health_probed(&h[i], now);
				sent = true;
			} else if (h[i].phase == UDP_TRIAL && udp_health_allows(&h[i], now)) {
				*records += udp_health_allows(&h[i], now);
				udp_health_sent(&h[i], udp_health_allows(&h[i], now), now);
				sent = true;
			} else if (h[i].phase == UDP_UP) {
				*records += 64;
				sent = true;
			}
			if (sent && now - host->answered_ns >= SEC) {
				host->answered_ns = now;
				udp_health_error(&h[i], host->error, now, now + host->delay_ns);
			}
		}
	}
}

/* However many collectors share a host that limits its errors, none of them is taken for up. */
static void test_limited(void **state)
{
	struct limited_host host = {.error = ECONNREFUSED};
	struct udp_health h[5];
	unsigned int records = 0, ups = 0;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(h); i++) {
		begin(&h[i]);
		assert_true(udp_health_error(&h[i], ECONNREFUSED, now, now));
	}
	run(h, ARRAY_SIZE(h), &host, now + 600 * SEC, &records, &ups);
	assert_int_equal(ups, 0);
	assert_int_equal(records, 0);
}

/* A neighbour that is off is found missing three seconds after the first message. */
static void test_neighbour(void **state)
{
	struct udp_health h;
	unsigned int probes = 0;
	uint64_t fails_ns = 0, first_ns = 0;

	(void)state;
	begin(&h);
	assert_true(udp_health_error(&h, EHOSTUNREACH, now, now));
	for (uint64_t end = now + 600 * SEC; now < end; now += 10 * MS) {
		udp_health_step(&h, now);
		assert_int_equal(h.phase, UDP_DEAD);
		if (udp_health_probe_due(&h, now)) {
			probes++;
			udp_health_probed(&h, now);
			first_ns = fails_ns ? first_ns : now;
			fails_ns = fails_ns ? fails_ns : now + 3 * SEC;
		}
		if (fails_ns && now >= fails_ns) {
			udp_health_error(&h, EHOSTUNREACH, first_ns, now);
			fails_ns = 0;
		}
	}
	/* Two in each search, and 8 s between searches. */
	assert_in_range(probes, 90, 130);
}

/* Time from `from` until the collector, of which nothing is heard, is in this phase. */
static uint64_t silence(struct udp_health *h, enum udp_phase phase)
{
	uint64_t start = now;

	for (; h->phase != phase; now += 10 * MS) {
		assert_true(now - start < 3600 * SEC);
		udp_health_step(h, now);
		if (udp_health_probe_due(h, now))
			udp_health_probed(h, now);
		assert_true(udp_health_wait(h, now) <= 41 * SEC || h->phase == UDP_UP);
	}
	return (now - start) / MS;
}

/* It is back: known after some seconds, and tried with few messages before many. */
static void test_back(void **state)
{
	static const unsigned int allowed[] = {1, 2, 4, 8};
	struct udp_health h;

	(void)state;
	begin(&h);
	assert_int_equal(udp_health_allows(&h, now), UINT32_MAX);
	udp_health_error(&h, ECONNREFUSED, now, now);
	assert_int_equal(udp_health_allows(&h, now), 0);
	assert_in_range(silence(&h, UDP_TRIAL), 1000 + 3 * 1250, 1000 + 3 * 1250 + 60);
	for (unsigned int i = 0; i < ARRAY_SIZE(allowed); i++, now += SEC) {
		assert_false(udp_health_step(&h, now));
		assert_true(udp_health_unproven(&h, now));
		assert_int_equal(udp_health_allows(&h, now), allowed[i]);
		udp_health_sent(&h, allowed[i], now);
		assert_int_equal(udp_health_allows(&h, now), 0);
	}
	now += 10 * MS;
	assert_true(udp_health_step(&h, now));
	assert_int_equal(h.phase, UDP_UP);
	assert_false(udp_health_unproven(&h, now));
	assert_int_equal(udp_health_wait(&h, now), UINT64_MAX);
}

/* Each relapse doubles the proof that is asked for; a long time without one is forgiven. */
static void test_relapses(void **state)
{
	uint64_t before = 0, took;
	struct udp_health h;

	(void)state;
	begin(&h);
	for (unsigned int i = 0; i < 6; i++) {
		udp_health_error(&h, ECONNREFUSED, now, now);
		took = silence(&h, UDP_UP);
		if (before)
			assert_in_range(took - 1000, (before - 1000) * 2 - 100,
					(before - 1000) * 2 + 100);
		before = took;
	}
	udp_health_error(&h, ECONNREFUSED, now, now);
	assert_in_range(silence(&h, UDP_UP), before - 100, before + 100); /* no more than that */
	now += 600 * SEC;
	udp_health_error(&h, ECONNREFUSED, now, now);
	assert_in_range(silence(&h, UDP_UP), 8700, 8900);
}

/* What was sent before the probes says nothing about now. */
static void test_late(void **state)
{
	struct udp_health h;
	uint64_t sent = now;

	(void)state;
	begin(&h);
	now += 100 * MS;
	assert_true(udp_health_error(&h, ECONNREFUSED, sent, now));
	now += 2 * SEC;
	assert_false(udp_health_error(&h, ECONNREFUSED, sent, now));
	udp_health_probed(&h, now);
	assert_false(udp_health_error(&h, ECONNREFUSED, sent, now));
	assert_int_equal(h.silent, 1);
	assert_true(udp_health_error(&h, ECONNREFUSED, now, now));
	assert_int_equal(h.silent, 0);
}

/* Collectors at one address are one host; a place is free again when nobody uses it. */
static void test_hosts(void **state)
{
	struct in6_addr other = address;
	struct udp_host *a, *b, *c;

	(void)state;
	other.s6_addr[15] = 2;
	a = udp_host_get(hosts, 2, &address, 0);
	assert_ptr_equal(udp_host_get(hosts, 2, &address, 0), a);
	b = udp_host_get(hosts, 2, &address, 3);
	assert_ptr_not_equal(a, b);
	assert_null(udp_host_get(hosts, 2, &other, 0));
	udp_host_put(a);
	udp_host_put(a);
	c = udp_host_get(hosts, 2, &other, 0);
	assert_ptr_equal(c, a);
	assert_int_equal(c->users, 1);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

/* Sends that fail now and then: their end is believed less and less, and no state changes each time. */
static void test_failing(void **state)
{
	struct udp_health h;
	unsigned int ends = 0;

	(void)state;
	begin(&h);
	assert_true(udp_health_mended(&h, now));
	udp_health_failed(&h, now);
	assert_false(udp_health_mended(&h, now + 999 * MS));
	assert_true(udp_health_mended(&h, now + 1000 * MS));
	for (uint64_t end = now + 3600 * SEC; now < end; now += 100 * MS) {
		bool before = h.failing;

		if (now % (3 * SEC) == 0)
			udp_health_failed(&h, now);
		else if (udp_health_mended(&h, now) && before)
			ends++;
	}
	assert_in_range(ends, 1, 3);
	assert_true(h.failing);
	/* After some minutes of calm a failure is a first one again. */
	now += 300 * SEC;
	assert_true(udp_health_mended(&h, now));
	now += 300 * SEC;
	udp_health_failed(&h, now);
	assert_true(udp_health_mended(&h, now + SEC));
}

/* A failure is forgotten when an answer shows that sends arrive, and with time when there are none to show it. */
static void test_failing_forgotten(void **state)
{
	struct udp_health h;

	(void)state;
	begin(&h);
	udp_health_failed(&h, now);
	udp_health_error(&h, ECONNREFUSED, now, now);
	assert_true(udp_health_mended(&h, now));
	for (int i = 0; i < 8; i++, now += 2 * SEC) { /* relapses, each after a longer calm */
		udp_health_failed(&h, now);
		now += h.calm_ns;
		assert_true(udp_health_mended(&h, now));
	}
	udp_health_failed(&h, now);
	now += 3600 * SEC;
	udp_health_failed(&h, now);
	assert_false(udp_health_mended(&h, now + 999 * MS));
	assert_true(udp_health_mended(&h, now + 1000 * MS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_failing), TEST(test_failing_forgotten),
		TEST(test_limited), TEST(test_neighbour),
		TEST(test_back),    TEST(test_relapses),
		TEST(test_late),    TEST(test_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
