/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Which fields a record has: profiles by name, or a list of element names. */
#include "exporter/export/format/fields.h"

#define PROFILE_WHY_MAX	   600
#define ENTERPRISE_DEFAULT 32473 /* for documentation, RFC 5612 */

struct profile {
	struct flow_template templates[_FAMILY_MAX];
	unsigned int families; /* that are exported: those of flows, or all */
	uint32_t enterprise;   /* of elements that are our own */
	enum field_symbol fields[_FAMILY_FLOW_MAX][_FIELD_MAX];
};

/*
 * `text` is "minimal", "default" or "extended", or names of elements with commas between them, where
 * NAME:OCTETS chooses among several lengths.  Elements of one family are left out of the other's
 * template.  `drops`: records of drops are exported too; their templates are the same in all profiles.
 * Errors: -EINVAL (`why`, if not NULL, names all of them), -ENOMEM.
 */
int profile_new(struct profile **ret, const char *text, uint32_t enterprise, bool drops,
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

static inline enum flow_family flow_family(const struct flow *f)
{
	enum flow_family family = flow_is_ipv6(f) ? FAMILY_IPV6 : FAMILY_IPV4;

	return flow_is_drop(f) ? _FAMILY_FLOW_MAX + family : family;
}

/* Bit n: the n-th field of the template in that protocol tells flows apart (flowKeyIndicator). */
uint64_t template_keys(const struct flow_template *t, enum protocol_id protocol);

/* Fields of the template that the protocol has. */
unsigned int template_fields(const struct flow_template *t, enum protocol_id protocol);
