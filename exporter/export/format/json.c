/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <inttypes.h>
#include "exporter/export/format/json.h"
#include "exporter/export/format/wire.h"

/* Octets of the longest member: comma, quoted name, colon, quoted IPv6 address. */
#define MEMBER_MAX 128

/* And what is said of a drop. */
#define DROP_MAX 256

static int put_value(char *out, size_t size, const struct field *field, const uint8_t *value)
{
	char text[INET6_ADDRSTRLEN];

	switch (field->type) {
	case FIELD_TYPE_IPV4:
		inet_ntop(AF_INET, value, text, sizeof(text));
		return snprintf(out, size, "\"%s\"", text);
	case FIELD_TYPE_IPV6:
		inet_ntop(AF_INET6, value, text, sizeof(text));
		return snprintf(out, size, "\"%s\"", text);
	case FIELD_TYPE_MAC:
		return snprintf(out, size, "\"%02x:%02x:%02x:%02x:%02x:%02x\"", value[0], value[1],
				value[2], value[3], value[4], value[5]);
	case FIELD_TYPE_STRING:
		return snprintf(out, size, "\"%.*s\"", field->length, (const char *)value);
	case FIELD_TYPE_U8:
	case FIELD_TYPE_U16:
	case FIELD_TYPE_U32:
	case FIELD_TYPE_U64:
	case FIELD_TYPE_MSEC:
		break;
	}
	return snprintf(out, size, "%" PRIu64, wire_load(value, field->length));
}

size_t json_record(char out[JSON_LINE_MAX], const struct flow_template *template,
		   const uint8_t *record, const struct drop_reason *drop)
{
	size_t used = 0;

	for (unsigned int i = 0; i < template->count; i++) {
		const struct field *field = &flow_fields[template->fields[i]];

		used += (size_t)snprintf(out + used, MEMBER_MAX, "%c\"%s\":", i ? ',' : '{',
					 field->name);
		used += (size_t)put_value(out + used, MEMBER_MAX, field, record);
		record += field->length;
	}
	/* The kernel's names are of letters, and the texts need no escapes: a test sees to it. */
	if (drop)
		used += (size_t)snprintf(out + used, DROP_MAX,
					 ",\"dropClass\":\"%s\",\"dropExplanation\":\"%s\"",
					 drop_class_name(drop->class), drop->explanation);
	out[used++] = '}';
	out[used++] = '\n';
	return used;
}

/* What makes the sizes above true. */
_Static_assert(_FIELD_MAX *MEMBER_MAX + DROP_MAX + 2 <= JSON_LINE_MAX, "a line of all fields");

#define FIELD(symbol, pen, id, name, ...) \
	_Static_assert(sizeof(#name) + INET6_ADDRSTRLEN + 6 <= MEMBER_MAX, "a member " #name);
#include "exporter/export/format/fields.def"
