/* SPDX-License-Identifier: Apache-2.0 */
/* What changes of a collector while it runs, and what does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <arpa/inet.h>
#include <cmocka.h>
#include <sys/socket.h>
#include "exporter/export/format/profile.h"
#include "exporter/export/format/wire.h"
#include "tests/unit/applying.h"

/* Sets of data in the i-th datagram: the id of the first, 0 for options and templates. */
static uint16_t data_id(const struct sink *s, unsigned int i)
{
	const uint8_t *m = sink_message(s, i);
	uint16_t id = wire_load16(m + (wire_load16(m) == 10 ? 16 : 20));

	return id >= 256 && (id < 512 || id >= 1024) ? id : 0;
}

/* From the first message of the one template on there is none of the other. */
static void assert_order(const struct sink *s, uint16_t before, uint16_t after)
{
	unsigned int seen_before = 0, seen_after = 0;

	for (unsigned int i = 0; i < s->count; i++) {
		seen_before += data_id(s, i) == before;
		seen_after += data_id(s, i) == after;
		assert_false(seen_after && data_id(s, i) == before);
	}
	assert_true(seen_before && seen_after);
}

static void change_template(const char *scheme, const char *from, const char *to, uint16_t before,
			    uint16_t after)
{
	char urls[2][400];
	struct sink s;
	uint16_t port;

	begin(&(struct export_options){.domain = 7}, &s, 1);
	snprintf(urls[0], sizeof(urls[0]), "%s://127.0.0.1:%u?template=%s", scheme, s.port, from);
	snprintf(urls[1], sizeof(urls[1]), "%s://127.0.0.1:%u?template=%s", scheme, s.port, to);
	apply(urls[0]);
	pass(10000);
	sink_read(&s);
	port = s.peer;
	assert_int_equal(s.templates, 3);
	give_numbered(100 * 26); /* more than leave in a row, and one under way */
	exports_flush(exports);
	give_numbered(5);
	apply(urls[1]);
	expect_changes(0, 1, 0, 0);
	give_numbered(100);
	pass(1);
	sink_read(&s);
	pass(500);
	sink_read(&s);
	assert_int_equal(s.records, given.records);
	assert_int_equal(s.peer, port);
	assert_int_equal(s.templates, 4);
	assert_order(&s, before, after);
	assert_int_equal(stats()->exported.records, given.records);
	pass(6000); /* told three times, as at the start */
	sink_read(&s);
	assert_int_equal(s.templates, 6);
	/* And back again: no id has had another meaning. */
	apply(urls[0]);
	give_numbered(40);
	pass(100);
	sink_read(&s);
	assert_int_equal(s.records, given.records);
	assert_int_equal(s.peer, port);
	end(&s, 1);
}

static void test_template(void **state)
{
	(void)state;
	change_template("ipfix", "default", "minimal", 256, 280);
	change_template("ipfix", "extended", "minimal", 282, 280);
	change_template("netflow9", "default", "extended", 256, 282);
}

/* The template of all is another: those that have their own are not touched. */
static void test_options_template(void **state)
{
	struct sink s[3];
	uint16_t ports[3];

	(void)state;
	begin(&(struct export_options){.domain = 7}, s, 3);
	apply(url_of(&s[0], ""), url_of(&s[1], ""), url_of(&s[2], "?template=default"));
	give_numbered(20);
	pass(10000);
	for (unsigned int i = 0; i < 3; i++) {
		sink_read(&s[i]);
		ports[i] = s[i].peer;
	}
	assert_int_equal(try_apply(&(struct export_options){.template = LIST_A},
				   (const char *const[]){url_of(&s[0], ""), url_of(&s[1], ""),
							 url_of(&s[2], "?template=default"), NULL}),
			 0);
	expect_changes(0, 2, 0, 1);
	give_numbered(20);
	pass(100);
	for (unsigned int i = 0; i < 3; i++) {
		sink_read(&s[i]);
		assert_int_equal(s[i].records, 40);
		assert_int_equal(s[i].peer, ports[i]);
		assert_int_equal(s[i].templates, i == 2 ? 3 : 4);
	}
	end(s, 3);
}

/* Two lists whose templates hash to one id. */
static void find_collision(char a[400], char b[400])
{
	static const char *const names[] = {
		"octetDeltaCount",
		"packetDeltaCount",
		"flowStartMilliseconds",
		"flowEndMilliseconds",
		"ingressInterface",
		"egressInterface",
		"sourceTransportPort",
		"destinationTransportPort",
		"protocolIdentifier",
		"tcpControlBits:1",
		"ipClassOfService",
		"flowEndReason",
		"flowDirection",
		"minimumTTL",
		"maximumTTL",
		"sourceMacAddress",
	};
	static uint16_t ids[1u << ARRAY_SIZE(names)];
	static uint32_t of[65536];

	for (uint32_t set = 1; set < ARRAY_SIZE(ids); set++) {
		struct profile *profile;
		char text[400] = "sourceIPv4Address,sourceIPv6Address";
		size_t used = strlen(text);

		for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
			if (set >> i & 1)
				used += (size_t)snprintf(text + used, sizeof(text) - used, ",%s",
							 names[i]);
		assert_int_equal(profile_new(&profile, text, ENTERPRISE_DEFAULT, false, NULL), 0);
		ids[set] = profile->templates[FAMILY_IPV4].id;
		profile_free(profile);
		snprintf(of[ids[set]] ? b : a, 400, "%s", text);
		if (!of[ids[set]]) {
			of[ids[set]] = set;
			continue;
		}
		used = (size_t)snprintf(a, 400, "sourceIPv4Address,sourceIPv6Address");
		for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
			if (of[ids[set]] >> i & 1)
				used += (size_t)snprintf(a + used, 400 - used, ",%s", names[i]);
		return;
	}
	fail();
}

static void test_collision(void **state)
{
	char a[400], b[400], urls[2][500];
	struct sink s;

	(void)state;
	find_collision(a, b);
	begin(&(struct export_options){.domain = 7}, &s, 1);
	for (unsigned int i = 0; i < 2; i++)
		snprintf(urls[i], sizeof(urls[i]), "ipfix://127.0.0.1:%u?template=%s", s.port,
			 i ? b : a);
	for (unsigned int i = 0; i < 6; i++) {
		apply(urls[i & 1]);
		give_numbered(3);
		pass(100);
	}
	sink_read(&s); /* asserts that no id gets another length */
	assert_int_equal(s.records, 18);
	assert_int_equal(s.known_count, 2 + 2 + 3); /* and options */
	end(&s, 1);
	/* Nor do two of them at the same time share an encoding. */
	begin(&(struct export_options){.domain = 7}, &s, 1);
	apply(urls[0], urls[1]);
	give_numbered(3);
	pass(100);
	assert_int_not_equal(stats_at(0)->bytes, stats_at(1)->bytes);
	stop();
	loop = loop_free(loop);
	sink_close(&s);
}

static void test_message_size(void **state)
{
	struct sink s;

	(void)state;
	begin(&(struct export_options){.domain = 7}, &s, 1);
	apply(url_of(&s, ""));
	give_numbered(100);
	pass(10000);
	sink_read(&s);
	assert_in_range(s.longest, 1300, 1400);
	assert_int_equal(try_apply(&(struct export_options){.message_max = 600},
				   (const char *const[]){url_of(&s, ""), NULL}),
			 0);
	expect_changes(0, 1, 0, 0);
	s.longest = 0;
	give_numbered(100);
	pass(100);
	sink_read(&s);
	assert_in_range(s.longest, 500, 600);
	assert_int_equal(s.templates, 3); /* they are the same */
	apply(url_of(&s, "?message-size=9000"));
	give_numbered(100);
	pass(100);
	sink_read(&s);
	assert_in_range(s.longest, 8000, 9000);
	assert_int_equal(s.records, 300);
	assert_int_equal(s.templates, 3);
	end(&s, 1);
}

static void test_rate(void **state)
{
	struct sink s;
	uint16_t port;

	(void)state;
	begin(&(struct export_options){0}, &s, 1);
	apply(url_of(&s, "?rate=100"));
	pass(10);
	give_numbered(1000);
	pass(2000);
	sink_read(&s);
	assert_in_range(s.records, 190, 220);
	port = s.peer;
	apply(url_of(&s, ""));
	expect_changes(0, 1, 0, 0);
	pass(100);
	sink_read(&s);
	assert_int_equal(s.records, 1000);
	assert_int_equal(s.peer, port);
	end(&s, 1);
}

/* The type of service of the next datagram, and the address it came from. */
static uint8_t next_tos(const struct sink *s, struct in_addr *ret_from)
{
	uint8_t octet, space[CMSG_SPACE(sizeof(int))], tos = 255;
	struct iovec part = {&octet, 1};
	struct sockaddr_in from;
	struct msghdr m = {.msg_name = &from,
			   .msg_namelen = sizeof(from),
			   .msg_iov = &part,
			   .msg_iovlen = 1,
			   .msg_control = space,
			   .msg_controllen = sizeof(space)};

	assert_int_equal(recvmsg(s->fd, &m, MSG_PEEK), 1);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS)
			memcpy(&tos, CMSG_DATA(c), 1);
	*ret_from = from.sin_addr;
	return tos;
}

static void test_dscp(void **state)
{
	struct in_addr from;
	struct sink s;
	uint16_t port;
	int one = 1;

	(void)state;
	begin(&(struct export_options){0}, &s, 1);
	assert_int_equal(setsockopt(s.fd, IPPROTO_IP, IP_RECVTOS, &one, sizeof(one)), 0);
	apply(url_of(&s, ""));
	pass(10);
	assert_int_equal(next_tos(&s, &from), 0);
	sink_read(&s);
	port = s.peer;
	for (unsigned int i = 0; i < 3; i++) {
		apply(url_of(&s, i == 1 ? "?dscp=46" : i ? "" : "?dscp=8"));
		expect_changes(0, 1, 0, 0);
		give_numbered(1);
		pass(10);
		assert_int_equal(next_tos(&s, &from), i == 1 ? 46 << 2 : i ? 0 : 8 << 2);
		sink_read(&s);
		assert_int_equal(s.peer, port);
	}
	assert_int_equal(s.records, 3);
	end(&s, 1);
}

/* Another source is another session; one that is not there yet is tried again, and nothing is lost. */
static void test_source(void **state)
{
	struct in_addr from;
	struct sink s;
	uint16_t port;

	(void)state;
	begin(&(struct export_options){0}, &s, 1);
	apply(url_of(&s, ""));
	give_numbered(20);
	pass(100);
	sink_read(&s);
	port = s.peer;
	apply(url_of(&s, "?source=127.0.0.2"));
	expect_changes(0, 1, 0, 0);
	give_numbered(20);
	pass(100);
	assert_int_equal(next_tos(&s, &from), 255);
	assert_int_equal(from.s_addr, htonl(INADDR_LOOPBACK + 1));
	sink_read(&s);
	assert_int_equal(s.records, 40);
	assert_int_not_equal(s.peer, port);
	assert_int_equal(stderr_lines("a new session begins"), 1);
	apply(url_of(&s, "?source=192.0.2.77"));
	give_numbered(20);
	pass(100);
	assert_int_equal(stats()->state, COLLECTOR_FAILING);
	assert_int_equal(stats()->queued.records, 20);
	apply(url_of(&s, ""));
	pass(3000);
	sink_read(&s);
	assert_int_equal(s.records, 60);
	end(&s, 1);
}

static void test_drops(void **state)
{
	const struct export_options options = {.drops = true, .drops_in_files = true, .domain = 7};
	char file[80], json[80];
	struct sink s;

	(void)state;
	begin(&options, &s, 1);
	snprintf(file, sizeof(file), "file:///dev/null");
	snprintf(json, sizeof(json), "json:///dev/null");
	for (unsigned int i = 0; i < 4; i++) {
		struct export_options o = options;
		const char *urls[] = {url_of(&s, i & 1 ? "?drops=on" : ""), file, json, NULL};

		o.drops_in_files = i < 3; /* then all get them */
		assert_int_equal(try_apply(&o, urls), 0);
		give_numbered(10);
		give_drops(5);
		pass(100);
	}
	sink_read(&s);
	assert_int_equal(s.records, 4 * 10 + 2 * 5);
	assert_int_equal(stats_at(0)->given.records, 4 * 10 + 2 * 5);
	assert_int_equal(stats_at(1)->given.records, 4 * 15);
	assert_int_equal(stats_at(2)->given.records, 4 * 15);
	/* Without it at the start there are none, whatever is said later. */
	end(&s, 1);
}

static void test_intervals(void **state)
{
	struct sink s;

	(void)state;
	begin(&(struct export_options){.domain = 7}, &s, 1);
	apply(url_of(&s, ""));
	pass(10000);
	sink_read(&s);
	assert_int_equal(s.templates, 3);
	assert_int_equal(
		try_apply(&(struct export_options){.template_interval_ns = 2 * NSEC_PER_SEC,
						   .statistics_interval_ns = 3 * NSEC_PER_SEC},
			  (const char *const[]){url_of(&s, ""), NULL}),
		0);
	expect_changes(0, 0, 0, 1);
	s.options = 0;
	for (unsigned int i = 0; i < 20; i++) {
		give_numbered(1);
		pass(1000);
	}
	sink_read(&s);
	assert_in_range(s.templates, 3 + 8, 3 + 14);
	assert_in_range(s.options, 3 * 5, 3 * 9); /* three records each time */
	assert_int_equal(try_apply(&(struct export_options){.template_messages = 4},
				   (const char *const[]){url_of(&s, ""), NULL}),
			 0);
	s.templates = 0;
	for (unsigned int i = 0; i < 20; i++) {
		give_numbered(1);
		pass(100);
	}
	sink_read(&s);
	assert_in_range(s.templates, 4, 6);
	end(&s, 1);
}

#define TEST(f) cmocka_unit_test_teardown(f, stderr_release)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_template),  TEST(test_options_template),
		TEST(test_collision), TEST(test_message_size),
		TEST(test_rate),      TEST(test_dscp),
		TEST(test_source),    TEST(test_drops),
		TEST(test_intervals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
