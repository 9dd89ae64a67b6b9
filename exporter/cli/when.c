/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/when.h"
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

/* What follows seconds: ".123" */
static const char *skip_fraction(const char *text)
{
	if (*text == '.')
		text += 1 + strspn(text + 1, "0123456789");
	return text;
}

static int read_date(const char *text, bool utc, uint64_t *ret_ms)
{
	static const char *const forms[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S",
					    "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d"};

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		struct tm tm = {0};
		const char *rest = strptime(text, forms[i], &tm);

		if (rest && read_zone(skip_fraction(rest), utc, &tm, ret_ms) == 0)
			return 0;
	}
	return -EINVAL;
}

/* Today, or where that is still to come yesterday: a day may have 23 or 25 hours. */
static int read_clock(const char *text, uint64_t now_ms, bool utc, uint64_t *ret_ms)
{
	static const char *const forms[] = {"%H:%M:%S", "%H:%M"};
	const time_t now = (time_t)(now_ms / 1000);

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		struct tm clock = {0}, day;
		const char *rest = strptime(text, forms[i], &clock);
		time_t time = -1;

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
		*ret_ms = (uint64_t)time * 1000;
		return 0;
	}
	return -EINVAL;
}

int when_parse(const char *text, uint64_t now_ms, bool utc, uint64_t *ret_ms)
{
	uint64_t ns, ms;

	if (value_duration(text, &ns) == 0) {
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
	if (read_clock(text, now_ms, utc, &ms) < 0 && read_date(text, utc, &ms) < 0)
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
