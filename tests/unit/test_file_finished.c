/* SPDX-License-Identifier: Apache-2.0 */
/* Names of finished files, and which of them are deleted. */
#include <sys/resource.h>
#include "exporter/cli/read_next.h"
#include "tests/unit/rotation.h"

/* Only what is ours is deleted, of this run and of those before; names that others put there stay, and are not used. */
static void test_keep(void **state)
{
	static const char *const foreign[] = {".2", ".4", ".5", ".6", ".08", ".7.gz", ".20261129"};
	struct exports *exports;
	char name[96], other[96];
	size_t size;

	(void)state;
	put_file(".1", OURS);
	put_file(".2", "a text of somebody else\n");
	put_file(".3", OURS);
	name_file(".4", name);
	assert_int_equal(mkdir(name, 0700), 0);
	name_file(".other", other);
	put_file(".other", OURS);
	name_file(".5", name);
	assert_int_equal(symlink(other, name), 0);
	name_file(".6", name);
	assert_int_equal(link(other, name), 0);
	for (unsigned int i = 4; i < ARRAY_SIZE(foreign); i++)
		put_file(foreign[i], OURS);
	exports = open_rotated("json://", "rotate=10s&keep=2");
	for (unsigned int i = 1; i <= 5; i++) {
		give_now(exports, i);
		clock_skip(10 * NSEC_PER_SEC);
		exports_flush(exports);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(foreign); i++)
		assert_true(is_there(foreign[i]));
	assert_false(is_there(".1"));
	assert_false(is_there(".3"));
	assert_false(is_there(".9"));
	assert_int_equal(take_lines(".10", &size), 4);
	assert_int_equal(take_lines(".11", &size), 5);
	assert_int_equal(stderr_lines("deleted"), 0);
	exports_free(exports);
	name_file(".4", name);
	assert_int_equal(rmdir(name), 0);
	remove_suffixes(".2", ".5", ".6", ".other", ".08", ".7.gz", ".20261129", NULL);
}

/* At the start what is there gets the next number, and none is replaced. */
static void test_start(void **state)
{
	struct exports *exports;
	size_t size;

	(void)state;
	put_file("", OURS OURS);
	put_file(".1", OURS);
	put_file(".7", OURS OURS OURS);
	exports = open_exports("json://");
	assert_int_equal(take_lines(".1", &size), 1);
	assert_int_equal(take_lines(".7", &size), 3);
	assert_int_equal(take_lines(".8", &size), 2);
	assert_int_equal(take_lines("", &size), 0);
	exports_free(exports);
}

/* Whoever follows the file has come to the end of one, and goes on with the next. */
static void assert_next(const char *suffix, const char *expected)
{
	char name[96];
	struct stat st, next;
	int fd, next_fd;

	name_file(expected, name);
	assert_int_equal(stat(name, &st), 0);
	name_file(suffix, name);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	next_fd = read_next(path, fd);
	assert_int_equal(fstat(next_fd, &next), 0);
	assert_int_equal(next.st_ino, st.st_ino);
	close(fd);
	close(next_fd);
}

/* They go on past 7 digits, there is no name that uses them up, and dates are none. */
static void test_numbers(void **state)
{
	static const char *const foreign[] = {".20261129", ".1796000000", ".99999999999999999",
					      ".999999999999999999", ".18446744073709551615"};
	struct exports *exports;

	(void)state;
	put_file(".9999998", OURS);
	put_file(".9999999", OURS);
	for (unsigned int i = 0; i < ARRAY_SIZE(foreign); i++)
		put_file(foreign[i], OURS);
	exports = open_rotated("json://", "rotate=10s&keep=2");
	end_periods(exports, 1);
	assert_true(is_there(".9999999"));
	end_periods(exports, 2);
	exports_free(exports);
	assert_false(is_there(".9999998"));
	assert_false(is_there(".9999999"));
	assert_false(is_there(".100000000000000000"));
	stderr_release(state);
	exports = open_rotated("json://", "rotate=10s&keep=2");
	end_periods(exports, 1);
	assert_false(is_there(".100000000000000001"));
	assert_true(is_there(".100000000000000002"));
	assert_true(is_there(".100000000000000003"));
	assert_next(".100000000000000002", ".100000000000000003");
	assert_next(".100000000000000003", "");
	assert_int_equal(stderr_lines("cannot"), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(foreign); i++)
		assert_true(is_there(foreign[i]));
	exports_free(exports);
}

/* The highest name that counts ends neither the rotation nor the deletion, however wide the gap before it is. */
static void test_gap(void **state)
{
	struct exports *exports;

	(void)state;
	put_file(".1", OURS);
	put_file(".499999999999999999", OURS);
	exports = open_rotated("json://", "rotate=10s&keep=2");
	end_periods(exports, 5);
	assert_int_equal(stderr_lines("cannot"), 0);
	assert_false(is_there(".1"));
	assert_false(is_there(".499999999999999999"));
	assert_false(is_there(".500000000000000002"));
	assert_true(is_there(".500000000000000003"));
	assert_true(is_there(".500000000000000004"));
	exports_free(exports);
}

/* What another collector writes is not deleted, by whatever path it was opened. */
static void test_other_collector(void **state)
{
	struct exports *exports = open_rotated("file://", "rotate=10s");
	char keeping[120], lines[120], messages[120];
	const struct export_collector collectors[] = {
		{.url = keeping}, {.url = lines}, {.url = messages}};
	struct export_changes changes;

	(void)state;
	snprintf(keeping, sizeof(keeping), "file://%s?rotate=10s&keep=1", path);
	snprintf(lines, sizeof(lines), "json://%s/./flows.1", folder);
	snprintf(messages, sizeof(messages), "file://%s//flows.2", folder);
	assert_int_equal(exports_add(exports, lines), 0);
	assert_int_equal(exports_add(exports, messages), 0);
	end_periods(exports, 3);
	assert_true(is_there(".3") && is_there(".5"));
	assert_int_equal(exports_apply(exports, &(struct export_options){.domain = 9}, collectors,
				       3, &changes),
			 0);
	assert_int_equal(changes.changed, 1);
	assert_false(is_there(".3"));
	assert_true(is_there(".1") && is_there(".2"));
	end_periods(exports, 3);
	assert_true(is_there(".1") && is_there(".2"));
	exports_free(exports);
}

/* A file system that has no room for one more file: what is one too many makes it. */
static void test_no_inodes(void **state)
{
	struct exports *exports;

	(void)state;
	if (!mount_alone("tmpfs", 0,
			 "nr_inodes=4")) /* the folder, two finished files and one more */
		skip();
	exports = open_rotated("json://", "rotate=10s&keep=2");
	end_periods(exports, 5);
	assert_int_equal(stderr_lines("cannot"), 0);
	assert_true(is_there(".4") && is_there(".5") && is_there(""));
	exports_free(exports);
	unmount_all();
}

/* A file that cannot be deleted is said once, and is deleted when it can be: it is not passed over. */
static void test_cannot_delete(void **state)
{
	struct exports *exports;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chown(folder, 65534, 0), 0);
	assert_int_equal(seteuid(65534), 0);
	exports = open_rotated("file://", "rotate=10s");
	end_periods(exports, 3);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(chown(folder, 0, 0), 0);
	assert_int_equal(chmod(folder, 0755), 0);
	assert_int_equal(seteuid(65534), 0);
	reload(exports, "?rotate=10s&keep=1");
	reload(exports, "?rotate=10s&keep=2");
	assert_true(is_there(".1") && is_there(".2") && is_there(".3"));
	assert_int_equal(exports_stats(exports, 0)->errors, 2);
	assert_int_equal(stderr_lines("cannot be deleted"), 1);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(chown(folder, 65534, 0), 0);
	assert_int_equal(seteuid(65534), 0);
	reload(exports, "?rotate=10s&keep=1");
	assert_false(is_there(".1") || is_there(".2"));
	assert_true(is_there(".3"));
	assert_int_equal(stderr_lines("cannot be deleted"), 1);
	exports_free(exports);
}

/* Nor is one that cannot be looked at. */
static void test_no_descriptor(void **state)
{
	struct exports *exports = open_rotated("file://", "rotate=10s");
	struct rlimit before, none;

	(void)state;
	end_periods(exports, 3);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	reload(exports, "?rotate=10s&keep=1");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(is_there(".1") && is_there(".2"));
	assert_int_equal(stderr_lines("cannot be deleted"), 1);
	reload(exports, "?rotate=10s&keep=2");
	assert_false(is_there(".1"));
	assert_true(is_there(".2") && is_there(".3"));
	exports_free(exports);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_keep),	  TEST(test_start),	      TEST(test_numbers),
		TEST(test_gap),		  TEST(test_other_collector), TEST(test_no_inodes),
		TEST(test_cannot_delete), TEST(test_no_descriptor),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
