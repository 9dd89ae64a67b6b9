/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Collector URLs. */
#include <stdint.h>

#define URL_HOST_MAX 253 /* octets of a DNS name */
#define URL_WHY_MAX  200

enum url_scheme {
	URL_IPFIX, /* ipfix://host[:port], UDP */
	URL_FILE,  /* file:///path */
	URL_JSON,  /* json:///path, or json:- with an empty path: standard output */
};

struct collector_url {
	const char *text; /* the URL itself */
	enum url_scheme scheme;
	char host[URL_HOST_MAX + 1]; /* name or address, without the brackets of IPv6 */
	uint16_t port;
	const char *path; /* absolute; points into the URL */
};

/* -EINVAL when the URL is none: `why` says then in a few words what is wrong with it. */
int url_parse(const char *url, struct collector_url *ret, char why[URL_WHY_MAX]);
