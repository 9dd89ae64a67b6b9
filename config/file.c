/* SPDX-License-Identifier: Apache-2.0 */
/* The file of a configuration: opened without waiting for anybody, and trusted only if nobody else can write it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include "config/yaml.h"

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
	r = check_status(&status, path, problems);
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
