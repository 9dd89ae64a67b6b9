/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <xxhash.h>
#include "exporter/export/format/profile.h"
#include "exporter/value.h"

/* Template ids of layouts that have no id of their own: two in a row, chosen by the layout. */
#define HASHED_ID_MIN	1024u
#define HASHED_ID_PAIRS 32000u

static const char *const profile_names[_PROFILE_NAME_MAX] = {
	[PROFILE_DEFAULT] = "default",
	[PROFILE_MINIMAL] = "minimal",
	[PROFILE_EXTENDED] = "extended",
};

/* A list being read. */
struct list {
	struct profile *profile;
	enum field_symbol fields[_FIELD_MAX];
	unsigned int count;
	char *why;
	size_t used;
	unsigned int errors;
	bool alone; /* it is a single name */
};

_printf_(2, 3) static void wrong(struct list *l, const char *format, ...)
{
	va_list args;

	l->errors++;
	if (!l->why || l->used >= PROFILE_WHY_MAX - 1)
		return;
	if (l->errors > 1)
		l->used += (size_t)snprintf(l->why + l->used, PROFILE_WHY_MAX - l->used, "; ");
	if (l->used >= PROFILE_WHY_MAX - 1)
		return;
	va_start(args, format);
	l->used += (size_t)vsnprintf(l->why + l->used, PROFILE_WHY_MAX - l->used, format, args);
	va_end(args);
}

/* --- Names */

static void add_field(struct list *l, enum field_symbol symbol)
{
	for (unsigned int i = 0; i < l->count; i++) {
		const struct element *other = flow_fields[l->fields[i]].element;

		if (other == flow_fields[symbol].element) {
			wrong(l, "%s is there twice", other->name);
			return;
		}
	}
	l->fields[l->count++] = symbol;
}

/* Records whose fields are chosen can have it. */
static bool can_choose(const struct field *field)
{
	for (unsigned int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		if (record_formats[kind].chosen && field->kinds >> kind & 1)
			return true;
	return false;
}

/* What may have been meant; a profile only where it would stand alone. */
static void guess_name(struct list *l, const char *name, size_t size)
{
	char word[64], hint[VALUE_HINT_MAX];
	struct value_guess guess = {0};

	snprintf(word, sizeof(word), "%.*s", (int)size, name);
	for (unsigned int i = 0; i < _FIELD_MAX; i++)
		if (can_choose(&flow_fields[i]))
			value_guess_offer(&guess, word, flow_fields[i].element->name);
	for (size_t i = 0; l->alone && i < ARRAY_SIZE(profile_names); i++)
		value_guess_offer(&guess, word, profile_names[i]);
	wrong(l, "'%.*s' is no element that is metered, docs/fields.md lists them%s",
	      (int)MIN(size, 40u), name, value_guess_hint(&guess, hint));
}

/* The element of that name, with that length unless it is 0. */
static void read_name(struct list *l, const char *name, size_t size)
{
	size_t length = strcspn(name, ":,");
	unsigned long octets = 0;
	bool known = false;

	if (name[MIN(length, size)] == ':' && length < size)
		octets = strtoul(name + length + 1, NULL, 10);
	length = MIN(length, size);
	for (unsigned int i = 0; i < _FIELD_MAX; i++) {
		const struct field *field = &flow_fields[i];

		if (strlen(field->element->name) != length ||
		    memcmp(field->element->name, name, length) != 0)
			continue;
		if (!can_choose(field)) {
			wrong(l, "%s is of records of drops, which are the same in all profiles",
			      field->element->name);
			return;
		}
		known = true;
		if (length < size && field->length != octets)
			continue;
		add_field(l, (enum field_symbol)i);
		return;
	}
	if (known)
		wrong(l, "'%.*s': there is no such length of %.*s", (int)size, name, (int)length,
		      name);
	else
		guess_name(l, name, size);
}

/* --- Order */

/* Collectors that take the last of two elements for one thing read right what is in this order. */
static bool must_precede(const struct element *first, const struct element *second)
{
	bool icmp = first->id == 32 || first->id == 139;
	bool port = second->id == 7 || second->id == 11;

	if (first->pen || second->pen)
		return second->pen && !first->pen;
	return icmp && port;
}

static void check_order(struct list *l)
{
	for (unsigned int i = 0; i < l->count; i++) {
		for (unsigned int j = i + 1; j < l->count; j++) {
			const struct element *a = flow_fields[l->fields[i]].element;
			const struct element *b = flow_fields[l->fields[j]].element;

			if (must_precede(b, a))
				wrong(l, "%s must stand before %s, or some collectors misread them",
				      b->name, a->name);
		}
	}
}

/* --- Templates */

static bool has_own(const struct flow_template *t)
{
	for (unsigned int i = 0; i < t->count; i++)
		if (flow_fields[t->fields[i]].element->pen)
			return true;
	return false;
}

/* A layout has always the same id, and another one another id, as far as a hash can tell. */
static void hash_ids(struct profile *p, enum record_kind kind)
{
	struct flow_template *templates = &p->templates[template_index(kind, FAMILY_IPV4)];
	XXH64_hash_t hash = p->enterprise;

	for (unsigned int family = 0; family < _FAMILY_MAX; family++) {
		const struct flow_template *t = &templates[family];

		for (unsigned int i = 0; i < t->count; i++) {
			const struct field *field = &flow_fields[t->fields[i]];
			uint32_t specifier[] = {field->element->id, field->length,
						field->element->pen};

			hash = XXH3_64bits_withSeed(specifier, sizeof(specifier), hash);
		}
		hash++;
	}
	for (unsigned int family = 0; family < _FAMILY_MAX; family++)
		templates[family].id =
			(uint16_t)(HASHED_ID_MIN + _FAMILY_MAX * (hash % HASHED_ID_PAIRS) + family);
}

static void make_template(struct list *l, enum record_kind kind, enum record_family family)
{
	static const char *const texts[] = {"records of IPv4, chosen", "records of IPv6, chosen"};
	unsigned int index = template_index(kind, family);
	struct flow_template *t = &l->profile->templates[index];
	enum field_symbol *fields = l->profile->fields[index];
	unsigned int count = 0;

	for (unsigned int i = 0; i < l->count; i++) {
		const struct field *field = &flow_fields[l->fields[i]];

		if (field->kinds >> kind & 1 && field->families >> family & 1)
			fields[count++] = l->fields[i];
	}
	*t = template_of(fields, count);
	t->text = texts[family];
	for (unsigned int p = 0; p < _PROTOCOL_MAX; p++)
		if (!t->length[p] && !l->errors)
			wrong(l, "nothing is left for %s in %s",
			      family == FAMILY_IPV6 ? "IPv6" : "IPv4",
			      p == PROTOCOL_IPFIX ? "IPFIX" : "NetFlow v9");
}

/* The templates of a kind as the profile has them. */
static void take_templates(struct profile *p, enum record_kind kind, enum profile_name name)
{
	const enum template_symbol *symbols = record_formats[kind].templates[name];

	for (unsigned int family = 0; family < _FAMILY_MAX; family++)
		p->templates[template_index(kind, (enum record_family)family)] =
			flow_templates[symbols[family]];
	if (p->enterprise != ENTERPRISE_DEFAULT &&
	    has_own(&p->templates[template_index(kind, FAMILY_IPV4)]))
		hash_ids(p, kind);
}

static void read_list(struct list *l, const char *text)
{
	l->alone = !strchr(text, ',');
	for (;;) {
		size_t size = strcspn(text, ",");

		read_name(l, text, size);
		if (!text[size])
			break;
		text += size + 1;
	}
	check_order(l);
	for (unsigned int kind = 0; kind < _RECORD_KIND_MAX; kind++) {
		if (!record_formats[kind].chosen) {
			take_templates(l->profile, (enum record_kind)kind, PROFILE_DEFAULT);
			continue;
		}
		for (unsigned int family = 0; family < _FAMILY_MAX; family++)
			make_template(l, (enum record_kind)kind, (enum record_family)family);
		hash_ids(l->profile, (enum record_kind)kind);
	}
}

static bool take_named(struct profile *p, const char *text)
{
	for (unsigned int name = 0; name < _PROFILE_NAME_MAX; name++) {
		if (strcmp(profile_names[name], text) != 0)
			continue;
		for (unsigned int kind = 0; kind < _RECORD_KIND_MAX; kind++)
			take_templates(p, (enum record_kind)kind, (enum profile_name)name);
		return true;
	}
	return false;
}

int profile_new(struct profile **ret, const char *text, uint32_t enterprise, unsigned int kinds,
		char why[PROFILE_WHY_MAX])
{
	_cleanup_(profile_freep) struct profile *p = calloc(1, sizeof(*p));
	struct list list = {.profile = p, .why = why};

	if (!p)
		return -ENOMEM;
	p->enterprise = enterprise;
	p->kinds = kinds;
	if (!take_named(p, text))
		read_list(&list, text);
	if (list.errors)
		return -EINVAL;
	*ret = TAKE_PTR(p);
	return 0;
}

bool profile_equal(const struct profile *a, const struct profile *b)
{
	if (a->enterprise != b->enterprise || a->kinds != b->kinds)
		return false;
	for (unsigned int i = 0; i < PROFILE_TEMPLATES_MAX; i++) {
		const struct flow_template *s = &a->templates[i], *t = &b->templates[i];

		/* Ids are of layouts, as far as a hash can tell. */
		if (profile_has(a, i) &&
		    (s->id != t->id || s->count != t->count ||
		     memcmp(s->fields, t->fields, s->count * sizeof(*s->fields)) != 0))
			return false;
	}
	return true;
}

void profile_renumber(struct profile *p)
{
	struct flow_template *templates = &p->templates[template_index(RECORD_FLOW, FAMILY_IPV4)];
	unsigned int id = templates[FAMILY_IPV4].id;
	unsigned int pair = id < HASHED_ID_MIN ? 0 : (id - HASHED_ID_MIN) / _FAMILY_MAX + 1;

	for (unsigned int family = 0; family < _FAMILY_MAX; family++)
		templates[family].id =
			(uint16_t)(HASHED_ID_MIN + _FAMILY_MAX * (pair % HASHED_ID_PAIRS) + family);
}

uint64_t template_keys(const struct flow_template *t, enum protocol_id protocol)
{
	unsigned int at = 0;
	uint64_t keys = 0;

	for (unsigned int i = 0; i < t->count; i++) {
		const struct field *field = &flow_fields[t->fields[i]];

		if (!field_length(field, protocol))
			continue;
		keys |= (uint64_t)(field->role == FIELD_ROLE_KEY) << at++;
	}
	return keys;
}

unsigned int template_fields(const struct flow_template *t, enum protocol_id protocol)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < t->count; i++)
		count += field_length(&flow_fields[t->fields[i]], protocol) > 0;
	return count;
}
