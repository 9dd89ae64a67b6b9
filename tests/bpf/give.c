/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "tests/bpf/give.h"

const char *give_label(char *text, size_t size, enum datapath_program program, const char *name,
		       const struct run *run)
{
	snprintf(text, size, "%s: %s (%u octets, %u in reach)", datapath_program_name(program),
		 name, run->size, run->linear ? run->linear : run->size);
	return text;
}

/*
 * BPF_PROG_TEST_RUN of some kernels makes no skb of a frame that ends in its IP header, nor one whose
 * headers are not in the linear part.  Behind a tag they take the former.
 */
static bool may_be_refused(const struct run *run)
{
	uint16_t type = (uint16_t)(run->bytes[12] << 8 | run->bytes[13]);
	uint32_t header = type == ETH_P_IP ? 20 : type == ETH_P_IPV6 ? 40 : 0;

	return run->linear || run->size < ETH_HLEN + header;
}

bool give_fd(struct give *g, int fd, enum datapath_program program, const char *name,
	     const struct run *run)
{
	bool xdp = program == PROGRAM_XDP;
	char text[160];
	int verdict = 0, r = run_program(fd, xdp, run, &g->tagger, &verdict);

	if (r == -EINVAL && (!xdp || run->linear) && may_be_refused(run))
		return false;
	if (r < 0 || verdict != (xdp ? XDP_PASS : TC_ACT_UNSPEC))
		fail_msg("%s: %s, verdict %d", give_label(text, sizeof(text), program, name, run),
			 r < 0 ? strerror(-r) : "run", verdict);
	model_add(&g->model, program, run);
	return true;
}

bool give_frame(struct give *g, enum datapath_program program, const char *name,
		const struct run *run)
{
	return give_fd(g, datapath_program_fd(g->datapath, program), program, name, run);
}

int give_open(void **state)
{
	struct give *g = calloc(1, sizeof(*g));

	if (!g || unshare(CLONE_NEWNET) < 0)
		return -1;
	g->datapath = run_open(MAX(MODEL_FLOWS * 2, datapath_entries_min()));
	model_init(&g->model, g->datapath);
	*state = g;
	return tagger_new(&g->tagger);
}

int give_close(void **state)
{
	struct give *g = *state;

	tagger_clear(&g->tagger);
	datapath_free(g->datapath);
	free(g);
	return 0;
}
