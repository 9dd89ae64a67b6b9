/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include "exporter/export/format/decode_json.h"
#include "exporter/export/format/utf8.h"
#include "exporter/export/format/wire.h"
#include "exporter/meter/drop_reason.h"

#define NTP_1970	 UINT64_C(2208988800) /* s from 1900 */
#define NTP_ERA_BEGIN	 (1u << 31)	      /* s */
#define NTP_MICRO_UNUSED UINT64_C(0x7ff)

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

/* Up to the first NUL, with which strings of a fixed length are filled. */
static void put_string(const struct decode_value *v, FILE *file)
{
	size_t length = strnlen((const char *)v->data, v->length);
	_cleanup_(freep) char *text = calloc(1, length + 1);
	_cleanup_(freep) uint8_t *good = malloc(length + 1);
	_cleanup_(freep) char *out = malloc(UTF8_JSON_MAX * length + 1);

	if (!text || !good || !out)
		return (void)fputs("null", file);
	memcpy(text, v->data, length);
	utf8_copy(good, text, length);
	putc('"', file);
	fwrite(out, 1, (size_t)(utf8_put_json(out, good, length) - out), file);
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

/*
 * Units of 1/scale s since 1970, the nearest one: exporters cut fractions of 2^-32 s, and the least 11 bits of microseconds,
 * 0.48 us, are ignored (RFC 7011 section 6.1.9).  Seconds below 2^31 are those after 2036 (RFC 4330 section 3).  No time, and
 * one before 1970, are 0.
 */
static void put_ntp(const struct decode_value *v, uint64_t scale, FILE *file)
{
	uint64_t s = wire_load32(v->data), fraction = wire_load32(v->data + 4);

	if (s < NTP_ERA_BEGIN && (s || fraction))
		s += UINT64_C(1) << 32;
	if (s < NTP_1970)
		return (void)putc('0', file);
	if (scale == 1000000)
		fraction &= ~NTP_MICRO_UNUSED;
	fraction = (fraction * scale + (1u << 31)) >> 32;
	fprintf(file, "%" PRIu64, (s - NTP_1970) * scale + fraction);
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
