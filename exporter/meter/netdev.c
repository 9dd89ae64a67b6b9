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

static int link_attribute(const struct nlattr *attr, void *data)
{
	struct netdev *dev = data;
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
	return MNL_CB_OK;
}

static int link_message(const struct nlmsghdr *message, void *data)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
	struct netdev_list *list = data;
	struct netdev *grown;

	if (message->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	grown = reallocarray(list->devices, list->count + 1, sizeof(*grown));
	if (!grown)
		return MNL_CB_ERROR;
	list->devices = grown;
	grown[list->count] =
		(struct netdev){.ifindex = (uint32_t)info->ifi_index, .type = info->ifi_type};
	mnl_attr_parse(message, sizeof(*info), link_attribute, &grown[list->count]);
	list->count++;
	return MNL_CB_OK;
}

static void mnl_socket_closep(struct mnl_socket **socket)
{
	if (*socket)
		mnl_socket_close(*socket);
}

int netdev_dump(struct nlmsghdr *request, mnl_cb_t callback, void *userdata)
{
	_cleanup_(mnl_socket_closep) struct mnl_socket *socket =
		mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	char buffer[32768]; /* dumps come in pieces of up to 32 KiB */
	int r = MNL_CB_OK;
	ssize_t n;

	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request->nlmsg_seq = 1;
	if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
		return -errno;
	while (r == MNL_CB_OK) {
		n = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
		if (n < 0)
			return -errno;
		r = mnl_cb_run(buffer, (size_t)n, request->nlmsg_seq, mnl_socket_get_portid(socket),
			       callback, userdata);
	}
	return r < 0 ? -errno : 0;
}

int netdev_list_get(struct netdev_list *ret)
{
	_cleanup_(netdev_list_clear) struct netdev_list list = {0};
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *info;
	int r;

	request->nlmsg_type = RTM_GETLINK;
	info = mnl_nlmsg_put_extra_header(request, sizeof(*info));
	info->ifi_family = AF_UNSPEC;
	r = netdev_dump(request, link_message, &list);
	if (r < 0)
		return r;
	*ret = list;
	list = (struct netdev_list){0};
	return 0;
}

void netdev_list_clear(struct netdev_list *list)
{
	free(list->devices);
	*list = (struct netdev_list){0};
}

const struct netdev *netdev_list_find_index(const struct netdev_list *list, uint32_t ifindex)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->devices[i].ifindex == ifindex)
			return &list->devices[i];
	return NULL;
}

const struct netdev *netdev_list_find(const struct netdev_list *list, const char *name)
{
	for (size_t i = 0; i < list->count; i++)
		if (!strcmp(list->devices[i].name, name))
			return &list->devices[i];
	return netdev_list_find_index(list, if_nametoindex(name)); /* knows alternative names */
}

int netdev_monitor_open(void)
{
	_cleanup_(closep) int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};

	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* What changed does not matter, nor whether some of it got lost (ENOBUFS): a full list is read after it. */
void netdev_monitor_clear(int fd)
{
	char buffer[8192];

	while (recv(fd, buffer, sizeof(buffer), 0) > 0 || errno == ENOBUFS)
		;
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

bool netdev_strips_vlan(const char *name)
{
	struct ethtool_value flags = {.cmd = ETHTOOL_GFLAGS};

	return ethtool(name, &flags) == 0 && (flags.data & ETH_FLAG_RXVLAN);
}
