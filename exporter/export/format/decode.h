/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Messages of any exporter, read: IPFIX (RFC 7011; types by RFC 5610; lists of RFC 6313 are passed over as octets) and
 * NetFlow v9 (RFC 3954).  Nothing that a message says is believed before its bounds are checked, and what is kept of it
 * is bounded.  One decoder is one transport session: templates are kept by version and observation domain.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "exporter/util.h"

#define DECODE_FIELDS_MAX    512  /* of a template */
#define DECODE_TEMPLATES_MAX 4096 /* of all domains together */
#define DECODE_TYPES_MAX     4096 /* elements told by RFC 5610 */
#define DECODE_RENAMES_MAX   4096 /* of those: how often one may get another name or type */
#define DECODE_DOMAINS_MAX   1024
#define DECODE_MESSAGE_MAX   65535 /* octets */
#define DECODE_NAME_MAX	     72	   /* with the end of the text */

/* RFC 5610's numbers, and those of RFC 6313; unsigned256 is of the registry alone. */
enum decode_type {
	DECODE_OCTETS = 0,
	DECODE_U8 = 1,
	DECODE_U16 = 2,
	DECODE_U32 = 3,
	DECODE_U64 = 4,
	DECODE_S8 = 5,
	DECODE_S16 = 6,
	DECODE_S32 = 7,
	DECODE_S64 = 8,
	DECODE_F32 = 9,
	DECODE_F64 = 10,
	DECODE_BOOL = 11,
	DECODE_MAC = 12,
	DECODE_STRING = 13,
	DECODE_SEC = 14,
	DECODE_MSEC = 15,
	DECODE_USEC = 16, /* as in NTP: seconds since 1900, and fractions of 2^-32 s */
	DECODE_NSEC = 17, /* likewise */
	DECODE_IPV4 = 18,
	DECODE_IPV6 = 19,
	DECODE_LIST = 20,
	DECODE_U256 = 23,
};

/* What can be wrong with a message. */
#define DECODE_ERRORS(X) \
	X(NO_MESSAGE, "no message of IPFIX or NetFlow v9 begins here") \
	X(HEADER_SHORT, "the message is shorter than its header") \
	X(MESSAGE_CUT, "the message is cut short") \
	X(SET_HEADER_CUT, "the header of a set is cut short") \
	X(SET_SHORT, "the length of a set is less than that of its header") \
	X(SET_LONG, "a set reaches beyond the end of its message") \
	X(SET_RESERVED, "the id of a set is a reserved one") \
	X(TEMPLATE_ID, "the id of a template is less than 256") \
	X(TEMPLATE_CUT, "a template is cut short by the end of its set") \
	X(TEMPLATE_SCOPE, "the scope of an options template is none, or more than its fields") \
	X(TEMPLATE_EMPTY, "the records of a template would be empty") \
	X(TEMPLATE_FIELDS, "a template has too many fields") \
	X(TEMPLATE_LONG, "the records of a template are longer than any message") \
	X(TEMPLATES_MANY, "there are too many templates") \
	X(DOMAINS_MANY, "there are too many observation domains") \
	X(TEMPLATE_UNKNOWN, "there is no template of the set's id") \
	X(WITHDRAWN_UNKNOWN, "a template is withdrawn that there is not") \
	X(RECORD_CUT, "a record is cut short by the end of its set") \
	X(NO_MEMORY, "there is no memory for a template")

enum decode_error {
#define DECODE_ERROR_SYMBOL(name, text) DECODE_##name,
	DECODE_ERRORS(DECODE_ERROR_SYMBOL)
#undef DECODE_ERROR_SYMBOL
	_DECODE_ERROR_MAX,
};

/* "no message of IPFIX or NetFlow v9 begins here", ... */
const char *decode_error_text(enum decode_error error);

struct decode_element {
	char name[DECODE_NAME_MAX]; /* "PEN/ID" while it is not known */
	uint32_t pen;		    /* 0: IANA's */
	uint16_t id;
	uint16_t length; /* 65535: each value tells its own (RFC 7011 section 7) */
	uint8_t type;	 /* enum decode_type */
	uint8_t repeat;	 /* elements of the same name before it in the template, 255 at most */
	bool known;
	bool scope;
};

struct decode_value {
	const uint8_t *data; /* in the message */
	uint16_t length;     /* octets */
};

struct decode_record {
	uint8_t version; /* 9 or 10 */
	bool options;
	uint16_t template;
	uint16_t count; /* of both that follow */
	const struct decode_element *elements;
	const struct decode_value *values;
	uint32_t domain;
	uint32_t export_time; /* s since 1970 */
	uint32_t uptime_ms;   /* of NetFlow v9 */
	uint64_t offset;      /* of the record: octets */
};

struct decode_events {
	/* All that is pointed to goes with the call. */
	void (*record)(void *userdata, const struct decode_record *record);
	/* `id` is the set's, template's or version's, by the error. */
	void (*problem)(void *userdata, enum decode_error error, uint64_t offset, unsigned int id);
	/* So many records (of NetFlow v9: messages) are missing before this message. */
	void (*gap)(void *userdata, uint32_t domain, uint32_t missing, uint64_t offset);
	void *userdata;
};

struct decode_stats {
	uint64_t messages, records, options_records;
	uint64_t templates; /* told, again or not */
	uint64_t redefined; /* changed without being withdrawn */
	uint64_t gaps;	    /* messages before which something is missing */
	uint64_t missing;   /* data records; of NetFlow v9 messages */
	uint64_t reordered; /* messages whose sequence number goes back */
	uint64_t errors[_DECODE_ERROR_MAX];
};

struct decoder;

/* -ENOMEM. */
int decoder_new(struct decoder **ret, const struct decode_events *events);
struct decoder *decoder_free(struct decoder *decoder);
DEFINE_CLEANUP(struct decoder *, decoder_free)

/*
 * Octets of the message that begins at `data`; `last`: nothing follows these.  0: more are needed to tell.  -EBADMSG:
 * none begins there.  NetFlow v9 does not tell the length: the message ends where the next one begins, as no set has
 * the id 9 or 10.
 */
int64_t decode_frame(const uint8_t *data, size_t size, bool last);

/* One message, of which nothing is kept but templates.  `offset` of its first octet, for events. */
void decoder_message(struct decoder *decoder, const uint8_t *data, size_t size, uint64_t offset);

const struct decode_stats *decoder_stats(const struct decoder *decoder);
