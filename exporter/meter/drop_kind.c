/* SPDX-License-Identifier: Apache-2.0 */
/* Drops: the tracer, tc/drops.bpf.c. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include "exporter/log.h"
#include "exporter/meter/drop_tracer.h"
#include "exporter/meter/kind.h"
#include "drops.skel.h"

static int ask_kernel(struct datapath_config *config, bool *ret_xdp_exception, const char **ret_why)
{
	struct drop_tracer_kernel kernel;
	int r = drop_tracer_probe(&kernel, ret_why);

	if (r < 0)
		return r;
	config->drop_socket = kernel.socket;
	config->drop_namespace = kernel.own_namespace;
	config->release = kernel.release;
	config->release_list = kernel.release_list;
	config->not_specified = kernel.not_specified;
	*ret_xdp_exception = kernel.xdp_exception;
	if (!kernel.release.size)
		log_info("/proc/kallsyms is closed (CAP_SYSLOG opens it): parts of reassembled "
			 "packets show as drops, NOT_SPECIFIED");
	return 0;
}

static int drop_open(struct kind_object *ret, _unused_ const struct datapath_options *options,
		     _unused_ const struct kernel_features *features,
		     const struct datapath_config *like, const char **ret_why)
{
	struct drops_bpf *own = ret->own = drops_bpf__open();
	bool xdp_exception = false;
	int r = 0;

	if (!own)
		return -errno;
	ret->skeleton = own->skeleton;
	ret->object = own->obj;
	ret->config = &own->rodata->config;
	ret->state = &own->bss->state;
	ret->selection = &own->bss->selection;
	if (like)
		*ret->config = *like;
	else
		r = ask_kernel(ret->config, &xdp_exception, ret_why);
	if (r < 0)
		return r;
	bpf_program__set_autoload(own->progs.flowtally_drop, true);
	bpf_program__set_autoload(own->progs.flowtally_d_s5, true);
	bpf_program__set_autoload(own->progs.flowtally_xdp_exception, xdp_exception);
	return 0;
}

static void drop_close(struct kind_object *object)
{
	drops_bpf__destroy(object->own);
}

static void drop_log_failure(const struct datapath_options *options, int error, const char *why)
{
	if (!why)
		why = error == -ENOMEM || error == -E2BIG
			      ? "no memory, choose a smaller --drop-entries"
			      : strerror(-error);
	if (options->optional)
		log_warning("drops are not recorded: %s", why);
	else
		log_error("cannot trace drops: %s", why);
}

static const char *const points[] = {"drop"};
static const char *const shared[] = {"jump", "xdp_exceptions", NULL};
static const struct kind_program programs[] = {
	{PROGRAM_DROP, "flowtally_drop", "flowtally_d_s5"},
	/* has no banks, and stays what it is */
	{PROGRAM_XDP_EXCEPTION, "flowtally_xdp_exception", "flowtally_xdp_exception"},
};

const struct kind drop_kind = {
	.name = "drop",
	.capabilities = "CAP_BPF and CAP_PERFMON",
	.points = points,
	.point_count = ARRAY_SIZE(points),
	.programs = programs,
	.program_count = ARRAY_SIZE(programs),
	.bank_setting = "drop-entries",
	.cache_setting = "drop-entries",
	.lingers = false, /* that a FIN was dropped is not the end */
	.shared = shared,
	.open = drop_open,
	.close = drop_close,
	.log_failure = drop_log_failure,
};
