/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-rate SENDER RECEIVER SINK ROUNDS PACKETS [ROW]...: ns per packet of each program under each
 * load.  SENDER and RECEIVER are a veth pair with GRO on, SINK has no carrier.  Programs are interleaved:
 * each round runs all of them, beginning with another one.  Prints an object of JSON for each run.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "tests/bench/driver.h"
#include "tests/bench/swap.h"

/* Long enough for several swaps. */
#define SWAP_PACKETS 3000000
#define SWAP_ROUNDS  3

/* Few enough for a map to have room. */
#define NEW_PACKETS 100000

/* Flow patterns.  Random order: each packet's flow is drawn, all alike, which is harder on caches than
 * real traffic (where few flows have most packets) and fairer than a fixed cycle over all of them. */
enum row_mode {
	ROW_STEADY, /* every flow is in the map before the clock starts */
	ROW_NEW,    /* no flow is: each packet makes an entry, there is room for all */
	ROW_FLOOD,  /* each packet is of a new flow and the map is full */
	ROW_SWAP,   /* steady, but a drain thread swaps the banks every second */
};

struct row {
	const char *name;
	enum row_mode mode;
	enum load_shape shape;
	uint32_t flows;
	uint32_t subjects; /* bits: enum subject_kind */
};

#define BIT(kind) (1u << (kind))
#define TRIO	  (BIT(SUBJECT_EMPTY) | BIT(SUBJECT_FLOOR) | BIT(SUBJECT_FLOWTALLY))
#define VARIANTS  (TRIO | BIT(SUBJECT_HASH) | BIT(SUBJECT_LRU_PERCPU) | BIT(SUBJECT_LRU_LOCAL))

static const struct row rows[] = {
	{"1 flow", ROW_STEADY, LOAD_IPV4, 1, VARIANTS},
	{"4096 flows", ROW_STEADY, LOAD_IPV4, 4096, VARIANTS},
	{"4096 flows IPv6", ROW_STEADY, LOAD_IPV6, 4096, TRIO},
	{"4096 flows VLAN", ROW_STEADY, LOAD_VLAN, 4096, TRIO},
	{"100000 flows", ROW_STEADY, LOAD_IPV4, 100000, VARIANTS},
	{"new flows", ROW_NEW, LOAD_IPV4, 1u << 28, VARIANTS},
	{"new flows, map full", ROW_FLOOD, LOAD_IPV4, 1u << 28, VARIANTS & ~BIT(SUBJECT_HASH)},
	{"100000 flows, swap every second", ROW_SWAP, LOAD_IPV4, 100000,
	 BIT(SUBJECT_EMPTY) | BIT(SUBJECT_FLOOR) | BIT(SUBJECT_SWAPPED)},
};

struct measure {
	const struct row *row;
	enum bench_hook hook;
	enum load_method method;
};

struct bench {
	struct driver driver;
	struct subject *subjects[_SUBJECT_MAX];
	unsigned int rounds;
	uint32_t packets;
};

/* Each packet of a flood is of a flow that has never been. */
static struct driver_load row_load(const struct bench *b, const struct row *row, unsigned int round)
{
	struct driver_load load = {.shape = row->shape, .flows = row->flows, .packets = b->packets};

	load.random = row->mode == ROW_STEADY || row->mode == ROW_SWAP;
	if (row->mode == ROW_NEW)
		load.packets = MIN(b->packets, NEW_PACKETS);
	if (row->mode == ROW_SWAP)
		load.packets = SWAP_PACKETS;
	if (row->mode == ROW_FLOOD)
		load.first = 2 * SUBJECT_ENTRIES + (uint64_t)round * b->packets;
	return load;
}

/* The maps stay filled over the rounds, but for what makes new entries. */
static int fill(const struct bench *b, const struct measure *m, struct subject *s,
		unsigned int round)
{
	struct driver_load load = {.shape = m->row->shape, .flows = m->row->flows};
	struct driver_result result = {0};
	int r = 0;

	if (round == 0 || m->row->mode == ROW_NEW)
		r = subject_clear(s);
	if (r < 0 || m->row->mode == ROW_NEW || (round > 0 && m->row->mode != ROW_SWAP))
		return r;
	load.packets = m->row->mode == ROW_FLOOD ? 2 * SUBJECT_ENTRIES : m->row->flows;
	return driver_run(&b->driver, m->method, m->hook, &load, &result);
}

static void print(const struct measure *m, enum subject_kind kind, unsigned int round,
		  const struct driver_load *load, const struct driver_result *result,
		  const struct subject_count *count)
{
	printf("{\"row\":\"%s\",\"hook\":\"%s\",\"method\":\"%s\",\"subject\":\"%s\",\"round\":%u,"
	       "\"ns\":%.3f,\"sent\":%u,\"delivered\":%llu,\"seen\":%llu,\"accounted\":%llu,"
	       "\"inserts\":%llu,\"refused\":%llu}\n",
	       m->row->name, hook_name(m->hook), method_name(m->method), subject_name(kind), round,
	       result->ns, load->packets, (unsigned long long)result->delivered,
	       (unsigned long long)count->seen, (unsigned long long)count->accounted,
	       (unsigned long long)count->inserts, (unsigned long long)count->refused);
	fflush(stdout);
}

static int run_attached(const struct bench *b, const struct measure *m, struct subject *s,
			unsigned int round)
{
	const struct driver_load load = row_load(b, m->row, round);
	struct subject_count count = {0}, before = {0};
	struct driver_result result = {0};
	int r;

	r = fill(b, m, s, round) ?: subject_count(s, m->hook, &before);
	if (r < 0)
		return r;
	r = driver_run(&b->driver, m->method, m->hook, &load, &result)
		    ?: subject_count(s, m->hook, &count);
	if (r < 0)
		return r;
	count.seen -= before.seen;
	count.accounted -= before.accounted;
	count.inserts -= before.inserts;
	count.refused -= before.refused;
	print(m, s->kind, round, &load, &result, &count);
	return 0;
}

static int run_subject(const struct bench *b, const struct measure *m, struct subject *s,
		       unsigned int round)
{
	_cleanup_(swapper_freep) struct swapper *swapper = NULL;
	int links[2], r = 0;

	if (s->kind == SUBJECT_SWAPPED)
		r = swapper_new(&swapper, s->datapath);
	if (r < 0)
		return r;
	r = driver_attach(&b->driver, m->method, m->hook,
			  subject_program(s, m->hook, m->row->shape), links);
	if (r == 0)
		r = run_attached(b, m, s, round);
	driver_detach(links);
	return r;
}

/* Another type of map makes the same difference behind every hook. */
static bool is_variant(enum subject_kind kind)
{
	return kind == SUBJECT_HASH || kind == SUBJECT_LRU_PERCPU || kind == SUBJECT_LRU_LOCAL;
}

static int run_round(const struct bench *b, const struct measure *m, unsigned int round)
{
	enum subject_kind kind;
	int r;

	for (unsigned int i = 0; i < _SUBJECT_MAX; i++) {
		kind = (enum subject_kind)((i + round) % _SUBJECT_MAX);
		if (!(m->row->subjects & BIT(kind)) || (m->hook != HOOK_XDP && is_variant(kind)))
			continue;
		r = run_subject(b, m, b->subjects[kind], round);
		if (r < 0) {
			fprintf(stderr, "%s, %s, %s, %s: %s\n", m->row->name, hook_name(m->hook),
				method_name(m->method), subject_name(kind), strerror(-r));
			return r;
		}
	}
	return 0;
}

/* A drain thread makes sense beside life alone, and the skb side is the same in both directions. */
static bool is_measured(const struct measure *m)
{
	return m->row->mode != ROW_SWAP || (m->method == METHOD_LIVE && m->hook != HOOK_TC_INGRESS);
}

static int run_row(const struct bench *b, const struct row *row)
{
	unsigned int rounds = row->mode == ROW_SWAP ? MIN(b->rounds, SWAP_ROUNDS) : b->rounds;
	struct measure m = {.row = row};
	int r = 0;

	for (m.hook = 0; m.hook < _HOOK_MAX; m.hook++)
		for (m.method = 0; m.method < _METHOD_MAX; m.method++)
			for (unsigned int round = 0; round < rounds && r == 0 && is_measured(&m);
			     round++)
				r = run_round(b, &m, round);
	return r;
}

static bool wanted(const char *name, char *const *names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (!strcmp(name, *names))
			return true;
	return false;
}

static int run(struct bench *b, char *const *names)
{
	int r;

	for (int i = 0; i < _SUBJECT_MAX; i++) {
		r = subject_new(&b->subjects[i], (enum subject_kind)i, b->driver.bench);
		if (r < 0) {
			fprintf(stderr, "cannot load %s: %s\n", subject_name((enum subject_kind)i),
				strerror(-r));
			return r;
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (!wanted(rows[i].name, names))
			continue;
		r = run_row(b, &rows[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

int main(int argc, char **argv)
{
	_cleanup_(bench_bpf_freep) struct bench_bpf *bpf = NULL;
	struct bench b = {0};
	int r;

	if (argc < 6) {
		fprintf(stderr, "usage: bench-rate SENDER RECEIVER SINK ROUNDS PACKETS [ROW]...\n");
		return 2;
	}
	b.rounds = (unsigned int)strtoul(argv[4], NULL, 10);
	b.packets = (uint32_t)strtoul(argv[5], NULL, 10);
	swap_pin(SWAP_SENDER_CPU);
	r = bench_bpf_new(&bpf);
	if (r < 0) {
		fprintf(stderr, "cannot load the programs of the benchmark: %s\n", strerror(-r));
		return 1;
	}
	r = driver_open(&b.driver, bpf, argv + 1);
	if (r == 0)
		r = run(&b, argv + 6);
	for (int i = 0; i < _SUBJECT_MAX; i++)
		subject_freep(&b.subjects[i]);
	return r < 0;
}
