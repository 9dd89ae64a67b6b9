/* SPDX-License-Identifier: Apache-2.0 */
/* libbpf's messages are shown whole, line by line, and of a long one the lines that decide. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include "exporter/meter/libbpf_log.h"
#include "exporter/util.h"

struct lines {
	char all[200][64];
	size_t count;
};

static void put(void *userdata, const char *line)
{
	struct lines *lines = userdata;

	assert_true(lines->count < ARRAY_SIZE(lines->all));
	snprintf(lines->all[lines->count++], sizeof(lines->all[0]), "%s", line);
}

static void test_whole(_unused_ void **state)
{
	char message[] = "libbpf: prog 'p': -- BEGIN PROG LOAD LOG --\n0: (85) call 160\n\n"
			 "unknown func#160\n-- END PROG LOAD LOG --\n";
	struct lines lines = {0};

	libbpf_log_lines(message, put, &lines);
	assert_int_equal(lines.count, 4);
	assert_string_equal(lines.all[0], "libbpf: prog 'p': -- BEGIN PROG LOAD LOG --");
	assert_string_equal(lines.all[2], "unknown func#160");
	assert_string_equal(lines.all[3], "-- END PROG LOAD LOG --");
}

static void test_unfinished(_unused_ void **state)
{
	char message[] = "one\ntwo", empty[] = "", blank[] = "\n";
	struct lines lines = {0};

	libbpf_log_lines(message, put, &lines);
	assert_int_equal(lines.count, 2);
	assert_string_equal(lines.all[1], "two");
	libbpf_log_lines(empty, put, &lines);
	libbpf_log_lines(blank, put, &lines);
	assert_int_equal(lines.count, 2);
}

/* `count` numbered lines. */
static void show(unsigned int count, struct lines *lines)
{
	static char message[65536];
	size_t length = 0;

	for (unsigned int i = 1; i <= count; i++)
		length += (size_t)snprintf(message + length, sizeof(message) - length, "%u\n", i);
	lines->count = 0;
	libbpf_log_lines(message, put, lines);
}

static void test_long(_unused_ void **state)
{
	struct lines lines = {0};

	show(100, &lines);
	assert_int_equal(lines.count, 100);
	show(101, &lines);
	assert_int_equal(lines.count, 101);
	assert_string_equal(lines.all[20], "[1 lines are left out]");
	assert_string_equal(lines.all[21], "22");
	show(5000, &lines);
	assert_int_equal(lines.count, 101);
	assert_string_equal(lines.all[19], "20");
	assert_string_equal(lines.all[20], "[4900 lines are left out]");
	assert_string_equal(lines.all[21], "4921");
	assert_string_equal(lines.all[100], "5000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_unfinished),
		cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
