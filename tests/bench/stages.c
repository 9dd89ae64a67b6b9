/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-stages SENDER RECEIVER SINK FLOWS ROUNDS: what an entry costs from the bank to the wire, stage
 * by stage, in ns of this thread's CPU time.  Prints an object of JSON for each round.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "exporter/export/format/fields.h"
#include "exporter/meter/cache.h"
#include "exporter/meter/datapath.h"
#include "exporter/meter/drain.h"
#include "tests/bench/driver.h"
#include "tests/bench/swap.h"

#define IDLE_NS (15 * NSEC_PER_SEC)

struct stages {
	struct driver driver;
	struct datapath *datapath;
	struct cache *cache;
	uint32_t flows;
	struct flow_key *keys;
	struct flow_record *records;
	uint32_t entries; /* in keys and records */
	uint64_t exported;
	uint8_t *message;
};

static uint64_t cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void on_expired(void *userdata, _unused_ const struct flow *flow)
{
	struct stages *s = userdata;

	s->exported++;
}

static int fill_bank(struct stages *s)
{
	const struct driver_load load = {.flows = s->flows, .packets = s->flows};
	struct driver_result result = {0};
	int links[2], r;

	r = driver_attach(&s->driver, METHOD_LOOP, HOOK_XDP,
			  datapath_program_fd(s->datapath, PROGRAM_XDP), links);
	return r ?: driver_run(&s->driver, METHOD_LOOP, HOOK_XDP, &load, &result);
}

static int drain_bank(struct stages *s, double *ret_ns)
{
	uint32_t position = 0, count;
	bool done = false;
	unsigned int bank;
	uint64_t start;
	int r = datapath_swap(s->datapath, &bank);

	start = cpu_ns();
	for (s->entries = 0; r == 0 && !done; s->entries += count) {
		count = 0;
		r = datapath_read(s->datapath, bank, &position, s->keys + s->entries,
				  s->records + s->entries,
				  MIN(DRAIN_BATCH, s->flows - s->entries + 1), &count, &done);
	}
	*ret_ns = (double)(cpu_ns() - start) / MAX(s->entries, 1);
	datapath_reset_fill(s->datapath, bank);
	return r;
}

static double merge(struct stages *s)
{
	uint64_t start = cpu_ns();

	for (uint32_t i = 0; i < s->entries; i += DRAIN_BATCH)
		cache_merge_many(s->cache, s->keys + i, s->records + i,
				 MIN(DRAIN_BATCH, s->entries - i));
	return (double)(cpu_ns() - start) / MAX(s->entries, 1);
}

static double expire(struct stages *s)
{
	uint64_t start = cpu_ns();

	s->exported = 0;
	cache_expire(s->cache, clock_ns(CLOCK_MONOTONIC) + IDLE_NS + NSEC_PER_SEC);
	return (double)(cpu_ns() - start) / MAX(s->exported, 1);
}

/* Into messages of the usual size, whose headers and transport are not in it. */
static double encode(struct stages *s)
{
	struct flow flow = {.end = FLOW_END_IDLE};
	uint64_t start = cpu_ns();

	for (uint32_t i = 0; i < s->entries; i++) {
		flow.key = s->keys[i];
		flow.record = s->records[i];
		encode_ipfix_IPV4(s->message + i % 16 * 96, &flow_templates[TEMPLATE_IPV4], &flow,
				  &(struct record_context){0});
	}
	return (double)(cpu_ns() - start) / MAX(s->entries, 1);
}

static int run_round(struct stages *s, unsigned int round)
{
	double drained = 0, fresh, again, expired, encoded;
	int r;

	r = fill_bank(s) ?: drain_bank(s, &drained);
	if (r < 0)
		return r;
	fresh = merge(s);
	again = merge(s);
	expired = expire(s);
	encoded = encode(s);
	printf("{\"flows\":%u,\"round\":%u,\"entries\":%u,\"expired\":%llu,\"drain\":%.1f,\"merge_new\":%.1f,"
	       "\"merge\":%.1f,\"expire\":%.1f,\"encode\":%.1f,\"bank_bytes\":%llu,\"cache_bytes\":%zu}\n",
	       s->flows, round, s->entries, (unsigned long long)s->exported, drained, fresh, again,
	       expired, encoded, (unsigned long long)datapath_memory(s->flows + s->flows / 4),
	       cache_memory(s->flows * 2));
	fflush(stdout);
	return 0;
}

static int stages_open(struct stages *s)
{
	const struct datapath_options datapath = {.entries = s->flows + s->flows / 4};
	const struct cache_options cache = {.entries = s->flows * 2,
					    .idle_ns = IDLE_NS,
					    .active_ns = 60 * NSEC_PER_SEC,
					    .linger_ns = NSEC_PER_SEC,
					    .sink = on_expired,
					    .userdata = s};

	s->keys = calloc(s->flows + 1, sizeof(*s->keys));
	s->records = calloc(s->flows + 1, sizeof(*s->records));
	s->message = calloc(16, 96 + 32);
	if (!s->keys || !s->records || !s->message)
		return -ENOMEM;
	return datapath_new(&s->datapath, &datapath) ?: cache_new(&s->cache, &cache);
}

static void stages_close(struct stages *s)
{
	cache_freep(&s->cache);
	datapath_freep(&s->datapath);
	free(s->keys);
	free(s->records);
	free(s->message);
}

int main(int argc, char **argv)
{
	_cleanup_(bench_bpf_freep) struct bench_bpf *bpf = NULL;
	_cleanup_(stages_close) struct stages s = {0};
	unsigned int rounds;
	int r;

	if (argc != 6) {
		fprintf(stderr, "usage: bench-stages SENDER RECEIVER SINK FLOWS ROUNDS\n");
		return 2;
	}
	s.flows = (uint32_t)strtoul(argv[4], NULL, 10);
	rounds = (unsigned int)strtoul(argv[5], NULL, 10);
	swap_pin(SWAP_SENDER_CPU);
	r = bench_bpf_new(&bpf) ?: driver_open(&s.driver, bpf, argv + 1);
	r = r ?: stages_open(&s);
	for (unsigned int i = 0; i < rounds && r == 0; i++)
		r = run_round(&s, i);
	if (r < 0)
		fprintf(stderr, "bench-stages: %s\n", strerror(-r));
	return r < 0;
}
