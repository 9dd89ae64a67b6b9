/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "exporter/export/transport/finished.h"
#include "exporter/util.h"

#define NAMES_MAX   100000 /* in a folder that are looked at */
#define TRIES_MAX   1000   /* numbers in a row that others may have taken */
#define NUMBERS_MAX 64	   /* looked at by one trim */

/* Numbers have a place in their row, from 1 on: those of 7 digits, and behind them those of 18. */
#define SHORT_LAST 9999999ull
#define LONG_FIRST 100000000000000000ull
#define LONG_LAST  999999999999999999ull
#define PLACE_MAX  (SHORT_LAST + 1 + LONG_LAST - LONG_FIRST)

static uint64_t place_of(uint64_t number)
{
	return number <= SHORT_LAST ? number : number - LONG_FIRST + SHORT_LAST + 1;
}

static uint64_t number_at(uint64_t place)
{
	return place <= SHORT_LAST ? place : place - SHORT_LAST - 1 + LONG_FIRST;
}

uint64_t finished_number(const char *suffix)
{
	size_t digits = strspn(suffix, "0123456789");

	if ((digits > 7 && digits != 18) || !digits || suffix[digits] || *suffix == '0')
		return 0;
	return strtoull(suffix, NULL, 10);
}

uint64_t finished_newest(const struct finished *f)
{
	return number_at(f->last);
}

static bool name_finished(const struct finished *f, uint64_t place, char ret[PATH_MAX])
{
	int length = snprintf(ret, PATH_MAX, "%s.%" PRIu64, f->path, number_at(place));

	return length >= 0 && length < PATH_MAX;
}

/* Of a regular file of our user, with no other name. */
static bool may_be_ours(const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_uid == geteuid() && st->st_nlink == 1;
}

/*
 * Set 2 (templates) first in a message of IPFIX, or an object of JSON: each file of ours begins so.  1: ours, 0: not;
 * -errno: it could not be looked at now.
 */
static int begins_as_ours(const char *name, struct stat *ret)
{
	static const uint8_t ipfix[] = {0, 10}, templates[] = {0, 2};
	int fd = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	uint8_t head[18];
	ssize_t n;

	if (fd < 0)
		return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -errno : 0;
	n = fstat(fd, ret) == 0 && may_be_ours(ret) ? read(fd, head, sizeof(head)) : -1;
	close(fd);
	if (n < (ssize_t)sizeof(head))
		return 0;
	return !memcmp(head, "{\"", 2) ||
	       (!memcmp(head, ipfix, 2) && !memcmp(head + 16, templates, 2));
}

/* The folder of the path, which the caller closes, and the name in it. */
static DIR *open_folder(const struct finished *f, const char **ret_name)
{
	const char *slash = strrchr(f->path, '/');
	char folder[PATH_MAX];

	if (!slash || (size_t)(slash + 1 - f->path) >= sizeof(folder))
		return NULL;
	snprintf(folder, sizeof(folder), "%.*s", (int)(slash + 1 - f->path), f->path);
	*ret_name = slash + 1;
	return opendir(folder);
}

/*
 * The lowest and the highest place, `from` and up, that have files; 0: there are none.  Files that others own are left
 * out: nobody else is to choose how high our numbers are.
 */
static void find_places(const struct finished *f, uint64_t from, uint64_t *ret_lowest,
			uint64_t *ret_highest)
{
	const struct dirent *entry;
	const char *name;
	DIR *folder = open_folder(f, &name);
	struct stat st;

	*ret_lowest = *ret_highest = 0;
	if (!folder) /* numbers that are taken are found out one by one */
		return;
	for (unsigned int i = 0; i < NAMES_MAX && (entry = readdir(folder)); i++) {
		size_t length = strlen(name);
		uint64_t place;

		if (strncmp(entry->d_name, name, length) != 0 || entry->d_name[length] != '.')
			continue;
		place = place_of(finished_number(entry->d_name + length + 1));
		if (!place || place < from || place > place_of(FINISHED_FOUND_MAX) ||
		    fstatat(dirfd(folder), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !may_be_ours(&st))
			continue;
		*ret_highest = MAX(*ret_highest, place);
		*ret_lowest = *ret_lowest ? MIN(*ret_lowest, place) : place;
	}
	closedir(folder);
}

void finished_find(struct finished *f, const char *path)
{
	uint64_t lowest;

	*f = (struct finished){.path = path};
	find_places(f, 1, &lowest, &f->last);
	f->unlooked = lowest ? lowest : 1;
}

/* What another process has just put there is not overwritten either, where the file system can do that. */
static int move_file(const char *from, const char *to)
{
	struct stat st;

	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (lstat(to, &st) == 0)
		return -EEXIST;
	return rename(from, to) < 0 ? -errno : 0;
}

int finished_add(struct finished *f)
{
	char to[PATH_MAX];
	struct stat st;
	int r = -EEXIST;

	if (lstat(f->path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode)) /* /dev/stdout is one: its name is everybody's */
		return -ELOOP;
	for (unsigned int tries = 0; r == -EEXIST && tries < TRIES_MAX; tries++) {
		if (f->last >= PLACE_MAX)
			return -EOVERFLOW;
		if (!name_finished(f, f->last + 1, to))
			return -ENAMETOOLONG;
		r = move_file(f->path, to);
		if (r >= 0 || r == -EEXIST)
			f->last++;
	}
	return r;
}

/* Past a gap in the numbers, which may be as wide as a name in the folder has made it. */
static void pass_gap(struct finished *f)
{
	uint64_t lowest, highest;

	find_places(f, f->unlooked, &lowest, &highest);
	f->unlooked = lowest ? MIN(lowest, f->last + 1) : f->last + 1;
}

int finished_trim(struct finished *f, unsigned int keep, bool (*is_open)(const struct stat *st))
{
	unsigned int missing = 0;
	char name[PATH_MAX];
	struct stat st;
	bool there;
	int ours;

	for (unsigned int i = 0; i < NUMBERS_MAX && f->unlooked + keep <= f->last; i++) {
		if (!name_finished(f, f->unlooked, name))
			return -ENAMETOOLONG;
		there = lstat(name, &st) == 0;
		if (!there && errno != ENOENT)
			return -errno;
		missing += !there;
		ours = begins_as_ours(name, &st);
		if (ours < 0)
			return ours;
		if (ours && !is_open(&st) && unlink(name) < 0 && errno != ENOENT)
			return -errno;
		f->unlooked++;
	}
	if (missing == NUMBERS_MAX)
		pass_gap(f);
	return 0;
}
