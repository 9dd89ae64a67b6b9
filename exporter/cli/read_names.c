/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "exporter/cli/read_names.h"
#include "exporter/export/format/wire.h"

#define SLOTS (2u * READ_NAMES_MAX) /* so that one is always free */

#define ID_INGRESS_INTERFACE 10
#define ID_EGRESS_INTERFACE  14
#define ID_INTERFACE_NAME    82
#define V9_SCOPE_INTERFACE   2

struct name {
	struct {
		uint32_t domain, ifindex;
	} key;
	char text[VIEW_NAME_MAX]; /* empty: the slot is free */
};

struct read_names {
	unsigned int count;
	struct name slots[SLOTS];
};

int read_names_new(struct read_names **ret)
{
	struct read_names *names = calloc(1, sizeof(*names));

	if (!names)
		return -ENOMEM;
	*ret = names;
	return 0;
}

struct read_names *read_names_free(struct read_names *names)
{
	free(names);
	return NULL;
}

void read_names_forget(struct read_names *names)
{
	if (names->count)
		memset(names, 0, sizeof(*names));
}

/* Where the interface is, or the free slot where it would be. */
static const struct name *find(const struct read_names *names, uint32_t domain, uint32_t ifindex)
{
	const uint32_t key[] = {domain, ifindex};
	size_t i = XXH3_64bits(key, sizeof(key)) % SLOTS;

	while (*names->slots[i].text &&
	       (names->slots[i].key.domain != domain || names->slots[i].key.ifindex != ifindex))
		i = (i + 1) % SLOTS;
	return &names->slots[i];
}

static bool is_interface(const struct decode_record *record, const struct decode_element *e)
{
	if (e->pen)
		return false;
	if (record->version == 9 && e->scope)
		return e->id == V9_SCOPE_INTERFACE;
	return e->id == ID_INGRESS_INTERFACE || e->id == ID_EGRESS_INTERFACE;
}

static uint32_t number_of(const struct decode_value *value)
{
	return value->length >= 1 && value->length <= 4
		       ? (uint32_t)wire_load(value->data, value->length)
		       : 0;
}

void read_names_learn(struct read_names *names, const struct decode_record *options)
{
	const struct decode_value *text = NULL;
	uint32_t ifindex = 0;
	struct name *name;

	for (unsigned int i = 0; i < options->count; i++) {
		const struct decode_element *e = &options->elements[i];

		if (is_interface(options, e) && number_of(&options->values[i]))
			ifindex = number_of(&options->values[i]);
		else if (!e->pen && !e->scope && e->id == ID_INTERFACE_NAME)
			text = &options->values[i];
	}
	if (!ifindex || !text || !strnlen((const char *)text->data, text->length))
		return;
	name = (struct name *)find(names, options->domain, ifindex);
	if (!*name->text) {
		if (names->count == READ_NAMES_MAX)
			return;
		names->count++;
		name->key.domain = options->domain;
		name->key.ifindex = ifindex;
	}
	snprintf(name->text, sizeof(name->text), "%.*s", (int)text->length,
		 (const char *)text->data);
}

void read_names_apply(const struct read_names *names, uint32_t domain, struct record_view *view)
{
	if (view->ifindex && !*view->interface)
		snprintf(view->interface, sizeof(view->interface), "%s",
			 find(names, domain, view->ifindex)->text);
}
