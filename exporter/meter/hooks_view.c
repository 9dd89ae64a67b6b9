/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of the interfaces at one moment, for many holders. */
#include <stdlib.h>
#include "exporter/meter/hooks.h"

struct hooks_view *hooks_view_new(size_t count)
{
	struct hooks_view *v = calloc(1, sizeof(*v) + count * sizeof(v->interfaces[0]));

	if (!v)
		return NULL;
	v->holders = 1;
	v->count = count;
	return v;
}

const struct hooks_view *hooks_view_hold(const struct hooks_view *v)
{
	if (v)
		__atomic_add_fetch(&((struct hooks_view *)v)->holders, 1, __ATOMIC_RELAXED);
	return v;
}

const struct hooks_view *hooks_view_release(const struct hooks_view *v)
{
	struct hooks_view *own = (struct hooks_view *)v;

	if (v && __atomic_sub_fetch(&own->holders, 1, __ATOMIC_ACQ_REL) == 0)
		free(own);
	return NULL;
}
