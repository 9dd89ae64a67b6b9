/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/meter/ifstats.h"
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/gen_stats.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include "exporter/meter/netdev.h"

static const struct {
	const char *name;
	bool loss;
} stats_known[] = {
#define X(name, loss) [IFSTAT_##name] = {#name, loss},
	IFSTATS(X)
#undef X
};

struct samples {
	struct ifstats_sample *all;
	size_t count;
	size_t room;
};

static void samples_clear(struct samples *s)
{
	free(s->all);
}

const char *ifstat_name(enum ifstat stat)
{
	return stats_known[stat].name;
}

bool ifstat_is_loss(enum ifstat stat)
{
	return stats_known[stat].loss;
}

bool ifstats_has_loss(const struct ifstats_interface *i)
{
	for (int stat = 0; stat < _IFSTAT_MAX; stat++)
		if (stats_known[stat].loss && i->counters[stat])
			return true;
	return false;
}

bool ifstats_parse_link(const struct nlmsghdr *message, struct ifstats_sample *ret)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
	struct ifstats_sample sample = {0};
	struct rtnl_link_stats64 stats = {0};
	const struct nlattr *attr;
	bool found = false;

	if (message->nlmsg_type != RTM_NEWLINK)
		return false;
	sample.ifindex = (uint32_t)info->ifi_index;
	mnl_attr_for_each(attr, message, sizeof(*info))
	{
		if (mnl_attr_get_type(attr) == IFLA_IFNAME)
			snprintf(sample.name, sizeof(sample.name), "%s", mnl_attr_get_str(attr));
		if (mnl_attr_get_type(attr) != IFLA_STATS64)
			continue;
		/* Not aligned, and longer or shorter where the kernel is newer or older than the header. */
		memcpy(&stats, mnl_attr_get_payload(attr),
		       MIN(sizeof(stats), mnl_attr_get_payload_len(attr)));
		found = true;
	}
	if (!found)
		return false;
#define X(name, loss) sample.link[IFSTAT_##name] = stats.name;
	IFSTATS_LINK(X)
#undef X
	*ret = sample;
	return true;
}

static bool parse_queue(const struct nlattr *stats, uint32_t *ret_drops)
{
	struct gnet_stats_queue queue = {0};
	const struct nlattr *nested;

	mnl_attr_for_each_nested(nested, stats)
	{
		if (mnl_attr_get_type(nested) != TCA_STATS_QUEUE ||
		    mnl_attr_get_payload_len(nested) < sizeof(queue))
			continue;
		memcpy(&queue, mnl_attr_get_payload(nested), sizeof(queue));
		*ret_drops = queue.drops;
		return true;
	}
	return false;
}

bool ifstats_parse_qdisc(const struct nlmsghdr *message, uint32_t *ret_ifindex, bool *ret_ingress,
			 struct ifstats_qdisc *ret)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(message);
	struct ifstats_qdisc qdisc = {0};
	const struct nlattr *attr;
	bool found = false;

	if (message->nlmsg_type != RTM_NEWQDISC ||
	    (tc->tcm_parent != TC_H_ROOT && tc->tcm_parent != TC_H_INGRESS))
		return false;
	qdisc.handle = tc->tcm_handle;
	mnl_attr_for_each(attr, message, sizeof(*tc))
	{
		if (mnl_attr_get_type(attr) == TCA_KIND)
			snprintf(qdisc.kind, sizeof(qdisc.kind), "%s", mnl_attr_get_str(attr));
		else if (mnl_attr_get_type(attr) == TCA_STATS2)
			found |= parse_queue(attr, &qdisc.drops);
	}
	if (!found || !qdisc.kind[0])
		return false;
	*ret_ifindex = (uint32_t)tc->tcm_ifindex;
	*ret_ingress = tc->tcm_parent == TC_H_INGRESS;
	*ret = qdisc;
	return true;
}

static uint64_t growth(uint64_t last, uint64_t now)
{
	return now >= last ? now - last : 0;
}

/*
 * Another qdisc has counted from 0.  The same one that seems to have grown by more than half of the range went
 * back, as mq does when a queue gets another qdisc: no CPU drops so many between two samples.
 */
static uint64_t qdisc_growth(const struct ifstats_qdisc *last, const struct ifstats_qdisc *now)
{
	uint32_t grown = now->drops - last->drops;

	if (last->handle != now->handle || strcmp(last->kind, now->kind) != 0)
		return now->drops;
	return grown <= INT32_MAX ? grown : 0;
}

void ifstats_account(struct ifstats_interface *i, const struct ifstats_sample *sample)
{
	if (i->sampled) {
#define X(name, loss) \
	i->counters[IFSTAT_##name] += \
		growth(i->last.link[IFSTAT_##name], sample->link[IFSTAT_##name]);
		IFSTATS_LINK(X)
#undef X
		i->counters[IFSTAT_qdisc_drops] += qdisc_growth(&i->last.root, &sample->root);
		i->counters[IFSTAT_ingress_qdisc_drops] +=
			qdisc_growth(&i->last.ingress, &sample->ingress);
	}
	snprintf(i->name, sizeof(i->name), "%s", sample->name);
	i->last = *sample;
	i->sampled = true;
}

int ifstats_copy(struct ifstats *ret, const struct ifstats *s)
{
	struct ifstats copy = {.count = s->count, .read_ns = s->read_ns};

	copy.interfaces = calloc(MAX(s->count, 1u), sizeof(*copy.interfaces));
	if (!copy.interfaces)
		return -ENOMEM;
	for (size_t n = 0; n < s->count; n++)
		copy.interfaces[n] = s->interfaces[n];
	*ret = copy;
	return 0;
}

void ifstats_clear(struct ifstats *s)
{
	free(s->interfaces);
	*s = (struct ifstats){0};
}

int ifstats_clone(struct ifstats **ret, const struct ifstats *s)
{
	_cleanup_(ifstats_freep) struct ifstats *clone = calloc(1, sizeof(*clone));
	int r = clone ? ifstats_copy(clone, s) : -ENOMEM;

	if (r == 0)
		*ret = TAKE_PTR(clone);
	return r;
}

struct ifstats *ifstats_hold(struct ifstats *s)
{
	__atomic_add_fetch(&s->others, 1, __ATOMIC_RELAXED);
	return s;
}

struct ifstats *ifstats_free(struct ifstats *s)
{
	if (!s || __atomic_fetch_sub(&s->others, 1, __ATOMIC_ACQ_REL) > 0)
		return NULL;
	ifstats_clear(s);
	free(s);
	return NULL;
}

static struct ifstats_interface *find(const struct ifstats *s, uint32_t ifindex)
{
	for (size_t n = 0; n < s->count; n++)
		if (s->interfaces[n].ifindex == ifindex)
			return &s->interfaces[n];
	return NULL;
}

/* Interfaces may come and go for years: the oldest that are gone become one. */
static void fold_gone(struct ifstats *s)
{
	struct ifstats_interface *sum = NULL;
	size_t gone = 0, kept = 0;

	for (size_t n = 0; n < s->count; n++)
		gone += !s->interfaces[n].attached;
	for (size_t n = 0; n < s->count; n++) {
		struct ifstats_interface *i = &s->interfaces[n];

		if (i->attached || gone <= IFSTATS_GONE_MAX) {
			s->interfaces[kept++] = *i;
			continue;
		}
		if (!sum) {
			sum = &s->interfaces[kept++];
			*sum = *i;
			sum->ifindex = 0;
			snprintf(sum->name, sizeof(sum->name), "gone");
			continue;
		}
		for (int stat = 0; stat < _IFSTAT_MAX; stat++)
			sum->counters[stat] += i->counters[stat];
		gone--;
	}
	s->count = kept;
}

static void restart_samples(void *userdata)
{
	struct samples *s = userdata;

	s->count = 0;
}

static int on_link(const struct nlmsghdr *message, void *data)
{
	struct samples *s = data;
	struct ifstats_sample sample, *grown;
	size_t room = MAX(2 * s->room, 16u);

	if (!ifstats_parse_link(message, &sample))
		return MNL_CB_OK;
	if (s->count == s->room) {
		grown = reallocarray(s->all, room, sizeof(*grown));
		if (!grown)
			return MNL_CB_ERROR;
		s->all = grown;
		s->room = room;
	}
	s->all[s->count++] = sample;
	return MNL_CB_OK;
}

static int compare_samples(const void *a, const void *b)
{
	const struct ifstats_sample *one = a, *other = b;

	return (one->ifindex > other->ifindex) - (one->ifindex < other->ifindex);
}

/* In samples that are in order. */
static struct ifstats_sample *find_sample(const struct samples *s, uint32_t ifindex)
{
	const struct ifstats_sample key = {.ifindex = ifindex};

	return s->count ? bsearch(&key, s->all, s->count, sizeof(key), compare_samples) : NULL;
}

static int on_qdisc(const struct nlmsghdr *message, void *data)
{
	struct ifstats_sample *sample;
	struct ifstats_qdisc qdisc;
	uint32_t ifindex;
	bool ingress;

	if (!ifstats_parse_qdisc(message, &ifindex, &ingress, &qdisc))
		return MNL_CB_OK;
	sample = find_sample(data, ifindex);
	if (sample)
		*(ingress ? &sample->ingress : &sample->root) = qdisc;
	return MNL_CB_OK;
}

/* Without a qdisc in that place the kernel says -ENOENT, and the sample has none. */
static int read_qdisc(struct samples *samples, uint32_t ifindex, uint32_t parent)
{
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct tcmsg *tc = mnl_nlmsg_put_extra_header(request, sizeof(*tc));
	int r;

	request->nlmsg_type = RTM_GETQDISC;
	tc->tcm_ifindex = (int)ifindex;
	tc->tcm_parent = parent;
	r = netdev_get(request, on_qdisc, samples);
	return r == -ENOENT ? 0 : r;
}

/* One interface's sample, by three questions. */
static void read_one(struct ifstats_interface *i)
{
	_cleanup_(samples_clear) struct samples samples = {0};
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(request, sizeof(*info));

	request->nlmsg_type = RTM_GETLINK;
	info->ifi_index = (int)i->ifindex;
	if (netdev_get(request, on_link, &samples) < 0 || samples.count != 1)
		return;
	/* A qdisc that is there and not in the sample would be a new one in the next. */
	if (read_qdisc(&samples, i->ifindex, TC_H_ROOT) == 0 &&
	    read_qdisc(&samples, i->ifindex, TC_H_INGRESS) == 0)
		ifstats_account(i, &samples.all[0]);
}

int ifstats_attach(struct ifstats *s, const char *name, uint32_t ifindex)
{
	struct ifstats_interface *i = find(s, ifindex), *grown;

	if (!i) {
		fold_gone(s);
		grown = reallocarray(s->interfaces, s->count + 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		s->interfaces = grown;
		i = &grown[s->count++];
		*i = (struct ifstats_interface){.ifindex = ifindex};
		snprintf(i->name, sizeof(i->name), "%s", name);
	}
	i->attached = true;
	i->sampled = false;
	read_one(i);
	return 0;
}

void ifstats_detach(struct ifstats *s, uint32_t ifindex)
{
	struct ifstats_interface *i = find(s, ifindex);

	if (!i || !i->attached)
		return;
	read_one(i);
	i->attached = false;
}

int ifstats_read(struct ifstats *s)
{
	_cleanup_(samples_clear) struct samples samples = {0};
	const struct ifstats_sample *sample;
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	int r;

	request->nlmsg_type = RTM_GETLINK;
	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	r = netdev_dump(request, on_link, restart_samples, &samples);
	if (r < 0 && r != -EINTR) /* what was interrupted is true, if not all */
		return r;
	if (samples.count)
		qsort(samples.all, samples.count, sizeof(samples.all[0]), compare_samples);
	request = mnl_nlmsg_put_header(buffer);
	request->nlmsg_type = RTM_GETQDISC;
	mnl_nlmsg_put_extra_header(request, sizeof(struct tcmsg));
	r = netdev_dump(request, on_qdisc, NULL, &samples);
	if (r < 0)
		return r;
	for (size_t n = 0; n < s->count; n++) {
		if (!s->interfaces[n].attached)
			continue;
		sample = find_sample(&samples, s->interfaces[n].ifindex);
		if (sample)
			ifstats_account(&s->interfaces[n], sample);
	}
	s->read_ns = clock_ns(CLOCK_MONOTONIC);
	return 0;
}
