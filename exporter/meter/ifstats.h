/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The kernel's own counters of packets on metered interfaces, as they grew while each was attached.
 * They count other things at other points than the hooks (docs/metering.md): never summed with theirs.
 */
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "exporter/util.h"

struct nlmsghdr;

/*
 * Fields of struct rtnl_link_stats64 by their names (linux/if_link.h), each a loss but for the packets, and the drops
 * of the root and of the ingress or clsact qdisc (struct gnet_stats_queue, linux/gen_stats.h).  xdp_exceptions are what
 * their reader puts in (drops.h).
 */
#define IFSTATS_LINK(X) \
	X(rx_packets, false) \
	X(tx_packets, false) \
	X(rx_errors, true) \
	X(rx_dropped, true) \
	X(rx_missed_errors, true) \
	X(rx_nohandler, true) \
	X(tx_errors, true) \
	X(tx_dropped, true)
#define IFSTATS(X) \
	IFSTATS_LINK(X) \
	X(qdisc_drops, true) \
	X(ingress_qdisc_drops, true) \
	X(xdp_exceptions, true)

enum ifstat {
#define X(name, loss) IFSTAT_##name,
	IFSTATS(X)
#undef X
	_IFSTAT_MAX,
};

/* A qdisc, and what it says at one moment; without a kind there is none. */
struct ifstats_qdisc {
	char kind[16];
	uint32_t handle;
	uint32_t drops; /* wraps */
};

/* What the kernel says of one interface at one moment; the two of qdiscs are in these. */
struct ifstats_sample {
	char name[IFNAMSIZ];
	uint32_t ifindex;
	uint64_t link[_IFSTAT_MAX];
	struct ifstats_qdisc root;
	struct ifstats_qdisc ingress;
};

struct ifstats_interface {
	char name[IFNAMSIZ]; /* the last known */
	uint32_t ifindex;    /* 0: those folded together, of which there were too many */
	bool attached;
	bool sampled; /* `last` is there, of this attachment */
	uint64_t counters[_IFSTAT_MAX];
	struct ifstats_sample last;
};

/* All that were attached at some time, oldest first; begins as {0}. */
struct ifstats {
	unsigned int others; /* atomic: who else holds it, of one on the heap */
	struct ifstats_interface *interfaces;
	size_t count;
	uint64_t read_ns; /* CLOCK_MONOTONIC of the last sample; 0: there was none */
};

/* How many interfaces that are gone are kept apart; older ones are one entry, ifindex 0 and name "gone". */
#define IFSTATS_GONE_MAX 256

void ifstats_clear(struct ifstats *stats);

/* -ENOMEM; then *ret is untouched. */
int ifstats_copy(struct ifstats *ret, const struct ifstats *stats);

/* The same on the heap. */
int ifstats_clone(struct ifstats **ret, const struct ifstats *stats);

/* Another holder, in any thread; from then on nobody changes it. */
struct ifstats *ifstats_hold(struct ifstats *stats);

/* In any thread; the last holder frees it. */
struct ifstats *ifstats_free(struct ifstats *stats);
DEFINE_CLEANUP(struct ifstats *, ifstats_free)

/*
 * Counting begins here, or goes on from here: reads the kernel's counters of this interface alone.  -ENOMEM; without an
 * answer from the kernel the next ifstats_read() is where it begins.
 */
int ifstats_attach(struct ifstats *stats, const char *name, uint32_t ifindex);

/* Reads the counters of this interface for the last time; what is gone keeps what was last known of it. */
void ifstats_detach(struct ifstats *stats, uint32_t ifindex);

/* Reads two dumps from the kernel, however many interfaces there are.  -errno of netlink; counters then stay. */
int ifstats_read(struct ifstats *stats);

const char *ifstat_name(enum ifstat stat);
bool ifstat_is_loss(enum ifstat stat);

/* The kernel counted a packet or frame that did not get through. */
bool ifstats_has_loss(const struct ifstats_interface *interface);

/*
 * From one message of a dump.  False for what is another message, has no such statistics, or is a qdisc below the
 * root: the root's drops have those of its children in them (qdisc_tree_reduce_backlog(), mq_dump() in net/sched).
 */
bool ifstats_parse_link(const struct nlmsghdr *message, struct ifstats_sample *ret);
bool ifstats_parse_qdisc(const struct nlmsghdr *message, uint32_t *ret_ifindex, bool *ret_ingress,
			 struct ifstats_qdisc *ret);

/* The first sample is where counting begins.  What went back (a driver's reset) counts on from there. */
void ifstats_account(struct ifstats_interface *interface, const struct ifstats_sample *sample);
