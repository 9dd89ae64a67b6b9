/* SPDX-License-Identifier: Apache-2.0 */
/* Collectors that are files: the octets that UDP carries, what a full disk does, and JSON. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <arpa/inet.h>
#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "exporter/export/format/fields.h"
#include "exporter/loop.h"
#include "exporter/meter/drop_reason.h"
#include "tests/unit/export_files.h"

/* A file is the messages of UDP in a row, the templates once. */
static void test_same_octets(void **state)
{
	struct exports *exports = open_exports("file://");
	_cleanup_(freep) uint8_t *data = NULL;
	size_t size, templates;
	char udp[64];
	struct sink s;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	snprintf(udp, sizeof(udp), "ipfix://127.0.0.1:%u", s.port);
	assert_int_equal(exports_add(exports, udp), 0);
	give_random(exports, FLOWS);
	exports_send_queued(exports, DRAIN_NS, true);
	assert_int_equal(exports_stats(exports, 0)->exported.records, FLOWS);
	assert_int_equal(exports_stats(exports, 0)->queued.records, 0);
	data = read_file(&size);
	sink_read(&s);
	assert_int_equal(walk(data, size), s.count - 2);
	assert_int_equal(exports_stats(exports, 0)->messages, s.count - 2);
	assert_int_equal(exports_stats(exports, 0)->bytes, size);
	walk(s.bytes, s.used);
	templates = (size_t)(s.bytes[2] << 8 | s.bytes[3]);
	assert_int_equal(s.used - 2 * templates, size); /* there are three copies over UDP */
	assert_memory_equal(data, s.bytes + 2 * templates, size);
	exports_free(exports);
	sink_close(&s);
}

/* The file can be read from the start, and after each flush. */
static void test_flush(void **state)
{
	struct exports *exports = open_exports("file://");
	struct stat st;
	off_t before;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0027, 0);	     /* who talks to whom is not for everybody */
	assert_int_equal(st.st_size, 240 + 94 + 58); /* templates, sampling, flow keys */
	before = st.st_size;
	give_random(exports, 1);
	assert_int_equal(exports_stats(exports, 0)->queued.records, 1);
	exports_flush(exports);
	assert_int_equal(exports_stats(exports, 0)->exported.records, 1);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size == before + 20 + 84 || st.st_size == before + 20 + 112);
	exports_free(exports);
}

static void set_limit(rlim_t limit)
{
	struct rlimit r;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &r), 0);
	r.rlim_cur = limit;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

/* A write that fails half-way leaves whole messages; later ones are appended when there is room again. */
static void test_no_space(void **state)
{
	struct exports *exports = open_exports("file://");
	const struct collector_stats *stats = exports_stats(exports, 0);
	_cleanup_(freep) uint8_t *data = NULL;
	unsigned int messages;
	size_t size;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	set_limit(100000);
	give_random(exports, 3000); /* some 300 kB */
	exports_flush(exports);
	assert_int_equal(stats->state, COLLECTOR_FAILING);
	assert_true(stats->lost[EXPORT_LOSS_SEND_ERROR].records > 1000);
	assert_true(stats->exported.records > 500);
	assert_int_equal(stats->queued.records, 0);
	assert_int_equal(stderr_lines("collector"), 1);
	assert_int_equal(stderr_lines("File too large"), 1);
	data = read_file(&size);
	messages = walk(data, size);
	assert_int_equal(stats->bytes, size);
	assert_int_equal(stats->messages, messages);
	free(TAKE_PTR(data));
	set_limit(RLIM_INFINITY);
	give_random(exports, 1);
	exports_flush(exports);
	assert_ledger(exports, &given);
	assert_int_equal(stats->state, COLLECTOR_UP);
	assert_int_equal(stderr_lines("collector"), 2);
	data = read_file(&size);
	assert_int_equal(walk(data, size), messages + 1);
	assert_int_equal(stats->bytes, size);
	exports_free(exports);
}

/* Nothing can ever be written: that is a state, and each record is lost by name. */
static void test_full_device(void **state)
{
	struct exports *exports;
	const struct collector_stats *stats;

	(void)state;
	given = (struct export_count){0};
	stderr_keep();
	assert_int_equal(exports_new(&exports, &(struct export_options){0}, NULL), 0);
	assert_int_equal(exports_add(exports, "file:///dev/full"), 0);
	assert_int_equal(exports_add(exports, "json:///dev/full"), 0);
	give_random(exports, FLOWS);
	exports_send_queued(exports, DRAIN_NS, true);
	assert_ledger(exports, &given);
	for (unsigned int i = 0; (stats = exports_stats(exports, i)); i++) {
		assert_int_equal(stats->state, COLLECTOR_FAILING);
		assert_int_equal(stats->lost[EXPORT_LOSS_SEND_ERROR].records, FLOWS);
		assert_int_equal(stats->messages, 0);
		assert_int_equal(stderr_lines(stats->url), 1);
	}
	assert_int_equal(stderr_lines("No space left on device"), 2);
	exports_free(exports);
}

static void test_cannot_open(void **state)
{
	struct exports *exports;

	(void)state;
	stderr_keep();
	assert_int_equal(exports_new(&exports, &(struct export_options){0}, NULL), 0);
	snprintf(url, sizeof(url), "file://%s/none/flows", folder);
	assert_int_equal(exports_add(exports, url), -ENOENT);
	assert_int_equal(stderr_lines("No such file or directory"), 0); /* the caller's to say */
	assert_null(exports_stats(exports, 0));
	exports_free(exports);
}

/* Records of the four families at once: each has a place at a file, however few it has. */
static void test_drops(void **state)
{
	struct exports *exports;
	const struct collector_stats *stats;
	const struct flow drops[] = {
		{.key.kind = FLOW_DROP,
		 .record = {.packets = 1, .octets = 60},
		 .drop = &drop_reason_texts[0]},
		{.key.kind = FLOW_DROP | FLOW_IPV6,
		 .record = {.packets = 1, .octets = 80},
		 .drop = &drop_reason_texts[0]},
	};

	(void)state;
	given = (struct export_count){0};
	stderr_keep();
	snprintf(url, sizeof(url), "file://%s", path);
	assert_int_equal(exports_new(&exports, &(struct export_options){.drops = true}, NULL), 0);
	assert_int_equal(exports_add(exports, url), 0);
	stats = exports_stats(exports, 0);
	for (unsigned int i = 0; i < 1000; i++) {
		struct flow flow = {.key.kind = i & 1 ? FLOW_IPV6 : 0,
				    .record = {.packets = 1, .octets = 100}};

		give(exports, &flow);
		give(exports, &drops[i / 2 & 1]);
	}
	exports_flush(exports);
	assert_int_equal(stats->lost[EXPORT_LOSS_QUEUE_FULL].records, 0);
	assert_int_equal(stats->exported.records, 2000);
	exports_free(exports);
}

static void assert_json_string(json_t *object, const char *key, const char *want)
{
	json_t *value = json_object_get(object, key);

	assert_true(json_is_string(value));
	assert_string_equal(json_string_value(value), want);
}

static void assert_json_number(json_t *object, const char *key, uint64_t want)
{
	json_t *value = json_object_get(object, key);

	assert_true(json_is_integer(value));
	assert_int_equal(json_integer_value(value), want);
}

static void assert_json_mac(json_t *object, const char *key, const uint8_t *mac)
{
	char text[18];

	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	assert_json_string(object, key, text);
}

static void assert_json_family(json_t *o, const struct flow *f, bool ipv6)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t icmp = ipv6 ? 58 : 1;

	inet_ntop(ipv6 ? AF_INET6 : AF_INET, f->key.src, text, sizeof(text));
	assert_json_string(o, ipv6 ? "sourceIPv6Address" : "sourceIPv4Address", text);
	inet_ntop(ipv6 ? AF_INET6 : AF_INET, f->key.dst, text, sizeof(text));
	assert_json_string(o, ipv6 ? "destinationIPv6Address" : "destinationIPv4Address", text);
	assert_json_number(o, "ipVersion", ipv6 ? 6 : 4);
	assert_json_number(o, ipv6 ? "icmpTypeCodeIPv6" : "icmpTypeCodeIPv4",
			   f->key.protocol == icmp ? ntohs(f->key.dst_port) : 0);
	if (ipv6)
		assert_json_number(o, "flowLabelIPv6", f->record.flow_label);
	assert_int_equal(json_object_size(o), ipv6 ? 27 : 26);
}

static void assert_json_flow(json_t *o, const struct flow *f)
{
	bool egress = f->key.kind & FLOW_EGRESS;

	assert_json_family(o, f, f->key.kind & FLOW_IPV6);
	assert_json_number(o, "sourceTransportPort", ntohs(f->key.src_port));
	assert_json_number(o, "destinationTransportPort", ntohs(f->key.dst_port));
	assert_json_number(o, "protocolIdentifier", f->key.protocol);
	assert_json_number(o, "ipClassOfService", f->record.tos);
	assert_json_number(o, "tcpControlBits", f->record.tcp_flags & 0xff);
	assert_json_number(o, "flowDirection", egress);
	assert_json_number(o, "ingressInterface", egress ? 0 : f->key.ifindex);
	assert_json_number(o, "egressInterface", egress ? f->key.ifindex : 0);
	assert_json_number(o, "vlanId", egress ? 0 : f->key.outer_vlan);
	assert_json_number(o, "postVlanId", egress ? f->key.outer_vlan : 0);
	assert_json_number(o, "dot1qCustomerVlanId", f->key.inner_vlan);
	assert_json_mac(o, "sourceMacAddress", f->record.src_mac);
	assert_json_mac(o, "destinationMacAddress", f->record.dst_mac);
	assert_json_number(o, "flowStartMilliseconds", (f->record.first_ns + CLOCK_NS) / 1000000);
	assert_json_number(o, "flowEndMilliseconds", (f->record.last_ns + CLOCK_NS) / 1000000);
	assert_json_number(o, "flowEndReason", f->end);
	assert_json_number(o, "minimumTTL", f->record.min_ttl);
	assert_json_number(o, "maximumTTL", f->record.max_ttl);
	assert_json_number(o, "minimumIpTotalLength", f->record.min_length);
	assert_json_number(o, "maximumIpTotalLength", f->record.max_length);
	assert_json_number(o, "octetDeltaCount", f->record.octets);
	assert_json_number(o, "packetDeltaCount", f->record.packets);
}

static void test_json(void **state)
{
	struct exports *exports = open_exports("json://");
	_cleanup_(fclosep) FILE *f = NULL;
	char line[4096];
	uint64_t seed = 7;

	(void)state;
	give_random(exports, FLOWS);
	exports_flush(exports);
	assert_int_equal(exports_stats(exports, 0)->exported.records, FLOWS);
	assert_int_equal(exports_stats(exports, 0)->messages, FLOWS);
	exports_free(exports);
	f = fopen(path, "r");
	assert_non_null(f);
	for (unsigned int i = 0; i < FLOWS; i++) {
		struct flow flow = random_flow(&seed);
		json_t *object;

		assert_non_null(fgets(line, sizeof(line), f));
		object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
		assert_non_null(object);
		assert_json_flow(object, &flow);
		json_decref(object);
	}
	assert_null(fgets(line, sizeof(line), f));
}

/* Standard output is a pipe whose reader goes away: an error state, no crash. */
static void test_stdout(void **state)
{
	int out = dup(STDOUT_FILENO), pipes[2];
	struct exports *exports;
	struct flow flow = {.record = {.packets = 1, .octets = 40}};
	char line[4096];

	(void)state;
	given = (struct export_count){0};
	stderr_keep();
	signal(SIGPIPE, SIG_IGN);
	fflush(stdout);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(exports_new(&exports, &(struct export_options){0}, NULL), 0);
	dup2(pipes[1], STDOUT_FILENO);
	assert_int_equal(exports_add(exports, "json:-"), 0);
	give(exports, &flow);
	exports_flush(exports);
	assert_true(read(pipes[0], line, sizeof(line)) > 100);
	assert_int_equal(line[0], '{');
	close(pipes[0]);
	give(exports, &flow);
	exports_flush(exports);
	assert_ledger(exports, &given);
	assert_int_equal(exports_stats(exports, 0)->exported.records, 1);
	assert_int_equal(exports_stats(exports, 0)->lost[EXPORT_LOSS_SEND_ERROR].records, 1);
	assert_int_equal(exports_stats(exports, 0)->state, COLLECTOR_FAILING);
	exports_free(exports);
	dup2(out, STDOUT_FILENO);
	close(out);
	close(pipes[1]);
	assert_int_equal(stderr_lines("Broken pipe"), 1);
}

/* However the times of a flow were counted, it does not end before it starts, nor last for 49 days and more. */
static void test_durations(void **state)
{
	static const struct {
		uint64_t first_ms, last_ms, end_ms, duration_ms;
	} cases[] = {
		{5000, 5000, 5000, 0},
		{5000, 4996, 5000, 0},
		{5000, 6234, 6234, 1234},
		{5000, 5000 + (uint64_t)UINT32_MAX, 5000 + (uint64_t)UINT32_MAX, UINT32_MAX},
		{5000, 5001 + (uint64_t)UINT32_MAX, 5001 + (uint64_t)UINT32_MAX, UINT32_MAX},
	};
	static const struct export_options extended = {.template = "extended"};
	_cleanup_(fclosep) FILE *f = NULL;
	struct exports *exports;
	char line[4096];

	(void)state;
	given = (struct export_count){0};
	stderr_keep();
	snprintf(url, sizeof(url), "json://%s", path);
	assert_int_equal(exports_new(&exports, &extended, NULL), 0);
	exports_set_clock(exports, CLOCK_NS);
	assert_int_equal(exports_add(exports, url), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++)
		give(exports,
		     &(struct flow){.record = {.packets = 2,
					       .octets = 80,
					       .first_ns = cases[i].first_ms * NSEC_PER_MSEC,
					       .last_ns = cases[i].last_ms * NSEC_PER_MSEC}});
	exports_flush(exports);
	exports_free(exports);
	f = fopen(path, "r");
	assert_non_null(f);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		json_t *o;

		assert_non_null(fgets(line, sizeof(line), f));
		o = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
		assert_non_null(o);
		assert_json_number(o, "flowStartMilliseconds",
				   cases[i].first_ms + CLOCK_NS / 1000000);
		assert_json_number(o, "flowEndMilliseconds", cases[i].end_ms + CLOCK_NS / 1000000);
		assert_json_number(o, "flowDurationMilliseconds", cases[i].duration_ms);
		json_decref(o);
	}
}

/* Lines that can be read now. */
static unsigned int read_lines(int fd)
{
	static char data[65536];
	unsigned int lines = 0;
	ssize_t n;

	while ((n = read(fd, data, sizeof(data))) > 0)
		for (ssize_t i = 0; i < n; i++)
			lines += data[i] == '\n';
	return lines;
}

static struct exports *open_fifo(struct loop *loop)
{
	struct exports *exports;

	given = (struct export_count){0};
	stderr_keep();
	assert_int_equal(mkfifo(path, 0600), 0);
	snprintf(url, sizeof(url), "json://%s", path);
	assert_int_equal(exports_new(&exports, &(struct export_options){0}, loop), 0);
	return exports;
}

/* Who reads slowly gets all, later; who does not read costs a bounded queue and nobody's time. */
static void test_slow_reader(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	struct flow flow = {.record = {.packets = 1, .octets = 40}};
	const struct collector_stats *stats;
	struct exports *exports;
	unsigned int lines = 0;
	uint64_t start_ns;
	int fd;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	exports = open_fifo(loop);
	assert_int_equal(exports_add(exports, url), -ENXIO); /* nobody reads at all */
	fd = open(path, O_RDONLY | O_NONBLOCK);
	assert_true(fd >= 0);
	assert_int_equal(exports_add(exports, url), 0);
	stats = exports_stats(exports, 0);

	give_random(exports, 1000);
	exports_flush(exports);
	assert_ledger(exports, &given);
	assert_true(stats->queued.records > 500);
	for (unsigned int i = 0; i < 100 && stats->queued.records; i++) {
		lines += read_lines(fd);
		run_for(loop, 5);
	}
	lines += read_lines(fd);
	assert_int_equal(lines, 1000);
	assert_int_equal(stats->exported.records, 1000);

	start_ns = clock_passed_ns();
	for (unsigned int i = 0; i < 50000; i++) {
		exports_flow(exports, &flow);
		given.records++;
		given.packets++;
		given.octets += 40;
	}
	exports_send_queued(exports, 200 * NSEC_PER_MSEC, true);
	assert_int_equal((clock_passed_ns() - start_ns) / NSEC_PER_MSEC, 200);
	assert_ledger(exports, &given);
	assert_int_equal(stats->queued.records, 0);
	assert_true(stats->lost[EXPORT_LOSS_QUEUE_FULL].records > 1000);
	assert_true(stats->lost[EXPORT_LOSS_UNSENT].records > 1000);
	exports_free(exports);
	close(fd);
}

/* A reader that takes nothing is a state, which ends when it does. */
static void test_stalled_reader(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	const struct collector_stats *stats;
	struct exports *exports;
	int fd;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	exports = open_fifo(loop);
	fd = open(path, O_RDONLY | O_NONBLOCK);
	assert_true(fd >= 0);
	assert_int_equal(exports_add(exports, url), 0);
	stats = exports_stats(exports, 0);
	give_random(exports, 1000);
	for (unsigned int i = 0; i < 30; i++) {
		assert_int_equal(stats->state, i <= 10 ? COLLECTOR_UP : COLLECTOR_STALLED);
		exports_flush(exports);
		run_for(loop, 1000);
	}
	assert_int_equal(stderr_lines("taken nothing"), 1);
	for (unsigned int i = 0; i < 100 && stats->queued.records; i++) {
		read_lines(fd);
		run_for(loop, 5);
	}
	assert_int_equal(stats->state, COLLECTOR_UP);
	assert_int_equal(stderr_lines("collector"), 2);
	exports_free(exports);
	close(fd);
}

/* Standard output on a disk that is full: whole lines, which are those that count. */
static void test_stdout_no_space(void **state)
{
	int out = dup(STDOUT_FILENO), fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	const struct collector_stats *stats;
	_cleanup_(freep) uint8_t *data = NULL;
	struct exports *exports;
	size_t size;

	(void)state;
	given = (struct export_count){0};
	stderr_keep();
	signal(SIGXFSZ, SIG_IGN);
	assert_true(fd >= 0);
	fflush(stdout);
	assert_int_equal(write(fd, "before\n", 7), 7);
	assert_int_equal(exports_new(&exports, &(struct export_options){0}, NULL), 0);
	dup2(fd, STDOUT_FILENO);
	assert_int_equal(exports_add(exports, "json:-"), 0);
	stats = exports_stats(exports, 0);
	set_limit(100000);
	give_random(exports, 1000);
	exports_flush(exports);
	set_limit(RLIM_INFINITY);
	give_random(exports, 1);
	exports_flush(exports);
	assert_ledger(exports, &given);
	dup2(out, STDOUT_FILENO);
	close(out);
	close(fd);
	data = read_file(&size);
	assert_true(stats->lost[EXPORT_LOSS_SEND_ERROR].records > 0);
	assert_int_equal(count_lines(data, size), stats->exported.records + 1);
	assert_int_equal(size, stats->bytes + 7);
	exports_free(exports);
}

/* The next reader of a FIFO gets whole messages, the templates first, whatever the one before has left. */
static void test_next_reader(void **state)
{
	static uint8_t data[1 << 20];
	_cleanup_(loop_freep) struct loop *loop = NULL;
	const struct collector_stats *stats;
	struct exports *exports;
	uint64_t before;
	size_t size;
	ssize_t n;
	int fd;

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(loop_new(&loop), 0);
	exports = open_fifo(loop);
	fd = open(path, O_RDONLY | O_NONBLOCK);
	assert_true(fd >= 0);
	snprintf(url, sizeof(url), "file://%s", path);
	assert_int_equal(exports_add(exports, url), 0);
	stats = exports_stats(exports, 0);
	for (unsigned int i = 0; i < 3; i++) {
		give_random(exports, 2000); /* more than a pipe holds */
		exports_flush(exports);
		assert_true(stats->queued.records > 1000);
		close(fd);
		exports_flush(exports);
		assert_int_equal(stats->queued.records, 0);
		assert_int_equal(stats->state, COLLECTOR_FAILING);
		give_random(exports, 700); /* to nobody, more than the buffer holds */
		fd = open(path, O_RDONLY | O_NONBLOCK);
		assert_true(fd >= 0);
		before = stats->exported.records;
		give_random(exports, 100);
		exports_flush(exports);
		assert_ledger(exports, &given);
		size = 0;
		for (unsigned int turn = 0; turn < 20; turn++) {
			while ((n = read(fd, data + size, sizeof(data) - size)) > 0)
				size += (size_t)n;
			run_for(loop, 5);
		}
		assert_true(size > 100);
		assert_int_equal(data[16] << 8 | data[17], 2); /* a template set */
		assert_true(walk(data, size) > 0);
		assert_in_range(stats->exported.records - before, 100, 800);
	}
	exports_free(exports);
	close(fd);
}

struct late_reader {
	int fd;
	unsigned int lines;
};

static void read_late(void *userdata)
{
	struct late_reader *reader = userdata;

	reader->lines += read_lines(reader->fd);
	clock_at(NSEC_PER_MSEC, read_late, reader);
}

/* Without a loop there is time: nothing is lost to a reader that is late. */
static void test_late_reader(void **state)
{
	struct flow flow = {.record = {.packets = 1, .octets = 40}};
	struct exports *exports = open_fifo(NULL);
	const unsigned int expected = 50000;
	struct late_reader reader = {.fd = open(path, O_RDONLY | O_NONBLOCK)};
	uint64_t start_ns = clock_passed_ns();

	(void)state;
	assert_true(reader.fd >= 0);
	assert_int_equal(exports_add(exports, url), 0);
	clock_at(50 * NSEC_PER_SEC, read_late, &reader);
	for (unsigned int i = 0; i < expected; i++)
		exports_flow(exports, &flow);
	assert_in_range((clock_passed_ns() - start_ns) / NSEC_PER_MSEC, 50000, 52000);
	exports_send_queued(exports, 2 * NSEC_PER_SEC, true);
	assert_int_equal(exports_stats(exports, 0)->exported.records, expected);
	exports_free(exports);
	assert_int_equal(reader.lines + read_lines(reader.fd), expected);
	close(reader.fd);
}

#define TEST(f) cmocka_unit_test_teardown(f, remove_file)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_same_octets), TEST(test_flush),	    TEST(test_no_space),
		TEST(test_full_device), TEST(test_cannot_open),	    TEST(test_json),
		TEST(test_stdout),	TEST(test_slow_reader),	    TEST(test_late_reader),
		TEST(test_drops),	TEST(test_durations),	    TEST(test_stalled_reader),
		TEST(test_next_reader), TEST(test_stdout_no_space),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
