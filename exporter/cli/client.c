/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/client.h"
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include "exporter/observe/text.h"

#define READ_OCTETS	65536
#define LINE_OCTETS_MAX (64 << 20) /* the status of very many interfaces */
#define CONNECT_SECONDS 5

struct client {
	int fd;
	pid_t peer;
	char *octets;
	size_t begin, end, size; /* of what has been read and not given out */
	bool over;
	char code[32];
	char refusal[CLIENT_WHY_MAX];
};

struct client *client_free(struct client *c)
{
	if (!c)
		return NULL;
	closep(&c->fd);
	free(c->octets);
	free(c);
	return NULL;
}

static void explain_permission(const char *path, char why[CLIENT_WHY_MAX])
{
	struct group *group = NULL;
	struct stat status;

	if (stat(path, &status) < 0) {
		snprintf(why, CLIENT_WHY_MAX,
			 "no permission to look for '%s'; run it as root (sudo)", path);
		return;
	}
	group = getgrgid(status.st_gid);
	snprintf(
		why, CLIENT_WHY_MAX,
		"no permission to ask at '%s', which is for root and group %s; run it as root (sudo), or "
		"be a member (control-group names another group)",
		path, group ? group->gr_name : "of an unknown name");
}

static int explain(int error, const char *path, char why[CLIENT_WHY_MAX])
{
	if (error == ENOENT || error == ENOTDIR)
		snprintf(
			why, CLIENT_WHY_MAX,
			"no exporter runs that has its socket at '%s'; start one: flowtally run "
			"--interface NAME, or systemctl start flowtally; --socket PATH names another",
			path);
	else if (error == ECONNREFUSED)
		snprintf(why, CLIENT_WHY_MAX,
			 "no exporter runs at '%s': the one that made it is dead; start one: "
			 "flowtally run --interface NAME, or systemctl start flowtally",
			 path);
	else if (error == EACCES || error == EPERM)
		explain_permission(path, why);
	else
		snprintf(why, CLIENT_WHY_MAX, "'%s': %s", path, strerror(error));
	return -error;
}

/* Nobody but root and this user can put another folder in the place of one in it. */
static bool is_kept(const struct stat *status)
{
	return (status->st_uid == 0 || status->st_uid == geteuid()) &&
	       !(status->st_mode & (S_IWGRP | S_IWOTH));
}

/* Whether the folder of the socket belongs to `uid`, and all above it to root: a service manager has given it to its user. */
static bool is_given(const char *path, uid_t uid)
{
	char folder[PATH_MAX];
	struct stat status;

	if (!realpath(path, folder))
		return false;
	for (bool own = true; *folder; own = false) {
		*strrchr(folder, '/') = '\0';
		if (stat(*folder ? folder : "/", &status) < 0 || !S_ISDIR(status.st_mode))
			return false;
		if (own && (status.st_uid != uid || status.st_mode & (S_IWGRP | S_IWOTH)))
			return false;
		if (!own && !is_kept(&status))
			return false;
	}
	return true;
}

/* Somebody else could tell us anything. */
static int check_peer(struct client *c, const char *path, char why[CLIENT_WHY_MAX])
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return explain(errno, path, why);
	if (peer.uid != 0 && peer.uid != geteuid() && !is_given(path, peer.uid)) {
		snprintf(why, CLIENT_WHY_MAX,
			 "user %u listens at '%s', who is neither root nor this user, and whose "
			 "folder others than root could have made",
			 peer.uid, path);
		return -EPERM;
	}
	c->peer = peer.pid;
	return 0;
}

static int open_socket(struct client *c, const char *path, char why[CLIENT_WHY_MAX])
{
	const struct timeval timeout = {.tv_sec = CONNECT_SECONDS};
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		return explain(ENAMETOOLONG, path, why);
	memcpy(address.sun_path, path, strlen(path) + 1);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return explain(errno, path, why);
	(void)setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(c->fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return explain(errno, path, why);
	return check_peer(c, path, why);
}

int client_open(struct client **ret, const char *path, char why[CLIENT_WHY_MAX])
{
	_cleanup_(client_freep) struct client *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return explain(ENOMEM, path, why);
	c->fd = -1;
	r = open_socket(c, path, why);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

int client_new(struct client **ret, int fd)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	c->fd = fd;
	*ret = c;
	return 0;
}

pid_t client_peer(const struct client *c)
{
	return c->peer;
}

int client_fd(const struct client *c)
{
	return c->fd;
}

const char *client_refusal_code(const struct client *c)
{
	return c->code;
}

const char *client_refusal(const struct client *c)
{
	return c->refusal;
}

int client_ask(struct client *c, json_t *request)
{
	_cleanup_(freep) char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	size_t size, sent = 0;
	ssize_t r;

	json_decref(request);
	if (!text)
		return -ENOMEM;
	size = strlen(text);
	text[size++] = '\n'; /* where its end was */
	while (sent < size) {
		r = send(c->fd, text + sent, size - sent, MSG_NOSIGNAL);
		if (r < 0 && errno != EINTR)
			return -errno;
		sent += r > 0 ? (size_t)r : 0;
	}
	return 0;
}

static int make_room(struct client *c)
{
	size_t size = MAX(2 * c->size, (size_t)2 * READ_OCTETS);
	char *octets;

	if (c->octets && c->begin) {
		memmove(c->octets, c->octets + c->begin, c->end - c->begin);
		c->end -= c->begin;
		c->begin = 0;
	}
	if (c->size - c->end >= READ_OCTETS)
		return 0;
	octets = size <= LINE_OCTETS_MAX ? realloc(c->octets, size) : NULL;
	if (!octets)
		return -ENOMEM;
	c->octets = octets;
	c->size = size;
	return 0;
}

/* -EAGAIN: nothing came. */
static int read_more(struct client *c, int timeout_ms)
{
	struct pollfd poll_fd = {.fd = c->fd, .events = POLLIN};
	int r = make_room(c);
	ssize_t got;

	if (r < 0)
		return r;
	r = poll(&poll_fd, 1, timeout_ms);
	if (r <= 0)
		return r < 0 && errno != EINTR ? -errno : -EAGAIN;
	got = recv(c->fd, c->octets + c->end, c->size - c->end, 0);
	if (got < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	c->over = got == 0;
	c->end += (size_t)got;
	return 0;
}

static int take_refusal(struct client *c, const json_t *error)
{
	const char *code = json_string_value(json_object_get(error, "code"));
	const char *text = json_string_value(json_object_get(error, "text"));

	snprintf(c->code, sizeof(c->code), "%s", code ? code : "");
	snprintf(c->refusal, sizeof(c->refusal), "%s", text ? text : "the exporter refused");
	text_make_printable(c->refusal);
	return -EINVAL;
}

static int take_line(struct client *c, size_t size, json_t **ret)
{
	json_t *object = json_loadb(c->octets + c->begin, size, 0, NULL);
	const json_t *error = json_object_get(object, "error");
	int r;

	c->begin += size + 1;
	if (!json_is_object(object) || error) {
		r = error ? take_refusal(c, error) : -EPROTO;
		json_decref(object);
		return r;
	}
	*ret = object;
	return 0;
}

int client_read(struct client *c, int timeout_ms, json_t **ret)
{
	size_t searched = 0;
	char *end;
	int r;

	for (;;) {
		end = c->octets ? memchr(c->octets + c->begin + searched, '\n',
					 c->end - c->begin - searched)
				: NULL;
		if (end)
			return take_line(c, (size_t)(end - c->octets) - c->begin, ret);
		if (c->over)
			return -ENODATA;
		searched = c->end - c->begin;
		r = read_more(c, timeout_ms);
		if (r < 0)
			return r;
	}
}
