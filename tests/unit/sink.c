/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <arpa/inet.h>
#include <cmocka.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include "exporter/export/fields.h"
#include "exporter/export/wire.h"
#include "exporter/loop.h"
#include "tests/unit/sink.h"

#define SINK_BYTES (SINK_MESSAGES * 1500)

bool sink_open(struct sink *s, const char *address, uint16_t port)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	bool ipv6 = inet_pton(AF_INET6, address, &v6.sin6_addr) == 1;
	int room = 16 * 1024 * 1024;
	socklen_t length = sizeof(v6);

	if (!ipv6)
		assert_int_equal(inet_pton(AF_INET, address, &v4.sin_addr), 1);
	*s = (struct sink){.fd = socket(ipv6 ? AF_INET6 : AF_INET,
					SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
	if (s->fd < 0)
		return false;
	if (bind(s->fd, ipv6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4,
		 ipv6 ? sizeof(v6) : sizeof(v4)) < 0) {
		close(s->fd);
		return false;
	}
	if (setsockopt(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0)
		setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&v6, &length), 0);
	s->port = ntohs(v6.sin6_port); /* at the same place in both families */
	s->bytes = malloc(SINK_BYTES);
	assert_non_null(s->bytes);
	return true;
}

void sink_close(struct sink *s)
{
	close(s->fd);
	free(s->bytes);
	s->bytes = NULL;
}

static unsigned int record_length(uint16_t set)
{
	for (unsigned int t = 0; t < _TEMPLATE_MAX; t++)
		if (flow_templates[t].id == set)
			return flow_templates[t].length;
	fail_msg("set %u is of no template", set);
	return 0;
}

/* A message has one set, without padding. */
static void take(struct sink *s, const uint8_t *m, size_t length)
{
	uint16_t set = wire_load16(m + 16), set_length = wire_load16(m + 18);
	unsigned int record;

	assert_int_equal(wire_load16(m), 10);
	assert_int_equal(wire_load16(m + 2), length);
	assert_int_equal(set_length, length - 16);
	s->gap |= wire_load32(m + 8) != s->sequence;
	s->count++;
	s->longest = MAX(s->longest, (uint16_t)length);
	if (set == 2) {
		s->templates++;
		return;
	}
	s->data_first |= !s->templates;
	record = record_length(set);
	assert_true(set_length > 4);
	assert_int_equal((set_length - 4) % record, 0);
	s->records += (set_length - 4) / record;
	s->sequence = wire_load32(m + 8) + (set_length - 4) / record;
}

void sink_read(struct sink *s)
{
	struct sockaddr_in6 from = {0};
	socklen_t length = sizeof(from);
	ssize_t n;

	while ((n = recvfrom(s->fd, s->bytes + s->used, SINK_BYTES - s->used, 0,
			     (struct sockaddr *)&from, &length)) >= 20) {
		s->peer = ntohs(from.sin6_port);
		take(s, s->bytes + s->used, (size_t)n);
		s->used += (size_t)n;
	}
	assert_int_equal(n, -1);
}

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

void sink_talk(struct sink *s, unsigned int count)
{
	struct sockaddr_in to = loopback(s->peer);
	char data[1000] = "";

	for (unsigned int i = 0; i < count; i++)
		assert_int_equal(sendto(s->fd, data, sizeof(data), 0, (struct sockaddr *)&to,
					sizeof(to)),
				 sizeof(data));
}

/* RFC 1071; the length is even. */
static uint16_t checksum(const uint8_t *data, size_t size)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < size; i += 2)
		sum += wire_load16(data + i);
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t) ~(sum + (sum >> 16));
}

bool sink_refuse(const struct sink *s, uint32_t sequence, uint16_t set, unsigned int quoted)
{
	struct sockaddr_in to = loopback(0);
	/* ICMP header of 8 octets, then what it quotes: IPv4 header, UDP header, message. */
	uint8_t icmp[8 + 20 + 8 + 20] = {
		[0] = 3, [1] = 3, [8] = 0x45, [8 + 8] = 64, [8 + 9] = IPPROTO_UDP};
	size_t size = 8 + 20 + 8 + quoted;
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);

	if (fd < 0)
		return false;
	wire_store16(icmp + 8 + 2, 20 + 8 + 20);
	wire_store32(icmp + 8 + 12, INADDR_LOOPBACK);
	wire_store32(icmp + 8 + 16, INADDR_LOOPBACK);
	wire_store16(icmp + 28, s->peer);
	wire_store16(icmp + 30, s->port);
	wire_store16(icmp + 32, 8 + 20);
	wire_store32(icmp + 36 + 8, sequence);
	wire_store16(icmp + 36 + 16, set);
	wire_store16(icmp + 2, checksum(icmp, size));
	assert_int_equal(sendto(fd, icmp, size, 0, (struct sockaddr *)&to, sizeof(to)), size);
	close(fd);
	return true;
}

static int stop(void *userdata, _unused_ uint32_t events)
{
	loop_stop(userdata);
	return 0;
}

void run_for(struct loop *loop, unsigned int milliseconds)
{
	struct loop_source *timer;

	assert_int_equal(loop_add_timer(loop, stop, loop, &timer), 0);
	assert_int_equal(loop_set_timer(timer, milliseconds * NSEC_PER_MSEC, 0), 0);
	assert_int_equal(loop_run(loop), 0);
	loop_source_free(timer);
}

/* Takes the place of libc's. */
static int injected_error;
static unsigned int injected_count;

void fail_sends(int error, unsigned int count)
{
	injected_error = error;
	injected_count = count;
}

unsigned int failed_sends(void)
{
	return injected_count;
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
	if (injected_count) {
		injected_count--;
		errno = injected_error;
		return -1;
	}
	return (int)syscall(SYS_sendmmsg, fd, messages, count, flags);
}

static int kept = -1, original = -1;

void stderr_keep(void)
{
	if (kept < 0) {
		kept = memfd_create("stderr", MFD_CLOEXEC);
		original = dup(STDERR_FILENO);
		assert_true(kept >= 0 && original >= 0);
		assert_true(dup2(kept, STDERR_FILENO) >= 0);
	}
	fflush(stderr);
	assert_int_equal(ftruncate(kept, 0), 0);
	lseek(kept, 0, SEEK_SET);
}

int stderr_release(void **state)
{
	(void)state;
	if (kept >= 0) {
		dup2(original, STDERR_FILENO);
		close(original);
		close(kept);
		kept = -1;
	}
	return 0;
}

unsigned int stderr_lines(const char *text)
{
	char all[16384];
	ssize_t n = pread(kept, all, sizeof(all) - 1, 0);
	unsigned int lines = 0;
	char *rest = all;

	assert_true(n >= 0);
	all[n] = '\0';
	for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n"))
		lines += strstr(line, text) != NULL;
	return lines;
}

void assert_ledger(struct exports *exports, const struct export_count *given)
{
	const struct collector_stats *stats;

	for (unsigned int i = 0; (stats = exports_stats(exports, i)); i++) {
		struct export_count sum = stats->exported;

		sum.records += stats->queued.records;
		sum.packets += stats->queued.packets;
		sum.octets += stats->queued.octets;
		for (unsigned int j = 0; j < _EXPORT_LOSS_MAX; j++) {
			sum.records += stats->lost[j].records;
			sum.packets += stats->lost[j].packets;
			sum.octets += stats->lost[j].octets;
		}
		assert_int_equal(sum.records, given->records);
		assert_int_equal(sum.packets, given->packets);
		assert_int_equal(sum.octets, given->octets);
		assert_true(stats->exported.records <= given->records);
	}
}
