/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-scrape INTERFACES ROUNDS: what a scrape costs with so many interfaces, each of which has had packets of all
 * protocols, families and directions; what the loop pays for what a snapshot has of them, and for each delta.  Prints an
 * object of JSON.
 */
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include "exporter/observe/metrics.h"
#include "exporter/observe/snapshot.h"

static const uint8_t protocols[] = {6, 17, 1, 132, 50, 47, 58};

static void fill(struct snapshot *s, uint32_t interfaces)
{
	struct flow_record record = {.packets = 1234567, .octets = 1234567890123};
	struct hooks_view *view = hooks_view_new(interfaces);

	s->kinds[RECORD_FLOW].metered = true;
	s->ledger.ifstats = calloc(1, sizeof(*s->ledger.ifstats));
	if (!view || !s->ledger.ifstats || traffic_new(&s->traffic) < 0)
		exit(1);
	s->ledger.ifstats->interfaces = calloc(interfaces, sizeof(struct ifstats_interface));
	if (!s->ledger.ifstats->interfaces)
		exit(1);
	snapshot_take_view(s, view);
	for (uint32_t i = 0; i < interfaces; i++) {
		struct hooks_interface *to = &view->interfaces[i];

		*to = (struct hooks_interface){
			.ifindex = i + 1, .ingress = HOOK_TCX, .egress = HOOK_TCX};
		snprintf(to->device, sizeof(to->device), "veth%08x", i);
		s->ledger.ifstats->interfaces[s->ledger.ifstats->count++].ifindex = i + 1;
		for (uint8_t kind = 0; kind < 4; kind++)
			for (size_t p = 0; p < ARRAY_SIZE(protocols); p++) {
				const struct flow_key key = {
					.ifindex = i + 1, .kind = kind, .protocol = protocols[p]};

				traffic_add(s->traffic, RECORD_FLOW, &key, &record);
			}
	}
}

/* What the hooks saw of each, for snapshots. */
static struct sight *make_sight(const struct snapshot *s)
{
	const struct flow_record record = {.packets = 3};
	struct sight *sight;

	if (sight_new(&sight) < 0)
		exit(1);
	sight_make_room(sight, s->ledger.ifstats);
	for (uint32_t i = 0; i < s->ledger.ifstats->count; i++) {
		const struct flow_key key = {.ifindex = i + 1};

		sight_account(sight, &key, &record, 1);
	}
	return sight;
}

/* As the loop does after a swap: takes what there is of interfaces, and lets the oldest snapshot go.  ns of CPU. */
static uint64_t take_one(const struct snapshot *s, const struct sight *sight)
{
	const uint64_t start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	struct snapshot *taken = snapshot_new();

	if (!taken || traffic_copy(&taken->traffic, s->traffic) < 0)
		exit(1);
	ledger_read_interfaces(&taken->ledger, s->ledger.ifstats, sight);
	snapshot_take_view(taken, hooks_view_hold(s->view));
	snapshot_release(taken);
	return clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
}

static uint64_t add_many(struct traffic *t, uint32_t interfaces, uint32_t deltas)
{
	const struct flow_record record = {.packets = 3, .octets = 300};
	const uint64_t start = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	for (uint32_t i = 0; i < deltas; i++) {
		const struct flow_key key = {.ifindex = 1 + i * 7919u % interfaces,
					     .protocol = i & 1 ? 6 : 17,
					     .src_port = (uint16_t)(i * 31),
					     .dst_port = (uint16_t)i};

		traffic_add(t, RECORD_FLOW, &key, &record);
	}
	return clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
}

int main(int argc, char **argv)
{
	const uint32_t interfaces = argc == 3 ? (uint32_t)atoi(argv[1]) : 0;
	const int rounds = argc == 3 ? atoi(argv[2]) : 0;
	const uint32_t deltas = 10000000;
	uint64_t scrape_ns = UINT64_MAX, take_ns = UINT64_MAX;
	struct snapshot *s = snapshot_new();
	struct metrics_process process;
	struct sight *sight;
	size_t size = 0;

	if (!s || interfaces < 1 || rounds < 1) {
		fprintf(stderr, "usage: bench-scrape INTERFACES ROUNDS\n");
		return 2;
	}
	mallopt(M_MMAP_THRESHOLD,
		256 << 10); /* as main() does: copies are pages that the kernel clears */
	fill(s, interfaces);
	sight = make_sight(s);
	for (int i = 0; i < rounds; i++) {
		const struct metrics_source source = {
			.snapshot = s, .process = &process, .hubble = true};
		uint64_t start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		char *text;

		metrics_read_process(&process);
		if (metrics_print(&source, METRICS_OPENMETRICS, &text, &size) < 0)
			return 1;
		scrape_ns = MIN(scrape_ns, clock_ns(CLOCK_THREAD_CPUTIME_ID) - start);
		free(text);
		take_ns = MIN(take_ns, take_one(s, sight));
	}
	printf("{\"interfaces\": %u, \"octets\": %zu, \"scrape_ms\": %.2f, \"snapshot_ms\": %.3f, "
	       "\"delta_ns\": %.1f}\n",
	       interfaces, size, (double)scrape_ns / 1e6, (double)take_ns / 1e6,
	       (double)add_many(s->traffic, interfaces, deltas) / deltas);
	sight_free(sight);
	snapshot_release(s);
	return 0;
}
