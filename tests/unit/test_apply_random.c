/* SPDX-License-Identifier: Apache-2.0 */
/* A thousand changes of collectors at random; FLOWTALLY_SEED repeats them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <arpa/inet.h>
#include <cmocka.h>
#include <sys/socket.h>
#include "exporter/export/format/wire.h"
#include "tests/unit/applying.h"

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
		("?template=" LIST_A),
		"?rate=5000",
		("?template=" LIST_B),
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
	struct sockaddr_in from = {0};
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
		give_random(roll(10)); /* under way when the next change comes */
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
	assert_int_equal(stats_at(0)->exported.records,
			 exports_totals(exports)->kinds[RECORD_FLOW].records);
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
		TEST(test_thousand_changes),
		TEST(test_thousand_changes_with_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
