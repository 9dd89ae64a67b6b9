/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Sums over flows for metrics, since the start: bounded however many flows there are.  Fed with each delta that is read from
 * a bank, in the loop's thread; the cost of one is a few additions.
 *
 * Each table has so many rows at most.  What finds no room is in the row `other` of the table, and `overflow` says how often
 * that was.  So sums over all rows, other and gone of `interfaces` equal the ledger's `drained` of flows, and those of
 * `reasons` its `drained` of drops.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/util.h"
#include "xdp/flow.h"

struct flow;

/* What is told apart by protocol: the key's protocol, and all else. */
enum traffic_protocol {
	TRAFFIC_TCP,
	TRAFFIC_UDP,
	TRAFFIC_ICMP, /* in IPv4; ICMPv6 in IPv6 */
	TRAFFIC_SCTP,
	TRAFFIC_ESP,
	TRAFFIC_OTHER,
	_TRAFFIC_PROTOCOL_MAX,
};

enum traffic_family {
	TRAFFIC_IPV4,
	TRAFFIC_IPV6,
	_TRAFFIC_FAMILY_MAX,
};

/* What the packets of a TCP flow had set in one interval.  The first packet tells SYN from SYN-ACK. */
enum traffic_flag {
	TRAFFIC_SYN,	 /* SYN without ACK, or SYN that was not the first packet */
	TRAFFIC_SYN_ACK, /* both in the first packet */
	TRAFFIC_FIN,
	TRAFFIC_RST,
	_TRAFFIC_FLAG_MAX,
};

#define TRAFFIC_END_MAX 6 /* flowEndReason: enum flow_end */

struct traffic_count {
	uint64_t packets;
	uint64_t octets; /* IP layer */
};

typedef struct traffic_count traffic_cells[_TRAFFIC_FAMILY_MAX][_TRAFFIC_PROTOCOL_MAX];

/* What each row begins with. */
struct traffic_row {
	uint32_t key;
	uint32_t next; /* number of a row with the same hash, and 1; 0: none */
};

/* Key: ifindex. */
struct traffic_interface {
	struct traffic_row row;
	uint64_t last_ns; /* of its last packet, by the kernel's clock */
	traffic_cells cells[_DIRECTION_MAX];
};

/* Key: drop_reason_pack(). */
struct traffic_reason {
	struct traffic_row row;
	traffic_cells cells;
};

/* Key: traffic_icmp_key(). */
struct traffic_icmp {
	struct traffic_row row;
	uint64_t packets[_DIRECTION_MAX];
};

/* Key: traffic_port_key(), of ports below 1024; all others are in `other`, which has a row for each protocol. */
struct traffic_port {
	struct traffic_row row;
	struct traffic_count counts[_DIRECTION_MAX];
	uint64_t flows; /* to that port, each counted once in each interval in which it had packets */
};

/* Rows in the order in which they came. */
struct traffic_table {
	uint32_t count, max;
	uint64_t overflow; /* deltas that found no room */
	void *rows;
	uint32_t *buckets; /* number of the first row of each, and 1; NULL: of a copy, in which nothing is looked up */
};

#define TRAFFIC_INTERFACES_MAX 2048
#define TRAFFIC_REASONS_MAX    512
#define TRAFFIC_ICMP_MAX       256
#define TRAFFIC_PORTS_MAX      512

struct traffic {
	struct traffic_table interfaces, reasons, icmp, ports;
	struct traffic_interface other_interfaces;
	/*
	 * Of interfaces that had no packet for 15 minutes, and whose row another one needed.  Not in `other`, so that a sum
	 * that stood for one of them never shows as packets of now.
	 */
	struct traffic_interface gone_interfaces;
	struct traffic_reason other_reasons;
	struct traffic_icmp other_icmp;
	struct traffic_port other_ports[_TRAFFIC_PROTOCOL_MAX];
	uint64_t flags[_TRAFFIC_FLAG_MAX][_TRAFFIC_FAMILY_MAX][_DIRECTION_MAX];
	/* Flows that had packets, each counted once in each interval; of drops by direction 0. */
	uint64_t seen[_RECORD_KIND_MAX][_DIRECTION_MAX][_TRAFFIC_FAMILY_MAX][_TRAFFIC_PROTOCOL_MAX];
	/* Records of flows. */
	uint64_t ended[TRAFFIC_END_MAX][_DIRECTION_MAX][_TRAFFIC_FAMILY_MAX][_TRAFFIC_PROTOCOL_MAX];
	uint32_t hand;	 /* where a row of `interfaces` that can go is looked for */
	uint64_t now_ns; /* of the newest packet */
};

/* -ENOMEM. */
int traffic_new(struct traffic **ret);
struct traffic *traffic_free(struct traffic *traffic);
DEFINE_CLEANUP(struct traffic *, traffic_free)

/* Allocates nothing. */
void traffic_add(struct traffic *traffic, enum record_kind kind, const struct flow_key *key,
		 const struct flow_record *delta);

/* A record of a flow leaves the cache; one of a drop is not counted.  Allocates nothing. */
void traffic_end(struct traffic *traffic, const struct flow *flow);

/* A copy of its own for a snapshot.  -ENOMEM; then *ret is untouched. */
int traffic_copy(struct traffic **ret, const struct traffic *traffic);

/* Adds cell by cell. */
void traffic_sum(traffic_cells to, const traffic_cells from);

/* By number; of a copy too. */
const struct traffic_interface *traffic_interface(const struct traffic *traffic, uint32_t i);
const struct traffic_reason *traffic_reason(const struct traffic *traffic, uint32_t i);
const struct traffic_icmp *traffic_icmp(const struct traffic *traffic, uint32_t i);
const struct traffic_port *traffic_port(const struct traffic *traffic, uint32_t i);

static inline uint32_t traffic_icmp_key(enum traffic_family family, uint8_t type, uint8_t code)
{
	return (uint32_t)family << 16 | (uint32_t)type << 8 | code;
}

static inline uint32_t traffic_port_key(enum traffic_protocol protocol, uint16_t port)
{
	return (uint32_t)protocol << 16 | port;
}
