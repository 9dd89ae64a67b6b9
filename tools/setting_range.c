/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/setting_range.h"
#include <stdio.h>
#include "exporter/value.h"

void setting_range_print(const struct setting *s)
{
	char min[VALUE_TEXT_MAX], max[VALUE_TEXT_MAX], words[SETTING_WORDS_MAX];

	switch (s->type) {
	case SETTING_FLAG:
		printf("true, false");
		break;
	case SETTING_DURATION:
		value_print_duration(min, s->min);
		value_print_duration(max, s->max);
		printf("time, %s to %s", min, max);
		break;
	case SETTING_NUMBER:
	case SETTING_SIZE:
	case SETTING_RATE:
	case SETTING_LIMIT:
		printf("%s, %llu to %llu%s",
		       s->type == SETTING_NUMBER ? "number"
		       : s->type == SETTING_SIZE ? "size"
						 : "rate",
		       (unsigned long long)s->min, (unsigned long long)s->max,
		       s->type == SETTING_LIMIT ? ", or off" : "");
		break;
	case SETTING_WORD:
		printf("%s", setting_words(s, words));
		break;
	case SETTING_FEATURES:
		printf("with commas: %s", setting_words(s, words));
		break;
	case SETTING_INTERFACES:
		printf("list of names and globs");
		break;
	case SETTING_COLLECTORS:
		printf("list of URLs and mappings");
		break;
	case SETTING_REASONS:
	case SETTING_TEMPLATE:
		printf("names, with commas");
		break;
	case SETTING_FOLDER:
		printf("absolute path");
		break;
	case SETTING_SOCKET:
		printf("absolute path, or off");
		break;
	case SETTING_GROUP:
		printf("name or number of a group");
		break;
	case SETTING_LISTEN:
		printf("address and port, or off");
		break;
	case SETTING_ADDRESS:
		printf("address");
		break;
	case SETTING_PREFIX:
	case SETTING_FILE:
	case SETTING_PAIR:
		break;
	}
}
