/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include "exporter/export/format/decode_json.h"
#include "exporter/export/format/utf8.h"
#include "exporter/export/format/wire.h"
#include "exporter/meter/drop_reason.h"

#define NTP_1970 2208988800ull /* s from 1900 */

#define ID_END_UPTIME	  21
#define ID_START_UPTIME	  22
#define ID_PADDING_OCTETS 210

static void put_hex(const struct decode_value *v, FILE *file)
{
	putc('"', file);
	for (unsigned int i = 0; i < v->length; i++)
		fprintf(file, "%02x", v->data[i]);
	putc('"', file);
}

/*
 * The character there where it steers a terminal (C0, DEL, C1) or the direction of the text around it (Unicode's bidirectional
 * controls); 0: it does neither.  *ret_octets is its length in UTF-8.
 */
static unsigned int find_control(const uint8_t *text, size_t length, size_t *ret_octets)
{
	unsigned int character;

	*ret_octets = 1;
	if (*text < 0x20 || *text == 0x7f)
		return *text;
	if (length >= 2 && text[0] == 0xc2 && text[1] < 0xa0) {
		*ret_octets = 2;
		return text[1];
	}
	if (length < 3 || text[0] != 0xe2)
		return 0;
	character = 0x2000u | (text[1] & 0x3fu) << 6 | (text[2] & 0x3fu);
	*ret_octets = 3;
	return character == 0x200e || character == 0x200f ||
			       (character >= 0x202a && character <= 0x202e) ||
			       (character >= 0x2066 && character <= 0x2069)
		       ? character
		       : 0;
}

/* Up to the first NUL, with which strings of a fixed length are filled. */
static void put_string(const struct decode_value *v, FILE *file)
{
	size_t length = strnlen((const char *)v->data, v->length);
	_cleanup_(freep) char *text = calloc(1, length + 1);
	_cleanup_(freep) uint8_t *good = malloc(length + 1);

	if (!text || !good)
		return (void)fputs("null", file);
	memcpy(text, v->data, length);
	utf8_copy(good, text, length);
	putc('"', file);
	for (size_t i = 0, octets; i < length; i += octets) {
		unsigned int control = find_control(good + i, length - i, &octets);

		if (control) {
			fprintf(file, "\\u%04x", control);
			continue;
		}
		if (good[i] == '"' || good[i] == '\\')
			putc('\\', file);
		fwrite(good + i, 1, octets, file);
	}
	putc('"', file);
}

static void put_signed(const struct decode_value *v, FILE *file)
{
	unsigned int shift = 64 - 8u * v->length;

	fprintf(file, "%" PRId64, (int64_t)(wire_load(v->data, v->length) << shift) >> shift);
}

static void put_float(const struct decode_value *v, FILE *file)
{
	uint64_t bits = wire_load(v->data, v->length);
	uint32_t bits32 = (uint32_t)bits;
	float single;
	double number;

	memcpy(&single, &bits32, sizeof(single));
	memcpy(&number, &bits, sizeof(number));
	if (v->length == 4)
		number = (double)single;
	if (isfinite(number))
		fprintf(file, "%.*g", v->length == 4 ? 9 : 17, number);
	else
		fputs("null", file);
}

/* Units of 1/scale s since 1970; before that: 0. */
static void put_ntp(const struct decode_value *v, uint64_t scale, FILE *file)
{
	uint64_t s = wire_load32(v->data), fraction = wire_load32(v->data + 4);

	s = s > NTP_1970 ? s - NTP_1970 : 0;
	fprintf(file, "%" PRIu64, s * scale + (fraction * scale >> 32));
}

static void put_address(const struct decode_value *v, int family, FILE *file)
{
	char text[INET6_ADDRSTRLEN];

	fprintf(file, "\"%s\"", inet_ntop(family, v->data, text, sizeof(text)));
}

/* Whether values of the type can have this length; integers may be reduced (RFC 7011 section 6.2). */
static bool is_length(uint8_t type, uint16_t length)
{
	static const uint8_t most[] = {
		[DECODE_U8] = 8,   [DECODE_U16] = 8,  [DECODE_U32] = 8,	 [DECODE_U64] = 8,
		[DECODE_S8] = 8,   [DECODE_S16] = 8,  [DECODE_S32] = 8,	 [DECODE_S64] = 8,
		[DECODE_BOOL] = 1, [DECODE_MAC] = 6,  [DECODE_SEC] = 4,	 [DECODE_MSEC] = 8,
		[DECODE_USEC] = 8, [DECODE_NSEC] = 8, [DECODE_IPV4] = 4, [DECODE_IPV6] = 16,
	};

	if (type == DECODE_STRING)
		return true;
	if (type == DECODE_F32 || type == DECODE_F64)
		return length == 4 || length == 8;
	if (type >= ARRAY_SIZE(most) || !most[type])
		return false;
	if (type >= DECODE_U8 && type <= DECODE_S64)
		return length >= 1 && length <= 8;
	return length == most[type];
}

static void put_bool(const struct decode_value *v, FILE *file)
{
	if (*v->data == 1 || *v->data == 2) /* RFC 7011 section 6.1.5 */
		fputs(*v->data == 1 ? "true" : "false", file);
	else
		fprintf(file, "%u", *v->data);
}

static void put_number(const struct decode_value *v, bool quote, FILE *file)
{
	uint64_t number = wire_load(v->data, v->length);

	fprintf(file, quote && number > INT64_MAX ? "\"%" PRIu64 "\"" : "%" PRIu64, number);
}

static void put_value(uint8_t type, const struct decode_value *v, bool quote, FILE *file)
{
	if (!is_length(type, v->length))
		return put_hex(v, file);
	if (type == DECODE_STRING)
		put_string(v, file);
	else if (type == DECODE_IPV4 || type == DECODE_IPV6)
		put_address(v, type == DECODE_IPV4 ? AF_INET : AF_INET6, file);
	else if (type == DECODE_MAC)
		fprintf(file, "\"%02x:%02x:%02x:%02x:%02x:%02x\"", v->data[0], v->data[1],
			v->data[2], v->data[3], v->data[4], v->data[5]);
	else if (type == DECODE_F32 || type == DECODE_F64)
		put_float(v, file);
	else if (type >= DECODE_S8 && type <= DECODE_S64)
		put_signed(v, file);
	else if (type == DECODE_BOOL)
		put_bool(v, file);
	else if (type == DECODE_USEC || type == DECODE_NSEC)
		put_ntp(v, type == DECODE_USEC ? 1000000 : NSEC_PER_SEC, file);
	else
		put_number(v, quote, file);
}

/* When a system came up is the time of export without its uptime (RFC 3954 section 5.1). */
static bool put_uptime(const struct decode_record *r, unsigned int i, FILE *file)
{
	const struct decode_element *e = &r->elements[i];
	int32_t before;

	if (r->version != 9 || e->scope || e->pen || r->values[i].length != 4 ||
	    (e->id != ID_START_UPTIME && e->id != ID_END_UPTIME))
		return false;
	before = (int32_t)(r->uptime_ms - wire_load32(r->values[i].data));
	fprintf(file, "\"%s\":%" PRId64,
		e->id == ID_START_UPTIME ? "flowStartMilliseconds" : "flowEndMilliseconds",
		(int64_t)r->export_time * 1000 - before);
	return true;
}

/* What collectors `json:` are told of drops besides. */
static void put_drop(const struct decode_record *r, FILE *file)
{
	char name[DECODE_NAME_MAX];
	const struct drop_reason *reason;

	for (unsigned int i = 0; i < r->count; i++) {
		if (!r->elements[i].pen || strcmp(r->elements[i].name, "dropReasonName") != 0)
			continue;
		snprintf(name, sizeof(name), "%.*s",
			 (int)MIN(r->values[i].length, sizeof(name) - 1),
			 (const char *)r->values[i].data);
		reason = drop_reason_text(name);
		if (reason)
			fprintf(file, ",\"dropClass\":\"%s\",\"dropExplanation\":\"%s\"",
				drop_class_name(reason->class), reason->explanation);
		return;
	}
}

void decode_json(const struct decode_record *r, bool quote, FILE *file)
{
	bool first = true;

	putc('{', file);
	for (unsigned int i = 0; i < r->count; i++) {
		const struct decode_element *e = &r->elements[i];

		if (!e->pen && !e->scope && e->id == ID_PADDING_OCTETS)
			continue;
		if (!first)
			putc(',', file);
		first = false;
		if (put_uptime(r, i, file))
			continue;
		if (e->repeat)
			fprintf(file, "\"%s.%u\":", e->name, e->repeat + 1u);
		else
			fprintf(file, "\"%s\":", e->name);
		put_value(e->type, &r->values[i], quote, file);
	}
	put_drop(r, file);
	putc('}', file);
}
