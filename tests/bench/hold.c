/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-hold INTERFACE empty|floor: attaches that program to both directions of the interface, says "ready"
 * and detaches it when it is ended.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "tests/bench/subject.h"
/* needs load.h */
#include "bench.skel.h"

/* From 6.6's <linux/bpf.h>, which Debian 12 does not have yet. */
#define ATTACH_TCX_INGRESS 46
#define ATTACH_TCX_EGRESS  47

static int hold(const struct bench_bpf *bpf, const char *interface, const char *name)
{
	const struct bpf_program *program = !strcmp(name, "floor") ? bpf->progs.bench_floor_tc_ipv4
								   : bpf->progs.bench_empty_tc;
	int ifindex = (int)if_nametoindex(interface), in, out, received;
	sigset_t end;

	in = bpf_link_create(bpf_program__fd(program), ifindex, ATTACH_TCX_INGRESS, NULL);
	out = bpf_link_create(bpf_program__fd(program), ifindex, ATTACH_TCX_EGRESS, NULL);
	if (in < 0 || out < 0)
		return -errno;
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigprocmask(SIG_BLOCK, &end, NULL);
	printf("ready\n");
	fflush(stdout);
	return sigwait(&end, &received);
}

int main(int argc, char **argv)
{
	_cleanup_(bench_bpf_freep) struct bench_bpf *bpf = NULL;
	int r;

	if (argc != 3) {
		fprintf(stderr, "usage: bench-hold INTERFACE empty|floor\n");
		return 2;
	}
	r = bench_bpf_new(&bpf) ?: hold(bpf, argv[1], argv[2]);
	if (r)
		fprintf(stderr, "bench-hold: %s\n", strerror(-r));
	return r != 0;
}
