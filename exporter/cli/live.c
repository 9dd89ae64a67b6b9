/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows are kept in a table of sets, each with a few places: in a set that is full a flow takes the
 * place of the one with the fewest octets since the last refresh, if it has more.  So the busiest
 * are there, by constant time and memory, unless five of them fall into one set of a thousand.
 *
 * On a terminal the cursor rests above the table, on a line that is left free: a message on stderr
 * comes there and stays, and the next table is drawn below it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <xxhash.h>
#include "exporter/cli/live.h"
#include "exporter/cli/live_text.h"

#define SETS		1024
#define WAYS		4
#define LINES_FLOWS	10		   /* flows of a block where there is no terminal */
#define LINES_PERIOD_NS (5 * NSEC_PER_SEC) /* between two blocks */
#define LINES_COLUMNS	200

struct live {
	int fd;
	bool own_fd, terminal;
	uint64_t shown_ns;		       /* time of the last refresh */
	unsigned int drawn;		       /* lines below the cursor */
	struct live_rate rate[_DIRECTION_MAX]; /* since the last refresh */
	char *pending;			       /* what the reader has not taken yet */
	size_t pending_size, pending_done;
	struct live_flow flows[SETS][WAYS];
	struct live_flow *order[SETS * WAYS];
};

/*
 * A description of our own, for O_NONBLOCK would be shared with stderr and the shell.  A file needs
 * none: writing to it does not wait, and the offset has to stay shared.
 */
static int reopen(int fd, bool *ret_own)
{
	char path[32];
	struct stat status;
	int own = -1;

	if (fstat(fd, &status) < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (S_ISCHR(status.st_mode) || S_ISFIFO(status.st_mode))
		own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	*ret_own = own >= 0;
	return own >= 0 ? own : fd;
}

int live_new(struct live **ret, int fd, uint64_t now_ns)
{
	struct live *live = calloc(1, sizeof(*live));

	if (!live)
		return -ENOMEM;
	live->fd = reopen(fd, &live->own_fd);
	if (live->fd < 0) {
		int error = live->fd;

		free(live);
		return error;
	}
	live->terminal = isatty(fd);
	live->shown_ns = now_ns;
	*ret = live;
	return 0;
}

struct live *live_free(struct live *live)
{
	if (!live)
		return NULL;
	if (live->own_fd)
		close(live->fd);
	free(live->pending);
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

/* True when the reader has taken everything. */
static bool write_pending(struct live *live)
{
	struct pollfd poll_fd = {.fd = live->fd, .events = POLLOUT};

	while (live->pending_done < live->pending_size) {
		ssize_t n;

		if (!live->own_fd && poll(&poll_fd, 1, 0) != 1)
			return false;
		n = write(live->fd, live->pending + live->pending_done,
			  live->pending_size - live->pending_done);
		if (n < 0)
			return errno != EAGAIN && errno != EINTR; /* nobody reads: drop it */
		live->pending_done += (size_t)n;
	}
	return true;
}

/* Header, column names and flows: the lines written. */
static unsigned int draw(struct live *live, FILE *file, const struct live_view *view,
			 const struct live_totals *totals, size_t flows)
{
	live_print_header(file, view, totals, live->rate);
	live_print_columns(file, view);
	for (size_t i = 0; i < flows; i++)
		live_print_flow(file, view, live->order[i], totals->now_ns);
	return (unsigned int)flows + 2;
}

/* Below a line that is left free, and the cursor back to it. */
static void draw_terminal(struct live *live, FILE *file, struct live_view *view,
			  const struct live_totals *totals, size_t count)
{
	struct winsize window = {0};

	if (ioctl(live->fd, TIOCGWINSZ, &window) < 0 || !window.ws_row || !window.ws_col) {
		window.ws_row = 24;
		window.ws_col = 80;
	}
	view->columns = window.ws_col;
	view->color = true;
	fprintf(file, "\r\033[J\n");
	live->drawn =
		1 + draw(live, file, view, totals, MIN(count, (size_t)MAX(window.ws_row, 5) - 4));
	fprintf(file, "\033[%uA", live->drawn);
}

void live_refresh(struct live *live, const struct live_totals *totals)
{
	uint64_t elapsed = totals->now_ns - live->shown_ns;
	struct live_view view = {.seconds = (double)elapsed / NSEC_PER_SEC,
				 .columns = LINES_COLUMNS};
	FILE *file;
	size_t count;

	if (!elapsed || (!live->terminal && elapsed < LINES_PERIOD_NS) || !write_pending(live))
		return;
	free(TAKE_PTR(live->pending));
	live->pending_size = live->pending_done = 0;
	file = open_memstream(&live->pending, &live->pending_size);
	if (!file)
		return;
	count = sort_flows(live);
	if (live->terminal)
		draw_terminal(live, file, &view, totals, count);
	else
		draw(live, file, &view, totals, MIN(count, LINES_FLOWS));
	fclose(file);
	write_pending(live);
	for (size_t i = 0; i < count; i++)
		live->order[i]->rate = (struct live_rate){0};
	memset(live->rate, 0, sizeof(live->rate));
	live->shown_ns = totals->now_ns;
}

void live_end(struct live *live)
{
	if (!write_pending(live) || !live->drawn)
		return;
	free(live->pending);
	live->pending_done = 0;
	live->pending_size = 0;
	live->pending = malloc(16);
	if (live->pending)
		live->pending_size =
			(size_t)snprintf(live->pending, 16, "\033[%uB\r\n", live->drawn);
	write_pending(live);
	live->drawn = 0;
}
