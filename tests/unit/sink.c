/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <arpa/inet.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sched.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include "exporter/util.h"
#include "exporter/export/format/wire.h"
#include "exporter/loop.h"
#include "tests/unit/clock.h"
#include "tests/unit/sink.h"

#define SINK_BYTES (SINK_MESSAGES * 1500)

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/*
 * What was sent over lo may wait for ksoftirqd.  One processor has one queue for lo, in order: when a message to
 * ourselves is here, so is all that went before, and with the second one what was answered to that.
 */
static void let_arrive(void)
{
	static int marker = -1;
	struct sockaddr_in self = loopback(0);
	socklen_t length = sizeof(self);
	char c = 0;

	if (marker < 0) {
		marker = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		assert_true(marker >= 0);
		assert_int_equal(bind(marker, (struct sockaddr *)&self, length), 0);
		assert_int_equal(getsockname(marker, (struct sockaddr *)&self, &length), 0);
		assert_int_equal(connect(marker, (struct sockaddr *)&self, length), 0);
	}
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(send(marker, &c, 1, 0), 1);
		assert_int_equal(recv(marker, &c, 1, 0), 1);
	}
}

static void stay_on_processor(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	assert_true(cpu >= 0);
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	assert_int_equal(sched_setaffinity(0, sizeof(set), &set), 0);
}

bool sink_open(struct sink *s, const char *address, uint16_t port)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	bool ipv6 = inet_pton(AF_INET6, address, &v6.sin6_addr) == 1;
	int room = 16 * 1024 * 1024;
	socklen_t length = sizeof(v6);

	if (!ipv6)
		assert_int_equal(inet_pton(AF_INET, address, &v4.sin_addr), 1);
	stay_on_processor();
	clock_before_moving(let_arrive);
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

/* --- A strict decoder of both protocols */

static const struct sink_template *find_template(const struct sink *s, uint16_t id)
{
	for (unsigned int i = 0; i < s->known_count; i++)
		if (s->known[i].id == id)
			return &s->known[i];
	return NULL;
}

/* An id never stands for another layout. */
static void learn(struct sink *s, const struct sink_template *t)
{
	const struct sink_template *known = find_template(s, t->id);

	assert_true(t->id >= 256);
	if (known) {
		assert_memory_equal(known, t, sizeof(*t));
		return;
	}
	assert_true(s->known_count < ARRAY_SIZE(s->known));
	s->known[s->known_count++] = *t;
}

/* `count` field specifiers at *at, which it moves behind them. */
static void read_fields(const uint8_t **at, unsigned int count, bool ipfix, struct sink_template *t)
{
	bool variable = false;

	assert_in_range(count, 1, ARRAY_SIZE(t->fields));
	for (; t->count < count; t->count++) {
		t->fields[t->count] = wire_load16(*at + 2);
		t->length += t->fields[t->count];
		variable |= t->fields[t->count] == 65535;
		*at += ipfix && **at & 0x80 ? 8 : 4;
	}
	if (variable)
		t->length = 0;
}

/* Returns the number of templates in the set. */
static unsigned int take_templates(struct sink *s, const uint8_t *at, const uint8_t *end,
				   bool ipfix, bool options)
{
	unsigned int count = 0;

	for (; end - at >= 4; count++) {
		struct sink_template t;
		uint16_t fields = wire_load16(at + 2);

		memset(&t, 0, sizeof(t));
		t.id = wire_load16(at);
		t.options = options;
		if (options && ipfix) {
			assert_in_range(wire_load16(at + 4), 1, fields);
		} else if (options) {
			assert_int_equal(fields % 4, 0);
			assert_true(fields > 0);
			fields = (uint16_t)((fields + wire_load16(at + 4)) / 4);
		}
		at += options ? 6 : 4;
		read_fields(&at, fields, ipfix, &t);
		learn(s, &t);
	}
	assert_true(end - at >= 0);
	assert_true(count == 1 || !options); /* nfdump reads the first alone */
	for (; at < end; at++)
		assert_int_equal(*at, 0);
	return count;
}

/* Octets of the record there (RFC 7011 section 7). */
static unsigned int record_length(const struct sink_template *t, const uint8_t *at)
{
	unsigned int length = 0;

	for (unsigned int i = 0; i < t->count; i++) {
		if (t->fields[i] != 65535)
			length += t->fields[i];
		else
			length += at[length] < 255 ? 1u + at[length]
						   : 3u + wire_load16(at + length + 1);
	}
	return length;
}

/* Returns the number of records in the set. */
static unsigned int take_data(struct sink *s, uint16_t id, const uint8_t *at, unsigned int length)
{
	const struct sink_template *t = find_template(s, id);
	const uint8_t *end = at + length;
	unsigned int count = 0;

	if (!t) {
		s->data_first = true;
		return 0;
	}
	while (at < end && (t->length ? end - at >= t->length : end - at >= 4)) {
		at += t->length ? t->length : record_length(t, at);
		count++;
	}
	assert_true(count > 0);
	assert_true(at <= end && end - at < 4);
	for (; at < end; at++)
		assert_int_equal(*at, 0);
	*(t->options ? &s->options : &s->records) += count;
	return count;
}

static void take_sequence(struct sink *s, const uint8_t *m, bool ipfix, unsigned int data)
{
	uint32_t sequence = wire_load32(m + (ipfix ? 8 : 12));
	uint32_t domain = wire_load32(m + (ipfix ? 12 : 16));
	uint32_t *expected = ipfix && !domain && s->domain ? &s->statistics : &s->sequence;

	s->domain = domain ? domain : s->domain;
	s->gap |= sequence != *expected;
	*expected = sequence + (ipfix ? data : 1);
}

static void take_times(struct sink *s, const uint8_t *m, bool ipfix)
{
	uint32_t export_time = wire_load32(m + (ipfix ? 4 : 8));

	assert_true(export_time >= s->export_time);
	s->export_time = export_time;
	if (!ipfix)
		s->boot_ms = export_time * 1000ull - wire_load32(m + 4);
}

static void take(struct sink *s, const uint8_t *m, size_t length)
{
	unsigned int data = 0, records = 0, sets = 0, before = s->templates;
	bool ipfix = wire_load16(m) == 10;
	const uint8_t *at = m + (ipfix ? 16 : 20), *end = m + length;

	assert_true(ipfix || wire_load16(m) == 9);
	for (; at < end; sets++) {
		uint16_t id = wire_load16(at), size = wire_load16(at + 2);
		bool templates = id == (ipfix ? 2 : 0), options = id == (ipfix ? 3 : 1);
		unsigned int count;

		assert_true(size > 4 && size <= end - at);
		assert_true(ipfix || size % 4 == 0);
		assert_true(templates || options || id >= 256);
		if (templates || options)
			count = take_templates(s, at + 4, at + size, ipfix, options);
		else
			data += count = take_data(s, id, at + 4, size - 4u);
		records += count;
		s->templates += templates && s->templates == before;
		at += size;
	}
	assert_true(sets > 0);
	assert_true(s->count < SINK_MESSAGES);
	assert_int_equal(wire_load16(m + 2), ipfix ? length : records);
	take_sequence(s, m, ipfix, data);
	take_times(s, m, ipfix);
	s->count++;
	s->longest = MAX(s->longest, (uint16_t)length);
}

/* Another port is another session, of which nothing is known yet. */
void sink_take(struct sink *s, const uint8_t *message, size_t length)
{
	assert_true(s->used + length <= SINK_BYTES);
	memcpy(s->bytes + s->used, message, length);
	take(s, s->bytes + s->used, length);
	s->used += length;
	s->at[s->count] = s->used;
}

void sink_forget(struct sink *s)
{
	s->count = 0;
	s->used = 0;
}

void sink_new_session(struct sink *s)
{
	s->sequence = s->statistics = s->export_time = 0;
	s->known_count = 0;
}

static void begin_session(struct sink *s, uint16_t peer)
{
	if (s->peer && s->peer != peer)
		sink_new_session(s);
	s->peer = peer;
}

void sink_read(struct sink *s)
{
	struct sockaddr_in6 from = {0};
	socklen_t length = sizeof(from);
	ssize_t n;

	let_arrive();
	while ((n = recvfrom(s->fd, s->bytes + s->used, SINK_BYTES - s->used, 0,
			     (struct sockaddr *)&from, &length)) >= 20) {
		begin_session(s, ntohs(from.sin6_port));
		take(s, s->bytes + s->used, (size_t)n);
		s->used += (size_t)n;
		s->at[s->count] = s->used;
	}
	assert_int_equal(n, -1);
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

bool sink_refuse(const struct sink *s, const char *from, const uint8_t *message,
		 unsigned int quoted)
{
	struct sockaddr_in to = loopback(0), source = loopback(0);
	/* ICMP header of 8 octets, then what it quotes: IPv4 header, UDP header, message. */
	uint8_t icmp[8 + 20 + 8 + 64] = {
		[0] = 3, [1] = 3, [8] = 0x45, [8 + 8] = 64, [8 + 9] = IPPROTO_UDP};
	size_t size = 8 + 20 + 8 + quoted;
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);

	if (fd < 0)
		return false;
	assert_true(quoted <= 64);
	assert_int_equal(inet_pton(AF_INET, from, &source.sin_addr), 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&source, sizeof(source)), 0);
	wire_store16(icmp + 8 + 2, 20 + 8 + 64);
	wire_store32(icmp + 8 + 12, INADDR_LOOPBACK);
	wire_store32(icmp + 8 + 16, INADDR_LOOPBACK);
	wire_store16(icmp + 28, s->peer);
	wire_store16(icmp + 30, s->port);
	wire_store16(icmp + 32, 8 + 64);
	memcpy(icmp + 36, message, quoted);
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

/* Takes the place of libc's. */
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

static void add(struct export_count *to, const struct export_count *n)
{
	to->records += n->records;
	to->packets += n->packets;
	to->octets += n->octets;
}

static void assert_same(const struct export_count *a, const struct export_count *b)
{
	assert_int_equal(a->records, b->records);
	assert_int_equal(a->packets, b->packets);
	assert_int_equal(a->octets, b->octets);
}

/* exported + queued + lost */
static struct export_count whereabouts(const struct collector_stats *stats)
{
	struct export_count sum = stats->exported;

	add(&sum, &stats->queued);
	for (unsigned int i = 0; i < _EXPORT_LOSS_MAX; i++)
		add(&sum, &stats->lost[i]);
	assert_true(stats->exported.records <= stats->given.records); /* none is below 0 */
	return sum;
}

void assert_ledger(struct exports *exports, const struct export_count *given)
{
	const struct collector_stats *stats;

	for (unsigned int i = 0; (stats = exports_stats(exports, i)); i++) {
		struct export_count sum = whereabouts(stats);

		assert_same(&sum, given);
	}
}

void assert_ledgers(struct exports *exports, const struct export_count *given)
{
	const struct export_totals *totals = exports_totals(exports);
	struct export_count all = totals->kinds[RECORD_FLOW], shared = {0};
	const struct collector_stats *stats;

	add(&all, &totals->kinds[RECORD_DROP]);
	assert_same(&all, given);
	for (unsigned int i = 0; (stats = exports_stats(exports, i)); i++) {
		struct export_count sum = whereabouts(stats);

		assert_same(&sum, &stats->given);
		assert_same(&stats->due, &stats->given);
		if (stats->shares)
			add(&shared, &stats->given);
	}
	assert_same(&shared, &totals->shared);
}
