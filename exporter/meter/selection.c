/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/meter/selection.h"
#include <errno.h>
#include <fnmatch.h>
#include <search.h>
#include <string.h>

/* One interface of the kernel's. */
struct device {
	struct netdev dev; /* .ifindex is the key of the tree */
	char *altnames;	   /* one behind the other, each with its 0 */
	size_t altname_count;
	struct target *target;
	size_t index; /* in `devices` */
	unsigned int round;
};

struct selection {
	char **patterns; /* one block with what they point to */
	size_t pattern_count;
	struct selection_events events;
	void *userdata;
	struct target **targets;
	size_t target_count;
	size_t target_room;
	struct target **named; /* those given by name, in the order of their names */
	size_t named_count;
	void *tree; /* of struct device, by ifindex: tsearch(3) */
	struct device **devices;
	size_t device_count;
	size_t device_room;
	unsigned int round; /* of lists */
};

bool selection_is_glob(const char *pattern)
{
	return strpbrk(pattern, "*?[") != NULL;
}

bool selection_has_match(const struct selection *s, const char *glob)
{
	for (size_t i = 0; i < s->device_count; i++)
		if (fnmatch(glob, s->devices[i]->dev.name, 0) == 0)
			return true;
	return false;
}

static int compare_devices(const void *a, const void *b)
{
	const struct device *one = a, *other = b;

	return (one->dev.ifindex > other->dev.ifindex) - (one->dev.ifindex < other->dev.ifindex);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int compare_name(const void *name, const void *target)
{
	return strcmp(name, (*(struct target *const *)target)->name);
}

static struct device *find_device(const struct selection *s, uint32_t ifindex)
{
	const struct device key = {.dev.ifindex = ifindex};
	struct device *const *found = tfind(&key, &s->tree, compare_devices);

	return found ? *found : NULL;
}

static struct target *find_named(const struct selection *s, const char *name)
{
	struct target **found = s->named_count ? bsearch(name, s->named, s->named_count,
							 sizeof(struct target *), compare_name)
					       : NULL;

	return found ? *found : NULL;
}

/* Room for one more pointer, in doubling steps. */
static int grow(void *array, size_t count, size_t *room)
{
	size_t more = MAX(2 * *room, 16u);
	void **old = *(void ***)array, **grown;

	if (count < *room)
		return 0;
	grown = reallocarray(old, more, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	*(void ***)array = grown;
	*room = more;
	return 0;
}

static struct target *add_target(struct selection *s, const char *name, bool named)
{
	struct target *t;

	if (grow(&s->targets, s->target_count, &s->target_room) < 0)
		return NULL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->named = named;
	t->index = s->target_count;
	s->targets[s->target_count++] = t;
	return t;
}

static void remove_target(struct selection *s, struct target *t)
{
	s->targets[t->index] = s->targets[--s->target_count];
	s->targets[t->index]->index = t->index;
	free(t);
}

/* What the kernel last said of the device. */
static struct netdev_message device_message(const struct device *d)
{
	struct netdev_message m = {.dev = d->dev, .altname_count = d->altname_count};
	const char *name = d->altnames;

	for (size_t i = 0; i < d->altname_count; i++, name += strlen(name) + 1)
		m.altnames[i] = name;
	return m;
}

static bool same_altnames(const struct device *d, const struct netdev_message *m)
{
	const struct netdev_message known = device_message(d);

	if (known.altname_count != m->altname_count)
		return false;
	for (size_t i = 0; i < m->altname_count; i++)
		if (strcmp(known.altnames[i], m->altnames[i]) != 0)
			return false;
	return true;
}

/* Other patterns are held against them later. */
static int keep_altnames(struct device *d, const struct netdev_message *m)
{
	size_t size = 0, length;
	char *names, *end;

	if (same_altnames(d, m))
		return 0;
	for (size_t i = 0; i < m->altname_count; i++)
		size += strlen(m->altnames[i]) + 1;
	names = end = malloc(MAX(size, 1u));
	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < m->altname_count; i++) {
		length = strlen(m->altnames[i]) + 1;
		memcpy(end, m->altnames[i], length);
		end += length;
	}
	free(d->altnames);
	d->altnames = names;
	d->altname_count = m->altname_count;
	return 0;
}

static struct device *add_device(struct selection *s, uint32_t ifindex)
{
	struct device *d;

	if (grow(&s->devices, s->device_count, &s->device_room) < 0)
		return NULL;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->dev.ifindex = ifindex;
	if (!tsearch(d, &s->tree, compare_devices)) {
		free(d);
		return NULL;
	}
	d->index = s->device_count;
	s->devices[s->device_count++] = d;
	return d;
}

static void lose(struct selection *s, struct device *d)
{
	struct target *t = d->target;

	if (!t)
		return;
	d->target = NULL;
	s->events.lost(s->userdata, t);
	t->ifindex = 0;
	if (!t->named)
		remove_target(s, t);
}

static void remove_device(struct selection *s, struct device *d)
{
	lose(s, d);
	tdelete(d, &s->tree, compare_devices);
	s->devices[d->index] = s->devices[--s->device_count];
	s->devices[d->index]->index = d->index;
	free(d->altnames);
	free(d);
}

static bool has_name(const struct netdev_message *m, const char *name)
{
	if (!strcmp(m->dev.name, name))
		return true;
	for (size_t i = 0; i < m->altname_count; i++)
		if (!strcmp(m->altnames[i], name))
			return true;
	return false;
}

static bool matches_glob(const struct selection *s, const char *name)
{
	for (size_t i = 0; i < s->pattern_count; i++)
		if (selection_is_glob(s->patterns[i]) && fnmatch(s->patterns[i], name, 0) == 0)
			return true;
	return false;
}

/* Whether the interface is still what its target means: hooks stay when a glob matches the new name too. */
static bool still_meant(const struct selection *s, const struct target *t,
			const struct netdev_message *m)
{
	if (t->named)
		return has_name(m, t->name);
	return matches_glob(s, m->dev.name) &&
	       (!strcmp(t->name, m->dev.name) || !find_named(s, m->dev.name));
}

/* The target given by a name of this interface, which nobody else can bear: who had it bears it no more. */
static struct target *claim_named(struct selection *s, const struct netdev_message *m)
{
	struct target *t = find_named(s, m->dev.name);

	for (size_t i = 0; !t && i < m->altname_count; i++)
		t = find_named(s, m->altnames[i]);
	if (t && t->ifindex)
		lose(s, find_device(s, t->ifindex));
	return t;
}

static int bind_device(struct selection *s, struct device *d, const struct netdev_message *m)
{
	struct target *t = claim_named(s, m);

	if (!t && !matches_glob(s, m->dev.name))
		return 0;
	if (!t)
		t = add_target(s, m->dev.name, false);
	if (!t)
		return -ENOMEM;
	t->ifindex = d->dev.ifindex;
	d->target = t;
	s->events.found(s->userdata, t, &d->dev);
	return 0;
}

/* Field by field: what is between the fields has no meaning. */
static bool same(const struct netdev *a, const struct netdev *b)
{
	return !strcmp(a->name, b->name) && !strcmp(a->kind, b->kind) && a->master == b->master &&
	       a->link == b->link && a->mtu == b->mtu && a->xdp_prog == b->xdp_prog &&
	       a->type == b->type && a->up == b->up;
}

int selection_update(struct selection *s, const struct netdev_message *m)
{
	struct device *d = find_device(s, m->dev.ifindex);
	bool changed;

	if (m->gone) {
		if (d)
			remove_device(s, d);
		return 0;
	}
	if (!d)
		d = add_device(s, m->dev.ifindex);
	if (!d || keep_altnames(d, m) < 0)
		return -ENOMEM;
	changed = !same(&d->dev, &m->dev);
	d->dev = m->dev;
	d->round = s->round;
	if (d->target && !still_meant(s, d->target, m))
		lose(s, d);
	if (!d->target)
		return bind_device(s, d, m);
	if (!d->target->named)
		snprintf(d->target->name, sizeof(d->target->name), "%s", d->dev.name);
	if (changed)
		s->events.changed(s->userdata, d->target, &d->dev);
	return 0;
}

void selection_begin(struct selection *s)
{
	s->round++;
}

void selection_end(struct selection *s)
{
	for (size_t i = s->device_count; i-- > 0;)
		if (s->devices[i]->round != s->round)
			remove_device(s, s->devices[i]);
}

/* --- The patterns. */

char **selection_copy_patterns(const char *const *patterns, size_t count)
{
	size_t size = (count + 1) * sizeof(char *);
	char **copy, *end;

	for (size_t i = 0; i < count; i++)
		size += strlen(patterns[i]) + 1;
	copy = malloc(size);
	if (!copy)
		return NULL;
	end = (char *)&copy[count + 1];
	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(patterns[i]) + 1;

		copy[i] = memcpy(end, patterns[i], length);
		end += length;
	}
	copy[count] = NULL;
	return copy;
}

/* The names among the patterns, in their order, each once.  Returns how many. */
static size_t find_names(const char **ret, char *const *patterns)
{
	size_t count = 0, kept = 0;

	for (; *patterns; patterns++)
		if (!selection_is_glob(*patterns))
			ret[count++] = *patterns;
	qsort(ret, count, sizeof(*ret), compare_names);
	for (size_t i = 0; i < count; i++)
		if (!kept || strcmp(ret[kept - 1], ret[i]) != 0)
			ret[kept++] = ret[i];
	return kept;
}

/* A target for each name, the one that there is or a new one.  Without memory all is as it was. */
static int make_named(struct selection *s, const char *const *names, size_t count,
		      struct target **ret)
{
	for (size_t i = 0; i < count; i++) {
		ret[i] = find_named(s, names[i]);
		if (!ret[i])
			ret[i] = add_target(s, names[i], true);
		if (ret[i])
			continue;
		while (i-- > 0)
			if (!find_named(s, names[i]))
				remove_target(s, ret[i]);
		return -ENOMEM;
	}
	return 0;
}

static bool has_target(struct target *const *named, size_t count, const struct target *t)
{
	return count && bsearch(t->name, named, count, sizeof(struct target *), compare_name);
}

/* Who was named and is no more is as if a glob had found him, until his device has been held against the patterns. */
static void take_named(struct selection *s, struct target **named, size_t count)
{
	struct target **old = s->named;
	size_t old_count = s->named_count;

	s->named = named;
	s->named_count = count;
	for (size_t i = 0; i < old_count; i++) {
		if (has_target(named, count, old[i]))
			continue;
		old[i]->named = false;
		if (old[i]->ifindex)
			continue;
		s->events.lost(s->userdata, old[i]);
		remove_target(s, old[i]);
	}
	free(old);
}

static int hold_against(struct selection *s, struct device *d)
{
	const struct netdev_message m = device_message(d);
	struct target *t = d->target, *named;

	if (!t)
		return bind_device(s, d, &m);
	if (t->named)
		return 0;
	named = claim_named(s, &m);
	if (named) {
		named->ifindex = d->dev.ifindex;
		d->target = named;
		s->events.handed(s->userdata, t, named);
		remove_target(s, t);
	} else if (!matches_glob(s, d->dev.name)) {
		lose(s, d);
	} else if (strcmp(t->name, d->dev.name) != 0) {
		snprintf(t->name, sizeof(t->name), "%s", d->dev.name);
		s->events.changed(s->userdata, t, &d->dev);
	}
	return 0;
}

int selection_set_patterns(struct selection *s, const char *const *patterns, size_t count)
{
	_cleanup_(freep) struct target **named = calloc(count + 1, sizeof(*named));
	_cleanup_(freep) const char **names = calloc(count + 1, sizeof(*names));
	_cleanup_(freep) char **copy = selection_copy_patterns(patterns, count);
	size_t name_count;
	int r, result = 0;

	if (!named || !names || !copy)
		return -ENOMEM;
	name_count = find_names(names, copy);
	r = make_named(s, names, name_count, named);
	if (r < 0)
		return r;
	free(s->patterns);
	s->patterns = TAKE_PTR(copy);
	s->pattern_count = count;
	take_named(s, TAKE_PTR(named), name_count);
	for (size_t i = 0; i < s->device_count; i++) {
		r = hold_against(s, s->devices[i]);
		result = result ?: r;
	}
	return result ? 1 : 0;
}

int selection_new(struct selection **ret, const char *const *patterns, size_t count,
		  const struct selection_events *events, void *userdata)
{
	_cleanup_(selection_freep) struct selection *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->events = *events;
	s->userdata = userdata;
	r = selection_set_patterns(s, patterns, count);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

static void leave_device(_unused_ void *device)
{
}

struct selection *selection_free(struct selection *s)
{
	if (!s)
		return NULL;
	tdestroy(s->tree, leave_device); /* the devices are freed by the array */
	for (size_t i = 0; i < s->device_count; i++) {
		free(s->devices[i]->altnames);
		free(s->devices[i]);
	}
	for (size_t i = 0; i < s->target_count; i++)
		free(s->targets[i]);
	free(s->devices);
	free(s->targets);
	free(s->named);
	free(s->patterns);
	free(s);
	return NULL;
}

const char *selection_pattern(const struct selection *s, size_t index)
{
	return index < s->pattern_count ? s->patterns[index] : NULL;
}

struct target *selection_get(const struct selection *s, size_t index)
{
	return index < s->target_count ? s->targets[index] : NULL;
}

size_t selection_count(const struct selection *s)
{
	return s->target_count;
}

const struct netdev *selection_device(const struct selection *s, uint32_t ifindex)
{
	const struct device *d = find_device(s, ifindex);

	return d ? &d->dev : NULL;
}

const struct target *selection_target(const struct selection *s, uint32_t ifindex)
{
	const struct device *d = find_device(s, ifindex);

	return d ? d->target : NULL;
}

bool selection_has_vlan(const struct selection *s, uint32_t ifindex)
{
	for (size_t i = 0; i < s->device_count; i++)
		if (s->devices[i]->dev.link == ifindex && !strcmp(s->devices[i]->dev.kind, "vlan"))
			return true;
	return false;
}
