/* SPDX-License-Identifier: Apache-2.0 */
/*
 * On a terminal the cursor rests above the picture, on a line that is left free: a message on stderr
 * comes there and stays, and the next picture is drawn below it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "exporter/observe/screen.h"

struct screen {
	int fd;
	bool own_fd, terminal;
	bool file_only;	    /* a file, which has room */
	int error;	    /* -errno of the last write */
	unsigned int drawn; /* lines below the cursor */
	FILE *file;	    /* what is being drawn */
	char *pending;	    /* what the reader has not taken yet */
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

int screen_new(struct screen **ret, int fd, bool in_place)
{
	_cleanup_(freep) struct screen *screen = calloc(1, sizeof(*screen));

	if (!screen)
		return -ENOMEM;
	screen->fd = reopen(fd, &screen->own_fd, &screen->file_only);
	if (screen->fd < 0)
		return screen->fd;
	screen->terminal = in_place && isatty(fd);
	*ret = TAKE_PTR(screen);
	return 0;
}

struct screen *screen_free(struct screen *screen)
{
	if (!screen)
		return NULL;
	if (screen->own_fd)
		close(screen->fd);
	fclosep(&screen->file);
	free(screen->pending);
	free(screen);
	return NULL;
}

int screen_fd(const struct screen *screen)
{
	return screen->fd;
}

int screen_error(const struct screen *screen)
{
	return screen->error;
}

struct screen_size screen_size(const struct screen *screen)
{
	struct winsize window = {0};

	if (!screen->terminal)
		return (struct screen_size){0};
	if (ioctl(screen->fd, TIOCGWINSZ, &window) < 0 || !window.ws_row || !window.ws_col)
		return (struct screen_size){.rows = 24, .columns = 80};
	return (struct screen_size){.rows = window.ws_row, .columns = window.ws_col};
}

/*
 * As write(2), EAGAIN rather than waiting.  Without a description of our own poll(2) says when a pipe has room
 * for PIPE_BUF octets.
 */
static ssize_t write_some(const struct screen *screen, const char *data, size_t size)
{
	struct pollfd poll_fd = {.fd = screen->fd, .events = POLLOUT};
	ssize_t n;

	if (screen->own_fd)
		return write(screen->fd, data, size);
	n = send(screen->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n >= 0 || errno != ENOTSOCK)
		return n;
	if (screen->file_only)
		return write(screen->fd, data, size);
	if (poll(&poll_fd, 1, 0) != 1) {
		errno = EAGAIN;
		return -1;
	}
	return write(screen->fd, data, MIN(size, (size_t)PIPE_BUF));
}

/* True when the reader has taken everything, or there is none. */
static bool write_pending(struct screen *screen)
{
	while (screen->pending_done < screen->pending_size) {
		ssize_t n = write_some(screen, screen->pending + screen->pending_done,
				       screen->pending_size - screen->pending_done);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return false;
		if (n < 0) {
			screen->error = -errno;
			screen->pending_done = screen->pending_size;
			return true;
		}
		screen->pending_done += (size_t)n;
	}
	return true;
}

FILE *screen_begin(struct screen *screen)
{
	if (!write_pending(screen))
		return NULL;
	free(TAKE_PTR(screen->pending));
	screen->pending_size = screen->pending_done = 0;
	screen->file = open_memstream(&screen->pending, &screen->pending_size);
	if (screen->file && screen->terminal)
		fprintf(screen->file, "\r\033[J\n");
	return screen->file;
}

void screen_show(struct screen *screen)
{
	fflush(screen->file);
	screen->drawn = 0;
	for (size_t i = 0; screen->terminal && i < screen->pending_size; i++)
		screen->drawn += screen->pending[i] == '\n';
	if (screen->drawn)
		fprintf(screen->file, "\033[%uA", screen->drawn);
	fclose(TAKE_PTR(screen->file));
	write_pending(screen);
}

bool screen_end(struct screen *screen, int wait_ms)
{
	struct pollfd poll_fd = {.fd = screen->fd, .events = POLLOUT};
	char down[16];

	while (!write_pending(screen))
		if (poll(&poll_fd, 1, wait_ms) != 1)
			return false;
	if (screen->drawn) {
		int length = snprintf(down, sizeof(down), "\033[%uB\r\n", screen->drawn);

		screen->drawn = 0;
		return write_some(screen, down, (size_t)length) == length;
	}
	return true;
}
