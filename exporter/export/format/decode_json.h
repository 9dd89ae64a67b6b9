/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A record of any exporter as an object of JSON on one line, without its end: elements by name in the order of the
 * template, octet by octet as collectors `json:` get flowtally's own records.  The n-th of a name is NAME.n, from 2.
 * What is not known, or has a length that its type cannot have, is hex octets; so are lists and octetArray.  Times
 * are numbers since 1970 in the unit of the type; flowStartSysUpTime and flowEndSysUpTime of NetFlow v9 become
 * flowStartMilliseconds and flowEndMilliseconds.  `quote`: numbers beyond 63 bits are strings, for readers such as jansson
 * that refuse them.
 */
#include <stdio.h>
#include "exporter/export/format/decode.h"

void decode_json(const struct decode_record *record, bool quote, FILE *file);
