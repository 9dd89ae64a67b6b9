/* SPDX-License-Identifier: Apache-2.0 */
/* The last lines, by number and by octets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include "exporter/cli/last_lines.h"

static void check(struct last_lines *lines, uint64_t fewer, const char *want)
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	assert_int_equal(last_lines_short(lines), fewer);
	last_lines_print(lines, file, ";");
	fclose(file);
	assert_string_equal(text, want);
	free(text);
}

static void give(struct last_lines *lines, const char *letters)
{
	for (; *letters; letters++)
		assert_int_equal(last_lines_add(lines, (char[]){*letters, '\0'}), 0);
}

static void test_number(void **state)
{
	struct last_lines *lines;

	(void)state;
	assert_int_equal(last_lines_new(&lines, 3, 100), 0);
	check(lines, 0, "");
	give(lines, "ab");
	check(lines, 0, "a;b;");
	check(lines, 0, "");
	give(lines, "abcdefgh");
	check(lines, 0, "f;g;h;");
	give(lines, "xyz");
	last_lines_free(lines);
}

/* Of two octets each with its end: five are room for two.  A longer line makes all others go, and stays. */
static void test_octets(void **state)
{
	struct last_lines *lines;

	(void)state;
	assert_int_equal(last_lines_new(&lines, 3, 5), 0);
	give(lines, "ab");
	check(lines, 0, "a;b;");
	give(lines, "abcdef");
	check(lines, 1, "e;f;");
	give(lines, "ab");
	assert_int_equal(last_lines_add(lines, "longer"), 0);
	check(lines, 2, "longer;");
	assert_int_equal(last_lines_add(lines, "longer"), 0);
	give(lines, "a");
	check(lines, 1, "a;");
	last_lines_free(lines);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_number),
					   cmocka_unit_test(test_octets)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
