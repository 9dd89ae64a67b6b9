/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Flows for tests of the exports: every field random, within what a flow can hold. */
#include <netinet/in.h>
#include <string.h>
#include "exporter/meter/cache.h"

/* xorshift64: the same flows in every run. */
static inline uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static inline void random_octets(uint64_t *state, void *to, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)to)[i] = (uint8_t)(random_next(state) >> 32);
}

static inline struct flow random_flow(uint64_t *state)
{
	static const uint8_t protocols[] = {IPPROTO_TCP,    IPPROTO_UDP, IPPROTO_ICMP,
					    IPPROTO_ICMPV6, 132,	 47};
	struct flow f;

	random_octets(state, &f, sizeof(f));
	f.key.kind &= FLOW_EGRESS | FLOW_IPV6;
	if (!(f.key.kind & FLOW_IPV6)) {
		memset(f.key.src + 4, 0, 12);
		memset(f.key.dst + 4, 0, 12);
	}
	f.key.protocol = protocols[random_next(state) % ARRAY_SIZE(protocols)];
	f.key.outer_vlan &= 4095;
	f.key.inner_vlan &= 4095;
	f.record.flow_label &= 0xfffff;
	f.record.tcp_flags &= 0xfff;
	f.record.packets >>= 16;
	f.record.octets >>= 8;
	f.record.first_ns >>= 4; /* 36 years */
	f.record.last_ns = f.record.first_ns + (f.record.last_ns >> 24);
	f.drop = NULL;
	f.end = 1 + random_next(state) % (_FLOW_END_MAX - 1);
	return f;
}
