/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The kernel's drop reasons: names and codes as the running kernel's BTF has them, class, explanation and
 * forwardingStatus by name from drop_reasons.def.  Codes differ between kernels, so none is built in.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/util.h"

enum drop_class {
	DROP_POLICY,
	DROP_CONGESTION,
	DROP_NO_RECEIVER,
	DROP_ROUTING,
	DROP_MALFORMED,
	DROP_MEMORY,
	DROP_TCP_STATE,
	DROP_BENIGN,
	DROP_OTHER,
	_DROP_CLASS_MAX,
};

/* forwardingStatus, IANA element 89 (RFC 7270, section 4.12): what a drop can have, and Consumed. */
#define DROP_STATUSES(S) \
	S(UNKNOWN, 128, "unknown") \
	S(ACL_DROP, 130, "ACL drop") \
	S(UNROUTABLE, 131, "unroutable") \
	S(ADJACENCY, 132, "adjacency") \
	S(FRAGMENTATION_DF, 133, "fragmentation and DF set") \
	S(BAD_CHECKSUM, 134, "bad header checksum") \
	S(BAD_TOTAL_LENGTH, 135, "bad total length") \
	S(BAD_HEADER_LENGTH, 136, "bad header length") \
	S(BAD_TTL, 137, "bad TTL") \
	S(POLICER, 138, "policer") \
	S(WRED, 139, "WRED") \
	S(RPF, 140, "RPF") \
	S(FOR_US, 141, "for us") \
	S(BAD_OUTPUT_INTERFACE, 142, "bad output interface") \
	S(CONSUMED, 192, "consumed")

enum drop_status {
#define DROP_STATUS(symbol, value, text) DROP_STATUS_##symbol = (value),
	DROP_STATUSES(DROP_STATUS)
#undef DROP_STATUS
};

struct drop_reason {
	uint32_t code; /* the kernel's: subsystem << 16 | number; 0 in drop_reason_texts */
	const char *name;
	enum drop_class class;
	const char *explanation; /* one line, up to 100 characters */
	uint8_t forwarding_status;
};

/* drop_reasons.def: what is known by name, whether the running kernel has it or not. */
extern const struct drop_reason drop_reason_texts[];
extern const unsigned int drop_reason_text_count;

/* Its row, NULL if there is none.  Upper and lower case are the same; SKB_DROP_REASON_ may precede. */
const struct drop_reason *drop_reason_text(const char *name);

/* False for what the kernel counts in the same enum but has delivered (CONSUMED): the status' two high bits. */
static inline bool drop_reason_is_drop(const struct drop_reason *reason)
{
	return reason->forwarding_status >> 6 == 2;
}

/* "policy", "no_receiver" ... */
const char *drop_class_name(enum drop_class class);
int drop_class_parse(enum drop_class *ret, const char *name); /* -EINVAL */

struct drop_reasons;

/*
 * Reads `btf_dir` (NULL: /sys/kernel/btf): vmlinux, and for the subsystems every module loaded now; a module
 * loaded later has codes without names until the next drop_reasons_new().  -ENOMEM is the only error: a
 * kernel without BTF or without the enum (before 5.17) is a state, see drop_reasons_named().
 */
int drop_reasons_new(struct drop_reasons **ret, const char *btf_dir);
struct drop_reasons *drop_reasons_free(struct drop_reasons *reasons);
DEFINE_CLEANUP(struct drop_reasons *, drop_reasons_free)

/* Whether the kernel has told its names.  If not, every reason is named by its code. */
bool drop_reasons_named(const struct drop_reasons *reasons);

/*
 * Never NULL, and valid as long as `reasons`.  A name without explanation is of class other, status 128; a
 * code without name is named by its digits, such as "0x00030007".  In any thread.
 */
const struct drop_reason *drop_reasons_get(struct drop_reasons *reasons, uint32_t code);

/*
 * By name as drop_reason_text() takes it, or by digits as drop_reasons_get() names; NULL if the running kernel
 * has no such reason.
 */
const struct drop_reason *drop_reasons_find(struct drop_reasons *reasons, const char *name);

/* The kernel's reasons with a name, by rising code: i < count. */
unsigned int drop_reasons_count(const struct drop_reasons *reasons);
const struct drop_reason *drop_reasons_at(const struct drop_reasons *reasons, unsigned int i);
