/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other interfaces, modes and programs while packets go through the hooks, from two CPUs: what a change does not touch keeps
 * its links and misses no packet, what it exchanges counts none twice.
 */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "exporter/loop.h"
#include "exporter/meter/hook.h"
#include "exporter/meter/hooks.h"
#include "exporter/meter/ifstats.h"
#include "exporter/meter/tc_filters.h"
#include "exporter/observe/snapshot.h"
#include "tests/bpf/pairs.h"

struct context {
	unsigned int current; /* of the datapaths */
	struct loop *loop;
	struct hooks *hooks;
	bool stopped;
	int result;    /* of the start */
	bool answered; /* by what the loop was run for */
};

static struct context context;

static int open_context(const char *mask)
{
	context = (struct context){0};
	pairs_open(mask);
	assert_int_equal(loop_new(&context.loop), 0);
	return 0;
}

static int open_plain(_unused_ void **state)
{
	return open_context(NULL);
}

static int open_without_tcx(_unused_ void **state)
{
	return open_context("tcx");
}

/* --- Hooks. */

static void on_tried(_unused_ void *userdata, int result)
{
	context.result = result;
	context.answered = true;
	loop_stop(context.loop);
}

static void on_detached(_unused_ void *userdata)
{
	context.answered = true;
	loop_stop(context.loop);
}

static void on_applied(_unused_ void *userdata)
{
	context.answered = true;
	loop_stop(context.loop);
}

static void on_moved(_unused_ void *userdata, struct datapath *datapath)
{
	assert_ptr_equal(datapath, pairs.datapaths[context.current]);
	assert_int_equal(datapath_take_stubs(datapath), 0);
	context.answered = true;
	loop_stop(context.loop);
}

static void wait_for_answer(void)
{
	context.answered = false;
	assert_int_equal(loop_run(context.loop), 0);
	assert_true(context.answered);
}

static void begin_hooks(const char *const *patterns, size_t count, enum hook_mode ingress)
{
	const struct hooks_options options = {.datapath = pairs.datapaths[0],
					      .loop = context.loop,
					      .interfaces = patterns,
					      .interface_count = count,
					      .ingress = ingress,
					      .tried = on_tried,
					      .detached = on_detached,
					      .applied = on_applied,
					      .moved = on_moved};

	assert_int_equal(hooks_new(&context.hooks, &options), 0);
	wait_for_answer();
	assert_int_equal(context.result, 0);
}

static void apply(const char *const *patterns, size_t count, enum hook_mode ingress,
		  enum hook_mode egress)
{
	const struct hooks_change change = {.interfaces = patterns,
					    .interface_count = count,
					    .ingress = ingress,
					    .egress = egress};

	assert_int_equal(hooks_prepare(context.hooks, &change), 0);
	hooks_apply(context.hooks);
	wait_for_answer();
}

static void move(void)
{
	context.current = !context.current;
	hooks_set_datapath(context.hooks, pairs.datapaths[context.current]);
	wait_for_answer();
}

static const struct hooks_interface *find_interface(const char *device)
{
	const struct hooks_interface *i;

	for (size_t n = 0; (i = hooks_get(context.hooks, n)); n++)
		if (!strcmp(i->device, device) || !strcmp(i->name, device))
			return i;
	return NULL;
}

static uint32_t program_id(int fd)
{
	struct bpf_prog_info info = {0};
	__u32 size = sizeof(info);

	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
	return info.id;
}

/* A link of this process on that interface, among its descriptors; -1: there is none. */
static int find_link(uint32_t ifindex, enum flow_direction direction, struct bpf_link_info *ret)
{
	DIR *directory = opendir("/proc/self/fd");
	const struct dirent *entry;
	int found = -1;

	assert_non_null(directory);
	while ((entry = readdir(directory)) && found < 0) {
		struct bpf_link_info info = {0};
		__u32 size = sizeof(info);
		char path[300], target[32] = "";
		int fd = atoi(entry->d_name);

		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		if (readlink(path, target, sizeof(target) - 1) < 0 ||
		    strcmp(target, "anon_inode:bpf_link") != 0 ||
		    bpf_obj_get_info_by_fd(fd, &info, &size) < 0 || info.xdp.ifindex != ifindex)
			continue;
		/* an XDP link has nothing behind the ifindex, a tcx link its attach type */
		if ((info.type == BPF_LINK_TYPE_XDP ? 46 : (&info.xdp.ifindex)[1]) !=
		    46u + direction)
			continue;
		*ret = info;
		found = fd;
	}
	closedir(directory);
	return found;
}

/* What stands for a hook as long as it is not touched: the link's id, or the place of the filter. */
static uint64_t identity(const struct hooks_interface *i, enum flow_direction direction)
{
	enum hook_kind kind = direction == DIRECTION_INGRESS ? i->ingress : i->egress;
	const struct datapath *d = pairs.datapaths[context.current];
	enum datapath_program program = direction == DIRECTION_INGRESS ? PROGRAM_TC_INGRESS
								       : PROGRAM_TC_EGRESS;
	struct bpf_link_info info = {0};
	struct tc_filters filters = {0};
	uint64_t place = 0;

	if (kind == HOOK_NONE)
		return 0;
	if (kind != HOOK_CLSACT) {
		assert_true(find_link(i->ifindex, direction, &info) >= 0);
		assert_int_equal(info.prog_id,
				 program_id(datapath_program_fd(d, kind == HOOK_XDP ? PROGRAM_XDP
										    : program)));
		return info.id;
	}
	assert_int_equal(tc_filters_get(i->ifindex, direction, &filters), 0);
	for (size_t n = 0; n < filters.count; n++) {
		if (!filters.all[n].handle) /* the priority itself */
			continue;
		assert_int_equal(place, 0);
		assert_int_equal(filters.all[n].prog_id, program_id(datapath_stub_fd(d, program)));
		place = (uint64_t)filters.all[n].priority << 32 | filters.all[n].handle;
	}
	tc_filters_clear(&filters);
	assert_int_not_equal(place, 0);
	return place;
}

/* Links are closed with their interfaces; what hooks_free() finds it would leave to the end of the process. */
static int close_context(_unused_ void **state)
{
	pairs_send_end(); /* after a failure */
	if (context.hooks && !context.stopped)
		apply(NULL, 0, HOOK_MODE_AUTO, HOOK_MODE_AUTO);
	hooks_freep(&context.hooks);
	loop_freep(&context.loop);
	return pairs_close();
}

/* Between two changes packets come, also where changes take no time and others use the CPUs. */
static void rest(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 10 * 1000000}, NULL);
}

/* --- What is untouched by a hundred changes. */

/* Patterns that mean v0 and, by the bits, the others; in one way or another. */
static size_t make_patterns(char patterns[DEVICES + 2][8], uint32_t wanted)
{
	size_t count = 0;

	for (unsigned int i = 0; i < DEVICES; i++)
		if (wanted >> i & 1)
			snprintf(patterns[count++], sizeof(patterns[0]),
				 pairs_random(2) ? "v%u" : "[v]%u", i);
	if (wanted == (1u << DEVICES) - 1 && pairs_random(2))
		snprintf(patterns[count++], sizeof(patterns[0]), "v*");
	if (pairs_random(4) == 0)
		snprintf(patterns[count++], sizeof(patterns[0]), "absent");
	return count;
}

static void apply_random(enum hook_mode ingress, uint32_t wanted)
{
	char texts[DEVICES + 2][8], name[8];
	const char *patterns[DEVICES + 2];
	size_t count = make_patterns(texts, wanted);

	for (size_t i = 0; i < count; i++)
		patterns[i] = texts[i];
	apply(patterns, count, ingress, HOOK_MODE_AUTO);
	for (unsigned int i = 0; i < DEVICES; i++) {
		const struct hooks_interface *found;

		snprintf(name, sizeof(name), "v%u", i);
		found = find_interface(name);
		assert_int_equal(found && found->attached, wanted >> i & 1);
		if (found) {
			identity(found, DIRECTION_INGRESS);
			identity(found, DIRECTION_EGRESS);
		}
	}
	if (find_interface("absent"))
		assert_false(find_interface("absent")->attached);
}

static const struct snapshot *snapshot_of_hooks(void)
{
	struct meter *const none[_RECORD_KIND_MAX] = {NULL};
	const struct snapshot_sources sources = {.hooks = context.hooks, .meters = none};
	struct snapshot *s = snapshot_new();

	assert_non_null(s);
	snapshot_describe(s, &sources);
	return s;
}

static void check_untouched(const struct counted *c)
{
	const struct ifstats *stats = hooks_ifstats(context.hooks);
	const uint64_t sent[] = {[DIRECTION_INGRESS] = pairs_arrived(0),
				 [DIRECTION_EGRESS] = pairs.senders[NEAR].sent[0]};

	for (int d = 0; d < _DIRECTION_MAX; d++) {
		assert_true(sent[d] > 100);
		assert_int_equal(c->packets[0][d], sent[d]);
		assert_int_equal(c->octets[0][d], sent[d] * IP_BYTES);
	}
	/* Those that came and went: never more than there was, and all are in the books of the kernel's counters, once. */
	for (unsigned int i = 1; i < DEVICES; i++) {
		assert_true(c->packets[i][DIRECTION_INGRESS] <= pairs_arrived(i));
		assert_true(c->packets[i][DIRECTION_EGRESS] <= pairs.senders[NEAR].sent[i]);
		assert_true(c->packets[i][DIRECTION_EGRESS] > 0);
	}
	assert_int_equal(stats->count, DEVICES);
	for (size_t n = 0; n < stats->count; n++)
		if (stats->interfaces[n].ifindex == pairs.ifindexes[0]) {
			assert_int_equal(stats->interfaces[n].counters[IFSTAT_rx_packets],
					 sent[DIRECTION_INGRESS]);
			assert_int_equal(stats->interfaces[n].counters[IFSTAT_tx_packets],
					 sent[DIRECTION_EGRESS]);
		}
	print_message("# v0: %lu packets arrived, %lu left\n",
		      (unsigned long)sent[DIRECTION_INGRESS],
		      (unsigned long)sent[DIRECTION_EGRESS]);
}

static void change_a_hundred_times(enum hook_mode ingress, enum hook_kind kind)
{
	static const char *const first[] = {"v0"};
	const uint64_t end_ns = clock_ns(CLOCK_MONOTONIC) + 40 * NSEC_PER_SEC;
	uint64_t ids[_DIRECTION_MAX];
	struct counted c;
	int descriptors;

	begin_hooks(first, 1, ingress);
	assert_int_equal(find_interface("v0")->ingress, kind);
	for (int d = 0; d < _DIRECTION_MAX; d++)
		ids[d] = identity(find_interface("v0"), (enum flow_direction)d);
	descriptors = pairs_descriptors();
	pairs_send_begin(false);
	/* A hundred, or as many as a slow machine can. */
	for (int round = 0; round < 10 || (round < 100 && clock_ns(CLOCK_MONOTONIC) < end_ns);
	     round++) {
		apply_random(ingress, 1 | (round ? pairs_random(8) << 1 : 14));
		rest();
		move();
		for (int d = 0; d < _DIRECTION_MAX; d++)
			assert_int_equal(identity(find_interface("v0"), (enum flow_direction)d),
					 ids[d]);
	}
	apply(first, 1, ingress, HOOK_MODE_AUTO);
	assert_int_equal(pairs_descriptors(), descriptors);
	pairs_send_end();
	apply(NULL, 0, ingress, HOOK_MODE_AUTO);
	assert_null(hooks_get(context.hooks, 0));
	c = pairs_collect();
	check_untouched(&c);
	hooks_stop(context.hooks);
	wait_for_answer();
	context.stopped = true;
}

/* A snapshot holds what the hooks' thread has told, without a copy of its own, and nothing changes that. */
static void test_snapshots(_unused_ void **state)
{
	static const char *const first[] = {"v0"}, *const second[] = {"v0", "v1"};
	_cleanup_(snapshot_releasep) const struct snapshot *old = NULL;
	_cleanup_(snapshot_releasep) const struct snapshot *again = NULL;
	_cleanup_(snapshot_releasep) const struct snapshot *later = NULL;

	begin_hooks(first, 1, HOOK_MODE_AUTO);
	old = snapshot_of_hooks();
	again = snapshot_of_hooks();
	assert_ptr_equal(again->interfaces, old->interfaces);
	apply(second, 2, HOOK_MODE_AUTO, HOOK_MODE_AUTO);
	later = snapshot_of_hooks();
	apply(NULL, 0, HOOK_MODE_AUTO, HOOK_MODE_AUTO);
	assert_int_equal(old->interface_count, 1);
	assert_string_equal(old->interfaces[0].device, "v0");
	assert_true(old->interfaces[0].attached);
	assert_int_equal(later->interface_count, 2);
}

static void test_links(_unused_ void **state)
{
	change_a_hundred_times(HOOK_MODE_AUTO, HOOK_TCX);
}

static void test_filters(_unused_ void **state)
{
	change_a_hundred_times(HOOK_MODE_AUTO, HOOK_CLSACT);
}

static void test_xdp(_unused_ void **state)
{
	change_a_hundred_times(HOOK_MODE_XDP, HOOK_XDP);
}

/* --- Other modes. */

/* Each packet is a flow of its own, so that one that is counted twice shows; RPS makes them wait between the two hooks. */
static void change_modes(enum hook_kind tc)
{
	static const char *const first[] = {"v0"};
	static const enum hook_mode modes[] = {HOOK_MODE_TC, HOOK_MODE_XDP, HOOK_MODE_AUTO,
					       HOOK_MODE_OFF};
	enum hook_kind before = tc;
	uint64_t id, ingress_id, sent;
	struct counted c;

	(void)pairs_try_run(NEAR, "unshare -m sh -c 'mount -t sysfs none /sys && "
				  "echo 3 >/sys/class/net/v0/queues/rx-0/rps_cpus'");
	begin_hooks(first, 1, HOOK_MODE_TC);
	id = identity(find_interface("v0"), DIRECTION_EGRESS);
	ingress_id = identity(find_interface("v0"), DIRECTION_INGRESS);
	pairs_send_begin(true);
	for (int round = 0; round < 40; round++) {
		enum hook_mode mode = modes[round < 4 ? (unsigned int)round : pairs_random(4)];
		const struct hooks_interface *i;

		apply(first, 1, mode, HOOK_MODE_TC);
		rest();
		i = find_interface("v0");
		assert_true(i->attached);
		assert_int_equal(i->ingress, mode == HOOK_MODE_OFF   ? HOOK_NONE
					     : mode == HOOK_MODE_XDP ? HOOK_XDP
								     : tc);
		if (i->ingress == before) /* another mode that means the same */
			assert_int_equal(identity(i, DIRECTION_INGRESS), ingress_id);
		before = i->ingress;
		ingress_id = identity(i, DIRECTION_INGRESS);
		assert_int_equal(identity(i, DIRECTION_EGRESS), id);
	}
	pairs_send_end();
	apply(first, 1, HOOK_MODE_TC, HOOK_MODE_OFF);
	assert_int_equal(find_interface("v0")->egress, HOOK_NONE);
	apply(first, 1, HOOK_MODE_TC, HOOK_MODE_TC);
	assert_int_not_equal(find_interface("v0")->egress, HOOK_NONE);
	c = pairs_collect();
	sent = pairs_arrived(0);
	print_message("# %lu of %lu packets arrived unseen, in %d exchanges of the hook\n",
		      (unsigned long)(sent - c.packets[0][DIRECTION_INGRESS]), (unsigned long)sent,
		      40);
	assert_int_equal(c.most, 1);
	assert_int_equal(c.packets[0][DIRECTION_EGRESS], pairs.senders[NEAR].sent[0]);
	assert_true(c.packets[0][DIRECTION_INGRESS] > 0);
	assert_true(c.packets[0][DIRECTION_INGRESS] <= sent);
}

static void test_modes(_unused_ void **state)
{
	change_modes(HOOK_TCX);
}

static void test_modes_without_tcx(_unused_ void **state)
{
	change_modes(HOOK_CLSACT);
}

/* Where XDP cannot be had the interface says so, what leaves is metered all the same, and TC comes back. */
static void test_refused(_unused_ void **state)
{
	static const char *const names[] = {"lo"};
	const struct hooks_interface *i;
	uint64_t id;

	begin_hooks(names, 1, HOOK_MODE_TC);
	id = identity(find_interface("lo"), DIRECTION_EGRESS);
	apply(names, 1, HOOK_MODE_XDP, HOOK_MODE_AUTO);
	i = find_interface("lo");
	assert_false(i->attached);
	assert_int_equal(i->ingress, HOOK_NONE);
	assert_non_null(strstr(i->reason, "no native XDP"));
	assert_int_equal(identity(i, DIRECTION_EGRESS), id);
	apply(names, 1, HOOK_MODE_AUTO, HOOK_MODE_AUTO);
	i = find_interface("lo");
	assert_true(i->attached);
	assert_int_equal(i->ingress, HOOK_TCX);
	assert_true(identity(i, DIRECTION_INGRESS) > 0);
	assert_int_equal(identity(i, DIRECTION_EGRESS), id);
}

/* --- What cannot be moved. */

/* Somebody detaches both hooks just before the others move: they come anew, with the new programs. */
static void test_move_of_lost(_unused_ void **state)
{
	static const char *const first[] = {"v0", "v1"};
	struct bpf_link_info info = {0};

	begin_hooks(first, 2, HOOK_MODE_AUTO);
	for (int d = 0; d < _DIRECTION_MAX; d++)
		assert_int_equal(bpf_link_detach(find_link(pairs.ifindexes[0],
							   (enum flow_direction)d, &info)),
				 0);
	move();
	apply(first, 2, HOOK_MODE_AUTO, HOOK_MODE_AUTO);
	for (unsigned int i = 0; i < 2; i++)
		for (int d = 0; d < _DIRECTION_MAX; d++) {
			assert_true(find_interface(first[i])->attached);
			assert_true(identity(find_interface(first[i]), (enum flow_direction)d) > 0);
		}
}

static void send_some(unsigned int flow)
{
	const struct sockaddr_ll to = {.sll_family = AF_PACKET,
				       .sll_ifindex = (int)pairs.ifindexes[0],
				       .sll_protocol = htons(ETH_P_IP),
				       .sll_halen = 6};
	uint8_t frame[14 + IP_BYTES];

	pairs_frame(frame, flow);
	for (int n = 0; n < 10; n++)
		assert_int_equal(sendto(pairs.senders[NEAR].socket, frame, sizeof(frame), 0,
					(const struct sockaddr *)&to, sizeof(to)),
				 sizeof(frame));
}

/* A silenced hook counts nothing, and counts again when it moves, also to where it was. */
static void test_silenced(_unused_ void **state)
{
	_cleanup_(closep) int idle = hook_load_idle(pairs.datapaths[0]);
	struct hook hook = HOOK_INIT;
	struct counted c;

	assert_true(idle >= 0);
	assert_int_equal(hook_attach_tc(&hook, pairs.datapaths[0], pairs.ifindexes[0],
					DIRECTION_EGRESS, false),
			 0);
	send_some(1);
	hook_silence(&hook, idle);
	assert_true(hook_alive(&hook));
	send_some(2);
	assert_int_equal(hook_move(&hook, pairs.datapaths[0]), 0);
	send_some(3);
	hook_detach(&hook);
	c = pairs_collect();
	assert_int_equal(c.packets[0][DIRECTION_EGRESS], 20);
}

/* With the descriptors in hand nobody needs a privilege for it (Linux 6.1 and later). */
static void test_unprivileged(_unused_ void **state)
{
	struct hook xdp = HOOK_INIT, tc = HOOK_INIT;
	struct bpf_link_info info = {0};
	int status = -1;
	pid_t child;

	assert_int_equal(hook_attach_xdp(&xdp, pairs.datapaths[0], pairs.ifindexes[0]), 0);
	assert_int_equal(hook_attach_tc(&tc, pairs.datapaths[0], pairs.ifindexes[0],
					DIRECTION_EGRESS, false),
			 0);
	child = fork();
	if (child == 0) {
		if (setgroups(0, NULL) < 0 || setresuid(65534, 65534, 65534) < 0)
			_exit(1);
		_exit(hook_move(&xdp, pairs.datapaths[1]) < 0  ? 2
		      : hook_move(&tc, pairs.datapaths[1]) < 0 ? 3
							       : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_true(hook_alive(&xdp) && hook_alive(&tc));
	for (int d = 0; d < _DIRECTION_MAX; d++) {
		enum datapath_program program = d == DIRECTION_EGRESS ? PROGRAM_TC_EGRESS
								      : PROGRAM_XDP;

		assert_true(find_link(pairs.ifindexes[0], (enum flow_direction)d, &info) >= 0);
		assert_int_equal(info.prog_id,
				 program_id(datapath_program_fd(pairs.datapaths[1], program)));
	}
	send_some(1);
	hook_detach(&xdp);
	hook_detach(&tc);
	assert_int_equal(pairs_collect().packets[0][DIRECTION_EGRESS], 10);
}

/* Of changes in a row the newest holds, also before the start has come to its end, and right before the end. */
static void test_in_a_row(_unused_ void **state)
{
	static const char *const names[] = {"v0", "v1", "v2", "v3"};
	const struct hooks_options options = {.datapath = pairs.datapaths[0],
					      .loop = context.loop,
					      .interfaces = names,
					      .interface_count = 1,
					      .tried = on_tried,
					      .detached = on_detached,
					      .applied = on_applied,
					      .moved = on_moved};
	struct hooks_change change = {.interfaces = names};

	assert_int_equal(hooks_new(&context.hooks, &options), 0);
	for (unsigned int n = 0; n < 50; n++) {
		change.interface_count = 1 + n % 4;
		change.interfaces = names + (change.interface_count == 1 ? 3 : 0);
		assert_int_equal(hooks_prepare(context.hooks, &change), 0);
		hooks_apply(context.hooks);
		hooks_set_datapath(context.hooks, pairs.datapaths[n & 1]);
	}
	context.current = 1;
	/* the start, the move and the change; maybe some of those before */
	for (int n = 0; n < 100 && !(find_interface("v1") && find_interface("v1")->attached); n++)
		wait_for_answer();
	assert_true(find_interface("v0")->attached && find_interface("v1")->attached);
	assert_null(find_interface("v2"));
	assert_null(find_interface("v3"));
	assert_true(identity(find_interface("v1"), DIRECTION_EGRESS) > 0);
	assert_int_equal(hooks_prepare(context.hooks, &change), 0);
	hooks_apply(context.hooks);
	hooks_set_datapath(context.hooks, pairs.datapaths[1]);
}

/* Interfaces that are all to be attached anew, each of which takes its time, do not hold off a change of another one. */
static void test_others(_unused_ void **state)
{
	static const char *const before[] = {"v0", "c*"}, *const after[] = {"v0", "v1", "c*"};
	const unsigned int count = 40;
	unsigned int found = 0, attached = 0;
	const struct hooks_interface *i;
	struct bpf_link_info info;

	pairs_run(NEAR, "seq %u | sed 's/.*/link add c& type veth peer name d&/' | ip -batch -",
		  count);
	begin_hooks(before, ARRAY_SIZE(before), HOOK_MODE_TC);
	for (size_t n = 0; (i = hooks_get(context.hooks, n)); n++)
		if (i->name[0] == 'c') {
			int link = find_link(i->ifindex, DIRECTION_EGRESS, &info);

			assert_int_equal(bpf_link_detach(link), 0);
			found++;
		}
	assert_int_equal(found, count);
	hooks_rescan(context.hooks);
	apply(after, ARRAY_SIZE(after), HOOK_MODE_TC, HOOK_MODE_AUTO);
	assert_true(find_interface("v0")->attached && find_interface("v1")->attached);
	for (size_t n = 0; (i = hooks_get(context.hooks, n)); n++)
		attached += i->name[0] == 'c' && i->attached;
	print_message("# %u of %u others were attached again by then\n", attached, count);
	assert_in_range(attached, 0, count - 1);
}

/* A bond that has XDP is known to the new programs. */
static void test_bond(_unused_ void **state)
{
	static const char *const names[] = {"b0"};
	const struct hooks_interface *i;
	uint64_t id;
	struct counted c;

	if (!pairs_try_run(NEAR, "ip link add b0 type bond mode active-backup 2>/dev/null")) {
		print_message("# this kernel has no bond\n");
		return;
	}
	pairs_run(
		NEAR,
		"ip link set v0 down && ip link set v0 master b0 && ip link set v0 up && ip link set b0 up");
	begin_hooks(names, 1, HOOK_MODE_XDP);
	i = find_interface("b0");
	assert_int_equal(i->ingress, HOOK_XDP);
	id = identity(i, DIRECTION_INGRESS);
	move();
	assert_int_equal(identity(find_interface("b0"), DIRECTION_INGRESS), id);
	pairs.ifindexes[0] = if_nametoindex("b0");
	pairs_send_begin(true);
	nanosleep(&(struct timespec){.tv_nsec = 200 * 1000000}, NULL);
	pairs_send_end();
	c = pairs_collect();
	assert_true(pairs_arrived(0) > 0);
	assert_int_equal(c.packets[0][DIRECTION_INGRESS], pairs_arrived(0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_links, open_plain, close_context),
		cmocka_unit_test_setup_teardown(test_filters, open_without_tcx, close_context),
		cmocka_unit_test_setup_teardown(test_xdp, open_plain, close_context),
		cmocka_unit_test_setup_teardown(test_modes, open_plain, close_context),
		cmocka_unit_test_setup_teardown(test_modes_without_tcx, open_without_tcx,
						close_context),
		cmocka_unit_test_setup_teardown(test_refused, open_plain, close_context),
		cmocka_unit_test_setup_teardown(test_move_of_lost, open_plain, close_context),
		cmocka_unit_test_setup_teardown(test_silenced, open_plain, close_context),
		cmocka_unit_test_setup_teardown(test_unprivileged, open_plain, close_context),
		cmocka_unit_test_setup_teardown(test_in_a_row, open_plain, close_context),
		cmocka_unit_test_setup_teardown(test_others, open_plain, close_context),
		cmocka_unit_test_setup_teardown(test_bond, open_plain, close_context),
		cmocka_unit_test_setup_teardown(test_snapshots, open_plain, close_context),
	};

	run_require();
	return cmocka_run_group_tests_name("changes", tests, NULL, NULL);
}
