/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TC programs attached to real interfaces, tap with and tun without an Ethernet header: frames
 * whose headers lie partly or wholly in an skb's fragments, tags that the kernel has taken out of the
 * bytes, super-packets whose segments nobody has counted, frames that end in their IP header.  What
 * BPF_PROG_TEST_RUN cannot make comes here through the kernel's own doors, which say in a
 * virtio_net_hdr how many octets go into the linear part.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
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

/* From Linux 6.2. */
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

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

/* On arrival the kernel takes the outermost tag out of the bytes: the model gets what is left. */
static void untag(struct run *run, uint8_t untagged[FRAME_OCTETS])
{
	if (run->ethertype != ETH_P_8021Q && run->ethertype != ETH_P_8021AD)
		return;
	memcpy(untagged, run->bytes, 12);
	memcpy(untagged + 12, run->bytes + 16, run->size - 16);
	run->vlan_tagged = true;
	run->vlan = (uint16_t)(run->bytes[14] << 8 | run->bytes[15]);
	run->bytes = untagged;
	run->size -= 4;
	run->linear = run->linear ? MAX(run->linear, 20) - 4 : 0;
}

/* A frame with `linear` octets in reach to the interface and to the model. */
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
	if (!bare && direction == DIRECTION_INGRESS)
		untag(&run, untagged);
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

/* A super-packet's headers; its IP length stands at length_at and does not count the octets in front. */
struct gso_headers {
	const char *name;
	int bare;
	const uint8_t *bytes;
	uint16_t size;
	uint16_t transport_at;
	uint16_t length_at;
	uint16_t in_front;
	uint8_t type;
};

#define GSO_HEADERS(...) \
	.bytes = (const uint8_t[]){__VA_ARGS__}, .size = sizeof((const uint8_t[]){__VA_ARGS__})

static const struct gso_headers gso_headers[] = {
	{"TCP, IPv4", 0, GSO_HEADERS(ETH(0x0800), IP4(0, 6), TCP(0x018)), 34, 16, 14,
	 VIRTIO_NET_HDR_GSO_TCPV4},
	{"TCP, IPv6", 0, GSO_HEADERS(ETH(0x86dd), IP6(0, 6), TCP(0x018)), 54, 18, 54,
	 VIRTIO_NET_HDR_GSO_TCPV6},
	{"UDP, IPv4", 0, GSO_HEADERS(ETH(0x0800), IP4(0, 17), UDP(0)), 34, 16, 14,
	 VIRTIO_NET_HDR_GSO_UDP_L4},
	{"TCP, IPv4, tagged", 0, GSO_HEADERS(ETH(0x8100), TAG(100, 0x0800), IP4(0, 6), TCP(0x018)),
	 38, 20, 18, VIRTIO_NET_HDR_GSO_TCPV4},
	{"TCP, IPv6, tagged", 0, GSO_HEADERS(ETH(0x8100), TAG(100, 0x86dd), IP6(0, 6), TCP(0x018)),
	 58, 22, 58, VIRTIO_NET_HDR_GSO_TCPV6},
	{"TCP, IPv4, bare", 1, GSO_HEADERS(IP4(0, 6), TCP(0x018)), 20, 2, 0,
	 VIRTIO_NET_HDR_GSO_TCPV4},
	{"TCP, IPv6, bare", 1, GSO_HEADERS(IP6(0, 6), TCP(0x018)), 40, 4, 40,
	 VIRTIO_NET_HDR_GSO_TCPV6},
	{"UDP, IPv6, bare", 1, GSO_HEADERS(IP6(0, 17), UDP(0)), 40, 4, 40,
	 VIRTIO_NET_HDR_GSO_UDP_L4},
};

/* False: this kernel takes none such. */
static bool give_gso(struct context *c, enum flow_direction direction, const struct gso_headers *h,
		     uint32_t size, uint16_t pushed_vlan)
{
	static uint8_t frame[FRAME_OCTETS], untagged[FRAME_OCTETS];
	const struct interface *i = &c->interfaces[h->bare];
	struct frame_out f = {.header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					 .gso_type = h->type,
					 .hdr_len = h->size,
					 .gso_size = 1000,
					 .csum_start = h->transport_at,
					 .csum_offset = h->type == VIRTIO_NET_HDR_GSO_UDP_L4 ? 6
											     : 16},
			      .bytes = frame,
			      .size = size};
	struct run run = {.bytes = frame,
			  .size = size,
			  .ifindex = i->ifindex,
			  .gso_size = 1000,
			  .vlan_tagged = pushed_vlan != 0,
			  .vlan = pushed_vlan};
	int r;

	memset(frame, 0xee, sizeof(frame));
	memcpy(frame, h->bytes, h->size);
	frame[h->length_at] = (uint8_t)((size - h->in_front) >> 8);
	frame[h->length_at + 1] = (uint8_t)(size - h->in_front);
	f.ethertype = h->bare ? (frame[0] >> 4 == 4 ? ETH_P_IP : ETH_P_IPV6)
			      : (uint16_t)(frame[12] << 8 | frame[13]);
	r = transmit(i, direction, &f);
	if (r == -EINVAL && h->type == VIRTIO_NET_HDR_GSO_UDP_L4)
		return false;
	if (r < 0)
		fail_msg("%s, %u octets: %s", h->name, size, strerror(-r));
	run.ethertype = f.ethertype;
	if (!h->bare && direction == DIRECTION_INGRESS)
		untag(&run, untagged);
	model_add(&c->model, program_of(h->bare, direction), &run);
	return true;
}

/* From tun, virtio and packet sockets a super-packet comes without a count of its segments. */
static void test_gso(void **state)
{
	struct context *c = *state;

	for (int direction = 0; direction < _DIRECTION_MAX; direction++)
		for (size_t i = 0; i < ARRAY_SIZE(gso_headers); i++) {
			bool able = true;

			for (uint32_t size = 1200; able && size <= FRAME_OCTETS; size += 97)
				able = give_gso(c, direction, &gso_headers[i], size, 0);
			model_check(&c->model, gso_headers[i].name);
			if (!able)
				print_message("# this kernel cannot: %s\n", gso_headers[i].name);
		}
}

/* Leaving, a tag beside the bytes of a super-packet: what a VLAN device puts there, here a program does. */
static void test_gso_pushed_vlan(void **state)
{
	const struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = htons(ETH_P_8021Q)},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = 100},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_skb_vlan_push},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = -1}, /* go on */
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_link_create_opts, before, .flags = 1 << 3);
	struct context *c = *state;
	_cleanup_(closep) int link = -1, program = -1;

	if (!datapath_features(c->datapath)->tcx) {
		print_message("# not without tcx\n");
		return;
	}
	program = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "pusher", "GPL", code, ARRAY_SIZE(code),
				NULL);
	assert_true(program >= 0);
	link = bpf_link_create(program, (int)c->interfaces[0].ifindex, (enum bpf_attach_type)47,
			       &before);
	assert_true(link >= 0);
	for (size_t i = 0; i < 3; i++)
		for (uint32_t size = 1200; size <= FRAME_OCTETS; size += 97)
			if (!give_gso(c, DIRECTION_EGRESS, &gso_headers[i], size, 100))
				break;
	model_check(&c->model, "pushed tag");
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
		cmocka_unit_test(test_far_headers),	cmocka_unit_test(test_too_far_headers),
		cmocka_unit_test(test_short_frames),	cmocka_unit_test(test_gso),
		cmocka_unit_test(test_gso_pushed_vlan),
	};

	run_require();
	return cmocka_run_group_tests_name("interface", tests, open_context, close_context);
}
