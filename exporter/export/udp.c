/* SPDX-License-Identifier: Apache-2.0 */
#include <netinet/in.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include "exporter/export/transport/address.h"
#include "exporter/export/udp.h"
#include "exporter/util.h"

#define HEADERS_IPV4 28 /* octets: IP and UDP */
#define HEADERS_IPV6 48

/* -EADDRNOTAVAIL when it is of the other family, -ENODEV when its interface is not there. */
static int bind_source(int fd, sa_family_t family, const struct ip_address *source)
{
	struct sockaddr_storage address;
	socklen_t length;
	int r;

	if (source->family != family)
		return -EADDRNOTAVAIL;
	r = address_locate(source, 0, &address, &length);
	if (r < 0)
		return r;
	if (bind(fd, (struct sockaddr *)&address, length) < 0)
		return -errno;
	return 0;
}

void udp_address(const struct sockaddr *address, struct in6_addr *ret, uint32_t *ret_scope)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;

	*ret = (struct in6_addr){0};
	*ret_scope = 0;
	if (address->sa_family == AF_INET6) {
		*ret = v6->sin6_addr;
		*ret_scope = v6->sin6_scope_id;
	} else if (address->sa_family == AF_INET) {
		ret->s6_addr[10] = ret->s6_addr[11] = 0xff;
		memcpy(&ret->s6_addr[12], &v4->sin_addr, sizeof(v4->sin_addr));
	}
}

int udp_usable(struct sockaddr *address, socklen_t *length)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
	struct sockaddr_in v4 = {.sin_family = AF_INET};

	if (address->sa_family != AF_INET6)
		return 0;
	if (address_needs_scope(&v6->sin6_addr) && !v6->sin6_scope_id)
		return -EINVAL;
	if (!IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		return 0;
	v4.sin_port = v6->sin6_port;
	memcpy(&v4.sin_addr, &v6->sin6_addr.s6_addr[12], sizeof(v4.sin_addr));
	memcpy(address, &v4, sizeof(v4));
	*length = sizeof(v4);
	return 0;
}

/* Nobody reads what arrives, and it must not take the room of what ICMP says. */
static int drop_arrivals(int fd)
{
	struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = {.len = 1, .filter = &nothing};

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0)
		return -errno;
	return 0;
}

/* ICMP errors are told, and nothing is fragmented: the path's MTU is for us to follow. */
static int set_options(int fd, sa_family_t family, uint8_t dscp)
{
	bool ipv6 = family == AF_INET6;
	int level = ipv6 ? IPPROTO_IPV6 : IPPROTO_IP;
	int one = 1, tos = dscp << 2, discover = ipv6 ? IPV6_PMTUDISC_DO : IP_PMTUDISC_DO;

	if (setsockopt(fd, level, ipv6 ? IPV6_RECVERR : IP_RECVERR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, level, ipv6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &discover,
		       sizeof(discover)) < 0 ||
	    (dscp && setsockopt(fd, level, ipv6 ? IPV6_TCLASS : IP_TOS, &tos, sizeof(tos)) < 0))
		return -errno;
	return drop_arrivals(fd);
}

int udp_connect(const struct sockaddr *address, size_t length, const struct ip_address *source,
		uint8_t dscp)
{
	sa_family_t family = address->sa_family;
	_cleanup_(closep) int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = set_options(fd, family, dscp);
	if (r >= 0 && source)
		r = bind_source(fd, family, source);
	if (r < 0)
		return r;
	if (connect(fd, address, (socklen_t)length) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int udp_payload_max(int fd)
{
	struct sockaddr_storage peer = {0};
	socklen_t length = sizeof(peer);
	bool ipv6;
	int mtu;

	if (getpeername(fd, (struct sockaddr *)&peer, &length) < 0)
		return -errno;
	ipv6 = peer.ss_family == AF_INET6;
	length = sizeof(mtu);
	if (getsockopt(fd, ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, ipv6 ? IPV6_MTU : IP_MTU, &mtu,
		       &length) < 0)
		return -errno;
	return MAX(mtu - (ipv6 ? HEADERS_IPV6 : HEADERS_IPV4), 0);
}

/* Of a destination that is unreachable, this is no verdict on a port or by a filter. */
static bool names_host(const struct sock_extended_err *e)
{
	if (e->ee_origin == SO_EE_ORIGIN_ICMP)
		return e->ee_type == ICMP_DEST_UNREACH &&
		       (e->ee_code == ICMP_NET_UNREACH || e->ee_code == ICMP_HOST_UNREACH);
	return e->ee_type == ICMP6_DST_UNREACH &&
	       (e->ee_code == ICMP6_DST_UNREACH_NOROUTE || e->ee_code == ICMP6_DST_UNREACH_ADDR);
}

/* Reads an ICMP error from the control messages; false when there is none. */
static bool icmp_error(struct msghdr *message, struct udp_answer *ret)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		bool ipv4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR;
		bool ipv6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR;
		struct {
			struct sock_extended_err error;
			struct sockaddr_in6 from;
		} e = {0};
		uint32_t scope;

		if (!ipv4 && !ipv6)
			continue;
		memcpy(&e, CMSG_DATA(c), MIN(c->cmsg_len - CMSG_LEN(0), sizeof(e)));
		if (e.error.ee_origin != SO_EE_ORIGIN_ICMP &&
		    e.error.ee_origin != SO_EE_ORIGIN_ICMP6)
			continue;
		udp_address((struct sockaddr *)&e.from, &ret->from, &scope);
		ret->about_host = names_host(&e.error);
		ret->error = (int)e.error.ee_errno;
		return true;
	}
	return false;
}

/* An ICMP error for which the socket's error queue had no room; unread it would end epoll_wait() for ever. */
static bool left_error(int fd, struct udp_answer *ret)
{
	int error = 0;
	socklen_t length = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 || !error)
		return false;
	*ret = (struct udp_answer){.error = error};
	return true;
}

bool udp_next_answer(int fd, struct udp_answer *ret)
{
	char control[512] __attribute__((aligned(sizeof(struct cmsghdr))));
	struct udp_answer answer = {0};
	struct iovec quote = {answer.quote, sizeof(answer.quote)};

	/* What is no ICMP error is one of our own sends', which has failed with it already. */
	while (!answer.error) {
		struct msghdr message = {.msg_iov = &quote,
					 .msg_iovlen = 1,
					 .msg_control = control,
					 .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT);

		if (n < 0)
			return left_error(fd, ret);
		answer.quoted = (size_t)n;
		(void)icmp_error(&message, &answer);
	}
	*ret = answer;
	return true;
}
