/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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

static bool name_finished(const struct finished *f, unsigned int number, char ret[PATH_MAX])
{
	int length = snprintf(ret, PATH_MAX, "%s.%u", f->path, number);

	return length >= 0 && length < PATH_MAX;
}

/* Of a regular file of our user, with no other name. */
static bool may_be_ours(const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_uid == geteuid() && st->st_nlink == 1;
}

/* Set 2 (templates) first in a message of IPFIX, or an object of JSON: each file of ours begins so. */
static bool begins_as_ours(const char *name)
{
	static const uint8_t ipfix[] = {0, 10}, templates[] = {0, 2};
	int fd = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	uint8_t head[18];
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return false;
	n = fstat(fd, &st) == 0 && may_be_ours(&st) ? read(fd, head, sizeof(head)) : -1;
	close(fd);
	if (n < (ssize_t)sizeof(head))
		return false;
	return !memcmp(head, "{\"", 2) ||
	       (!memcmp(head, ipfix, 2) && !memcmp(head + 16, templates, 2));
}

/* 0: the name is no number as we write it. */
static unsigned int number_of(const char *suffix)
{
	size_t digits = strspn(suffix, "0123456789");

	if (!digits || digits > 7 || suffix[digits] || *suffix == '0')
		return 0;
	return (unsigned int)strtoul(suffix, NULL, 10);
}

/* Numbers of files that others own are left out: nobody else is to choose how high ours are. */
static void find_in(struct finished *f, DIR *folder, const char *name)
{
	size_t length = strlen(name);
	const struct dirent *entry;
	unsigned int lowest = 0, number;
	struct stat st;

	for (unsigned int i = 0; i < NAMES_MAX && (entry = readdir(folder)); i++) {
		if (strncmp(entry->d_name, name, length) != 0 || entry->d_name[length] != '.')
			continue;
		number = number_of(entry->d_name + length + 1);
		if (!number ||
		    fstatat(dirfd(folder), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !may_be_ours(&st))
			continue;
		f->last = MAX(f->last, number);
		lowest = lowest ? MIN(lowest, number) : number;
	}
	f->unlooked = lowest ? lowest : 1;
}

void finished_find(struct finished *f, const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];
	DIR *names;

	*f = (struct finished){.path = path, .unlooked = 1};
	if (!slash || (size_t)(slash + 1 - path) >= sizeof(folder))
		return;
	snprintf(folder, sizeof(folder), "%.*s", (int)(slash + 1 - path), path);
	names = opendir(folder);
	if (!names) /* numbers that are taken are found out one by one */
		return;
	find_in(f, names, slash + 1);
	closedir(names);
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
		if (f->last >= FINISHED_NUMBER_MAX)
			return -EOVERFLOW;
		if (!name_finished(f, f->last + 1, to))
			return -ENAMETOOLONG;
		r = move_file(f->path, to);
		if (r >= 0 || r == -EEXIST)
			f->last++;
	}
	return r < 0 ? r : (int)f->last;
}

int finished_trim(struct finished *f, unsigned int keep)
{
	char name[PATH_MAX];
	struct stat st;

	for (unsigned int i = 0; i < NUMBERS_MAX && f->unlooked + keep <= f->last; i++) {
		if (!name_finished(f, f->unlooked, name))
			return -ENAMETOOLONG;
		if (lstat(name, &st) < 0 && errno != ENOENT)
			return -errno;
		if (begins_as_ours(name) && unlink(name) < 0 && errno != ENOENT)
			return -errno;
		f->unlooked++;
	}
	return 0;
}
