/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include "exporter/watch.h"

#define PLACES_MAX 64 /* directories; the kernel follows 40 links */
#define READS_MAX  64 /* of 4 KiB in one call: more than that is a change, whatever it was */

/* Of a folder higher up nothing matters but that another comes into its place. */
#define MOVES (IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE)

#define CHANGES \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | \
	 IN_DELETE_SELF | IN_MOVE_SELF)

/* A name in a directory on the way. */
struct place {
	int wd;
	char name[NAME_MAX + 1];
};

struct watch {
	int fd;
	struct place places[PLACES_MAX];
	size_t count;
};

/* Where the way has come to. */
struct walk {
	char reached[PATH_MAX]; /* a directory, with a slash at its end; empty: the working directory */
	char rest[PATH_MAX];
	unsigned int links;
};

/* What is watched already is watched for both from then on. */
static int add_place(struct watch *w, const char *directory, const char *name, uint32_t events)
{
	struct place *place = &w->places[w->count];

	if (w->count == PLACES_MAX)
		return -ELOOP;
	place->wd = inotify_add_watch(w->fd, *directory ? directory : ".",
				      events | IN_MASK_ADD | IN_ONLYDIR);
	if (place->wd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	snprintf(place->name, sizeof(place->name), "%s", name);
	w->count++;
	return 0;
}

/* A folder that may be passed but not read cannot be watched, which is no reason to watch none. */
static int add_folder(struct watch *w, const char *directory, const char *name)
{
	int r = add_place(w, directory, name, MOVES);

	return r == -EACCES ? 0 : r;
}

/* Puts what the link at `path` says in front of the rest. */
static int follow(struct walk *walk, const char *path)
{
	char target[PATH_MAX], rest[PATH_MAX];
	ssize_t length = readlink(path, target, sizeof(target) - 1);

	if (length < 0)
		return -errno;
	target[length] = '\0';
	if (++walk->links > 40)
		return -ELOOP;
	if (*target == '/')
		snprintf(walk->reached, sizeof(walk->reached), "/");
	if (snprintf(rest, sizeof(rest), "%s/%s", target, walk->rest) >= (int)sizeof(rest))
		return -ENAMETOOLONG;
	memcpy(walk->rest, rest, sizeof(rest));
	return 0;
}

/* The next name of the path; 0: it ends here, 1: there is more, -errno. */
static int step(struct watch *w, struct walk *walk)
{
	char name[NAME_MAX + 1], path[PATH_MAX + NAME_MAX];
	size_t blank = strspn(walk->rest, "/"), length = strcspn(walk->rest + blank, "/");
	struct stat status;
	int r;

	if (!length)
		return 0;
	if (length > NAME_MAX)
		return -ENAMETOOLONG;
	snprintf(name, sizeof(name), "%.*s", (int)length, walk->rest + blank);
	memmove(walk->rest, walk->rest + blank + length, strlen(walk->rest + blank + length) + 1);
	snprintf(path, sizeof(path), "%s%s", walk->reached, name);
	if (lstat(path, &status) < 0) /* it may come */
		return add_place(w, walk->reached, name, CHANGES | IN_MODIFY);
	if (!S_ISDIR(status.st_mode)) {
		r = add_place(w, walk->reached, name, CHANGES | IN_MODIFY);
		if (r < 0 || !S_ISLNK(status.st_mode))
			return r;
		r = follow(walk, path);
		return r < 0 ? r : 1;
	}
	r = add_folder(w, walk->reached, name);
	if (r < 0)
		return r;
	if (snprintf(walk->reached, sizeof(walk->reached), "%s/", path) >=
	    (int)sizeof(walk->reached))
		return -ENAMETOOLONG;
	return 1;
}

int watch_new(struct watch **ret, const char *path)
{
	_cleanup_(watch_freep) struct watch *w = calloc(1, sizeof(*w));
	struct walk walk = {0};
	int r;

	if (!w)
		return -ENOMEM;
	w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->fd < 0)
		return -errno;
	if (snprintf(walk.rest, sizeof(walk.rest), "%s", path) >= (int)sizeof(walk.rest))
		return -ENAMETOOLONG;
	if (*path == '/')
		snprintf(walk.reached, sizeof(walk.reached), "/");
	while ((r = step(w, &walk)) > 0)
		;
	if (r < 0)
		return r;
	*ret = TAKE_PTR(w);
	return 0;
}

struct watch *watch_free(struct watch *w)
{
	closep(&w->fd);
	free(w);
	return NULL;
}

int watch_fd(const struct watch *w)
{
	return w->fd;
}

/* What an event says of the path. */
static enum watch_change judge(const struct watch *w, const struct inotify_event *event)
{
	if (event->mask & (IN_Q_OVERFLOW | IN_UNMOUNT | IN_DELETE_SELF | IN_MOVE_SELF))
		return WATCH_CHANGED;
	for (size_t i = 0; event->len && i < w->count; i++)
		if (w->places[i].wd == event->wd && !strcmp(w->places[i].name, event->name))
			return event->mask & CHANGES ? WATCH_CHANGED : WATCH_WRITING;
	return WATCH_NOTHING;
}

enum watch_change watch_read(struct watch *w)
{
	_Alignas(struct inotify_event) char buffer[4096];
	enum watch_change change = WATCH_NOTHING;

	for (int i = 0; i < READS_MAX; i++) {
		ssize_t size = read(w->fd, buffer, sizeof(buffer));

		if (size <= 0)
			return change;
		for (const char *p = buffer; p < buffer + size;) {
			const struct inotify_event *event = (const struct inotify_event *)p;

			change = MAX(change, judge(w, event));
			p += sizeof(*event) + event->len;
		}
	}
	return WATCH_CHANGED;
}
