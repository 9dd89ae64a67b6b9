/* SPDX-License-Identifier: Apache-2.0 */
#include <net/if.h> /* before the kernel's own version of it */
#include <errno.h>
#include <fnmatch.h>
#include <linux/if_arp.h>
#include <string.h>
#include <sys/epoll.h>
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/meter/datapath.h"
#include "exporter/meter/hook.h"
#include "exporter/meter/hooks.h"
#include "exporter/meter/ifstats.h"
#include "exporter/meter/netdev.h"

/* How often what failed is tried again, and what is attached is looked after. */
#define RETRY_NS (5 * NSEC_PER_SEC)

struct interface {
	struct hooks_interface view; /* .name is `name` */
	char name[IFNAMSIZ];
	bool named; /* given by its name, not found by a glob: stays when it is gone */
	bool bare;
	bool lost; /* a hook was found detached */
	char reason[192];
	char failure[192]; /* last failure logged; empty: none */
	struct hook ingress;
	struct hook egress;
};

struct hooks {
	struct hooks_options options;
	struct interface **interfaces;
	size_t count;
	int monitor;
	struct loop_source *monitor_source;
	struct loop_source *timer;
};

const char *hook_kind_name(enum hook_kind kind)
{
	static const char *const names[] = {
		[HOOK_NONE] = "none",
		[HOOK_XDP] = "XDP",
		[HOOK_TCX] = "tcx",
		[HOOK_CLSACT] = "clsact",
	};

	return names[kind];
}

static bool is_glob(const char *pattern)
{
	return strpbrk(pattern, "*?[") != NULL;
}

static struct interface *interface_free(struct interface *i)
{
	hook_detach(&i->ingress);
	hook_detach(&i->egress);
	free(i);
	return NULL;
}

static struct interface *interface_find(const struct hooks *h, const char *name)
{
	for (size_t i = 0; i < h->count; i++)
		if (!strcmp(h->interfaces[i]->name, name))
			return h->interfaces[i];
	return NULL;
}

static int interface_add(struct hooks *h, const char *name, bool named)
{
	struct interface **grown, *i;

	if (interface_find(h, name))
		return 0;
	grown = reallocarray(h->interfaces, h->count + 1, sizeof(struct interface *));
	if (!grown)
		return -ENOMEM;
	h->interfaces = grown;
	i = calloc(1, sizeof(*i));
	if (!i)
		return -ENOMEM;
	snprintf(i->name, sizeof(i->name), "%s", name);
	i->view.name = i->name;
	i->view.reason = i->reason;
	i->named = named;
	i->ingress = i->egress = HOOK_INIT;
	h->interfaces[h->count++] = i;
	return 0;
}

/* One line each time the reason changes, not with every retry. */
static void interface_failed(struct interface *i, int error, const char *what, const char *fix)
{
	char text[sizeof(i->failure)];

	snprintf(text, sizeof(text), "%s%s%s: %s", what, error ? ": " : "",
		 error ? strerror(-error) : "", fix);
	snprintf(i->reason, sizeof(i->reason), "%s", text);
	if (!strcmp(text, i->failure))
		return;
	snprintf(i->failure, sizeof(i->failure), "%s", text);
	log_error("interface '%s': %s", i->name, text);
}

/*
 * Why XDP is not wise here, NULL when it is: on veth and virtio it turns offloads off and halves TCP
 * throughput, on tap it sees super-packets as one, and before it tags that the NIC has taken out of
 * the frame are lost.  Virtual devices have a kind, physical ones do not.
 */
static const char *xdp_unwise(const struct netdev *dev, const struct netdev_list *list)
{
	static char text[96];
	char driver[32] = "";

	if (dev->type != ARPHRD_ETHER)
		return "XDP needs an Ethernet device";
	if (netdev_driver(dev->name, driver, sizeof(driver)) < 0)
		return "no driver information";
	if (!strcmp(driver, "veth") || !strncmp(driver, "virtio", 6)) {
		snprintf(text, sizeof(text), "XDP on %s turns offloads off", driver);
		return text;
	}
	if (dev->kind[0]) {
		snprintf(text, sizeof(text), "XDP on %s sees super-packets as one", dev->kind);
		return text;
	}
	if (dev->xdp_prog) {
		snprintf(text, sizeof(text), "XDP program id %u is there already", dev->xdp_prog);
		return text;
	}
	if (!netdev_strips_vlan(dev->name))
		return NULL;
	if (dev->master)
		return "VLAN tags are stripped, and the interface has a master that may use them";
	for (size_t i = 0; i < list->count; i++)
		if (list->devices[i].link == dev->ifindex && !strcmp(list->devices[i].kind, "vlan"))
			return "VLAN tags are stripped, and there are VLAN interfaces on top";
	return NULL;
}

static bool is_busy(int r)
{
	return r == -EBUSY || r == -EEXIST;
}

static void xdp_failed(struct interface *i, const struct netdev *dev, int r)
{
	char what[96];

	if (is_busy(r)) {
		snprintf(what, sizeof(what), "ingress XDP: held by program id %u", dev->xdp_prog);
		interface_failed(i, 0, what,
				 "detach it (`bpftool net` shows it) or use --ingress tc");
	} else if (r == -EOPNOTSUPP) {
		interface_failed(i, 0, "ingress XDP: the driver has no native XDP",
				 "use --ingress tc or auto");
	} else if (r == -ERANGE || r == -EINVAL) {
		interface_failed(i, r, "ingress XDP: the driver refuses (MTU, LRO or channels)",
				 "use --ingress tc or auto");
	} else {
		interface_failed(i, r, "ingress XDP", "use --ingress tc or auto");
	}
}

static int attach_tc(const struct hooks *h, struct interface *i, struct hook *hook,
		     enum flow_direction direction)
{
	const char *what = direction == DIRECTION_INGRESS ? "ingress TC" : "egress TC";
	int r = hook_attach_tc(hook, h->options.datapath, i->view.ifindex, direction, i->bare);

	if (r == -ENODEV) /* went away while it was looked at: the next look will say so */
		return r;
	if (r == -EBUSY)
		interface_failed(i, 0, what,
				 "another flowtally has its clsact filter there: stop it first");
	else if (r == -EEXIST && !datapath_features(h->options.datapath)->tcx)
		interface_failed(
			i, 0, what,
			"a foreign clsact filter is at priority 2 handle 0xf10a: remove it");
	else if (r == -EPERM || r == -EACCES)
		interface_failed(i, r, what, "CAP_NET_ADMIN is needed");
	else if (r < 0)
		interface_failed(
			i, r, what,
			"the kernel refuses (is CONFIG_NET_CLS_BPF and CONFIG_NET_SCH_INGRESS there?)");
	return r;
}

/* XDP where it is asked for or wise; *ret_done says that ingress is settled, one way or the other. */
static int attach_ingress_xdp(const struct hooks *h, struct interface *i, const struct netdev *dev,
			      const char *unwise, bool *ret_done)
{
	bool asked = h->options.ingress == HOOK_MODE_XDP;
	int r;

	*ret_done = asked;
	if (!asked && unwise) {
		snprintf(i->reason, sizeof(i->reason), "%s", unwise);
		return 0;
	}
	if (!strcmp(dev->kind, "bond"))
		datapath_set_bond(h->options.datapath, dev->ifindex, true);
	r = i->bare ? -EOPNOTSUPP : hook_attach_xdp(&i->ingress, h->options.datapath, dev->ifindex);
	if (r < 0)
		datapath_set_bond(h->options.datapath, dev->ifindex, false);
	if (r == 0) {
		i->view.ingress = HOOK_XDP;
		if (asked && !strcmp(dev->kind, "tun"))
			log_warning(
				"interface '%s': XDP on a tap counts super-packets as one, --ingress tc does not",
				i->name);
		snprintf(i->reason, sizeof(i->reason), "%s",
			 asked ? "as asked" : "native, and nothing speaks against it");
		*ret_done = true;
	} else if (asked) {
		xdp_failed(i, dev, r);
		return r;
	} else {
		snprintf(i->reason, sizeof(i->reason), "no native XDP: %s", strerror(-r));
	}
	return 0;
}

static int attach_ingress(const struct hooks *h, struct interface *i, const struct netdev *dev,
			  const struct netdev_list *list)
{
	bool done = false;
	int r;

	if (h->options.ingress == HOOK_MODE_OFF)
		return 0;
	if (h->options.ingress == HOOK_MODE_TC) {
		snprintf(i->reason, sizeof(i->reason), "as asked");
	} else {
		r = attach_ingress_xdp(h, i, dev, xdp_unwise(dev, list), &done);
		if (r < 0 || done)
			return r;
	}
	r = attach_tc(h, i, &i->ingress, DIRECTION_INGRESS);
	if (r < 0)
		return r;
	i->view.ingress = i->ingress.clsact ? HOOK_CLSACT : HOOK_TCX;
	return 0;
}

static int attach_egress(const struct hooks *h, struct interface *i)
{
	int r;

	if (h->options.egress == HOOK_MODE_OFF)
		return 0;
	r = attach_tc(h, i, &i->egress, DIRECTION_EGRESS);
	if (r < 0)
		return r;
	i->view.egress = i->egress.clsact ? HOOK_CLSACT : HOOK_TCX;
	return 0;
}

static void interface_detach(const struct hooks *h, struct interface *i)
{
	if (i->view.attached)
		ifstats_detach(h->options.ifstats, i->view.ifindex);
	if (i->view.ingress == HOOK_XDP)
		datapath_set_bond(h->options.datapath, i->view.ifindex, false);
	hook_detach(&i->ingress);
	hook_detach(&i->egress);
	i->view.ingress = i->view.egress = HOOK_NONE;
	i->view.attached = false;
}

/* All hooks that are wanted, or none: half an interface would look like a whole one. */
static void interface_attach(const struct hooks *h, struct interface *i, const struct netdev *dev,
			     const struct netdev_list *list)
{
	i->view.ifindex = dev->ifindex;
	i->bare = netdev_is_bare(dev);
	if (!i->bare && !netdev_is_ethernet(dev)) {
		char what[64];

		snprintf(what, sizeof(what), "link type %u (ARPHRD)", dev->type);
		interface_failed(i, 0, what, "frames of this kind are not understood");
		return;
	}
	if (attach_ingress(h, i, dev, list) < 0 || attach_egress(h, i) < 0) {
		interface_detach(h, i);
		return;
	}
	if (i->lost)
		log_warning("interface '%s': somebody had detached a hook, it is attached again",
			    i->name);
	i->lost = false;
	i->view.attached = true;
	ifstats_attach(h->options.ifstats, i->name,
		       dev->ifindex); /* without memory: without them */
	i->failure[0] = '\0';
	if (h->options.ingress == HOOK_MODE_OFF)
		log_info("interface '%s': ingress off, egress %s", i->name,
			 hook_kind_name(i->view.egress));
	else
		log_info("interface '%s': ingress %s (%s), egress %s", i->name,
			 hook_kind_name(i->view.ingress), i->reason,
			 h->options.egress == HOOK_MODE_OFF ? "off"
							    : hook_kind_name(i->view.egress));
}

/* Detaches what is no longer where it was: the interface is gone or another one, or somebody detached a hook. */
static void interface_check(const struct hooks *h, struct interface *i, const struct netdev *dev)
{
	if (!i->view.attached)
		return;
	if (!dev || dev->ifindex != i->view.ifindex)
		log_message(i->named ? LOG_WARNING : LOG_INFO, "interface '%s' is gone", i->name);
	else if ((h->options.ingress != HOOK_MODE_OFF && !hook_alive(&i->ingress)) ||
		 (h->options.egress != HOOK_MODE_OFF && !hook_alive(&i->egress)))
		i->lost = true;
	else
		return;
	interface_detach(h, i);
}

static int add_matching(struct hooks *h, const struct netdev_list *list)
{
	const char *pattern;
	int r;

	for (size_t p = 0; p < h->options.interface_count; p++) {
		pattern = h->options.interfaces[p];
		r = is_glob(pattern) ? 0 : interface_add(h, pattern, true);
		for (size_t i = 0; r == 0 && is_glob(pattern) && i < list->count; i++)
			if (fnmatch(pattern, list->devices[i].name, 0) == 0)
				r = interface_add(h, list->devices[i].name, false);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool matches_glob(const struct hooks *h, const char *name)
{
	for (size_t p = 0; p < h->options.interface_count; p++)
		if (is_glob(h->options.interfaces[p]) &&
		    fnmatch(h->options.interfaces[p], name, 0) == 0)
			return true;
	return false;
}

/* Hooks stay with an interface that gets another name; if a glob matches that too, so does metering. */
static void follow_renames(struct hooks *h, const struct netdev_list *list)
{
	for (size_t n = 0; n < h->count; n++) {
		struct interface *i = h->interfaces[n];
		const struct netdev *dev = netdev_list_find_index(list, i->view.ifindex);

		if (i->named || !i->view.attached || !dev || !strcmp(dev->name, i->name) ||
		    !matches_glob(h, dev->name) || interface_find(h, dev->name))
			continue;
		log_info("interface '%s' is now '%s'", i->name, dev->name);
		snprintf(i->name, sizeof(i->name), "%s", dev->name);
	}
}

static void remove_gone(struct hooks *h, const struct netdev_list *list)
{
	const struct netdev *dev;
	struct interface *i;

	for (size_t n = h->count; n-- > 0;) {
		i = h->interfaces[n];
		dev = netdev_list_find(list, i->name);
		interface_check(h, i, dev);
		if (dev)
			continue;
		i->view.ifindex = 0;
		if (i->named) {
			interface_failed(i, 0, "no such interface", "`ip link` lists them");
		} else {
			interface_free(i);
			h->interfaces[n] = h->interfaces[--h->count];
		}
	}
}

/* Brings what is attached in line with what exists; detaches first, since a name may have moved on. */
static int sync_interfaces(struct hooks *h)
{
	_cleanup_(netdev_list_clear) struct netdev_list list = {0};
	const struct netdev *dev;
	int r = netdev_list_get(&list);

	if (r == 0) {
		follow_renames(h, &list);
		r = add_matching(h, &list);
	}
	if (r < 0)
		return log_errno(LOG_ERR, r, "cannot list the interfaces");
	remove_gone(h, &list);
	for (size_t n = 0; n < h->count; n++) {
		dev = netdev_list_find(&list, h->interfaces[n]->name);
		if (dev && !h->interfaces[n]->view.attached)
			interface_attach(h, h->interfaces[n], dev, &list);
	}
	ifstats_settle(h->options.ifstats); /* failing that, with the next sample */
	return 0;
}

static int on_monitor(void *userdata, _unused_ uint32_t events)
{
	struct hooks *h = userdata;

	netdev_monitor_clear(h->monitor);
	sync_interfaces(h);
	return 0;
}

static int on_timer(void *userdata, _unused_ uint32_t events)
{
	struct hooks *h = userdata;

	sync_interfaces(h);
	ifstats_read(h->options.ifstats); /* what will be known of those that go */
	return 0;
}

static int watch_interfaces(struct hooks *h)
{
	int r;

	h->monitor = netdev_monitor_open();
	if (h->monitor < 0)
		return log_errno(LOG_ERR, h->monitor, "cannot watch the interfaces");
	r = loop_add_fd(h->options.loop, h->monitor, EPOLLIN, on_monitor, h, &h->monitor_source) ?:
	    loop_add_timer(h->options.loop, on_timer, h, &h->timer) ?:
	    loop_set_timer(h->timer, RETRY_NS, RETRY_NS);
	return r < 0 ? log_errno(LOG_ERR, r, "cannot watch the interfaces") : 0;
}

static bool any_attached(const struct hooks *h)
{
	for (size_t i = 0; i < h->count; i++)
		if (h->interfaces[i]->view.attached)
			return true;
	return false;
}

static bool any_named(const struct hooks *h)
{
	for (size_t i = 0; i < h->options.interface_count; i++)
		if (!is_glob(h->options.interfaces[i]))
			return true;
	return false;
}

int hooks_new(struct hooks **ret, const struct hooks_options *options)
{
	_cleanup_(hooks_freep) struct hooks *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	h->options = *options;
	h->monitor = -1;
	r = watch_interfaces(h) ?: sync_interfaces(h);
	if (r < 0)
		return r;
	if (!any_attached(h) && any_named(h))
		return -ENODEV; /* each has been logged with its reason */
	*ret = TAKE_PTR(h);
	return 0;
}

int hooks_rescan(struct hooks *h)
{
	return sync_interfaces(h);
}

struct hooks *hooks_free(struct hooks *h)
{
	if (!h)
		return NULL;
	loop_source_free(h->monitor_source);
	loop_source_free(h->timer);
	closep(&h->monitor);
	for (size_t i = 0; i < h->count; i++)
		interface_free(h->interfaces[i]);
	free(h->interfaces);
	free(h);
	return NULL;
}

const struct hooks_interface *hooks_get(const struct hooks *h, size_t index)
{
	return index < h->count ? &h->interfaces[index]->view : NULL;
}
