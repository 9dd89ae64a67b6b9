/* SPDX-License-Identifier: Apache-2.0 */
#include <net/if.h> /* before the kernel's own version of it */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/ethtool.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include "exporter/meter/netdev.h"

static void parse_altnames(const struct nlattr *list, struct netdev_message *ret)
{
	const struct nlattr *nested;

	mnl_attr_for_each_nested(nested, list)
	{
		if (mnl_attr_get_type(nested) == IFLA_ALT_IFNAME &&
		    ret->altname_count < NETDEV_ALTNAMES_MAX)
			ret->altnames[ret->altname_count++] = mnl_attr_get_str(nested);
	}
}

static void parse_attribute(const struct nlattr *attr, struct netdev_message *ret)
{
	struct netdev *dev = &ret->dev;
	const struct nlattr *nested;

	switch (mnl_attr_get_type(attr)) {
	case IFLA_IFNAME:
		snprintf(dev->name, sizeof(dev->name), "%s", mnl_attr_get_str(attr));
		break;
	case IFLA_MASTER:
		dev->master = mnl_attr_get_u32(attr);
		break;
	case IFLA_LINK:
		dev->link = mnl_attr_get_u32(attr);
		break;
	case IFLA_MTU:
		dev->mtu = mnl_attr_get_u32(attr);
		break;
	case IFLA_PROP_LIST:
		parse_altnames(attr, ret);
		break;
	case IFLA_LINKINFO:
		mnl_attr_for_each_nested(nested,
					 attr) if (mnl_attr_get_type(nested) == IFLA_INFO_KIND)
			snprintf(dev->kind, sizeof(dev->kind), "%s", mnl_attr_get_str(nested));
		break;
	case IFLA_XDP:
		mnl_attr_for_each_nested(nested,
					 attr) if (mnl_attr_get_type(nested) == IFLA_XDP_PROG_ID)
			dev->xdp_prog = mnl_attr_get_u32(nested);
		break;
	default:
		break;
	}
}

bool netdev_parse(const struct nlmsghdr *message, struct netdev_message *ret)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
	struct netdev_message parsed = {.gone = message->nlmsg_type == RTM_DELLINK};
	const struct nlattr *attr;
	bool whole = parsed.gone;

	if ((message->nlmsg_type != RTM_NEWLINK && message->nlmsg_type != RTM_DELLINK) ||
	    mnl_nlmsg_get_payload_len(message) < sizeof(*info) || info->ifi_family != AF_UNSPEC)
		return false;
	parsed.dev.ifindex = (uint32_t)info->ifi_index;
	parsed.dev.type = info->ifi_type;
	parsed.dev.up = info->ifi_flags & IFF_UP;
	mnl_attr_for_each(attr, message, sizeof(*info))
	{
		parse_attribute(attr, &parsed);
		whole |= mnl_attr_get_type(attr) == IFLA_MTU; /* wireless events have none */
	}
	if (!whole)
		return false;
	*ret = parsed;
	return true;
}

static void mnl_socket_closep(struct mnl_socket **socket)
{
	if (*socket)
		mnl_socket_close(*socket);
}

/* Takes the mark of an interrupted dump away, since libmnl would end there; true: it was there. */
static bool clear_interrupted(void *buffer, size_t size)
{
	struct nlmsghdr *message = buffer;
	int left = (int)size;
	bool interrupted = false;

	for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
		interrupted |= message->nlmsg_flags & NLM_F_DUMP_INTR;
		message->nlmsg_flags &= (uint16_t)~NLM_F_DUMP_INTR;
	}
	return interrupted;
}

/* Sends the request and reads the answer to its end: of a dump, or the acknowledgement. */
static int ask(struct nlmsghdr *request, uint16_t flags, mnl_cb_t callback, void *userdata)
{
	_cleanup_(mnl_socket_closep) struct mnl_socket *socket =
		mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	char buffer[32768]; /* dumps come in pieces of up to 32 KiB */
	bool interrupted = false;
	int r = MNL_CB_OK;
	ssize_t n;

	request->nlmsg_flags |= NLM_F_REQUEST | flags;
	request->nlmsg_seq = 1;
	if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
		return -errno;
	while (r == MNL_CB_OK) {
		n = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
		if (n < 0)
			return -errno;
		interrupted |= clear_interrupted(buffer, (size_t)n);
		r = mnl_cb_run(buffer, (size_t)n, request->nlmsg_seq, mnl_socket_get_portid(socket),
			       callback, userdata);
	}
	if (r < 0)
		return -errno;
	return interrupted ? -EINTR : 0;
}

int netdev_dump(struct nlmsghdr *request, mnl_cb_t callback, void (*restart)(void *userdata),
		void *userdata)
{
	int r = -EINTR;

	for (int tries = 0; tries < NETDEV_DUMP_TRIES && r == -EINTR; tries++) {
		if (restart)
			restart(userdata);
		r = ask(request, NLM_F_DUMP, callback, userdata);
	}
	return r;
}

int netdev_request(struct nlmsghdr *request, mnl_cb_t callback, void *userdata)
{
	return ask(request, NLM_F_ACK, callback, userdata);
}

int netdev_get(struct nlmsghdr *request, mnl_cb_t callback, void *userdata)
{
	return ask(request, NLM_F_ACK | NLM_F_ECHO, callback, userdata);
}

struct visitor {
	netdev_visit visit;
	void (*restart)(void *userdata);
	void *userdata;
};

static int visit_message(const struct nlmsghdr *message, void *data)
{
	const struct visitor *visitor = data;
	struct netdev_message parsed;

	if (netdev_parse(message, &parsed))
		visitor->visit(visitor->userdata, &parsed);
	return MNL_CB_OK;
}

static void restart_visitor(void *userdata)
{
	const struct visitor *visitor = userdata;

	if (visitor->restart)
		visitor->restart(visitor->userdata);
}

int netdev_list(netdev_visit visit, void (*restart)(void *userdata), void *userdata)
{
	struct visitor visitor = {.visit = visit, .restart = restart, .userdata = userdata};
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);

	request->nlmsg_type = RTM_GETLINK;
	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg)); /* AF_UNSPEC */
	return netdev_dump(request, visit_message, restart_visitor, &visitor);
}

static int take_one(const struct nlmsghdr *message, void *data)
{
	struct netdev_message *found = data;

	(void)netdev_parse(message, found);
	return MNL_CB_OK;
}

int netdev_find(uint32_t ifindex, struct netdev *ret)
{
	struct netdev_message found = {0};
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *info;
	int r;

	if (!ifindex)
		return -ENODEV;
	request->nlmsg_type = RTM_GETLINK;
	info = mnl_nlmsg_put_extra_header(request, sizeof(*info)); /* AF_UNSPEC */
	info->ifi_index = (int)ifindex;
	r = netdev_request(request, take_one, &found);
	if (r < 0)
		return r;
	if (found.dev.ifindex != ifindex)
		return -ENODEV;
	*ret = found.dev;
	return 0;
}

/* Room for the messages of some hundred interfaces that come at once; what is more gets lost, and is noticed. */
#define MONITOR_OCTETS (1 << 20)

int netdev_monitor_open(void)
{
	_cleanup_(closep) int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	const int size = MONITOR_OCTETS;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)); /* failing that, less */
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int netdev_monitor_read(int fd, unsigned int max, netdev_visit visit, void *userdata)
{
	struct visitor visitor = {.visit = visit, .userdata = userdata};
	char buffer[32768];
	struct sockaddr_nl from;
	socklen_t length;
	ssize_t n;

	for (; max > 0; max--) {
		length = sizeof(from);
		n = recvfrom(fd, buffer, sizeof(buffer), 0, (struct sockaddr *)&from, &length);
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (from.nl_pid == 0) /* the kernel's: any process may send to a netlink socket */
			mnl_cb_run(buffer, (size_t)n, 0, 0, visit_message, &visitor);
	}
	return 1;
}

bool netdev_is_ethernet(const struct netdev *dev)
{
	return dev->type == ARPHRD_ETHER || dev->type == ARPHRD_LOOPBACK;
}

bool netdev_is_bare(const struct netdev *dev)
{
	switch (dev->type) {
	case ARPHRD_NONE:
	case ARPHRD_RAWIP:
	case ARPHRD_PPP:
	case ARPHRD_TUNNEL:
	case ARPHRD_TUNNEL6:
	case ARPHRD_SIT:
	case ARPHRD_IPGRE:
	case ARPHRD_IP6GRE:
		return true;
	default:
		return false;
	}
}

static int ethtool(const char *name, void *command)
{
	_cleanup_(closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_data = command};

	if (fd < 0)
		return -errno;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	return ioctl(fd, SIOCETHTOOL, &request) < 0 ? -errno : 0;
}

int netdev_driver(const char *name, char *ret, size_t size)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	int r = ethtool(name, &info);

	if (r < 0)
		return r;
	snprintf(ret, size, "%s", info.driver);
	return 0;
}

static bool ethtool_is_on(const char *name, uint32_t command, uint32_t bits)
{
	struct ethtool_value value = {.cmd = command};

	return ethtool(name, &value) == 0 && (value.data & bits);
}

bool netdev_strips_vlan(const char *name)
{
	return ethtool_is_on(name, ETHTOOL_GFLAGS, ETH_FLAG_RXVLAN);
}

unsigned int netdev_offloads(const char *name)
{
	static const struct {
		uint32_t command, bits;
		enum netdev_offload offload;
	} offloads[] = {
		{ETHTOOL_GTSO, UINT32_MAX, NETDEV_TSO},
		{ETHTOOL_GGSO, UINT32_MAX, NETDEV_GSO},
		{ETHTOOL_GGRO, UINT32_MAX, NETDEV_GRO},
		{ETHTOOL_GFLAGS, ETH_FLAG_LRO, NETDEV_LRO},
		{ETHTOOL_GFLAGS, ETH_FLAG_RXVLAN, NETDEV_RX_VLAN},
	};
	unsigned int on = 0;

	for (size_t i = 0; i < ARRAY_SIZE(offloads); i++)
		if (ethtool_is_on(name, offloads[i].command, offloads[i].bits))
			on |= offloads[i].offload;
	return on;
}
