/* SPDX-License-Identifier: Apache-2.0 */
/* Files of collectors: which are the same, and whether what has ended of one would be taken for another. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "config/set.h"
#include "exporter/export/url.h"

/* Where something is written or read. */
struct place {
	struct stat status;	 /* of the file, or of the folder it is to be made in */
	char name[NAME_MAX + 1]; /* of the file in that folder; empty: the file exists */
};

/* The name of an absolute path in its folder, whether there is such a file or not. */
static bool find_name(const char *path, struct place *ret)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];

	if ((size_t)(slash + 1 - path) >= sizeof(folder) || strlen(slash + 1) > NAME_MAX)
		return false;
	snprintf(ret->name, sizeof(ret->name), "%s", slash + 1);
	snprintf(folder, sizeof(folder), "%.*s", (int)(slash + 1 - path), path);
	return stat(folder, &ret->status) == 0;
}

/* Of an absolute path. */
static bool find_path(const char *path, struct place *ret)
{
	*ret->name = '\0';
	return stat(path, &ret->status) == 0 || find_name(path, ret);
}

/* False for a collector in the network. */
static bool find_collector(const char *url, struct place *ret)
{
	struct collector_url parsed;
	char why[URL_WHY_MAX];

	if (url_parse(url, &parsed, why) < 0 || url_in_network(&parsed))
		return false;
	if (*parsed.path)
		return find_path(parsed.path, ret);
	*ret->name = '\0';
	return fstat(STDOUT_FILENO, &ret->status) == 0;
}

static bool same(const struct place *a, const struct place *b)
{
	return a->status.st_dev == b->status.st_dev && a->status.st_ino == b->status.st_ino &&
	       !strcmp(a->name, b->name);
}

bool config_share_file(const char *url, const char *other)
{
	struct place a, b;

	if (!find_collector(url, &a) || !find_collector(other, &b) || !same(&a, &b))
		return false;
	return !S_ISCHR(a.status.st_mode) || (!strcmp(url, "json:-") && !strcmp(other, "json:-"));
}

bool config_overwrites(const char *url, const char *file)
{
	struct place output, input = {.name = ""};
	bool found = !strcmp(file, "-") ? fstat(STDIN_FILENO, &input.status) == 0
					: stat(file, &input.status) == 0;

	return found && S_ISREG(input.status.st_mode) && find_collector(url, &output) &&
	       same(&output, &input);
}

const char *config_cannot_rotate(const char *url)
{
	struct collector_url parsed;
	char why[URL_WHY_MAX];
	struct stat st;

	if (url_parse(url, &parsed, why) < 0 || url_in_network(&parsed) ||
	    (!parsed.options.rotate_ns && !parsed.options.rotate_size))
		return NULL;
	if (!*parsed.path)
		return "is standard output";
	if (lstat(parsed.path, &st) < 0 || S_ISREG(st.st_mode))
		return NULL;
	return S_ISLNK(st.st_mode) ? "is a symbolic link" : "is no regular file";
}

/* Whether it is the other with a dot and a number. */
static bool is_numbered(const char *name, const char *other)
{
	size_t length = strlen(other);

	return length && !strncmp(name, other, length) && name[length] == '.' && name[length + 1] &&
	       !name[length + 1 + strspn(name + length + 1, "0123456789")];
}

static bool is_finished_path(const char *path, const char *other)
{
	struct place a, b;

	return is_numbered(path, other) ||
	       (find_name(path, &a) && find_name(other, &b) && a.status.st_dev == b.status.st_dev &&
		a.status.st_ino == b.status.st_ino && is_numbered(a.name, b.name));
}

/* What is written is what a symbolic link leads to, and what is deleted is what has the name. */
bool config_is_finished_name(const char *url, const char *other)
{
	struct collector_url a, b;
	char why[URL_WHY_MAX], target[PATH_MAX];

	if (url_parse(url, &a, why) < 0 || url_parse(other, &b, why) < 0 || !*a.path || !*b.path ||
	    !b.options.keep)
		return false;
	return is_finished_path(a.path, b.path) ||
	       (realpath(a.path, target) && is_finished_path(target, b.path));
}
