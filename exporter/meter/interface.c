/* SPDX-License-Identifier: Apache-2.0 */
#include <net/if.h> /* before the kernel's own version of it */
#include <errno.h>
#include <linux/if_arp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include "exporter/log.h"
#include "exporter/meter/ifstats.h"
#include "exporter/meter/interface.h"
#include "exporter/meter/obstacle.h"

/*
 * From an XDP hook that has been detached to a TC hook in its place: packets that were counted at the one may be on their
 * way to the other, merged by GRO or in the queue of another CPU (RPS).  None is to be counted twice.
 */
#define IN_FLIGHT_NS (20 * NSEC_PER_MSEC)

/* Why an ingress hook is the one that it is. */
#define AS_ASKED  "as asked"
#define AS_CHOSEN "native, and nothing speaks against it"

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

const char *hook_error_name(enum hook_error error)
{
	static const char *const names[] = {
		[HOOK_ERROR_DESCRIPTORS] = "descriptors", [HOOK_ERROR_MEMORY] = "memory",
		[HOOK_ERROR_PERMISSION] = "permission",	  [HOOK_ERROR_HELD] = "held",
		[HOOK_ERROR_UNSUPPORTED] = "unsupported", [HOOK_ERROR_REFUSED] = "refused",
		[HOOK_ERROR_LINK_TYPE] = "link_type",	  [HOOK_ERROR_OTHER] = "other",
	};

	return names[error];
}

void interface_init(struct interface *i, const struct target *target)
{
	*i = (struct interface){.ingress = HOOK_INIT, .egress = HOOK_INIT, .silenced = HOOK_INIT};
	snprintf(i->view.name, sizeof(i->view.name), "%s", target->name);
	i->view.ifindex = target->ifindex;
}

bool interface_meters(const struct interface *i)
{
	return i->view.ingress != HOOK_NONE || i->view.egress != HOOK_NONE;
}

uint64_t interface_descriptors(const struct interface_context *c)
{
	return (c->ingress != HOOK_MODE_OFF) + (c->egress != HOOK_MODE_OFF);
}

/* One line each time the reason changes, not with every retry. */
void interface_failed(struct interface *i, const char *format, ...)
{
	char text[sizeof(i->failure)];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(i->view.reason, sizeof(i->view.reason), "%s", text);
	if (!strcmp(text, i->failure))
		return;
	snprintf(i->failure, sizeof(i->failure), "%s", text);
	log_error("interface '%s': %s", i->view.name, text);
}

/*
 * Why XDP is not wise here, false when it is: on veth and virtio it turns offloads off and halves TCP
 * throughput, on tap it sees super-packets as one, and before it tags that the NIC has taken out of
 * the frame are lost.  Virtual devices have a kind, physical ones do not.
 */
static bool xdp_unwise(const struct netdev *dev, const struct selection *selection, char *ret,
		       size_t size)
{
	const char *text = NULL;
	char driver[32] = "";

	if (dev->type != ARPHRD_ETHER)
		text = "XDP needs an Ethernet device";
	else if (netdev_driver(dev->name, driver, sizeof(driver)) < 0)
		text = "no driver information";
	else if (!strcmp(driver, "veth") || !strncmp(driver, "virtio", 6))
		return snprintf(ret, size, "XDP on %s turns offloads off", driver), true;
	else if (dev->kind[0])
		return snprintf(ret, size, "XDP on %s sees super-packets as one", dev->kind), true;
	else if (dev->xdp_prog)
		return snprintf(ret, size, "XDP program id %u is there already", dev->xdp_prog),
		       true;
	else if (!netdev_strips_vlan(dev->name))
		return false;
	else if (dev->master)
		text = "VLAN tags are stripped, and the interface has a master that may use them";
	else if (selection_has_vlan(selection, dev->ifindex))
		text = "VLAN tags are stripped, and there are VLAN interfaces on top";
	if (text)
		snprintf(ret, size, "%s", text);
	return text;
}

/* Errors that say nothing of the hook: the process or the system has no more of something. */
static const char *shortage(int error)
{
	switch (error) {
	case -EMFILE:
		return "no file descriptor is left to the process: raise the limit (LimitNOFILE= of the "
		       "service, `ulimit -n`)";
	case -ENFILE:
		return "no file descriptor is left in the system: raise fs.file-max";
	case -ENOMEM:
	case -ENOBUFS:
		return "the kernel has no memory for it";
	default:
		return NULL;
	}
}

/* See hook_attach_xdp() and hook_attach_tc(). */
static enum hook_error classify(int error)
{
	switch (error) {
	case -EMFILE:
	case -ENFILE:
		return HOOK_ERROR_DESCRIPTORS;
	case -ENOMEM:
	case -ENOBUFS:
		return HOOK_ERROR_MEMORY;
	case -EPERM:
	case -EACCES:
		return HOOK_ERROR_PERMISSION;
	case -EBUSY:
	case -EEXIST:
	case -EMEDIUMTYPE:
	case -EMLINK:
		return HOOK_ERROR_HELD;
	case -EOPNOTSUPP:
		return HOOK_ERROR_UNSUPPORTED;
	case -ERANGE:
	case -EINVAL:
		return HOOK_ERROR_REFUSED;
	default:
		return HOOK_ERROR_OTHER;
	}
}

static void count_result(struct interface *i, enum flow_direction direction, int r)
{
	if (r < 0 && r != -ENODEV)
		i->view.attach_errors[direction][classify(r)]++;
}

/* What keeps each hook away that is wanted and not there. */
static void count_missing(struct interface *i, const struct interface_context *c,
			  enum hook_error error)
{
	if (c->ingress != HOOK_MODE_OFF && i->view.ingress == HOOK_NONE)
		i->view.attach_errors[DIRECTION_INGRESS][error]++;
	if (c->egress != HOOK_MODE_OFF && i->view.egress == HOOK_NONE)
		i->view.attach_errors[DIRECTION_EGRESS][error]++;
}

static void say_xdp_error(const struct netdev *dev, int r, char *ret, size_t size)
{
	const char *what = "ingress XDP", *other = "use --ingress tc or auto";

	if (shortage(r))
		snprintf(ret, size, "%s: %s", what, shortage(r));
	else if (r == -EBUSY || r == -EEXIST)
		snprintf(
			ret, size,
			"%s: held by program id %u: detach it (`bpftool net` shows it) or use --ingress tc",
			what, dev->xdp_prog);
	else if (r == -EPERM || r == -EACCES)
		snprintf(ret, size, "%s: %s: CAP_NET_ADMIN is needed", what, strerror(-r));
	else if (r == -EOPNOTSUPP)
		snprintf(ret, size, "%s: the driver has no native XDP: %s", what, other);
	else if (r == -ERANGE || r == -EINVAL)
		snprintf(ret, size, "%s: the driver refuses (MTU, LRO or channels): %s: %s", what,
			 strerror(-r), other);
	else
		snprintf(ret, size, "%s: %s: %s", what, strerror(-r), other);
}

static void say_tc_error(const char *what, int r, char *ret, size_t size)
{
	char text[HOOKS_REASON_MAX / 2 - 16];

	hook_tc_error(r, text, sizeof(text));
	snprintf(ret, size, "%s: %s", what, shortage(r) ? shortage(r) : text);
}

static void detach_hook(struct hook *hook, enum hook_kind *kind, struct interface_context *c)
{
	if (*kind == HOOK_NONE)
		return;
	c->descriptors.hooks -= hook->fd >= 0;
	if (*kind == HOOK_XDP)
		datapath_set_bond(c->datapath, hook->ifindex, false);
	hook_detach(hook);
	*kind = HOOK_NONE;
}

static void detach_silenced(struct interface *i, struct interface_context *c)
{
	c->descriptors.hooks -= i->silenced.fd >= 0;
	hook_detach(&i->silenced);
}

/* What was silenced for XDP, which cannot be had: it is there and counts again.  False: there is nothing. */
static bool resume_silenced(struct interface *i, const struct interface_context *c)
{
	if (i->silenced.fd < 0 || hook_move(&i->silenced, c->datapath) < 0)
		return false;
	i->ingress = i->silenced;
	i->silenced = HOOK_INIT;
	i->view.ingress = HOOK_TCX;
	return true;
}

static int attach_tc(struct interface *i, struct interface_context *c,
		     enum flow_direction direction, char *text, size_t size)
{
	const char *what = direction == DIRECTION_INGRESS ? "ingress TC" : "egress TC";
	struct hook *hook = direction == DIRECTION_INGRESS ? &i->ingress : &i->egress;
	enum hook_kind *kind = direction == DIRECTION_INGRESS ? &i->view.ingress : &i->view.egress;
	int r;

	if (direction == DIRECTION_INGRESS && resume_silenced(i, c))
		return 0;
	r = hook_attach_tc(hook, c->datapath, i->view.ifindex, direction, i->bare);
	if (r < 0) {
		say_tc_error(what, r, text, size);
		return r;
	}
	c->descriptors.hooks += hook->fd >= 0;
	*kind = hook->clsact ? HOOK_CLSACT : HOOK_TCX;
	return 0;
}

/* Members of a bond run its program: the bond is known before the first packet. */
static int attach_xdp(struct interface *i, struct interface_context *c, const struct netdev *dev)
{
	bool bond = !strcmp(dev->kind, "bond");
	int r = bond ? datapath_set_bond(c->datapath, dev->ifindex, true) : 0;

	if (r == 0)
		r = hook_attach_xdp(&i->ingress, c->datapath, dev->ifindex);
	if (r < 0 && bond)
		datapath_set_bond(c->datapath, dev->ifindex, false);
	return r;
}

/* XDP where it is asked for or wise; *ret_done says that ingress is settled, one way or the other. */
static int attach_ingress_xdp(struct interface *i, struct interface_context *c,
			      const struct netdev *dev, bool *ret_done, char *text, size_t size)
{
	bool asked = c->ingress == HOOK_MODE_XDP;
	int r;

	*ret_done = asked;
	if (!asked && xdp_unwise(dev, c->selection, i->why, sizeof(i->why)))
		return 0;
	r = i->bare ? -EOPNOTSUPP : attach_xdp(i, c, dev);
	if (r == 0) {
		i->view.ingress = HOOK_XDP;
		c->descriptors.hooks += i->ingress.fd >= 0;
		if (asked && !strcmp(dev->kind, "tun"))
			log_warning(
				"interface '%s': XDP on a tap counts super-packets as one, --ingress tc does not",
				i->view.name);
		snprintf(i->why, sizeof(i->why), "%s", asked ? AS_ASKED : AS_CHOSEN);
		*ret_done = true;
	} else if (asked || shortage(r)) {
		say_xdp_error(dev, r, text, size);
		return r;
	} else {
		snprintf(i->why, sizeof(i->why), "no native XDP: %s", strerror(-r));
	}
	return 0;
}

static int attach_ingress(struct interface *i, struct interface_context *c,
			  const struct netdev *dev, char *text, size_t size)
{
	bool done = false;
	int r;

	if (c->ingress == HOOK_MODE_OFF || i->view.ingress != HOOK_NONE)
		return 0;
	if (c->ingress == HOOK_MODE_TC) {
		snprintf(i->why, sizeof(i->why), AS_ASKED);
	} else {
		r = attach_ingress_xdp(i, c, dev, &done, text, size);
		if (r < 0 || done)
			return r;
	}
	return attach_tc(i, c, DIRECTION_INGRESS, text, size);
}

static int attach_egress(struct interface *i, struct interface_context *c, char *text, size_t size)
{
	if (c->egress == HOOK_MODE_OFF || i->view.egress != HOOK_NONE)
		return 0;
	return attach_tc(i, c, DIRECTION_EGRESS, text, size);
}

static void log_attached(const struct interface *i, const struct interface_context *c)
{
	const char *egress = c->egress == HOOK_MODE_OFF ? "off" : hook_kind_name(i->view.egress);

	if (i->lost)
		log_warning("interface '%s': somebody had detached a hook, it is attached again",
			    i->view.name);
	if (c->ingress == HOOK_MODE_OFF)
		log_info("interface '%s': ingress off, egress %s", i->view.name, egress);
	else
		log_info("interface '%s': ingress %s (%s), egress %s", i->view.name,
			 hook_kind_name(i->view.ingress), i->why, egress);
}

/* Whether both could be attached; says what is missing, and that the other one meters all the same. */
static bool attach_missing(struct interface *i, struct interface_context *c,
			   const struct netdev *dev)
{
	char ingress_text[HOOKS_REASON_MAX / 2], egress_text[HOOKS_REASON_MAX / 2];
	int ingress = attach_ingress(i, c, dev, ingress_text, sizeof(ingress_text));
	int egress = attach_egress(i, c, egress_text, sizeof(egress_text));

	count_result(i, DIRECTION_INGRESS, ingress);
	count_result(i, DIRECTION_EGRESS, egress);
	if (ingress == -ENODEV || egress == -ENODEV)
		return false; /* went away while it was looked at: a message will say so */
	if (ingress < 0 && egress < 0)
		interface_failed(i, "%s; %s", ingress_text, egress_text);
	else if (ingress < 0 && i->view.egress != HOOK_NONE)
		interface_failed(i, "%s; what leaves is metered", ingress_text);
	else if (ingress < 0)
		interface_failed(i, "%s", ingress_text);
	else if (egress < 0 && i->view.ingress != HOOK_NONE)
		interface_failed(i, "%s; what arrives is metered", egress_text);
	else if (egress < 0)
		interface_failed(i, "%s", egress_text);
	return ingress == 0 && egress == 0;
}

static uint64_t missing_hooks(const struct interface *i, const struct interface_context *c)
{
	uint64_t missing = (c->ingress != HOOK_MODE_OFF && i->view.ingress == HOOK_NONE) +
			   (c->egress != HOOK_MODE_OFF && i->view.egress == HOOK_NONE);

	return missing - (missing && i->silenced.fd >= 0); /* one comes in its place */
}

/* What all interfaces lack is said once for all of them, by hooks.c. */
static bool descriptors_suffice(struct interface *i, const struct interface_context *c)
{
	i->short_of_descriptors = !descriptors_fit(&c->descriptors, missing_hooks(i, c));
	if (i->short_of_descriptors) {
		count_missing(i, c, HOOK_ERROR_DESCRIPTORS);
		snprintf(i->view.reason, sizeof(i->view.reason), "%s", shortage(-EMFILE));
	}
	return !i->short_of_descriptors;
}

static void look_around(struct interface *i, const struct interface_context *c)
{
	const struct netdev *device = selection_device(c->selection, i->view.ifindex);
	const struct obstacle_place places[_DIRECTION_MAX] = {
		[DIRECTION_INGRESS] = {&i->ingress, i->view.ingress, device},
		[DIRECTION_EGRESS] = {&i->egress, i->view.egress, device},
	};

	for (int n = 0; n < _DIRECTION_MAX; n++)
		obstacle_find(&places[n], i->view.obstacles[n], sizeof(i->view.obstacles[n]));
}

bool interface_differs(const struct interface *i, const struct interface_context *c)
{
	return i->mode != c->ingress ||
	       (c->egress == HOOK_MODE_OFF) != (i->view.egress == HOOK_NONE);
}

/* Whether the mode would choose the ingress hook that is there; says why it is. */
static bool ingress_fits(struct interface *i, const struct interface_context *c,
			 const struct netdev *dev)
{
	bool xdp = i->view.ingress == HOOK_XDP;
	struct netdev without = *dev;

	if (c->ingress == HOOK_MODE_AUTO) {
		if (xdp)
			without.xdp_prog = 0; /* it is ours */
		if (xdp_unwise(&without, c->selection, i->why, sizeof(i->why)))
			return !xdp;
		snprintf(i->why, sizeof(i->why), AS_CHOSEN);
		return xdp;
	}
	snprintf(i->why, sizeof(i->why), AS_ASKED);
	return c->ingress == (xdp ? HOOK_MODE_XDP : HOOK_MODE_TC);
}

/*
 * Takes away what another mode had chosen.  For a moment nothing is counted: with both hooks there a packet would be
 * counted twice.  What TC counts until XDP is there is kept as long as can be, by silencing, which takes no time.
 */
static void drop_unfit(struct interface *i, struct interface_context *c, const struct netdev *dev)
{
	const struct timespec in_flight = {.tv_nsec = IN_FLIGHT_NS};
	bool other = i->mode != c->ingress, link;

	i->mode = c->ingress;
	if (c->egress == HOOK_MODE_OFF)
		detach_hook(&i->egress, &i->view.egress, c);
	if (i->view.ingress == HOOK_NONE || !other || ingress_fits(i, c, dev))
		return;
	if (c->ingress == HOOK_MODE_OFF || i->view.ingress == HOOK_XDP) {
		detach_hook(&i->ingress, &i->view.ingress, c);
		if (c->ingress != HOOK_MODE_OFF)
			nanosleep(&in_flight, NULL);
		return;
	}
	link = i->ingress.fd >= 0;
	hook_silence(&i->ingress, c->idle);
	c->descriptors.hooks -= link && i->ingress.fd < 0;
	i->silenced = i->ingress;
	i->ingress = HOOK_INIT;
	i->view.ingress = HOOK_NONE;
}

void interface_attach(struct interface *i, struct interface_context *c, const struct netdev *dev,
		      uint64_t now_ns)
{
	bool metered = interface_meters(i);

	i->view.ifindex = dev->ifindex;
	snprintf(i->view.device, sizeof(i->view.device), "%s", dev->name);
	i->bare = netdev_is_bare(dev);
	if (!i->bare && !netdev_is_ethernet(dev)) {
		interface_failed(i, "link type %u (ARPHRD): frames of this kind are not understood",
				 dev->type);
		count_missing(i, c, HOOK_ERROR_LINK_TYPE);
		backoff_failed(&i->retry, now_ns);
		return;
	}
	drop_unfit(i, c, dev);
	i->view.attached = descriptors_suffice(i, c) && attach_missing(i, c, dev);
	detach_silenced(i, c);
	if (!metered && interface_meters(i))
		ifstats_attach(c->ifstats, dev->name, dev->ifindex); /* no memory: without them */
	else if (metered && !interface_meters(i))
		ifstats_detach(c->ifstats, dev->ifindex);
	if (!i->view.attached) {
		backoff_failed(&i->retry, now_ns);
		return;
	}
	log_attached(i, c);
	snprintf(i->view.reason, sizeof(i->view.reason), "%s", i->why);
	i->failure[0] = '\0';
	i->lost = false;
	backoff_reset(&i->retry);
}

void interface_detach(struct interface *i, struct interface_context *c)
{
	bool metered = interface_meters(i);

	detach_hook(&i->ingress, &i->view.ingress, c);
	detach_hook(&i->egress, &i->view.egress, c);
	if (metered)
		ifstats_detach(c->ifstats, i->view.ifindex);
	i->view.attached = i->short_of_descriptors = false;
}

static bool move_hook(struct interface *i, struct hook *hook, enum hook_kind *kind,
		      struct interface_context *c)
{
	int r = *kind == HOOK_NONE ? 0 : hook_move(hook, c->datapath);

	if (r == 0)
		return true;
	log_warning(
		"interface '%s': its %s %s hook cannot get the new programs: %s: it is attached anew",
		i->view.name, hook->direction == DIRECTION_INGRESS ? "ingress" : "egress",
		hook_kind_name(*kind), strerror(-r));
	detach_hook(hook, kind, c);
	return false;
}

unsigned int interface_move(struct interface *i, struct interface_context *c)
{
	bool metered = interface_meters(i);
	unsigned int failed = !move_hook(i, &i->ingress, &i->view.ingress, c) +
			      !move_hook(i, &i->egress, &i->view.egress, c);

	if (failed) {
		i->view.attached = false;
		backoff_reset(&i->retry);
	}
	if (metered && !interface_meters(i))
		ifstats_detach(c->ifstats, i->view.ifindex);
	return failed;
}

static void silence_hook(struct hook *hook, enum hook_kind *kind, struct interface_context *c)
{
	bool open = hook->fd >= 0;

	if (*kind == HOOK_NONE)
		return;
	hook_silence(hook, c->idle);
	if (*kind == HOOK_TCX && hook->fd >= 0)
		return;
	c->descriptors.hooks -= open;
	*kind = HOOK_NONE;
}

void interface_silence(struct interface *i, struct interface_context *c)
{
	bool metered = interface_meters(i);

	silence_hook(&i->ingress, &i->view.ingress, c);
	silence_hook(&i->egress, &i->view.egress, c);
	if (metered)
		ifstats_detach(c->ifstats, i->view.ifindex);
}

bool interface_check(struct interface *i, struct interface_context *c, uint64_t now_ns)
{
	bool ingress_gone = i->view.ingress != HOOK_NONE && !hook_alive(&i->ingress);
	bool egress_gone = i->view.egress != HOOK_NONE && !hook_alive(&i->egress);

	look_around(i, c);
	if (!ingress_gone && !egress_gone)
		return !i->view.attached && backoff_due(&i->retry, now_ns);
	i->lost = true;
	i->view.attached = false;
	if (ingress_gone)
		detach_hook(&i->ingress, &i->view.ingress, c);
	if (egress_gone)
		detach_hook(&i->egress, &i->view.egress, c);
	if (!interface_meters(i))
		ifstats_detach(c->ifstats, i->view.ifindex);
	return true;
}
