/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A record as one line of JSON, with the names of the information elements as keys. */
#include "exporter/export/format/fields.h"

#define JSON_LINE_MAX 8192

/*
 * Writes an IPFIX record of this template as an object and a newline; no '\0'.  Addresses are strings, all
 * else integers (times: ms since 1970).  `drop` (NULL: the record is of a flow) adds dropClass and
 * dropExplanation.  Returns the octets written.
 */
size_t json_record(char out[JSON_LINE_MAX], const struct flow_template *template,
		   const uint8_t *record, const struct drop_reason *drop);
