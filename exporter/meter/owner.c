/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/meter/owner.h"
#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include "exporter/util.h"

/* Of 32; nobody ever sends to it. */
#define OWNER_GROUP 10

#define OWNER_GROUP_MASK (1u << (OWNER_GROUP - 1))

/* How often another port id is tried: they are random, so that nobody can have taken them in advance. */
#define OWNER_ATTEMPTS 8

/* Anybody may send to the socket: what it holds is limited to the least that the kernel allows. */
static int open_socket(uint32_t id)
{
	const struct sockaddr_nl address = {
		.nl_family = AF_NETLINK,
		.nl_pid = id,
		.nl_groups = OWNER_GROUP_MASK,
	};
	const int octets = 0;
	_cleanup_(closep) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_USERSOCK);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &octets, sizeof(octets)) < 0 ||
	    bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int owner_open(int *ret_fd, uint32_t *ret_id)
{
	uint32_t id;
	int fd;

	for (int i = 0; i < OWNER_ATTEMPTS; i++) {
		if (getrandom(&id, sizeof(id), GRND_NONBLOCK) != sizeof(id))
			id = (uint32_t)clock_ns(CLOCK_MONOTONIC) ^ (uint32_t)getpid() << 16;
		id |= !id;
		fd = open_socket(id);
		if (fd >= 0) {
			*ret_fd = fd;
			*ret_id = id;
			return 0;
		}
		if (fd != -EADDRINUSE)
			return fd;
	}
	return -EADDRINUSE;
}

/* "sk Eth Pid Groups ...": Eth is the protocol, Pid the port id, Groups a bit each, hexadecimal. */
enum owner_state owner_parse(const char *line, uint32_t id)
{
	unsigned int protocol, port, groups;

	if (sscanf(line, "%*s %u %u %x", &protocol, &port, &groups) != 3 ||
	    protocol != NETLINK_USERSOCK || port != id)
		return OWNER_NONE;
	return groups & OWNER_GROUP_MASK ? OWNER_LIVE : OWNER_FOREIGN;
}

static int look_up(uint32_t id, enum owner_state *ret)
{
	_cleanup_(fclosep) FILE *file = fopen("/proc/thread-self/net/netlink", "re");
	enum owner_state state = OWNER_NONE;
	char line[256];

	if (!file)
		return -errno;
	while (state == OWNER_NONE && fgets(line, sizeof(line), file))
		state = owner_parse(line, id);
	if (ferror(file))
		return -EIO;
	*ret = state;
	return 0;
}

int owner_take(uint32_t id, int *ret_fd)
{
	enum owner_state state = OWNER_NONE;
	int fd = open_socket(id);

	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	if (fd != -EADDRINUSE)
		return fd;
	if (look_up(id, &state) < 0 || state != OWNER_FOREIGN)
		return -EBUSY;
	*ret_fd = -1;
	return 0;
}
