/* SPDX-License-Identifier: Apache-2.0 */
/* What is answered over HTTP, when, and where it is listened for. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <zlib.h>
#include "exporter/log.h"
#include "exporter/observe/http.h"
#include "exporter/observe/snapshot.h"

static struct {
	struct snapshots *snapshots;
	struct http *http;
	uint16_t port;
	_Atomic(bool) packs; /* whether zlib has memory */
	char text[1 << 16];  /* the last answer */
} got;

/* A port that nobody has. */
static uint16_t find_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	_cleanup_(closep) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	return ntohs(address.sin_port);
}

static int try_connect(uint16_t port)
{
	const struct sockaddr_in address = {.sin_family = AF_INET,
					    .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
					    .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static int connect_to(uint16_t port)
{
	for (int i = 0; i < 1000; i++, usleep(10000)) {
		int fd = try_connect(port);

		if (fd >= 0)
			return fd;
	}
	fail_msg("nobody listens");
	return -1;
}

/* In place of zlib's, which has no memory when it is to have none. */
int deflateInit2_(z_streamp stream, int level, int method, int window, int memory, int strategy,
		  const char *version, int size)
{
	static __typeof__(deflateInit2_) *real;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "deflateInit2_");
	return got.packs ? real(stream, level, method, window, memory, strategy, version, size)
			 : Z_MEM_ERROR;
}

/* The status of the answer, which is in got.text; `header` is a line of the request, or nothing. */
static int ask_with(const char *method, const char *path, const char *header)
{
	_cleanup_(closep) int fd = connect_to(got.port);
	char request[256];
	size_t used = 0;
	ssize_t r;
	int length = snprintf(request, sizeof(request),
			      "%s %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\n", method,
			      path, header);

	assert_int_equal(write(fd, request, (size_t)length), length);
	while ((r = read(fd, got.text + used, sizeof(got.text) - 1 - used)) > 0)
		used += (size_t)r;
	got.text[used] = '\0';
	assert_memory_equal(got.text, "HTTP/1.1 ", 9);
	return atoi(got.text + 9);
}

static int ask(const char *method, const char *path)
{
	return ask_with(method, path, "");
}

static struct http_settings settings_of(char text[32])
{
	snprintf(text, 32, "127.0.0.1:%u", got.port);
	return (struct http_settings){.listen = text};
}

static int setup(_unused_ void **state)
{
	char text[32];
	struct http_settings wanted;

	log_set_level(LOG_ERR);
	got.packs = true;
	got.port = find_port();
	wanted = settings_of(text);
	assert_int_equal(snapshots_new(&got.snapshots), 0);
	return http_new(&got.http, got.snapshots, &wanted);
}

static int teardown(_unused_ void **state)
{
	http_freep(&got.http);
	snapshots_freep(&got.snapshots);
	memset(&got, 0, sizeof(got));
	return 0;
}

/* One that was taken so long ago, with one interface. */
static void publish(uint64_t age_ns, bool attached)
{
	struct hooks_view *view = hooks_view_new(1);
	struct snapshot *s = snapshot_new();

	assert_non_null(view);
	assert_non_null(s);
	s->interval_ns = NSEC_PER_SEC;
	s->monotonic_ns = clock_ns(CLOCK_MONOTONIC) - age_ns;
	view->interfaces[0].ifindex = 1;
	view->interfaces[0].egress = attached ? HOOK_TCX : HOOK_NONE;
	snapshot_take_view(s, view);
	snapshots_publish(got.snapshots, s);
	snapshot_release(s);
}

static void test_ready(_unused_ void **state)
{
	assert_int_equal(ask("GET", "/readyz"), 503);
	assert_non_null(strstr(got.text, "not ready: the first swap has not settled yet\n"));
	assert_int_equal(ask("GET", "/healthz"), 200);
	publish(0, false);
	assert_int_equal(ask("GET", "/readyz"), 503);
	assert_non_null(strstr(got.text, "not ready: no interface is attached\n"));
	publish(0, true);
	assert_int_equal(ask("GET", "/readyz"), 200);
	publish(4 * NSEC_PER_SEC, true);
	assert_int_equal(ask("GET", "/readyz"), 503);
	assert_int_equal(ask("GET", "/healthz"), 200);
	publish(100 * NSEC_PER_SEC, true);
	assert_int_equal(ask("GET", "/healthz"), 503);
}

static void test_pages(_unused_ void **state)
{
	assert_int_equal(ask("GET", "/"), 200);
	assert_non_null(strstr(got.text, "href=\"/metrics\""));
	assert_int_equal(ask("GET", "/metrics/"), 404);
	assert_int_equal(ask("GET", "/../etc/passwd"), 404);
	assert_int_equal(ask("POST", "/metrics"), 405);
	assert_non_null(strstr(got.text, "\r\nAllow: GET, HEAD\r\n"));
	assert_int_equal(ask("GET", "/metrics"), 200);
	assert_non_null(
		strstr(got.text, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
	assert_non_null(strstr(got.text, "\nprocess_open_fds "));
	publish(0, true); /* is in the next answer, however soon that is */
	assert_int_equal(ask("GET", "/metrics"), 200);
	assert_non_null(strstr(got.text, "\nflowtally_snapshots_total 1\n"));
	publish(0, true);
	assert_int_equal(ask("HEAD", "/metrics"), 200);
	assert_null(strstr(got.text, "\nflowtally"));
	assert_int_equal(ask("GET", "/metrics"), 200);
	assert_non_null(strstr(got.text, "\nflowtally_snapshots_total 2\n"));
}

/* Who takes gzip takes the plain text too: without memory to pack it, that is the answer. */
static void test_gzip(_unused_ void **state)
{
	static const char takes[] = "Accept-Encoding: gzip\r\n";

	publish(0, true);
	got.packs = false;
	assert_int_equal(ask_with("GET", "/metrics", takes), 200);
	assert_null(strstr(got.text, "\r\nContent-Encoding:"));
	assert_non_null(strstr(got.text, "\r\nVary: Accept, Accept-Encoding\r\n"));
	assert_non_null(strstr(got.text, "\nflowtally_snapshots_total 1\n"));
	got.packs = true;
	assert_int_equal(ask_with("GET", "/metrics", takes), 200);
	assert_non_null(strstr(got.text, "\r\nContent-Encoding: gzip\r\n"));
	assert_memory_equal(strstr(got.text, "\r\n\r\n") + 4, "\x1f\x8b\x08", 3); /* RFC 1952 */
	assert_int_equal(ask("GET", "/metrics"), 200);
	assert_non_null(strstr(got.text, "\nflowtally_snapshots_total 1\n"));
}

static void test_apply(_unused_ void **state)
{
	char text[32];
	struct http_settings wanted = {.listen = "off"};
	uint16_t before = got.port;

	publish(0, true);
	assert_int_equal(ask("GET", "/"), 200);
	got.port = find_port();
	wanted = settings_of(text);
	wanted.hubble = true;
	assert_int_equal(http_apply(got.http, &wanted), 0);
	assert_int_equal(ask("GET", "/metrics"), 200);
	assert_int_equal(try_connect(before), -1);
	wanted.listen = "off";
	assert_int_equal(http_apply(got.http, &wanted), 0);
	for (int fd; (fd = try_connect(got.port)) >= 0; usleep(10000))
		close(fd);
}

/* Who has it is waited for. */
static void test_taken(_unused_ void **state)
{
	char text[32];
	struct http_settings wanted;
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	got.port = find_port();
	address.sin_port = htons(got.port);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	wanted = settings_of(text);
	assert_int_equal(http_apply(got.http, &wanted), 0);
	usleep(200000);
	close(fd);
	assert_int_equal(ask("GET", "/"), 200);
}

static void test_listen(_unused_ void **state)
{
	static const struct {
		const char *text, *address; /* NULL: it is none */
		uint16_t port;
	} rows[] = {
		{"127.0.0.1:9717", "127.0.0.1", 9717},
		{"localhost:80", "127.0.0.1", 80},
		{"0.0.0.0:65535", "0.0.0.0", 65535},
		{"[::1]:9717", "::1", 9717},
		{"[::]:1", "::", 1},
		{"::1:9717", NULL, 0},
		{"127.0.0.1", NULL, 0},
		{":9717", NULL, 0},
		{"127.0.0.1:0", NULL, 0},
		{"127.0.0.1:65536", NULL, 0},
		{"127.0.0.1:-1", NULL, 0},
		{"127.0.0.1: 80", NULL, 0},
		{"[127.0.0.1]:80", NULL, 0},
		{"[::1:80", NULL, 0},
		{"[]:80", NULL, 0},
		{"host:80", NULL, 0},
		{"", NULL, 0},
		{"[fe80::1]:80", NULL, 0},
		{"127.0.0.1:80x", NULL, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ip_address address;
		char why[HTTP_WHY_MAX] = "", text[INET6_ADDRSTRLEN];
		uint16_t port = 0;
		int r = http_listen_parse(rows[i].text, &address, &port, why);

		if (r != (rows[i].address ? 0 : -EINVAL))
			fail_msg("%s: %d, %s", rows[i].text, r, why);
		assert_true(r == 0 || *why);
		assert_int_equal(port, rows[i].port);
		if (rows[i].address)
			assert_string_equal(inet_ntop(address.family, &address.address, text,
						      sizeof(text)),
					    rows[i].address);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_ready), TEST(test_pages), TEST(test_gzip),
		TEST(test_apply), TEST(test_taken), cmocka_unit_test(test_listen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
