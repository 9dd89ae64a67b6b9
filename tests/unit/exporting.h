/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The exports under test: made, fed with flows and checked against what they were given.  After cmocka.h. */
#include "tests/unit/flows.h"
#include "tests/unit/sink.h"

#define DRAIN_NS (500 * NSEC_PER_MSEC)

/* The exports under test, and what they were given. */
static struct exports *exports;
static struct export_count given;
static uint64_t seed;

static inline void start(const struct export_options *options, struct loop *loop)
{
	seed = 42;
	given = (struct export_count){0};
	assert_int_equal(exports_new(&exports, options, loop), 0);
	stderr_keep();
}

static inline void stop(void)
{
	exports = exports_free(exports);
}

static inline void add_udp(const char *host, uint16_t port)
{
	char url[100];

	snprintf(url, sizeof(url), "ipfix://%s:%u", host, port);
	assert_int_equal(exports_add(exports, url), 0);
}

/* These flows by a collector of that scheme to the sink, which the caller opens and closes. */
static inline void send_flows(struct sink *s, const char *scheme,
			      const struct export_options *options, int64_t clock,
			      const struct flow *flows, unsigned int count)
{
	struct exports *e;
	char url[100];

	assert_int_equal(exports_new(&e, options, NULL), 0);
	exports_set_clock(e, clock);
	snprintf(url, sizeof(url), "%s://127.0.0.1:%u", scheme, s->port);
	assert_int_equal(exports_add(e, url), 0);
	for (unsigned int i = 0; i < count; i++)
		exports_flow(e, &flows[i]);
	exports_send_queued(e, DRAIN_NS, true);
	assert_int_equal(exports_stats(e, 0)->exported.records, count);
	exports_free(e);
	sink_read(s);
	assert_int_equal(s->records, count);
	assert_false(s->gap);
	assert_false(s->data_first);
}

/* Flows of both families. */
static inline void give(unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct flow flow = random_flow(&seed);

		given.records++;
		given.packets += flow.record.packets;
		given.octets += flow.record.octets;
		exports_flow(exports, &flow);
		if (i % 50 == 0)
			assert_ledger(exports, &given);
	}
	assert_ledger(exports, &given);
}

/* Flows of IPv4 that fill `count` messages of 16 records. */
static inline void give_messages(unsigned int count)
{
	for (unsigned int i = 0; i < 16 * count; i++) {
		struct flow flow = {.record = {.packets = 3, .octets = 180}};

		given.records++;
		given.packets += 3;
		given.octets += 180;
		exports_flow(exports, &flow);
	}
	assert_ledger(exports, &given);
}

static inline const struct collector_stats *stats(void)
{
	return exports_stats(exports, 0);
}

/* A port where nobody listens. */
static inline uint16_t closed_port(void)
{
	struct sink s;

	assert_true(sink_open(&s, "127.0.0.1", 0));
	sink_close(&s);
	return s.port;
}
