/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "tests/bpf/model.h"
#include "tests/packet_rules.h"

#define XDP_REACH 3000

void model_init(struct model *m, struct datapath *datapath)
{
	memset(m, 0, sizeof(*m));
	m->datapath = datapath;
	m->since_ns = clock_ns(CLOCK_MONOTONIC_COARSE);
}

static bool is_egress(enum datapath_program program)
{
	return program == PROGRAM_TC_EGRESS || program == PROGRAM_TC_EGRESS_BARE;
}

static bool is_bare(enum datapath_program program)
{
	return program == PROGRAM_TC_EGRESS_BARE || program == PROGRAM_TC_INGRESS_BARE;
}

/* What the kernel takes a frame's bytes 12 and 13 for: eth_type_trans(). */
static uint16_t kernel_ethertype(const struct run *run)
{
	uint16_t type = (uint16_t)(run->bytes[12] << 8 | run->bytes[13]);

	if (run->ethertype)
		return run->ethertype;
	if (run->vlan_tagged)
		return ETH_P_8021Q; /* what pushing a tag makes of it */
	if (type >= ETH_P_802_3_MIN)
		return type;
	return run->size >= 16 && run->bytes[14] == 0xff && run->bytes[15] == 0xff ? ETH_P_802_3
										   : ETH_P_802_2;
}

static int parse_run(enum datapath_program program, const struct run *run, uint32_t reach,
		     struct packet *p)
{
	const struct frame f = {
		.octets = run->size,
		.ethertype = kernel_ethertype(run),
		.start = (uint16_t)run->network,
		.vlan = run->vlan & 0x0fff,
		.vlan_tagged = run->vlan_tagged,
		.gso = run->gso_size != 0,
	};
	struct cursor c = {.pos = (void *)run->bytes, .end = (void *)(run->bytes + reach)};

	memset(p, 0, sizeof(*p));
	p->key.ifindex = run->ifindex;
	p->key.kind = is_egress(program) ? FLOW_EGRESS : 0;
	return is_bare(program) ? parse_bare(&c, &f, p) : parse_ethernet(&c, &f, p);
}

/* The headers tell; leaving, the kernel's wire length where they do not. */
static uint16_t model_inner(enum datapath_program program, const struct run *run,
			    const struct packet *p)
{
	const struct frame f = {.octets = run->size, .gso = run->gso_size != 0};
	uint32_t outer = p->l3_offset + p->l4_offset + p->l4_header;
	int inner;

	if (run->gso_size == 0 || p->key.protocol == IPPROTO_TCP)
		return 0;
	inner = rules_inner(run->bytes, run->size, &f, p);
	if (inner <= 0 && is_egress(program) && run->wire_length > run->size && run->gso_segs > 1)
		inner = (int)((run->wire_length - run->size) / (run->gso_segs - 1u)) - (int)outer;
	return (uint16_t)MAX(inner, 0);
}

static struct flow_record *model_flow(struct model *m, enum flow_direction direction,
				      const struct flow_key *key)
{
	for (uint32_t i = 0; i < m->flow_count; i++)
		if (!memcmp(&m->flows[i].key, key, sizeof(*key)))
			return &m->flows[i].record;
	assert_true(m->flow_count < MODEL_FLOWS);
	m->flows[m->flow_count] = (struct model_flow){.key = *key};
	m->inserts[direction]++;
	return &m->flows[m->flow_count++].record;
}

static void model_account(struct model *m, enum flow_direction direction, const struct packet *p,
			  const struct tally *t)
{
	struct flow_record *r = model_flow(m, direction, &p->key);

	if (r->packets == 0)
		tally_record(p, t, 0, r);
	else {
		r->packets += t->packets;
		r->octets += t->octets;
		r->tcp_flags |= p->tcp_flags;
		r->min_length = MIN(r->min_length, t->min_length);
		r->max_length = MAX(r->max_length, t->max_length);
		r->min_ttl = MIN(r->min_ttl, p->ttl);
		r->max_ttl = MAX(r->max_ttl, p->ttl);
	}
	m->accounted[direction].packets += t->packets;
	m->accounted[direction].octets += t->octets;
}

/* Of a super-packet no more than a segment's payload behind what is in reach. */
static uint32_t pulled(const struct run *run, uint32_t reach)
{
	return run->gso_size ? MIN(reach + run->gso_size, 512) : 512;
}

int model_add(struct model *m, enum datapath_program program, const struct run *run)
{
	enum flow_direction direction = is_egress(program) ? DIRECTION_EGRESS : DIRECTION_INGRESS;
	uint32_t segments = run->gso_segs ? run->gso_segs : 1;
	uint32_t reach = run->linear ? run->linear : run->size;
	struct packet p;
	struct tally t;
	int reason;

	/* Of a frame of several pages XDP reaches the better part of the first: more than all headers. */
	if (program == PROGRAM_XDP)
		reach = MIN(reach, XDP_REACH);
	reason = parse_run(program, run, reach, &p);

	/* TC programs pull headers that they do not reach, up to 512 octets, or less of a super-packet. */
	if (reason == REASON_OUT_OF_REACH && program != PROGRAM_XDP)
		reason =
			parse_run(program, run, MIN(run->size, MAX(reach, pulled(run, reach))), &p);
	if (reason == REASON_NONE) {
		p.inner = model_inner(program, run, &p);
		tally_packet(&p, run->gso_segs, run->gso_size, &t);
		m->seen[direction] += t.packets;
		model_account(m, direction, &p, &t);
	} else {
		m->seen[direction] += segments;
		m->unrecorded[direction][reason].packets += segments;
		m->unrecorded[direction][reason].octets += run->size;
	}
	return reason;
}

static void check_flow(struct model *m, const struct flow_key *key, struct flow_record *r,
		       const char *what)
{
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC_COARSE);
	uint32_t i = 0;

	while (i < m->flow_count && memcmp(&m->flows[i].key, key, sizeof(*key)) != 0)
		i++;
	if (i == m->flow_count)
		fail_msg(
			"%s: a flow that should not be (protocol %u, kind %u, ifindex %u, %lu packets)",
			what, key->protocol, key->kind, key->ifindex, (unsigned long)r->packets);
	if (r->first_ns < m->since_ns || r->last_ns < r->first_ns || r->last_ns > now_ns)
		fail_msg("%s: times out of order", what);
	r->first_ns = r->last_ns = 0;
	if (memcmp(r, &m->flows[i].record, sizeof(*r)) != 0)
		fail_msg("%s: another record: %lu packets, %lu octets, flags %x; not %lu, %lu, %x",
			 what, (unsigned long)r->packets, (unsigned long)r->octets, r->tcp_flags,
			 (unsigned long)m->flows[i].record.packets,
			 (unsigned long)m->flows[i].record.octets, m->flows[i].record.tcp_flags);
	m->flows[i] = m->flows[--m->flow_count];
}

/* No program runs while a test reads: the active bank stands still, too. */
static void check_bank(struct model *m, const char *what)
{
	static struct flow_key keys[MODEL_FLOWS];
	static struct flow_record records[MODEL_FLOWS];
	unsigned int bank = datapath_active(m->datapath);
	uint32_t position = 0, count;
	bool done = false;

	while (!done) {
		count = 0;
		assert_int_equal(datapath_read(m->datapath, bank, &position, keys, records,
					       MODEL_FLOWS, &count, &done),
				 0);
		for (uint32_t i = 0; i < count; i++)
			check_flow(m, &keys[i], &records[i], what);
	}
	if (m->flow_count)
		fail_msg("%s: %u flows are missing", what, m->flow_count);
	datapath_reset_fill(m->datapath, bank);
	m->since_ns = clock_ns(CLOCK_MONOTONIC_COARSE);
}

struct unrecorded {
	struct model_sum sums[_DIRECTION_MAX][_REASON_MAX];
};

static void add_unrecorded(void *userdata, const struct reason_key *key,
			   const struct reason_count *count)
{
	struct unrecorded *u = userdata;

	u->sums[key->point][key->reason].packets += count->packets;
	u->sums[key->point][key->reason].octets += count->octets;
}

static void check_reasons(const struct model *m, const char *what)
{
	struct unrecorded u = {0};

	assert_int_equal(datapath_unrecorded(m->datapath, add_unrecorded, &u), 0);
	for (int d = 0; d < _DIRECTION_MAX; d++)
		for (int i = 0; i < _REASON_MAX; i++)
			if (u.sums[d][i].packets != m->unrecorded[d][i].packets ||
			    u.sums[d][i].octets != m->unrecorded[d][i].octets)
				fail_msg(
					"%s: direction %d, reason %d: %lu packets, %lu octets; not %lu, %lu",
					what, d, i, (unsigned long)u.sums[d][i].packets,
					(unsigned long)u.sums[d][i].octets,
					(unsigned long)m->unrecorded[d][i].packets,
					(unsigned long)m->unrecorded[d][i].octets);
}

void model_check(struct model *m, const char *what)
{
	struct hook_count c;

	check_reasons(m, what);
	for (int d = 0; d < _DIRECTION_MAX; d++) {
		assert_int_equal(datapath_counts(m->datapath, d, &c), 0);
		if (c.bank[0].seen + c.bank[1].seen != m->seen[d] ||
		    c.bank[0].packets + c.bank[1].packets != m->accounted[d].packets ||
		    c.bank[0].octets + c.bank[1].octets != m->accounted[d].octets ||
		    c.bank[0].inserts + c.bank[1].inserts != m->inserts[d])
			fail_msg(
				"%s: direction %d: seen %lu, accounted %lu packets and %lu octets; not %lu, %lu, %lu",
				what, d, (unsigned long)(c.bank[0].seen + c.bank[1].seen),
				(unsigned long)(c.bank[0].packets + c.bank[1].packets),
				(unsigned long)(c.bank[0].octets + c.bank[1].octets),
				(unsigned long)m->seen[d], (unsigned long)m->accounted[d].packets,
				(unsigned long)m->accounted[d].octets);
	}
	check_bank(m, what);
}
