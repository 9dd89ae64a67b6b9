/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TC programs attached to real interfaces, tap with and tun without an Ethernet header: frames
 * whose headers lie partly or wholly in an skb's fragments, tags that the kernel has taken out of the
 * bytes, super-packets whose segments nobody has counted, frames that end in their IP header.  What
 * BPF_PROG_TEST_RUN cannot make comes here through the kernel's own doors, which say in a
 * virtio_net_hdr how many octets go into the linear part.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <cmocka.h>
#include "exporter/meter/hook.h"
#include "tests/bpf/model.h"
#include "tests/packets.h"

#define FRAME_OCTETS 4600 /* below a page the kernel makes every skb linear */

struct interface {
	int fd;	    /* what is written here arrives at the interface */
	int packet; /* what is sent here leaves by it */
	uint32_t ifindex;
	struct hook hooks[_DIRECTION_MAX];
};

struct context {
	struct datapath *datapath;
	struct model model;
	struct interface interfaces[2]; /* tap; tun: bare */
};

/* One frame for an interface. */
struct frame_out {
	struct virtio_net_hdr header;
	const uint8_t *bytes;
	uint32_t size;
	uint16_t ethertype;
};

static int transmit(const struct interface *i, enum flow_direction direction,
		    const struct frame_out *f)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_ifindex = (int)i->ifindex,
				 .sll_protocol = htons(f->ethertype),
				 .sll_halen = 6};
	struct iovec parts[] = {{(void *)&f->header, sizeof(f->header)},
				{(void *)f->bytes, f->size}};
	struct msghdr message = {
		.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = parts, .msg_iovlen = 2};
	ssize_t n = direction == DIRECTION_INGRESS ? writev(i->fd, parts, 2)
						   : sendmsg(i->packet, &message, 0);

	return n < 0 ? -errno : 0;
}

static enum datapath_program program_of(int bare, enum flow_direction direction)
{
	if (direction == DIRECTION_EGRESS)
		return bare ? PROGRAM_TC_EGRESS_BARE : PROGRAM_TC_EGRESS;
	return bare ? PROGRAM_TC_INGRESS_BARE : PROGRAM_TC_INGRESS;
}

/*
 * A frame with `linear` octets in reach to the interface and to the model.  On arrival the kernel takes
 * the outermost tag out of the bytes, and refuses what it cannot: the model gets what is left.
 */
static void give(struct context *c, int bare, enum flow_direction direction, const char *name,
		 const uint8_t *bytes, uint32_t size, uint32_t linear)
{
	const struct interface *i = &c->interfaces[bare];
	uint16_t ethertype = bare ? (bytes[0] >> 4 == 4 ? ETH_P_IP : ETH_P_IPV6)
				  : (uint16_t)(bytes[12] << 8 | bytes[13]);
	const struct frame_out f = {.header.hdr_len = (uint16_t)linear,
				    .bytes = bytes,
				    .size = size,
				    .ethertype = ethertype};
	struct run run = {
		.bytes = bytes, .size = size, .linear = MIN(linear, size), .ifindex = i->ifindex};
	uint8_t untagged[FRAME_OCTETS];
	int r = transmit(i, direction, &f);

	if (r < 0)
		fail_msg("%s, %u in reach: %s", name, linear, strerror(-r));
	if (size < 4096)
		run.linear = 0;
	run.ethertype = ethertype;
	if (!bare && direction == DIRECTION_INGRESS &&
	    (ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD)) {
		memcpy(untagged, bytes, 12);
		memcpy(untagged + 12, bytes + 16, size - 16);
		run.bytes = untagged;
		run.size -= 4;
		run.linear = run.linear ? MAX(run.linear, 20) - 4 : 0;
		run.vlan_tagged = true;
		run.vlan = (uint16_t)(bytes[14] << 8 | bytes[15]);
	}
	model_add(&c->model, program_of(bare, direction), &run);
}

/* The table's packet as the interface carries it; NULL: it does not. */
static const uint8_t *wire_bytes(const struct test_packet *t, int bare, uint32_t *ret_size)
{
	uint32_t skip = bare && !t->ethertype ? ETH_HLEN : 0;
	uint16_t type = t->ethertype ? t->ethertype : (uint16_t)(t->bytes[12] << 8 | t->bytes[13]);

	if (t->gso_size || (t->vlan_tagged && bare) || (!bare && t->ethertype) || t->size <= skip)
		return NULL;
	/* Of a tun device the first four bits are the type. */
	if (bare && (t->bytes[skip] >> 4 != (type == ETH_P_IP ? 4 : 6) ||
		     (type != ETH_P_IP && type != ETH_P_IPV6)))
		return NULL;
	*ret_size = t->size - skip;
	return t->bytes + skip;
}

/* Every packet of the table in a frame of more than a page, with every number of octets in reach. */
static void test_far_headers(void **state)
{
	static uint8_t frame[FRAME_OCTETS];
	struct context *c = *state;

	for (int k = 0; k < 4; k++)
		for (size_t i = 0; i < TEST_PACKETS; i++) {
			const struct test_packet *t = &test_packets[i];
			int bare = k / 2, direction = k % 2;
			uint32_t size;
			const uint8_t *bytes = wire_bytes(t, bare, &size);

			if (!bytes)
				continue;
			memset(frame, 0xee, sizeof(frame));
			memcpy(frame, bytes, size);
			for (uint32_t n = bare ? 1 : ETH_HLEN; n <= size; n++)
				give(c, bare, direction, t->name, frame, sizeof(frame), n);
			model_check(&c->model, t->name);
		}
}

/* Headers of more octets than are pulled are out of reach, and in reach where the kernel has them there. */
static void test_too_far_headers(void **state)
{
	static const uint8_t start[] = {ETH(0x86dd), IP6(1032, 60), 17, 127, 1, 4};
	static const uint8_t end[] = {UDP(8)};
	static uint8_t frame[FRAME_OCTETS];
	struct context *c = *state;

	memset(frame, 0, sizeof(frame));
	memcpy(frame, start, sizeof(start));
	memcpy(frame + 54 + 1024, end, sizeof(end));
	for (int direction = 0; direction < _DIRECTION_MAX; direction++) {
		uint64_t before = c->model.unrecorded[direction][REASON_OUT_OF_REACH].packets;

		for (uint32_t n = ETH_HLEN; n < 54 + 1024 + 20; n++)
			give(c, 0, direction, "1024 octets of options", frame, sizeof(frame), n);
		model_check(&c->model, "1024 octets of options");
		/* the ports are the last four octets that are needed */
		assert_int_equal(c->model.unrecorded[direction][REASON_OUT_OF_REACH].packets -
					 before,
				 54 + 1024 + 4 - ETH_HLEN);
	}
}

static void test_short_frames(void **state)
{
	struct context *c = *state;

	for (int k = 0; k < 4; k++)
		for (size_t i = 0; i < TEST_PACKETS; i++) {
			const struct test_packet *t = &test_packets[i];
			int bare = k / 2, direction = k % 2;
			uint32_t size;
			const uint8_t *bytes = wire_bytes(t, bare, &size);
			/* With less behind a tag the kernel does not take it out but drops the frame. */
			uint32_t least = bare				  ? 1
					 : direction == DIRECTION_INGRESS ? ETH_HLEN + 6
									  : ETH_HLEN + 4;

			if (!bytes)
				continue;
			for (uint32_t n = least; n <= size; n++)
				give(c, bare, direction, t->name, bytes, n, 0);
			model_check(&c->model, t->name);
		}
}

/* From tun, virtio and packet sockets a super-packet comes without a count of its segments. */
static void test_gso(void **state)
{
	static const uint8_t headers[] = {ETH(0x0800), IP4(0, 6), TCP(0x018)};
	static uint8_t frame[FRAME_OCTETS];
	struct context *c = *state;
	struct frame_out f = {.header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					 .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
					 .hdr_len = sizeof(headers),
					 .gso_size = 1000,
					 .csum_start = 34,
					 .csum_offset = 16},
			      .bytes = frame,
			      .ethertype = ETH_P_IP};

	memset(frame, 0xee, sizeof(frame));
	memcpy(frame, headers, sizeof(headers));
	for (int direction = 0; direction < _DIRECTION_MAX; direction++)
		for (f.size = 1200; f.size <= sizeof(frame); f.size += 97) {
			const struct run run = {.bytes = frame,
						.size = f.size,
						.ifindex = c->interfaces[0].ifindex,
						.gso_size = 1000};

			frame[16] = (uint8_t)((f.size - ETH_HLEN) >> 8);
			frame[17] = (uint8_t)(f.size - ETH_HLEN);
			assert_int_equal(transmit(&c->interfaces[0], direction, &f), 0);
			model_add(&c->model, program_of(0, direction), &run);
			model_check(&c->model, "segments not counted");
		}
	assert_true(c->model.seen[DIRECTION_EGRESS] > 0);
}

static int interface_up(const char *name, int mtu)
{
	_cleanup_(closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_mtu = mtu};

	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (fd < 0 || ioctl(fd, SIOCSIFMTU, &request) < 0)
		return -errno;
	request.ifr_flags = IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

static int open_packet(void)
{
	const int one = 1;
	_cleanup_(closep) int fd =
		socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0); /* receives nothing */

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int open_interface(struct context *c, int bare)
{
	struct interface *i = &c->interfaces[bare];
	const char *name = bare ? "tun0" : "tap0";
	int r;

	i->hooks[0] = i->hooks[1] = HOOK_INIT;
	i->fd = run_make_interface(name, bare, &i->ifindex);
	i->packet = open_packet();
	if (i->fd < 0 || i->packet < 0)
		return -1;
	r = interface_up(name, FRAME_OCTETS);
	for (int d = 0; r == 0 && d < _DIRECTION_MAX; d++)
		r = hook_attach_tc(&i->hooks[d], c->datapath, i->ifindex, (enum flow_direction)d,
				   bare);
	return r;
}

/* Without IPv6 a fresh namespace sends nothing of its own. */
static int quiet_namespace(void)
{
	_cleanup_(fclosep) FILE *file = NULL;

	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	file = fopen("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w");
	if (file)
		fputs("1\n", file);
	return 0;
}

static int open_context(void **state)
{
	struct context *c = calloc(1, sizeof(*c));

	if (!c || quiet_namespace() < 0)
		return -1;
	c->datapath = run_open(MAX(MODEL_FLOWS * 2, datapath_entries_min()));
	model_init(&c->model, c->datapath);
	*state = c;
	return open_interface(c, 0) ?: open_interface(c, 1);
}

static int close_context(void **state)
{
	struct context *c = *state;

	for (int i = 0; i < 2; i++) {
		hook_detach(&c->interfaces[i].hooks[0]);
		hook_detach(&c->interfaces[i].hooks[1]);
		close(c->interfaces[i].fd);
		close(c->interfaces[i].packet);
	}
	datapath_free(c->datapath);
	free(c);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_far_headers),
		cmocka_unit_test(test_too_far_headers),
		cmocka_unit_test(test_short_frames),
		cmocka_unit_test(test_gso),
	};

	run_require();
	return cmocka_run_group_tests_name("interface", tests, open_context, close_context);
}
