/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Options templates and the records that go with them (RFC 7011 3.4.2 and 4, RFC 5476, RFC 5610). */
#include "exporter/export/format/protocol.h"

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

/* The values of one record, by element; a string may be NULL. */
struct option_values {
	uint64_t number[_ELEMENT_MAX];
	const char *string[_ELEMENT_MAX];
	uint64_t last_ms; /* the second observationTimeMilliseconds, when there are two */
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
