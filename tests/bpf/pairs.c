/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>
#include "exporter/log.h"
#include "tests/bpf/pairs.h"

struct pairs pairs;

uint32_t pairs_random(uint32_t limit)
{
	pairs.seed ^= pairs.seed << 13;
	pairs.seed ^= pairs.seed >> 17;
	pairs.seed ^= pairs.seed << 5;
	return pairs.seed % limit;
}

/* --- Namespaces and devices. */

static void pairs_enter(int namespace)
{
	assert_int_equal(setns(pairs.namespaces[namespace], CLONE_NEWNET), 0);
}

bool pairs_try_run(int namespace, const char *format, ...)
{
	char command[512];
	va_list args;
	int r;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	pairs_enter(namespace);
	r = system(command); /* NOLINT(cert-env33-c): words of this file's own */
	pairs_enter(NEAR);
	return r == 0;
}

static int new_namespace(void)
{
	int fd;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

int pairs_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static struct datapath *open_datapath(const char *mask, const struct datapath *replaces)
{
	const struct datapath_options options = {
		.kind = RECORD_FLOW, .entries = 1 << 19, .mask = mask, .replaces = replaces};
	struct datapath *d = NULL;

	assert_int_equal(datapath_new(&d, &options), 0);
	return d;
}

static void open_sender(struct sender *s, int namespace, char letter)
{
	char name[IFNAMSIZ];

	pairs_enter(namespace);
	s->socket = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	assert_true(s->socket >= 0);
	for (unsigned int i = 0; i < DEVICES; i++) {
		snprintf(name, sizeof(name), "%c%u", letter, i);
		s->ifindexes[i] = if_nametoindex(name);
		assert_true(s->ifindexes[i]);
	}
	pairs_enter(NEAR);
}

void pairs_open(const char *mask)
{
	int descriptors;

	log_info(
		"opening pairs of devices"); /* with its first line the log takes a descriptor for good */
	descriptors = pairs_descriptors();
	pairs = (struct pairs){.descriptors = descriptors,
			       .seed = (uint32_t)clock_ns(CLOCK_REALTIME) | 1};
	print_message("# seed %u\n", pairs.seed);
	pairs.namespaces[FAR] = new_namespace();
	pairs.namespaces[NEAR] = new_namespace();
	for (int i = 0; i < 2; i++) /* without IPv6 a fresh namespace sends nothing of its own */
		pairs_run(i, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 "
			     "net.ipv6.conf.default.disable_ipv6=1");
	for (int i = 0; i < DEVICES; i++) {
		pairs_run(NEAR, "ip link add v%d type veth peer name w%d netns /proc/%d/fd/%d", i,
			  i, getpid(), pairs.namespaces[FAR]);
		pairs_run(FAR, "ip link set w%d up", i);
		pairs_run(NEAR, "ip link set v%d up", i);
	}
	open_sender(&pairs.senders[NEAR], NEAR, 'v');
	open_sender(&pairs.senders[FAR], FAR, 'w');
	memcpy(pairs.ifindexes, pairs.senders[NEAR].ifindexes, sizeof(pairs.ifindexes));
	pairs.datapaths[0] = open_datapath(mask, NULL);
	pairs.datapaths[1] = open_datapath(mask, pairs.datapaths[0]);
}

int pairs_close(void)
{
	for (int i = 0; i < 2; i++) {
		datapath_freep(&pairs.datapaths[i]);
		close(pairs.senders[i].socket);
		close(pairs.namespaces[i]);
	}
	return pairs_descriptors() == pairs.descriptors ? 0 : -1;
}

/* --- Packets. */

void pairs_frame(uint8_t frame[14 + IP_BYTES], uint32_t flow)
{
	static const uint8_t start[] = {2,    0, 0,   0,	0, 1, 2, 0, 0,	0,  0, 2, 8,   0,
					0x45, 0, 0,   IP_BYTES, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0,
					2,    1, 192, 0,	2, 2, 0, 0, 0,	0,  0, 8, 0,   0};

	memcpy(frame, start, sizeof(start));
	memcpy(frame + 34, &flow, sizeof(flow)); /* the ports */
}

static void *sender_thread(void *userdata)
{
	const struct timespec pause = {.tv_nsec = 20000};
	struct sender *s = userdata;
	uint8_t frame[14 + IP_BYTES];
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(s == &pairs.senders[1], &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus); /* a machine of one CPU has less to show */
	for (uint32_t n = 0; !atomic_load(&s->stop); n++) {
		uint32_t i = s->each_its_flow ? 0 : n % DEVICES;
		const struct sockaddr_ll to = {.sll_family = AF_PACKET,
					       .sll_ifindex = (int)s->ifindexes[i],
					       .sll_protocol = htons(ETH_P_IP),
					       .sll_halen = 6};

		pairs_frame(frame, s->each_its_flow ? n : n % 64);
		/* Refused it has been seen all the same: that comes behind the hooks. */
		(void)sendto(s->socket, frame, sizeof(frame), 0, (const struct sockaddr *)&to,
			     sizeof(to));
		s->sent[i]++;
		if (s->each_its_flow)
			nanosleep(&pause, NULL);
	}
	return NULL;
}

void pairs_send_begin(bool each_its_flow)
{
	pairs.sending = true;
	for (int i = 0; i < 2; i++) {
		pairs.senders[i].each_its_flow = each_its_flow;
		assert_int_equal(pthread_create(&pairs.senders[i].thread, NULL, sender_thread,
						&pairs.senders[i]),
				 0);
	}
}

void pairs_send_end(void)
{
	const struct timespec arrive = {.tv_nsec = 100 * 1000000};

	if (!pairs.sending)
		return;
	for (int i = 0; i < 2; i++)
		atomic_store(&pairs.senders[i].stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(pairs.senders[i].thread, NULL);
	pairs.sending = false;
	nanosleep(&arrive, NULL);
}

static uint64_t read_statistic(int namespace, const char *device, const char *name)
{
	char command[128], line[32] = "";
	FILE *pipe;

	snprintf(command, sizeof(command),
		 "ip -j -s link show %s | sed 's/.*\"tx\":{//; s/.*\"%s\":\\([0-9]*\\).*/\\1/'",
		 device, name);
	pairs_enter(namespace);
	pipe = popen(command, "r"); /* NOLINT(cert-env33-c): words of this file's own */
	assert_non_null(pipe);
	assert_non_null(fgets(line, sizeof(line), pipe));
	pclose(pipe);
	pairs_enter(NEAR);
	return strtoull(line, NULL, 10);
}

uint64_t pairs_arrived(unsigned int device)
{
	char name[IFNAMSIZ];

	snprintf(name, sizeof(name), "w%u", device);
	return pairs.senders[FAR].sent[device] - read_statistic(FAR, name, "dropped");
}

static void count_bank(struct counted *c, struct datapath *d, unsigned int bank)
{
	static struct flow_key keys[4096];
	static struct flow_record records[4096];
	uint32_t position = 0, count;
	bool done = false;

	while (!done) {
		assert_int_equal(datapath_read(d, bank, &position, keys, records, ARRAY_SIZE(keys),
					       &count, &done),
				 0);
		for (uint32_t n = 0; n < count; n++)
			for (unsigned int i = 0; i < DEVICES; i++)
				if (keys[n].ifindex == pairs.ifindexes[i]) {
					c->packets[i][keys[n].kind & FLOW_EGRESS] +=
						records[n].packets;
					c->octets[i][keys[n].kind & FLOW_EGRESS] +=
						records[n].octets;
					c->most = MAX(c->most, records[n].packets);
				}
	}
}

static void no_unrecorded(_unused_ void *userdata, const struct reason_key *key,
			  const struct reason_count *count)
{
	fail_msg("%lu packets of interface %u in no flow, reason %d", (unsigned long)count->packets,
		 key->ifindex, key->reason);
}

struct counted pairs_collect(void)
{
	struct counted c = {0};

	for (int i = 0; i < 2; i++) {
		assert_int_equal(datapath_unrecorded(pairs.datapaths[i], no_unrecorded, NULL), 0);
		for (unsigned int bank = 0; bank < 2; bank++)
			count_bank(&c, pairs.datapaths[i], bank);
	}
	return c;
}
