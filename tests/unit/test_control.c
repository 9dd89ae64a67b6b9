/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: where it may be made, what it answers to what, and that no client costs others anything. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include "exporter/log.h"
#include "exporter/meter/kernel_clock.h"
#include "exporter/observe/control.h"
#include "exporter/observe/control_request.h"
#include "exporter/observe/listener.h"
#include "exporter/observe/ring.h"

#define ANSWER_MS 20000
#define HANGING	  50

static char folder[] = "/tmp/flowtally-control-XXXXXX";
static char path[sizeof(folder) + 16];
static struct kernel_clock kernel_clock;
static uint64_t missed_by_all;

static int set_up(void **state)
{
	(void)state;
	log_set_level(LOG_ERR);
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/socket", folder);
	kernel_clock_init(&kernel_clock);
	return 0;
}

static int tear_down(void **state)
{
	char lock[sizeof(path) + 8];

	(void)state;
	snprintf(lock, sizeof(lock), "%s.lock", path);
	unlink(lock);
	return rmdir(folder);
}

/* --- Where it may be made. */

static int listen_at(struct listener **ret, const char *where, const char *group,
		     char why[LISTENER_WHY_MAX])
{
	const struct listener_options options = {.path = where, .group = group};

	return listener_new(ret, &options, why);
}

static void test_place(void **state)
{
	struct listener *one = NULL, *two = NULL;
	char why[LISTENER_WHY_MAX];
	struct stat status;

	(void)state;
	assert_int_equal(listen_at(&one, path, NULL, why), 0);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0660);
	assert_int_equal(listen_at(&two, path, NULL, why), -EADDRINUSE);
	assert_non_null(strstr(why, "another exporter"));
	one = listener_free(one);
	assert_int_equal(stat(path, &status), -1);
	assert_int_equal(listen_at(&two, path, "no-such-group", why), -ENOENT);
	assert_non_null(strstr(why, "groupadd"));
	assert_int_equal(listen_at(&two, "relative", NULL, why), -EINVAL);
	assert_int_equal(listen_at(&two, "/", NULL, why), -EINVAL);
	assert_null(two);
}

/* A dead process leaves its socket behind, which is replaced; a file that is none is not touched. */
static void test_left_behind(void **state)
{
	struct listener *listener = NULL;
	char why[LISTENER_WHY_MAX];
	struct stat status;
	pid_t child = fork();
	FILE *file;
	int end;

	(void)state;
	if (child == 0)
		_exit(listen_at(&listener, path, NULL, why) == 0 ? 0 : 1); /* and removes nothing */
	assert_int_equal(waitpid(child, &end, 0), child);
	assert_int_equal(end, 0);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(listen_at(&listener, path, NULL, why), 0);
	listener = listener_free(listener);
	file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(listen_at(&listener, path, NULL, why), -EEXIST);
	assert_int_equal(stat(path, &status), 0);
	unlink(path);
}

/* A socket without a lock, of some other program that runs. */
static void test_of_another(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct listener *listener = NULL;
	char why[LISTENER_WHY_MAX];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	memcpy(address.sun_path, path, sizeof(path));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(listen_at(&listener, path, NULL, why), -EADDRINUSE);
	assert_non_null(strstr(why, "another program"));
	close(fd);
	assert_int_equal(listen_at(&listener, path, NULL, why), 0); /* it is dead now */
	listener_free(listener);
}

/* An empty folder of ours becomes ours alone; where something lies, it stays as it is. */
static void check_empty_folder(void)
{
	char volume[sizeof(folder) + 16], inside[sizeof(folder) + 64];
	struct listener *listener = NULL;
	char why[LISTENER_WHY_MAX];
	struct stat status;

	snprintf(volume, sizeof(volume), "%s/volume", folder);
	snprintf(inside, sizeof(inside), "%s/something", volume);
	assert_int_equal(mkdir(volume, 0755), 0);
	assert_int_equal(chmod(volume, 0777), 0);
	assert_int_equal(mkdir(inside, 0755), 0);
	snprintf(inside, sizeof(inside), "%s/socket", volume);
	assert_int_equal(listen_at(&listener, inside, NULL, why), -EPERM);
	assert_non_null(strstr(why, "chmod go-w"));
	assert_int_equal(stat(volume, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0777);
	snprintf(inside, sizeof(inside), "%s/something", volume);
	assert_int_equal(rmdir(inside), 0);
	snprintf(inside, sizeof(inside), "%s/socket", volume);
	assert_int_equal(listen_at(&listener, inside, NULL, why), 0);
	assert_int_equal(stat(volume, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0755);
	listener_free(listener);
	snprintf(inside, sizeof(inside), "%s/socket.lock", volume);
	unlink(inside);
	assert_int_equal(rmdir(volume), 0);
}

/* Whoever can write to a folder on the way could put another socket there. */
static void test_folders(void **state)
{
	char open[sizeof(folder) + 16], deep[sizeof(folder) + 64];
	struct listener *listener = NULL;
	char why[LISTENER_WHY_MAX];

	(void)state;
	snprintf(open, sizeof(open), "%s/open", folder);
	snprintf(deep, sizeof(deep), "%s/deep/socket", open);
	assert_int_equal(mkdir(open, 0755), 0);
	assert_int_equal(chmod(open, 0777), 0);
	assert_int_equal(listen_at(&listener, deep, NULL, why), -EPERM);
	assert_non_null(strstr(why, "chmod go-w"));
	assert_int_equal(chmod(open, 0755), 0);
	assert_int_equal(listen_at(&listener, deep, NULL, why), 0);
	listener_free(listener);
	snprintf(deep, sizeof(deep), "%s/deep/socket.lock", open);
	unlink(deep);
	*strrchr(deep, '/') = '\0';
	assert_int_equal(rmdir(deep), 0);
	assert_int_equal(rmdir(open), 0);
	check_empty_folder();
}

/* --- Answers. */

/* With the smallest ring. */
static struct control *start_with(struct snapshots **ret, unsigned int kinds)
{
	struct control_options options = {
		.path = path,
		.records = RING_RECORDS_MIN,
		.keep_ns = 3600 * NSEC_PER_SEC,
		.enterprise = 32473,
		.clock = &kernel_clock,
		.kinds = kinds,
		.missed = &missed_by_all,
	};
	struct control *control = NULL;

	assert_int_equal(snapshots_new(ret), 0);
	options.snapshots = *ret;
	assert_int_equal(control_new(&control, &options), 0);
	return control;
}

static struct control *start(struct snapshots **ret)
{
	return start_with(ret, 1u << RECORD_FLOW);
}

static int connect_to(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, path, sizeof(path));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* A line, or what was there when the other side closed; false: nothing came. */
static bool read_line(int fd, char *line, size_t size)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	size_t used = 0;

	while (used + 1 < size && poll(&poll_fd, 1, ANSWER_MS) == 1 &&
	       recv(fd, line + used, 1, 0) == 1)
		if (line[used++] == '\n')
			break;
	line[used] = '\0';
	return used > 0;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static int ask(const char *request)
{
	int fd = connect_to();

	say(fd, request);
	return fd;
}

#define ERROR(code, text) \
	"{\"version\":1,\"error\":{\"code\":\"" code "\",\"text\":\"" text "\"}}\n"
#define V FLOWTALLY_VERSION

static const struct {
	const char *request, *answer;
} requests[] = {
	{"", ERROR("request", "not JSON: '[' or '{' expected near end of file at octet 0")},
	{"{", ERROR("request", "not JSON: string or '}' expected near end of file at octet 1")},
	{"[]", ERROR("request", "an object of JSON is needed")},
	{"{}",
	 ERROR("version", "version: lacks, write {\\\"version\\\":1,\\\"ask\\\":\\\"status\\\"}")},
	{"{\"version\":\"1\"}",
	 ERROR("version", "version: lacks, write {\\\"version\\\":1,\\\"ask\\\":\\\"status\\\"}")},
	{"{\"version\":2,\"ask\":\"status\"}",
	 ERROR("version", "version 2 is asked for, this exporter (" V ") speaks version 1")},
	{"{\"version\":1,\"version\":1}",
	 ERROR("request", "not JSON: duplicate object key near '\\\"version\\\"' at octet 22")},
	{"{\"version\":1}",
	 ERROR("request", "ask: '' is none of status, records, top (this exporter is " V ")")},
	{"{\"version\":1,\"ask\":\"st\\u001b\"}",
	 ERROR("request", "ask: 'st?' is none of status, records, top (this exporter is " V ")")},
	{"{\"version\":1,\"ask\":\"status\",\"last\":1}",
	 ERROR("request", "'last': not known to status of this exporter (" V ")")},
	{"{\"version\":1,\"ask\":\"records\",\"colour\":1}",
	 ERROR("request", "'colour': not known to records of this exporter (" V ")")},
	{"{\"version\":1,\"ask\":\"records\",\"last\":-1}",
	 ERROR("request", "last: an integer of 0 or more is needed")},
	{"{\"version\":1,\"ask\":\"records\",\"since_ms\":\"now\"}",
	 ERROR("request", "since_ms: an integer of 0 or more is needed")},
	{"{\"version\":1,\"ask\":\"records\",\"follow\":1}",
	 ERROR("request", "follow: true or false is needed")},
	{"{\"version\":1,\"ask\":\"records\",\"filter\":1}",
	 ERROR("request", "filter: a string is needed")},
	{"{\"version\":1,\"ask\":\"top\",\"follow\":true}",
	 ERROR("request", "'follow': not known to top of this exporter (" V ")")},
	{"{\"version\":1,\"ask\":\"top\",\"rows\":501}",
	 ERROR("request", "rows: it can be 1 to 500")},
	{"{\"version\":1,\"ask\":\"top\",\"every_ms\":99}",
	 ERROR("request", "every_ms: it can be 100 to 3600000")},
	{"{\"version\":1,\"ask\":\"top\",\"by\":\"weight\"}",
	 ERROR("request", "by: it can be octets, packets or flows")},
	{"{\"version\":1,\"ask\":\"top\",\"keys\":[]}",
	 ERROR("request", "keys: a string is needed")},
	{"{\"version\":1,\"ask\":\"top\",\"keys\":\"src,colour\"}",
	 ERROR("request", "'colour': src, dst, sport, dport, proto, iface, dir, vlan, tos, end, "
			  "reason, class, service, host or port is allowed")},
	{"{\"version\":1,\"ask\":\"top\",\"filter\":\"less 100\"}",
	 ERROR("filter", "column 1: 'less': records cannot answer it: they hold no single packet's "
			 "length; compare `octets` and `packets`")},
	{"{\"version\":1,\"ask\":\"status\"}",
	 ERROR("early",
	       "the exporter has begun, and its banks have not been read yet; try again in "
	       "some seconds")},
	{"{\"version\":1,\"ask\":\"records\"}",
	 "{\"version\":1,\"answer\":\"records\",\"held\":0,\"oldest_ms\":0,\"newest_ms\":0,"
	 "\"complete\":true}\n"},
	{" { \"ask\" : \"records\" , \"version\" : 1, \"last\": 5 } ",
	 "{\"version\":1,\"answer\":\"records\",\"held\":0,\"oldest_ms\":0,\"newest_ms\":0,"
	 "\"complete\":false}\n"},
};

static void test_requests(void **state)
{
	_cleanup_(snapshots_freep) struct snapshots *snapshots = NULL;
	_cleanup_(control_freep) struct control *control = NULL;
	char line[4096];

	(void)state;
	control = start(&snapshots);
	assert_non_null(control);
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		int fd = connect_to();

		say(fd, requests[i].request);
		say(fd, "\n");
		assert_true(read_line(fd, line, sizeof(line)));
		assert_string_equal(line, requests[i].answer);
		close(fd);
	}
}

/* This process asks by pairs of sockets, also where there is no place to listen at, and whatever is left of them is closed. */
static void test_join(void **state)
{
	_cleanup_(snapshots_freep) struct snapshots *snapshots = NULL;
	struct control_options options = {
		.records = RING_RECORDS_MIN,
		.keep_ns = NSEC_PER_SEC,
		.clock = &kernel_clock,
	};
	struct control *control = NULL;
	char line[4096];
	int fds[40];

	(void)state;
	assert_int_equal(snapshots_new(&snapshots), 0);
	options.snapshots = snapshots;
	assert_int_equal(control_new(&control, &options), 0);
	assert_int_equal(access(path, F_OK), -1);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = control_join(control);
		assert_true(fds[i] >= 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		say(fds[i], "{\"version\":1,\"ask\":\"records\"}\n");
		assert_true(read_line(fds[i], line, sizeof(line)));
		assert_non_null(strstr(line, "\"answer\":\"records\""));
	}
	control_end(control, UINT64_MAX);
	close(fds[0]);
	fds[0] = control_join(control); /* nobody takes it any more */
	control_free(control);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		while (read_line(fds[i], line, sizeof(line)))
			; /* the end of the answer */
		assert_int_equal(recv(fds[i], line, sizeof(line), MSG_DONTWAIT), 0);
		close(fds[i]);
	}
}

/* What has no end is no request, however slowly it comes. */
static void test_endless(void **state)
{
	_cleanup_(snapshots_freep) struct snapshots *snapshots = NULL;
	_cleanup_(control_freep) struct control *control = NULL;
	char line[4096], blank[CONTROL_REQUEST_MAX + 1];
	int fd;

	(void)state;
	control = start(&snapshots);
	assert_non_null(control);
	fd = connect_to();
	memset(blank, ' ', sizeof(blank));
	blank[CONTROL_REQUEST_MAX] = '\0';
	say(fd, blank);
	assert_true(read_line(fd, line, sizeof(line)));
	assert_string_equal(line, ERROR("request", "longer than a request can be"));
	assert_false(read_line(fd, line, sizeof(line)));
	close(fd);
}

/* --- Records. */

static void give(struct control *control, uint64_t from, uint64_t to)
{
	struct flow_key key = {.protocol = IPPROTO_UDP, .src = {192, 0, 2, 1}};
	struct flow_record record = {.packets = 1, .octets = 28};

	for (uint64_t i = from; i < to; i++) {
		record.packets = i + 1;
		control_delta(control, &key, &record);
	}
	control_settled(control, 1u << RECORD_FLOW);
}

/* The packets of a record; 0: the line is about something else. */
static uint64_t packets_of(const char *line)
{
	const char *at = strstr(line, "\"packetDeltaCount\":");

	return at ? strtoull(at + strlen("\"packetDeltaCount\":"), NULL, 10) : 0;
}

static uint64_t missed_of(const char *line)
{
	return strncmp(line, "{\"missed\":", 10) ? 0 : strtoull(line + 10, NULL, 10);
}

/* The last three, then the next two as they come, and a last line when the exporter ends. */
static void test_follow(void **state)
{
	_cleanup_(snapshots_freep) struct snapshots *snapshots = NULL;
	_cleanup_(control_freep) struct control *control = NULL;
	char line[32768];
	int fd;

	(void)state;
	control = start(&snapshots);
	give(control, 0, 10);
	fd = ask("{\"version\":1,\"ask\":\"records\",\"last\":3,\"follow\":true}\n");
	assert_true(read_line(fd, line, sizeof(line)));
	assert_non_null(strstr(line, "\"held\":10,"));
	assert_non_null(strstr(line, "\"complete\":true}"));
	for (uint64_t want = 8; want <= 10; want++) {
		assert_true(read_line(fd, line, sizeof(line)));
		assert_int_equal(packets_of(line), want);
	}
	give(control, 10, 12);
	for (uint64_t want = 11; want <= 12; want++) {
		assert_true(read_line(fd, line, sizeof(line)));
		assert_int_equal(packets_of(line), want);
	}
	give(control, 12, 13);
	control_end(control, UINT64_MAX);
	assert_true(read_line(fd, line, sizeof(line)));
	assert_int_equal(packets_of(line), 13);
	assert_true(read_line(fd, line, sizeof(line)));
	assert_string_equal(line, "{\"end\":\"the exporter has ended\"}\n");
	assert_false(read_line(fd, line, sizeof(line)));
	close(fd);
}

/* A client that follows up to a time that is over gets an end, and one line about what there is. */
static void test_until(void **state)
{
	_cleanup_(snapshots_freep) struct snapshots *snapshots = NULL;
	_cleanup_(control_freep) struct control *control = NULL;
	char line[32768];
	int fd;

	(void)state;
	control = start(&snapshots);
	give(control, 0, 10);
	fd = ask("{\"version\":1,\"ask\":\"records\",\"follow\":true,\"until_ms\":1}\n");
	assert_true(read_line(fd, line, sizeof(line)));
	assert_non_null(strstr(line, "\"held\":10,"));
	for (int i = 0; i < 10 && strncmp(line, "{\"end\"", 6) != 0; i++)
		assert_true(read_line(fd, line, sizeof(line)));
	assert_string_equal(line, "{\"end\":\"\"}\n");
	close(fd);
}

static void give_one(struct control *control, uint8_t kind, uint64_t first_ms, uint64_t packets)
{
	const struct flow_key key = {.kind = kind, .protocol = IPPROTO_UDP, .src = {192, 0, 2, 1}};
	const struct flow_record record = {.packets = packets,
					   .octets = 28,
					   .first_ns = first_ms * NSEC_PER_MSEC,
					   .last_ns = first_ms * NSEC_PER_MSEC};

	control_delta(control, &key, &record);
}

static void check_packets(int fd, const uint64_t *expected, unsigned int expected_count)
{
	char line[32768];

	for (unsigned int i = 0; i < expected_count; i++) {
		assert_true(read_line(fd, line, sizeof(line)));
		assert_int_equal(packets_of(line), expected[i]);
	}
}

/* A client gets records of two kinds in the order of time, and waits for no kind that stays away. */
static void test_two_kinds(void **state)
{
	static const uint64_t together[] = {1, 2, 3, 4}, alone[] = {5, 6};
	const unsigned int flow = 1u << RECORD_FLOW, drop = 1u << RECORD_DROP;
	_cleanup_(snapshots_freep) struct snapshots *snapshots = NULL;
	_cleanup_(control_freep) struct control *control = NULL;
	char line[32768];
	int fd;

	(void)state;
	control = start_with(&snapshots, flow | drop);
	fd = ask("{\"version\":1,\"ask\":\"records\",\"follow\":true}\n");
	assert_true(read_line(fd, line, sizeof(line)));
	give_one(control, 0, 4000, 4);
	give_one(control, 0, 2000, 2);
	control_settled(control, flow);
	give_one(control, 0, 3000, 3);
	give_one(control, 0, 1000, 1);
	control_settled(control, drop);
	check_packets(fd, together, ARRAY_SIZE(together));
	give_one(control, 0, 5000, 5);
	control_settled(control, flow);
	give_one(control, 0, 6000, 6);
	control_settled(control, flow);
	check_packets(fd, alone, ARRAY_SIZE(alone));
	close(fd);
}

/*
 * Who does not read misses what the ring cannot hold, and is told how much: nothing is forgotten, nothing told twice, and as
 * much is counted.
 */
static void test_slow_reader(void **state)
{
	const uint64_t all = 100 * RING_RECORDS_MIN;
	_cleanup_(snapshots_freep) struct snapshots *snapshots = NULL;
	_cleanup_(control_freep) struct control *control = NULL;
	uint64_t next = 1, missed = 0;
	char line[32768];
	int fd;

	(void)state;
	control = start(&snapshots);
	__atomic_store_n(&missed_by_all, 0, __ATOMIC_RELAXED);
	fd = ask("{\"version\":1,\"ask\":\"records\",\"follow\":true}\n");
	assert_true(read_line(fd, line, sizeof(line)));
	give(control, 0, all);
	while (next <= all && read_line(fd, line, sizeof(line))) {
		missed += missed_of(line);
		next += missed_of(line);
		if (!packets_of(line))
			continue;
		assert_int_equal(packets_of(line), next);
		next++;
	}
	assert_int_equal(next, all + 1);
	assert_true(missed > 50 * RING_RECORDS_MIN);
	assert_int_equal(__atomic_load_n(&missed_by_all, __ATOMIC_RELAXED), missed);
	close(fd);
}

/* --- Clients that hang. */

static void test_hanging(void **state)
{
	_cleanup_(snapshots_freep) struct snapshots *snapshots = NULL;
	_cleanup_(control_freep) struct control *control = NULL;
	int hanging[2 * CONTROL_CLIENTS_MAX], fd;
	char line[32768];

	(void)state;
	control = start(&snapshots);
	give(control, 0, RING_RECORDS_MIN);
	for (int i = 0; i < HANGING; i++) {
		hanging[i] = connect_to();
		if (i % 3 == 0)
			say(hanging[i], "{\"version\":1,\"ask\":");
		else if (i % 3 == 1) /* and never reads */
			say(hanging[i], "{\"version\":1,\"ask\":\"records\",\"follow\":true}\n");
	}
	fd = ask("{\"version\":1,\"ask\":\"records\",\"last\":1}\n");
	assert_true(read_line(fd, line, sizeof(line)));
	assert_non_null(strstr(line, "\"answer\":\"records\""));
	close(fd);
	/* More than there can be: the last ones are told so at once. */
	for (int i = HANGING; i < 2 * CONTROL_CLIENTS_MAX; i++)
		hanging[i] = connect_to();
	assert_true(read_line(hanging[2 * CONTROL_CLIENTS_MAX - 1], line, sizeof(line)));
	assert_string_equal(
		line, ERROR("busy", "as many clients as there can be, 64, of which 8 are for root; "
				    "try again"));
	/* And when they have done nothing for a second they make room. */
	usleep(1200000);
	fd = ask("{\"version\":1,\"ask\":\"records\",\"last\":1}\n");
	assert_true(read_line(fd, line, sizeof(line)));
	assert_non_null(strstr(line, "\"answer\":\"records\""));
	close(fd);
	for (int i = 0; i < 2 * CONTROL_CLIENTS_MAX; i++)
		close(hanging[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_place),	   cmocka_unit_test(test_left_behind),
		cmocka_unit_test(test_of_another), cmocka_unit_test(test_folders),
		cmocka_unit_test(test_requests),   cmocka_unit_test(test_join),
		cmocka_unit_test(test_endless),	   cmocka_unit_test(test_follow),
		cmocka_unit_test(test_two_kinds),  cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_until),	   cmocka_unit_test(test_hanging),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
