/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-nodes NODES RECORDS SECONDS URL: the exports of so many nodes, each with its own address in 127.0.0.0/8,
 * observation domain, socket, sequence and templates, as the exporter runs them.  Each node has RECORDS flows a second,
 * which end when its banks are read, every 5 s; nodes are not in step.  Prints an object of JSON: what all of them sent.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include "exporter/export/export.h"
#include "exporter/loop.h"
#include "tests/unit/flows.h"

#define NODES_MAX      4000
#define INTERVAL_NS    (5 * NSEC_PER_SEC) /* drain-interval */
#define ADDRESSES      250		  /* of each third octet */
#define DESCRIPTORS    65536
#define FLOWS	       1024 /* a power of two */
#define DRAIN_PATIENCE (2 * NSEC_PER_SEC)

struct node {
	struct exports *exports;
	struct loop_source *timer;
};

static struct flow flows[FLOWS];
static struct node nodes[NODES_MAX];
static uint32_t batch;

static void make_flows(void)
{
	uint64_t seed = 4711;

	for (unsigned int i = 0; i < FLOWS; i++) {
		flows[i] = random_flow(&seed);
		flows[i].record.first_ns = 1000 * NSEC_PER_SEC + i * NSEC_PER_MSEC;
		flows[i].record.last_ns = flows[i].record.first_ns + i * NSEC_PER_MSEC;
	}
}

static int on_timer(void *userdata, uint32_t events)
{
	struct node *n = userdata;

	(void)events;
	for (uint32_t i = 0; i < batch; i++)
		exports_flow(n->exports, &flows[i % FLOWS]);
	exports_flush(n->exports);
	return 0;
}

static int on_end(void *userdata, uint32_t events)
{
	(void)events;
	loop_stop(userdata);
	return 0;
}

static int start_node(struct loop *loop, uint32_t number, const char *url, uint64_t *seed)
{
	char source[sizeof("127.1.4294967295.4294967295")]; /* as far as a compiler knows */
	struct export_options options = {.domain = number + 1, .source = source};
	struct node *n = &nodes[number];
	int r;

	snprintf(source, sizeof(source), "127.1.%u.%u", number / ADDRESSES, 1 + number % ADDRESSES);
	r = exports_new(&n->exports, &options, loop)
			?: exports_add(n->exports, url)
			?: loop_add_timer(loop, on_timer, n, &n->timer);
	if (r < 0)
		return r;
	/* The times of the flows are of a clock that began then. */
	exports_set_clock(n->exports, (int64_t)(clock_ns(CLOCK_REALTIME) - 1010 * NSEC_PER_SEC));
	return loop_set_timer(n->timer, 1 + random_next(seed) % INTERVAL_NS, INTERVAL_NS);
}

static int run(uint32_t count, uint64_t seconds, const char *url)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	_cleanup_(loop_source_freep) struct loop_source *end = NULL;
	uint64_t seed = 815;
	int r = loop_new(&loop) ?: loop_add_timer(loop, on_end, loop, &end);

	for (uint32_t i = 0; i < count && r == 0; i++)
		r = start_node(loop, i, url, &seed);
	r = r ?: loop_set_timer(end, seconds * NSEC_PER_SEC, 0) ?: loop_run(loop);
	for (uint32_t i = 0; i < count && r == 0; i++)
		exports_send_queued(nodes[i].exports, DRAIN_PATIENCE, true);
	return r;
}

static void report(uint32_t count)
{
	uint64_t given = 0, exported = 0, messages = 0, templates = 0, octets = 0;

	for (uint32_t i = 0; i < count; i++) {
		const struct collector_stats *s = exports_stats(nodes[i].exports, 0);

		given += s->given.records;
		exported += s->exported.records;
		messages += s->messages;
		templates += s->template_messages;
		octets += s->bytes;
	}
	printf("{\"given\":%" PRIu64 ",\"exported\":%" PRIu64 ",\"messages\":%" PRIu64
	       ",\"templates\":%" PRIu64 ",\"octets\":%" PRIu64 ",\"cpu\":%.3f}\n",
	       given, exported, messages, templates, octets,
	       (double)clock_ns(CLOCK_PROCESS_CPUTIME_ID) / NSEC_PER_SEC);
}

int main(int argc, char **argv)
{
	const struct rlimit descriptors = {DESCRIPTORS, DESCRIPTORS};
	uint32_t count;
	int r;

	if (argc != 5) {
		fprintf(stderr, "usage: bench-nodes NODES RECORDS SECONDS URL\n");
		return 2;
	}
	count = MIN((uint32_t)strtoul(argv[1], NULL, 10), NODES_MAX);
	batch = (uint32_t)strtoul(argv[2], NULL, 10) * (uint32_t)(INTERVAL_NS / NSEC_PER_SEC);
	make_flows();
	setrlimit(RLIMIT_NOFILE, &descriptors);
	r = run(count, strtoul(argv[3], NULL, 10), argv[4]);
	if (r < 0)
		fprintf(stderr, "bench-nodes: %s\n", strerror(-r));
	else
		report(count);
	return r < 0;
}
