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

/* Where the manager listens; 0: there is none. */
static socklen_t find_manager(struct sockaddr_un *ret)
{
	const char *path = getenv("NOTIFY_SOCKET");

	if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof(ret->sun_path))
		return 0;
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret->sun_path, path, strlen(path));
	if (*path == '@')
		ret->sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
}

void notifier_open(struct notifier *n)
{
	struct sockaddr_un address;

	*n = (struct notifier){.fd = -1};
	if (!find_manager(&address))
		return;
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (n->fd < 0)
		log_errno(LOG_WARNING, errno, "cannot notify the service manager");
}

void notifier_close(struct notifier *n)
{
	closep(&n->fd);
	n->fd = -1;
}

/* False: the manager does not read, tell it again later. */
static bool try(const struct notifier *n, const char *state)
{
	struct sockaddr_un address;
	const socklen_t length = find_manager(&address);

	if (!length || n->fd < 0 ||
	    sendto(n->fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
		   length) >= 0)
		return true;
	if (errno == EAGAIN) /* its queue is full */
		return false;
	log_errno(LOG_WARNING, errno, "cannot notify the service manager at '%s'",
		  getenv("NOTIFY_SOCKET"));
	return true;
}

static void drop_first(struct notifier *n)
{
	n->count--;
	memmove(n->waiting[0], n->waiting[1], n->count * sizeof(n->waiting[0]));
}

void notifier_tell_again(struct notifier *n)
{
	while (n->count && try(n, n->waiting[0]))
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
		(void)try(n, "WATCHDOG=1");
}
