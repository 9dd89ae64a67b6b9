/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/listener.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "exporter/value.h"

#define DEPTH_MAX    64 /* folders above the socket */
#define GROUPS_MAX   1024
#define SEND_OCTETS  (64 << 10) /* of the kernel's memory that a client can keep */
#define BACKLOG	     64
#define NAME_OCTETS  80 /* with room in sun_path for the descriptor of the folder */
#define GROUP_OCTETS 65536

struct listener {
	int fd;
	int folder; /* of the socket: O_PATH */
	int lock;
	gid_t gid;
	bool bound;
	char name[NAME_OCTETS]; /* in the folder */
};

_printf_(3, 4) static int fail(char why[LISTENER_WHY_MAX], int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, LISTENER_WHY_MAX, format, args);
	va_end(args);
	return error < 0 ? error : -error;
}

/* By the descriptor of the folder, so that what its path leads to by now does not matter. */
static struct sockaddr_un address_of(const struct listener *l)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", l->folder,
		 l->name);
	return address;
}

/* --- The folder. */

/* Whoever can change a folder on the way can put another socket in the place of ours. */
static int check_folder(const struct stat *status, const char *path, char why[LISTENER_WHY_MAX])
{
	if (status->st_uid != 0 && status->st_uid != geteuid())
		return fail(
			why, -EPERM,
			"a folder of '%s' belongs to user %u, who could put another socket there",
			path, status->st_uid);
	if (status->st_mode & (S_IWGRP | S_IWOTH) && !(status->st_mode & S_ISVTX))
		return fail(why, -EPERM,
			    "others than its owner can write to a folder of '%s'; chmod go-w it",
			    path);
	return 0;
}

/* The folder and those above it, as they are: no link is followed any more. */
static int check_folders(int folder, const char *path, char why[LISTENER_WHY_MAX])
{
	_cleanup_(closep) int fd = fcntl(folder, F_DUPFD_CLOEXEC, 3);
	struct stat status, above;
	int r, up;

	for (int i = 0; i < DEPTH_MAX; i++) {
		if (fd < 0 || fstat(fd, &status) < 0)
			return fail(why, errno, "'%s': %s", path, strerror(errno));
		r = check_folder(&status, path, why);
		if (r < 0)
			return r;
		up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		close(fd);
		fd = up;
		if (fd >= 0 && fstat(fd, &above) == 0 && above.st_ino == status.st_ino &&
		    above.st_dev == status.st_dev)
			return 0; /* the root */
	}
	return fail(why, -ELOOP, "'%s' is too many folders deep", path);
}

static bool is_empty(const char *folder)
{
	DIR *list = opendir(folder);
	const struct dirent *entry;
	bool empty = list != NULL;

	while (empty && (entry = readdir(list)))
		empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
	if (list)
		closedir(list);
	return empty;
}

/*
 * An empty volume of Kubernetes is a folder that everybody may write.  It was made for us: it is ours, and there is nothing
 * in it.  So others lose that right; if something has come meanwhile, it is left as it was.
 */
static void take_folder(int folder)
{
	char path[32];
	struct stat status;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", folder);
	if (fstat(folder, &status) < 0 || status.st_uid != geteuid() ||
	    !(status.st_mode & (S_IWGRP | S_IWOTH)) || status.st_mode & S_ISVTX || !is_empty(path))
		return;
	if (chmod(path, status.st_mode & 0755) == 0 && !is_empty(path))
		(void)chmod(path, status.st_mode & 07777);
}

static int open_folder(struct listener *l, const char *path, char why[LISTENER_WHY_MAX])
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');

	if (*path != '/' || !slash[1])
		return fail(why, -EINVAL, "'%s' is no absolute path of a socket", path);
	if (strlen(slash + 1) >= sizeof(l->name) || slash - path >= PATH_MAX)
		return fail(why, -ENAMETOOLONG, "'%s' is too long", path);
	snprintf(l->name, sizeof(l->name), "%s", slash + 1);
	snprintf(folder, sizeof(folder), "%.*s", MAX((int)(slash - path), 1), path);
	if (mkdir(folder, 0755) < 0 && errno != EEXIST)
		return fail(why, errno, "the folder '%s' cannot be made: %s", folder,
			    strerror(errno));
	l->folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (l->folder < 0)
		return fail(why, errno, "'%s': %s", folder, strerror(errno));
	take_folder(l->folder);
	return check_folders(l->folder, path, why);
}

/* --- Living and dead. */

/* A lock goes with its process, however that ends. */
static int take_lock(struct listener *l, const char *path, char why[LISTENER_WHY_MAX])
{
	char name[NAME_OCTETS + 8];
	struct stat status;

	snprintf(name, sizeof(name), "%s.lock", l->name);
	l->lock = openat(l->folder, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK,
			 0600);
	if (l->lock < 0)
		return fail(why, errno, "'%s.lock': %s", path, strerror(errno));
	if (fstat(l->lock, &status) < 0 || !S_ISREG(status.st_mode) || status.st_uid != geteuid())
		return fail(why, -EPERM, "'%s.lock' is not a file of this user's; remove it", path);
	if (flock(l->lock, LOCK_EX | LOCK_NB) < 0)
		return fail(why, -EADDRINUSE,
			    "another exporter that runs has '%s'; give each its own control-socket",
			    path);
	return 0;
}

/* What was left behind at our place. */
static int clear_place(const struct listener *l, const char *path, char why[LISTENER_WHY_MAX])
{
	const struct sockaddr_un address = address_of(l);
	_cleanup_(closep) int fd = -1;
	struct stat status;

	if (fstatat(l->folder, l->name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : fail(why, errno, "'%s': %s", path, strerror(errno));
	if (!S_ISSOCK(status.st_mode))
		return fail(why, -EEXIST, "'%s' is there and is no socket; remove it", path);
	if (status.st_uid != 0 && status.st_uid != geteuid())
		return fail(why, -EPERM, "'%s' is a socket of user %u's; remove it", path,
			    status.st_uid);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(why, errno, "no socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 ||
	    errno != ECONNREFUSED)
		return fail(why, -EADDRINUSE, "another program that runs listens at '%s'", path);
	if (unlinkat(l->folder, l->name, 0) < 0)
		return fail(why, errno, "'%s' of a dead process cannot be removed: %s", path,
			    strerror(errno));
	return 0;
}

/* --- The socket. */

static int find_group(struct listener *l, const char *name, char why[LISTENER_WHY_MAX])
{
	_cleanup_(freep) char *buffer = malloc(GROUP_OCTETS);
	struct group group, *found = NULL;
	uint64_t number;

	l->gid = getegid();
	if (!name)
		return 0;
	if (value_number(name, &number) == 0 && number < UINT32_MAX) {
		l->gid = (gid_t)number;
		return 0;
	}
	if (buffer && getgrnam_r(name, &group, buffer, GROUP_OCTETS, &found) == 0 && found) {
		l->gid = found->gr_gid;
		return 0;
	}
	return fail(why, -ENOENT, "there is no group '%s'; groupadd --system %s", name, name);
}

/* Nobody may connect before the group is right. */
static int listen_there(struct listener *l, const char *path, char why[LISTENER_WHY_MAX])
{
	const struct sockaddr_un address = address_of(l);

	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return fail(why, errno, "no socket: %s", strerror(errno));
	if (fchmod(l->fd, 0600) < 0 ||
	    bind(l->fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return fail(why, errno, "'%s' cannot be made: %s", path, strerror(errno));
	l->bound = true;
	if (l->gid != getegid() && fchownat(l->folder, l->name, (uid_t)-1, l->gid, 0) < 0)
		return fail(why, errno, "'%s' cannot be given to group %u: %s", path, l->gid,
			    strerror(errno));
	if (fchmodat(l->folder, l->name, 0660, 0) < 0 || listen(l->fd, BACKLOG) < 0)
		return fail(why, errno, "'%s': %s", path, strerror(errno));
	return 0;
}

int listener_new(struct listener **ret, const struct listener_options *options,
		 char why[LISTENER_WHY_MAX])
{
	_cleanup_(listener_freep) struct listener *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return fail(why, -ENOMEM, "out of memory");
	l->fd = l->folder = l->lock = -1;
	r = find_group(l, options->group, why);
	if (r == 0)
		r = open_folder(l, options->path, why);
	if (r == 0)
		r = take_lock(l, options->path, why);
	if (r == 0)
		r = clear_place(l, options->path, why);
	if (r == 0)
		r = listen_there(l, options->path, why);
	if (r == 0)
		*ret = TAKE_PTR(l);
	return r;
}

struct listener *listener_free(struct listener *l)
{
	if (!l)
		return NULL;
	if (l->bound)
		unlinkat(l->folder, l->name, 0);
	closep(&l->fd);
	closep(&l->lock);
	closep(&l->folder);
	free(l);
	return NULL;
}

int listener_fd(const struct listener *l)
{
	return l->fd;
}

/* --- Clients. */

static bool in_group(int fd, gid_t gid)
{
	gid_t groups[GROUPS_MAX];
	socklen_t size = sizeof(groups);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
		return false;
	for (size_t i = 0; i < size / sizeof(*groups); i++)
		if (groups[i] == gid)
			return true;
	return false;
}

/* The mode of the socket says the same, unless somebody changed it. */
static bool may_ask(const struct listener *l, int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return false;
	return peer.uid == 0 || peer.uid == geteuid() || peer.gid == l->gid || in_group(fd, l->gid);
}

int listener_accept(struct listener *l)
{
	_cleanup_(closep) int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	const int octets = SEND_OCTETS;

	if (fd < 0)
		return -errno;
	if (!may_ask(l, fd))
		return -EPERM;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &octets, sizeof(octets));
	return TAKE_FD(fd);
}
