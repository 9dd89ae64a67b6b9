/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/stat.h>
#include "exporter/meter/datapath.h"
#include "exporter/meter/drop_tracer.h"

struct drop_tracer {
	int link;
	int exceptions; /* the link of the other tracepoint; -1 where the kernel does not have it */
};

/* Arguments of the tracepoint, of which BTF has a typedef of a function; 0: there is no such. */
static unsigned int count_arguments(const struct btf *btf)
{
	int id = btf__find_by_name_kind(btf, "btf_trace_kfree_skb", BTF_KIND_TYPEDEF);
	const struct btf_type *type = id < 0 ? NULL : btf__type_by_id(btf, (uint32_t)id);

	if (type)
		type = btf__type_by_id(btf, type->type); /* pointer */
	if (type)
		type = btf__type_by_id(btf, type->type);
	/* the first is not the tracepoint's */
	return type && btf_is_func_proto(type) && btf_vlen(type) ? btf_vlen(type) - 1u : 0;
}

static uint32_t own_namespace(void)
{
	struct stat st;

	return stat("/proc/self/ns/net", &st) == 0 ? (uint32_t)st.st_ino : 0;
}

/* The function itself, or what a compiler made of it (".isra.0"), but not the part it has put aside. */
static bool is_function(const char *symbol, const char *name)
{
	size_t length = strlen(name);

	return !strncmp(symbol, name, length) &&
	       (!symbol[length] || (symbol[length] == '.' && !strstr(symbol, ".cold")));
}

/* Symbols of the kernel come by address, so that the next one is where a function ends. */
static void find_code(struct drop_tracer_kernel *k)
{
	const char *const names[] = {"skb_release_data", "kfree_skb_list_reason"};
	struct code_range *const ranges[] = {&k->release, &k->release_list};
	_cleanup_(fclosep) FILE *file = fopen("/proc/kallsyms", "re");
	unsigned long long address;
	char line[512], symbol[256];

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%llx %*c %255s", &address, symbol) != 2 || !address)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
			if (ranges[i]->start && !ranges[i]->size && address > ranges[i]->start)
				ranges[i]->size = address - ranges[i]->start;
			if (!ranges[i]->start && is_function(symbol, names[i]))
				ranges[i]->start = address;
		}
	}
}

static uint32_t find_not_specified(const struct btf *btf)
{
	int id = btf__find_by_name_kind(btf, "skb_drop_reason", BTF_KIND_ENUM);
	const struct btf_type *type = id < 0 ? NULL : btf__type_by_id(btf, (uint32_t)id);
	const struct btf_enum *e = type ? btf_enum(type) : NULL;

	for (unsigned int i = 0; type && i < btf_vlen(type); i++)
		if (!strcmp(btf__name_by_offset(btf, e[i].name_off),
			    "SKB_DROP_REASON_NOT_SPECIFIED"))
			return (uint32_t)e[i].val;
	return UINT32_MAX;
}

int drop_tracer_probe(struct drop_tracer_kernel *ret, const char **ret_why)
{
	struct drop_tracer_kernel kernel = {.own_namespace = own_namespace()};
	struct btf *btf = btf__load_vmlinux_btf();
	unsigned int arguments;

	if (!btf) {
		*ret_why = "the kernel gives no BTF (CONFIG_DEBUG_INFO_BTF=y provides it)";
		return -EOPNOTSUPP;
	}
	arguments = count_arguments(btf);
	kernel.not_specified = find_not_specified(btf);
	kernel.xdp_exception =
		btf__find_by_name_kind(btf, "btf_trace_xdp_exception", BTF_KIND_TYPEDEF) >= 0;
	btf__free(btf);
	if (arguments < 3) {
		*ret_why = "the kernel gives no reasons for drops (Linux 5.17 and newer do)";
		return -EOPNOTSUPP;
	}
	kernel.socket = arguments >= 4;
	find_code(&kernel);
	*ret = kernel;
	return 0;
}

int drop_tracer_new(struct drop_tracer **ret, const struct datapath *datapath)
{
	_cleanup_(drop_tracer_freep) struct drop_tracer *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->exceptions = -1;
	d->link = bpf_raw_tracepoint_open(NULL, datapath_stub_fd(datapath, PROGRAM_DROP));
	if (d->link < 0)
		return d->link;
	d->exceptions =
		bpf_raw_tracepoint_open(NULL, datapath_stub_fd(datapath, PROGRAM_XDP_EXCEPTION));
	*ret = TAKE_PTR(d);
	return 0;
}

struct drop_tracer *drop_tracer_free(struct drop_tracer *d)
{
	if (d) {
		closep(&d->link);
		closep(&d->exceptions);
	}
	free(d);
	return NULL;
}

/* `counts` of one reason, by CPU. */
static void visit_counts(uint16_t reason, const struct drop_count *counts, int cpus,
			 drop_tracer_visit visit, void *userdata)
{
	struct drop_count sum = {0};

	for (int cpu = 0; cpu < cpus; cpu++) {
		sum.packets += counts[cpu].packets;
		sum.octets += counts[cpu].octets;
	}
	if (sum.packets)
		visit(userdata, reason, &sum);
}

#define COUNTS_BATCH 256

_Static_assert(DROP_REASON_MAX % COUNTS_BATCH == 0, "a batch holds reasons of one bank alone");

int drop_tracer_counts(const struct datapath *datapath, unsigned int bank, drop_tracer_visit visit,
		       void *userdata)
{
	int fd = datapath_map_fd(datapath, "drop_counts"), cpus = libbpf_num_possible_cpus();
	_cleanup_(freep) struct drop_count *counts = NULL;
	uint32_t keys[COUNTS_BATCH], count = COUNTS_BATCH;
	uint32_t position = bank * DROP_REASON_MAX - 1; /* the next is the bank's first */
	int r = 0;

	if (fd < 0 || cpus < 0)
		return fd < 0 ? 0 : cpus;
	counts = calloc((size_t)cpus * COUNTS_BATCH, sizeof(*counts));
	if (!counts)
		return -ENOMEM;
	for (uint32_t done = 0; done < DROP_REASON_MAX; done += count) {
		count = COUNTS_BATCH;
		r = bpf_map_lookup_batch(fd, bank || done ? &position : NULL, &position, keys,
					 counts, &count, NULL);
		if (r < 0 && (r != -ENOENT || !count)) /* -ENOENT: that was the last of the map */
			return r;
		for (uint32_t i = 0; i < count; i++)
			visit_counts((uint16_t)(keys[i] % DROP_REASON_MAX),
				     &counts[i * (uint32_t)cpus], cpus, visit, userdata);
	}
	return 0;
}

uint64_t drop_tracer_xdp_exceptions(const struct datapath *datapath, uint32_t ifindex)
{
	int fd = datapath_map_fd(datapath, "xdp_exceptions");
	uint64_t count;

	return fd >= 0 && bpf_map_lookup_elem(fd, &ifindex, &count) == 0 ? count : 0;
}

int drop_tracer_missed(const struct datapath *datapath, uint64_t *ret)
{
	struct bpf_prog_info info = {0};
	uint32_t size = sizeof(info);
	int r = bpf_obj_get_info_by_fd(datapath_stub_fd(datapath, PROGRAM_DROP), &info, &size);

	if (r == 0)
		*ret = info.recursion_misses;
	return r;
}
