/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-drops SENDER RECEIVER SINK ROUNDS PACKETS: what a dropped packet costs.  The load is for another
 * host, so that the stack drops each packet (OTHERHOST) right after it has come through the pair.  Prints an
 * object of JSON for each run.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "exporter/meter/datapath.h"
#include "exporter/meter/drop_tracer.h"
#include "tests/bench/driver.h"
#include "tests/bench/swap.h"
/* needs load.h */
#include "bench.skel.h"

enum tracer {
	TRACER_NONE,
	TRACER_EMPTY,
	TRACER_RECORDED,
	TRACER_BUDGET,	 /* nearly all beyond the budget: counted by reason */
	TRACER_EXCLUDED, /* counted alone */
	_TRACER_MAX,
};

static const char *const tracer_names[] = {"none", "empty", "flowtally", "flowtally, budget",
					   "flowtally, excluded"};

static const uint32_t flow_counts[] = {1, 4096, 100000};

static int attach(const struct driver *d, enum tracer tracer, const struct datapath *datapath,
		  struct drop_tracer **ret_drops, int *ret_link)
{
	*ret_link = -1;
	if (tracer == TRACER_EMPTY)
		*ret_link = bpf_raw_tracepoint_open(
			NULL, bpf_program__fd(d->bench->progs.bench_empty_drop));
	if (tracer == TRACER_EMPTY && *ret_link < 0)
		return *ret_link;
	return datapath ? drop_tracer_new(ret_drops, datapath) : 0;
}

static unsigned long long hook_seen(const struct hook_count *count)
{
	return count->bank[0].seen + count->bank[1].seen;
}

static int run_tracer(const struct driver *d, enum tracer tracer, struct datapath *datapath,
		      const struct driver_load *load, unsigned int round)
{
	_cleanup_(drop_tracer_freep) struct drop_tracer *drops = NULL;
	struct hook_count before = {0}, after = {0};
	struct driver_result result = {0};
	_cleanup_(closep) int link = -1;
	uint64_t missed = 0;
	int r = attach(d, tracer, datapath, &drops, &link);

	if (r == 0 && datapath)
		r = datapath_counts(datapath, 0, &before);
	r = r ?: driver_run(d, METHOD_LIVE, HOOK_XDP, load, &result);
	if (r == 0 && datapath)
		r = datapath_counts(datapath, 0, &after) ?: drop_tracer_missed(datapath, &missed);
	if (r < 0)
		return r;
	printf("{\"flows\":%u,\"tracer\":\"%s\",\"round\":%u,\"ns\":%.3f,\"sent\":%u,\"delivered\":%llu,"
	       "\"seen\":%llu,\"missed\":%llu}\n",
	       load->flows, tracer_names[tracer], round, result.ns, load->packets,
	       (unsigned long long)result.delivered, hook_seen(&after) - hook_seen(&before),
	       (unsigned long long)missed);
	fflush(stdout);
	return 0;
}

static int run_flows(const struct driver *d, struct datapath *const datapaths[_TRACER_MAX],
		     uint32_t flows, unsigned int rounds, uint32_t packets)
{
	const struct driver_load load = {.flows = flows, .random = true, .packets = packets};
	int r = 0;

	for (unsigned int round = 0; round < rounds; round++)
		for (unsigned int i = 0; i < _TRACER_MAX && r == 0; i++) {
			enum tracer tracer = (enum tracer)((i + round) % _TRACER_MAX);

			r = run_tracer(d, tracer, datapaths[tracer], &load, round);
		}
	return r;
}

static int open_tracer(struct datapath **ret, uint32_t budget, uint8_t excluded)
{
	struct drop_filter filter = {.budget = budget};
	const struct datapath_options options = {
		.kind = RECORD_DROP, .entries = SUBJECT_ENTRIES, .drops = &filter};

	memset(filter.excluded, excluded, sizeof(filter.excluded));

	return datapath_new(ret, &options);
}

int main(int argc, char **argv)
{
	_cleanup_(bench_bpf_freep) struct bench_bpf *bpf = NULL;
	struct datapath *datapaths[_TRACER_MAX] = {NULL};
	struct driver driver = {0};
	int r;

	if (argc != 6) {
		fprintf(stderr, "usage: bench-drops SENDER RECEIVER SINK ROUNDS PACKETS\n");
		return 2;
	}
	swap_pin(SWAP_SENDER_CPU);
	r = bench_bpf_new(&bpf) ?: driver_open(&driver, bpf, argv + 1);
	r = r ?: open_tracer(&datapaths[TRACER_RECORDED], 0, 0);
	r = r ?: open_tracer(&datapaths[TRACER_BUDGET], 1, 0);
	r = r ?: open_tracer(&datapaths[TRACER_EXCLUDED], 0, 1);
	for (size_t i = 0; i < ARRAY_SIZE(flow_counts) && r == 0; i++)
		r = run_flows(&driver, datapaths, flow_counts[i],
			      (unsigned int)strtoul(argv[4], NULL, 10),
			      (uint32_t)strtoul(argv[5], NULL, 10));
	for (int i = 0; i < _TRACER_MAX; i++)
		datapath_freep(&datapaths[i]);
	if (r < 0)
		fprintf(stderr, "bench-drops: %s\n", strerror(-r));
	return r < 0;
}
