/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "exporter/cli/read_next.h"
#include "exporter/export/transport/finished.h"
#include "exporter/util.h"

struct place {
	char folder[PATH_MAX];
	const char *name; /* in the folder */
};

static bool find_place(const char *path, struct place *ret)
{
	const char *slash = strrchr(path, '/');

	ret->name = slash ? slash + 1 : path;
	if ((size_t)(ret->name - path) >= sizeof(ret->folder))
		return false;
	if (slash)
		snprintf(ret->folder, sizeof(ret->folder), "%.*s", (int)(ret->name - path), path);
	else
		snprintf(ret->folder, sizeof(ret->folder), ".");
	return true;
}

/* 0: it is no name of a finished file. */
static uint64_t number_of(const struct place *p, const char *name)
{
	size_t length = strlen(p->name);

	if (strncmp(name, p->name, length) != 0 || name[length] != '.')
		return 0;
	return finished_number(name + length + 1);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The number that the open file has now; 0: none. */
static uint64_t find_number(const struct place *p, DIR *folder, const struct stat *open_file)
{
	const struct dirent *entry;
	struct stat st;

	while ((entry = readdir(folder)))
		if (number_of(p, entry->d_name) &&
		    fstatat(dirfd(folder), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    same_file(&st, open_file))
			return number_of(p, entry->d_name);
	return 0;
}

static bool is_newer(const struct stat *a, const struct stat *b)
{
	return a->st_mtim.tv_sec != b->st_mtim.tv_sec ? a->st_mtim.tv_sec > b->st_mtim.tv_sec
						      : a->st_mtim.tv_nsec >= b->st_mtim.tv_nsec;
}

/* The next higher number of a file that is newer; 0: none. */
static uint64_t find_higher(const struct place *p, DIR *folder, uint64_t than,
			    const struct stat *open_file)
{
	const struct dirent *entry;
	uint64_t lowest = 0, number;
	struct stat st;

	rewinddir(folder);
	while ((entry = readdir(folder))) {
		number = number_of(p, entry->d_name);
		if (number > than && (!lowest || number < lowest) &&
		    fstatat(dirfd(folder), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode) && is_newer(&st, open_file))
			lowest = number;
	}
	return lowest;
}

/* The file finished after the open one, which may have been deleted by now; -ENOENT: there is none. */
static int open_finished(const struct place *p, DIR *folder, const struct stat *open_file)
{
	uint64_t number;
	char name[NAME_MAX + 1];
	int fd;

	rewinddir(folder);
	number = find_higher(p, folder, find_number(p, folder, open_file), open_file);
	if (!number ||
	    snprintf(name, sizeof(name), "%s.%" PRIu64, p->name, number) >= (int)sizeof(name))
		return -ENOENT;
	fd = openat(dirfd(folder), name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

int read_next(const char *path, int fd)
{
	int next, finished = -ENOENT;
	struct stat old;
	struct place p;
	DIR *folder;

	if (fstat(fd, &old) < 0)
		return -errno;
	folder = find_place(path, &p) ? opendir(p.folder) : NULL;
	if (folder)
		finished = open_finished(&p, folder, &old);
	next = finished < 0 ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY) : -1;
	if (next < 0 && finished < 0)
		next = -errno;
	/* Meanwhile another may have ended, and what has just been opened is behind that. */
	if (folder && finished < 0)
		finished = open_finished(&p, folder, &old);
	if (folder)
		closedir(folder);
	if (finished < 0)
		return next;
	closep(&next);
	return finished;
}
