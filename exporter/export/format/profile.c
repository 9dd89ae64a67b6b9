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
#define HASHED_TOGETHER 2u

static const struct {
	const char *name;
	enum template_symbol templates[_FAMILY_FLOW_MAX];
} named[] = {
	{"default", {TEMPLATE_IPV4, TEMPLATE_IPV6}},
	{"minimal", {TEMPLATE_MINIMAL_IPV4, TEMPLATE_MINIMAL_IPV6}},
	{"extended", {TEMPLATE_EXTENDED_IPV4, TEMPLATE_EXTENDED_IPV6}},
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
		const struct field *other = &flow_fields[l->fields[i]];

		if (other->id == flow_fields[symbol].id && other->pen == flow_fields[symbol].pen) {
			wrong(l, "%s is there twice", other->name);
			return;
		}
	}
	l->fields[l->count++] = symbol;
}

/* Only a drop has these. */
static bool is_of_drops(enum field_symbol symbol)
{
	return symbol == FIELD_DROPPED_OCTETS || symbol == FIELD_DROPPED_PACKETS ||
	       symbol == FIELD_FORWARDING_STATUS || symbol == FIELD_DROP_REASON ||
	       symbol == FIELD_DROP_REASON_NAME;
}

/* What may have been meant; a profile only where it would stand alone. */
static void guess_name(struct list *l, const char *name, size_t size)
{
	char word[64], hint[VALUE_HINT_MAX];
	struct value_guess guess = {0};

	snprintf(word, sizeof(word), "%.*s", (int)size, name);
	for (unsigned int i = 0; i < _FIELD_MAX; i++)
		if (!is_of_drops((enum field_symbol)i))
			value_guess_offer(&guess, word, flow_fields[i].name);
	for (size_t i = 0; l->alone && i < ARRAY_SIZE(named); i++)
		value_guess_offer(&guess, word, named[i].name);
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

		if (strlen(field->name) != length || memcmp(field->name, name, length) != 0)
			continue;
		if (is_of_drops((enum field_symbol)i)) {
			wrong(l, "%s is of records of drops, which are the same in all profiles",
			      field->name);
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
static bool must_precede(const struct field *first, const struct field *second)
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
			const struct field *a = &flow_fields[l->fields[i]];
			const struct field *b = &flow_fields[l->fields[j]];

			if (must_precede(b, a))
				wrong(l, "%s must stand before %s, or some collectors misread them",
				      b->name, a->name);
		}
	}
}

/* --- Templates */

static bool is_of_family(enum field_symbol symbol, enum flow_family family)
{
	switch (symbol) {
	case FIELD_SRC_IPV4:
	case FIELD_DST_IPV4:
	case FIELD_ICMP_IPV4:
		return family == FAMILY_IPV4;
	case FIELD_SRC_IPV6:
	case FIELD_DST_IPV6:
	case FIELD_ICMP_IPV6:
	case FIELD_FLOW_LABEL:
		return family == FAMILY_IPV6;
	default:
		return true;
	}
}

static bool has_own(const struct flow_template *t)
{
	for (unsigned int i = 0; i < t->count; i++)
		if (flow_fields[t->fields[i]].pen)
			return true;
	return false;
}

/* A layout has always the same id, and another one another id, as far as a hash can tell. */
static void hash_ids(struct profile *p, enum flow_family first)
{
	XXH64_hash_t hash = p->enterprise;

	for (unsigned int i = 0; i < HASHED_TOGETHER; i++) {
		const struct flow_template *t = &p->templates[first + i];

		for (unsigned int j = 0; j < t->count; j++) {
			const struct field *field = &flow_fields[t->fields[j]];
			uint32_t specifier[] = {field->id, field->length, field->pen};

			hash = XXH3_64bits_withSeed(specifier, sizeof(specifier), hash);
		}
		hash++;
	}
	for (unsigned int i = 0; i < HASHED_TOGETHER; i++)
		p->templates[first + i].id =
			(uint16_t)(HASHED_ID_MIN + HASHED_TOGETHER * (hash % HASHED_ID_PAIRS) + i);
}

static void make_templates(struct list *l)
{
	static const char *const texts[] = {"flows of IPv4, chosen", "flows of IPv6, chosen"};

	for (unsigned int family = 0; family < _FAMILY_FLOW_MAX; family++) {
		struct flow_template *t = &l->profile->templates[family];

		*t = (struct flow_template){
			.text = texts[family],
			.fields = l->profile->fields[family],
			.encode = {[PROTOCOL_IPFIX] = encode_ipfix,
				   [PROTOCOL_NETFLOW9] = encode_netflow9},
		};
		for (unsigned int i = 0; i < l->count; i++) {
			if (!is_of_family(l->fields[i], (enum flow_family)family))
				continue;
			l->profile->fields[family][t->count++] = l->fields[i];
			for (unsigned int p = 0; p < _PROTOCOL_MAX; p++)
				t->length[p] += field_length(&flow_fields[l->fields[i]],
							     (enum protocol_id)p);
		}
		for (unsigned int p = 0; p < _PROTOCOL_MAX; p++)
			if (!t->length[p] && !l->errors)
				wrong(l, "nothing is left for %s in %s",
				      family == FAMILY_IPV6 ? "IPv6" : "IPv4",
				      p == PROTOCOL_IPFIX ? "IPFIX" : "NetFlow v9");
	}
	hash_ids(l->profile, FAMILY_IPV4);
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
	make_templates(l);
}

static bool take_named(struct profile *p, const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(named); i++) {
		if (strcmp(named[i].name, text) != 0)
			continue;
		for (unsigned int family = 0; family < _FAMILY_FLOW_MAX; family++)
			p->templates[family] = flow_templates[named[i].templates[family]];
		if (p->enterprise != ENTERPRISE_DEFAULT && has_own(&p->templates[FAMILY_IPV4]))
			hash_ids(p, FAMILY_IPV4);
		return true;
	}
	return false;
}

int profile_new(struct profile **ret, const char *text, uint32_t enterprise, bool drops,
		char why[PROFILE_WHY_MAX])
{
	_cleanup_(profile_freep) struct profile *p = calloc(1, sizeof(*p));
	struct list list = {.profile = p, .why = why};

	if (!p)
		return -ENOMEM;
	p->enterprise = enterprise;
	if (!take_named(p, text))
		read_list(&list, text);
	if (list.errors)
		return -EINVAL;
	p->families = drops ? _FAMILY_MAX : _FAMILY_FLOW_MAX;
	p->templates[FAMILY_DROP_IPV4] = flow_templates[TEMPLATE_DROP_IPV4];
	p->templates[FAMILY_DROP_IPV6] = flow_templates[TEMPLATE_DROP_IPV6];
	if (enterprise != ENTERPRISE_DEFAULT)
		hash_ids(p, FAMILY_DROP_IPV4);
	*ret = TAKE_PTR(p);
	return 0;
}

bool profile_equal(const struct profile *a, const struct profile *b)
{
	if (a->enterprise != b->enterprise || a->families != b->families)
		return false;
	for (unsigned int i = 0; i < a->families; i++) {
		const struct flow_template *s = &a->templates[i], *t = &b->templates[i];

		/* Ids are of layouts, as far as a hash can tell. */
		if (s->id != t->id || s->count != t->count ||
		    memcmp(s->fields, t->fields, s->count * sizeof(*s->fields)) != 0)
			return false;
	}
	return true;
}

void profile_renumber(struct profile *p)
{
	unsigned int pair =
		p->templates[FAMILY_IPV4].id < HASHED_ID_MIN
			? 0
			: (p->templates[FAMILY_IPV4].id - HASHED_ID_MIN) / HASHED_TOGETHER + 1;

	for (unsigned int i = 0; i < HASHED_TOGETHER; i++)
		p->templates[FAMILY_IPV4 + i].id =
			(uint16_t)(HASHED_ID_MIN + HASHED_TOGETHER * (pair % HASHED_ID_PAIRS) + i);
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
