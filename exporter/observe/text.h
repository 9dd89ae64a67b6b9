/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The cells of tables for people.  Each function returns the text it was given, or a constant. */
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <jansson.h>
#include "exporter/util.h"
#include "xdp/flow.h"

#define TEXT_NUMBER_MAX	  16
#define TEXT_ENDPOINT_MAX 64

/* Columns of the longest addresses with their ports. */
#define TEXT_IPV4_WIDTH 21
#define TEXT_IPV6_WIDTH 47

/* Three digits and a decimal unit: "999", "1.23k", "45.6M". */
const char *text_number(char text[TEXT_NUMBER_MAX], double value);

const char *text_protocol(char text[TEXT_NUMBER_MAX], uint8_t protocol);

/*
 * "192.0.2.1:443", "[2001:db8::1]:443"; the destination of ICMP has type/code for a port.  Without blanks.
 * Where that is wider than `width` (15 at least), the end of the address goes.
 */
const char *text_endpoint(char text[TEXT_ENDPOINT_MAX], const struct flow_key *key, bool source,
			  unsigned int width);

/* Its name, its number if it has gone, "-" for 0. */
const char *text_interface(char text[IF_NAMESIZE], uint32_t ifindex);

/*
 * A string of JSON of any octets, of which what is not well-formed is escaped (utf8_escape()); at most TEXT_JSON_MAX of them.
 * In a name a backslash is escaped too, so that names which differ still do.  NULL: no memory.
 */
#define TEXT_JSON_MAX 1024
json_t *text_json(const char *text);
json_t *text_json_name(const char *name);

/* The kernel lets an interface's name have any letters, those that steer a terminal too. */
void text_make_printable(char *text);
