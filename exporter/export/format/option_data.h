/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Options templates and the records that go with them (RFC 7011 3.4.2 and 4, RFC 5476, RFC 5610). */
#include "exporter/export/format/protocol.h"

#define OPTION_INTERFACE_NAME_MAX 16 /* octets on the wire, as IFNAMSIZ */
#define OPTION_INTERFACE_TEXT_MAX 64

/* Where the value of a field comes from. */
enum option_value {
	OPTION_DOMAIN,
	OPTION_PROCESS, /* id of the metering process, or of the exporting one */
	OPTION_SAMPLING_INTERVAL,
	OPTION_SELECTOR,
	OPTION_SELECTOR_ALGORITHM,
	OPTION_SAMPLED,
	OPTION_SPACE,
	OPTION_IFINDEX,
	OPTION_IFNAME, /* string */
	OPTION_IFTEXT, /* string */
	OPTION_MESSAGES,
	OPTION_RECORDS,
	OPTION_OCTETS,
	OPTION_PACKETS,
	OPTION_FIRST_MS,
	OPTION_LAST_MS,
	OPTION_TEMPLATE,
	OPTION_KEYS,
	OPTION_ENTERPRISE,
	OPTION_ELEMENT,
	OPTION_TYPE,
	OPTION_SEMANTICS,
	OPTION_UNITS,
	OPTION_NAME, /* string of variable length */
	_OPTION_VALUE_MAX,
};

enum option_template_symbol {
	OPTIONS_SAMPLING,
	OPTIONS_SELECTOR,
	OPTIONS_INTERFACES,
	OPTIONS_METERING_STATISTICS,
	OPTIONS_METERING_RELIABILITY,
	OPTIONS_EXPORTING_RELIABILITY,
	OPTIONS_FLOW_KEYS,
	OPTIONS_TYPES,
	_OPTIONS_MAX,
};

/* The values of one record; numbers and strings by enum option_value. */
struct option_values {
	uint64_t number[_OPTION_VALUE_MAX];
	const char *string[_OPTION_VALUE_MAX];
};

/* False when the protocol has no such template. */
bool option_exists(enum option_template_symbol t, const struct protocol *p);

/* The set of the template. */
void option_put_template(struct wire *w, enum option_template_symbol t, const struct protocol *p);

/* One record, which belongs into a set of option_template_id(). */
void option_put_record(struct wire *w, enum option_template_symbol t, const struct protocol *p,
		       const struct option_values *values);
uint16_t option_template_id(enum option_template_symbol t);

/* Octets of a record, at most. */
unsigned int option_record_max(enum option_template_symbol t, const struct protocol *p);

/* A set from its header to its end, which pads and notes the length. */
uint8_t *set_begin(struct wire *w, uint16_t id);
void set_end(struct wire *w, uint8_t *begin, const struct protocol *p);
