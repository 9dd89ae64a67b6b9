/* SPDX-License-Identifier: Apache-2.0 */
#include <netinet/in.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <linux/errqueue.h>
#include "exporter/export/udp.h"
#include "exporter/util.h"

int udp_connect(const struct sockaddr *address, size_t length)
{
	bool ipv6 = address->sa_family == AF_INET6;
	_cleanup_(closep) int fd =
		socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, ipv6 ? IPV6_RECVERR : IP_RECVERR, &one,
		       sizeof(one)) < 0)
		return -errno;
	if (connect(fd, address, (socklen_t)length) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* errno of an ICMP error among the control messages, 0 when it is none. */
static int icmp_error(struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		bool ipv4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR;
		bool ipv6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR;
		struct sock_extended_err error;

		if (!ipv4 && !ipv6)
			continue;
		memcpy(&error, CMSG_DATA(c), sizeof(error));
		if (error.ee_origin == SO_EE_ORIGIN_ICMP || error.ee_origin == SO_EE_ORIGIN_ICMP6)
			return (int)error.ee_errno;
	}
	return 0;
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
		answer.error = icmp_error(&message);
	}
	*ret = answer;
	return true;
}
