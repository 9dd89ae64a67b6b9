/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Collector URLs. */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/export/transport/address.h"
#include "exporter/value.h"

#define URL_HOST_MAX	 253 /* octets of a DNS name */
#define URL_WHY_MAX	 700
#define URL_TEMPLATE_MAX 1500 /* octets of a list of element names */

/* Ranges of what a URL and the options of the exports can say alike. */
#define URL_MESSAGE_MIN 512 /* octets */
#define URL_MESSAGE_MAX 9000
#define URL_DSCP_MAX	63
#define URL_PATH_MAX	4096 /* octets with the end, as PATH_MAX */

/* Files: what a rotation may ask for. */
#define URL_ROTATE_SIZE_MIN 1024 /* octets */
#define URL_ROTATE_SIZE_MAX 1000000000000ull
#define URL_ROTATE_MAX_S    31536000ull /* a year */
#define URL_KEEP_MAX	    1000

enum url_scheme {
	URL_IPFIX,     /* ipfix://host[:port][?option&...], UDP */
	URL_IPFIX_TCP, /* ipfix+tcp://host[:port][?option&...] */
	URL_NETFLOW9,  /* netflow9://host[:port][?option&...], UDP */
	URL_FILE,      /* file:///path[?option&...] */
	URL_JSON, /* json:///path[?option&...], or json:- with an empty path: standard output */
};

/* Whether a collector gets records of drops. */
enum url_drops {
	URL_DROPS_UNSAID,
	URL_DROPS_OFF,
	URL_DROPS_ON,
};

/* What the URL says of its collector alone. */
struct url_options {
	char template[URL_TEMPLATE_MAX]; /* empty: not said */
	char source[ADDRESS_TEXT_MAX];	 /* as address_parse() takes it; empty: not said */
	uint32_t rate;			 /* 0: not said */
	uint16_t message_max;		 /* 0: not said */
	int dscp;			 /* -1: not said */
	enum url_drops drops;
	bool rotate_said;
	uint64_t rotate_ns;   /* files: periods of the wall clock; 0: none */
	uint64_t rotate_size; /* files: octets at which one ends; 0: any */
	bool keep_said;
	uint16_t keep;	/* files: finished ones that are kept, at most; 0: all */
	uint16_t retry; /* TCP: s between two attempts to connect, 1 to 3600; 0: not said */
};
#define URL_OPTIONS_NONE ((struct url_options){.dscp = -1})

struct collector_url {
	const char *text; /* the URL itself */
	enum url_scheme scheme;
	char host[URL_HOST_MAX + 1]; /* name or address, without the brackets of IPv6 and the scope */
	bool numeric;		     /* an address, not a name */
	struct ip_address address;   /* the same, with its scope */
	uint16_t port;
	struct url_options options;
	char path[URL_PATH_MAX]; /* absolute; empty: none */
};

/*
 * One option by its key: template, rate, source, dscp, message-size, drops, retry, rotate or keep; each can be said once.
 * -EINVAL: `why` says what is wrong.  Whether elements of a template exist is not looked at.
 */
int url_option_set(struct url_options *options, const char *key, const char *value,
		   char why[URL_WHY_MAX]);

/* The key by number, NULL past the last; whether a collector of the scheme heeds it; whether it has been said. */
const char *url_option_name(unsigned int index);
bool url_option_applies(unsigned int index, enum url_scheme scheme);
bool url_option_said(unsigned int index, const struct url_options *options);

/* Its value as one can write it. */
const char *url_option_print(unsigned int index, const struct url_options *options,
			     char text[VALUE_TEXT_MAX]);

/* Whether it has a host and a port. */
static inline bool url_in_network(const struct collector_url *url)
{
	return url->scheme != URL_FILE && url->scheme != URL_JSON;
}

/* -EINVAL when the URL is none: `why` says then in a few words what is wrong with it. */
int url_parse(const char *url, struct collector_url *ret, char why[URL_WHY_MAX]);
