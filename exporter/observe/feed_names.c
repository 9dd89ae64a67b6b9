/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/feed_names.h"
#include <jansson.h>
#include <string.h>
#include "exporter/observe/text.h"

#define WALL_NS NSEC_PER_MSEC /* the wall clock is not taken to be more exact */

static int compare_interfaces(const void *a, const void *b)
{
	const struct export_interface *one = a, *two = b;

	return (one->ifindex > two->ifindex) - (one->ifindex < two->ifindex);
}

/* The kernel lets a name have any octets but few. */
static void quote(char ret[FEED_NAME_MAX], const char *name)
{
	json_t *string = text_json_name(name);
	char *quoted;

	quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
	snprintf(ret, FEED_NAME_MAX, "%s", quoted ? quoted : "\"\"");
	free(quoted);
	json_decref(string);
}

static void copy_interfaces(struct feed_names *n, const struct snapshot *s)
{
	for (size_t i = 0; i < s->interface_count; i++) {
		n->interfaces[i].ifindex = s->interfaces[i].ifindex;
		snprintf(n->interfaces[i].name, sizeof(n->interfaces[i].name), "%s",
			 s->interfaces[i].device);
	}
	qsort(n->interfaces, s->interface_count, sizeof(*n->interfaces), compare_interfaces);
	for (size_t i = 0; i < s->interface_count; i++)
		quote(n->names[i], n->interfaces[i].name);
}

/* Where periods of record sums begin and end: at settled swaps, when all that was read is in the ring. */
static void look_at_times(struct feed_names *n, const struct snapshot *s,
			  const struct snapshot *before)
{
	n->context.interval_ns = s->interval_ns;
	n->context.settled_ns = s->monotonic_ns;
	n->context.before_told_ns = before ? before->boottime_ns : s->started_boottime_ns;
	n->context.before_ns =
		before ? before->monotonic_ns
		       : s->monotonic_ns -
				 MIN(s->monotonic_ns, s->boottime_ns - s->started_boottime_ns);
}

/*
 * Times of the ring are told by the wall clock as it is now.  Two clocks cannot be read at once: what is less than a
 * millisecond is no step, and a record is told the same way twice.
 */
static void look_at_clock(struct feed_names *n)
{
	const uint64_t before_ns = clock_ns(CLOCK_BOOTTIME);
	const uint64_t wall_ns = clock_ns(CLOCK_REALTIME);
	const uint64_t within_ns = clock_ns(CLOCK_BOOTTIME) - before_ns;
	const int64_t offset_ns = (int64_t)(wall_ns - before_ns);
	const int64_t step_ns = offset_ns - n->context.wall_ns;

	if (!n->context.wall_ns || (uint64_t)llabs(step_ns) >= MAX(WALL_NS, within_ns))
		n->context.wall_ns = offset_ns;
}

/* Names of interfaces, as they are in the newest snapshot. */
static void look_at_interfaces(struct feed_names *n, struct snapshots *snapshots)
{
	_cleanup_(snapshot_releasep) const struct snapshot *before = NULL;
	_cleanup_(snapshot_releasep)
		const struct snapshot *s = snapshots_newest(snapshots, &before);
	size_t count = s ? s->interface_count : 0;

	if (!s || s->number == n->number)
		return;
	free(n->interfaces);
	free(n->names);
	n->interfaces = calloc(MAX(count, (size_t)1), sizeof(*n->interfaces));
	n->names = calloc(MAX(count, (size_t)1), sizeof(*n->names));
	if (n->interfaces && n->names)
		copy_interfaces(n, s);
	else
		count = 0; /* they have numbers */
	n->context.names = n->names;
	n->context.records.interfaces = n->interfaces;
	n->context.records.interface_count = (unsigned int)count;
	look_at_times(n, s, before);
	n->number = s->number;
}

void feed_names_look(struct feed_names *n, struct snapshots *snapshots)
{
	look_at_clock(n);
	look_at_interfaces(n, snapshots);
}

void feed_names_clear(struct feed_names *n)
{
	free(n->interfaces);
	free(n->names);
	n->interfaces = NULL;
	n->names = NULL;
}
