/* SPDX-License-Identifier: Apache-2.0 */
/* Writes docs/configuration.md from the table of settings; a test compares the page with it. */
#include <stdio.h>
#include <string.h>
#include "config/schema.h"
#include "exporter/export/url.h"

static void print_range(const struct setting *s)
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
	case SETTING_ADDRESS:
		printf("address");
		break;
	case SETTING_PREFIX:
	case SETTING_FILE:
	case SETTING_PAIR:
		break;
	}
}

static bool is_of_collectors(const struct setting *s)
{
	for (unsigned int i = 0; url_option_name(i); i++)
		if (!strcmp(url_option_name(i), s->name))
			return true;
	return false;
}

static void print_settings(void)
{
	printf("| Key | Default | Values | Meaning |\n|-----|---------|--------|---------|\n");
	for (size_t i = 0; i < settings_count; i++) {
		const struct setting *s = &settings[i];

		if (!setting_in_file(s))
			continue;
		printf("| %s%s | %s | ", setting_key(s), is_of_collectors(s) ? " (c)" : "",
		       s->standard		 ? s->standard
		       : s->type == SETTING_FLAG ? "false"
						 : "");
		print_range(s);
		printf(" | ");
		for (const char *c = s->help; *c; c++)
			printf(*c == '|' ? "\\%c" : "%c", *c);
		printf(" |\n");
	}
}

static void print_values(void)
{
	printf("## Values\n\n"
	       "Times have a unit: 500ms, 15s, 2m, 1h. Sizes are octets, or have one: 1400, 9kB (9000), 1KiB\n"
	       "(1024). Rates are a second: 5000, 10k/s, 2M/s. A value that begins with `*`, as a glob may, is in\n"
	       "quotes.\n\n"
	       "A collector is a URL or a mapping of `url`, `name` (for the ledger), and what is marked (c)\n"
	       "below, for this collector alone. A URL can say the same behind `?`, as in\n"
	       "`ipfix://192.0.2.20?rate=10k/s`. `ipfix+tcp:` also has `retry`,\n"
	       "seconds between two attempts to connect. `file:` heeds `template` and `drops`,\n"
	       "`json:` `drops` alone.\n\n"
	       "`drops: on` or `off` of a collector says whether it gets records of drops. Without a word of it,\n"
	       "`file:` and `json:` get them, and collectors in the network when the setting `drops` is `on`:\n"
	       "most of them count such records as flows of 0 packets.\n\n");
}

int main(void)
{
	printf("<!-- Generated from config/schema.c: "
	       "ninja -C build tools/configuration.md && cp build/tools/configuration.md docs/ -->\n"
	       "# Configuration\n\n"
	       "```\n"
	       "flowtally run --config /etc/flowtally/flowtally.yaml\n"
	       "```\n\n"
	       "The file is YAML. Every long option of `flowtally run` is a key of the same name; those that can\n"
	       "be repeated are lists, `interfaces` and `collectors`.\n"
	       "[flowtally.yaml](../config/flowtally.yaml) has all keys with their defaults.\n\n"
	       "```\n"
	       "interfaces: [eth0, \"veth*\"]\n"
	       "collectors:\n"
	       "  - url: ipfix://192.0.2.20\n"
	       "    name: main\n"
	       "    template: extended\n"
	       "  - netflow9://192.0.2.21:2055\n"
	       "idle-timeout: 20s\n"
	       "```\n\n"
	       "## Who counts more\n\n"
	       "1. options, `--idle-timeout 20s`\n"
	       "2. `--set idle-timeout=20s`, with the keys of the file\n"
	       "3. variables of the environment, `FLOWTALLY_IDLE_TIMEOUT=20s`; an empty one is as good as none\n"
	       "4. the file\n"
	       "5. defaults\n\n"
	       "A list is taken whole from the first of these that gives it. In `--set` and in the environment a\n"
	       "list has blanks between its values, or is written as in the file:\n"
	       "`FLOWTALLY_INTERFACES='eth0 eth1'`,\n"
	       "`--set 'collectors=[{url: ipfix://192.0.2.20, rate: 10k/s}]'`. `flowtally replay` and\n"
	       "`flowtally drops` have options alone.\n\n");
	print_values();
	printf("## The file\n\n"
	       "It is a regular file of up to 1 MiB, UTF-8, with one document and without anchors, aliases and\n"
	       "tags. When root runs it, the file must belong to root and nobody else may write it. All mistakes\n"
	       "are told at once, and the exit status is 2:\n\n"
	       "```\n"
	       "flowtally.yaml:3:1: 'idle-timout': no such key; did you mean idle-timeout?\n"
	       "flowtally.yaml:4:9: linger '15': lacks a unit; write ms, s, m or h behind the number\n"
	       "```\n\n"
	       "| Command | |\n|---------|-|\n"
	       "| `flowtally config check FILE` | tells all mistakes |\n"
	       "| `flowtally config show [--effective] [OPTION]...` | what `run` would have with these "
	       "options, and who gave it; all settings with `--effective` |\n"
	       "| `flowtally config diff OLD NEW` | what differs; exit status 1 if anything does, as by diff(1) |\n"
	       "| `flowtally config schema` | a JSON schema (draft 7), for editors |\n"
	       "| `flowtally config example` | flowtally.yaml of this version |\n\n"
	       "## Keys\n\n");
	print_settings();
	return 0;
}
