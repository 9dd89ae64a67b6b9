/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Drops made up for tests, and reasons as the kernel made there numbers them. */
#include <arpa/inet.h>
#include "exporter/observe/drop_table.h"

#define SEC	       NSEC_PER_SEC
#define NETFILTER_DROP 2
#define NO_SOCKET      9
#define OTHERHOST      12
#define UNKNOWN	       200

static inline struct flow_key key_of(uint16_t number, uint16_t reason)
{
	return (struct flow_key){
		.src = {10, 0, (uint8_t)(number >> 8), (uint8_t)number},
		.dst = {192, 0, 2, 1},
		.src_port = htons(40000),
		.dst_port = htons(53),
		.protocol = 17,
		.kind = FLOW_DROP,
		.drop_reason = reason,
	};
}

static inline void add_drops(struct drop_table *t, uint16_t number, uint16_t reason,
			     uint64_t packets)
{
	const struct flow_key key = key_of(number, reason);
	const struct flow_record record = {
		.packets = packets, .octets = packets * 100, .first_ns = SEC, .last_ns = 2 * SEC};

	drop_table_add(t, &key, &record);
}
