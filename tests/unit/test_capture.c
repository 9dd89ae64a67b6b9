/* SPDX-License-Identifier: Apache-2.0 */
/* Captures made in memory: each link layer, what a snap length cuts off, and damage. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <arpa/inet.h>
#include <cmocka.h>
#include "exporter/meter/capture.h"

/* Link types as a pcap file has them, <https://www.tcpdump.org/linktypes.html>. */
enum {
	LINK_NULL = 0,
	LINK_ETHERNET = 1,
	LINK_RAW = 101,
	LINK_WIFI = 105,
	LINK_LOOP = 108,
	LINK_SLL = 113,
	LINK_IPV4 = 228,
	LINK_IPV6 = 229,
	LINK_SLL2 = 276,
};

#define IPV4_UDP \
	0x45, 0x10, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, /* header */ \
		0, 53, 0, 99, 0, 12, 0, 0, 1, 2, 3, 4
#define IPV6_UDP \
	0x60, 0, 0, 0, 0, 12, 17, 64, 0x20, 1, [23] = 1, [24] = 0x20, 1, [39] = 2, 0, 53, 0, 99, \
					       0, 12, 0, 0, 1, 2, 3, 4

static const uint8_t ipv4_udp[] = {IPV4_UDP};
static const uint8_t ipv6_udp[] = {IPV6_UDP};

static struct {
	uint8_t bytes[1024];
	size_t size;
} file;

static void put(const void *bytes, size_t size)
{
	assert_true(file.size + size <= sizeof(file.bytes));
	if (size)
		memcpy(file.bytes + file.size, bytes, size);
	file.size += size;
}

static void put32(uint32_t value)
{
	put(&value, sizeof(value));
}

static void begin(uint32_t link)
{
	file.size = 0;
	put32(0xa1b2c3d4); /* times in microseconds */
	put32(2 | 4 << 16);
	put32(0);
	put32(0);
	put32(65535);
	put32(link);
}

/* A frame of a link-layer header and an IP packet, `cut` octets of which are not in the capture. */
static void put_frame(const void *header, size_t header_size, const void *ip, size_t ip_size,
		      size_t cut)
{
	size_t held = header_size + ip_size - cut;

	put32(1600000000);
	put32(123456);
	put32((uint32_t)held);
	put32((uint32_t)(header_size + ip_size));
	put(header, MIN(header_size, held));
	put(ip, held > header_size ? held - header_size : 0);
}

static struct capture *open_file(void)
{
	FILE *stream = fmemopen(file.bytes, file.size, "r");
	char error[CAPTURE_ERROR_MAX] = "";
	struct capture *capture = NULL;

	assert_non_null(stream);
	if (capture_open(&capture, stream, error) < 0)
		fail_msg("%s", error);
	return capture;
}

static enum flow_reason read_one(struct capture_packet *packet)
{
	struct capture *capture = open_file();
	struct capture_packet none;

	assert_int_equal(capture_next(capture, packet), 1);
	assert_int_equal(capture_next(capture, &none), 0);
	capture_close(capture);
	return packet->reason;
}

static void check_flow(const struct capture_packet *packet, int version, bool mac)
{
	static const uint8_t address[] = {2, 0, 0, 0, 0, 7};

	assert_int_equal(packet->time_ns, 1600000000123456000);
	assert_int_equal(packet->record.first_ns, packet->time_ns);
	assert_int_equal(packet->record.last_ns, packet->time_ns);
	assert_int_equal(packet->key.kind, version == 6 ? FLOW_IPV6 : 0);
	assert_int_equal(packet->key.ifindex, 0);
	assert_int_equal(packet->key.protocol, 17);
	assert_int_equal(packet->key.src_port, htons(53));
	assert_int_equal(packet->key.dst_port, htons(99));
	assert_int_equal(packet->record.packets, 1);
	assert_int_equal(packet->record.octets, version == 6 ? sizeof(ipv6_udp) : sizeof(ipv4_udp));
	assert_int_equal(packet->record.min_ttl, 64);
	if (mac)
		assert_memory_equal(packet->record.src_mac, address, sizeof(address));
}

struct link_case {
	uint32_t link;
	int version;
	bool mac;
	size_t size;
	uint8_t header[24];
};

static const struct link_case link_cases[] = {
	{LINK_ETHERNET, 4, true, 14, {2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 7, 8, 0}},
	{LINK_ETHERNET, 6, true, 14, {2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 7, 0x86, 0xdd}},
	{LINK_RAW, 4, false, 0, {0}},
	{LINK_RAW, 6, false, 0, {0}},
	{LINK_IPV4, 4, false, 0, {0}},
	{LINK_IPV6, 6, false, 0, {0}},
	{LINK_SLL, 4, true, 16, {0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 7, 0, 0, 8, 0}},
	{LINK_SLL, 6, false, 16, {0, 4, 0, 1, 0, 0, [14] = 0x86, 0xdd}},
	{LINK_SLL2, 4, true, 20, {8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 7}},
	{LINK_SLL2, 6, false, 20, {0x86, 0xdd}},
	{LINK_NULL, 4, false, 4, {2, 0, 0, 0}},
	{LINK_NULL, 4, false, 4, {0, 0, 0, 2}},
	{LINK_NULL, 6, false, 4, {30, 0, 0, 0}},
	{LINK_LOOP, 4, false, 4, {0, 0, 0, 2}},
	{LINK_LOOP, 6, false, 4, {0, 0, 0, 24}},
};

static void put_case(const struct link_case *c, size_t cut)
{
	bool ipv6 = c->version == 6;

	begin(c->link);
	put_frame(c->header, c->size, ipv6 ? ipv6_udp : ipv4_udp,
		  ipv6 ? sizeof(ipv6_udp) : sizeof(ipv4_udp), cut);
}

static void test_links(void **state)
{
	struct capture_packet packet = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(link_cases); i++) {
		put_case(&link_cases[i], 0);
		assert_int_equal(read_one(&packet), REASON_NONE);
		check_flow(&packet, link_cases[i].version, link_cases[i].mac);
	}
}

/* However little of a frame the capture holds, that is never called malformed. */
static void test_snap_length(void **state)
{
	struct capture_packet packet = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(link_cases); i++) {
		const struct link_case *c = &link_cases[i];
		size_t payload = 4, size = c->size + (c->version == 6 ? 52 : 32);

		for (size_t cut = 1; cut <= size; cut++) {
			put_case(c, cut);
			if (cut <= payload) {
				assert_int_equal(read_one(&packet), REASON_NONE);
				check_flow(&packet, c->version, c->mac);
			} else if (read_one(&packet) != REASON_NONE) {
				assert_int_equal(packet.reason, REASON_OUT_OF_REACH);
				assert_int_equal(packet.octets, size);
			}
		}
		assert_int_equal(packet.reason, REASON_OUT_OF_REACH); /* nothing is held */
	}
}

/* The same frames, but the missing octets were not on the wire either. */
static void test_short_frames(void **state)
{
	static const struct {
		size_t size;
		enum flow_reason reason;
	} cases[] = {
		{13, REASON_LINK_SHORT},
		{14 + 19, REASON_IPV4_SHORT},
		{14 + 31, REASON_IPV4_LENGTH},
	};
	struct capture_packet packet = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t ip = cases[i].size > 14 ? cases[i].size - 14 : 0;

		begin(LINK_ETHERNET);
		put_frame(link_cases[0].header, cases[i].size - ip, ipv4_udp, ip, 0);
		assert_int_equal(read_one(&packet), cases[i].reason);
		assert_int_equal(packet.octets, cases[i].size);
	}
	begin(LINK_RAW);
	put_frame(NULL, 0, NULL, 0, 0);
	assert_int_equal(read_one(&packet), REASON_LINK_SHORT);
	begin(LINK_SLL);
	put_frame(link_cases[6].header, 15, NULL, 0, 0);
	assert_int_equal(read_one(&packet), REASON_LINK_SHORT);
	begin(LINK_NULL);
	put_frame("\x07\0\0\0", 4, ipv4_udp, sizeof(ipv4_udp), 0);
	assert_int_equal(read_one(&packet), REASON_OTHER_ETHERTYPE);
}

static void test_damage(void **state)
{
	struct capture_packet packet = {0};
	struct capture *capture;

	(void)state;
	put_case(&link_cases[0], 0);
	put_frame(link_cases[0].header, 14, ipv4_udp, sizeof(ipv4_udp), 0);
	file.size -= 10;
	capture = open_file();
	assert_int_equal(capture_next(capture, &packet), 1);
	assert_int_equal(capture_next(capture, &packet), -EBADMSG);
	assert_non_null(strstr(capture_error(capture), "truncated"));
	capture_close(capture);
}

static void put_block(uint32_t type, const void *body, uint32_t size)
{
	put32(type);
	put32(size + 12);
	put(body, size);
	put32(size + 12);
}

/* pcapng of an Ethernet interface and another, with a packet of the first behind each. */
static void put_two_interfaces(uint32_t link, uint32_t snap_length)
{
	const uint32_t section[] = {0x1a2b3c4d, 1, UINT32_MAX, UINT32_MAX};
	const uint32_t first[] = {LINK_ETHERNET, 100}, second[] = {link, snap_length};
	const uint32_t size = 14 + sizeof(ipv4_udp);
	uint32_t packet[5 + (14 + sizeof(ipv4_udp) + 3) / 4] = {0, 0x5b000, 0, size, size};

	memcpy(packet + 5, link_cases[0].header, 14);
	memcpy((uint8_t *)(packet + 5) + 14, ipv4_udp, sizeof(ipv4_udp));
	file.size = 0;
	put_block(0x0a0d0d0a, section, sizeof(section));
	put_block(1, first, sizeof(first));
	put_block(6, packet, sizeof(packet));
	put_block(1, second, sizeof(second));
	put_block(6, packet, sizeof(packet));
}

/* Each interface has its own link type and snap length. */
static void test_two_kinds(void **state)
{
	static const struct {
		uint32_t link, snap_length;
	} cases[] = {{LINK_ETHERNET, 100}, {LINK_RAW, 100}, {LINK_ETHERNET, 200}, {LINK_WIFI, 100}};
	struct capture_packet packet = {0};
	struct capture *capture;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put_two_interfaces(cases[i].link, cases[i].snap_length);
		capture = open_file();
		for (unsigned int n = 0; n < 2; n++) {
			assert_int_equal(capture_next(capture, &packet), 1);
			assert_int_equal(packet.reason, REASON_NONE);
			assert_int_equal(packet.time_ns, (0x5b000ull << 32) * 1000); /* in us */
		}
		assert_int_equal(capture_next(capture, &packet), 0);
		assert_int_equal(capture_unknown(capture).packets, 0);
		capture_close(capture);
	}
}

/* pcapng of an interface whose times have that resolution and offset, with a packet of that time. */
static uint64_t time_of(uint8_t resolution, int64_t offset_s, uint64_t units)
{
	const uint32_t section[] = {0x1a2b3c4d, 1, UINT32_MAX, UINT32_MAX};
	const uint32_t offset[] = {(uint32_t)(uint64_t)offset_s,
				   (uint32_t)((uint64_t)offset_s >> 32)};
	const uint32_t interface[] = {LINK_RAW,	    0,	       1 << 16 | 9, resolution,
				      8 << 16 | 14, offset[0], offset[1],   0};
	uint32_t packet[5 + sizeof(ipv4_udp) / 4] = {0, (uint32_t)(units >> 32), (uint32_t)units,
						     sizeof(ipv4_udp), sizeof(ipv4_udp)};
	struct capture_packet got = {0};

	memcpy(packet + 5, ipv4_udp, sizeof(ipv4_udp));
	file.size = 0;
	put_block(0x0a0d0d0a, section, sizeof(section));
	put_block(1, interface, sizeof(interface));
	put_block(6, packet, sizeof(packet));
	assert_int_equal(read_one(&got), REASON_NONE);
	assert_int_equal(got.record.octets, sizeof(ipv4_udp));
	return got.time_ns;
}

/* Any resolution and offset; what is before 1970 or cannot be is at an end of what can be told. */
static void test_resolutions(void **state)
{
	const uint64_t second = NSEC_PER_SEC, latest = 9000000000 * NSEC_PER_SEC;

	(void)state;
	assert_int_equal(time_of(0, 0, 1600000000), 1600000000 * second);
	assert_int_equal(time_of(3, 0, 1600000000123), 1600000000123 * NSEC_PER_MSEC);
	assert_int_equal(time_of(9, 0, 1600000000123456789), 1600000000123456789);
	assert_int_equal(time_of(10, 0, 16000000001234567899u), 1600000000123456789);
	assert_int_equal(time_of(19, 0, UINT64_MAX), 1844674407); /* 1.8 s */
	assert_int_equal(time_of(127, 0, UINT64_MAX), 0);
	assert_int_equal(time_of(0x80, 0, 1600000000), 1600000000 * second);
	assert_int_equal(time_of(0x80 | 10, 0, 1600000000ull << 10 | 512),
			 1600000000 * second + second / 2);
	assert_int_equal(time_of(0x80 | 32, 0, 1600000000ull << 32 | 1u << 31),
			 1600000000 * second + second / 2);
	assert_int_equal(time_of(0x80 | 127, 0, UINT64_MAX), 0);
	assert_int_equal(time_of(6, 3600, 1000000), 3601 * second);
	assert_int_equal(time_of(6, -3600, 3601000000), second);
	assert_int_equal(time_of(6, -3600, 1000000), 0);
	assert_int_equal(time_of(6, INT64_MIN, UINT64_MAX), 0);
	assert_int_equal(time_of(6, INT64_MAX, UINT64_MAX), latest);
	assert_int_equal(time_of(0, 0, UINT64_MAX), latest);
}

/* Each length that contradicts another ends the reading with a reason. */
static void test_contradictions(void **state)
{
	static const struct {
		size_t at;
		uint32_t value;
		const char *text;
	} cases[] = {
		{4, 24, "section's header"}, /* too short */
		{4, 29, "section's header"}, /* no multiple of 4 */
		{8, 0, "magic"},	     /* no order of octets */
		{12, 2, "version 2.0"},
		{24, 32, "ends with 32"},
		{28 + 4, 16, "too short"},   /* an interface without its lengths */
		{28 + 4, 8, "a block of 8"}, /* shorter than its own lengths */
		{28 + 4, 21, "a block of 21"},
		{28 + 4, UINT32_MAX & ~3u, "truncated"},
		{48 + 8, 7, "interface 7"},
		{48 + 20, 1 << 20, "in a block of"},
		{48 + 20, UINT32_MAX, "in a block of"},
	};
	struct capture_packet packet;
	char error[CAPTURE_ERROR_MAX];
	struct capture *capture;
	FILE *stream;
	int r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put_two_interfaces(LINK_ETHERNET, 100);
		memcpy(file.bytes + cases[i].at, &cases[i].value, 4);
		stream = fmemopen(file.bytes, file.size, "r");
		assert_non_null(stream);
		capture = NULL;
		r = capture_open(&capture, stream, error);
		while (r >= 0 && (r = capture_next(capture, &packet)) > 0)
			;
		assert_int_equal(r, -EBADMSG);
		if (!strstr(capture ? capture_error(capture) : error, cases[i].text))
			fail_msg("case %zu: %s", i, capture ? capture_error(capture) : error);
		capture_closep(&capture);
	}
}

/* A folder can be opened, but not read. */
static void test_read_error(void **state)
{
	char error[CAPTURE_ERROR_MAX];
	struct capture *capture = NULL;
	FILE *stream = fopen("/", "r");

	(void)state;
	assert_non_null(stream);
	assert_int_equal(capture_open(&capture, stream, error), -EISDIR);
	assert_non_null(strstr(error, "directory"));
}

/* The seconds of pcap end in 2106, not in 2038. */
static void test_late_times(void **state)
{
	static const uint32_t seconds[] = {0x7fffffff, 0x80000000, 0xffffffff};
	struct capture_packet packet = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(seconds); i++) {
		put_case(&link_cases[0], 0);
		memcpy(file.bytes + 24, &seconds[i], 4);
		assert_int_equal(read_one(&packet), REASON_NONE);
		assert_int_equal(packet.time_ns, seconds[i] * NSEC_PER_SEC + 123456000);
	}
}

/* Whatever stands in the time of a record, it becomes one that can be reckoned with. */
static void test_times(void **state)
{
	static const uint32_t fractions[] = {0, 999999, 1000000, 0x7fffffff, 0xffffffff};
	struct capture_packet packet = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(fractions); i++) {
		put_case(&link_cases[0], 0);
		memset(file.bytes + 24, 0xff, 4);
		memcpy(file.bytes + 28, &fractions[i], 4);
		assert_int_equal(read_one(&packet), REASON_NONE);
		assert_true(packet.time_ns >= 0x7fffffff * NSEC_PER_SEC ||
			    packet.time_ns <= 4295 * NSEC_PER_SEC);
		assert_true(packet.time_ns < UINT64_MAX / 2);
	}
}

static int open_error(const void *bytes, size_t size, char error[CAPTURE_ERROR_MAX])
{
	struct capture *capture = NULL;
	int r = capture_open(&capture, fmemopen((void *)bytes, size, "r"), error);

	assert_null(capture);
	return r;
}

static void test_no_capture(void **state)
{
	char error[CAPTURE_ERROR_MAX];

	(void)state;
	assert_int_equal(open_error("hello, this is no capture", 25, error), -EBADMSG);
	assert_non_null(strstr(error, "unknown file format"));
	assert_int_equal(open_error("\xd4", 1, error), -EBADMSG);
	begin(LINK_WIFI);
	assert_int_equal(open_error(file.bytes, file.size, error), -EBADMSG);
	assert_non_null(strstr(error, "IEEE802_11"));
	assert_non_null(strstr(error, "Ethernet"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_links),	     cmocka_unit_test(test_snap_length),
		cmocka_unit_test(test_short_frames), cmocka_unit_test(test_damage),
		cmocka_unit_test(test_times),	     cmocka_unit_test(test_no_capture),
		cmocka_unit_test(test_two_kinds),    cmocka_unit_test(test_late_times),
		cmocka_unit_test(test_resolutions),  cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_read_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
