// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * Packets that the kernel throws away, by flow and by its own reason.  The tracepoint is of the whole
 * machine: what belongs to another network namespace is left alone, unless all are wanted.
 */
#define CURSOR_BUFFER 256	       /* octets of headers that are copied from a dropped packet */
#define BANK_CLOCK_NS bpf_ktime_get_ns /* tracing programs may not read the coarse clock */

#include "xdp/account.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define DST_NOREF     1UL /* in a packet's reference to its route */
#define DROP_BURST_NS (1000000000ULL)
#define HEADER_UNSET  0xffff /* a header's offset that nobody has set */
#define POINT_DROP    0	     /* drops are counted in one place */

struct drop_selection selection = {};

/* What is read of the kernel's structures, whose real layout is put in at load (CO-RE). */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
};

struct sock_common {
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
};

struct dst_entry {
	struct net_device *dev;
};

struct sk_buff {
	struct net_device *dev;
	unsigned long _skb_refdst; /* the route, and a flag */
	struct sock *sk;
	unsigned int len;
	unsigned int data_len;
	int skb_iif;
	__be16 protocol;
	__u16 vlan_tci;
	__u32 vlan_all;
	__u16 network_header;
	__u16 mac_header;
	unsigned int end; /* an offset, on 64-bit machines */
	unsigned char *head;
	unsigned char *data;
};

/* Before 6.3. */
struct sk_buff___flag {
	__u8 vlan_present : 1;
};

struct skb_shared_info {
	unsigned short gso_size;
	unsigned short gso_segs;
};

#pragma clang attribute pop

/*
 * What is known of a dropped packet.  One for each CPU: the kernel does not run a program of a tracepoint
 * inside itself.  In a map, the verifier forgets by which of many ways each value came about.
 */
struct drop {
	__u64 budget_ns; /* when all drops that were recorded would be paid for, at one each drop_cost_ns */
	__u32 namespace; /* its inode; 0: unknown */
	__u32 ifindex;	 /* 0: unknown */
	__u32 octets;	 /* in memory */
	__u16 reason;	 /* drop_reason_pack() */
	__u16 gso_size;
	__u16 segments; /* on the wire */
	__u8 kind;
	__u8 headers[CURSOR_BUFFER + CURSOR_SLACK];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct drop);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROP_REASON_MAX * 2);
	__type(key, __u32);
	__type(value, struct drop_count);
} drop_counts SEC(".maps");

/* Inodes of namespaces lie from below PROC_DYNAMIC_FIRST (include/linux/proc_ns.h) on; what is beyond is half a pointer. */
#define NAMESPACE_MIN 0xefffff00
#define NAMESPACE_MAX 0xfff00000

/*
 * Only the skb itself may be read directly.  What hangs on it need not be what its type says, and some kernels
 * trust that type: then a plain load would take the machine down where a helper's reads 0.
 */
static __always_inline __u32 namespace_of(struct net *net)
{
	__u32 inode = BPF_CORE_READ(net, ns.inum);

	return inode >= NAMESPACE_MIN && inode < NAMESPACE_MAX ? inode : 0;
}

static __always_inline __u32 namespace_of_socket(struct sock *sk)
{
	return sk ? namespace_of(BPF_CORE_READ(sk, __sk_common.skc_net.net)) : 0;
}

/*
 * An skb in a socket's queue, or one that waits for its other fragments, has other things in the place of its
 * device: it is believed where a namespace is found behind it, and not another one than the receiver's.  A packet
 * that was made here gets its device late, after the firewall; its route has it before.
 */
static __always_inline struct net_device *drop_device(struct drop *d, const struct sk_buff *skb)
{
	struct dst_entry *dst = (void *)(skb->_skb_refdst & ~DST_NOREF);
	struct net_device *dev = skb->dev;
	__u32 namespace;

	if (!dev && !skb->skb_iif)
		dev = BPF_CORE_READ(dst, dev);
	namespace = namespace_of(BPF_CORE_READ(dev, nd_net.net));
	if (!namespace || (d->namespace && d->namespace != namespace))
		return NULL;
	d->namespace = namespace;
	return dev;
}

/* The link layer's header has been taken off: what is on its way out has none yet, or begins with it. */
static __always_inline int drop_has_arrived(const struct sk_buff *skb)
{
	__u32 mac = skb->mac_header;

	return skb->skb_iif ||
	       (mac != 0 && mac != HEADER_UNSET && skb->data - skb->head > (long)mac);
}

static __always_inline void drop_place(struct drop *d, struct sk_buff *skb, struct sock *rx_sk)
{
	__u32 arrived = skb->skb_iif;
	struct net_device *dev;

	d->namespace = namespace_of_socket(rx_sk);
	dev = drop_device(d, skb);
	if (!d->namespace)
		d->namespace =
			namespace_of_socket(skb->sk); /* the sender's, be it from another one */
	d->ifindex = dev ? BPF_CORE_READ(dev, ifindex) : 0;
	/* made here, or on its way out by another interface */
	d->kind = FLOW_DROP;
	if (!drop_has_arrived(skb) || (arrived && d->ifindex && d->ifindex != arrived))
		d->kind |= FLOW_EGRESS;
	if (!d->ifindex && d->namespace)
		d->ifindex = arrived;
}

static __always_inline int drop_vlan(const struct sk_buff *skb, __u16 *ret_vlan)
{
	const struct sk_buff___flag *old = (const void *)skb;
	int tagged;

	if (bpf_core_field_exists(skb->vlan_all))
		tagged = skb->vlan_all != 0;
	else if (bpf_core_field_exists(old->vlan_present))
		tagged = BPF_CORE_READ_BITFIELD_PROBED(old, vlan_present);
	else
		tagged = 0;
	*ret_vlan = skb->vlan_tci & 0x0fff;
	return tagged;
}

static __always_inline void drop_size(struct drop *d, struct sk_buff *skb)
{
	struct skb_shared_info *info = (void *)(skb->head + skb->end);

	bpf_core_read(&d->gso_size, sizeof(d->gso_size), &info->gso_size);
	d->octets = skb->len;
	d->segments = 0;
	if (d->gso_size)
		bpf_core_read(&d->segments, sizeof(d->segments), &info->gso_segs);
	if (!d->segments)
		d->segments = 1;
}

/*
 * Headers lie where the kernel has marked them, whatever part of the packet `data` begins at by now.  0
 * is no mark: there is always room in front of a packet.  A tag that was put into the bytes on the way out
 * is in front of the network header, which stays where it was.
 */
static __always_inline int drop_parse(struct drop *d, struct sk_buff *skb, struct packet *p)
{
	__u32 start = skb->network_header, ethernet = skb->mac_header, linear;
	int before = (int)(skb->data - skb->head), octets;
	struct frame f = {.ethertype = bpf_ntohs(skb->protocol), .gso = d->gso_size != 0};
	struct cursor c = {.data = d->headers};

	__builtin_memset(p, 0, sizeof(*p));
	p->key.ifindex = d->ifindex;
	p->key.kind = d->kind;
	if (start != 0 && start != HEADER_UNSET && f.ethertype != 0 && !parse_is_vlan(f.ethertype))
		ethernet = HEADER_UNSET;
	else if (ethernet != 0 && ethernet != HEADER_UNSET)
		start = ethernet;
	else
		return REASON_NO_HEADER;
	f.vlan_tagged = drop_vlan(skb, &f.vlan);
	octets = (int)skb->len + before - (int)start;
	if (octets <= 0)
		return REASON_NO_HEADER;
	f.octets = octets;
	linear = octets - skb->data_len;
	if (linear > f.octets)
		return REASON_NO_HEADER;
	c.end = linear < CURSOR_BUFFER ? linear : CURSOR_BUFFER;
	PARSE_OPAQUE(c.end);
	if (c.end > CURSOR_BUFFER || bpf_probe_read_kernel(d->headers, c.end, skb->head + start))
		return REASON_OUT_OF_REACH;
	return ethernet == HEADER_UNSET ? parse_bare(&c, &f, p) : parse_ethernet(&c, &f, p);
}

static __always_inline void count_drop(__u32 reason, __u32 bank, __u64 packets, __u64 octets)
{
	__u32 index = bank * DROP_REASON_MAX + reason;
	struct drop_count *count = bpf_map_lookup_elem(&drop_counts, &index);

	if (count) {
		count->packets += packets;
		count->octets += octets;
	}
}

static __always_inline void account_drop(struct drop *d, struct packet *p, __u32 bank,
					 struct bank_count *count)
{
	struct tally t;

	p->key.drop_reason = d->reason;
	tally_packet(p, d->segments == 1 ? 0 : d->segments, d->gso_size, &t);
	if (t.packets != d->segments)
		count->seen += (__u64)t.packets - d->segments;
	count_drop(d->reason, bank, t.packets, t.octets);
	account(bank, count, POINT_DROP, p, &t);
}

/*
 * The kernel reports the members of a packet's fragment list too, as drops without a reason, be the packet
 * delivered or dropped, which has been reported by itself.  Before 6.3 the function that walks the list does.
 */
static __always_inline int drop_is_part(__u64 location, __u32 reason)
{
	return location - config.release.start < config.release.size ||
	       (reason == config.not_specified &&
		location - config.release_list.start < config.release_list.size);
}

/*
 * In a storm a CPU records so many drops by flow as it is allowed to, a second's worth of them at once; the rest costs
 * little.  Without a lock: the kernel does not run the program inside itself.
 */
static __always_inline int drop_is_affordable(struct drop *d)
{
	__u32 cost_ns = *(volatile __u32 *)&selection.cost_ns;
	__u64 now_ns;

	if (!cost_ns)
		return 1;
	now_ns = bpf_ktime_get_ns();
	if (d->budget_ns < now_ns)
		d->budget_ns = now_ns;
	if (d->budget_ns - now_ns > DROP_BURST_NS)
		return 0;
	d->budget_ns += cost_ns;
	return 1;
}

/*
 * Whether nothing tells the namespace, where one's own is wanted.  Such are datagrams that nobody has read before their
 * socket was closed: they have no device, no socket and no route any more, and are freed when RCU has time, whatever task
 * is then current.  Before 6.11 a datagram for which a socket has no room is like them, and as frequent as drops
 * get: those kernels' drops for a reason count as own.
 */
static __always_inline int drop_is_homeless(const struct drop *d, __u32 reason)
{
	return config.drop_namespace && !d->namespace && !selection.everywhere &&
	       (config.drop_socket || reason == config.not_specified);
}

SEC("?tp_btf/kfree_skb")
int flowtally_drop(__u64 *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	struct sock *rx_sk = config.drop_socket ? (void *)ctx[3] : NULL;
	__u32 zero = 0, point = POINT_DROP, packed = drop_reason_pack(ctx[2]);
	__u32 bank = active_bank();
	struct bank_count *count = count_begin(point, bank);
	struct drop *d = bpf_map_lookup_elem(&drops, &zero);
	int reason = REASON_EXCLUDED;
	struct packet p;

	if (!count || !d || drop_is_part(ctx[1], ctx[2]))
		return 0;
	drop_place(d, skb, rx_sk);
	if (config.drop_namespace && d->namespace && d->namespace != config.drop_namespace) {
		if (!selection.everywhere)
			return 0;
		d->ifindex = 0; /* means nothing outside its namespace */
	}
	d->reason = packed;
	drop_size(d, skb);
	count->seen += d->segments;
	if (drop_is_homeless(d, ctx[2])) {
		count_unrecorded(d->ifindex, POINT_DROP, bank, REASON_NAMESPACE_UNKNOWN,
				 d->segments, d->octets);
		return 0;
	}
	if (!selection.excluded[packed & (DROP_REASON_MAX - 1)])
		reason = drop_is_affordable(d) ? drop_parse(d, skb, &p) : REASON_BUDGET;
	if (reason == REASON_NONE) {
		account_drop(d, &p, bank, count);
	} else {
		count_unrecorded(d->ifindex, POINT_DROP, bank, reason, d->segments, d->octets);
		count_drop(d->reason, bank, d->segments, d->octets);
	}
	return 0;
}

/*
 * What is attached.  It calls the program through an array, so that another object's program takes over between one drop
 * and the next: none is counted twice or by neither.  Slots are enum datapath_program.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, _PROGRAM_MAX);
	__type(key, __u32);
	__type(value, __u32);
} jump SEC(".maps");

SEC("?tp_btf/kfree_skb")
int flowtally_d_s5(__u64 *ctx)
{
	bpf_tail_call(ctx, &jump, PROGRAM_DROP);
	return 0;
}

/* By interface; rare, so that the CPUs share a counter. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} xdp_exceptions SEC(".maps");

SEC("?tp_btf/xdp_exception")
int flowtally_xdp_exception(__u64 *ctx)
{
	struct net_device *dev = (void *)ctx[0];
	__u32 ifindex = dev->ifindex;
	__u64 *count, zero = 0;

	if (config.drop_namespace && dev->nd_net.net->ns.inum != config.drop_namespace)
		return 0;
	count = bpf_map_lookup_elem(&xdp_exceptions, &ifindex);
	if (!count) {
		bpf_map_update_elem(&xdp_exceptions, &ifindex, &zero, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&xdp_exceptions, &ifindex);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

char _license[] SEC("license") __weak = "Dual BSD/GPL";
