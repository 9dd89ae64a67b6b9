/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Tells a live exporter's clsact filter from what a dead one left behind.  An exporter owns a netlink
 * socket with a port id of its own, which stands in the name of each of its filters.  The socket is a
 * member of a multicast group of NETLINK_USERSOCK, and only CAP_NET_ADMIN over the network namespace
 * makes a member (netlink_allowed(), net/netlink/af_netlink.c), as only CAP_NET_ADMIN makes a filter.
 * Port ids are known in one network namespace, as the filters are, and end with the process.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What an owner's line in /proc/net/netlink says. */
enum owner_state {
	OWNER_NONE,   /* nobody has this port id */
	OWNER_LIVE,   /* a member of the group */
	OWNER_FOREIGN /* somebody has the port id who is no member: anybody can do that */
};

/* A socket that marks this process as an owner, and its id, never 0.  -errno; -EPERM without CAP_NET_ADMIN. */
int owner_open(int *ret_fd, uint32_t *ret_id);

/*
 * 0: the owner is dead.  *ret_fd is then its port id's new socket, which makes the caller the only one who
 * may clear up after it, or -1 where a foreign process has the port id.  -EBUSY: the owner is alive, or
 * whether it is cannot be told.  Never waits for another process.
 */
int owner_take(uint32_t id, int *ret_fd);

/* Reads one line of /proc/net/netlink; OWNER_NONE: it is about another socket. */
enum owner_state owner_parse(const char *line, uint32_t id);
