/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs against the native parser on packets that nobody wrote for them: every packet of the
 * captures cut at each byte, and random ones.  Keys, records, counters and reasons are the same.
 *
 * With the argument `captures` those of the folder $FLOWTALLY_PCAPS, else random packets.  A sample of
 * all, or all with $FLOWTALLY_TORTURE set; $FLOWTALLY_SEED begins another series of random packets.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <pcap/pcap.h>
#include "exporter/util.h"
#include "tests/bpf/give.h"
#include "tests/packets.h"

#define LOOPBACK     1
#define BATCH	     256  /* frames between two comparisons */
#define FRAME_OCTETS 3000 /* of an skb BPF_PROG_TEST_RUN takes a page at most */

/* Of the captures: one packet in so many, cut at one length in so many behind the first 128. */
#define SAMPLE_PACKETS 5
#define SAMPLE_LENGTHS 61

#define RANDOM_SAMPLE  200000
#define RANDOM_TORTURE 1000000

struct differential {
	struct give *give;
	uint32_t seed;
	uint32_t pending; /* frames since the last comparison */
	uint64_t frames;
};

static bool torture(void)
{
	return getenv("FLOWTALLY_TORTURE") != NULL;
}

static uint32_t random_next(struct differential *d)
{
	d->seed ^= d->seed << 13;
	d->seed ^= d->seed >> 17;
	d->seed ^= d->seed << 5;
	return d->seed;
}

static bool is_bare(int program)
{
	return program == PROGRAM_TC_EGRESS_BARE || program == PROGRAM_TC_INGRESS_BARE;
}

static void compare(struct differential *d, const char *name)
{
	model_check(&d->give->model, name);
	d->pending = 0;
}

/* One frame to each program.  To those without an Ethernet header the network header says where to begin. */
static void give_all(struct differential *d, const char *name, const struct run *run)
{
	for (int program = 0; program < _PROGRAM_HOOK_MAX; program++) {
		struct run one = *run;

		if (program == PROGRAM_XDP)
			one = (struct run){.bytes = run->bytes,
					   .size = run->size,
					   .ifindex = run->ifindex,
					   .repeat = 1};
		if (is_bare(program)) {
			if (one.vlan_tagged)
				continue;
			one.network = ETH_HLEN;
		}
		d->frames += give_frame(d->give, program, name, &one);
	}
	if (++d->pending == BATCH)
		compare(d, name);
}

static void give_cut(struct differential *d, const char *name, const uint8_t *bytes, uint32_t size)
{
	const uint32_t step = torture() ? 1 : SAMPLE_LENGTHS;

	for (uint32_t n = ETH_HLEN; n <= size; n += n < 128 ? 1 : MIN(step, MAX(size - n, 1u)))
		give_all(
			d, name,
			&(struct run){.bytes = bytes, .size = n, .ifindex = LOOPBACK, .repeat = 1});
}

/* Link layers are not minded: to a program bytes are bytes. */
static uint32_t give_capture(struct differential *d, const char *path, const char *name,
			     uint32_t number)
{
	const uint32_t step = torture() ? 1 : SAMPLE_PACKETS;
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *pcap = pcap_open_offline(path, error);
	struct pcap_pkthdr *header;
	const uint8_t *bytes;

	if (!pcap)
		return 0;
	for (; pcap_next_ex(pcap, &header, &bytes) == 1; number++)
		if (number % step == 0)
			give_cut(d, name, bytes, MIN(header->caplen, (uint32_t)FRAME_OCTETS));
	pcap_close(pcap);
	return number;
}

static int is_capture(const struct dirent *entry)
{
	const char *end = strrchr(entry->d_name, '.');

	return end && (!strcmp(end, ".pcap") || !strcmp(end, ".pcapng") || !strcmp(end, ".cap"));
}

static uint32_t give_folder(struct differential *d, const char *folder)
{
	struct dirent **entries = NULL;
	int n = scandir(folder, &entries, is_capture, alphasort);
	char path[PATH_MAX];
	uint32_t packets = 0;

	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
		packets = give_capture(d, path, entries[i]->d_name, packets);
		free(entries[i]);
	}
	free(entries);
	return packets;
}

static void test_captures(void **state)
{
	struct differential d = {.give = *state};
	uint32_t packets = give_folder(&d, getenv("FLOWTALLY_PCAPS") ?: ".");

	assert_true(packets > 0);
	compare(&d, "captures");
	print_message("# %u packets, cut to %llu frames\n", packets, (unsigned long long)d.frames);
}

/* A packet of the table, its bytes changed where headers are, cut or prolonged; or bytes of pure chance. */
static uint32_t make_packet(struct differential *d, uint8_t bytes[FRAME_OCTETS])
{
	static const uint8_t telling[] = {0,  1,  4,  6,  17, 41, 43,  44,
					  47, 50, 51, 58, 60, 69, 132, 255};
	const struct test_packet *t = &test_packets[random_next(d) % TEST_PACKETS];
	uint32_t size = MAX(t->size, (uint32_t)ETH_HLEN), in_front = t->ethertype ? ETH_HLEN : 0;
	uint32_t changes = random_next(d) % 6;

	memset(bytes, 0xee, 512);
	memcpy(bytes + in_front, t->bytes, t->size);
	size += in_front;
	if (in_front) {
		bytes[12] = (uint8_t)(t->ethertype >> 8);
		bytes[13] = (uint8_t)t->ethertype;
	}
	for (; changes; changes--) {
		uint32_t r = random_next(d), at = (r >> 8) % MIN(size, 120u);

		if (r & 0x40000000)
			bytes[at] = telling[r % ARRAY_SIZE(telling)];
		else
			bytes[at] = (uint8_t)r;
	}
	if (random_next(d) % 8 == 0)
		for (uint32_t i = 12 + random_next(d) % 40; i < 256; i++)
			bytes[i] = (uint8_t)random_next(d);
	if (random_next(d) % 4 == 0)
		size = ETH_HLEN + random_next(d) % 300;
	return size;
}

static void test_random(void **state)
{
	const uint32_t count = torture() ? RANDOM_TORTURE : RANDOM_SAMPLE;
	const char *seed = getenv("FLOWTALLY_SEED");
	struct differential d = {.give = *state};
	uint8_t bytes[FRAME_OCTETS];

	d.seed = seed ? (uint32_t)strtoul(seed, NULL, 0) | 1 : 20261125;
	for (uint32_t i = 0; i < count; i++) {
		struct run run = {.bytes = bytes, .ifindex = LOOPBACK, .repeat = 1};

		run.size = make_packet(&d, bytes);
		if (random_next(&d) % 4 == 0) {
			run.gso_size = (uint16_t)(random_next(&d) % 400);
			run.gso_segs = (uint16_t)(random_next(&d) % 9);
			run.wire_length = random_next(&d) % 2 ? run.size + random_next(&d) % 900
							      : 0;
		}
		if (random_next(&d) % 8 == 0) {
			run.vlan_tagged = true;
			run.vlan = (uint16_t)random_next(&d);
		}
		give_all(&d, "random packets", &run);
	}
	compare(&d, "random packets");
	print_message("# %u packets, %llu frames\n", count, (unsigned long long)d.frames);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest captures[] = {cmocka_unit_test(test_captures)};
	const struct CMUnitTest random[] = {cmocka_unit_test(test_random)};
	const char *folder = getenv("FLOWTALLY_PCAPS");

	run_require();
	if (argc < 2 || strcmp(argv[1], "captures") != 0)
		return cmocka_run_group_tests_name("random packets", random, give_open, give_close);
	if (!folder || access(folder, R_OK) < 0)
		run_skip("no captures: set FLOWTALLY_PCAPS");
	return cmocka_run_group_tests_name("captures", captures, give_open, give_close);
}
