/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include "exporter/cli/last_lines.h"

struct last_lines {
	uint64_t count, octets; /* the bounds */
	uint64_t first, next;	/* lines since the start: those from `first` on are kept */
	uint64_t used;		/* octets of them */
	uint64_t wanted;	/* lines since the last print */
	char *ring[];		/* `count` */
};

static void drop_first(struct last_lines *l)
{
	char **slot = &l->ring[l->first++ % l->count];

	l->used -= strlen(*slot) + 1;
	free(*slot);
	*slot = NULL;
}

int last_lines_add(struct last_lines *l, const char *text)
{
	const size_t size = strlen(text) + 1;
	char *copy;

	l->wanted++;
	while (l->first < l->next && (l->next - l->first >= l->count || l->used + size > l->octets))
		drop_first(l);
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	l->ring[l->next++ % l->count] = copy;
	l->used += size;
	return 0;
}

uint64_t last_lines_short(const struct last_lines *l)
{
	return MIN(l->wanted, l->count) - (l->next - l->first);
}

void last_lines_print(struct last_lines *l, FILE *file, const char *end)
{
	while (l->first < l->next) {
		fprintf(file, "%s%s", l->ring[l->first % l->count], end);
		drop_first(l);
	}
	l->wanted = 0;
}

int last_lines_new(struct last_lines **ret, uint64_t count, uint64_t octets)
{
	struct last_lines *l = calloc(1, sizeof(*l) + count * sizeof(l->ring[0]));

	if (!l)
		return -ENOMEM;
	l->count = count;
	l->octets = octets;
	*ret = l;
	return 0;
}

struct last_lines *last_lines_free(struct last_lines *l)
{
	while (l->first < l->next)
		drop_first(l);
	free(l);
	return NULL;
}
