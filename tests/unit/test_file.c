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
#include "tests/unit/flows.h"
#include "tests/unit/sink.h"

#define FLOWS	 500
#define DRAIN_NS (500 * NSEC_PER_MSEC)
#define CLOCK_NS (int64_t)(1700000000ull * NSEC_PER_SEC)

static char folder[] = "/tmp/flowtally-test-XXXXXX", path[64], url[80];
static struct export_count given;

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/flows", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

static int remove_file(void **state)
{
	unlink(path);
	clock_reset();
	return stderr_release(state);
}

static struct exports *open_exports(const char *scheme)
{
	struct exports *exports;

	given = (struct export_count){0};
	stderr_keep();
	snprintf(url, sizeof(url), "%s%s", scheme, path);
	assert_int_equal(exports_new(&exports, &(struct export_options){.domain = 9}, NULL), 0);
	exports_set_clock(exports, CLOCK_NS);
	assert_int_equal(exports_add(exports, url), 0);
	return exports;
}

static void give(struct exports *exports, const struct flow *flow)
{
	given.records++;
	given.packets += flow->record.packets;
	given.octets += flow->record.octets;
	exports_flow(exports, flow);
	assert_ledger(exports, &given);
}

static void give_random(struct exports *exports, unsigned int count)
{
	uint64_t seed = 7;

	for (unsigned int i = 0; i < count; i++) {
		struct flow flow = random_flow(&seed);

		give(exports, &flow);
	}
}

/* The whole file, which the caller frees. */
static uint8_t *read_file(size_t *ret_size)
{
	_cleanup_(fclosep) FILE *f = fopen(path, "r");
	uint8_t *data = malloc(4 * 1024 * 1024);

	assert_non_null(f);
	assert_non_null(data);
	*ret_size = fread(data, 1, 4 * 1024 * 1024, f);
	return data;
}

/* Walks over the messages, which must end where the file ends; their export times become 0. */
static unsigned int walk(uint8_t *data, size_t size)
{
	unsigned int messages = 0;

	for (size_t at = 0; at < size; messages++) {
		uint16_t length = (uint16_t)(data[at + 2] << 8 | data[at + 3]);

		assert_true(at + 16 <= size);
		assert_int_equal(data[at + 1], 10);
		assert_true(length > 20 && at + length <= size);
		memset(data + at + 4, 0, 4);
		at += length;
	}
	return messages;
}

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
	exports_drain(exports, DRAIN_NS, true);
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
	exports_drain(exports, DRAIN_NS, true);
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
	exports_drain(exports, 200 * NSEC_PER_MSEC, true);
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

static unsigned int count_lines(const uint8_t *data, size_t size)
{
	unsigned int lines = 0;

	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	return lines;
}

/* The file holds whole messages, templates first, or whole lines; it is removed.  Returns its octets. */
static size_t take_file(bool json)
{
	_cleanup_(freep) uint8_t *data = NULL;
	size_t size;

	data = read_file(&size);
	assert_true(size > 0);
	if (json) {
		assert_int_equal(data[0], '{');
		assert_int_equal(data[size - 1], '\n');
		assert_true(count_lines(data, size) > 0);
	} else {
		assert_int_equal(data[16] << 8 | data[17], 2); /* a template set */
		assert_true(walk(data, size) > 1);
	}
	assert_int_equal(unlink(path), 0);
	return size;
}

/* Moved, removed or emptied by others: what counts as exported is in the file of that name, or was moved with it. */
static void rotate(const char *scheme, bool json)
{
	struct exports *exports = open_exports(scheme);
	const struct collector_stats *stats = exports_stats(exports, 0);
	size_t total;
	char moved[70];

	snprintf(moved, sizeof(moved), "%s.1", path);
	give_random(exports, 1100);
	exports_flush(exports);
	give_random(exports, 100);
	assert_int_equal(rename(path, moved), 0);
	give_random(exports, 1100);
	exports_flush(exports);
	total = take_file(json); /* removed */
	assert_int_equal(rename(moved, path), 0);
	total += take_file(json);
	assert_int_equal(total, stats->bytes);
	give_random(exports, 1);
	exports_flush(exports);
	assert_int_equal(truncate(path, 0), 0);
	total = stats->bytes;
	give_random(exports, 20);
	exports_flush(exports);
	assert_int_equal(take_file(json), stats->bytes - total);
	assert_int_equal(stats->exported.records, given.records);
	assert_ledger(exports, &given);
	/* Removed with something in the buffer, which can only be told without templates. */
	give_random(exports, 1);
	exports_flush(exports);
	give_random(exports, 100);
	unlink(path);
	give_random(exports, 1);
	exports_flush(exports);
	assert_ledger(exports, &given);
	assert_int_equal(stats->queued.records, 0);
	give_random(exports, 1);
	exports_flush(exports);
	assert_int_equal(stats->state, COLLECTOR_UP);
	assert_int_equal(exports_stats(exports, 0)->lost[EXPORT_LOSS_SEND_ERROR].records > 0,
			 !json);
	assert_true(take_file(json) > 0);
	exports_free(exports);
}

static void test_rotated(void **state)
{
	(void)state;
	rotate("file://", false);
	stderr_release(state);
	rotate("json://", true);
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
	exports_drain(exports, 2 * NSEC_PER_SEC, true);
	assert_int_equal(exports_stats(exports, 0)->exported.records, expected);
	exports_free(exports);
	assert_int_equal(reader.lines + read_lines(reader.fd), expected);
	close(reader.fd);
}

/* --- Rotation */

/* Records in the IPFIX messages or lines of JSON of a file, which stands by itself; it is removed. */
static unsigned int take_numbered(const char *suffix, size_t *ret_size)
{
	_cleanup_(freep) uint8_t *data = NULL;
	char name[80], first[64];

	snprintf(first, sizeof(first), "%s", path);
	snprintf(name, sizeof(name), "%s%s", first, suffix);
	snprintf(path, sizeof(path), "%.60s", name);
	data = read_file(ret_size);
	snprintf(path, sizeof(path), "%s", first);
	assert_int_equal(unlink(name), 0);
	if (!*ret_size)
		return 0;
	assert_int_equal(data[0], '{');
	assert_int_equal(data[*ret_size - 1], '\n');
	return count_lines(data, *ret_size);
}

static bool is_there(const char *suffix)
{
	char name[80];

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	return access(name, F_OK) == 0;
}

static struct exports *open_rotated(const char *scheme, const char *options)
{
	char full[200];
	struct exports *exports;

	given = (struct export_count){0};
	stderr_keep();
	snprintf(full, sizeof(full), "%s%s?%s", scheme, path, options);
	assert_int_equal(exports_new(&exports, &(struct export_options){.domain = 9}, NULL), 0);
	exports_set_clock(exports, CLOCK_NS);
	assert_int_equal(exports_add(exports, full), 0);
	return exports;
}

/* All are kept, PATH.1 the oldest; a line is the last when it reaches the size. */
static void test_rotate_size(void **state)
{
	struct exports *exports = open_rotated("json://", "rotate=20000");
	unsigned int lines = 0;
	size_t size, total = 0;
	char suffix[16];
	int n;

	(void)state;
	give_random(exports, FLOWS);
	exports_flush(exports);
	for (n = 1; snprintf(suffix, sizeof(suffix), ".%d", n) > 0 && is_there(suffix); n++) {
		lines += take_numbered(suffix, &size);
		assert_in_range(size, 20000, 20000 + 2000);
		total += size;
	}
	assert_in_range(n, 10, 30);
	lines += take_numbered("", &size);
	assert_true(size < 20000);
	assert_int_equal(lines, FLOWS);
	assert_int_equal(total + size, exports_stats(exports, 0)->bytes);
	assert_int_equal(exports_stats(exports, 0)->exported.records, FLOWS);
	exports_free(exports);
}

/* From the first record on; a file without any is left alone, however old.  Two are kept, PATH.1 the newest. */
static void test_rotate_time(void **state)
{
	struct exports *exports = open_rotated("json://", "rotate=10s,1MiB&keep=2");
	size_t size;

	(void)state;
	clock_skip(100 * NSEC_PER_SEC);
	exports_flush(exports);
	assert_false(is_there(".1"));
	for (unsigned int i = 1; i <= 4; i++) {
		give_random(exports, i);
		exports_flush(exports);
		clock_skip(9 * NSEC_PER_SEC);
		exports_flush(exports);
		assert_int_equal(is_there(".1"), i > 1);
		clock_skip(NSEC_PER_SEC);
		exports_flush(exports);
		assert_true(is_there(".1"));
	}
	assert_false(is_there(".3"));
	assert_int_equal(take_numbered(".1", &size), 4);
	assert_int_equal(take_numbered(".2", &size), 3);
	assert_int_equal(take_numbered("", &size), 0);
	exports_free(exports);
}

/* Each file of messages begins with templates, and what counts as exported is in them. */
static void test_rotate_messages(void **state)
{
	struct exports *exports = open_rotated("file://", "rotate=20000");
	char first[64], suffix[16];
	size_t total = 0;
	int n;

	(void)state;
	give_random(exports, 3000);
	exports_flush(exports);
	exports_flush(exports);
	snprintf(first, sizeof(first), "%s", path);
	for (n = 1; snprintf(suffix, sizeof(suffix), ".%d", n) > 0 && is_there(suffix); n++) {
		snprintf(path, sizeof(path), "%.40s%s", first, suffix);
		total += take_file(false);
		snprintf(path, sizeof(path), "%s", first);
	}
	assert_in_range(n, 5, 30);
	total += take_file(false);
	assert_int_equal(total, exports_stats(exports, 0)->bytes);
	assert_int_equal(exports_stats(exports, 0)->exported.records, 3000);
	assert_ledger(exports, &given);
	exports_free(exports);
}

/* What cannot be renamed goes on, which is said once. */
static void test_rotate_fails(void **state)
{
	struct exports *exports = open_rotated("json://", "rotate=20000&keep=1");
	char folder_there[80];
	size_t size;

	(void)state;
	snprintf(folder_there, sizeof(folder_there), "%s.1", path);
	assert_int_equal(mkdir(folder_there, 0700), 0);
	give_random(exports, FLOWS);
	exports_flush(exports);
	assert_int_equal(stderr_lines("cannot be rotated"), 1);
	assert_true(exports_stats(exports, 0)->errors > 3);
	assert_int_equal(rmdir(folder_there), 0);
	give_random(exports, FLOWS);
	exports_flush(exports);
	assert_true(is_there(".1"));
	assert_int_equal(exports_stats(exports, 0)->exported.records, 2 * FLOWS);
	assert_int_equal(stderr_lines("cannot be rotated"), 1);
	take_numbered(".1", &size);
	exports_free(exports);
}

#define TEST(f) cmocka_unit_test_teardown(f, remove_file)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_same_octets), TEST(test_flush),	TEST(test_no_space),
		TEST(test_full_device), TEST(test_cannot_open), TEST(test_json),
		TEST(test_stdout),	TEST(test_slow_reader), TEST(test_late_reader),
		TEST(test_drops),	TEST(test_durations),	TEST(test_stalled_reader),
		TEST(test_next_reader), TEST(test_rotated),	TEST(test_stdout_no_space),
		TEST(test_rotate_size),	TEST(test_rotate_time), TEST(test_rotate_messages),
		TEST(test_rotate_fails),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
