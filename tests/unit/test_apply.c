/* SPDX-License-Identifier: Apache-2.0 */
/* Collectors that come and go while others run, and those that cannot be had. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "exporter/export/format/wire.h"
#include "tests/unit/applying.h"

static char folder[] = "/tmp/flowtally-apply-XXXXXX";

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
	exports_send_queued(exports, DRAIN_NS, true);
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

static void test_files(void **state)
{
	char a[80], b[80], json[80], urls[3][200];
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
	assert_false(s.gap);
	assert_int_equal(s.records, 100);
	assert_int_equal(s.templates, 2);
	assert_int_equal(stats_at(2)->exported.records, 100);
	give_numbered(50);
	exports_flush(exports);
	decode_file(a, &s);
	assert_false(s.gap);
	assert_int_equal(s.records, 200);
	assert_int_equal(s.templates, 2);
	text = read_file(json, &size);
	assert_int_equal(lines_of(text), 200);
	assert_non_null(strstr(text, "flowStartMilliseconds"));
	assert_null(strstr(strrchr(text, '{'), "flowStartMilliseconds"));
	free(text);
	end(NULL, 0);
	unlink(a);
	unlink(b);
	unlink(json);
	rmdir(folder);
}

/* A file that comes again is begun again; JSON in its place likewise. */
static void test_file_again(void **state)
{
	char path[] = "/tmp/flowtally-apply-file-XXXXXX", file[100], json[100];
	size_t size;
	struct sink s;
	char *text;

	(void)state;
	close(mkstemp(path));
	snprintf(file, sizeof(file), "file://%s", path);
	snprintf(json, sizeof(json), "json://%s", path);
	begin(&(struct export_options){.domain = 7}, NULL, 0);
	for (unsigned int i = 1; i <= 3; i++) {
		apply(file);
		give_numbered(100 * i);
		exports_flush(exports);
		decode_file(path, &s);
		assert_false(s.gap);
		assert_int_equal(s.records, 100 * i);
		assert_int_equal(s.templates, 1);
		give_numbered(7); /* under way, and never read */
		apply(json);
		expect_changes(1, 0, 1, 0);
		give_numbered(2);
		exports_flush(exports);
		text = read_file(path, &size);
		assert_int_equal(lines_of(text), 2);
		assert_int_equal(text[0], '{');
		free(text);
	}
	end(NULL, 0);
	unlink(path);
}

static void set_limit(rlim_t limit)
{
	struct rlimit r;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &r), 0);
	r.rlim_cur = limit;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

/* The disk is full when the new templates are written: they are written again before the next records. */
static void test_file_full(void **state)
{
	char path[] = "/tmp/flowtally-apply-full-XXXXXX", url[200];
	struct stat st;
	struct sink s;

	(void)state;
	close(mkstemp(path));
	signal(SIGXFSZ, SIG_IGN);
	snprintf(url, sizeof(url), "file://%s", path);
	begin(&(struct export_options){.domain = 7}, NULL, 0);
	apply(url);
	give_numbered(100);
	exports_flush(exports);
	assert_int_equal(stat(path, &st), 0);
	set_limit((rlim_t)st.st_size);
	assert_int_equal(try_apply(&(struct export_options){.template = LIST_A},
				   (const char *const[]){url, NULL}),
			 0);
	give_numbered(100);
	exports_flush(exports);
	assert_int_equal(stats()->lost[EXPORT_LOSS_SEND_ERROR].records, 100);
	set_limit(RLIM_INFINITY);
	give_numbered(100);
	exports_flush(exports);
	assert_ledgers(exports, &given);
	decode_file(path, &s); /* asserts that templates come before data */
	assert_true(s.gap);    /* what was lost */
	assert_int_equal(s.records, 200);
	end(NULL, 0);
	unlink(path);
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

/* --- Last words, of another thread. */

static atomic_bool silent;

/* The name of a collector is one letter over and over, so that a word that is gone is noticed. */
static bool is_whole(const struct collector_stats *c)
{
	if (strncmp(c->url, "ipfix://127.0.0.1:", 18) != 0 &&
	    strcmp(c->url, "removed collectors") != 0)
		return false;
	for (const char *n = c->name; n && *n; n++)
		if (*n != c->name[0] || *n < 'a' || *n > 'z')
			return false;
	return true;
}

/* How many copies were not whole. */
static void *read_on(_unused_ void *userdata)
{
	uintptr_t bad = 0;

	while (!atomic_load(&silent)) {
		struct export_copy *copy = exports_copy(exports);

		for (unsigned int i = 0; i < copy->count; i++)
			bad += !is_whole(&copy->stats[i]);
		free(copy);
		usleep(10); /* or nobody else gets the lock */
	}
	return (void *)bad;
}

/* Collectors that come, go, and get other names, while another thread looks at all of them. */
static void test_read_meanwhile(void **state)
{
	struct sink s[4];
	pthread_t thread;
	void *bad;

	(void)state;
	begin(&(struct export_options){.queue_messages = 16}, s, 4);
	atomic_store(&silent, false);
	assert_int_equal(pthread_create(&thread, NULL, read_on, NULL), 0);
	for (unsigned int i = 0; i < 1000; i++) {
		char names[4][40];
		const char *urls[5];
		unsigned int count = 0;

		for (unsigned int j = 0; j < 4; j++) {
			if ((i * 7 + j * 3) % 5 == 0)
				continue;
			memset(names[j], 0, sizeof(names[j]));
			names[j][0] = '#';
			memset(names[j] + 1, (int)('a' + (i + j) % 26), 1 + (i * 5 + j) % 30);
			urls[count++] = url_of(&s[j], names[j]);
		}
		urls[count] = NULL;
		assert_int_equal(try_apply(&(struct export_options){0}, urls), 0);
	}
	atomic_store(&silent, true);
	pthread_join(thread, &bad);
	assert_null(bad);
	end(s, 4);
}

#define TEST(f) cmocka_unit_test_teardown(f, stderr_release)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_add),		 TEST(test_remove),
		TEST(test_remove_away),	 TEST(test_remove_then_stop),
		TEST(test_many_removed), TEST(test_identity),
		TEST(test_files),	 TEST(test_file_again),
		TEST(test_file_full),	 TEST(test_refused),
		TEST(test_balance),	 TEST(test_read_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
