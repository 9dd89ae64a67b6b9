/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "exporter/notify.h"
#include "exporter/log.h"
#include "exporter/util.h"

bool notify_try(const char *state)
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
