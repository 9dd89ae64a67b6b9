/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the kernel says of network interfaces: rtnetlink and ethtool, in the caller's network namespace. */
#include <net/if.h>
#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stdint.h>
#include "exporter/util.h"

struct netdev {
	char name[IFNAMSIZ];
	uint32_t ifindex;
	uint32_t master;   /* ifindex of the bridge, bond, ... it belongs to; 0: none */
	uint32_t link;	   /* ifindex of the interface below (VLAN, veth peer, ...); 0: none */
	uint32_t mtu;	   /* octets */
	uint32_t xdp_prog; /* id of the XDP program attached; 0: none */
	uint16_t type;	   /* ARPHRD_* */
	bool up;	   /* IFF_UP: somebody wants it to work */
	char kind[16];	   /* "veth", "vlan", "bridge", ...; empty for physical ones */
};

#define NETDEV_ALTNAMES_MAX 16

/* One RTM_NEWLINK or RTM_DELLINK.  The alternative names (up to ALTIFNAMSIZ octets) point into the message. */
struct netdev_message {
	struct netdev dev;
	bool gone; /* RTM_DELLINK: only dev.ifindex is of use */
	const char *altnames[NETDEV_ALTNAMES_MAX];
	size_t altname_count;
};

/*
 * False for other messages, for those of a bridge about its ports (AF_BRIDGE), whose RTM_DELLINK is not the end of an
 * interface, and for those that hold a part of the attributes (wireless events).
 */
bool netdev_parse(const struct nlmsghdr *message, struct netdev_message *ret);

typedef void (*netdev_visit)(void *userdata, const struct netdev_message *message);

/* How often a dump is asked for that the kernel says was interrupted by a change (NLM_F_DUMP_INTR). */
#define NETDEV_DUMP_TRIES 8

/*
 * Sends the request, a dump, and gives every message of the answer to `callback`.  A dump that a change interrupted is
 * asked for again; `restart` (NULL: nothing to do) comes before each try.  -EINTR: each was interrupted; the callback
 * has then seen all of the last one, in which something may be missing or twice.  Other -errno.
 */
int netdev_dump(struct nlmsghdr *request, mnl_cb_t callback, void (*restart)(void *userdata),
		void *userdata);

/*
 * Sends the request, with the flags that it has, and gives its answer, if there is one beside the acknowledgement, to
 * `callback` (NULL: none is expected).  -errno, of the answer too.
 */
int netdev_request(struct nlmsghdr *request, mnl_cb_t callback, void *userdata);

/* The same for one object, whose message the kernel sends to all who watch too (NLM_F_ECHO).  -errno, of its answer too. */
int netdev_get(struct nlmsghdr *request, mnl_cb_t callback, void *userdata);

/* What the kernel says of one interface.  -ENODEV: it is none; other -errno. */
int netdev_find(uint32_t ifindex, struct netdev *ret);

/* All interfaces, by netdev_dump(), for which the same holds. */
int netdev_list(netdev_visit visit, void (*restart)(void *userdata), void *userdata);

/* A non-blocking socket that gets a message for each interface that comes, goes or changes. */
int netdev_monitor_open(void);

/*
 * Reads up to `max` datagrams of the monitor.  1: there may be more; 0: it is empty; -ENOBUFS: messages got lost, so
 * that a list is needed; other -errno.
 */
int netdev_monitor_read(int fd, unsigned int max, netdev_visit visit, void *userdata);

/* Frames begin with an Ethernet header / with the network header; false for both: a link layer that is not known. */
bool netdev_is_ethernet(const struct netdev *dev);
bool netdev_is_bare(const struct netdev *dev);

/* The driver's name by ethtool; -EOPNOTSUPP where it has none. */
int netdev_driver(const char *name, char *ret, size_t size);

/* The NIC takes VLAN tags out of received frames (rx-vlan-offload). */
bool netdev_strips_vlan(const char *name);

/* What a device or the stack does to packets before the hooks see them, or after. */
enum netdev_offload {
	NETDEV_TSO = 1 << 0,
	NETDEV_GSO = 1 << 1,
	NETDEV_GRO = 1 << 2,
	NETDEV_LRO = 1 << 3,
	NETDEV_RX_VLAN = 1 << 4, /* netdev_strips_vlan() */
};

/* Bits of those that are on; 0 also where the kernel does not tell. */
unsigned int netdev_offloads(const char *name);
