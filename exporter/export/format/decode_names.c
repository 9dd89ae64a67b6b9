/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>
#include "exporter/export/format/decode_names.h"

#define BUCKETS	    (2 * DECODE_TYPES_MAX) /* a power of 2 */
#define PEN_REVERSE 29305		   /* RFC 5103 */

static const struct {
	const char *name;
	uint8_t type;
} registered[] = {
#define REGISTERED(id, name, type) [id] = {#name, DECODE_##type},
#include "exporter/export/format/registered.def"
};

struct learnt {
	struct learnt *next_number, *next_name; /* of the same bucket */
	uint32_t pen;
	uint16_t id;
	uint8_t type;
	char name[DECODE_NAME_MAX];
};

struct decode_names {
	struct learnt *list; /* DECODE_TYPES_MAX, made when there is the first */
	unsigned int count;
	unsigned int renames;
	uint64_t version;
	uint64_t seed; /* so that no file can choose what falls into one bucket */
	struct learnt *by_number[BUCKETS], *by_name[BUCKETS];
	uint16_t registered_by_name[BUCKETS]; /* id + 1 of the first; 0: none */
	uint16_t registered_next[ARRAY_SIZE(registered)];
};

uint64_t decode_names_version(const struct decode_names *names)
{
	return names->version;
}

static size_t number_bucket(const struct decode_names *names, uint32_t pen, uint16_t id)
{
	const uint64_t number = (uint64_t)pen << 16 | id;

	return XXH3_64bits_withSeed(&number, sizeof(number), names->seed) & (BUCKETS - 1);
}

static size_t name_bucket(const struct decode_names *names, const char *name)
{
	return XXH3_64bits_withSeed(name, strlen(name), names->seed) & (BUCKETS - 1);
}

static struct learnt *find(const struct decode_names *names, uint32_t pen, uint16_t id)
{
	struct learnt *l = names->by_number[number_bucket(names, pen, id)];

	while (l && (l->pen != pen || l->id != id))
		l = l->next_number;
	return l;
}

void decode_names_look(const struct decode_names *names, struct decode_element *e)
{
	bool reverse = e->pen == PEN_REVERSE;
	const bool again = *e->name;
	const struct learnt *l;

	if ((!e->pen || reverse) && e->id < ARRAY_SIZE(registered) && registered[e->id].name) {
		if (again)
			return;
		e->known = true;
		snprintf(e->name, sizeof(e->name), "%s%s", reverse ? "reverse" : "",
			 registered[e->id].name);
		if (reverse)
			e->name[7] = (char)toupper((unsigned char)e->name[7]);
		e->type = registered[e->id].type;
		return;
	}
	l = find(names, e->pen, e->id);
	if (l) {
		memcpy(e->name, l->name, sizeof(e->name));
		e->type = l->type;
		e->known = true;
		return;
	}
	if (again)
		return; /* no name is ever forgotten */
	snprintf(e->name, sizeof(e->name), "%u/%u", e->pen, e->id);
	e->type = DECODE_OCTETS;
	e->known = false;
}

void decode_names_scope(struct decode_element *e)
{
	static const char *const scopes[] = {
		NULL,	      "scopeSystem",  "scopeInterface", "scopeLineCard",
		"scopeCache", "scopeTemplate"};

	e->known = e->id && e->id < ARRAY_SIZE(scopes);
	e->type = e->known ? DECODE_U64 : DECODE_OCTETS;
	if (e->known)
		snprintf(e->name, sizeof(e->name), "%s", scopes[e->id]);
	else
		snprintf(e->name, sizeof(e->name), "scope/%u", e->id);
}

static bool is_registered(const struct decode_names *names, const char *name)
{
	unsigned int i = names->registered_by_name[name_bucket(names, name)];

	while (i && strcmp(registered[i - 1].name, name) != 0)
		i = names->registered_next[i - 1];
	return i;
}

/* Keys that have a meaning without being an element's: of reverse elements, of repeated ones (NAME.2), and decode_json()'s. */
static bool is_reserved(const struct decode_names *names, const char *name)
{
	static const char *const keys[] = {"scopeSystem",    "scopeInterface", "scopeLineCard",
					   "scopeCache",     "scopeTemplate",  "dropClass",
					   "dropExplanation"};
	const char *dot = strrchr(name, '.');
	char forward[DECODE_NAME_MAX];

	if (dot && dot[1] && !dot[1 + strspn(dot + 1, "0123456789")])
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (!strcmp(name, keys[i]))
			return true;
	if (strncmp(name, "reverse", 7) != 0 || !name[7])
		return false;
	snprintf(forward, sizeof(forward), "%s", name + 7);
	forward[0] = (char)tolower((unsigned char)forward[0]);
	return is_registered(names, forward);
}

/* Keys are to mean one thing. */
static bool is_taken(const struct decode_names *names, const char *name)
{
	const struct learnt *l = names->by_name[name_bucket(names, name)];

	if (is_registered(names, name) || is_reserved(names, name))
		return true;
	while (l && strcmp(l->name, name) != 0)
		l = l->next_name;
	return l;
}

static void unlink_name(struct decode_names *names, const struct learnt *gone)
{
	struct learnt **at = &names->by_name[name_bucket(names, gone->name)];

	while (*at != gone)
		at = &(*at)->next_name;
	*at = gone->next_name;
}

static void link_name(struct decode_names *names, struct learnt *l)
{
	struct learnt **bucket = &names->by_name[name_bucket(names, l->name)];

	l->next_name = *bucket;
	*bucket = l;
}

/* NULL: there is no room for it. */
static struct learnt *add(struct decode_names *names, uint32_t pen, uint16_t id)
{
	struct learnt **bucket = &names->by_number[number_bucket(names, pen, id)], *l;

	if (!names->list)
		names->list = calloc(DECODE_TYPES_MAX, sizeof(*names->list));
	if (!names->list || names->count >= DECODE_TYPES_MAX)
		return NULL;
	l = &names->list[names->count++];
	*l = (struct learnt){.next_number = *bucket, .pen = pen, .id = id};
	*bucket = l;
	return l;
}

void decode_names_learn(struct decode_names *names, uint32_t pen, uint16_t id,
			const struct decode_value *name, unsigned int type)
{
	struct learnt *l = find(names, pen, id);
	size_t length = strnlen((const char *)name->data, name->length);
	char text[DECODE_NAME_MAX] = "";

	if (!length || length >= sizeof(text) - 8 || type > DECODE_LIST + 2)
		return;
	for (size_t i = 0; i < length; i++)
		if (!isalnum(name->data[i]) && !strchr("_-.", name->data[i]))
			return;
	memcpy(text, name->data, length);
	type = MIN(type, DECODE_LIST);
	if (l && !strcmp(l->name, text) && l->type == type)
		return;
	/* Each makes templates look again, so that who changes them without end would be slow to read. */
	if (l && names->renames >= DECODE_RENAMES_MAX)
		return;
	if ((!l || strcmp(l->name, text) != 0) && is_taken(names, text))
		return;
	if (l) {
		names->renames++;
		unlink_name(names, l);
	} else {
		l = add(names, pen, id);
	}
	if (!l)
		return;
	memcpy(l->name, text, sizeof(l->name));
	l->type = (uint8_t)type;
	link_name(names, l);
	names->version++;
}

int decode_names_new(struct decode_names **ret)
{
	struct decode_names *names = calloc(1, sizeof(*names));

	if (!names)
		return -ENOMEM;
	if (getrandom(&names->seed, sizeof(names->seed), GRND_NONBLOCK) < 0)
		names->seed = (uint64_t)(uintptr_t)names;
	for (size_t i = 0; i < ARRAY_SIZE(registered); i++) {
		uint16_t *bucket;

		if (!registered[i].name)
			continue;
		bucket = &names->registered_by_name[name_bucket(names, registered[i].name)];
		names->registered_next[i] = *bucket;
		*bucket = (uint16_t)(i + 1);
	}
	*ret = names;
	return 0;
}

struct decode_names *decode_names_free(struct decode_names *names)
{
	free(names->list);
	free(names);
	return NULL;
}
