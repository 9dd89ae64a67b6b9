/* SPDX-License-Identifier: Apache-2.0 */
/* What comes over the control socket under libFuzzer: each line gets whole lines of JSON for an answer, and nothing else. */
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "exporter/loop.h"
#include "exporter/observe/clients.h"
#include "exporter/observe/control_request.h"
#include "exporter/observe/ring.h"
#include "exporter/observe/snapshot.h"
#include "exporter/util.h"
#include "tests/fuzz/fuzz.h"

#define RECORDS	     50
#define STEPS_MAX    10000
#define ANSWER_MAX   (64 << 20)
#define ANSWER_BLOCK 65536

static struct loop *loop;
static struct ring *ring;
static struct snapshots *snapshots;
static struct clients *clients;

static int serve(_unused_ void *userdata)
{
	return 0;
}

static void set_up(void)
{
	struct ring_record record = {.record = {.packets = 1, .octets = 28}};
	struct snapshot *snapshot = snapshot_new();

	if (!snapshot || loop_new(&loop) < 0 || ring_new(&ring, RING_RECORDS_MIN) < 0 ||
	    snapshots_new(&snapshots) < 0)
		fuzz_require("no memory");
	snapshots_publish(snapshots, snapshot);
	snapshot_release(snapshot);
	for (uint16_t i = 0; i < RECORDS; i++) {
		record.told_ns = record.record.last_ns = (uint64_t)(i + 1) * NSEC_PER_SEC;
		record.key = (struct flow_key){.protocol = i % 2 ? 6 : 17, .src_port = i};
		ring_add(ring, &record);
	}
	ring_settle(ring);
	if (clients_new(&clients, &(struct clients_options){.ring = ring,
							    .loop = loop,
							    .snapshots = snapshots,
							    .keep_ns = UINT64_MAX,
							    .enterprise = 32473,
							    .serve = serve}) < 0)
		fuzz_require("no memory");
}

/* One line of an answer. */
static void check_line(const char *line, size_t size)
{
	json_error_t error;
	json_t *object = json_loadb(line, size, JSON_REJECT_DUPLICATES, &error);

	fuzz_require(json_is_object(object) ? NULL : "an answer that is no object");
	fuzz_require(json_object_get(object, "answer") || json_object_get(object, "record") ||
				     json_object_get(object, "error") ||
				     json_object_get(object, "end") ||
				     json_object_get(object, "missed") ||
				     json_object_get(object, "searched")
			     ? NULL
			     : "an answer of no kind");
	json_decref(object);
}

static void check_answer(const char *text, size_t size)
{
	const char *end;

	while (size) {
		end = memchr(text, '\n', size);
		fuzz_require(end ? NULL : "half a line");
		check_line(text, (size_t)(end - text));
		size -= (size_t)(end + 1 - text);
		text = end + 1;
	}
}

/* All that there is to read; false: the other side has closed. */
static bool read_some(int fd, char **text, size_t *size)
{
	char block[ANSWER_BLOCK];
	ssize_t got;

	while ((got = recv(fd, block, sizeof(block), MSG_DONTWAIT)) > 0) {
		fuzz_require(*size + (size_t)got <= ANSWER_MAX ? NULL : "an answer without an end");
		*text = realloc(*text, *size + (size_t)got);
		fuzz_require(*text ? NULL : "no memory");
		memcpy(*text + *size, block, (size_t)got);
		*size += (size_t)got;
	}
	return got < 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = NULL;
	size_t answered = 0;
	int pair[2], steps = 0;
	bool ending;

	if (!loop)
		set_up();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	clients_add(clients, pair[1]);
	(void)!send(pair[0], data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(pair[0], SHUT_WR);
	do { /* a client that follows goes at the end alone */
		ending = steps > 100;
		fuzz_require(steps++ < STEPS_MAX ? NULL : "a client that is never done");
		(void)clients_serve(clients, ending);
	} while (read_some(pair[0], &text, &answered));
	check_answer(text, answered);
	close(pair[0]);
	clients_clear(clients);
	return 0;
}

void fuzz_write_seeds(void)
{
	static const char *const requests[] = {
		"{\"version\":1,\"ask\":\"status\"}\n",
		"{\"version\":1,\"ask\":\"records\"}\n",
		"{\"version\":1,\"ask\":\"records\",\"last\":5,\"follow\":true}\n",
		"{\"version\":1,\"ask\":\"records\",\"since_ms\":20000,\"until_ms\":30000}\n",
		"{\"version\":1,\"ask\":\"records\",\"filter\":\"tcp and port 80 or packets > 1\"}\n",
		"{\"version\":2,\"ask\":\"status\"}\n{\"version\":1,\"ask\":\"status\"}\n",
		"{\"version\":1,\"ask\":\"records\",\"last\":0}\n{\"version\":1,\"ask\":\"records\"}\n",
		"{\"version\":1,\"ask\":\"top\",\"keys\":\"host,service\",\"every_ms\":100}\n",
		"{\"version\":1,\"ask\":\"records\",\"last\":9,\"since_ms\":1,\"filter\":\"port 9\"}\n",
		"[[[[[[\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
		fuzz_write_seed(i, NULL, 0, requests[i], strlen(requests[i]));
}
