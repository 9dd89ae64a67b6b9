/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-send SENDER RECEIVER SINK FLOWS PACKETS RATE [CPU]: PACKETS live frames of FLOWS flows in turn, RATE
 * of them a second (0: as fast as one CPU can), in a burst every 50 ms, by the first CPU or that one.
 * Prints an object of JSON: `busy` is the time in bursts, which one CPU spent on
 * sending, receiving, the hooks and whoever taps the interface.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "tests/bench/driver.h"
#include "tests/bench/swap.h"

#define BURSTS 20 /* a second */

struct send {
	struct driver driver;
	uint32_t flows;
	uint64_t packets;
	uint64_t rate;
};

static int send_bursts(const struct send *s, double *ret_busy_ns, uint64_t *ret_delivered)
{
	struct driver_load load = {.flows = s->flows};
	uint64_t due = clock_ns(CLOCK_MONOTONIC), burst = s->rate ? s->rate / BURSTS : s->packets;
	struct driver_result result = {0};
	struct timespec t;
	int r = 0;

	*ret_busy_ns = 0;
	*ret_delivered = 0;
	for (; load.first < s->packets && r == 0; load.first += load.packets) {
		load.packets = (uint32_t)MIN(burst, s->packets - load.first);
		r = driver_run(&s->driver, METHOD_LIVE, HOOK_TC_INGRESS, &load, &result);
		if (r < 0)
			return r;
		*ret_busy_ns += result.ns * load.packets;
		*ret_delivered += result.delivered;
		due += NSEC_PER_SEC / BURSTS;
		t = (struct timespec){.tv_sec = (time_t)(due / NSEC_PER_SEC),
				      .tv_nsec = (long)(due % NSEC_PER_SEC)};
		if (s->rate)
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	}
	return 0;
}

static int send_all(const struct send *s)
{
	uint64_t start = clock_ns(CLOCK_MONOTONIC), delivered;
	double busy_ns;
	int r = send_bursts(s, &busy_ns, &delivered);

	if (r < 0)
		return r;
	printf("{\"sent\":%llu,\"delivered\":%llu,\"busy\":%.6f,\"seconds\":%.6f}\n",
	       (unsigned long long)s->packets, (unsigned long long)delivered, busy_ns / 1e9,
	       (double)(clock_ns(CLOCK_MONOTONIC) - start) / 1e9);
	return 0;
}

int main(int argc, char **argv)
{
	_cleanup_(bench_bpf_freep) struct bench_bpf *bpf = NULL;
	struct send s = {0};
	int r;

	if (argc != 7 && argc != 8) {
		fprintf(stderr,
			"usage: bench-send SENDER RECEIVER SINK FLOWS PACKETS RATE [CPU]\n");
		return 2;
	}
	s.flows = (uint32_t)strtoul(argv[4], NULL, 10);
	s.packets = strtoull(argv[5], NULL, 10);
	s.rate = strtoull(argv[6], NULL, 10);
	swap_pin(argc == 8 ? atoi(argv[7]) : SWAP_SENDER_CPU);
	r = bench_bpf_new(&bpf) ?: driver_open(&s.driver, bpf, argv + 1);
	r = r ?: send_all(&s);
	if (r < 0)
		fprintf(stderr, "bench-send: %s\n", strerror(-r));
	return r < 0;
}
