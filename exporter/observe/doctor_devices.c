/* SPDX-License-Identifier: Apache-2.0 */
/* What there is to know of interfaces: rtnetlink, ethtool, and who is on their hooks. */
#include <net/if.h> /* before the kernel's own version of it */
#include <bpf/bpf.h>
#include <errno.h>
#include <fnmatch.h>
#include <linux/if_arp.h>
#include <string.h>
#include "exporter/meter/hook.h"
#include "exporter/meter/obstacle.h"
#include "exporter/meter/selection.h"
#include "exporter/meter/tc_filters.h"
#include "exporter/observe/doctor_check.h"

#define OUR_PROGRAMS "flowtally_"

struct lister {
	const struct doctor_wanted *wanted;
	struct doctor_devices *devices;
	size_t room;
	size_t by_glob; /* that are looked at */
	bool no_memory;
};

/* Notes that a pattern means the interface; false: it does not. */
static bool match(struct lister *lister, size_t pattern, const char *name,
		  struct doctor_device *device)
{
	const char *text = lister->wanted->interfaces[pattern];

	if (fnmatch(text, name, 0) != 0)
		return false;
	lister->devices->met[pattern] = true;
	device->wanted = true;
	device->looked_at |= !selection_is_glob(text);
	if (strcmp(name, device->dev.name) != 0)
		snprintf(device->altname, sizeof(device->altname), "%s", name);
	return true;
}

static void match_all(struct lister *lister, const struct netdev_message *message,
		      struct doctor_device *device)
{
	for (size_t i = 0; i < lister->wanted->interface_count; i++) {
		bool found = match(lister, i, message->dev.name, device);

		for (size_t k = 0; !found && k < message->altname_count; k++)
			found = match(lister, i, message->altnames[k], device);
	}
	if (!lister->wanted->interface_count)
		device->wanted = message->dev.up && message->dev.type != ARPHRD_LOOPBACK;
	if (device->wanted && !device->looked_at && lister->by_glob < DOCTOR_DEVICES_MAX) {
		device->looked_at = true;
		lister->by_glob++;
	}
}

static void add_device(void *userdata, const struct netdev_message *message)
{
	struct lister *lister = userdata;
	struct doctor_devices *devices = lister->devices;
	struct doctor_device *list = devices->list;

	if (devices->count == lister->room) {
		lister->room = lister->room ? 2 * lister->room : 16;
		list = reallocarray(list, lister->room, sizeof(*list));
		if (!list) {
			lister->no_memory = true;
			lister->room = devices->count;
			return;
		}
		devices->list = list;
	}
	list[devices->count] = (struct doctor_device){.dev = message->dev};
	match_all(lister, message, &list[devices->count++]);
}

static void begin_again(void *userdata)
{
	struct lister *lister = userdata;

	lister->devices->count = 0;
	lister->by_glob = 0;
	memset(lister->devices->met, 0, lister->wanted->interface_count);
}

/* --- Who is on the hooks. */

/* Needs CAP_SYS_ADMIN; empty where that is missing. */
static void name_program(struct doctor_program *program)
{
	_cleanup_(closep) int fd = program->id ? bpf_prog_get_fd_by_id(program->id) : -1;
	struct bpf_prog_info info = {0};
	__u32 size = sizeof(info);

	if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &size) == 0)
		snprintf(program->name, sizeof(program->name), "%s",
			 info.name[0] ? info.name : "without a name");
	program->ours = !strncmp(program->name, OUR_PROGRAMS, strlen(OUR_PROGRAMS));
}

static struct doctor_program *next_program(struct doctor_device *device,
					   enum doctor_foreign_place place)
{
	struct doctor_program *program = &device->programs[device->program_count];

	if (device->program_count == DOCTOR_FOREIGN_MAX)
		return NULL;
	device->program_count++;
	*program = (struct doctor_program){.place = place};
	return program;
}

static void list_side(struct doctor_device *device, enum flow_direction direction)
{
	enum doctor_foreign_place place = direction == DIRECTION_INGRESS ? DOCTOR_AT_TC_INGRESS
									 : DOCTOR_AT_TC_EGRESS;
	_cleanup_(tc_filters_clear) struct tc_filters filters = {0};
	uint32_t ids[DOCTOR_FOREIGN_MAX];
	int count = obstacle_tcx_programs(device->dev.ifindex, direction, ids, ARRAY_SIZE(ids));
	struct doctor_program *program;

	device->programs_hidden |= count == -EPERM;
	for (int i = 0; i < count && (program = next_program(device, place)); i++) {
		program->id = ids[i];
		name_program(program);
	}
	if (device->ingress_qdisc && direction == DIRECTION_EGRESS)
		return; /* the kernel would show the filters of ingress */
	if (tc_filters_get(device->dev.ifindex, direction, &filters) < 0)
		return;
	for (size_t i = 0; i < filters.count && (program = next_program(device, place)); i++) {
		const struct tc_filter *filter = &filters.all[i];

		program->id = filter->prog_id;
		program->ours = hook_filter_is_ours(filter);
		snprintf(program->name, sizeof(program->name), "%.15s %.40s", filter->kind,
			 filter->name[0] ? filter->name : "filter");
	}
}

static void list_programs(struct doctor_device *device)
{
	struct doctor_program *program;
	struct tc_qdisc qdisc;

	if (device->dev.xdp_prog && (program = next_program(device, DOCTOR_AT_XDP))) {
		program->id = device->dev.xdp_prog;
		name_program(program);
	}
	device->ingress_qdisc = tc_qdisc_get(device->dev.ifindex, &qdisc) == 0 &&
				!strcmp(qdisc.kind, "ingress");
	list_side(device, DIRECTION_INGRESS);
	list_side(device, DIRECTION_EGRESS);
}

int doctor_read_devices(const struct doctor_wanted *wanted, struct doctor_devices *ret)
{
	struct lister lister = {.wanted = wanted, .devices = ret};

	ret->met = calloc(wanted->interface_count + 1, sizeof(*ret->met));
	if (!ret->met)
		return -ENOMEM;
	ret->error = netdev_list(add_device, begin_again, &lister);
	if (ret->error == -EINTR)
		ret->error = 0; /* something changes all the time: what was seen last will do */
	if (lister.no_memory)
		return -ENOMEM;
	for (size_t i = 0; i < ret->count; i++) {
		struct doctor_device *device = &ret->list[i];

		for (size_t k = 0; k < ret->count; k++)
			device->vlan_on_top |= ret->list[k].dev.link == device->dev.ifindex &&
					       !strcmp(ret->list[k].dev.kind, "vlan");
		if (!device->looked_at)
			continue;
		netdev_driver(device->dev.name, device->driver, sizeof(device->driver));
		device->offloads = netdev_offloads(device->dev.name);
		list_programs(device);
	}
	return 0;
}
