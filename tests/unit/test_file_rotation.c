/* SPDX-License-Identifier: Apache-2.0 */
/* Files that end and are followed by others: by rotation, or by what others do to them. */
#include <signal.h>
#include <sys/resource.h>
#include "exporter/export/transport/transport.h"
#include "tests/unit/rotation.h"

#define START_S (CLOCK_START_WALL_NS / NSEC_PER_SEC)

/* Moved, removed or emptied by others: what counts as exported is in the file of that name, or was moved with it. */
static void rotate(const char *scheme, bool json)
{
	struct exports *exports = open_exports(scheme);
	const struct collector_stats *stats = exports_stats(exports, 0);
	size_t total;
	char moved[70];

	snprintf(moved, sizeof(moved), "%s.1", path);
	give_random(exports, 1100);
	exports_flush(exports);
	give_random(exports, 100);
	assert_int_equal(rename(path, moved), 0);
	give_random(exports, 1100);
	exports_flush(exports);
	total = take_file(json); /* removed */
	assert_int_equal(rename(moved, path), 0);
	total += take_file(json);
	assert_int_equal(total, stats->bytes);
	give_random(exports, 1);
	exports_flush(exports);
	assert_int_equal(truncate(path, 0), 0);
	total = stats->bytes;
	give_random(exports, 20);
	exports_flush(exports);
	assert_int_equal(take_file(json), stats->bytes - total);
	assert_int_equal(stats->exported.records, given.records);
	assert_ledger(exports, &given);
	/* Removed with something in the buffer, which can only be told without templates. */
	give_random(exports, 1);
	exports_flush(exports);
	give_random(exports, 100);
	unlink(path);
	give_random(exports, 1);
	exports_flush(exports);
	assert_ledger(exports, &given);
	assert_int_equal(stats->queued.records, 0);
	give_random(exports, 1);
	exports_flush(exports);
	assert_int_equal(stats->state, COLLECTOR_UP);
	assert_int_equal(exports_stats(exports, 0)->lost[EXPORT_LOSS_SEND_ERROR].records > 0,
			 !json);
	assert_true(take_file(json) > 0);
	exports_free(exports);
}

static void test_rotated(void **state)
{
	(void)state;
	rotate("file://", false);
	stderr_release(state);
	rotate("json://", true);
}

/* The messages of the file, by what that file says of itself alone; it is removed.  Returns its octets. */
static size_t take_messages(struct sink *s, const char *suffix)
{
	_cleanup_(freep) uint8_t *data = NULL;
	char name[96];
	size_t size;

	name_file(suffix, name);
	data = read_named(name, &size);
	s->known_count = 0;
	for (size_t at = 0, length; at < size; at += length) {
		length = (size_t)(data[at + 2] << 8 | data[at + 3]);
		assert_true(length >= 16 && at + length <= size);
		sink_take(s, data + at, length);
		sink_forget(s);
	}
	assert_false(s->data_first);
	assert_false(s->gap);
	assert_int_equal(unlink(name), 0);
	return size;
}

/* PATH.1 is the oldest; a line is the last when it reaches the size. */
static void test_size(void **state)
{
	struct exports *exports = open_rotated("json://", "rotate=20000");
	unsigned int lines = 0;
	size_t size, total = 0;
	char suffix[16];
	int n;

	(void)state;
	give_now(exports, FLOWS);
	for (n = 1; snprintf(suffix, sizeof(suffix), ".%d", n) > 0 && is_there(suffix); n++) {
		lines += take_lines(suffix, &size);
		assert_in_range(size, 20000, 20000 + 2000);
		total += size;
	}
	assert_in_range(n, 10, 30);
	lines += take_lines("", &size);
	assert_true(size < 20000);
	assert_int_equal(lines, FLOWS);
	assert_int_equal(total + size, exports_stats(exports, 0)->bytes);
	assert_int_equal(exports_stats(exports, 0)->exported.records, FLOWS);
	exports_free(exports);
}

/* Each file can be read alone, none has half a message, sequence numbers go on, and nothing is lost or twice there. */
static void test_messages(void **state)
{
	struct exports *exports = open_rotated("file://", "rotate=4KiB");
	struct sink s = {.bytes = malloc(1 << 20)};
	size_t size, total = 0;
	char suffix[16];
	int n;

	(void)state;
	assert_non_null(s.bytes);
	for (unsigned int i = 1; i <= 60; i++)
		give_now(exports, i);
	for (n = 1; snprintf(suffix, sizeof(suffix), ".%d", n) > 0 && is_there(suffix); n++) {
		size = take_messages(&s, suffix);
		assert_in_range(size, 4096, 4096 + 1500);
		total += size;
	}
	assert_in_range(n, 40, 80);
	total += take_messages(&s, "");
	assert_int_equal(total, exports_stats(exports, 0)->bytes);
	assert_int_equal(s.records, 60 * 61 / 2);
	assert_int_equal(exports_stats(exports, 0)->exported.records, s.records);
	assert_int_equal(exports_stats(exports, 0)->errors, 0);
	free(s.bytes);
	exports_free(exports);
}

/* Periods are those of the wall clock, however late in one the first record is; without any there is no file. */
static void test_time(void **state)
{
	struct exports *exports = open_rotated("json://", "rotate=10s,1MiB");
	size_t size;

	(void)state;
	assert_int_equal(START_S % 10, 0);
	clock_skip(107 * NSEC_PER_SEC);
	exports_flush(exports);
	assert_false(is_there(".1"));
	give_now(exports, 1);
	clock_skip(2999 * NSEC_PER_MSEC);
	give_now(exports, 2);
	assert_false(is_there(".1"));
	clock_skip(NSEC_PER_MSEC);
	give_now(exports, 3); /* the first of the next file, which ends the one before */
	assert_int_equal(take_lines(".1", &size), 3);
	clock_skip(100 * NSEC_PER_SEC);
	for (unsigned int i = 0; i < 10; i++) {
		exports_flush(exports); /* ends without a record too, once */
		clock_skip(100 * NSEC_PER_SEC);
	}
	assert_int_equal(take_lines(".2", &size), 3);
	assert_false(is_there(".3"));
	assert_int_equal(take_lines("", &size), 0);
	exports_free(exports);
}

/* A clock that is set back a little makes no file; one that is set by more makes one. */
static void test_clock_steps(void **state)
{
	struct exports *exports = open_rotated("json://", "rotate=1h");

	(void)state;
	clock_skip(3600 * NSEC_PER_SEC);
	give_now(exports, 1);
	clock_set_wall(-1 * (int64_t)NSEC_PER_SEC);
	give_now(exports, 1);
	clock_set_wall(0);
	give_now(exports, 1);
	assert_false(is_there(".1"));
	clock_set_wall(-86400 * (int64_t)NSEC_PER_SEC);
	give_now(exports, 1);
	give_now(exports, 1);
	assert_true(is_there(".1"));
	assert_false(is_there(".2"));
	clock_set_wall(86400 * (int64_t)NSEC_PER_SEC);
	give_now(exports, 1);
	give_now(exports, 1);
	assert_true(is_there(".2"));
	assert_false(is_there(".3"));
	exports_free(exports);
	remove_suffixes(".1", ".2", NULL);
}

/* Of a capture that is replayed it is the capture's clock. */
static void test_capture_clock(void **state)
{
	struct exports *exports = open_rotated("json://", "rotate=1h");
	size_t size;

	(void)state;
	for (unsigned int hour = 1; hour <= 3; hour++)
		for (unsigned int minute = 0; minute < 60; minute++) {
			exports_set_time(exports, (hour * 60ull + minute) * 60 * NSEC_PER_SEC);
			give_random(exports, hour);
		}
	clock_skip(86400 * NSEC_PER_SEC);
	exports_flush(exports);
	assert_int_equal(take_lines(".1", &size), 60);
	assert_int_equal(take_lines(".2", &size), 120);
	assert_int_equal(take_lines("", &size), 180);
	assert_false(is_there(".3"));
	exports_free(exports);
}

/* /dev/stdout is one: the name that leads to a file is not ours to move, and one that replaces ours is not followed. */
static void test_symlink(void **state)
{
	struct exports *exports;
	char target[96];
	size_t size;

	(void)state;
	name_file(".target", target);
	put_file(".target", OURS);
	assert_int_equal(symlink(target, path), 0);
	exports = open_rotated("json://", "rotate=10s");
	assert_int_equal(stderr_lines("stays there"), 1);
	give_now(exports, 1);
	clock_skip(10 * NSEC_PER_SEC);
	give_now(exports, 1);
	assert_false(is_there(".1"));
	assert_int_equal(take_lines(".target", &size), 3);
	exports_free(exports);
	assert_int_equal(unlink(path), 0);
	stderr_release(state);

	exports = open_rotated("json://", "rotate=10s");
	put_file(".target", "");
	give_now(exports, 1);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink(target, path), 0);
	give_now(exports, 1);
	assert_int_equal(take_lines(".target", &size), 0);
	assert_int_equal(stderr_lines("cannot be opened anew"), 1);
	exports_free(exports);
}

/* A link says which file is written to, so that it counts only if it can be that of root or of our user alone. */
static void test_whose_link(_unused_ void **state)
{
	static const struct {
		uid_t folder, link;
		mode_t mode;
		bool follows;
	} cases[] = {
		{0, 0, 0755, true},	  {0, 0, 01777, true},	       {0, 65534, 0755, false},
		{0, 65534, 01777, false}, {65534, 65534, 0700, false}, {65534, 0, 0755, false},
		{0, 0, 0777, false},	  {0, 0, 0775, false},
	};
	char place[] = "/tmp/flowtally-link-XXXXXX", name[64];

	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(place));
	snprintf(name, sizeof(name), "%s/flows", place);
	assert_false(file_transport_follows(name)); /* there is nothing */
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(symlink("/nonexistent", name), 0);
		assert_int_equal(lchown(name, cases[i].link, 0), 0);
		assert_int_equal(chown(place, cases[i].folder, 0), 0);
		assert_int_equal(chmod(place, cases[i].mode), 0);
		assert_int_equal(file_transport_follows(name), cases[i].follows);
		assert_int_equal(unlink(name), 0);
	}
	assert_int_equal(close(creat(name, 0600)), 0);
	assert_false(file_transport_follows(name)); /* no link */
	assert_int_equal(unlink(name), 0);
	assert_int_equal(rmdir(place), 0);
}

/* Its folder is moved: the file goes on in there, which is said once; when it is back the file is rotated. */
static void test_folder_moved(void **state)
{
	struct exports *exports = open_rotated("json://", "rotate=10s");
	const struct collector_stats *stats = exports_stats(exports, 0);
	char moved[sizeof(folder) + 2];
	size_t size;

	(void)state;
	snprintf(moved, sizeof(moved), "%s.m", folder);
	give_now(exports, 1);
	assert_int_equal(rename(folder, moved), 0);
	for (unsigned int i = 0; i < 30; i++) {
		clock_skip(10 * NSEC_PER_SEC);
		give_now(exports, 1);
	}
	assert_int_equal(stats->exported.records, 31);
	assert_true(stats->errors >= 30);
	assert_int_equal(stderr_lines("cannot be rotated"),
			 0); /* it was not tried: it is elsewhere */
	assert_int_equal(stderr_lines("cannot be opened anew"), 1);
	assert_int_equal(rename(moved, folder), 0);
	clock_skip(10 * NSEC_PER_SEC);
	exports_flush(exports);
	assert_int_equal(take_lines(".1", &size), 31);
	exports_free(exports);
}

/* Renamed, but there is no new one: the old one takes what comes until there is. */
static void test_no_new_file(void **state)
{
	struct exports *exports = open_rotated("json://", "rotate=10s");
	struct rlimit before, none;
	unsigned int lines;
	size_t size;

	(void)state;
	give_now(exports, 1);
	clock_skip(10 * NSEC_PER_SEC);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	exports_flush(exports);
	give_random(exports, 5);
	exports_flush(exports);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(stderr_lines("cannot be rotated"), 1);
	assert_int_equal(stderr_lines("cannot be opened anew"), 1);
	exports_flush(exports);
	give_now(exports, 2);
	lines = take_lines(".1", &size);
	assert_int_equal(lines, 6);
	assert_int_equal(take_lines("", &size), 2);
	assert_int_equal(exports_stats(exports, 0)->exported.records, 8);
	exports_free(exports);
}

/* A reload is of the file that is there: nothing is lost, and what is one too many is deleted at once. */
static void test_reload(void **state)
{
	struct exports *exports = open_rotated("file://", "rotate=10s");
	struct sink s = {.bytes = malloc(1 << 20)};
	_cleanup_(freep) uint8_t *oldest = NULL;
	char name[96];
	size_t size;

	(void)state;
	assert_non_null(s.bytes);
	for (unsigned int i = 0; i < 3; i++) {
		give_now(exports, 10);
		clock_skip(10 * NSEC_PER_SEC);
		exports_flush(exports);
	}
	assert_true(is_there(".3"));
	name_file(".1", name);
	oldest = read_named(name, &size);
	give_random(exports, 50);
	reload(exports, "?rotate=1h&keep=2");
	assert_false(is_there(".1"));
	clock_skip(100 * NSEC_PER_SEC);
	give_now(exports, 50);
	assert_false(is_there(".4"));
	reload(exports, "?rotate=1KiB");
	give_now(exports, 1);
	assert_true(is_there(".4"));
	reload(exports, "");
	give_now(exports, 500);
	assert_false(is_there(".5"));
	put_octets(".1", oldest, size);
	take_messages(&s, ".1");
	take_messages(&s, ".2");
	take_messages(&s, ".3");
	take_messages(&s, ".4");
	take_messages(&s, "");
	assert_int_equal(s.records, given.records);
	free(s.bytes);
	exports_free(exports);
}

/* A write that fails does not end the file; what is lost is so by name, and the file is rotated when it is full. */
static void test_full_disk(void **state)
{
	struct exports *exports = open_rotated("json://", "rotate=90000");
	const struct collector_stats *stats = exports_stats(exports, 0);
	struct rlimit before, low;
	unsigned int lines;
	size_t size;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	low = before;
	low.rlim_cur = 80000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	give_now(exports, FLOWS);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_true(stats->lost[EXPORT_LOSS_SEND_ERROR].records > 0);
	give_now(exports, FLOWS);
	assert_true(is_there(".1"));
	lines = take_lines(".1", &size);
	for (unsigned int n = 2; n < 20; n++) {
		char suffix[8];

		snprintf(suffix, sizeof(suffix), ".%u", n);
		if (is_there(suffix))
			lines += take_lines(suffix, &size);
	}
	lines += take_lines("", &size);
	assert_int_equal(lines, stats->exported.records);
	exports_free(exports);
}

/* Nothing can be renamed: the file goes on, which is said once, and is rotated when that is over. */
static void test_read_only(void **state)
{
	struct exports *exports = open_rotated("json://", "rotate=10s");
	size_t size;

	(void)state;
	give_now(exports, 1);
	if (!mount_alone(NULL, MS_BIND, NULL) ||
	    mount(NULL, folder, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0) {
		exports_free(exports);
		skip();
	}
	for (unsigned int i = 0; i < 3; i++) {
		clock_skip(10 * NSEC_PER_SEC);
		give_now(exports, 1);
	}
	assert_int_equal(stderr_lines("cannot be rotated"), 1);
	assert_int_equal(stderr_lines("Read-only file system"), 1);
	assert_int_equal(exports_stats(exports, 0)->errors, 3);
	unmount_all();
	clock_skip(10 * NSEC_PER_SEC);
	exports_flush(exports);
	assert_int_equal(take_lines(".1", &size), 4);
	assert_int_equal(exports_stats(exports, 0)->exported.records, 4);
	exports_free(exports);
}

/* Others have moved the file, and made a new one or not, when it is to end: theirs is no finished file. */
static void moved_when_due(const char *scheme, bool create, bool gathered)
{
	struct exports *exports = open_rotated(scheme, "rotate=10s");
	char moved[96];

	name_file(".moved", moved);
	give_now(exports, 1);
	clock_skip(10 * NSEC_PER_SEC);
	assert_int_equal(rename(path, moved), 0);
	if (create)
		put_file("", "");
	if (gathered)
		give_random(exports, 1);
	exports_flush(exports);
	give_now(exports, 1);
	assert_false(is_there(".1"));
	assert_true(is_there("") && is_there(".moved"));
	assert_int_equal(stderr_lines("cannot"), 0);
	assert_int_equal(exports_stats(exports, 0)->errors, 0);
	clock_skip(10 * NSEC_PER_SEC);
	give_now(exports, 1);
	assert_true(is_there(".1")); /* it is not put off either */
	exports_free(exports);
	remove_suffixes("", ".1", ".moved", NULL);
}

static void test_moved_when_due(void **state)
{
	for (unsigned int i = 0; i < 8; i++) {
		moved_when_due(i & 4 ? "file://" : "json://", i & 2, i & 1);
		stderr_release(state);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_rotated),   TEST(test_size),		 TEST(test_messages),
		TEST(test_time),      TEST(test_clock_steps),	 TEST(test_capture_clock),
		TEST(test_symlink),   TEST(test_whose_link),	 TEST(test_folder_moved),
		TEST(test_reload),    TEST(test_no_new_file),	 TEST(test_full_disk),
		TEST(test_read_only), TEST(test_moved_when_due),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
