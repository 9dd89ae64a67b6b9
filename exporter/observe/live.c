/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows are kept in a table of sets, each with a few places: in a set that is full a flow takes the
 * place of the one with the fewest octets since the last refresh, if it has more.  So the busiest
 * are there, by constant time and memory, unless five of them fall into one set of a thousand.
 */
#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include "exporter/observe/live.h"
#include "exporter/observe/live_text.h"
#include "exporter/observe/screen.h"

#define SETS		1024
#define WAYS		4
#define LINES_FLOWS	10		   /* flows of a block where there is no terminal */
#define LINES_PERIOD_NS (5 * NSEC_PER_SEC) /* between two blocks */
#define LINES_COLUMNS	200

struct live {
	struct screen *screen;
	uint64_t shown_ns;		       /* time of the last refresh */
	struct live_rate rate[_DIRECTION_MAX]; /* since the last refresh */
	struct live_flow flows[SETS][WAYS];
	struct live_flow *order[SETS * WAYS];
};

int live_new(struct live **ret, int fd, uint64_t now_ns)
{
	_cleanup_(live_freep) struct live *live = calloc(1, sizeof(*live));
	int r;

	if (!live)
		return -ENOMEM;
	r = screen_new(&live->screen, fd, true);
	if (r < 0)
		return r;
	live->shown_ns = now_ns;
	*ret = TAKE_PTR(live);
	return 0;
}

struct live *live_free(struct live *live)
{
	if (live)
		screen_freep(&live->screen);
	free(live);
	return NULL;
}

/* The flow's place; NULL when all the others in its set are busier. */
static struct live_flow *find_place(struct live *live, const struct flow_key *key, uint64_t octets)
{
	struct live_flow *set = live->flows[XXH3_64bits(key, sizeof(*key)) % SETS];
	struct live_flow *least = set;

	for (unsigned int i = 0; i < WAYS; i++) {
		if (!memcmp(&set[i].key, key, sizeof(*key)))
			return &set[i];
		if (set[i].rate.octets < least->rate.octets ||
		    (set[i].rate.octets == least->rate.octets && set[i].last_ns < least->last_ns))
			least = &set[i];
	}
	return octets > least->rate.octets ? least : NULL;
}

void live_delta(struct live *live, const struct flow_key *key, const struct flow_record *delta)
{
	struct live_rate *total =
		&live->rate[key->kind & FLOW_EGRESS ? DIRECTION_EGRESS : DIRECTION_INGRESS];
	struct live_flow *flow = find_place(live, key, delta->octets);

	total->packets += delta->packets;
	total->octets += delta->octets;
	if (!flow)
		return;
	if (memcmp(&flow->key, key, sizeof(*key)) != 0)
		*flow = (struct live_flow){.key = *key, .first_ns = delta->first_ns};
	flow->rate.packets += delta->packets;
	flow->rate.octets += delta->octets;
	flow->total += delta->octets;
	flow->last_ns = delta->last_ns;
}

static int by_octets(const void *a, const void *b)
{
	const struct live_flow *x = *(struct live_flow *const *)a;
	const struct live_flow *y = *(struct live_flow *const *)b;

	if (x->rate.octets != y->rate.octets)
		return x->rate.octets < y->rate.octets ? 1 : -1;
	return memcmp(&x->key, &y->key, sizeof(x->key)); /* equal ones do not jump about */
}

static size_t sort_flows(struct live *live)
{
	size_t count = 0;

	for (size_t i = 0; i < SETS; i++)
		for (size_t j = 0; j < WAYS; j++)
			if (live->flows[i][j].rate.octets)
				live->order[count++] = &live->flows[i][j];
	qsort(live->order, count, sizeof(live->order[0]), by_octets);
	return count;
}

/* Header, column names and flows. */
static void draw(struct live *live, FILE *file, const struct live_view *view,
		 const struct live_totals *totals, size_t flows)
{
	live_print_header(file, view, totals, live->rate);
	live_print_columns(file, view);
	for (size_t i = 0; i < flows; i++)
		live_print_flow(file, view, live->order[i], totals->now_ns);
}

void live_refresh(struct live *live, const struct live_totals *totals)
{
	uint64_t elapsed = totals->now_ns - live->shown_ns;
	const struct screen_size size = screen_size(live->screen);
	struct live_view view = {.seconds = (double)elapsed / NSEC_PER_SEC,
				 .columns = size.rows ? size.columns : LINES_COLUMNS,
				 .color = size.rows != 0};
	size_t count, most = size.rows ? MAX(size.rows, 5u) - 4 : LINES_FLOWS;
	FILE *file;

	if (!elapsed || (!size.rows && elapsed < LINES_PERIOD_NS))
		return;
	file = screen_begin(live->screen);
	if (!file)
		return;
	count = sort_flows(live);
	draw(live, file, &view, totals, MIN(count, most));
	screen_show(live->screen);
	for (size_t i = 0; i < count; i++)
		live->order[i]->rate = (struct live_rate){0};
	memset(live->rate, 0, sizeof(live->rate));
	live->shown_ns = totals->now_ns;
}

void live_end(struct live *live)
{
	screen_end(live->screen, 0);
}
