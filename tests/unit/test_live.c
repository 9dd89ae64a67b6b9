/* SPDX-License-Identifier: Apache-2.0 */
/* The live table: what it shows, that it fits the terminal, and that it never waits for its reader. */
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <arpa/inet.h>
#include <cmocka.h>
#include "exporter/observe/live.h"

#define SEC   NSEC_PER_SEC
#define START (1000 * SEC)

static char output[1 << 20];

/* What has been written since the last call. */
static void read_output(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	size_t size = 0;
	ssize_t n;

	while (poll(&poll_fd, 1, 0) == 1) {
		n = read(fd, output + size, sizeof(output) - 1 - size);
		assert_true(n > 0);
		size += (size_t)n;
	}
	output[size] = '\0';
}

/* A terminal hands it on a little later: it is all here when a mark is that was written behind it. */
static void read_terminal(int reader, int writer)
{
	size_t size = 0;
	ssize_t n;

	assert_int_equal(write(writer, "\001", 1), 1);
	while (!size || output[size - 1] != '\001') {
		n = read(reader, output + size, sizeof(output) - 1 - size);
		assert_true(n > 0);
		size += (size_t)n;
	}
	output[size - 1] = '\0';
}

static struct flow_key key_of(uint32_t number)
{
	struct flow_key key = {.protocol = 6,
			       .src_port = htons(40000),
			       .dst_port = htons(443),
			       .ifindex = 999999,
			       .dst = {192, 0, 2, 1}};

	number = htonl(0x0a000000 + number);
	memcpy(key.src, &number, sizeof(number));
	return key;
}

static void delta(struct live *live, uint32_t number, uint64_t packets, uint64_t octets)
{
	struct flow_key key = key_of(number);
	struct flow_record record = {.packets = packets,
				     .octets = octets,
				     .first_ns = START - 30 * SEC,
				     .last_ns = START};

	live_delta(live, &key, &record);
}

static void refresh(struct live *live, uint64_t now_ns, uint64_t lost)
{
	struct live_totals totals = {
		.now_ns = now_ns, .interfaces = "eth0", .flows = 1234, .lost = lost};

	live_refresh(live, &totals);
}

static unsigned int count_lines(void)
{
	unsigned int lines = 0;

	for (const char *c = output; *c; c++)
		lines += *c == '\n';
	return lines;
}

static void test_lines(void **state)
{
	_cleanup_(live_freep) struct live *live = NULL;
	const char *first, *second;
	int pipe_fd[2];

	(void)state;
	assert_int_equal(pipe(pipe_fd), 0);
	assert_int_equal(live_new(&live, pipe_fd[1], START), 0);
	delta(live, 1, 10, 5000);
	refresh(live, START + SEC, 0);
	read_output(pipe_fd[0]);
	assert_string_equal(output, ""); /* a block each five seconds */
	delta(live, 1, 10, 5000);
	delta(live, 2, 100, 1000000);
	refresh(live, START + 5 * SEC, 0);
	read_output(pipe_fd[0]);
	assert_non_null(strstr(
		output,
		"1234 flows, 0 packets lost, in 1.62M bit/s 24 pkt/s, out 0 bit/s 0 pkt/s on eth0\n"));
	first = strstr(output, "10.0.0.2:40000");
	second = strstr(output, "10.0.0.1:40000");
	assert_true(first && second && first < second);
	assert_non_null(strstr(first, "192.0.2.1:443"));
	assert_non_null(strstr(first, " in  999999        20  1.60M  1.00M  35s\n"));
	assert_non_null(strstr(second, "     4  16.0k  10.0k  35s\n"));
	assert_int_equal(count_lines(), 4);
	assert_null(strchr(output, '\033'));
	/* What was shown once is not shown again; octets go on. */
	delta(live, 1, 1, 500);
	refresh(live, START + 10 * SEC, 3);
	read_output(pipe_fd[0]);
	assert_int_equal(count_lines(), 3);
	assert_non_null(strstr(output, "     0    800  10.5k  40s\n"));
	assert_non_null(strstr(output, "3 packets lost"));
	close(pipe_fd[0]);
	close(pipe_fd[1]);
}

static void test_endpoints(void **state)
{
	struct flow_key keys[3] = {{.protocol = 58, .kind = FLOW_IPV6 | FLOW_EGRESS},
				   {.protocol = 17, .kind = FLOW_IPV6},
				   {.protocol = 1}};
	struct flow_record record = {.packets = 1, .octets = 100};
	_cleanup_(live_freep) struct live *live = NULL;
	int pipe_fd[2];

	(void)state;
	keys[0].dst_port = htons(128 << 8);
	keys[1].src_port = htons(53);
	keys[1].src[0] = keys[1].src[15] = 0xfe;
	keys[2].dst_port = htons(3 << 8 | 1);
	assert_int_equal(pipe(pipe_fd), 0);
	assert_int_equal(live_new(&live, pipe_fd[1], START), 0);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		live_delta(live, &keys[i], &record);
	refresh(live, START + 5 * SEC, 0);
	read_output(pipe_fd[0]);
	assert_non_null(strstr(output, "ICMP6 :: "));
	assert_non_null(strstr(output, "[::]:128/0 "));
	assert_non_null(strstr(output, " out "));
	assert_non_null(strstr(output, "UDP   [fe00::fe]:53 "));
	assert_non_null(strstr(output, "ICMP  0.0.0.0 "));
	assert_non_null(strstr(output, "0.0.0.0:3/1 "));
	close(pipe_fd[0]);
	close(pipe_fd[1]);
}

/* Longest line that is seen, without what steers the terminal. */
static unsigned int longest_line(void)
{
	unsigned int length = 0, longest = 0;

	for (const char *c = output; *c; c++) {
		if (*c == '\033') {
			c += strcspn(c, "ABJm");
			continue;
		}
		length = *c == '\n' || *c == '\r' ? 0 : length + 1;
		longest = MAX(longest, length);
	}
	return longest;
}

static void test_terminal(void **state)
{
	static const struct winsize sizes[] = {
		{24, 80, 0, 0}, {50, 200, 0, 0}, {5, 20, 0, 0}, {3, 1, 0, 0}};
	struct flow_key long_key = {.protocol = 17, .kind = FLOW_IPV6, .src_port = htons(65535)};
	struct flow_record record = {.packets = 1, .octets = 1000000};
	_cleanup_(live_freep) struct live *live = NULL;
	int reader, writer;
	char up[16];

	(void)state;
	memset(long_key.src, 0xff, 16);
	memset(long_key.dst, 0xff, 16);
	assert_int_equal(openpty(&reader, &writer, NULL, NULL, NULL), 0);
	assert_int_equal(live_new(&live, writer, START), 0);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		unsigned int rows = MIN(100 + 2, (unsigned int)MAX(sizes[i].ws_row, 5) - 2);

		assert_int_equal(ioctl(writer, TIOCSWINSZ, &sizes[i]), 0);
		for (uint32_t flow = 0; flow < 100; flow++)
			delta(live, flow, 1, 1000 + flow);
		live_delta(live, &long_key, &record);
		refresh(live, START + (i + 1) * SEC, i % 2);
		read_terminal(reader, writer);
		assert_int_equal(count_lines(), 1 + rows);
		assert_in_range(longest_line(), 1, sizes[i].ws_col);
		assert_non_null(strstr(output, "\r\033[J"));
		snprintf(up, sizeof(up), "\033[%uA", 1 + rows);
		assert_string_equal(output + strlen(output) - strlen(up), up);
		assert_int_equal(!!strstr(output, "\033[31m"),
				 i % 2);   /* red when packets are lost */
		if (sizes[i].ws_col == 80) /* the port is there where the address does not fit */
			assert_non_null(strstr(output, "[ffff:ffff:fff~]:65535 "));
	}
	live_end(live);
	read_terminal(reader, writer);
	assert_string_equal(output, "\033[4B\r\r\n"); /* the terminal makes CR LF of LF */
	close(writer);
	close(reader);
}

/* More flows than the table holds: the busiest are there all the same. */
static void test_busiest(void **state)
{
	_cleanup_(live_freep) struct live *live = NULL;
	char name[32];
	int pipe_fd[2];

	(void)state;
	assert_int_equal(pipe(pipe_fd), 0);
	assert_int_equal(live_new(&live, pipe_fd[1], START), 0);
	for (unsigned int round = 0; round < 3; round++) {
		for (uint32_t flow = 0; flow < 50000; flow++)
			delta(live, flow, 1, flow % 5000 == 77 ? 1000000 : 40 + flow % 1000);
		refresh(live, START + (round + 1) * 5 * SEC, 0);
		read_output(pipe_fd[0]);
		for (uint32_t flow = 77; flow < 50000; flow += 5000) {
			snprintf(name, sizeof(name), "10.0.%u.%u:40000", flow >> 8, flow & 255);
			assert_non_null(strstr(output, name));
		}
	}
	close(pipe_fd[0]);
	close(pipe_fd[1]);
}

/* A reader that has stopped costs refreshes, not time; what comes later starts at a line's beginning. */
static void test_slow_reader(void **state)
{
	_cleanup_(live_freep) struct live *live = NULL;
	int pipe_fd[2];

	(void)state;
	assert_int_equal(pipe(pipe_fd), 0);
	assert_int_equal(fcntl(pipe_fd[1], F_SETPIPE_SZ, 4096), 4096);
	assert_int_equal(live_new(&live, pipe_fd[1], START), 0);
	for (unsigned int round = 1; round < 100; round++) {
		delta(live, 1, 1, 40);
		refresh(live, START + round * 5 * SEC, 0);
	}
	read_output(pipe_fd[0]);
	assert_in_range(strlen(output), 3000, 4096);
	refresh(live, START + 1000 * SEC, 0);
	read_output(pipe_fd[0]);
	assert_non_null(strstr(output, "\n1234 flows, "));
	/* The descriptor that was given still blocks, as whoever shares it expects. */
	assert_int_equal(fcntl(pipe_fd[1], F_GETFL) & O_NONBLOCK, 0);
	close(pipe_fd[0]);
	refresh(live, START + 2000 * SEC, 0); /* nobody reads any more */
	close(pipe_fd[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),	    cmocka_unit_test(test_endpoints),
		cmocka_unit_test(test_terminal),    cmocka_unit_test(test_busiest),
		cmocka_unit_test(test_slow_reader),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
