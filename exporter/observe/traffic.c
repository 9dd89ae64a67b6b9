/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/traffic.h"
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include "exporter/meter/cache.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define IDLE_NS	  (15 * 60 * NSEC_PER_SEC) /* an interface without packets may lose its row */
#define LOOKS	  4			   /* rows that are looked at for one */
#define PORTS_LOW 1024 /* those below are servers' by convention: RFC 6335, section 6 */

_Static_assert(TRAFFIC_END_MAX == _FLOW_END_MAX, "all reasons have a counter");

/* --- Tables. */

static struct traffic_row *get_row(const struct traffic_table *t, uint32_t i, size_t size)
{
	return (struct traffic_row *)((char *)t->rows + i * size);
}

static uint32_t *find_bucket(const struct traffic_table *t, uint32_t key)
{
	return &t->buckets[(key * 0x9e3779b1u) >> 16 & (2 * t->max - 1)];
}

static void *find_row(const struct traffic_table *t, uint32_t key, size_t size)
{
	for (uint32_t i = *find_bucket(t, key); i; i = get_row(t, i - 1, size)->next)
		if (get_row(t, i - 1, size)->key == key)
			return get_row(t, i - 1, size);
	return NULL;
}

static void link_row(const struct traffic_table *t, uint32_t i, uint32_t key, size_t size)
{
	uint32_t *bucket = find_bucket(t, key);

	*get_row(t, i, size) = (struct traffic_row){.key = key, .next = *bucket};
	*bucket = i + 1;
}

static void unlink_row(const struct traffic_table *t, uint32_t i, size_t size)
{
	const struct traffic_row *row = get_row(t, i, size);
	uint32_t *at = find_bucket(t, row->key);

	while (*at != i + 1)
		at = &get_row(t, *at - 1, size)->next;
	*at = row->next;
}

/* A row of that key, which is made if there is room; else `other`. */
static void *need_row(struct traffic_table *t, uint32_t key, size_t size, void *other)
{
	void *row = find_row(t, key, size);

	if (row)
		return row;
	if (t->count == t->max) {
		t->overflow++;
		return other;
	}
	link_row(t, t->count, key, size);
	return get_row(t, t->count++, size);
}

static int make_table(struct traffic_table *t, uint32_t max, size_t size)
{
	t->max = max;
	t->rows = calloc(max, size);
	t->buckets = calloc(2 * (size_t)max, sizeof(*t->buckets));
	return t->rows && t->buckets ? 0 : -ENOMEM;
}

static int copy_table(struct traffic_table *t, const struct traffic_table *from, size_t size)
{
	*t = *from;
	t->buckets = NULL;
	t->rows = malloc(MAX(from->count * size, size));
	if (!t->rows)
		return -ENOMEM;
	memcpy(t->rows, from->rows, from->count * size);
	return 0;
}

/* --- What is counted. */

static enum traffic_family family_of(const struct flow_key *key)
{
	return key->kind & FLOW_IPV6 ? TRAFFIC_IPV6 : TRAFFIC_IPV4;
}

static enum flow_direction direction_of(const struct flow_key *key)
{
	return key->kind & FLOW_EGRESS ? DIRECTION_EGRESS : DIRECTION_INGRESS;
}

static enum traffic_protocol protocol_of(const struct flow_key *key)
{
	switch (key->protocol) {
	case IPPROTO_TCP:
		return TRAFFIC_TCP;
	case IPPROTO_UDP:
		return TRAFFIC_UDP;
	case IPPROTO_SCTP:
		return TRAFFIC_SCTP;
	case IPPROTO_ESP:
		return TRAFFIC_ESP;
	default:
		return key->protocol == (family_of(key) == TRAFFIC_IPV6 ? IPPROTO_ICMPV6
									: IPPROTO_ICMP)
			       ? TRAFFIC_ICMP
			       : TRAFFIC_OTHER;
	}
}

static void add(struct traffic_count *to, const struct flow_record *delta)
{
	to->packets += delta->packets;
	to->octets += delta->octets;
}

void traffic_sum(traffic_cells to, const traffic_cells from)
{
	for (int f = 0; f < _TRAFFIC_FAMILY_MAX; f++)
		for (int p = 0; p < _TRAFFIC_PROTOCOL_MAX; p++) {
			to[f][p].packets += from[f][p].packets;
			to[f][p].octets += from[f][p].octets;
		}
}

/* In a full table: gives the row of an interface that has long been quiet to another one. */
static void make_room(struct traffic *t, uint32_t ifindex)
{
	const size_t size = sizeof(struct traffic_interface);

	for (int i = 0; i < LOOKS; i++) {
		const uint32_t at = t->hand++ % t->interfaces.max;
		struct traffic_interface *row = (void *)get_row(&t->interfaces, at, size);

		if (row->last_ns + IDLE_NS > t->now_ns)
			continue;
		for (int d = 0; d < _DIRECTION_MAX; d++)
			traffic_sum(t->gone_interfaces.cells[d], row->cells[d]);
		unlink_row(&t->interfaces, at, size);
		memset(row, 0, size);
		link_row(&t->interfaces, at, ifindex, size);
		return;
	}
}

static void add_interface(struct traffic *t, const struct flow_key *key,
			  const struct flow_record *delta)
{
	const size_t size = sizeof(struct traffic_interface);
	struct traffic_interface *row;

	if (t->interfaces.count == t->interfaces.max &&
	    !find_row(&t->interfaces, key->ifindex, size))
		make_room(t, key->ifindex);
	row = need_row(&t->interfaces, key->ifindex, size, &t->other_interfaces);
	row->last_ns = MAX(row->last_ns, delta->last_ns);
	add(&row->cells[direction_of(key)][family_of(key)][protocol_of(key)], delta);
}

static void add_flags(struct traffic *t, const struct flow_key *key,
		      const struct flow_record *delta)
{
	const enum traffic_family family = family_of(key);
	const enum flow_direction direction = direction_of(key);
	const unsigned int both = TCP_SYN | TCP_ACK;

	if (delta->tcp_flags & TCP_SYN)
		t->flags[(delta->first_flags & both) == both ? TRAFFIC_SYN_ACK : TRAFFIC_SYN]
			[family][direction]++;
	if (delta->tcp_flags & TCP_FIN)
		t->flags[TRAFFIC_FIN][family][direction]++;
	if (delta->tcp_flags & TCP_RST)
		t->flags[TRAFFIC_RST][family][direction]++;
}

static void add_icmp(struct traffic *t, const struct flow_key *key, const struct flow_record *delta)
{
	const uint16_t message = ntohs(key->dst_port);
	struct traffic_icmp *row = need_row(
		&t->icmp,
		traffic_icmp_key(family_of(key), (uint8_t)(message >> 8), (uint8_t)message),
		sizeof(*row), &t->other_icmp);

	row->packets[direction_of(key)] += delta->packets;
}

/* The server's port, which is the lower one by convention, is what a flow is about. */
static void add_port(struct traffic *t, const struct flow_key *key, const struct flow_record *delta)
{
	const uint16_t src = ntohs(key->src_port), dst = ntohs(key->dst_port);
	const uint16_t port = src && (!dst || src < dst) ? src : dst;
	struct traffic_port *row = &t->other_ports[protocol_of(key)];

	if (port && port < PORTS_LOW)
		row = need_row(&t->ports, traffic_port_key(protocol_of(key), port), sizeof(*row),
			       row);
	add(&row->counts[direction_of(key)], delta);
	row->flows += port && port == dst;
}

static void add_drop(struct traffic *t, const struct flow_key *key, const struct flow_record *delta)
{
	struct traffic_reason *row =
		need_row(&t->reasons, key->drop_reason, sizeof(*row), &t->other_reasons);

	add(&row->cells[family_of(key)][protocol_of(key)], delta);
}

void traffic_add(struct traffic *t, enum record_kind kind, const struct flow_key *key,
		 const struct flow_record *delta)
{
	const enum traffic_protocol protocol = protocol_of(key);

	t->seen[kind][direction_of(key)][family_of(key)][protocol]++;
	if (kind == RECORD_DROP) {
		add_drop(t, key, delta);
		return;
	}
	t->now_ns = MAX(t->now_ns, delta->last_ns);
	add_interface(t, key, delta);
	if (protocol == TRAFFIC_ICMP)
		add_icmp(t, key, delta);
	if (protocol == TRAFFIC_TCP)
		add_flags(t, key, delta);
	if (protocol == TRAFFIC_TCP || protocol == TRAFFIC_UDP || protocol == TRAFFIC_SCTP)
		add_port(t, key, delta);
}

void traffic_end(struct traffic *t, const struct flow *flow)
{
	const struct flow_key *key = &flow->key;

	if (!(key->kind & FLOW_DROP))
		t->ended[flow->end][direction_of(key)][family_of(key)][protocol_of(key)]++;
}

/* --- Making, copying, reading. */

struct traffic *traffic_free(struct traffic *t)
{
	struct traffic_table *tables[] = {&t->interfaces, &t->reasons, &t->icmp, &t->ports};

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		free(tables[i]->rows);
		free(tables[i]->buckets);
	}
	free(t);
	return NULL;
}

int traffic_new(struct traffic **ret)
{
	_cleanup_(traffic_freep) struct traffic *t = calloc(1, sizeof(*t));

	if (!t ||
	    make_table(&t->interfaces, TRAFFIC_INTERFACES_MAX, sizeof(struct traffic_interface)) <
		    0 ||
	    make_table(&t->reasons, TRAFFIC_REASONS_MAX, sizeof(struct traffic_reason)) < 0 ||
	    make_table(&t->icmp, TRAFFIC_ICMP_MAX, sizeof(struct traffic_icmp)) < 0 ||
	    make_table(&t->ports, TRAFFIC_PORTS_MAX, sizeof(struct traffic_port)) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(t);
	return 0;
}

int traffic_copy(struct traffic **ret, const struct traffic *from)
{
	_cleanup_(traffic_freep) struct traffic *t = malloc(sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	*t = *from;
	t->interfaces = t->reasons = t->icmp = t->ports = (struct traffic_table){0};
	r = copy_table(&t->interfaces, &from->interfaces, sizeof(struct traffic_interface));
	if (r == 0)
		r = copy_table(&t->reasons, &from->reasons, sizeof(struct traffic_reason));
	if (r == 0)
		r = copy_table(&t->icmp, &from->icmp, sizeof(struct traffic_icmp));
	if (r == 0)
		r = copy_table(&t->ports, &from->ports, sizeof(struct traffic_port));
	if (r == 0)
		*ret = TAKE_PTR(t);
	return r;
}

const struct traffic_interface *traffic_interface(const struct traffic *t, uint32_t i)
{
	return (const void *)get_row(&t->interfaces, i, sizeof(struct traffic_interface));
}

const struct traffic_reason *traffic_reason(const struct traffic *t, uint32_t i)
{
	return (const void *)get_row(&t->reasons, i, sizeof(struct traffic_reason));
}

const struct traffic_icmp *traffic_icmp(const struct traffic *t, uint32_t i)
{
	return (const void *)get_row(&t->icmp, i, sizeof(struct traffic_icmp));
}

const struct traffic_port *traffic_port(const struct traffic *t, uint32_t i)
{
	return (const void *)get_row(&t->ports, i, sizeof(struct traffic_port));
}
