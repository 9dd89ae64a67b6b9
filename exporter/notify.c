/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "exporter/notify.h"
#include "exporter/log.h"
#include "exporter/util.h"
#include "exporter/value.h"

/* False: the manager does not read, tell it again later. */
static bool try(const char *state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	_cleanup_(closep) int fd = -1;
	size_t length;

	if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof(address.sun_path))
		return true;
	length = offsetof(struct sockaddr_un, sun_path) + strlen(path);
	memcpy(address.sun_path, path, strlen(path));
	if (*path == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
			      (socklen_t)length) >= 0)
		return true;
	if (fd >= 0 && errno == EAGAIN) /* its queue is full */
		return false;
	log_errno(LOG_WARNING, errno, "cannot notify the service manager at '%s'", path);
	return true;
}

static void drop_first(struct notifier *n)
{
	n->count--;
	memmove(n->waiting[0], n->waiting[1], n->count * sizeof(n->waiting[0]));
}

void notifier_tell_again(struct notifier *n)
{
	while (n->count && try(n->waiting[0]))
		drop_first(n);
}

void notifier_tell(struct notifier *n, const char *state)
{
	if (n->count == NOTIFY_ROOM)
		drop_first(n);
	snprintf(n->waiting[n->count++], NOTIFY_MAX, "%s", state);
	notifier_tell_again(n);
}

void notifier_tell_reloading(struct notifier *n)
{
	char state[NOTIFY_MAX];

	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%llu",
		 (unsigned long long)(clock_ns(CLOCK_MONOTONIC) / 1000));
	notifier_tell(n, state);
}

uint64_t notifier_watchdog_ns(void)
{
	const char *period = getenv("WATCHDOG_USEC"), *whose = getenv("WATCHDOG_PID");
	uint64_t usec, pid;

	if (!period || value_number(period, &usec) < 0 || usec > UINT64_MAX / 1000)
		return 0;
	if (whose && (value_number(whose, &pid) < 0 || pid != (uint64_t)getpid()))
		return 0;
	return usec * 1000;
}

void notifier_tell_alive(struct notifier *n)
{
	notifier_tell_again(n);
	if (!n->count)
		(void)try("WATCHDOG=1");
}
