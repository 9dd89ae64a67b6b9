/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kinds of interfaces, in two network namespaces that a veth joins: what arrives and what leaves is counted once, as
 * what it was.  A kind that this kernel does not have is left out, and that is said.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>
#include "exporter/meter/hook.h"
#include "exporter/meter/netdev.h"
#include "tests/bpf/run.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

#define NEAR 0 /* the namespace that is metered */
#define FAR  1

#define PORT	7000
#define PACKETS 10
#define PAYLOAD 64
#define FLOWS	64

/* Keys of a test's own, for a tunnel that nobody else can read. */
#define IPSEC_KEYS \
	"auth-trunc 'hmac(sha256)' 0x000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f 128 " \
	"enc 'cbc(aes)' 0x000102030405060708090a0b0c0d0e0f"

struct flows {
	struct flow_key keys[FLOWS];
	struct flow_record records[FLOWS];
	uint32_t count;
	uint64_t unrecorded[POINTS_MAX][_REASON_MAX];
};

struct context {
	int namespaces[2];
	struct datapath *datapath;
	struct hook hooks[_DIRECTION_MAX];
};

static struct context context;

static void enter(int namespace)
{
	assert_int_equal(setns(context.namespaces[namespace], CLONE_NEWNET), 0);
}

/* A shell command; false when it fails. */
_printf_(2, 3) static bool try_run(int namespace, const char *format, ...)
{
	char command[1024];
	va_list args;
	int length, r;

	va_start(args, format);
	length = vsnprintf(command, sizeof(command) - 16, format, args);
	va_end(args);
	assert_true(length > 0 && (size_t)length < sizeof(command) - 16);
	snprintf(command + length, 16, " 2>/dev/null");
	enter(namespace);
	r = system(command); /* NOLINT(cert-env33-c): words of this file's own */
	enter(NEAR);
	return r == 0;
}

#define run(...) assert_true(try_run(__VA_ARGS__))

static int new_namespace(void)
{
	int fd;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* u0 and u1, joined. */
static int open_devices(_unused_ void **state)
{
	context = (struct context){.hooks = {HOOK_INIT, HOOK_INIT}};
	context.namespaces[FAR] = new_namespace();
	context.namespaces[NEAR] = new_namespace();
	context.datapath = run_open(datapath_entries_min());
	for (int i = 0; i < 2; i++)
		run(i,
		    "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 "
		    "net.ipv6.conf.default.addr_gen_mode=1 net.ipv6.conf.default.router_solicitations=0; "
		    "ip link set lo up");
	run(NEAR, "ip link add u0 type veth peer name u1 netns /proc/%d/fd/%d", getpid(),
	    context.namespaces[FAR]);
	for (int i = 0; i < 2; i++)
		run(i,
		    "ip link set u%d up && ip address add 10.9.0.%d/24 dev u%d && "
		    "ip address add fd09::%d/64 dev u%d nodad",
		    i, i + 1, i, i + 1, i);
	return 0;
}

static int close_devices(_unused_ void **state)
{
	for (int d = 0; d < _DIRECTION_MAX; d++)
		hook_detach(&context.hooks[d]);
	datapath_free(context.datapath);
	close(context.namespaces[NEAR]);
	close(context.namespaces[FAR]);
	return 0;
}

struct search {
	const char *name;
	struct netdev found;
};

static void on_device(void *userdata, const struct netdev_message *message)
{
	struct search *search = userdata;

	if (!strcmp(message->dev.name, search->name))
		search->found = message->dev;
}

/* Both directions of an interface by TC, as the exporter attaches them. */
static uint32_t attach(const char *name)
{
	struct search search = {.name = name};
	const struct netdev *dev = &search.found;
	uint32_t ifindex;

	assert_int_equal(netdev_list(on_device, NULL, &search), 0);
	ifindex = dev->ifindex;
	assert_int_not_equal(ifindex, 0);
	assert_true(netdev_is_bare(dev) || netdev_is_ethernet(dev));
	for (int d = 0; d < _DIRECTION_MAX; d++)
		assert_int_equal(hook_attach_tc(&context.hooks[d], context.datapath, ifindex,
						(enum flow_direction)d, netdev_is_bare(dev)),
				 0);
	return ifindex;
}

static int open_socket(int namespace, const char *address, uint16_t port)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	bool ipv6 = inet_pton(AF_INET, address, &a4.sin_addr) != 1;
	struct timeval wait = {.tv_sec = 3};
	int fd, one = 1;

	enter(namespace);
	fd = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_true(!ipv6 || inet_pton(AF_INET6, address, &a6.sin6_addr) == 1);
	setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	assert_int_equal(ipv6 ? bind(fd, (struct sockaddr *)&a6, sizeof(a6))
			      : bind(fd, (struct sockaddr *)&a4, sizeof(a4)),
			 0);
	enter(NEAR);
	return fd;
}

static void send_to(int fd, const char *address, unsigned int count)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	bool ipv6 = inet_pton(AF_INET, address, &a4.sin_addr) != 1;
	uint8_t payload[PAYLOAD] = {0};

	assert_true(!ipv6 || inet_pton(AF_INET6, address, &a6.sin6_addr) == 1);
	for (; count; count--)
		assert_int_equal(
			ipv6 ? sendto(fd, payload, PAYLOAD, 0, (struct sockaddr *)&a6, sizeof(a6))
			     : sendto(fd, payload, PAYLOAD, 0, (struct sockaddr *)&a4, sizeof(a4)),
			PAYLOAD);
}

static unsigned int receive(int fd, unsigned int count)
{
	uint8_t payload[2 * PAYLOAD];
	unsigned int n;

	for (n = 0; n < count && recv(fd, payload, sizeof(payload), 0) == PAYLOAD; n++)
		;
	return n;
}

/* So many datagrams in each direction, which arrive; the addresses are of both ends. */
static void exchange(const char *near, const char *far)
{
	_cleanup_(closep) int one = open_socket(NEAR, near, PORT);
	_cleanup_(closep) int other = open_socket(FAR, far, PORT);

	send_to(one, far, PACKETS);
	send_to(other, near, PACKETS);
	assert_int_equal(receive(other, PACKETS), PACKETS);
	assert_int_equal(receive(one, PACKETS), PACKETS);
}

static void add_unrecorded(void *userdata, const struct reason_key *key,
			   const struct reason_count *count)
{
	struct flows *flows = userdata;

	flows->unrecorded[key->point][key->reason] += count->packets;
}

/* Detaches, and all that was counted since the datapath was opened. */
static struct flows collect(void)
{
	unsigned int bank = datapath_active(context.datapath);
	struct flows flows = {0};
	uint32_t position = 0;
	bool done = false;

	for (int d = 0; d < _DIRECTION_MAX; d++)
		hook_detach(&context.hooks[d]);
	assert_int_equal(datapath_unrecorded(context.datapath, add_unrecorded, &flows), 0);
	assert_int_equal(datapath_read(context.datapath, bank, &position, flows.keys, flows.records,
				       FLOWS, &flows.count, &done),
			 0);
	assert_true(done);
	return flows;
}

static struct flow_record sum(const struct flows *flows, uint8_t protocol, uint8_t egress)
{
	struct flow_record sum = {0};

	for (uint32_t i = 0; i < flows->count; i++)
		if (flows->keys[i].protocol == protocol &&
		    (flows->keys[i].kind & FLOW_EGRESS) == egress) {
			sum.packets += flows->records[i].packets;
			sum.octets += flows->records[i].octets;
		}
	return sum;
}

/* Nothing but datagrams, and what IPv6 says of itself. */
static void check_datagrams(const struct flows *flows, uint32_t ifindex, uint32_t header)
{
	struct flow_record r;

	for (uint8_t egress = 0; egress < 2; egress++) {
		r = sum(flows, IPPROTO_UDP, egress);
		assert_int_equal(r.packets, PACKETS);
		assert_int_equal(r.octets, PACKETS * (header + 8 + PAYLOAD));
	}
	for (uint32_t i = 0; i < flows->count; i++) {
		assert_int_equal(flows->keys[i].ifindex, ifindex);
		assert_true(flows->keys[i].protocol == IPPROTO_UDP ||
			    flows->keys[i].protocol == IPPROTO_ICMPV6);
	}
	for (int reason = 0; reason < _REASON_MAX; reason++)
		if (reason != REASON_ARP)
			for (int point = 0; point < POINTS_MAX; point++)
				assert_int_equal(flows->unrecorded[point][reason], 0);
}

struct kind {
	const char *name;
	const char *add[2]; /* `ip link add t0 ` and this */
	const char *then;   /* in both namespaces; NULL: nothing */
	bool ipv6;	    /* what goes through it */
};

#define BOTH(type, near, far) \
	{ \
		type " " near, type " " far \
	}
#define ENDS4(type) BOTH(type, "local 10.9.0.1 remote 10.9.0.2", "local 10.9.0.2 remote 10.9.0.1")
#define ENDS6(type) BOTH(type, "local fd09::1 remote fd09::2", "local fd09::2 remote fd09::1")

#define IPSEC_STATES(more) \
	"ip xfrm state add src 10.9.0.1 dst 10.9.0.2 proto esp spi 0x101 mode tunnel " more \
	" " IPSEC_KEYS \
	" && ip xfrm state add src 10.9.0.2 dst 10.9.0.1 proto esp spi 0x102 mode tunnel " more \
	" " IPSEC_KEYS

static const struct kind kinds[] = {
	{"gre", ENDS4("type gre"), NULL, false},
	{"gre, IPv6 inside", ENDS4("type gre"), NULL, true},
	{"gre without a remote end", BOTH("type gre key 7", "local 10.9.0.1", "local 10.9.0.2"),
	 "ip neighbour replace 10.8.0.1 lladdr 10.9.0.1 dev t0 nud permanent; "
	 "ip neighbour replace 10.8.0.2 lladdr 10.9.0.2 dev t0 nud permanent",
	 false},
	{"gretap", ENDS4("type gretap"), NULL, false},
	{"ipip", ENDS4("type ipip"), NULL, false},
	{"sit", ENDS4("type sit"), NULL, true},
	{"ip6gre", ENDS6("type ip6gre"), NULL, false},
	{"ip6tnl, IPv4 inside", ENDS6("type ip6tnl mode any"), NULL, false},
	{"ip6tnl, IPv6 inside", ENDS6("type ip6tnl mode any"), NULL, true},
	{"vxlan",
	 BOTH("type vxlan id 7 dstport 4789", "local 10.9.0.1 remote 10.9.0.2",
	      "local 10.9.0.2 remote 10.9.0.1"),
	 NULL, false},
	{"geneve", BOTH("type geneve id 7", "remote 10.9.0.2", "remote 10.9.0.1"), NULL, false},
	{"vti",
	 BOTH("type vti key 7", "local 10.9.0.1 remote 10.9.0.2", "local 10.9.0.2 remote 10.9.0.1"),
	 IPSEC_STATES(""), false},
	{"xfrm", BOTH("type xfrm", "dev u0 if_id 7", "dev u1 if_id 7"),
	 IPSEC_STATES("if_id 7 flag af-unspec"), false},
	{"xfrm, IPv6 inside", BOTH("type xfrm", "dev u0 if_id 7", "dev u1 if_id 7"),
	 IPSEC_STATES("if_id 7 flag af-unspec"), true},
};

/* Policies of xfrm interfaces and of plain IPsec, for what goes through t0 or to the addresses on lo. */
static void add_policies(int namespace, const char *more, const char *net4, const char *net6)
{
	const char *nets[] = {net4, net6};
	int other = !namespace;

	for (int i = 0; i < 2; i++) {
		run(namespace,
		    "ip xfrm policy add src %s dst %s dir out %s tmpl src 10.9.0.%d dst 10.9.0.%d "
		    "proto esp mode tunnel",
		    nets[i], nets[i], more, namespace + 1, other + 1);
		run(namespace,
		    "ip xfrm policy add src %s dst %s dir in %s tmpl src 10.9.0.%d dst 10.9.0.%d "
		    "proto esp mode tunnel",
		    nets[i], nets[i], more, other + 1, namespace + 1);
	}
}

static bool make_kind(const struct kind *k)
{
	for (int i = 0; i < 2; i++) {
		if (!try_run(i, "ip link add t0 %s", k->add[i]))
			return false;
		run(i,
		    "ip link set t0 up && ip address add 10.8.0.%d/24 dev t0 && "
		    "ip address add fd08::%d/64 dev t0 nodad",
		    i + 1, i + 1);
		if (k->then && !try_run(i, "%s", k->then))
			return false;
		if (strstr(k->add[i], "xfrm"))
			add_policies(i, "if_id 7", "10.8.0.0/24", "fd08::/64");
		else if (strstr(k->add[i], "vti"))
			add_policies(i, "mark 7", "10.8.0.0/24", "fd08::/64");
	}
	return true;
}

static void test_kinds(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct kind *k = &kinds[i];
		struct flows flows;
		uint32_t ifindex;

		if (!make_kind(k)) {
			print_message("# this kernel has no %s\n", k->name);
		} else {
			print_message("# %s\n", k->name);
			ifindex = attach("t0");
			exchange(k->ipv6 ? "fd08::1" : "10.8.0.1",
				 k->ipv6 ? "fd08::2" : "10.8.0.2");
			flows = collect();
			check_datagrams(&flows, ifindex, k->ipv6 ? 40 : 20);
		}
		close_devices(state);
		open_devices(state);
	}
}

/* The interface below sees ESP come, and then what was in it once more, without an interface of its own. */
static void test_reinjected(_unused_ void **state)
{
	struct flows flows;

	for (int i = 0; i < 2; i++) {
		if (!try_run(i, IPSEC_STATES(""))) {
			print_message("# this kernel has no IPsec\n");
			return;
		}
		add_policies(i, "", "10.8.0.0/24", "fd08::/64");
		run(i,
		    "ip address add 10.8.0.%d/32 dev lo && ip route add 10.8.0.%d via 10.9.0.%d src "
		    "10.8.0.%d",
		    i + 1, !i + 1, !i + 1, i + 1);
	}
	attach("u0");
	exchange("10.8.0.1", "10.8.0.2");
	flows = collect();
	assert_int_equal(sum(&flows, IPPROTO_ESP, 0).packets, PACKETS);
	assert_int_equal(sum(&flows, IPPROTO_ESP, FLOW_EGRESS).packets, PACKETS);
	assert_int_equal(sum(&flows, IPPROTO_UDP, 0).packets, 0);
	assert_int_equal(sum(&flows, IPPROTO_UDP, FLOW_EGRESS).packets, 0);
	assert_int_equal(flows.unrecorded[DIRECTION_INGRESS][REASON_REINJECTED], PACKETS);
}

/* The host's own multicast and broadcast comes back to it from the way out, without an Ethernet header. */
static void test_looped(_unused_ void **state)
{
	_cleanup_(closep) int fd = open_socket(NEAR, "0.0.0.0", PORT);
	struct ip_mreqn group = {.imr_ifindex = (int)if_nametoindex("u0")};
	struct flows flows;

	inet_pton(AF_INET, "239.7.7.7", &group.imr_multiaddr);
	assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)), 0);
	assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &group, sizeof(group)), 0);
	attach("u0");
	send_to(fd, "239.7.7.7", PACKETS);
	send_to(fd, "10.9.0.255", PACKETS);
	assert_int_equal(receive(fd, 2 * PACKETS), 2 * PACKETS);
	flows = collect();
	assert_int_equal(sum(&flows, IPPROTO_UDP, FLOW_EGRESS).packets, 2 * PACKETS);
	assert_int_equal(sum(&flows, IPPROTO_UDP, 0).packets, 0);
	assert_int_equal(flows.unrecorded[DIRECTION_INGRESS][REASON_LOOPED], 2 * PACKETS);
	for (int reason = 0; reason < _REASON_MAX; reason++)
		if (reason != REASON_LOOPED && reason != REASON_ARP)
			assert_int_equal(flows.unrecorded[DIRECTION_INGRESS][reason], 0);
}

/* An interface of Ethernet, which a filter of one without gives its packets. */
static void test_ifb(void **state)
{
	struct flows flows;
	bool able = make_kind(&kinds[0]) && try_run(NEAR, "ip link add i0 type ifb") &&
		    try_run(NEAR,
			    "ip link set i0 up && tc qdisc add dev t0 clsact && "
			    "tc filter add dev t0 egress matchall action mirred egress redirect "
			    "dev i0 && tc filter add dev t0 ingress matchall action mirred egress "
			    "redirect dev i0");

	if (able) {
		attach("i0");
		exchange("10.8.0.1", "10.8.0.2");
		flows = collect();
		assert_int_equal(sum(&flows, IPPROTO_UDP, FLOW_EGRESS).packets, 2 * PACKETS);
		assert_int_equal(sum(&flows, IPPROTO_UDP, FLOW_EGRESS).octets,
				 2 * PACKETS * (28 + PAYLOAD));
		for (int reason = 0; reason < _REASON_MAX; reason++)
			assert_int_equal(flows.unrecorded[DIRECTION_EGRESS][reason], 0);
	} else {
		print_message("# this kernel has no gre, ifb or mirred\n");
	}
	close_devices(state);
	open_devices(state);
}

/* The bond was there before the programs of another datapath, which has been loaded before the bond. */
static void move_bond(struct hook *hook, uint32_t bond, struct datapath *next)
{
	assert_int_equal(datapath_set_bond(next, bond, true), 0);
	assert_int_equal(hook_move(hook, next), 0);
	datapath_free(context.datapath);
	context.datapath = next;
}

static void check_bond(void **state, bool move)
{
	const struct datapath_options options = {.kind = RECORD_FLOW,
						 .entries = datapath_entries_min(),
						 .replaces = context.datapath};
	struct hook *hook = &context.hooks[DIRECTION_INGRESS];
	struct datapath *next = NULL;
	struct flows flows;
	uint32_t bond;

	if (!try_run(NEAR, "ip link add b0 type bond mode active-backup")) {
		print_message("# this kernel has no bond\n");
		return;
	}
	run(NEAR, "ip link set u0 down && ip address flush dev u0 && ip link set u0 master b0 && "
		  "ip link set b0 up && ip address add 10.9.0.1/24 dev b0");
	bond = if_nametoindex("b0");
	if (move)
		assert_int_equal(datapath_new(&next, &options), 0);
	assert_int_equal(datapath_set_bond(context.datapath, bond, true), 0);
	if (hook_attach_xdp(hook, context.datapath, bond) < 0) {
		print_message("# this kernel's bond has no XDP\n");
		datapath_free(next);
	} else {
		if (move)
			move_bond(hook, bond, next);
		exchange("10.9.0.1", "10.9.0.2");
		flows = collect();
		assert_int_equal(sum(&flows, IPPROTO_UDP, 0).packets, PACKETS);
		for (uint32_t i = 0; i < flows.count; i++)
			assert_int_equal(flows.keys[i].ifindex, bond);
	}
	close_devices(state);
	open_devices(state);
}

/* A bond's members run its XDP program, and what they see is the bond's. */
static void test_bond(void **state)
{
	check_bond(state, false);
}

static void test_moved_bond(void **state)
{
	check_bond(state, true);
}

/* Keeps the greatest linear part of a super-packet and how many there were, behind our programs. */
static int probe_new(int map)
{
	const struct bpf_insn code[] = {
		{.code = BPF_LDX | BPF_MEM | BPF_W,
		 .dst_reg = 2,
		 .src_reg = 1,
		 .off = offsetof(struct __sk_buff, gso_size)},
		{.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 2, .imm = 0, .off = 13},
		{.code = BPF_LDX | BPF_MEM | BPF_W,
		 .dst_reg = 6,
		 .src_reg = 1,
		 .off = offsetof(struct __sk_buff, data_end)},
		{.code = BPF_LDX | BPF_MEM | BPF_W,
		 .dst_reg = 2,
		 .src_reg = 1,
		 .off = offsetof(struct __sk_buff, data)},
		{.code = BPF_ALU64 | BPF_SUB | BPF_X, .dst_reg = 6, .src_reg = 2},
		{.code = BPF_ST | BPF_MEM, /* BPF_W, which is 0 */
		 .dst_reg = 10,
		 .off = -4},
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = 10},
		{.code = BPF_ALU64 | BPF_ADD, .dst_reg = 2, .imm = -4}, /* BPF_K, which is 0 */
		{.code = BPF_LD | BPF_DW,				/* BPF_IMM, which is 0 */
		 .dst_reg = 1,
		 .src_reg = BPF_PSEUDO_MAP_FD,
		 .imm = map},
		{0},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_lookup_elem},
		{.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 0, .imm = 0, .off = 3},
		{.code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = 1, .src_reg = 0},
		{.code = BPF_JMP | BPF_JGE | BPF_X, .dst_reg = 1, .src_reg = 6, .off = 1},
		{.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 0, .src_reg = 6},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = -1}, /* go on */
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "probe", "GPL", code, ARRAY_SIZE(code), NULL);
}

/* Small datagrams in one go, so that GRO has some to merge; the greatest linear part of what came. */
static uint64_t burst(int map)
{
	_cleanup_(closep) int one = open_socket(NEAR, "10.9.0.1", PORT);
	_cleanup_(closep) int other = open_socket(FAR, "10.9.0.2", PORT);
	const struct sockaddr_in to = {.sin_family = AF_INET,
				       .sin_port = htons(PORT),
				       .sin_addr.s_addr = inet_addr("10.9.0.1")};
	uint8_t payload[PACKETS * PAYLOAD] = {0};
	int size = PAYLOAD;
	uint32_t zero = 0;
	uint64_t linear;

	assert_int_equal(setsockopt(other, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
	for (int n = 0; n < 20; n++) {
		assert_int_equal(sendto(other, payload, sizeof(payload), 0,
					(const struct sockaddr *)&to, sizeof(to)),
				 sizeof(payload));
		assert_int_equal(receive(one, PACKETS), PACKETS);
	}
	assert_int_equal(bpf_map_lookup_elem(map, &zero, &linear), 0);
	return linear;
}

/* GRO keeps merged datagrams in a list: of the first one no more is in the linear part than without us. */
static void test_not_pulled(_unused_ void **state)
{
	_cleanup_(closep) int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "linear", 4, 8, 1, NULL);
	_cleanup_(closep) int program = -1, link = -1;
	struct flows flows;
	uint64_t before;

	if (!datapath_features(context.datapath)->tcx ||
	    !try_run(NEAR, "ethtool -K u0 gro on rx-gro-list on") ||
	    !try_run(FAR, "ethtool -K u1 tx-udp-segmentation off")) {
		print_message("# not without tcx and ethtool\n");
		return;
	}
	program = probe_new(map);
	assert_true(program >= 0);
	link = bpf_link_create(program, (int)if_nametoindex("u0"), (enum bpf_attach_type)46, NULL);
	assert_true(link >= 0);
	before = burst(map);
	assert_true(before > 0); /* or nothing was merged */
	attach("u0");		 /* in front of the probe */
	assert_int_equal(burst(map), before);
	flows = collect();
	assert_int_equal(sum(&flows, IPPROTO_UDP, 0).packets, 20 * PACKETS);
	assert_int_equal(sum(&flows, IPPROTO_UDP, 0).octets, 20 * PACKETS * (28 + PAYLOAD));
}

#define HEADERS (ETH_HLEN + 20 + 8)
#define BURSTS	20

/* What leaves an interface: each frame as it is handed to the driver, before it is segmented. */
static int open_tap(const char *name)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL)),
	    one = 1;
	const struct sockaddr_ll at = {.sll_family = AF_PACKET,
				       .sll_protocol = htons(ETH_P_ALL),
				       .sll_ifindex = (int)if_nametoindex(name)};

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

struct forwarded {
	unsigned int datagrams, super_packets;
	unsigned int linear; /* octets of a super-packet in the linear part, at most */
};

/* The datagrams of a burst say which they are. */
static uint8_t content_of(unsigned int datagram)
{
	return (uint8_t)(datagram % PACKETS + 1);
}

/* Datagrams that went on, each octet as it was sent; a super-packet is still one, of the same datagrams. */
static struct forwarded read_tap(int fd)
{
	struct {
		struct virtio_net_hdr header;
		uint8_t frame[65536];
	} __attribute__((packed)) data;
	struct forwarded f = {0};
	ssize_t n;

	while ((n = recv(fd, &data, sizeof(data), 0)) > 0) {
		uint32_t octets = (uint32_t)n - (uint32_t)sizeof(data.header) - HEADERS;

		if (data.frame[12] != 8 || data.frame[13] != 0) /* no IPv4 */
			continue;
		assert_int_equal(data.frame[ETH_HLEN + 8], 63); /* TTL, one less */
		assert_int_equal(octets % PAYLOAD, 0);
		for (uint32_t i = 0; i < octets; i++)
			assert_int_equal(data.frame[HEADERS + i],
					 content_of(f.datagrams + i / PAYLOAD));
		f.datagrams += octets / PAYLOAD;
		if (data.header.gso_type == VIRTIO_NET_HDR_GSO_NONE) {
			assert_int_equal(octets, PAYLOAD);
			continue;
		}
		assert_int_equal(data.header.gso_size, PAYLOAD);
		f.super_packets++;
		f.linear = MAX(f.linear, data.header.hdr_len);
	}
	return f;
}

/* Bursts from FAR through NEAR, out of d0. */
static struct forwarded forward(int tap)
{
	_cleanup_(closep) int fd = open_socket(FAR, "10.9.0.2", PORT);
	const struct sockaddr_in to = {.sin_family = AF_INET,
				       .sin_port = htons(PORT),
				       .sin_addr.s_addr = inet_addr("10.7.0.2")};
	uint8_t payload[PACKETS * PAYLOAD];
	struct forwarded sum = {0};
	int size = PAYLOAD;

	for (unsigned int i = 0; i < sizeof(payload); i++)
		payload[i] = content_of(i / PAYLOAD);
	assert_int_equal(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
	for (int n = 0; n < BURSTS; n++) {
		assert_int_equal(sendto(fd, payload, sizeof(payload), 0,
					(const struct sockaddr *)&to, sizeof(to)),
				 sizeof(payload));
		for (unsigned int got = 0, tries = 0; got < PACKETS; tries++) {
			struct pollfd arrived = {.fd = tap, .events = POLLIN};
			struct forwarded f;

			assert_true(tries < 100 && poll(&arrived, 1, 10000) == 1);
			f = read_tap(tap);
			got += f.datagrams;
			sum.datagrams += f.datagrams;
			sum.super_packets += f.super_packets;
			sum.linear = MAX(sum.linear, f.linear);
		}
	}
	return sum;
}

/* Merged datagrams that are forwarded are the same with us as without, in a list and not. */
static void check_forwarded(const char *gro)
{
	_cleanup_(closep) int tap = -1;
	struct forwarded before, after;
	struct hook out = HOOK_INIT;
	struct flows flows;

	run(NEAR, "ethtool -K u0 %s", gro);
	tap = open_tap("d0");
	before = forward(tap);
	assert_true(before.super_packets > 0);
	attach("u0");
	assert_int_equal(hook_attach_tc(&out, context.datapath, if_nametoindex("d0"),
					DIRECTION_EGRESS, false),
			 0);
	after = forward(tap);
	hook_detach(&out);
	flows = collect();
	assert_int_equal(before.datagrams, BURSTS * PACKETS);
	assert_int_equal(after.datagrams, BURSTS * PACKETS);
	assert_true(after.super_packets > 0);
	assert_int_equal(after.linear, before.linear);
	for (uint8_t egress = 0; egress < 2; egress++)
		assert_int_equal(sum(&flows, IPPROTO_UDP, egress).packets, BURSTS * PACKETS);
}

static void test_forwarded(void **state)
{
	static const char *const gro[] = {"gro on rx-gro-list on rx-udp-gro-forwarding off",
					  "gro on rx-gro-list off rx-udp-gro-forwarding on"};

	for (unsigned int i = 0; i < ARRAY_SIZE(gro); i++) {
		if (!try_run(NEAR, "ethtool -K u0 rx-udp-gro-forwarding on") ||
		    !try_run(FAR, "ethtool -K u1 tx-udp-segmentation off")) {
			print_message("# not without ethtool\n");
			skip();
		}
		run(NEAR, "ip link add d0 type veth peer name d1 && ip link set d1 up && "
			  "sysctl -qw net.ipv4.ip_forward=1 && ip link set d0 up && "
			  "ip address add 10.7.0.1/24 dev d0 && ip neighbour replace 10.7.0.2 "
			  "lladdr 02:00:00:00:00:02 dev d0 nud permanent");
		run(FAR, "ip route add 10.7.0.0/24 via 10.9.0.1");
		check_forwarded(gro[i]);
		close_devices(state);
		open_devices(state);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kinds, open_devices, close_devices),
		cmocka_unit_test_setup_teardown(test_reinjected, open_devices, close_devices),
		cmocka_unit_test_setup_teardown(test_looped, open_devices, close_devices),
		cmocka_unit_test_setup_teardown(test_ifb, open_devices, close_devices),
		cmocka_unit_test_setup_teardown(test_bond, open_devices, close_devices),
		cmocka_unit_test_setup_teardown(test_moved_bond, open_devices, close_devices),
		cmocka_unit_test_setup_teardown(test_not_pulled, open_devices, close_devices),
		cmocka_unit_test_setup_teardown(test_forwarded, open_devices, close_devices),
	};

	run_require();
	return cmocka_run_group_tests_name("devices", tests, NULL, NULL);
}
