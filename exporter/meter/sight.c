/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/meter/sight.h"
#include <errno.h>
#include <string.h>
#include "exporter/log.h"
#include "exporter/meter/ifstats.h"
#include "exporter/meter/meter.h"

/* Slots at the start, a power of two.  An entry is found within a slot or two while a half is free. */
#define SLOTS_MIN 256

/* Where no reason is found. */
static const char unknown[] = "what the kernel counts there goes past the hook";

/* Of one side, what no reader needs. */
struct notes {
	char obstacle[HOOKS_OBSTACLE_MAX]; /* at the last look; empty: none */
	char reason[HOOKS_OBSTACLE_MAX];   /* of the side, unless that is `unknown` */
	struct sight_watch watch;
};

struct sight {
	struct sight_interface *slots; /* by hash of the ifindex, ifindex 0 is free */
	struct notes *notes;	       /* of each side of each slot; NULL: it is a copy */
	char *texts;		       /* reasons of a copy */
	size_t size;		       /* a power of two */
	size_t count;
	uint64_t sampled_ns;			  /* of the newest sample that was looked at */
	uint64_t unplaced[_DIRECTION_MAX];	  /* unrecorded, of interfaces that are not known */
	uint64_t no_room[_DIRECTION_MAX];	  /* accounted, likewise */
	uint64_t unplaced_before[_DIRECTION_MAX]; /* both, at the last look */
};

enum sight_verdict sight_compare(struct sight_watch *w, const struct sight_sample *sample,
				 struct sight_window *ret)
{
	struct sight_window window;

	if (!w->begun) {
		*w = (struct sight_watch){
			.begun = true, .begin = *sample, .last_kernel = sample->kernel};
		return SIGHT_UNDECIDED;
	}
	w->samples += sample->kernel > w->last_kernel;
	w->last_kernel = sample->kernel;
	if (!w->full_ns && w->samples >= SIGHT_SAMPLES &&
	    sample->kernel - w->begin.kernel >= SIGHT_PACKETS) {
		w->full_ns = sample->sampled_ns;
		w->full_kernel = sample->kernel - w->begin.kernel;
	}
	if (!w->full_ns || sample->drained_ns < w->full_ns)
		return SIGHT_UNDECIDED;
	window = (struct sight_window){
		.kernel = w->full_kernel,
		.seen = sample->seen - w->begin.seen,
		.ns = w->full_ns - w->begin.sampled_ns,
	};
	*w = (struct sight_watch){.begun = true, .begin = *sample, .last_kernel = sample->kernel};
	if (window.seen > window.kernel / 10 && window.seen < window.kernel / 2)
		return SIGHT_UNDECIDED;
	*ret = window;
	if (!window.seen)
		return SIGHT_NONE;
	return window.seen <= window.kernel / 10 ? SIGHT_FEW : SIGHT_SEES;
}

/* `size`: slots, a power of two. */
static int new_sized(struct sight **ret, size_t size)
{
	_cleanup_(sight_freep) struct sight *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->slots = calloc(size, sizeof(*s->slots));
	if (!s->slots)
		return -ENOMEM;
	s->size = size;
	*ret = TAKE_PTR(s);
	return 0;
}

int sight_new(struct sight **ret)
{
	_cleanup_(sight_freep) struct sight *s = NULL;
	int r = new_sized(&s, SLOTS_MIN);

	if (r < 0)
		return r;
	s->notes = calloc(SLOTS_MIN * _DIRECTION_MAX, sizeof(*s->notes));
	if (!s->notes)
		return -ENOMEM;
	*ret = TAKE_PTR(s);
	return 0;
}

struct sight *sight_free(struct sight *s)
{
	if (!s)
		return NULL;
	free(s->slots);
	free(s->notes);
	free(s->texts);
	free(s);
	return NULL;
}

static struct notes *notes_of(const struct sight *s, const struct sight_interface *i, int side)
{
	return &s->notes[(size_t)(i - s->slots) * _DIRECTION_MAX + (size_t)side];
}

/* The interface's slot, or the free one that it would have. */
static struct sight_interface *find_slot(const struct sight *s, uint32_t ifindex)
{
	size_t n = ifindex * 0x9e3779b1u & (s->size - 1);

	while (s->slots[n].ifindex && s->slots[n].ifindex != ifindex)
		n = (n + 1) & (s->size - 1);
	return &s->slots[n];
}

/* NULL: ifindex 0, or no room until the next look. */
static struct sight_interface *get_slot(struct sight *s, uint32_t ifindex)
{
	struct sight_interface *i = ifindex ? find_slot(s, ifindex) : NULL;

	if (!i || i->ifindex)
		return i;
	if (s->count >= s->size / 4 * 3)
		return NULL;
	s->count++;
	i->ifindex = ifindex;
	for (int n = 0; n < _DIRECTION_MAX; n++)
		i->sides[n].reason = unknown;
	return i;
}

static bool is_known_reason(const struct sight_side *side)
{
	return side->reason && side->reason != unknown;
}

bool sight_is_hidden(const struct sight_side *side, uint64_t kernel)
{
	return side->hidden || (side->hook != HOOK_NONE && kernel >= SIGHT_PACKETS &&
				!side->accounted && !side->unrecorded);
}

const struct sight_interface *sight_get(const struct sight *s, uint32_t ifindex)
{
	const struct sight_interface *i = ifindex ? find_slot(s, ifindex) : NULL;

	return i && i->ifindex ? i : NULL;
}

/* The reasons of a copy, which those of `from` do not outlive. */
static int copy_reasons(struct sight *s)
{
	size_t count = 0;
	char *text;

	for (size_t n = 0; n < s->size * _DIRECTION_MAX; n++)
		count += is_known_reason(&s->slots[n / _DIRECTION_MAX].sides[n % _DIRECTION_MAX]);
	text = s->texts = count ? malloc(count * HOOKS_OBSTACLE_MAX) : NULL;
	if (count && !text)
		return -ENOMEM;
	for (size_t n = 0; n < s->size * _DIRECTION_MAX; n++) {
		struct sight_side *side = &s->slots[n / _DIRECTION_MAX].sides[n % _DIRECTION_MAX];

		if (!is_known_reason(side))
			continue;
		side->reason = memcpy(text, side->reason, HOOKS_OBSTACLE_MAX);
		text += HOOKS_OBSTACLE_MAX;
	}
	return 0;
}

int sight_copy(struct sight **ret, const struct sight *from, const struct ifstats *stats)
{
	_cleanup_(sight_freep) struct sight *s = NULL;
	const struct sight_interface *i;
	size_t size = 2;
	int r;

	while (size < 2 * stats->count)
		size *= 2;
	r = new_sized(&s, size);
	if (r < 0)
		return r;
	for (size_t n = 0; n < stats->count; n++) {
		i = sight_get(from, stats->interfaces[n].ifindex);
		if (i)
			*find_slot(s, i->ifindex) = *i;
	}
	r = copy_reasons(s);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

void sight_account(struct sight *s, const struct flow_key *keys, const struct flow_record *records,
		   uint32_t count)
{
	struct sight_interface *i = NULL;

	for (uint32_t n = 0; n < count; n++) {
		if (!i || i->ifindex != keys[n].ifindex)
			i = get_slot(s, keys[n].ifindex);
		if (i)
			i->sides[keys[n].kind & FLOW_EGRESS].accounted += records[n].packets;
		else
			s->no_room[keys[n].kind & FLOW_EGRESS] += records[n].packets;
	}
}

/* Interfaces that are gone and in nobody's ledger any more make room. */
static bool is_known(const struct ifstats *stats, uint32_t ifindex)
{
	for (size_t n = 0; n < stats->count; n++)
		if (stats->interfaces[n].ifindex == ifindex)
			return true;
	return false;
}

static void move_slot(struct sight *s, const struct sight *old, const struct sight_interface *from)
{
	struct sight_interface *i = find_slot(s, from->ifindex);

	*i = *from;
	for (int n = 0; n < _DIRECTION_MAX; n++) {
		*notes_of(s, i, n) = *notes_of(old, from, n);
		if (is_known_reason(&i->sides[n]))
			i->sides[n].reason = notes_of(s, i, n)->reason;
	}
}

void sight_make_room(struct sight *s, const struct ifstats *stats)
{
	struct sight old = *s;
	size_t kept = stats->count;

	if (s->count < s->size / 2 && stats->count < s->size / 2)
		return;
	for (size_t n = 0; n < old.size; n++)
		kept += old.slots[n].ifindex && is_known(stats, old.slots[n].ifindex);
	while (kept >= s->size / 4)
		s->size *= 2;
	s->slots = calloc(s->size, sizeof(*s->slots));
	s->notes = calloc(s->size * _DIRECTION_MAX, sizeof(*s->notes));
	if (!s->slots || !s->notes) {
		free(s->slots);
		free(s->notes);
		*s = old;
		return;
	}
	s->count = 0;
	for (size_t n = 0; n < old.size; n++)
		if (old.slots[n].ifindex && is_known(stats, old.slots[n].ifindex)) {
			move_slot(s, &old, &old.slots[n]);
			s->count++;
		}
	free(old.slots);
	free(old.notes);
}

static void add_unrecorded(void *userdata, const struct reason_key *key,
			   const struct reason_count *count)
{
	struct sight *s = userdata;
	struct sight_interface *i = get_slot(s, key->ifindex);

	if (i)
		i->sides[key->point].unrecorded += count->packets;
	else
		s->unplaced[key->point] += count->packets;
}

void sight_settle(struct sight *s, const struct meter *meter)
{
	for (size_t n = 0; n < s->size; n++)
		for (int side = 0; side < _DIRECTION_MAX; side++)
			s->slots[n].sides[side].unrecorded = 0;
	memset(s->unplaced, 0, sizeof(s->unplaced));
	meter_reasons(meter, add_unrecorded, s);
}

static void note_hooks(struct sight *s, const struct hooks *hooks)
{
	const struct hooks_interface *view;
	struct sight_interface *i;

	for (size_t n = 0; (view = hooks_get(hooks, n)); n++) {
		i = hooks_interface_meters(view) ? get_slot(s, view->ifindex) : NULL;
		if (!i)
			continue;
		i->sides[DIRECTION_INGRESS].hook = view->ingress;
		i->sides[DIRECTION_EGRESS].hook = view->egress;
		for (int side = 0; side < _DIRECTION_MAX; side++)
			memcpy(notes_of(s, i, side)->obstacle, view->obstacles[side],
			       sizeof(view->obstacles[side]));
	}
}

static void say_hidden(const char *name, enum flow_direction direction, struct sight_side *side,
		       const struct sight_window *window)
{
	const bool arriving = direction == DIRECTION_INGRESS;

	log_warning(
		"interface '%s': its counters say %llu packets %s in the last %.0f s, the %s hook saw %llu: %s",
		name, (unsigned long long)window->kernel, arriving ? "arrived" : "left",
		(double)window->ns / NSEC_PER_SEC, arriving ? "ingress" : "egress",
		(unsigned long long)window->seen, side->reason);
}

static void look_at_side(struct sight_side *side, struct notes *notes, const char *name,
			 enum flow_direction direction, const struct sight_sample *sample)
{
	struct sight_window window;
	enum sight_verdict verdict = sight_compare(&notes->watch, sample, &window);

	if (side->hidden && verdict == SIGHT_SEES) {
		side->hidden = false;
		log_notice("interface '%s': the %s hook sees packets again", name,
			   direction == DIRECTION_INGRESS ? "ingress" : "egress");
	}
	/* a few without a reason: others may send past the hooks what they like */
	if (side->hidden ||
	    (verdict != SIGHT_NONE && (verdict != SIGHT_FEW || !notes->obstacle[0])))
		return;
	side->reason = notes->obstacle[0]
			       ? memcpy(notes->reason, notes->obstacle, sizeof(notes->reason))
			       : unknown;
	side->hidden = true;
	say_hidden(name, direction, side, &window);
}

static void look_at(struct sight *s, const struct ifstats_interface *stats, uint64_t drained_ns)
{
	static const enum ifstat counters[_DIRECTION_MAX] = {
		[DIRECTION_INGRESS] = IFSTAT_rx_packets,
		[DIRECTION_EGRESS] = IFSTAT_tx_packets,
	};
	struct sight_interface *i = get_slot(s, stats->ifindex);

	for (int n = 0; i && n < _DIRECTION_MAX; n++) {
		struct sight_side *side = &i->sides[n];
		struct notes *notes = notes_of(s, i, n);
		const struct sight_sample sample = {
			.kernel = stats->counters[counters[n]],
			.seen = side->accounted + side->unrecorded,
			.sampled_ns = s->sampled_ns,
			.drained_ns = drained_ns,
		};

		/* what has no place may have been seen here */
		if (!stats->attached || !stats->sampled || side->hook == HOOK_NONE ||
		    s->unplaced[n] + s->no_room[n] != s->unplaced_before[n])
			notes->watch.begun = false;
		else
			look_at_side(side, notes, stats->name, (enum flow_direction)n, &sample);
	}
}

void sight_look(struct sight *s, const struct sight_sources *sources)
{
	const struct ifstats *stats = sources->ifstats;

	sight_make_room(s, stats);
	note_hooks(s, sources->hooks);
	if (stats->read_ns == s->sampled_ns)
		return;
	s->sampled_ns = stats->read_ns;
	sight_settle(s, sources->meter);
	for (size_t n = 0; n < stats->count; n++)
		look_at(s, &stats->interfaces[n], sources->drained_ns);
	for (int n = 0; n < _DIRECTION_MAX; n++)
		s->unplaced_before[n] = s->unplaced[n] + s->no_room[n];
}
