/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <xxhash.h>
#include "exporter/observe/drop_table.h"
#include "exporter/observe/record_view.h"

#define NOWHERE UINT32_MAX

struct drop_table {
	enum drops_by by;
	uint32_t size, count;
	uint32_t *buckets; /* `size` of them: the first row of each */
	struct drop_row *rows;
	struct drop_row **order;
	struct drop_row others;
	uint64_t total; /* packets */
};

static void empty_buckets(struct drop_table *t)
{
	memset(t->buckets, 0xff, t->size * sizeof(*t->buckets));
}

int drop_table_new(struct drop_table **ret, enum drops_by by, uint32_t rows)
{
	_cleanup_(drop_table_freep) struct drop_table *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->by = by;
	t->size = rows;
	t->buckets = calloc(rows, sizeof(*t->buckets));
	t->rows = calloc(rows, sizeof(*t->rows));
	t->order = calloc(rows, sizeof(*t->order));
	if (!t->buckets || !t->rows || !t->order)
		return -ENOMEM;
	empty_buckets(t);
	*ret = TAKE_PTR(t);
	return 0;
}

struct drop_table *drop_table_free(struct drop_table *t)
{
	if (!t)
		return NULL;
	free(t->buckets);
	free(t->rows);
	free(t->order);
	free(t);
	return NULL;
}

/* What of a key tells rows apart. */
static struct flow_key reduce(enum drops_by by, const struct flow_key *key,
			      const struct flow_record *delta)
{
	bool ports = record_view_has_ports(key->protocol);

	if (by == DROPS_BY_FLOW)
		return *key;
	if (by == DROPS_BY_INTERFACE)
		return (struct flow_key){
			.ifindex = key->ifindex,
			.kind = key->kind & (FLOW_DROP | FLOW_EGRESS),
			.drop_reason = key->drop_reason,
		};
	if (by == DROPS_BY_SERVICE)
		return (struct flow_key){
			.kind = key->kind & FLOW_DROP,
			.drop_reason = key->drop_reason,
			.protocol = key->protocol,
			.dst_port = ports ? htons(record_view_service(
						    ntohs(key->src_port), ntohs(key->dst_port),
						    delta->tcp_flags, delta->packets))
					  : 0,
		};
	return (struct flow_key){.kind = key->kind & FLOW_DROP, .drop_reason = key->drop_reason};
}

static uint32_t *find_bucket(const struct drop_table *t, const struct flow_key *key)
{
	return &t->buckets[XXH3_64bits(key, sizeof(*key)) % t->size];
}

/* The row of that key, a new one if need be; the others' when there is no room. */
static struct drop_row *find_row(struct drop_table *t, const struct flow_key *key)
{
	uint32_t *bucket = find_bucket(t, key);
	struct drop_row *row;

	for (uint32_t i = *bucket; i != NOWHERE; i = t->rows[i].next)
		if (!memcmp(&t->rows[i].key, key, sizeof(*key)))
			return &t->rows[i];
	if (t->count == t->size)
		return &t->others;
	row = &t->rows[t->count];
	*row = (struct drop_row){.key = *key, .next = *bucket};
	*bucket = t->count++;
	return row;
}

void drop_table_add(struct drop_table *t, const struct flow_key *key,
		    const struct flow_record *delta)
{
	const struct flow_key reduced = reduce(t->by, key, delta);
	struct drop_row *row = find_row(t, &reduced);

	if (!row->packets) {
		row->first_ns = delta->first_ns;
		row->last_ns = delta->last_ns;
		row->tos = delta->tos;
	}
	row->packets += delta->packets;
	row->octets += delta->octets;
	row->total_packets += delta->packets;
	row->total_octets += delta->octets;
	row->first_ns = MIN(row->first_ns, delta->first_ns);
	row->last_ns = MAX(row->last_ns, delta->last_ns);
	t->total += delta->packets;
}

static int compare_rows(const void *a, const void *b)
{
	const struct drop_row *x = *(const struct drop_row *const *)a;
	const struct drop_row *y = *(const struct drop_row *const *)b;

	if (x->packets != y->packets)
		return x->packets < y->packets ? 1 : -1;
	if (x->total_packets != y->total_packets)
		return x->total_packets < y->total_packets ? 1 : -1;
	return memcmp(&x->key, &y->key, sizeof(x->key)); /* equal ones do not jump about */
}

static void sort(struct drop_table *t)
{
	for (uint32_t i = 0; i < t->count; i++)
		t->order[i] = &t->rows[i];
	qsort(t->order, t->count, sizeof(*t->order), compare_rows);
}

size_t drop_table_sort(struct drop_table *t, const struct drop_row *const **ret, size_t *ret_active)
{
	size_t active = 0;

	sort(t);
	while (active < t->count && t->order[active]->packets)
		active++;
	*ret = (const struct drop_row *const *)t->order;
	*ret_active = active;
	return t->count;
}

const struct drop_row *drop_table_others(const struct drop_table *t)
{
	return &t->others;
}

uint64_t drop_table_total(const struct drop_table *t)
{
	return t->total;
}

/* So that in a flood of flows new ones find room, and the busiest stay. */
static void forget_half(struct drop_table *t)
{
	uint32_t kept = 0, *bucket;

	sort(t);
	for (uint32_t i = t->size / 2; i < t->count; i++) {
		t->others.total_packets += t->order[i]->total_packets;
		t->others.total_octets += t->order[i]->total_octets;
		t->order[i]->total_packets = 0; /* no row that stays has 0 */
	}
	empty_buckets(t);
	for (uint32_t i = 0; i < t->count; i++) {
		if (!t->rows[i].total_packets)
			continue;
		bucket = find_bucket(t, &t->rows[i].key);
		t->rows[kept] = t->rows[i];
		t->rows[kept].next = *bucket;
		*bucket = kept++;
	}
	t->count = kept;
}

void drop_table_next(struct drop_table *t)
{
	if (t->count > t->size / 4 * 3)
		forget_half(t);
	for (uint32_t i = 0; i < t->count; i++)
		t->rows[i].packets = t->rows[i].octets = 0;
	t->others.packets = t->others.octets = 0;
}

static bool match_address(const struct value_prefix *prefix, const struct flow_key *key)
{
	uint8_t family = key->kind & FLOW_IPV6 ? AF_INET6 : AF_INET;

	return family == prefix->family &&
	       (value_prefix_has(prefix, key->src) || value_prefix_has(prefix, key->dst));
}

static bool match_port(uint16_t port, const struct flow_key *key)
{
	bool icmp = key->protocol == IPPROTO_ICMP || key->protocol == IPPROTO_ICMPV6;

	return !icmp && (ntohs(key->src_port) == port || ntohs(key->dst_port) == port);
}

bool drop_match(const struct drop_match *match, const struct flow_key *key)
{
	return (!match->address.family || match_address(&match->address, key)) &&
	       (!match->port || match_port(match->port, key));
}
