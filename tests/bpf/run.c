/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/if_ether.h>
#include "tests/bpf/run.h"

#define BYTES_MAX 16384

/* A TAP producer says it in the plan, any other by exit status 77: both as meson has them. */
void run_skip(const char *why)
{
	const char *output = getenv("CMOCKA_MESSAGE_OUTPUT");

	printf("1..0 # SKIP %s\n", why);
	exit(output && !strcmp(output, "TAP") ? EXIT_SUCCESS : 77);
}

void run_require(void)
{
	const struct datapath_options options = {.entries = datapath_entries_min()};
	_cleanup_(datapath_freep) struct datapath *d = NULL;
	int r;

	if (geteuid() != 0)
		run_skip("loading BPF programs needs root");
	r = datapath_new(&d, &options);
	if (r == -EPERM) /* -EACCES is the verifier's */
		run_skip("loading BPF programs is not permitted here");
}

struct datapath *run_open(uint32_t bank_entries)
{
	const struct datapath_options options = {.entries = bank_entries};
	struct datapath *d = NULL;
	int r = datapath_new(&d, &options);

	if (r < 0) {
		printf("cannot load the datapath: %s\n", strerror(-r));
		exit(EXIT_FAILURE);
	}
	return d;
}

/* The tag comes in skb->mark, which BPF_PROG_TEST_RUN can set. */
int tagger_new(struct tagger *ret)
{
	int next = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "tagger_next", 4, 4, 1, NULL), program;
	const struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 6, .src_reg = 1},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = htons(ETH_P_8021Q)},
		{.code = BPF_LDX | BPF_MEM | BPF_W,
		 .dst_reg = 3,
		 .src_reg = 1,
		 .off = offsetof(struct __sk_buff, mark)},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_skb_vlan_push},
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 1, .src_reg = 6},
		{.code = BPF_LD | BPF_DW, /* BPF_IMM, which is 0 */

		 .dst_reg = 2,
		 .src_reg = BPF_PSEUDO_MAP_FD,
		 .imm = next},
		{0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = 0},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_tail_call},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K,
		 .dst_reg = 0,
		 .imm = 99}, /* it did not go on */
		{.code = BPF_JMP | BPF_EXIT},
	};

	if (next < 0)
		return next;
	program = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "tagger", "GPL", code, ARRAY_SIZE(code),
				NULL);
	if (program < 0) {
		close(next);
		return program;
	}
	*ret = (struct tagger){.program = program, .next = next};
	return 0;
}

void tagger_clear(struct tagger *tagger)
{
	close(tagger->program);
	close(tagger->next);
}

int run_make_interface(const char *name, bool bare, uint32_t *ret_ifindex)
{
	struct ifreq request = {.ifr_flags = (bare ? IFF_TUN : IFF_TAP) | IFF_NO_PI | IFF_VNET_HDR};
	_cleanup_(closep) int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(fd, TUNSETIFF, &request) < 0)
		return -errno;
	*ret_ifindex = if_nametoindex(name);
	return TAKE_FD(fd);
}

static int run_xdp(int fd, const struct run *run, int *ret_verdict)
{
	struct xdp_md ctx = {
		.data_end = run->linear ? run->linear : run->size,
		.ingress_ifindex = run->ifindex,
	};
	uint8_t out[BYTES_MAX];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = run->bytes, .data_size_in = run->size,
		    .data_out = out, .data_size_out = sizeof(out), .ctx_in = &ctx,
		    .ctx_size_in = sizeof(ctx), .repeat = (int)run->repeat);
	int r = bpf_prog_test_run_opts(fd, &opts);

	if (r < 0)
		return r;
	*ret_verdict = (int)opts.retval;
	return opts.data_size_out == run->size && !memcmp(out, run->bytes, run->size) ? 0
										      : -EBADMSG;
}

/* Where the tag has been pushed, it comes out in the bytes: only without one can they be compared. */
static int run_tc(int fd, const struct run *run, const struct tagger *tagger, int *ret_verdict)
{
	struct __sk_buff ctx = {
		.mark = run->vlan,
		.ifindex = run->ifindex,
		.gso_size = run->gso_size,
		.gso_segs = run->gso_segs,
		.wire_len = run->wire_length,
		.data_end = run->linear,
	};
	uint8_t out[BYTES_MAX];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = run->bytes, .data_size_in = run->size,
		    .data_out = out, .data_size_out = sizeof(out), .ctx_in = &ctx,
		    .ctx_size_in = sizeof(ctx), .repeat = (int)run->repeat);
	uint32_t slot = 0;
	int r;

	if (run->vlan_tagged) {
		r = bpf_map_update_elem(tagger->next, &slot, &fd, BPF_ANY);
		if (r < 0)
			return r;
	}
	r = bpf_prog_test_run_opts(run->vlan_tagged ? tagger->program : fd, &opts);
	if (r < 0)
		return r;
	*ret_verdict = (int)opts.retval;
	if (run->vlan_tagged)
		return 0;
	return opts.data_size_out == run->size && !memcmp(out, run->bytes, run->size) ? 0
										      : -EBADMSG;
}

int run_program(int fd, bool xdp, const struct run *run, const struct tagger *tagger,
		int *ret_verdict)
{
	return xdp ? run_xdp(fd, run, ret_verdict) : run_tc(fd, run, tagger, ret_verdict);
}
