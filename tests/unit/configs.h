/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Configurations of a file: what their tests have in common.  After cmocka.h. */
#include <string.h>
#include <sys/stat.h>
#include "config/load.h"

static char folder[] = "/tmp/flowtally-config-XXXXXX";
static char path[64]; /* of the file in it */

static struct {
	struct config config;
	char text[1 << 16]; /* all problems, in lines; the path is "f" */
} got;

static inline void write_file(const char *text, size_t size)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0644), 0);
}

/* What the request says; its file is ours, if it has one. */
static inline int load(const struct config_request *request)
{
	struct problems problems = {0};
	size_t used = 0;
	int r = config_load(&got.config, request, &problems);

	got.text[0] = '\0';
	for (size_t i = 0; i < problems.count; i++) {
		const char *text = problems.list[i].text, *at;

		while ((at = strstr(text, path))) {
			used += (size_t)snprintf(got.text + used, sizeof(got.text) - used, "%.*sf",
						 (int)(at - text), text);
			text = at + strlen(path);
		}
		used += (size_t)snprintf(got.text + used, sizeof(got.text) - used, "%s\n", text);
	}
	if (problems.left_out)
		snprintf(got.text + used, sizeof(got.text) - used, "and %zu more\n",
			 problems.left_out);
	assert_int_equal(r<0, problems.errors> 0);
	problems_clear(&problems);
	return r;
}

static inline int load_text(const char *text)
{
	write_file(text, strlen(text));
	return load(&(struct config_request){.verb = VERB_RUN, .file = path, .partial = true});
}

static inline void config_done(void)
{
	config_clear(&got.config);
}

static inline int begin(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/f.yaml", folder);
	return 0;
}

static inline int end(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}
