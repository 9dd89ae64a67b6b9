/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/neighbours.h"
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "exporter/meter/netdev.h"
#include "exporter/meter/tc_filters.h"
#include "exporter/meter/tcx.h"
#include "exporter/observe/text.h"
#include "exporter/util.h"

#define PROGRAMS_MAX 64 /* of one hook: the kernel takes as many */

static bool find_name(uint32_t id, char name[BPF_OBJ_NAME_LEN + 1])
{
	_cleanup_(closep) int fd = bpf_prog_get_fd_by_id(id);
	struct bpf_prog_info info = {0};
	uint32_t size = sizeof(info);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return false;
	snprintf(name, BPF_OBJ_NAME_LEN + 1, "%.*s", BPF_OBJ_NAME_LEN, info.name);
	text_make_printable(name);
	return true;
}

static void add(json_t *list, const char *hook, uint32_t id, const char *known)
{
	char name[BPF_OBJ_NAME_LEN + 1] = "";
	json_t *one = json_pack("{s:s,s:I}", "hook", hook, "id", (json_int_t)id);

	if (id && find_name(id, name))
		json_object_set_new(one, "name", json_string(name));
	else if (known && *known)
		json_object_set_new(one, "name", json_string(known));
	json_array_append_new(list, one);
}

static void add_tcx(json_t *list, uint32_t ifindex, enum flow_direction direction)
{
	__u32 programs[PROGRAMS_MAX];
	struct tcx_query query = {
		.ifindex = ifindex,
		.type = tcx_attach_type(direction),
		.prog_ids = (__u64)(unsigned long)programs,
		.count = ARRAY_SIZE(programs),
	};

	if (syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof(query)) < 0)
		return;
	for (uint32_t i = 0; i < MIN(query.count, (__u32)PROGRAMS_MAX); i++)
		add(list, "tcx", programs[i], NULL);
}

static void add_filters(json_t *list, uint32_t ifindex, enum flow_direction direction)
{
	struct tc_filters filters = {0};

	if (tc_filters_get(ifindex, direction, &filters) < 0)
		return;
	for (size_t i = 0; i < filters.count; i++) {
		if (!filters.all[i].handle)
			continue;
		text_make_printable(filters.all[i].name);
		add(list, "clsact", filters.all[i].prog_id,
		    filters.all[i].name[0] ? filters.all[i].name : filters.all[i].kind);
	}
	tc_filters_clear(&filters);
}

json_t *neighbours_json(uint32_t ifindex, enum flow_direction direction)
{
	json_t *list = geteuid() == 0 ? json_array() : NULL;
	struct netdev dev;

	if (!list)
		return NULL;
	/* not bpf_xdp_query_id(), which lists all interfaces to find one */
	if (direction == DIRECTION_INGRESS && netdev_find(ifindex, &dev) == 0 && dev.xdp_prog)
		add(list, "xdp", dev.xdp_prog, NULL);
	add_tcx(list, ifindex, direction);
	add_filters(list, ifindex, direction);
	return list;
}
