/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include "tests/bench/driver.h"
/* needs load.h */
#include "bench.skel.h"

/* From 6.6's <linux/bpf.h>, which Debian 12 does not have yet. */
#define ATTACH_TCX_INGRESS 46
#define ATTACH_TCX_EGRESS  47

/* A veth's ring takes 256 frames. */
#define LIVE_BATCH 64

/* To a host that is not this one, so that the stack drops it early. */
#define LINK 0x02, 0, 0, 0, 0, 0x99, 0x02, 0, 0, 0, 0, 0x01
#define IPV4 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 200, 0, 1
#define UDP  4, 0, 0, 9, 0, 26, 0, 0

static const unsigned char frames[_LOAD_SHAPE_MAX][LOAD_OCTETS] = {
	[LOAD_IPV4] = {LINK, 8, 0, IPV4, UDP},
	[LOAD_IPV6] = {LINK, 0x86, 0xdd, 0x60, 0, 0,  0, 0, 10, 17, 64,		       /* */
		       0xfd, 0,	   0,	 0,    0, 0,  0, 0, 0,	0,  0,	0, 0, 0, 0, 1, /* from */
		       0xfd, 0,	   0,	 0,    0, 0,  0, 0, 0,	0,  0,	0, 0, 0, 0, 2, /* to */
		       4,    0,	   0,	 9,    0, 10, 0, 0},
	[LOAD_VLAN] = {LINK, 0x81, 0, 0, 7, 8, 0, IPV4, UDP},
};

const char *method_name(enum load_method method)
{
	return method == METHOD_LIVE ? "live" : "loop";
}

int driver_open(struct driver *d, struct bench_bpf *bench, char *const names[3])
{
	uint32_t *const indices[] = {&d->sender, &d->receiver, &d->sink};

	for (size_t i = 0; i < ARRAY_SIZE(indices); i++) {
		*indices[i] = if_nametoindex(names[i]);
		if (*indices[i] == 0) {
			fprintf(stderr, "%s: %s\n", names[i], strerror(errno));
			return -errno;
		}
	}
	d->bench = bench;
	snprintf(d->receiver_name, sizeof(d->receiver_name), "%s", names[1]);
	return 0;
}

static int attach_live(const struct driver *d, enum bench_hook hook, int program, int links[2])
{
	LIBBPF_OPTS(bpf_link_create_opts, native, .flags = XDP_FLAGS_DRV_MODE);
	int steer = bpf_program__fd(d->bench->progs.bench_steer);

	if (hook == HOOK_XDP)
		links[0] = bpf_link_create(program, (int)d->receiver, BPF_XDP, &native);
	else if (hook == HOOK_TC_INGRESS)
		links[0] = bpf_link_create(program, (int)d->receiver, ATTACH_TCX_INGRESS, NULL);
	else {
		links[0] = bpf_link_create(program, (int)d->sink, ATTACH_TCX_EGRESS, NULL);
		links[1] = bpf_link_create(steer, (int)d->receiver, ATTACH_TCX_INGRESS, NULL);
	}
	if (links[0] < 0)
		return links[0];
	return hook == HOOK_TC_EGRESS && links[1] < 0 ? links[1] : 0;
}

int driver_attach(const struct driver *d, enum load_method method, enum bench_hook hook,
		  int program, int links[2])
{
	const struct bpf_map *slot = hook == HOOK_XDP ? d->bench->maps.loop_xdp
						      : d->bench->maps.loop_tc;
	uint32_t zero = 0;

	links[0] = links[1] = -1;
	if (method == METHOD_LIVE)
		return attach_live(d, hook, program, links);
	return bpf_map_update_elem(bpf_map__fd(slot), &zero, &program, BPF_ANY);
}

void driver_detach(int links[2])
{
	for (int i = 0; i < 2; i++)
		if (links[i] >= 0)
			close(links[i]);
	links[0] = links[1] = -1;
}

/* Packets that came through the pair. */
static uint64_t received(const struct driver *d)
{
	_cleanup_(fclosep) FILE *file = NULL;
	unsigned long long count = 0;
	char path[128];

	snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/rx_packets", d->receiver_name);
	file = fopen(path, "re");
	return file && fscanf(file, "%llu", &count) == 1 ? count : 0;
}

static int run_program(const struct driver *d, enum load_method method, enum bench_hook hook)
{
	if (method == METHOD_LIVE)
		return bpf_program__fd(d->bench->progs.bench_live);
	return bpf_program__fd(hook == HOOK_XDP ? d->bench->progs.bench_loop_xdp
						: d->bench->progs.bench_loop_tc);
}

int driver_run(const struct driver *d, enum load_method method, enum bench_hook hook,
	       const struct driver_load *load, struct driver_result *ret)
{
	struct load_config *config = &d->bench->data_load->load;
	struct xdp_md context = {.data_end = LOAD_OCTETS};
	unsigned char frame[LOAD_OCTETS], out[LOAD_OCTETS + 64];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = (int)load->packets);
	struct load_state *state = &d->bench->data_load->load_state;
	uint64_t before = received(d);
	int r;

	memcpy(frame, frames[load->shape], sizeof(frame));
	*config = (struct load_config){.first = load->first,
				       .last = load->first + load->packets - 1,
				       .ifindex = d->sender,
				       .steer_ifindex = d->sink,
				       .flows = load->flows,
				       .random = load->random,
				       .shape = load->shape};
	memcpy(config->link, frame, sizeof(config->link));
	if (hook == HOOK_XDP || method == METHOD_LIVE) {
		opts.ctx_in = &context;
		opts.ctx_size_in = sizeof(context);
	}
	if (method == METHOD_LIVE) {
		opts.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
		opts.batch_size = LIVE_BATCH;
	} else {
		opts.data_out = out;
		opts.data_size_out = sizeof(out);
	}
	*state = (struct load_state){.next = load->first};
	r = bpf_prog_test_run_opts(run_program(d, method, hook), &opts);
	if (r < 0)
		return r;
	ret->ns = (double)(state->last_ns - state->first_ns) / MAX(load->packets - 1, 1);
	ret->delivered = method == METHOD_LIVE ? received(d) - before : load->packets;
	return 0;
}
