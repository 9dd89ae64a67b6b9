/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A record as one line of JSON, with the names of the information elements as keys. */
#include "exporter/export/format/fields.h"

/* Octets of a record of which a line is made: its strings are cut to have room in that. */
#define JSON_RECORD_MAX 2048
#define JSON_LINE_MAX	20480

/*
 * Writes an IPFIX record of this template, of JSON_RECORD_MAX octets at most, as an object and a newline; no '\0'.
 * Addresses are strings, all other numbers integers (times: ms since 1970).  Strings are escaped as RFC 8259
 * section 7 has it.  `drop` (NULL: the record is of a flow) adds dropClass and dropExplanation.  Returns the
 * octets written.
 */
size_t json_record(char out[JSON_LINE_MAX], const struct flow_template *template,
		   const uint8_t *record, const struct drop_reason *drop);
