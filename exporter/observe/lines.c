/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "exporter/observe/lines.h"

struct lines {
	int fd;
	bool own_fd;
	bool file_only; /* a file, which has room */
	int error;	/* -errno of the last write */
	FILE *file;	/* what is being printed */
	char *pending;	/* what the reader has not taken yet */
	size_t pending_size, pending_done;
};

/*
 * A description of our own, for O_NONBLOCK would be shared with stderr and the shell.  A file needs
 * none: writing to it does not wait, and the offset has to stay shared.
 */
static int reopen(int fd, bool *ret_own, bool *ret_file)
{
	char path[32];
	struct stat status;
	int own = -1;

	if (fstat(fd, &status) < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (S_ISCHR(status.st_mode) || S_ISFIFO(status.st_mode))
		own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	*ret_own = own >= 0;
	*ret_file = S_ISREG(status.st_mode) || S_ISBLK(status.st_mode);
	return own >= 0 ? own : fd;
}

int lines_new(struct lines **ret, int fd)
{
	_cleanup_(freep) struct lines *lines = calloc(1, sizeof(*lines));

	if (!lines)
		return -ENOMEM;
	lines->fd = reopen(fd, &lines->own_fd, &lines->file_only);
	if (lines->fd < 0)
		return lines->fd;
	*ret = TAKE_PTR(lines);
	return 0;
}

struct lines *lines_free(struct lines *lines)
{
	if (!lines)
		return NULL;
	if (lines->own_fd)
		close(lines->fd);
	fclosep(&lines->file);
	free(lines->pending);
	free(lines);
	return NULL;
}

int lines_fd(const struct lines *lines)
{
	return lines->fd;
}

int lines_error(const struct lines *lines)
{
	return lines->error;
}

/*
 * As write(2), EAGAIN rather than waiting.  Without a description of our own poll(2) says when a pipe has room
 * for PIPE_BUF octets.
 */
static ssize_t write_some(const struct lines *lines, const char *data, size_t size)
{
	struct pollfd poll_fd = {.fd = lines->fd, .events = POLLOUT};
	ssize_t n;

	if (lines->own_fd)
		return write(lines->fd, data, size);
	n = send(lines->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n >= 0 || errno != ENOTSOCK)
		return n;
	if (lines->file_only)
		return write(lines->fd, data, size);
	if (poll(&poll_fd, 1, 0) != 1) {
		errno = EAGAIN;
		return -1;
	}
	return write(lines->fd, data, MIN(size, (size_t)PIPE_BUF));
}

/* True when the reader has taken everything, or there is none. */
static bool write_pending(struct lines *lines)
{
	while (lines->pending_done < lines->pending_size) {
		ssize_t n = write_some(lines, lines->pending + lines->pending_done,
				       lines->pending_size - lines->pending_done);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return false;
		if (n < 0) {
			lines->error = -errno;
			lines->pending_done = lines->pending_size;
			return true;
		}
		lines->pending_done += (size_t)n;
	}
	return true;
}

FILE *lines_begin(struct lines *lines)
{
	if (!write_pending(lines))
		return NULL;
	free(TAKE_PTR(lines->pending));
	lines->pending_size = lines->pending_done = 0;
	lines->file = open_memstream(&lines->pending, &lines->pending_size);
	return lines->file;
}

void lines_show(struct lines *lines)
{
	fclose(TAKE_PTR(lines->file));
	write_pending(lines);
}

bool lines_end(struct lines *lines, int wait_ms)
{
	struct pollfd poll_fd = {.fd = lines->fd, .events = POLLOUT};

	while (!write_pending(lines))
		if (poll(&poll_fd, 1, wait_ms) != 1)
			return false;
	return true;
}
