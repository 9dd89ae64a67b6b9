/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/when.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "exporter/util.h"
#include "exporter/value.h"

#define MS_MIN	 100000000000ull /* of 1973: smaller numbers are no times */
#define ZONE_MAX (14 * 3600)

/* What a time without a zone means. */
static time_t make_time(struct tm *tm, bool utc)
{
	tm->tm_isdst = -1;
	return utc ? timegm(tm) : mktime(tm);
}

static void break_down(time_t time, bool utc, struct tm *ret)
{
	if (utc)
		gmtime_r(&time, ret);
	else
		localtime_r(&time, ret);
}

/* "Z", "+01:00" or nothing, which is local time, or UTC where that is meant. */
static int read_zone(const char *text, bool utc, struct tm *tm, uint64_t *ret_ms)
{
	int hours, minutes, end = 0;
	time_t time;

	if (!*text) {
		time = make_time(tm, utc);
	} else if (!strcmp(text, "Z") || !strcmp(text, "z")) {
		time = timegm(tm);
	} else if ((*text == '+' || *text == '-') &&
		   sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &end) == 2 && !text[end + 1] &&
		   hours >= 0 && minutes >= 0 && hours * 3600 + minutes * 60 <= ZONE_MAX) {
		time = timegm(tm) - (*text == '+' ? 1 : -1) * (hours * 3600 + minutes * 60);
	} else {
		return -EINVAL;
	}
	if (time < 0)
		return -EINVAL;
	*ret_ms = (uint64_t)time * 1000;
	return 0;
}

/* What follows seconds: ".123", of which whole milliseconds count. */
static const char *read_fraction(const char *text, uint64_t *ret_ms)
{
	uint64_t factor = 100;

	*ret_ms = 0;
	if (*text != '.')
		return text;
	for (text++; isdigit((unsigned char)*text); text++, factor /= 10)
		*ret_ms += factor * (uint64_t)(*text - '0');
	return text;
}

static int read_date(const char *text, bool utc, uint64_t *ret_ms)
{
	static const char *const forms[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S",
					    "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d"};

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		struct tm tm = {0};
		const char *rest = strptime(text, forms[i], &tm);
		uint64_t fraction_ms = 0;

		if (rest && strstr(forms[i], "%S"))
			rest = read_fraction(rest, &fraction_ms);
		if (!rest || read_zone(rest, utc, &tm, ret_ms) < 0)
			continue;
		*ret_ms += fraction_ms;
		return 0;
	}
	return -EINVAL;
}

/* "Nov 29 06:00:00.000", as observe prints it: of this year, or where that is still to come of the last one. */
static int read_stamp(const char *text, uint64_t now_ms, bool utc, uint64_t *ret_ms)
{
	const time_t now = (time_t)(now_ms / 1000);
	struct tm stamp = {0}, day;
	const char *rest = strptime(text, "%b %d %H:%M:%S", &stamp);
	uint64_t fraction_ms;
	time_t time = -1;

	if (!rest || *read_fraction(rest, &fraction_ms))
		return -EINVAL;
	break_down(now, utc, &day);
	for (int before = 0; before < 2; before++) {
		struct tm tm = stamp;

		tm.tm_year = day.tm_year - before;
		time = make_time(&tm, utc);
		if (time <= now)
			break;
	}
	if (time < 0)
		return -EINVAL;
	*ret_ms = (uint64_t)time * 1000 + fraction_ms;
	return 0;
}

/* Today, or where that is still to come yesterday: a day may have 23 or 25 hours. */
static int read_clock(const char *text, uint64_t now_ms, bool utc, uint64_t *ret_ms)
{
	static const char *const forms[] = {"%H:%M:%S", "%H:%M"};
	const time_t now = (time_t)(now_ms / 1000);

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		struct tm clock = {0}, day;
		const char *rest = strptime(text, forms[i], &clock);
		uint64_t fraction_ms = 0;
		time_t time = -1;

		if (rest && strstr(forms[i], "%S"))
			rest = read_fraction(rest, &fraction_ms);
		if (!rest || *rest)
			continue;
		break_down(now, utc, &day);
		for (int before = 0; before < 2; before++) {
			struct tm tm = {.tm_year = day.tm_year,
					.tm_mon = day.tm_mon,
					.tm_mday = day.tm_mday - before,
					.tm_hour = clock.tm_hour,
					.tm_min = clock.tm_min,
					.tm_sec = clock.tm_sec};

			time = make_time(&tm, utc);
			if (time <= now)
				break;
		}
		if (time < 0)
			return -EINVAL;
		*ret_ms = (uint64_t)time * 1000 + fraction_ms;
		return 0;
	}
	return -EINVAL;
}

/* "5m", "1h43m": so long ago. */
static int read_ago(const char *text, uint64_t *ret_ns)
{
	uint64_t sum_ns = 0, ns;
	char part[32];

	if (!*text)
		return -EINVAL;
	while (*text) {
		const size_t digits = strspn(text, "0123456789");
		const size_t length = digits + strcspn(text + digits, "0123456789");

		if (length >= sizeof(part))
			return -EINVAL;
		snprintf(part, sizeof(part), "%.*s", (int)length, text);
		if (value_duration(part, &ns) < 0)
			return -EINVAL;
		sum_ns = ns > UINT64_MAX - sum_ns ? UINT64_MAX : sum_ns + ns;
		text += length;
	}
	*ret_ns = sum_ns;
	return 0;
}

int when_parse(const char *text, uint64_t now_ms, bool utc, uint64_t *ret_ms)
{
	uint64_t ns, ms;

	if (read_ago(text, &ns) == 0) {
		ns /= NSEC_PER_MSEC;
		*ret_ms = ns < now_ms ? now_ms - ns : 0;
		return 0;
	}
	if (value_number(text, &ms) == 0) {
		if (ms < MS_MIN || ms > INT64_MAX)
			return -EINVAL;
		*ret_ms = ms;
		return 0;
	}
	if (read_clock(text, now_ms, utc, &ms) < 0 && read_date(text, utc, &ms) < 0 &&
	    read_stamp(text, now_ms, utc, &ms) < 0)
		return -EINVAL;
	*ret_ms = ms;
	return 0;
}

void when_print(char text[WHEN_TEXT_MAX], uint64_t ms, uint64_t now_ms, bool utc)
{
	const time_t then = (time_t)(ms / 1000), now = (time_t)(now_ms / 1000);
	struct tm a, b;

	break_down(then, utc, &a);
	break_down(now, utc, &b);
	strftime(text, WHEN_TEXT_MAX,
		 a.tm_yday == b.tm_yday && a.tm_year == b.tm_year ? "%H:%M:%S" : "%F %H:%M:%S", &a);
}
