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
	{"1h43m", NOW - 6180000},
	{"1h0m30s500ms", NOW - 3630500},
	{"1795919400000", NOW},
	{"03:30", NOW},
	{"03:29:59", NOW - 1000},
	{"00:00", NOW - 12600000},
	{"03:31", NOW + 60000 - 86400000}, /* yesterday's: it is still to come today */
	{"2026-11-29T02:30:00Z", NOW},
	{"2026-11-29T02:30:00.750Z", NOW + 750},
	{"2026-11-29T02:30:00.0019999Z", NOW + 1},
	{"03:29:59.5", NOW - 500},
	{"Nov 29 03:30:00.000", NOW}, /* as observe prints it */
	{"Nov 29 03:29:59.042", NOW - 958},
	{"Nov  9 03:30:00", NOW - 20 * 86400000ull},
	{"Nov 30 03:30:00.000", NOW - 364 * 86400000ull}, /* of 2025 */
	{"2026-11-29T03:30:00", NOW},
	{"2026-11-29 03:30:00", NOW},
	{"2026-11-29T04:30:00+02:00", NOW},
	{"2026-11-28T21:30:00-05:00", NOW},
	{"2026-11-29T03:30", NOW},
	{"2026-11-29", NOW - 12600000},
	{"", 0},
	{"5", 0},
	{"1h43", 0},
	{"1hm", 0},
	{"h", 0},
	{"Nov 29", 0},
	{"Nov 29 03:30:00.000x", 0},
	{"2026-11-29.5", 0},
	{"03:30.5", 0},
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
		const int r = when_parse(cases[i].text, NOW, false, &ms);

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
	when_print(text, NOW, NOW, false);
	assert_string_equal(text, "03:30:00");
	when_print(text, NOW, NOW, true);
	assert_string_equal(text, "02:30:00");
	when_print(text, NOW - 12600001, NOW, false);
	assert_string_equal(text, "2026-11-28 23:59:59");
}

/* Central European Time: 2026-03-29 02:00 became 03:00, 2026-10-25 03:00 became 02:00; expected by date -d. */
static void test_zones(void **state)
{
	static const struct {
		const char *text;
		uint64_t now_ms;
		bool utc;
		uint64_t ms;
	} days[] = {
		{"23:00", 1774774800000, false,
		 1774735200000}, /* 2026-03-29 11:00: 28th, 12 h before */
		{"11:30", 1774774800000, false,
		 1774693800000}, /* a day of 23 hours: not 24 h less */
		{"11:30", 1792922400000, false,
		 1792834200000}, /* 2026-10-25 11:00, a day of 25 hours */
		{"10:00", 1774774800000, false, 1774771200000}, /* the same day */
		{"09:00", 1774774800000, true, 1774774800000},	/* the same moment in UTC */
		{"09:01", 1774774800000, true, 1774688460000},
		{"2026-03-29", 1774774800000, true, 1774742400000},
		{"2026-03-29T11:00", 1774774800000, false, 1774774800000},
		{"2026-03-29T11:00:00+02:00", 0, true, 1774774800000}, /* a zone is a zone */
	};
	uint64_t ms;

	(void)state;
	setenv("TZ", "CET-1CEST,M3.5.0/2,M10.5.0/3", 1);
	tzset();
	for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
		assert_int_equal(when_parse(days[i].text, days[i].now_ms, days[i].utc, &ms), 0);
		if (ms != days[i].ms)
			print_error("%zu: '%s'\n", i, days[i].text);
		assert_int_equal(ms, days[i].ms);
	}
	set_zone(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse),
					   cmocka_unit_test(test_zones),
					   cmocka_unit_test(test_print)};

	return cmocka_run_group_tests(tests, set_zone, NULL);
}
