/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <inttypes.h>
#include "exporter/export/format/json.h"
#include "exporter/export/format/utf8.h"
#include "exporter/export/format/wire.h"

/* Octets of the longest member but for what is in a string: comma, quoted name, colon, quoted IPv6 address. */
#define MEMBER_MAX 128

/* And what is said of a drop. */
#define DROP_MAX 256

/* Quoted; not '\0' at the end. */
static size_t put_string(char *out, const uint8_t *text, size_t length)
{
	char *at = out;

	*at++ = '"';
	at = utf8_put_json(at, text, length);
	*at++ = '"';
	return (size_t)(at - out);
}

static size_t put_value(char *out, size_t size, const struct field *field, const uint8_t *value,
			size_t length)
{
	char text[INET6_ADDRSTRLEN];
	int used = 0;

	switch (field->element->type) {
	case ELEMENT_TYPE_IPV4:
		inet_ntop(AF_INET, value, text, sizeof(text));
		used = snprintf(out, size, "\"%s\"", text);
		break;
	case ELEMENT_TYPE_IPV6:
		inet_ntop(AF_INET6, value, text, sizeof(text));
		used = snprintf(out, size, "\"%s\"", text);
		break;
	case ELEMENT_TYPE_MAC:
		used = snprintf(out, size, "\"%02x:%02x:%02x:%02x:%02x:%02x\"", value[0], value[1],
				value[2], value[3], value[4], value[5]);
		break;
	case ELEMENT_TYPE_STRING:
		return put_string(out, value, length);
	case ELEMENT_TYPE_U8:
	case ELEMENT_TYPE_U16:
	case ELEMENT_TYPE_U32:
	case ELEMENT_TYPE_U64:
	case ELEMENT_TYPE_MSEC:
		used = snprintf(out, size, "%" PRIu64, wire_load(value, (unsigned int)length));
		break;
	}
	return (size_t)used;
}

size_t json_record(char out[JSON_LINE_MAX], const struct flow_template *template,
		   const uint8_t *record, const struct drop_reason *drop)
{
	size_t used = 0;

	for (unsigned int i = 0; i < template->count; i++) {
		const struct field *field = &flow_fields[template->fields[i]];
		size_t prefix, length = value_length(field, record, &prefix);

		used += (size_t)snprintf(out + used, MEMBER_MAX, "%c\"%s\":", i ? ',' : '{',
					 field->element->name);
		used += put_value(out + used, MEMBER_MAX, field, record + prefix, length);
		record += prefix + length;
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
_Static_assert(_FIELD_MAX *MEMBER_MAX + UTF8_JSON_MAX * JSON_RECORD_MAX + DROP_MAX + 2 <=
		       JSON_LINE_MAX,
	       "a line of all fields");
_Static_assert(FLOW_RECORD_MAX <= JSON_RECORD_MAX, "a record with empty strings");

#define ELEMENT(pen, id, name, ...) \
	_Static_assert(sizeof(#name) + INET6_ADDRSTRLEN + 6 <= MEMBER_MAX, "a member " #name);
#include "exporter/export/format/elements.def"
