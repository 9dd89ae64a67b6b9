/* SPDX-License-Identifier: Apache-2.0 */
/* Collectors that come, change and go while others run. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <arpa/inet.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "exporter/export/format/profile.h"
#include "exporter/export/format/wire.h"
#include "exporter/loop.h"
#include "exporter/meter/drop_reason.h"
#include "tests/unit/exporting.h"

#define LIST_A "sourceIPv4Address,sourceIPv6Address,octetDeltaCount,packetDeltaCount"
#define LIST_B "sourceIPv4Address,sourceIPv6Address,packetDeltaCount"

static struct loop *loop;
static struct export_changes changes;
static char folder[] = "/tmp/flowtally-apply-XXXXXX";

/* These URLs, with NULL behind them, each a collector; '#' and a name may follow. */
static int try_apply(const struct export_options *options, const char *const *urls)
{
	struct export_collector collectors[EXPORT_COLLECTORS_MAX + 1];
	char texts[EXPORT_COLLECTORS_MAX + 1][1600];
	unsigned int count = 0;
	int r;

	for (; urls[count]; count++) {
		char *text = texts[count], *name;

		snprintf(text, sizeof(texts[0]), "%s", urls[count]);
		name = strchr(text, '#');
		if (name)
			*name++ = '\0';
		collectors[count] = (struct export_collector){.url = text, .name = name};
	}
	r = exports_apply(exports, options, collectors, count, &changes);
	memset(texts, 'x', sizeof(texts)); /* all has been copied */
	assert_ledgers(exports, &given);
	return r;
}

#define apply(...) \
	assert_int_equal(try_apply(&(struct export_options){0}, \
				   (const char *const[]){__VA_ARGS__, NULL}), \
			 0)

static void expect_changes(unsigned int added, unsigned int changed, unsigned int removed,
			   unsigned int kept)
{
	assert_int_equal(changes.added, added);
	assert_int_equal(changes.changed, changed);
	assert_int_equal(changes.removed, removed);
	assert_int_equal(changes.kept, kept);
}

/* Flows of IPv4, whose records count them: packets 1, 2, 3, ... */
static void give_numbered(unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct flow flow = {.record = {.packets = given.records + 1, .octets = 100}};

		flow.key.src_port = (uint16_t)given.records;
		given.records++;
		given.packets += flow.record.packets;
		given.octets += 100;
		exports_flow(exports, &flow);
	}
	assert_ledgers(exports, &given);
}

/* Of both families. */
static void give_random(unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct flow flow = random_flow(&seed);

		given.records++;
		given.packets += flow.record.packets;
		given.octets += flow.record.octets;
		exports_flow(exports, &flow);
	}
	assert_ledgers(exports, &given);
}

static void give_drops(unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct flow drop = {.key = {.kind = FLOW_DROP, .src_port = (uint16_t)i},
				    .record = {.packets = 1, .octets = 60},
				    .drop = &drop_reason_texts[0]};

		given.records++;
		given.packets += 1;
		given.octets += 60;
		exports_flow(exports, &drop);
	}
	assert_ledgers(exports, &given);
}

static void pass(unsigned int milliseconds)
{
	exports_flush(exports);
	assert_ledgers(exports, &given);
	run_for(loop, milliseconds);
	assert_ledgers(exports, &given);
}

static const struct collector_stats *stats_at(unsigned int index)
{
	const struct collector_stats *stats = exports_stats(exports, index);

	assert_non_null(stats);
	return stats;
}

static const char *url_of(const struct sink *s, const char *rest)
{
	static char texts[8][1600];
	static unsigned int next;
	char *text = texts[next++ % 8];

	snprintf(text, sizeof(texts[0]), "ipfix://127.0.0.1:%u%s", s->port, rest);
	return text;
}

static void begin(const struct export_options *options, struct sink *sinks, unsigned int count)
{
	assert_int_equal(loop_new(&loop), 0);
	start(options, loop);
	for (unsigned int i = 0; i < count; i++)
		assert_true(sink_open(&sinks[i], "127.0.0.1", 0));
}

static void end(struct sink *sinks, unsigned int count)
{
	stop();
	loop = loop_free(loop);
	for (unsigned int i = 0; i < count; i++) {
		assert_false(sinks[i].gap);
		assert_false(sinks[i].data_first);
		sink_close(&sinks[i]);
	}
}

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

/* --- Who comes, and who goes */

static void test_add(void **state)
{
	struct sink s[2];
	unsigned int messages;
	uint16_t port;

	(void)state;
	begin(&(struct export_options){.domain = 7}, s, 2);
	apply(url_of(&s[0], ""));
	expect_changes(1, 0, 0, 0);
	give_numbered(40);
	pass(10000); /* templates have been told three times */
	sink_read(&s[0]);
	assert_int_equal(s[0].templates, 3);
	port = s[0].peer;
	messages = s[0].count;
	give_numbered(20); /* 16 of them fill a message */
	apply(url_of(&s[0], ""), url_of(&s[1], "#late"));
	expect_changes(1, 0, 0, 1);
	give_numbered(30);
	pass(100);
	for (unsigned int i = 0; i < 2; i++)
		sink_read(&s[i]);
	assert_int_equal(s[0].records, 90);
	assert_int_equal(s[0].peer, port);
	assert_int_equal(s[0].templates, 3);
	/* The message under way was completed: 16 and 4, then 16 and 14. */
	assert_int_equal(s[0].count, messages + 4);
	assert_int_equal(s[1].records, 30);
	assert_int_equal(s[1].templates, 1);
	assert_int_equal(stats_at(1)->given.records, 30);
	assert_string_equal(stats_at(1)->name, "late");
	pass(6000);
	sink_read(&s[1]);
	assert_int_equal(s[1].templates, 3);
	end(s, 2);
}

/* What is queued is sent first; the others do not notice. */
static void test_remove(void **state)
{
	struct sink s[3];

	(void)state;
	begin(&(struct export_options){.domain = 7}, s, 3);
	apply(url_of(&s[0], ""), url_of(&s[1], ""), url_of(&s[2], ""));
	pass(10);
	give_numbered(200 * 16); /* 64 may leave in a row */
	exports_flush(exports);
	apply(url_of(&s[0], ""), url_of(&s[2], ""));
	expect_changes(0, 0, 1, 2);
	assert_int_equal(stats_at(2)->state, COLLECTOR_REMOVED);
	assert_in_range(stats_at(2)->queued.records, 1, 200 * 16);
	give_numbered(10 * 16);
	pass(200);
	for (unsigned int i = 0; i < 3; i++) {
		sink_read(&s[i]);
		assert_int_equal(s[i].records, (i == 1 ? 200 : 210) * 16);
		assert_int_equal(stats_at(i)->exported.records, (i == 2 ? 200 : 210) * 16);
	}
	assert_int_equal(stats_at(2)->queued.records, 0);
	assert_null(exports_stats(exports, 3));
	assert_string_equal(collector_state_name(stats_at(2)->state), "removed");
	end(s, 3);
}

/* A collector that takes nothing is waited for 5 s, and the rest is named. */
static void test_remove_away(void **state)
{
	struct sink s;

	(void)state;
	begin(&(struct export_options){0}, &s, 1);
	apply(url_of(&s, ""), "ipfix://flows.onion:4739");
	give_numbered(20);
	pass(100);
	apply(url_of(&s, ""));
	pass(4800);
	assert_int_equal(stats_at(1)->queued.records, 20);
	assert_int_equal(stats_at(1)->state, COLLECTOR_REMOVED);
	assert_int_equal(stats_at(1)->lost[EXPORT_LOSS_UNSENT].records, 0);
	pass(300);
	assert_int_equal(stats_at(1)->queued.records, 0);
	assert_int_equal(stats_at(1)->lost[EXPORT_LOSS_UNSENT].records, 20);
	/* It comes again, as another. */
	apply(url_of(&s, ""), "ipfix://flows.onion:4739");
	expect_changes(1, 0, 0, 1);
	assert_int_equal(stats_at(1)->given.records, 0);
	assert_int_equal(stats_at(1)->state, COLLECTOR_RESOLVING);
	assert_int_equal(stats_at(2)->given.records, 20);
	end(&s, 1);
}

/* At the end those that have been removed send too, or are cut short. */
static void test_remove_then_stop(void **state)
{
	struct sink s;

	(void)state;
	begin(&(struct export_options){0}, &s, 1);
	apply(url_of(&s, "?rate=1000"), "ipfix://flows.onion:4739");
	pass(10);
	give_numbered(160);
	apply(url_of(&s, "?rate=1000"));
	apply("json:///dev/null");
	exports_set_blocking(exports);
	exports_drain(exports, DRAIN_NS, true);
	assert_ledgers(exports, &given);
	sink_read(&s);
	assert_int_equal(s.records, 160);
	assert_int_equal(stats_at(1)->lost[EXPORT_LOSS_UNSENT].records, 160);
	assert_int_equal(stats_at(2)->exported.records, 160);
	end(&s, 1);
}

/* However many go, what is kept of them is bounded, and the sums are exact. */
static void test_many_removed(void **state)
{
	struct export_count sum = {0};
	const struct collector_stats *last = NULL;
	unsigned int lines = 0;

	(void)state;
	begin(&(struct export_options){0}, NULL, 0);
	for (unsigned int i = 0; i < 1000; i++) {
		char name[64];

		snprintf(name, sizeof(name), "json:///dev/%s#n%u", i & 1 ? "null" : "zero", i);
		apply(name);
		give_numbered(3);
	}
	for (; exports_stats(exports, lines); lines++) {
		last = exports_stats(exports, lines);
		sum.records += last->given.records;
		sum.packets += last->given.packets;
		sum.octets += last->given.octets;
	}
	assert_int_equal(lines, 1 + 32 + 1);
	assert_string_equal(last->url, "removed collectors");
	assert_int_equal(last->state, COLLECTOR_REMOVED);
	assert_int_equal(last->exported.records, 3 * (1000 - 33));
	assert_int_equal(sum.records, given.records);
	assert_int_equal(sum.packets, given.packets);
	assert_int_equal(sum.octets, given.octets);
	end(NULL, 0);
}

/* --- Who is which */

static void test_identity(void **state)
{
	struct sink s;
	const struct collector_stats *first;

	(void)state;
	begin(&(struct export_options){0}, &s, 1);
	/* Two at one target, and one of another scheme. */
	apply(url_of(&s, "?rate=100"), url_of(&s, "?template=minimal"), "ipfix+tcp://127.0.0.1:9");
	first = stats_at(0);
	apply("ipfix+tcp://127.0.0.1:9", url_of(&s, "?template=minimal"), url_of(&s, "?rate=100"));
	expect_changes(0, 0, 0, 3);
	assert_ptr_equal(stats_at(0), first);
	/* It gets a name, and a default that is the same. */
	apply(url_of(&s, "?rate=100&dscp=0#a"), url_of(&s, "?template=minimal"),
	      "ipfix+tcp://127.0.0.1:9");
	expect_changes(0, 0, 0, 3);
	assert_string_equal(stats_at(0)->name, "a");
	assert_string_equal(stats_at(0)->url, url_of(&s, "?rate=100&dscp=0"));
	/* Names tell apart what is at one target. */
	apply(url_of(&s, "?rate=100#b"), url_of(&s, "?rate=200#a"));
	expect_changes(0, 2, 1, 0);
	assert_string_equal(stats_at(0)->name, "a");
	assert_ptr_equal(stats_at(0), first);
	apply(url_of(&s, "#a"), "netflow9://127.0.0.1:9#b");
	expect_changes(1, 1, 1, 0);
	end(&s, 1);
}

/* --- What changes in place */

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

/* --- Files */

static char *read_file(const char *path, size_t *ret_size)
{
	_cleanup_(fclosep) FILE *f = fopen(path, "r");
	char *data = calloc(1, 1 << 20);

	assert_non_null(f);
	assert_non_null(data);
	*ret_size = fread(data, 1, (1 << 20) - 1, f);
	return data;
}

/* Its messages, by the strict decoder. */
static void decode_file(const char *path, struct sink *s)
{
	size_t size;
	_cleanup_(freep) char *data = read_file(path, &size);

	assert_true(sink_open(s, "127.0.0.1", 0));
	for (size_t at = 0; at < size;) {
		size_t length = wire_load16((uint8_t *)data + at + 2);

		assert_true(length >= 16 && at + length <= size);
		sink_take(s, (uint8_t *)data + at, length);
		at += length;
	}
	assert_false(s->gap);
	assert_false(s->data_first);
	sink_close(s);
}

static unsigned int lines_of(const char *text)
{
	unsigned int lines = 0;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

static unsigned int descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int count = 0;

	assert_non_null(d);
	while (readdir(d))
		count++;
	closedir(d);
	return count;
}

static void test_files(void **state)
{
	char a[80], b[80], json[80], urls[5][200];
	unsigned int open_before;
	size_t size;
	struct sink s;
	char *text;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(a, sizeof(a), "%s/a", folder);
	snprintf(b, sizeof(b), "%s/b", folder);
	snprintf(json, sizeof(json), "%s/json", folder);
	snprintf(urls[0], sizeof(urls[0]), "file://%s", a);
	snprintf(urls[1], sizeof(urls[1]), "file://%s", b);
	snprintf(urls[2], sizeof(urls[2]), "json://%s", json);
	begin(&(struct export_options){.domain = 7}, NULL, 0);
	apply(urls[0], urls[2]);
	open_before = descriptors();
	give_numbered(50);
	apply(urls[0], urls[1], urls[2]);
	expect_changes(1, 0, 0, 2);
	give_numbered(50);
	/* Another template in the same files. */
	assert_int_equal(try_apply(&(struct export_options){.template = LIST_B},
				   (const char *const[]){urls[0], urls[1], urls[2], NULL}),
			 0);
	expect_changes(0, 3, 0, 0);
	give_numbered(50);
	/* What is under way is written when it goes, and the file is closed. */
	assert_int_equal(try_apply(&(struct export_options){.template = LIST_B},
				   (const char *const[]){urls[0], urls[2], NULL}),
			 0);
	assert_int_equal(descriptors(), open_before);
	decode_file(b, &s);
	assert_int_equal(s.records, 100);
	assert_int_equal(s.templates, 2);
	assert_int_equal(stats_at(2)->exported.records, 100);
	give_numbered(50);
	exports_flush(exports);
	decode_file(a, &s);
	assert_int_equal(s.records, 200);
	assert_int_equal(s.templates, 2);
	text = read_file(json, &size);
	assert_int_equal(lines_of(text), 200);
	assert_non_null(strstr(text, "flowStartMilliseconds"));
	assert_null(strstr(strrchr(text, '{'), "flowStartMilliseconds"));
	free(text);
	/* A file that comes again is begun again; JSON in its place likewise. */
	apply(urls[1]);
	give_numbered(1);
	exports_flush(exports);
	decode_file(b, &s);
	assert_int_equal(s.records, 1);
	snprintf(urls[4], sizeof(urls[4]), "json://%s", b);
	apply(urls[4]);
	give_numbered(2);
	exports_flush(exports);
	text = read_file(b, &size);
	assert_int_equal(lines_of(text), 2);
	assert_int_equal(text[0], '{');
	free(text);
	end(NULL, 0);
	unlink(a);
	unlink(b);
	unlink(json);
	rmdir(folder);
}

/* --- What cannot be had */

static void test_refused(void **state)
{
	static const char *const bad[] = {
		"file:///nowhere/flows",
		"json:///",
		"ipfix://",
		"ipfix://127.0.0.1:9?template=nothing",
	};
	const struct collector_stats *before;
	char path[] = "/tmp/flowtally-apply-file-XXXXXX", url[100];
	unsigned int open_before, messages;
	struct sink s;
	struct stat st;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "precious", 8), 8);
	snprintf(url, sizeof(url), "file://%s", path);
	begin(&(struct export_options){.domain = 7}, &s, 1);
	apply(url_of(&s, ""));
	give_numbered(20);
	pass(10000);
	sink_read(&s);
	before = stats_at(0);
	messages = s.count;
	open_before = descriptors();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_in_range(-try_apply(&(struct export_options){.message_max = 600},
					   (const char *const[]){url, "ipfix://127.0.0.1:10",
								 url_of(&s, "?template=minimal"),
								 bad[i], NULL}),
				1, 4095);
		assert_ptr_equal(stats_at(0), before);
		assert_string_equal(before->url, url_of(&s, ""));
		assert_null(exports_stats(exports, 1));
		assert_int_equal(descriptors(), open_before);
		assert_int_equal(stderr_lines(bad[i]), 1);
	}
	assert_int_equal(try_apply(&(struct export_options){.template = "nothing"},
				   (const char *const[]){url_of(&s, ""), NULL}),
			 -EINVAL);
	assert_int_equal(try_apply(&(struct export_options){.message_max = 100},
				   (const char *const[]){url_of(&s, ""), NULL}),
			 -EINVAL);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 8);
	give_numbered(16);
	pass(100);
	sink_read(&s);
	assert_int_equal(s.count, messages + 1);
	assert_int_equal(s.records, 36);
	end(&s, 1);
	close(fd);
	unlink(path);
}

/* --- Those that share */

static void test_balance(void **state)
{
	uint64_t records = 0, sum = 0;
	struct sink s[4];

	(void)state;
	begin(&(struct export_options){.balance = true, .domain = 7}, s, 4);
	for (unsigned int i = 0; i < 40; i++) {
		const char *urls[6];
		unsigned int count = 0;

		for (unsigned int j = 0; j < 4; j++)
			if ((i * 7 + j) % 3 && i)
				urls[count++] = url_of(&s[j], i % 5 ? "" : "?template=minimal");
		urls[count++] = "json:///dev/null";
		urls[count] = NULL;
		assert_int_equal(try_apply(&(struct export_options){0}, urls), 0);
		give_numbered(100);
		records += i ? 100 : 0; /* there is somebody to share */
		pass(20);
	}
	pass(100);
	assert_int_equal(exports_totals(exports)->shared.records, records);
	for (unsigned int i = 0; i < 4; i++) {
		sink_read(&s[i]);
		assert_in_range(s[i].records, 100, records / 2);
		sum += s[i].records;
	}
	assert_int_equal(sum, records);
	end(s, 4);
}

/* --- A thousand changes */

#define SINKS	  4
#define SESSIONS  2048
#define UNTOUCHED "?template=default&message-size=1400&drops=off"

static uint64_t dice;

static unsigned int roll(unsigned int sides)
{
	return (unsigned int)(random_next(&dice) % sides);
}

/* The first is never touched; others come and go, with what may be said of them. */
static void random_urls(const struct sink *sinks, const char **urls, const char *files)
{
	static const char *const says[] = {
		"",
		"?template=minimal",
		"?template=" LIST_A,
		"?rate=5000",
		"?template=" LIST_B,
		"?message-size=600",
		"?dscp=8",
		"?drops=on",
		"#name",
		"?rate=100&template=extended#other",
	};
	static char texts[2][300];
	unsigned int count = 0;

	urls[count++] = url_of(&sinks[0], UNTOUCHED);
	for (unsigned int i = 1; i < SINKS; i++)
		if (roll(3))
			urls[count++] = url_of(&sinks[i], says[roll(ARRAY_SIZE(says))]);
	if (!roll(3))
		urls[count++] = "ipfix://flows.onion:4739";
	if (!roll(3))
		urls[count++] = "netflow9://flows.onion:4739#nobody";
	if (!roll(4))
		urls[count++] = "ipfix+tcp://127.0.0.1:1?retry=1";
	for (unsigned int i = 0; files && i < 2; i++) {
		if (!roll(2))
			continue;
		snprintf(texts[i], sizeof(texts[i]), "%s://%s.%u", i ? "json" : "file", files, i);
		urls[count++] = texts[i];
	}
	urls[count] = NULL;
}

/* Sessions to one sink overlap: a collector that was removed still sends when it has come again. */
struct listener {
	struct sink s;
	struct {
		struct sink s;
		uint16_t port;
	} sessions[SESSIONS];
	unsigned int count;
};

static struct listener *listeners[SINKS];

/* Ports are used again: a message of templates with the number 0 begins another session. */
static struct sink *find_session(struct listener *l, uint16_t port, const uint8_t *m)
{
	bool begins = wire_load32(m + 8) == 0 && wire_load16(m + 16) == 2;

	for (unsigned int i = l->count; i-- > 0;)
		if (l->sessions[i].port == port && (!begins || !l->sessions[i].s.sequence))
			return &l->sessions[i].s;
	assert_true(l->count < SESSIONS);
	l->sessions[l->count].port = port;
	l->sessions[l->count].s.bytes = malloc(9000);
	assert_non_null(l->sessions[l->count].s.bytes);
	return &l->sessions[l->count++].s;
}

static void listen_to(struct listener *l)
{
	struct sockaddr_in from;
	socklen_t length = sizeof(from);
	uint8_t m[9000];
	ssize_t n;

	while ((n = recvfrom(l->s.fd, m, sizeof(m), 0, (struct sockaddr *)&from, &length)) >= 16) {
		struct sink *s = find_session(l, from.sin_port, m);

		sink_take(s, m, (size_t)n);
		sink_forget(s);
	}
	assert_int_equal(errno, EAGAIN);
}

/* Records of flows and drops in all of its sessions. */
static uint64_t end_listening(struct listener *l)
{
	uint64_t records = 0;

	for (unsigned int i = 0; i < l->count; i++) {
		assert_false(l->sessions[i].s.data_first);
		records += l->sessions[i].s.records;
		free(l->sessions[i].s.bytes);
	}
	return records;
}

static void random_options(struct export_options *o)
{
	o->template = roll(3) ? NULL : LIST_A;
	o->message_max = roll(3) ? 0 : 700;
	o->drops_in_files = roll(2);
	o->template_interval_ns = (1 + roll(60)) * NSEC_PER_SEC;
}

static void change_at_random(const struct sink *sinks, struct export_options *options,
			     const char *files, unsigned int open_before)
{
	unsigned int added = 0, changed = 0, removed = 0;
	const char *urls[EXPORT_COLLECTORS_MAX];

	for (unsigned int i = 0; i < 1000; i++) {
		random_urls(sinks, urls, files);
		random_options(options);
		assert_int_equal(try_apply(options, urls), 0);
		added += changes.added;
		changed += changes.changed;
		removed += changes.removed;
		give_random(roll(40));
		give_drops(roll(4));
		pass(1 + (roll(3) ? roll(20) : roll(1000)));
		for (unsigned int j = 0; i % 16 == 0 && j < SINKS; j++)
			listen_to(listeners[j]);
		/* Of those that run and those that leave: socket, resolver and its socket, timer. */
		assert_in_range(descriptors(), open_before,
				open_before + 4 * 2 * EXPORT_COLLECTORS_MAX);
	}
	assert_true(added > 100 && changed > 100 && removed > 100);
}

static void thousand_changes(const char *files)
{
	struct export_options options = {
		.domain = 7, .drops = true, .drops_in_files = true, .queue_messages = 16};
	const char *seed_text = getenv("FLOWTALLY_SEED");
	const struct collector_stats *stats;
	uint64_t exported = 0, decoded = 0;
	struct sink sinks[SINKS];
	unsigned int open_before;

	dice = seed_text ? strtoull(seed_text, NULL, 0)
			 : (uint64_t)getpid() << 20 ^ 88172645463325252ull;
	print_message("# FLOWTALLY_SEED=%llu\n", (unsigned long long)dice);
	begin(&options, sinks, SINKS);
	for (unsigned int i = 0; i < SINKS; i++) {
		listeners[i] = calloc(1, sizeof(*listeners[i]));
		assert_non_null(listeners[i]);
		listeners[i]->s = sinks[i];
	}
	apply(url_of(&sinks[0], UNTOUCHED));
	pass(100);
	open_before = descriptors();
	change_at_random(sinks, &options, files, open_before);
	options = (struct export_options){.drops_in_files = true};
	assert_int_equal(
		try_apply(&options, (const char *const[]){url_of(&sinks[0], UNTOUCHED), NULL}), 0);
	pass(20000);
	assert_int_equal(descriptors(), open_before);
	assert_int_equal(stats_at(0)->exported.records, exports_totals(exports)->flows.records);
	for (unsigned int i = 0; (stats = exports_stats(exports, i)); i++)
		exported += stats->exported.records;
	for (unsigned int i = 0; i < SINKS; i++) {
		listen_to(listeners[i]);
		if (i == 0) {
			assert_int_equal(listeners[0]->count, 1);
			assert_false(listeners[0]->sessions[0].s.gap);
		}
		decoded += end_listening(listeners[i]);
		free(listeners[i]);
	}
	assert_true(files || decoded == exported);
	assert_in_range(decoded, stats_at(0)->exported.records, exported);
	end(sinks, SINKS);
}

/* What the collectors in the network have got is what counts as exported, record by record. */
static void test_thousand_changes(void **state)
{
	(void)state;
	thousand_changes(NULL);
}

/* And files, which nobody reads. */
static void test_thousand_changes_with_files(void **state)
{
	char files[] = "/tmp/flowtally-changes-XXXXXX", path[100];

	(void)state;
	close(mkstemp(files));
	thousand_changes(files);
	for (unsigned int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s.%u", files, i);
		unlink(path);
	}
	unlink(files);
}

#define TEST(f) cmocka_unit_test_teardown(f, stderr_release)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_add),
		TEST(test_remove),
		TEST(test_remove_away),
		TEST(test_remove_then_stop),
		TEST(test_many_removed),
		TEST(test_identity),
		TEST(test_template),
		TEST(test_options_template),
		TEST(test_collision),
		TEST(test_message_size),
		TEST(test_rate),
		TEST(test_dscp),
		TEST(test_source),
		TEST(test_drops),
		TEST(test_intervals),
		TEST(test_files),
		TEST(test_refused),
		TEST(test_balance),
		TEST(test_thousand_changes),
		TEST(test_thousand_changes_with_files),
	};

	cmocka_set_test_filter(getenv("FLOWTALLY_TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
