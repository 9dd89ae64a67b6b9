/* SPDX-License-Identifier: Apache-2.0 */
/* filter_page PAGE: what docs/filter.md shows is so.  Its examples are taken or refused as it says, its flags are all. */
#include <stdbool.h>
#include <string.h>
#include "exporter/observe/record_filter.h"
#include "exporter/observe/record_flags.h"

static unsigned int mistakes;

static void check_taken(const char *line)
{
	struct record_filter *filter = NULL;
	char error[FILTER_ERROR_MAX];

	if (record_filter_new(&filter, line, error) < 0) {
		fprintf(stderr, "%s\n  is refused: %s\n", line, error);
		mistakes++;
	}
	record_filter_freep(&filter);
}

static void check_refused(const char *line, const char *message)
{
	struct record_filter *filter = NULL;
	char error[FILTER_ERROR_MAX];

	if (record_filter_new(&filter, line, error) == 0 || strcmp(error, message) != 0) {
		fprintf(stderr, "%s\n  says \"%s\"\n  not  \"%s\"\n", line, error, message);
		mistakes++;
	}
	record_filter_freep(&filter);
}

static void check_flags(const char *page)
{
	char row[256], letter[16];

	for (size_t i = 0; i < record_flag_count; i++) {
		const struct record_flag *flag = &record_flags[i];

		if (!flag->expression)
			continue;
		snprintf(letter, sizeof(letter), "`-%c`, ", flag->letter);
		snprintf(row, sizeof(row), "\n| %s`--%s%s%s` | `%s` |\n",
			 flag->letter ? letter : "", flag->name, flag->argument ? " " : "",
			 flag->argument ? flag->argument : "", flag->expression);
		if (!strstr(page, row)) {
			fprintf(stderr, "there is no row of --%s:%s", flag->name, row);
			mistakes++;
		}
	}
}

/* Returns how many examples there are. */
static unsigned int check_examples(char *page)
{
	enum {
		TEXT,
		TAKEN,
		REFUSED
	} block = TEXT;
	const char *before = NULL;
	unsigned int count = 0;
	char *line;

	while ((line = strsep(&page, "\n"))) {
		if (!strncmp(line, "```", 3)) {
			block = !strcmp(line, "```filter")    ? TAKEN
				: !strcmp(line, "```refused") ? REFUSED
							      : TEXT;
			continue;
		}
		count += block != TEXT;
		if (block == TAKEN)
			check_taken(line);
		if (block == REFUSED && before)
			check_refused(before, line);
		before = block == REFUSED && !before ? line : NULL;
	}
	return count;
}

int main(int argc, char **argv)
{
	static char page[65536];
	FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;

	if (!file) {
		perror(argc == 2 ? argv[1] : "filter_page PAGE");
		return 2;
	}
	page[fread(page, 1, sizeof(page) - 1, file)] = '\0';
	fclose(file);
	check_flags(page);
	if (check_examples(page) < 20) {
		fprintf(stderr, "%s: hardly any example\n", argv[1]);
		mistakes++;
	}
	return mistakes ? 1 : 0;
}
