/* SPDX-License-Identifier: Apache-2.0 */
/* Moments as people write them; expected values are date(1)'s. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>
#include <time.h>
#include "exporter/cli/when.h"

#define NOW 1795919400000ull /* date -u -d @1795919400: 2026-11-29 02:30:00 */

static int set_zone(void **state)
{
	(void)state;
	setenv("TZ", "XXX-1", 1); /* an hour east: it is 03:30 there */
	tzset();
	return 0;
}

static const struct {
	const char *text;
	uint64_t ms; /* 0: it is no time */
} cases[] = {
	{"0s", NOW},
	{"90s", NOW - 90000},
	{"5m", NOW - 300000},
	{"500ms", NOW - 500},
	{"24h", NOW - 86400000},
	{"1795919400000", NOW},
	{"03:30", NOW},
	{"03:29:59", NOW - 1000},
	{"00:00", NOW - 12600000},
	{"03:31", NOW + 60000 - 86400000}, /* yesterday's: it is still to come today */
	{"2026-11-29T02:30:00Z", NOW},
	{"2026-11-29T02:30:00.750Z", NOW},
	{"2026-11-29T03:30:00", NOW},
	{"2026-11-29 03:30:00", NOW},
	{"2026-11-29T04:30:00+02:00", NOW},
	{"2026-11-28T21:30:00-05:00", NOW},
	{"2026-11-29T03:30", NOW},
	{"2026-11-29", NOW - 12600000},
	{"", 0},
	{"5", 0},
	{"90", 0},
	{"now", 0},
	{"25:00", 0},
	{"03:30 ", 0},
	{"03:30:00Z", 0},
	{"2026-13-01", 0},
	{"2026-11-29T03:30:00X", 0},
	{"2026-11-29T03:30:00+99:00", 0},
	{"2026-11-29T03:30:00+02:00x", 0},
	{"-5m", 0},
};

static void test_parse(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t ms = 0;
		const int r = when_parse(cases[i].text, NOW, &ms);

		if (r != (cases[i].ms ? 0 : -EINVAL) || ms != cases[i].ms)
			print_error("'%s'\n", cases[i].text);
		assert_int_equal(r, cases[i].ms ? 0 : -EINVAL);
		assert_int_equal(ms, cases[i].ms);
	}
}

static void test_print(void **state)
{
	char text[WHEN_TEXT_MAX];

	(void)state;
	when_print(text, NOW, NOW, 0);
	assert_string_equal(text, "03:30:00");
	when_print(text, NOW, NOW, 1);
	assert_string_equal(text, "02:30:00");
	when_print(text, NOW - 12600001, NOW, 0);
	assert_string_equal(text, "2026-11-28 23:59:59");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse),
					   cmocka_unit_test(test_print)};

	return cmocka_run_group_tests(tests, set_zone, NULL);
}
