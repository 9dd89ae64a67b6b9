/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/metrics_context.h"
#include <errno.h>
#include <string.h>
#include "exporter/observe/snapshot.h"

/* --- Interfaces: those that are there, and those of which the kernel's last counters are kept. */

struct named {
	struct metrics_interface interface;
	size_t age; /* less is newer */
};

static int by_age(const struct named *a, const struct named *b)
{
	return (a->age > b->age) - (a->age < b->age);
}

static int by_name(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int order = strcmp(x->interface.name, y->interface.name);

	return order ? order : by_age(x, y);
}

static int by_number(const void *a, const void *b)
{
	const struct named *x = a, *y = b;

	if (x->interface.ifindex == y->interface.ifindex)
		return by_age(x, y);
	return x->interface.ifindex > y->interface.ifindex ? 1 : -1;
}

static int by_ifindex(const void *a, const void *b)
{
	const struct metrics_interface *x = a, *y = b;

	return (x->ifindex > y->ifindex) - (x->ifindex < y->ifindex);
}

static size_t gather(const struct snapshot *s, struct named *all)
{
	const size_t gone = s->ledger.ifstats ? s->ledger.ifstats->count : 0;
	size_t count = 0;

	for (size_t i = 0; i < s->interface_count; i++) {
		const struct hooks_interface *from = &s->interfaces[i];

		if (from->ifindex)
			all[count] = (struct named){{from->ifindex,
						     from->device[0] ? from->device : from->name},
						    count};
		count += from->ifindex != 0;
	}
	for (size_t i = gone; i-- > 0;) { /* the newest first */
		const struct ifstats_interface *from = &s->ledger.ifstats->interfaces[i];

		if (from->ifindex)
			all[count] = (struct named){{from->ifindex, from->name}, count};
		count += from->ifindex != 0;
	}
	return count;
}

/* An interface that was renamed has the name of now. */
static size_t drop_old_names(struct named *all, size_t count)
{
	size_t kept = 0;

	qsort(all, count, sizeof(*all), by_number);
	for (size_t i = 0; i < count; i++)
		if (!kept || all[i].interface.ifindex != all[kept - 1].interface.ifindex)
			all[kept++] = all[i];
	return kept;
}

/* Each name stands for its newest interface, so that a series never holds the packets of two. */
static int name_interfaces(struct metrics_context *c)
{
	const struct snapshot *s = c->snapshot;
	const size_t most =
		s->interface_count + (s->ledger.ifstats ? s->ledger.ifstats->count : 0) + 1;
	_cleanup_(freep) struct named *all = calloc(most, sizeof(*all));
	size_t count;

	c->interfaces = calloc(most, sizeof(*c->interfaces));
	if (!all || !c->interfaces)
		return -ENOMEM;
	count = drop_old_names(all, gather(s, all));
	qsort(all, count, sizeof(*all), by_name);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || strcmp(all[i].interface.name, all[i - 1].interface.name) != 0)
			c->interfaces[c->interface_count++] = all[i].interface;
	qsort(c->interfaces, c->interface_count, sizeof(*c->interfaces), by_ifindex);
	return 0;
}

const char *metrics_interface_name(const struct metrics_context *c, uint32_t ifindex)
{
	const struct metrics_interface key = {.ifindex = ifindex}, *found;

	found = c->interface_count
			? bsearch(&key, c->interfaces, c->interface_count, sizeof(key), by_ifindex)
			: NULL;
	return found ? found->name : NULL;
}

/* --- Collectors. */

/* A URL may hold what is not for everybody to see: user and password, and behind the question mark any settings. */
static void print_url(char *to, size_t size, const char *url)
{
	const char *rest = strstr(url, "://");
	size_t scheme, host, user = 0;

	rest = rest ? rest + 3 : url;
	scheme = (size_t)(rest - url);
	host = strcspn(rest, "/?#");
	for (size_t i = 0; i < host; i++)
		if (rest[i] == '@')
			user = i + 1;
	snprintf(to, size, "%.*s%.*s", (int)scheme, url, (int)(strcspn(rest, "?#") - user),
		 rest + user);
}

static bool is_taken(const struct metrics_context *c, unsigned int count, const char *name)
{
	for (unsigned int i = 0; i < count; i++)
		if (!strcmp(c->collectors[i], name))
			return true;
	return false;
}

static int name_collectors(struct metrics_context *c)
{
	const struct export_copy *all = c->snapshot->ledger.collectors;
	char text[240];

	c->collectors = calloc(all->count + 1, sizeof(*c->collectors));
	if (!c->collectors)
		return -ENOMEM;
	for (unsigned int i = 0; i < all->count; i++) {
		if (all->stats[i].name)
			snprintf(text, sizeof(text), "%s", all->stats[i].name);
		else
			print_url(text, sizeof(text), all->stats[i].url);
		snprintf(c->collectors[i], sizeof(*c->collectors), "%s", text);
		for (unsigned int n = 2; is_taken(c, i, c->collectors[i]); n++)
			snprintf(c->collectors[i], sizeof(*c->collectors), "%s#%u", text, n);
	}
	return 0;
}

int metrics_context_make(struct metrics_context *c, const struct metrics_source *source,
			 const uint64_t *series)
{
	int r = 0;

	*c = (struct metrics_context){
		.source = source, .snapshot = source->snapshot, .series = series};
	if (!c->snapshot)
		return 0;
	r = name_interfaces(c);
	return r == 0 && c->snapshot->ledger.collectors ? name_collectors(c) : r;
}

void metrics_context_clear(struct metrics_context *c)
{
	free(c->interfaces);
	free(c->collectors);
}
