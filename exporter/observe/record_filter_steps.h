/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What an expression becomes: steps in a row over one truth value, which each test sets.  `a and b` is: test a, go on
 * behind b if that is false, test b.  So matching needs neither memory nor recursion.  For record_filter*.c alone.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/observe/record_filter.h"
#include "exporter/value.h"

#define FILTER_DEPTH_MAX 64    /* of parentheses */
#define FILTER_TEXT_MAX	 65536 /* octets of an expression */
#define FILTER_WORD_MAX	 128   /* of a word in it, with its end */
#define FILTER_NAME_MAX	 VIEW_NAME_MAX

enum filter_op {
	FILTER_TEST,
	FILTER_NOT,
	FILTER_IF_FALSE, /* passes over what lies before `to` */
	FILTER_IF_TRUE,
};

enum filter_test {
	TEST_FAMILY,	/* IP version */
	TEST_PROTOCOL,	/* of IP version `version`, 0: either */
	TEST_ADDRESS,	/* `ends` have `prefix` */
	TEST_PORT,	/* `ends` are low to high, of `protocol`, 0: TCP, UDP and SCTP */
	TEST_MULTICAST, /* the destination, of `version` */
	TEST_VLAN,	/* tag number `depth` is there, with id `low` if that is not 0 */
	TEST_NUMBER,	/* (quantity & mask) compare value */
	TEST_INTERFACE, /* by name, or number */
	TEST_DROP,
	TEST_DROP_REASON,
	TEST_DROP_CLASS,
};

/* Numbers of a record. */
enum filter_quantity {
	QUANTITY_PACKETS,
	QUANTITY_OCTETS,
	QUANTITY_DURATION, /* ms */
	QUANTITY_TOS,
	QUANTITY_IPV4_TOS,
	QUANTITY_DSCP,
	QUANTITY_TCP_FLAGS,
	QUANTITY_ICMP_TYPE,
	QUANTITY_ICMP_CODE,
	QUANTITY_ICMP4_TYPE,
	QUANTITY_ICMP4_CODE,
	QUANTITY_ICMP6_TYPE,
	QUANTITY_ICMP6_CODE,
	QUANTITY_DIRECTION,
	QUANTITY_IFINDEX,
	QUANTITY_END,
	QUANTITY_IPV4_PROTOCOL,
	QUANTITY_TCP_SRC_PORT,
	QUANTITY_TCP_DST_PORT,
	QUANTITY_UDP_SRC_PORT,
	QUANTITY_UDP_DST_PORT,
	QUANTITY_SCTP_SRC_PORT,
	QUANTITY_SCTP_DST_PORT,
};

enum filter_compare {
	COMPARE_EQUAL,
	COMPARE_UNEQUAL,
	COMPARE_LESS,
	COMPARE_LESS_EQUAL,
	COMPARE_GREATER,
	COMPARE_GREATER_EQUAL,
};

enum filter_ends {
	ENDS_EITHER,
	ENDS_SRC,
	ENDS_DST,
	ENDS_BOTH,
};

struct filter_step {
	enum filter_op op;
	enum filter_test test;
	unsigned int to; /* of steps that pass over others: the next one */
	uint8_t version, protocol, depth;
	enum filter_ends ends;
	enum filter_quantity quantity;
	enum filter_compare compare;
	uint16_t low, high;
	uint64_t mask, value;
	union {
		struct value_prefix prefix;
		char name[FILTER_NAME_MAX]; /* with * and ?, case counts where the kernel's does */
	};
};

struct record_filter {
	unsigned int count;
	struct filter_step steps[]; /* none: everything matches */
};

/* Bounded in time: lengths are. */
bool filter_name_matches(const char *pattern, const char *name);

/* Fills steps, FILTER_NODES_MAX at most; errors as record_filter_new(). */
int filter_parse(struct filter_step *steps, unsigned int *ret_count, const char *text,
		 char error[FILTER_ERROR_MAX]);
