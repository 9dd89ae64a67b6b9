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
	uint16_t type;	   /* ARPHRD_* */
	char kind[16];	   /* "veth", "vlan", "bridge", ...; empty for physical ones */
	uint32_t xdp_prog; /* id of the XDP program attached; 0: none */
};

struct netdev_list {
	struct netdev *devices;
	size_t count;
};

/* All interfaces.  -errno of netlink. */
int netdev_list_get(struct netdev_list *ret);
void netdev_list_clear(struct netdev_list *list);

/* NULL: not in it.  By a name that may be an alternative one. */
const struct netdev *netdev_list_find(const struct netdev_list *list, const char *name);
const struct netdev *netdev_list_find_index(const struct netdev_list *list, uint32_t ifindex);

/* Sends the request, a dump, and gives every message of the answer to `callback`.  -errno. */
int netdev_dump(struct nlmsghdr *request, mnl_cb_t callback, void *userdata);

/* A socket that is readable when interfaces come, go or change; netdev_monitor_clear() empties it. */
int netdev_monitor_open(void);
void netdev_monitor_clear(int fd);

/* Frames begin with an Ethernet header / with the network header; false for both: a link layer that is not known. */
bool netdev_is_ethernet(const struct netdev *dev);
bool netdev_is_bare(const struct netdev *dev);

/* The driver's name by ethtool; -EOPNOTSUPP where it has none. */
int netdev_driver(const char *name, char *ret, size_t size);

/* The NIC takes VLAN tags out of received frames (rx-vlan-offload). */
bool netdev_strips_vlan(const char *name);
