/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strings, whose length differs from record to record: against libfixbuf, at the limits of their length in front of
 * them, where they are cut, in messages, and as JSON.
 */
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "exporter/export/export.h"
#include "exporter/export/format/json.h"
#include "exporter/export/format/profile.h"
#include "exporter/export/format/utf8.h"
#include "tests/unit/flows.h"
#include <fixbuf/public.h> /* last: GLib defines MIN and MAX anew, quietly */

#define LONGEST	   65535
#define MESSAGE	   65535
#define DIRECTION  "flowDirection"
#define NAME	   "dropReasonName"
#define OUR_NUMBER 32473

static const enum field_symbol fields[] = {FIELD_DROP_REASON_NAME, FIELD_DIRECTION};
static const struct record_context no_context;

static struct drop_reason reason;
static const struct flow named = {.key.kind = FLOW_DROP | FLOW_EGRESS, .drop = &reason};

/* Octets of a record of the two fields above. */
static size_t encode(uint8_t *out, size_t limit, const char *name, unsigned int *ret_cut)
{
	struct flow_template t = template_of(fields, ARRAY_SIZE(fields));
	size_t length;

	reason.name = name;
	length = record_encode(out, limit, &t, PROTOCOL_IPFIX, &named, &no_context, ret_cut);
	assert_true(length <= limit);
	assert_int_equal(record_length(&t, PROTOCOL_IPFIX, out), length);
	assert_int_equal(out[length - 1], 1); /* the direction comes behind the name */
	return length;
}

static void check(bool ok, GError *error)
{
	if (!ok)
		fail_msg("libfixbuf: %s", error ? error->message : "failed");
}

static fbInfoModel_t *make_model(void)
{
	static fbInfoElement_t own = FB_IE_INIT_FULL(NAME, OUR_NUMBER, 3, FB_IE_VARLEN,
						     FB_IE_DEFAULT, 0, 0, FB_STRING, NULL);
	fbInfoModel_t *model = fbInfoModelAlloc();

	fbInfoModelAddElement(model, &own);
	return model;
}

static fbTemplate_t *make_template(fbInfoModel_t *model)
{
	fbInfoElementSpec_t name = {(char *)NAME, 0, 0}, direction = {(char *)DIRECTION, 1, 0};
	fbTemplate_t *t = fbTemplateAlloc(model);

	check(fbTemplateAppendSpec(t, &name, 0, NULL) &&
		      fbTemplateAppendSpec(t, &direction, 0, NULL),
	      NULL);
	return t;
}

struct __attribute__((packed)) in_memory {
	fbVarfield_t name;
	uint8_t direction;
};

/* What libfixbuf makes of the same, without the headers. */
static size_t encode_fixbuf(uint8_t *out, const char *name, size_t size)
{
	static uint8_t message[MESSAGE];
	fbInfoModel_t *model = make_model();
	fbSession_t *session = fbSessionAlloc(model);
	struct in_memory record = {.name = {.buf = (uint8_t *)name, .len = size}, .direction = 1};
	fbExporter_t *exporter;
	GError *error = NULL;
	size_t length;
	fBuf_t *buffer;

	check(fbSessionAddTemplate(session, TRUE, 500, make_template(model), &error) &&
		      fbSessionAddTemplate(session, FALSE, 500, make_template(model), &error),
	      error);
	exporter = fbExporterAllocBuffer(message, sizeof(message));
	buffer = fBufAllocForExport(session, exporter);
	fBufSetAutomaticMode(buffer, FALSE);
	check(fBufSetInternalTemplate(buffer, 500, &error) &&
		      fBufSetExportTemplate(buffer, 500, &error) &&
		      fBufAppend(buffer, (uint8_t *)&record, sizeof(record), &error) &&
		      fBufEmit(buffer, &error),
	      error);
	length = fbExporterGetMsgLen(exporter) - 20;
	memcpy(out, message + 20, length);
	fBufFree(buffer);
	fbInfoModelFree(model);
	return length;
}

static void test_lengths(void **state)
{
	static const size_t sizes[] = {0, 1, 40, 253, 254, 255, 256, 1400, 32768, 65500};
	static uint8_t ours[LONGEST + 4], theirs[LONGEST + 4];
	static char name[LONGEST + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		unsigned int cut = 7;
		size_t length;

		memset(name, 'a' + (int)i, sizes[i]);
		name[sizes[i]] = '\0';
		length = encode(ours, sizeof(ours), name, &cut);
		assert_int_equal(cut, 0);
		assert_int_equal(length, sizes[i] + (sizes[i] < 255 ? 2 : 4));
		assert_int_equal(encode_fixbuf(theirs, name, sizes[i]), length);
		assert_memory_equal(ours, theirs, length);
	}
}

/* The greatest length that can be said; what is longer is cut to it. */
static void test_longest(void **state)
{
	static uint8_t out[LONGEST + 100];
	static char name[LONGEST + 51];
	unsigned int cut;

	(void)state;
	memset(name, 'x', LONGEST + 50);
	assert_int_equal(encode(out, sizeof(out), name, &cut), LONGEST + 4);
	assert_memory_equal(out, "\xff\xff\xff", 3);
	assert_int_equal(cut, 1);
	name[LONGEST] = '\0';
	assert_int_equal(encode(out, sizeof(out), name, &cut), LONGEST + 4);
	assert_int_equal(cut, 0);
}

static void test_cut(void **state)
{
	static const struct {
		const char *name;
		size_t limit; /* of the record, which has two octets beside the name */
		const char *want;
		unsigned int cut;
	} cases[] = {
		{"", 2, "", 0},
		{"abc", 5, "abc", 0},
		{"abc", 4, "ab", 1},
		{"abc", 2, "", 1},
		{"ab\xc3\xa9", 6, "ab\xc3\xa9", 0},
		{"ab\xc3\xa9", 5, "ab", 1},
		{"\xe2\x82\xac\xe2\x82\xac", 7, "\xe2\x82\xac", 1},
		{"a\xf0\x9f\x90\x9d", 6, "a", 1},
		{"a\xf0\x9f\x90\x9d", 7, "a\xf0\x9f\x90\x9d", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t size = strlen(cases[i].want);
		uint8_t out[32];
		unsigned int cut;

		assert_int_equal(encode(out, cases[i].limit, cases[i].name, &cut), size + 2);
		assert_int_equal(cut, cases[i].cut);
		assert_int_equal(out[0], size);
		assert_memory_equal(out + 1, cases[i].want, size);
	}
}

/* Where the length in front of a string grows from one octet to three. */
static void test_cut_at_255(void **state)
{
	static const struct {
		size_t limit, want;
	} cases[] = {{255, 253}, {256, 254}, {257, 254}, {258, 254},
		     {259, 255}, {260, 256}, {400, 300}};
	char name[301];
	uint8_t out[500];

	(void)state;
	memset(name, 'n', 300);
	name[300] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned int cut;

		assert_int_equal(encode(out, cases[i].limit, name, &cut),
				 cases[i].want + (cases[i].want < 255 ? 2 : 4));
		assert_int_equal(cut, cases[i].want < 300);
	}
}

/* What people read is neither steered nor turned around (ECMA-48; Unicode, annex 9). */
static void test_escape(void **state)
{
	char out[UTF8_ESCAPED_MAX(32)];

	(void)state;
	utf8_escape(out, sizeof(out),
		    /* NOLINTNEXTLINE(misc-misleading-bidirectional): what the test is about. */
		    "a\x1b\xc2\x9b\xd8\x9c\xe2\x80\xae\xe2\x81\xa6\xe2\x82\xac\xff", "");
	assert_string_equal(
		out, "a\\x1b\\xc2\\x9b\\xd8\\x9c\\xe2\\x80\\xae\\xe2\\x81\\xa6\xe2\x82\xac\\xff");
}

static void test_not_utf8(void **state)
{
	static const struct {
		const char *name, *want;
	} cases[] = {
		{"a\xff", "a?"},
		{"\xc3", "?"}, /* the text ends in a character */
		{"\xc3(", "?("},
		{"\xc0\xaf", "??"}, /* longer than it need be */
		{"\xe0\x80\xaf", "???"},
		{"\xed\xa0\x80", "???"},      /* a surrogate */
		{"\xf4\x90\x80\x80", "????"}, /* beyond Unicode */
		{"\x80\xe2\x82\xac", "?\xe2\x82\xac"},
		{"\xed\x9f\xbf\xf4\x8f\xbf\xbf", "\xed\x9f\xbf\xf4\x8f\xbf\xbf"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t size = strlen(cases[i].want);
		uint8_t out[32];
		unsigned int cut;

		assert_int_equal(encode(out, sizeof(out), cases[i].name, &cut), size + 2);
		assert_int_equal(cut, 0);
		assert_memory_equal(out + 1, cases[i].want, size);
	}
}

static void test_json(void **state)
{
	static const struct {
		const char *name, *want;
	} cases[] = {
		{"", ""},
		{"NO_SOCKET", "NO_SOCKET"},
		{"a\"b\\c/", "a\\\"b\\\\c/"},
		{"\n\t\x01\x1f\x7f", "\\u000a\\u0009\\u0001\\u001f\\u007f"},
		/* NOLINTNEXTLINE(misc-misleading-bidirectional) */
		{"\xc2\x9b\xd8\x9c\xe2\x80\xa8\xe2\x80\xae\xe2\x81\xa9\xc2\xa0\xf0\x9f\x90\xb8",
		 "\\u009b\\u061c\\u2028\\u202e\\u2069\xc2\xa0\xf0\x9f\x90\xb8"},
		{"\xe2\x82\xac\xff", "\xe2\x82\xac?"},
	};
	struct flow_template t = template_of(fields, ARRAY_SIZE(fields));
	static char line[JSON_LINE_MAX], longest[JSON_RECORD_MAX];
	static uint8_t out[JSON_RECORD_MAX];
	unsigned int cut;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char want[200];

		encode(out, sizeof(out), cases[i].name, &cut);
		snprintf(want, sizeof(want), "{\"" NAME "\":\"%s\",\"" DIRECTION "\":1}\n",
			 cases[i].want);
		assert_int_equal(json_record(line, &t, out, NULL), strlen(want));
		assert_memory_equal(line, want, strlen(want));
	}
	/* The most that a record can become. */
	memset(longest, 1, sizeof(longest) - 1);
	assert_int_equal(encode(out, sizeof(out), longest, &cut), sizeof(out));
	assert_int_equal(cut, 1);
	assert_int_equal(json_record(line, &t, out, NULL),
			 strlen("{\"" NAME "\":\"\",\"" DIRECTION "\":1}\n") +
				 6 * (sizeof(out) - 4));
}

/* --- In messages */

#define RECORDS 3000

/* Names of any length up to 199, by number. */
static const char *name_of(unsigned int i, char name[200])
{
	unsigned int size = i * 7919 % 200;

	memset(name, 'A' + (int)(i % 26), size);
	name[size] = '\0';
	return name;
}

static struct exports *open_file(char path[32], const struct export_options *options)
{
	struct exports *exports;
	char url[64];

	snprintf(path, 32, "/tmp/flowtally-XXXXXX");
	close(mkstemp(path));
	snprintf(url, sizeof(url), "file://%s", path);
	assert_int_equal(exports_new(&exports, options, NULL), 0);
	assert_int_equal(exports_add(exports, url), 0);
	return exports;
}

typedef void (*name_check)(unsigned int i, const fbVarfield_t *name);

/* All that is in there, by libfixbuf: the names of drops, in their order. */
static unsigned int read_buffer(fBuf_t *buffer, name_check each)
{
	unsigned int count = 0;
	GError *error = NULL;

	check(fBufSetInternalTemplate(buffer, 500, &error), error);
	for (;;) {
		struct in_memory record;
		size_t size = sizeof(record);
		fbVarfield_t name;
		uint16_t tid;

		if (!fBufNextCollectionTemplate(buffer, &tid, &error))
			break;
		check(fBufNext(buffer, (uint8_t *)&record, &size, &error), error);
		name = record.name;
		if (tid == 268)
			each(count++, &name);
	}
	g_clear_error(&error);
	return count;
}

static unsigned int read_names(const char *path, const uint8_t *octets, size_t size,
			       name_check each)
{
	fbInfoModel_t *model = make_model();
	fbSession_t *session = fbSessionAlloc(model);
	GError *error = NULL;
	fbCollector_t *file = path ? fbCollectorAllocFile(NULL, path, &error) : NULL;
	unsigned int count;
	fBuf_t *buffer;

	check(!path || file, error);
	check(fbSessionAddTemplate(session, TRUE, 500, make_template(model), &error), error);
	buffer = fBufAllocForCollection(session, file);
	if (!path)
		fBufSetBuffer(buffer, (uint8_t *)octets, size);
	count = read_buffer(buffer, each);
	fBufFree(buffer);
	fbInfoModelFree(model);
	return count;
}

static void expect_whole(unsigned int i, const fbVarfield_t *name)
{
	char want[200];

	assert_int_equal(name->len, strlen(name_of(i, want)));
	assert_memory_equal(name->buf, want, name->len);
}

/* Octets of the longest message of an IPFIX file. */
static unsigned int longest_message(const char *path)
{
	FILE *file = fopen(path, "r");
	unsigned int longest = 0;
	uint8_t header[4];

	assert_non_null(file);
	while (fread(header, 1, sizeof(header), file) == sizeof(header)) {
		unsigned int length = header[2] * 256u + header[3];

		longest = MAX(longest, length);
		assert_int_equal(fseek(file, (long)length - 4, SEEK_CUR), 0);
	}
	fclose(file);
	return longest;
}

/* Each record is in one message, whole, in their order; none is lost. */
static void test_messages(void **state)
{
	const struct export_options options = {.drops = true, .message_max = 512};
	char path[32], name[200];
	struct exports *exports = open_file(path, &options);

	(void)state;
	for (unsigned int i = 0; i < RECORDS; i++) {
		reason.name = name_of(i, name);
		exports_flow(exports, &named);
	}
	exports_send_queued(exports, NSEC_PER_SEC, true);
	assert_int_equal(exports_stats(exports, 0)->exported.records, RECORDS);
	assert_int_equal(exports_stats(exports, 0)->cut, 0);
	exports_free(exports);
	assert_int_equal(read_names(path, NULL, 0, expect_whole), RECORDS);
	assert_in_range(longest_message(path), 500, 512);
	unlink(path);
}

/* 512 octets less headers of 20, less 69 of other fields, less 3 of the length; two octets a character. */
static void expect_cut(unsigned int i, const fbVarfield_t *name)
{
	if (i == 1) {
		assert_int_equal(name->len, (512 - 20 - 69 - 3) / 2 * 2);
		return;
	}
	assert_int_equal(name->len, 2);
}

/* A record that no message holds loses the end of its string, and that is counted. */
static void test_too_long(void **state)
{
	const struct export_options options = {.drops = true, .message_max = 512};
	char path[32], name[2001];
	struct exports *exports = open_file(path, &options);

	(void)state;
	for (unsigned int i = 0; i < 2000; i++)
		name[i] = i % 2 ? '\xa9' : '\xc3';
	name[2000] = '\0';
	for (unsigned int i = 0; i < 3; i++) {
		reason.name = i == 1 ? name : "ab";
		exports_flow(exports, &named);
	}
	exports_send_queued(exports, NSEC_PER_SEC, true);
	assert_int_equal(exports_stats(exports, 0)->exported.records, 3);
	assert_int_equal(exports_stats(exports, 0)->cut, 1);
	exports_free(exports);
	assert_int_equal(read_names(path, NULL, 0, expect_cut), 3);
	unlink(path);
}

/* Few octets at once on the way, in a network of its own: a test that may not make one is left out. */
static bool enter_narrow_net(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_mtu = 600};
	int fd, r;

	if (unshare(CLONE_NEWNET) < 0)
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	r = ioctl(fd, SIOCSIFMTU, &lo);
	lo.ifr_flags = IFF_UP;
	r |= ioctl(fd, SIOCSIFFLAGS, &lo);
	close(fd);
	return r == 0;
}

/* Where datagrams arrive. */
static int open_socket(uint16_t *ret_port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

/* Messages are cut between records to what the path takes; a record that is longer than that is lost, and counted. */
static void test_path(void **state)
{
	const struct export_options options = {.drops = true};
	static uint8_t octets[100 * 1024];
	static char longer[1001];
	struct exports *exports;
	char name[200], url[64];
	ssize_t n, longest = 0;
	size_t used = 0;
	uint16_t port;
	int fd;

	(void)state;
	if (!enter_narrow_net())
		skip();
	memset(longer, 'L', sizeof(longer) - 1);
	fd = open_socket(&port);
	snprintf(url, sizeof(url), "ipfix://127.0.0.1:%u", port);
	assert_int_equal(exports_new(&exports, &options, NULL), 0);
	assert_int_equal(exports_add(exports, url), 0);
	for (unsigned int i = 0; i < 200; i++) {
		reason.name = name_of(i, name);
		exports_flow(exports, &named);
		if (i % 50)
			continue;
		reason.name = longer;
		exports_flow(exports, &named);
	}
	exports_send_queued(exports, NSEC_PER_SEC, true);
	assert_int_equal(exports_stats(exports, 0)->exported.records, 200);
	assert_int_equal(exports_stats(exports, 0)->lost[EXPORT_LOSS_SEND_ERROR].records, 4);
	assert_int_equal(exports_stats(exports, 0)->cut, 0);
	exports_free(exports);
	while ((n = recv(fd, octets + used, sizeof(octets) - used, 0)) > 0) {
		longest = MAX(longest, n);
		used += (size_t)n;
	}
	close(fd);
	assert_in_range(longest, 500, 572);
	assert_int_equal(read_names(NULL, octets, used, expect_whole), 200);
}

/* A template of an interface's name: the one of the flow's interface, empty when that is unknown. */
static void test_interface(void **state)
{
	static const struct export_interface interfaces[] = {
		{.ifindex = 2, .name = "eth0", .description = "uplink"},
		{.ifindex = 7, .name = "veth7"},
		{.ifindex = 90, .name = "\xff"},
	};
	static const struct {
		uint32_t ifindex;
		const char *want;
	} cases[] = {
		{2, "\4eth0\6uplink"}, {7, "\5veth7"}, {90, "\1?"}, {1, ""}, {8, ""}, {91, ""}};
	const struct record_context context = {.interfaces = interfaces, .interface_count = 3};
	struct profile *p;

	(void)state;
	assert_int_equal(profile_new(&p, "interfaceName,interfaceDescription,octetDeltaCount", 1,
				     1u << RECORD_FLOW, NULL),
			 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct flow flow = {.key.ifindex = cases[i].ifindex, .record.octets = 5};
		uint8_t out[100], want[100] = {0};
		size_t size = strlen(cases[i].want) + (i == 0 ? 0 : i < 3 ? 1 : 2);
		unsigned int cut;

		memcpy(want, cases[i].want, strlen(cases[i].want));
		want[size + 7] = 5;
		assert_int_equal(record_encode(out, sizeof(out), &p->templates[0], PROTOCOL_IPFIX,
					       &flow, &context, &cut),
				 size + 8);
		assert_memory_equal(out, want, size + 8);
	}
	/* NetFlow v9 has no such fields. */
	assert_int_equal(template_fields(&p->templates[0], PROTOCOL_NETFLOW9), 1);
	assert_int_equal(p->templates[0].length[PROTOCOL_NETFLOW9], 8);
	profile_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths),	  cmocka_unit_test(test_longest),
		cmocka_unit_test(test_cut),	  cmocka_unit_test(test_cut_at_255),
		cmocka_unit_test(test_not_utf8),  cmocka_unit_test(test_json),
		cmocka_unit_test(test_messages),  cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_interface), cmocka_unit_test(test_path),
		cmocka_unit_test(test_escape),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
