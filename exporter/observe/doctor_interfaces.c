/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the interfaces that are to be metered. */
#include <net/if.h> /* before the kernel's own version of it */
#include <errno.h>
#include <linux/if_arp.h>
#include <string.h>
#include "exporter/meter/obstacle.h"
#include "exporter/meter/selection.h"
#include "exporter/observe/doctor_check.h"

#define MTU_MIN	     1280 /* of IPv6, RFC 8200 section 5 */
#define MTU_ONE_PAGE 3498 /* a frame with the room that XDP asks for, in one page of 4096 octets */

const struct doctor_device *doctor_next_device(const struct doctor *d,
					       const struct doctor_device *previous)
{
	const struct doctor_devices *devices = &d->facts->devices;
	size_t i = previous ? (size_t)(previous - devices->list) + 1 : 0;

	while (i < devices->count && !devices->list[i].looked_at)
		i++;
	return i < devices->count ? &devices->list[i] : NULL;
}

const struct doctor_device *doctor_device_by_index(const struct doctor *d, uint32_t ifindex)
{
	const struct doctor_devices *devices = &d->facts->devices;

	for (size_t i = 0; ifindex && i < devices->count; i++)
		if (devices->list[i].dev.ifindex == ifindex)
			return &devices->list[i];
	return NULL;
}

/* The interface whose name is nearest to what was written. */
static void fix_name(const struct doctor *d, const char *written, char fix[DOCTOR_FIX_MAX])
{
	const struct doctor_devices *devices = &d->facts->devices;
	struct value_guess guess = {0};
	char quoted[DOCTOR_QUOTE_MAX];

	for (size_t i = 0; i < devices->count && !selection_is_glob(written); i++)
		value_guess_offer(&guess, written, devices->list[i].dev.name);
	if (guess.word)
		doctor_fix(fix, "interfaces: [%s]", doctor_quote(quoted, guess.word));
	else
		doctor_fix(fix, "ip -br link  # lists the interfaces of this network namespace");
}

static void say_unmet(struct doctor *d, const char *pattern)
{
	char fix[DOCTOR_FIX_MAX];

	fix_name(d, pattern, fix);
	if (selection_is_glob(pattern))
		doctor_find(d, DOCTOR_WARN, pattern, fix,
			    "no interface matches; those that come later will be metered");
	else
		doctor_find(d, DOCTOR_FAIL, pattern, fix, "there is no such interface here");
}

static bool is_understood(const struct doctor_device *device)
{
	return netdev_is_ethernet(&device->dev) || netdev_is_bare(&device->dev);
}

static void judge_device(struct doctor *d, const struct doctor_device *device)
{
	const struct netdev *dev = &device->dev;
	char fix[DOCTOR_FIX_MAX], quoted[DOCTOR_QUOTE_MAX];

	if (!is_understood(device))
		doctor_find(
			d, DOCTOR_FAIL, dev->name,
			"ip -d link  # shows the one above or below it, to be metered in its place",
			"its link layer (ARPHRD %u) is not one that flowtally understands",
			dev->type);
	else if (!dev->up)
		doctor_find(d, DOCTOR_WARN, dev->name,
			    doctor_fix(fix, "ip link set dev %s up",
				       doctor_quote(quoted, dev->name)),
			    "it is down: no packet passes");
	else
		doctor_ok(d, dev->name, "%s%s%s, driver %s, offloads%s%s%s%s%s",
			  dev->kind[0] ? dev->kind : "device", device->altname[0] ? ", also " : "",
			  device->altname, device->driver[0] ? device->driver : "not told",
			  device->offloads & NETDEV_TSO ? " tso" : "",
			  device->offloads & NETDEV_GSO ? " gso" : "",
			  device->offloads & NETDEV_GRO ? " gro" : "",
			  device->offloads & NETDEV_RX_VLAN ? " rxvlan" : "",
			  device->offloads & ~(unsigned int)NETDEV_LRO ? "" : " none");
}

/* A configuration that is to be run names one. */
static void say_none(struct doctor *d)
{
	const struct doctor_device *first = doctor_next_device(d, NULL);
	char fix[DOCTOR_FIX_MAX], quoted[DOCTOR_QUOTE_MAX];

	doctor_find(d, DOCTOR_FAIL, NULL,
		    doctor_fix(fix, "interfaces: [%s]",
			       doctor_quote(quoted, first ? first->dev.name : "eth0")),
		    "none is configured, and `flowtally run` needs one; those that are up are "
		    "looked at");
}

void doctor_interface(struct doctor *d)
{
	if (d->facts->devices.error < 0) {
		doctor_find(d, DOCTOR_FAIL, NULL, "ip -br link  # shows whether rtnetlink answers",
			    "interfaces cannot be listed: %s", strerror(-d->facts->devices.error));
		return;
	}
	if (!d->wanted->interface_count && d->wanted->configuration)
		say_none(d);
	for (size_t i = 0; i < d->wanted->interface_count; i++)
		if (!d->facts->devices.met[i])
			say_unmet(d, d->wanted->interfaces[i]);
	for (const struct doctor_device *i = doctor_next_device(d, NULL); i;
	     i = doctor_next_device(d, i))
		judge_device(d, i);
}

/* --- Which hook. */

/* What trying tcx said: 0, -errno; -EPERM also where nobody has tried. */
static int tcx_error(const struct doctor *d)
{
	const struct doctor_kernel *kernel = &d->facts->kernel;

	for (size_t i = 0; i < kernel->feature_count; i++)
		if (!strcmp(kernel->features[i].name, "tcx"))
			return kernel->features[i].error;
	return -EPERM;
}

static bool is_unknown(int error)
{
	return error == -EPERM || error == -EACCES;
}

/* Why XDP is not wise or not possible; NULL: nothing speaks against it.  As interface.c chooses. */
static const char *against_xdp(const struct doctor_device *device)
{
	if (device->dev.type != ARPHRD_ETHER)
		return "XDP needs an Ethernet device";
	if (!device->driver[0])
		return "the driver does not tell its name";
	if (!strcmp(device->driver, "veth") || !strncmp(device->driver, "virtio", 6))
		return "XDP turns the offloads of this driver off";
	if (device->dev.kind[0])
		return "XDP on a virtual device sees super-packets as one";
	if (device->offloads & NETDEV_RX_VLAN && (device->dev.master || device->vlan_on_top))
		return "the device strips VLAN tags, which somebody uses";
	return NULL;
}

static void judge_xdp(struct doctor *d, const struct doctor_device *device)
{
	const char *against = against_xdp(device), *name = device->dev.name;

	if (device->dev.type != ARPHRD_ETHER)
		doctor_find(d, DOCTOR_FAIL, name, "ingress: auto", "ingress: xdp, but %s", against);
	else if (against)
		doctor_find(d, DOCTOR_WARN, name, "ingress: auto", "ingress: xdp, though %s",
			    against);
	else
		doctor_ok(d, name, "ingress by XDP, as asked, if the driver has it");
}

void doctor_interface_hook(struct doctor *d)
{
	const int tcx = tcx_error(d);
	const char *tc = !tcx ? "tcx" : is_unknown(tcx) ? "TC" : "a clsact filter";
	char fix[DOCTOR_FIX_MAX], quoted[DOCTOR_QUOTE_MAX];

	for (const struct doctor_device *i = doctor_next_device(d, NULL); i;
	     i = doctor_next_device(d, i)) {
		const char *name = i->dev.name;

		doctor_quote(quoted, name);
		if (i->ingress_qdisc && tcx && !is_unknown(tcx) &&
		    d->wanted->egress != HOOK_MODE_OFF)
			doctor_find(
				d, DOCTOR_FAIL, name,
				doctor_fix(
					fix,
					"tc qdisc del dev %s ingress && tc qdisc add dev %s clsact\negress: off",
					quoted, quoted),
				"its `ingress` qdisc leaves no place for clsact, so that egress "
				"cannot be metered");
		else if (d->wanted->ingress == HOOK_MODE_XDP)
			judge_xdp(d, i);
		else if (d->wanted->ingress == HOOK_MODE_AUTO && !against_xdp(i))
			doctor_ok(d, name, "ingress by XDP if the driver has it, else %s", tc);
		else if (d->wanted->ingress == HOOK_MODE_AUTO)
			doctor_ok(d, name, "ingress by %s: %s", tc, against_xdp(i));
		else
			doctor_ok(d, name, "ingress %s",
				  d->wanted->ingress == HOOK_MODE_OFF ? "off" : tc);
	}
}

/* --- Who else is on the hooks. */

static const char *place_name(enum doctor_foreign_place place)
{
	static const char *const names[] = {"XDP", "TC ingress", "TC egress"};

	return names[place];
}

/* XDP has one place; at TC there is room for many, and what stands in front of ours may keep packets from it. */
static void judge_program(struct doctor *d, const struct doctor_device *device,
			  const struct doctor_program *program, bool in_front)
{
	const char *name = device->dev.name, *place = place_name(program->place);
	const char *who = program->name[0] ? program->name : "whose name only root may read";
	bool may_be_ours = !program->name[0] && d->facts->exporter.status;
	char fix[DOCTOR_FIX_MAX], quoted[DOCTOR_QUOTE_MAX];

	doctor_quote(quoted, name);

	if (program->place == DOCTOR_AT_XDP && !may_be_ours && d->wanted->ingress == HOOK_MODE_XDP)
		doctor_find(d, DOCTOR_FAIL, name,
			    doctor_fix(fix, "ingress: tc\nip link set dev %s xdp off", quoted),
			    "XDP is held by program id %u (%s)", program->id, who);
	else if (program->place == DOCTOR_AT_XDP && !may_be_ours &&
		 d->wanted->ingress != HOOK_MODE_OFF)
		doctor_find(
			d, DOCTOR_WARN, name,
			doctor_fix(
				fix,
				"bpftool net show dev %s\nip link set dev %s xdp off  # if nobody needs it",
				quoted, quoted),
			"XDP program id %u (%s) comes before TC: what it drops or redirects is "
			"not seen",
			program->id, who);
	else if (in_front)
		doctor_find(
			d, DOCTOR_WARN, name, "systemctl restart flowtally  # it goes first again",
			"%s: '%s' (program id %u) is in front of flowtally and may keep packets from it",
			place, who, program->id);
	else
		doctor_ok(d, name, "%s: '%s' (program id %u)", place, who, program->id);
}

/* Whether one of ours follows at the same place. */
static bool ours_follows(const struct doctor_device *device, size_t index)
{
	for (size_t i = index + 1; i < device->program_count; i++)
		if (device->programs[i].place == device->programs[index].place &&
		    device->programs[i].ours)
			return true;
	return false;
}

void doctor_interface_foreign(struct doctor *d)
{
	for (const struct doctor_device *i = doctor_next_device(d, NULL); i;
	     i = doctor_next_device(d, i)) {
		size_t foreign = 0;

		for (size_t k = 0; k < i->program_count; k++) {
			if (i->programs[k].ours)
				continue;
			foreign++;
			judge_program(d, i, &i->programs[k],
				      i->programs[k].place != DOCTOR_AT_XDP && ours_follows(i, k));
		}
		if (!foreign)
			doctor_ok(
				d, i->dev.name, "%s",
				i->programs_hidden
					? "none that can be seen; tcx programs are shown to CAP_NET_ADMIN"
					: "none");
	}
}

/* --- What the device does to packets. */

void doctor_interface_mtu(struct doctor *d)
{
	char fix[DOCTOR_FIX_MAX], quoted[DOCTOR_QUOTE_MAX];

	for (const struct doctor_device *i = doctor_next_device(d, NULL); i;
	     i = doctor_next_device(d, i)) {
		const struct netdev *dev = &i->dev;

		if (dev->mtu && dev->mtu < MTU_MIN)
			doctor_find(
				d, DOCTOR_WARN, dev->name,
				doctor_fix(fix, "ip link set dev %s mtu 1500",
					   doctor_quote(quoted, dev->name)),
				"%u octets: IPv6 needs %d, and the kernel switches it off below",
				dev->mtu, MTU_MIN);
		else if (dev->mtu > MTU_ONE_PAGE && d->wanted->ingress == HOOK_MODE_XDP)
			doctor_find(d, DOCTOR_WARN, dev->name, "ingress: auto",
				    "%u octets do not fit into one page: drivers without XDP for "
				    "frames in fragments refuse XDP",
				    dev->mtu);
		else
			doctor_ok(d, dev->name, "%u octets", dev->mtu);
	}
}

void doctor_interface_lro(struct doctor *d)
{
	char fix[DOCTOR_FIX_MAX], quoted[DOCTOR_QUOTE_MAX];

	for (const struct doctor_device *i = doctor_next_device(d, NULL); i;
	     i = doctor_next_device(d, i))
		if (i->offloads & NETDEV_LRO)
			doctor_find(
				d, DOCTOR_WARN, i->dev.name,
				doctor_fix(fix, "ethtool -K %s lro off",
					   doctor_quote(quoted, i->dev.name)),
				"on: the device merges packets beyond recovery; XDP is refused, "
				"and a forwarding host must not use it");
		else
			doctor_ok(d, i->dev.name, "off");
}

/* --- Interfaces above and below. */

static void judge_member(struct doctor *d, const struct doctor_device *device,
			 const struct doctor_device *master)
{
	const char *name = device->dev.name, *kind = master->dev.kind, *above = master->dev.name;
	char fix[DOCTOR_FIX_MAX], quoted[DOCTOR_QUOTE_MAX], quoted_above[DOCTOR_QUOTE_MAX];

	doctor_quote(quoted, name);
	doctor_quote(quoted_above, above);

	if (!strcmp(kind, "vrf"))
		doctor_ok(d, name, "in the VRF '%s'; packets pass its hooks", above);
	else if (!strcmp(kind, "bond") && d->wanted->ingress == HOOK_MODE_XDP)
		doctor_find(d, DOCTOR_FAIL, name, doctor_fix(fix, "interfaces: [%s]", quoted_above),
			    "it belongs to the bond '%s': XDP is attached to the bond, and runs in "
			    "its members",
			    above);
	else if (master->wanted)
		doctor_find(
			d, DOCTOR_WARN, name,
			doctor_fix(fix, "interfaces: [%s]\ninterfaces: [%s]", quoted, quoted_above),
			"both it and its %s '%s' are metered: their packets are in flows of both",
			kind[0] ? kind : "master", above);
	else
		doctor_ok(d, name, "in the %s '%s', which is not metered",
			  kind[0] ? kind : "master", above);
}

void doctor_interface_stack(struct doctor *d)
{
	char fix[DOCTOR_FIX_MAX], quoted[DOCTOR_QUOTE_MAX];

	for (const struct doctor_device *i = doctor_next_device(d, NULL); i;
	     i = doctor_next_device(d, i)) {
		const struct doctor_device *master = doctor_device_by_index(d, i->dev.master);
		const char *blind = obstacle_of_kind(&i->dev);
		const bool vrf = !strcmp(i->dev.kind, "vrf");

		if (blind)
			doctor_find(
				d, DOCTOR_WARN, i->dev.name,
				doctor_fix(fix,
					   "ip link show %s %s  # lists what to meter in its place",
					   vrf ? "master" : "type",
					   vrf ? doctor_quote(quoted, i->dev.name) : i->dev.kind),
				"%s", blind);
		if (master)
			judge_member(d, i, master);
		else if (!blind)
			doctor_ok(d, i->dev.name, "in none");
	}
}
