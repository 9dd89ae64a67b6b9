/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
#pragma once
/*
 * Parsed packets -> the active bank, or a named counter.  Each kind of record has an object with these maps.  They are
 * weak symbols: where bpftool links several files into one object, those share them.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "xdp/tally.h"

#define EEXIST 17

const volatile struct datapath_config config __weak = {};

/* Sizes are set at load. */
struct bank_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct flow_key);
	__type(value, struct flow_record);
};
struct bank_map bank0 SEC(".maps") __weak;
struct bank_map bank1 SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, POINTS_MAX);
	__type(key, __u32);
	__type(value, struct hook_count);
} counts SEC(".maps") __weak;

/* The rare path's counters.  Keys of ifindex 0 are made beforehand, for when the map is full. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, UNRECORDED_MAX);
	__type(key, struct reason_key);
	__type(value, struct reason_count);
} unrecorded SEC(".maps") __weak;

/* Wakes the drain thread when a bank has reached its high-water mark. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} wakeups SEC(".maps") __weak;

/* Writing a slot here returns after an RCU grace period: then no program uses the bank it left. */
struct inner_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
};
struct inner_map inner SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct inner_map);
} grace SEC(".maps") __weak;

struct datapath_state state __weak __attribute__((aligned(64)));

/* The bank in use.  Once in a program: what it counts belongs to one bank. */
static __always_inline __u32 active_bank(void)
{
	return *(volatile __u32 *)&state.index & 1;
}

static __always_inline void count_unrecorded(__u32 ifindex, __u32 point, __u32 bank, int reason,
					     __u64 packets, __u64 octets)
{
	struct reason_key key = {
		.ifindex = ifindex, .reason = reason, .point = point, .bank = bank};
	struct reason_count *count, zero = {};

	count = bpf_map_lookup_elem(&unrecorded, &key);
	if (!count) {
		bpf_map_update_elem(&unrecorded, &key, &zero, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&unrecorded, &key);
	}
	if (!count) {
		key.ifindex = 0;
		count = bpf_map_lookup_elem(&unrecorded, &key);
		if (!count)
			return; /* cannot be: made before any program was attached */
	}
	count->packets += packets;
	count->octets += octets;
}

/*
 * The compiler would make one call of all, with either map; the kernel replaces a lookup by the map
 * type's own code only where it knows which map it is.
 */
#define KEEP_APART(bank) __asm__ volatile("" : : "i"(bank))

#define BANK_CALL(ret, bank, call, ...) \
	do { \
		if (bank) { \
			ret = call(&bank1, __VA_ARGS__); \
			KEEP_APART(1); \
		} else { \
			ret = call(&bank0, __VA_ARGS__); \
			KEEP_APART(0); \
		} \
	} while (0)

static __always_inline struct flow_record *bank_lookup(__u32 bank, const struct flow_key *key)
{
	struct flow_record *record;

	BANK_CALL(record, bank, bpf_map_lookup_elem, key);
	return record;
}

static __always_inline long bank_insert(__u32 bank, const struct flow_key *key,
					const struct flow_record *record)
{
	long r;

	BANK_CALL(r, bank, bpf_map_update_elem, key, record, BPF_NOEXIST);
	return r;
}

#ifndef BANK_CLOCK_NS
#define BANK_CLOCK_NS bpf_ktime_get_coarse_ns
#endif

/* Loads come first: an atomic addition holds up those behind it until it is done. */
static __always_inline void record_add(struct flow_record *r, const struct packet *p,
				       const struct tally *t, __u64 now_ns)
{
	if (t->min_length < r->min_length)
		r->min_length = t->min_length;
	if (t->max_length > r->max_length)
		r->max_length = t->max_length;
	if (p->ttl < r->min_ttl)
		r->min_ttl = p->ttl;
	if (p->ttl > r->max_ttl)
		r->max_ttl = p->ttl;
	/* Another CPU may have been later, even the one which made the record. */
	if (now_ns > r->last_ns)
		r->last_ns = now_ns;
	if ((r->tcp_flags & p->tcp_flags) != p->tcp_flags) {
		struct flow_record add = {.tcp_flags = p->tcp_flags};

		__sync_fetch_and_or(&r->flags_word, add.flags_word);
	}
	__sync_fetch_and_add(&r->packets, t->packets);
	__sync_fetch_and_add(&r->octets, t->octets);
}

/* REASON_NONE: the flow is in the bank now, with this packet or another CPU's (*ret_raced). */
static __always_inline int bank_begin(__u32 bank, const struct packet *p, const struct tally *t,
				      __u64 now_ns, int *ret_raced)
{
	struct flow_record record = {};
	__u32 entries, wake = 0;
	long r;

	if (state.fill[bank].entries >= config.limit)
		return REASON_BANK_FULL;
	tally_record(p, t, now_ns, &record);
	r = bank_insert(bank, &p->key, &record);
	if (r == -EEXIST) {
		*ret_raced = 1;
		return REASON_NONE;
	}
	if (r)
		return REASON_INSERT_ERROR;
	entries = __sync_fetch_and_add(&state.fill[bank].entries, 1) + 1;
	if (entries == config.high_water)
		bpf_ringbuf_output(&wakeups, &wake, sizeof(wake), 0);
	return REASON_NONE;
}

/* Where a packet's flow is. */
struct place {
	__u64 now_ns;
	struct flow_record *record; /* NULL: not in the active bank yet */
};

static __always_inline void account_find(__u32 bank, const struct packet *p, struct place *place)
{
	place->now_ns = BANK_CLOCK_NS();
	place->record = bank_lookup(bank, &p->key);
}

/* Puts the packet into its flow; counts it by name where that cannot be. */
static __always_inline void account_add(__u32 bank, struct bank_count *count, __u32 point,
					const struct packet *p, const struct tally *t,
					const struct place *place)
{
	struct flow_record *record = place->record;
	int reason, raced = 0;

	if (!record) {
		reason = bank_begin(bank, p, t, place->now_ns, &raced);
		if (reason == REASON_NONE && raced) {
			record = bank_lookup(bank, &p->key);
			if (!record)
				reason = REASON_INSERT_ERROR;
		}
		if (reason != REASON_NONE) {
			count_unrecorded(p->key.ifindex, point, bank, reason, t->packets,
					 t->octets);
			return;
		}
		if (!raced)
			count->inserts++;
	}
	count->packets += t->packets;
	count->octets += t->octets;
	if (record)
		record_add(record, p, t, place->now_ns);
}

static __always_inline void account(__u32 bank, struct bank_count *count, __u32 point,
				    const struct packet *p, const struct tally *t)
{
	struct place place;

	account_find(bank, p, &place);
	account_add(bank, count, point, p, t, &place);
}

/* Counters of a point with the bank that is in use; NULL cannot be. */
static __always_inline struct bank_count *count_begin(__u32 point, __u32 bank)
{
	struct hook_count *count = bpf_map_lookup_elem(&counts, &point);

	return count ? &count->bank[bank] : NULL;
}
