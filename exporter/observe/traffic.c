/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/traffic.h"
#include <errno.h>
#include <string.h>

struct traffic {
	uint64_t packets[_RECORD_KIND_MAX];
	uint64_t octets[_RECORD_KIND_MAX];
};

int traffic_new(struct traffic **ret)
{
	struct traffic *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	*ret = t;
	return 0;
}

struct traffic *traffic_free(struct traffic *t)
{
	free(t);
	return NULL;
}

void traffic_add(struct traffic *t, enum record_kind kind, _unused_ const struct flow_key *key,
		 const struct flow_record *delta)
{
	t->packets[kind] += delta->packets;
	t->octets[kind] += delta->octets;
}

int traffic_copy(struct traffic **ret, const struct traffic *from)
{
	struct traffic *t = malloc(sizeof(*t));

	if (!t)
		return -ENOMEM;
	*t = *from;
	*ret = t;
	return 0;
}
