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
#include "exporter/export/transport/udp_socket.h"
#include "exporter/util.h"

#define HEADERS_IPV4 28 /* octets: IP and UDP */
#define HEADERS_IPV6 48

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
static int set_options(int fd, sa_family_t family)
{
	bool ipv6 = family == AF_INET6;
	int level = ipv6 ? IPPROTO_IPV6 : IPPROTO_IP;
	int one = 1, discover = ipv6 ? IPV6_PMTUDISC_DO : IP_PMTUDISC_DO;

	if (setsockopt(fd, level, ipv6 ? IPV6_RECVERR : IP_RECVERR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, level, ipv6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &discover,
		       sizeof(discover)) < 0)
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
	r = set_options(fd, family);
	if (r >= 0)
		r = address_set_local(fd, family, source, dscp);
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
		address_of((struct sockaddr *)&e.from, &ret->from, &scope);
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
