/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/feed_names.h"
#include <jansson.h>
#include <net/if.h> /* before the kernel's own version of it */
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

/* Room for so many; 0 without memory: they have numbers. */
static size_t make_room(struct feed_names *n, size_t count)
{
	free(n->interfaces);
	free(n->names);
	n->interfaces = calloc(MAX(count, (size_t)1), sizeof(*n->interfaces));
	n->names = calloc(MAX(count, (size_t)1), sizeof(*n->names));
	return n->interfaces && n->names ? count : 0;
}

static void set_interface(struct export_interface *interface, uint32_t ifindex, const char *name)
{
	interface->ifindex = ifindex;
	snprintf(interface->name, sizeof(interface->name), "%s", name);
}

static size_t copy_metered(struct feed_names *n, const struct snapshot *s)
{
	const size_t count = make_room(n, s->interface_count);

	for (size_t i = 0; i < count; i++)
		set_interface(&n->interfaces[i], s->interfaces[i].ifindex, s->interfaces[i].device);
	return count;
}

/* For an exporter that traces drops alone, and knows no interface. */
static size_t copy_present(struct feed_names *n)
{
	struct if_nameindex *names = if_nameindex();
	size_t count = 0;

	while (names && names[count].if_index)
		count++;
	count = make_room(n, count);
	for (size_t i = 0; i < count; i++)
		set_interface(&n->interfaces[i], names[i].if_index, names[i].if_name);
	if (names)
		if_freenameindex(names);
	return count;
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
	size_t count;

	if (!s || s->number == n->number)
		return;
	count = s->kinds[RECORD_FLOW].metered ? copy_metered(n, s) : copy_present(n);
	if (count)
		qsort(n->interfaces, count, sizeof(*n->interfaces), compare_interfaces);
	for (size_t i = 0; i < count; i++)
		quote(n->names[i], n->interfaces[i].name);
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
