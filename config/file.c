/* SPDX-License-Identifier: Apache-2.0 */
/* The file of a configuration: opened without waiting for anybody, and trusted only if nobody else can write it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include "config/yaml.h"

#define LINKS_MAX 40 /* as the kernel follows */

static int wrong_file(struct problems *problems, const char *path, const char *what)
{
	problems_error(problems, "%s: %s", path, what);
	return -EINVAL;
}

static int check_status(const struct stat *status, const char *path, struct problems *problems)
{
	if (S_ISDIR(status->st_mode))
		return wrong_file(problems, path, "a folder; a file is needed");
	if (!S_ISREG(status->st_mode))
		return wrong_file(problems, path, "a pipe, socket or device; a file is needed");
	if (geteuid() != 0)
		return 0;
	if (status->st_uid != 0) {
		problems_error(
			problems,
			"%s: belongs to user %u, who could change what root runs; chown root it",
			path, status->st_uid);
		return -EINVAL;
	}
	if (status->st_mode & (S_IWGRP | S_IWOTH))
		return wrong_file(
			problems, path,
			"others than its owner can write it, and so change what root runs; chmod go-w it");
	return 0;
}

/* --- The way to it */

/* What has been walked, without a slash at its end but for the root, and what is left. */
struct way {
	char reached[PATH_MAX];
	char rest[PATH_MAX];
	unsigned int links;
	const char *path; /* of the file, for messages */
	struct problems *problems;
};

/* A file system that is mounted to be read alone changes for nobody here, as that of a ConfigMap, whose folder is 0777. */
static bool is_read_only(const char *path)
{
	struct statvfs status;

	return statvfs(path, &status) == 0 && status.f_flag & ST_RDONLY;
}

/* In a sticky folder everybody makes files, but what is root's stays as it is. */
static int check_folder(const struct way *w, const struct stat *status)
{
	bool others = status->st_uid != 0 ||
		      (status->st_mode & (S_IWGRP | S_IWOTH) && !(status->st_mode & S_ISVTX));

	if (!others || is_read_only(w->reached))
		return 0;
	problems_error(w->problems,
		       "%s: others than root can change the folder '%s', and so what root runs",
		       w->path, w->reached);
	return -EINVAL;
}

static int check_link(const struct way *w, const char *link, const struct stat *status)
{
	if (status->st_uid == 0 || is_read_only(w->reached))
		return 0;
	problems_error(w->problems,
		       "%s: the link '%s' belongs to user %u, who could change what root runs",
		       w->path, link, status->st_uid);
	return -EINVAL;
}

/* What the link says comes before the rest.  -errno. */
static int follow(struct way *w, const char *link)
{
	char target[PATH_MAX], rest[PATH_MAX];
	ssize_t length = readlink(link, target, sizeof(target) - 1);

	if (length < 0)
		return -ESTALE; /* it is no link any more */
	target[length] = '\0';
	if (++w->links > LINKS_MAX)
		return -ELOOP;
	if (*target == '/')
		snprintf(w->reached, sizeof(w->reached), "/");
	if (snprintf(rest, sizeof(rest), "%s/%s", target, w->rest) >= (int)sizeof(rest))
		return -ENAMETOOLONG;
	memcpy(w->rest, rest, sizeof(rest));
	return 0;
}

/*
 * The next name.  0: the way ends here, or where something is missing, which open() says; 1: there is more; -EINVAL after
 * a problem was added; other -errno.
 */
static int step(struct way *w)
{
	char next[2 * PATH_MAX], name[NAME_MAX + 1];
	size_t slashes = strspn(w->rest, "/"), length = strcspn(w->rest + slashes, "/");
	struct stat status;
	int r;

	if (stat(w->reached, &status) < 0 || !S_ISDIR(status.st_mode))
		return 0;
	r = length ? check_folder(w, &status) : 0;
	if (r < 0 || !length)
		return r;
	if (length > NAME_MAX)
		return -ENAMETOOLONG;
	snprintf(name, sizeof(name), "%.*s", (int)length, w->rest + slashes);
	memmove(w->rest, w->rest + slashes + length, strlen(w->rest + slashes + length) + 1);
	snprintf(next, sizeof(next), "%s%s%s", w->reached, strcmp(w->reached, "/") ? "/" : "",
		 name);
	if (lstat(next, &status) < 0)
		return 0;
	if (S_ISLNK(status.st_mode)) {
		r = check_link(w, next, &status) ?: follow(w, next);
		return r < 0 ? r : 1;
	}
	if (strlen(next) >= sizeof(w->reached))
		return -ENAMETOOLONG;
	memcpy(w->reached, next, strlen(next) + 1);
	return 1;
}

/* Whoever can put another file or link in the place of one on the way decides what root reads. */
static int check_way(const char *path, struct problems *problems)
{
	struct way w = {.path = path, .problems = problems};
	int r;

	if (geteuid() != 0)
		return 0;
	snprintf(w.reached, sizeof(w.reached), *path == '/' ? "/" : ".");
	if (snprintf(w.rest, sizeof(w.rest), "%s", path) >= (int)sizeof(w.rest))
		return wrong_file(problems, path, strerror(ENAMETOOLONG));
	while ((r = step(&w)) > 0)
		;
	return r == 0 || r == -EINVAL ? r : wrong_file(problems, path, strerror(-r));
}

/* --- The file */

/* Up to one octet more than there may be, so that more is noticed; *ret_size: of what there is. */
static int read_all(int fd, char *text, size_t *ret_size)
{
	size_t size = 0;
	ssize_t r;

	while (size <= CONFIG_TEXT_MAX) {
		r = read(fd, text + size, CONFIG_TEXT_MAX + 1 - size);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		size += (size_t)r;
	}
	*ret_size = size;
	return 0;
}

int config_read_file(struct config *config, const char *path, struct problems *problems)
{
	/* A FIFO without a writer does not keep it waiting, and a terminal does not become its own. */
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	_cleanup_(freep) char *text = NULL;
	struct stat status, after;
	size_t size = 0;
	int r;

	if (fd < 0 || fstat(fd, &status) < 0)
		return wrong_file(problems, path, strerror(errno));
	r = check_way(path, problems) ?: check_status(&status, path, problems);
	if (r < 0)
		return r;
	text = malloc(CONFIG_TEXT_MAX + 1);
	if (!text)
		return -ENOMEM;
	r = read_all(fd, text, &size);
	if (r < 0)
		return wrong_file(problems, path, strerror(-r));
	if (fstat(fd, &after) < 0 || after.st_size != status.st_size ||
	    timespec_ns(&after.st_mtim) != timespec_ns(&status.st_mtim))
		return wrong_file(problems, path, "was written while it was read");
	return config_read_yaml(config, path, text, size, problems);
}
