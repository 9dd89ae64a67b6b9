/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Which fields a record has: profiles by name, or a list of element names. */
#include "exporter/export/format/fields.h"

#define PROFILE_WHY_MAX	   600
#define ENTERPRISE_DEFAULT 32473 /* for documentation, RFC 5612 */

/* Two for each record kind. */
#define PROFILE_TEMPLATES_MAX (_RECORD_KIND_MAX * _FAMILY_MAX)

struct profile {
	struct flow_template templates[PROFILE_TEMPLATES_MAX]; /* by template_index() */
	unsigned int kinds;  /* that are exported: bit set of enum record_kind */
	uint32_t enterprise; /* of elements that are our own */
	enum field_symbol fields[PROFILE_TEMPLATES_MAX][_FIELD_MAX]; /* of those that are chosen */
};

static inline unsigned int template_index(enum record_kind kind, enum record_family family)
{
	return kind * _FAMILY_MAX + family;
}

/* Flows, and drops when there are any. */
static inline unsigned int record_kinds(bool drops)
{
	return 1u << RECORD_FLOW | (unsigned int)drops << RECORD_DROP;
}

/* Of the record that is made of this flow. */
static inline unsigned int flow_template_index(const struct flow *f)
{
	return template_index(flow_record_kind(f), flow_is_ipv6(f) ? FAMILY_IPV6 : FAMILY_IPV4);
}

/* Whether that template's records are exported. */
static inline bool profile_has(const struct profile *p, unsigned int template_index)
{
	return p->kinds >> template_index / _FAMILY_MAX & 1;
}

/*
 * `text` is "minimal", "default" or "extended", or names of elements with commas between them, where
 * NAME:OCTETS chooses among several lengths.  Elements of one family are left out of the other's
 * template.  `kinds`: bit set of enum record_kind, those that are exported, RECORD_FLOW among them.  A list chooses the
 * fields of the kinds that say so (record_formats); others have their own templates in all profiles.
 * Errors: -EINVAL (`why`, if not NULL, names all of them), -ENOMEM.
 */
int profile_new(struct profile **ret, const char *text, uint32_t enterprise, unsigned int kinds,
		char why[PROFILE_WHY_MAX]);

static inline struct profile *profile_free(struct profile *p)
{
	free(p);
	return NULL;
}
DEFINE_CLEANUP(struct profile *, profile_free)

/* Same templates, by the same ids. */
bool profile_equal(const struct profile *a, const struct profile *b);

/* The templates of flows get the next two ids, where those they have are taken. */
void profile_renumber(struct profile *p);

/* Bit n: the n-th field of the template in that protocol tells flows apart (flowKeyIndicator). */
uint64_t template_keys(const struct flow_template *t, enum protocol_id protocol);

/* Fields of the template that the protocol has. */
unsigned int template_fields(const struct flow_template *t, enum protocol_id protocol);
