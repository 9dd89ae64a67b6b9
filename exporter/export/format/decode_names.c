/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include "exporter/export/format/decode_names.h"

#define PEN_REVERSE 29305 /* RFC 5103 */

static const struct {
	const char *name;
	uint8_t type;
} registered[] = {
#define REGISTERED(id, name, type) [id] = {#name, DECODE_##type},
#include "exporter/export/format/registered.def"
};

struct learnt {
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
};

uint64_t decode_names_version(const struct decode_names *names)
{
	return names->version;
}

static struct learnt *find(const struct decode_names *names, uint32_t pen, uint16_t id)
{
	for (unsigned int i = 0; i < names->count; i++)
		if (names->list[i].pen == pen && names->list[i].id == id)
			return &names->list[i];
	return NULL;
}

void decode_names_look(const struct decode_names *names, struct decode_element *e)
{
	bool reverse = e->pen == PEN_REVERSE;
	const struct learnt *l;

	e->known = true;
	if ((!e->pen || reverse) && e->id < ARRAY_SIZE(registered) && registered[e->id].name) {
		snprintf(e->name, sizeof(e->name), "%s%s", reverse ? "reverse" : "",
			 registered[e->id].name);
		if (reverse)
			e->name[7] = (char)toupper((unsigned char)e->name[7]);
		e->type = registered[e->id].type;
		return;
	}
	l = find(names, e->pen, e->id);
	if (l) {
		snprintf(e->name, sizeof(e->name), "%s", l->name);
		e->type = l->type;
		return;
	}
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

/* Of that name there is an element of the registry already: keys are to mean one thing. */
static bool is_taken(const struct decode_names *names, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(registered); i++)
		if (registered[i].name && !strcmp(registered[i].name, name))
			return true;
	for (unsigned int i = 0; i < names->count; i++)
		if (!strcmp(names->list[i].name, name))
			return true;
	return false;
}

void decode_names_learn(struct decode_names *names, uint32_t pen, uint16_t id,
			const struct decode_value *name, unsigned int type)
{
	struct learnt *l = find(names, pen, id), told = {.pen = pen, .id = id};
	size_t length = strnlen((const char *)name->data, name->length);

	if (!length || length >= sizeof(told.name) - 8 || type > DECODE_LIST + 2)
		return;
	for (size_t i = 0; i < length; i++)
		if (!isalnum(name->data[i]) && !strchr("_-.", name->data[i]))
			return;
	memcpy(told.name, name->data, length);
	told.type = (uint8_t)MIN(type, DECODE_LIST);
	if (l && !strcmp(l->name, told.name) && l->type == told.type)
		return;
	/* Each makes all templates look again, so that who changes them without end would be slow to read. */
	if ((l && names->renames >= DECODE_RENAMES_MAX) ||
	    (!l && names->count >= DECODE_TYPES_MAX) || is_taken(names, told.name))
		return;
	if (!names->list)
		names->list = calloc(DECODE_TYPES_MAX, sizeof(*names->list));
	if (!names->list)
		return;
	names->renames += l != NULL;
	*(l ? l : &names->list[names->count++]) = told;
	names->version++;
}

int decode_names_new(struct decode_names **ret)
{
	struct decode_names *names = calloc(1, sizeof(*names));

	if (!names)
		return -ENOMEM;
	*ret = names;
	return 0;
}

struct decode_names *decode_names_free(struct decode_names *names)
{
	free(names->list);
	free(names);
	return NULL;
}
