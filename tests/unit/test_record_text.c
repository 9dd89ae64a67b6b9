/* SPDX-License-Identifier: Apache-2.0 */
/* Records as text: lines for people, CSV, and Hubble's JSON against Hubble's definition of its messages. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "exporter/export/format/fields.h"
#include "exporter/observe/record_hubble.h"
#include "exporter/observe/record_text.h"
#include "tests/unit/flows.h"
#include "tests/unit/hubble_flow.h"

static const struct record_view flow = {
	.parts = VIEW_TIMES | VIEW_ADDRESSES | VIEW_PORTS | VIEW_PROTOCOL | VIEW_TCP_FLAGS |
		 VIEW_DIRECTION | VIEW_INTERFACE | VIEW_VLAN | VIEW_TOS | VIEW_END_REASON |
		 VIEW_COUNTERS,
	.start_ms = 1700000001500, /* 2023-11-14T22:13:21.500Z */
	.end_ms = 1700000003000,
	.packets = 42,
	.octets = 1500000,
	.src = {10, 0, 0, 1},
	.dst = {192, 0, 2, 7},
	.src_port = 40000,
	.dst_port = 443,
	.tcp_flags = 0x012,
	.vlan = 100,
	.ifindex = 3,
	.ip_version = 4,
	.protocol = 6,
	.direction = 1,
	.tos = 0xb8,
	.end_reason = 3,
	.interface = "eth0",
};
static const struct record_view drop = {
	.parts = VIEW_TIMES | VIEW_ADDRESSES | VIEW_ICMP | VIEW_PROTOCOL | VIEW_DIRECTION |
		 VIEW_COUNTERS | VIEW_DROP,
	.start_ms = 1700000001500,
	.end_ms = 1700000001500,
	.packets = 1,
	.octets = 80,
	.src = {0x20, 1, 0x0d, 0xb8, [15] = 1},
	.dst = {0x20, 1, 0x0d, 0xb8, [15] = 2},
	.ip_version = 6,
	.protocol = 58,
	.icmp_type = 128,
	.drop_reason = "NETFILTER_DROP",
	.drop_class = "policy",
};
static const struct record_view nothing;

static char *print_as(const struct record_text *text, const struct record_view *view)
{
	char *line = NULL;
	size_t size;
	FILE *file = open_memstream(&line, &size);

	assert_non_null(file);
	record_text_print(text, view, file);
	assert_int_equal(fclose(file), 0);
	return line;
}

static char *print(enum record_form form, bool color, const struct record_view *view)
{
	const struct record_text text = {
		.form = form, .color = color, .utc = true, .node = "node \"1\""};

	return print_as(&text, view);
}

static char *print_header(const struct record_text *text)
{
	char *line = NULL;
	size_t size;
	FILE *file = open_memstream(&line, &size);

	assert_non_null(file);
	record_text_print_header(text, file);
	assert_int_equal(fclose(file), 0);
	return line;
}

static void expect(enum record_form form, bool color, const struct record_view *view,
		   const char *expected)
{
	char *line = print(form, color, view);

	assert_string_equal(line, expected);
	free(line);
}

static void test_lines(void **state)
{
	(void)state;
	expect(RECORD_COMPACT, false, &flow,
	       "Nov 14 22:13:21.500 10.0.0.1:40000 -> 192.0.2.7:443 TCP FORWARDED (TCP Flags: SYN, "
	       "ACK; 42 packets, 1.50M octets, 1.5s)\n");
	expect(RECORD_COMPACT, true, &drop,
	       "Nov 14 22:13:21.500 2001:db8::1 -> [2001:db8::2]:128/0 ICMP6 \033[31mDROPPED\033[0m "
	       "NETFILTER_DROP (policy) (ICMPv6 EchoRequest; 1 packets, 80 octets, 0ms)\n");
	expect(RECORD_COMPACT, false, &nothing, "- - -> - - FORWARDED (- packets, - octets, -)\n");
	expect(RECORD_TABLE, false, &flow,
	       "Nov 14 22:13:21.500 10.0.0.1:40000        192.0.2.7:443         TCP   FORWARDED      "
	       "42   1.50M TCP Flags: SYN, ACK\n");
	expect(RECORD_WIDE, false, &flow,
	       "Nov 14 22:13:21.500     1.5s 10.0.0.1:40000                                  "
	       "192.0.2.7:443                                   TCP   out eth0            100       "
	       "0xb8 FORWARDED      42   1.50M detected  TCP Flags: SYN, ACK\n");
	expect(RECORD_CSV, false, &flow,
	       "2023-11-14T22:13:21.500Z,2023-11-14T22:13:23.000Z,1500,10.0.0.1,40000,192.0.2.7,443,4,"
	       "6,,,18,egress,3,eth0,100,0,184,42,1500000,detected,FORWARDED,,\r\n");
	expect(RECORD_CSV, false, &drop,
	       "2023-11-14T22:13:21.500Z,2023-11-14T22:13:21.500Z,0,2001:db8::1,,2001:db8::2,,6,58,"
	       "128,0,,ingress,,,,,,1,80,,DROPPED,NETFILTER_DROP,policy\r\n");
	expect(RECORD_CSV, false, &nothing, ",,,,,,,,,,,,,,,,,,,,,FORWARDED,,\r\n");
}

/* Titles stand where their columns begin, or end. */
static void test_headers(void **state)
{
	struct record_text text = {.form = RECORD_COMPACT};
	char *header = print_header(&text), *line;

	(void)state;
	assert_string_equal(header, "");
	free(header);
	text.form = RECORD_HUBBLE_JSON;
	header = print_header(&text);
	assert_string_equal(header, "");
	free(header);
	for (int form = RECORD_TABLE; form <= RECORD_WIDE; form++) {
		text.form = (enum record_form)form;
		header = print_header(&text);
		line = print(text.form, false, &flow);
		assert_int_equal(strstr(header, "SOURCE") - header,
				 strstr(line, "10.0.0.1") - line);
		assert_int_equal(strstr(header, "DEST") - header, strstr(line, "192.0.2.7") - line);
		assert_int_equal(strstr(header, "PROTO") - header, strstr(line, "TCP  ") - line);
		assert_int_equal(strstr(header, "VERDICT") - header, strstr(line, "FORW") - line);
		assert_int_equal(strstr(header, "OCTETS") + 6 - header,
				 strstr(line, "1.50M") + 5 - line);
		assert_int_equal(strstr(header, "SUMMARY") - header, strstr(line, "TCP Fl") - line);
		free(line);
		free(header);
	}
	text.form = RECORD_CSV;
	header = print_header(&text);
	line = print(RECORD_CSV, false, &flow);
	for (const char *c = header; *c; c++)
		if (*c == ',')
			*strchr(line, ',') = ';';
	assert_null(strchr(line, ','));
	assert_string_equal(header + strlen(header) - 2, "\r\n");
	free(line);
	free(header);
}

static void test_forms(void **state)
{
	(void)state;
	assert_int_equal(record_form_parse("compact"), RECORD_COMPACT);
	assert_int_equal(record_form_parse("table"), RECORD_TABLE);
	assert_int_equal(record_form_parse("wide"), RECORD_WIDE);
	assert_int_equal(record_form_parse("csv"), RECORD_CSV);
	assert_int_equal(record_form_parse("hubble-json"), RECORD_HUBBLE_JSON);
	assert_int_equal(record_form_parse("json"), -1);
	assert_int_equal(record_form_parse(""), -1);
}

/* Names that nobody can trust: nothing of them steers a terminal, breaks a line or a cell. */
static void test_hostile_names(void **state)
{
	struct record_view v = drop;

	(void)state;
	v.parts |= VIEW_INTERFACE;
	strcpy(v.interface, "e\033[2Jh,\"\n\xc2\x9b\x7f");
	strcpy(v.drop_reason, "R\r\nX,\"\033");
	strcpy(v.drop_class, "c\a\\");
	for (int form = 0; form < _RECORD_FORM_MAX; form++) {
		char *line = print((enum record_form)form, false, &v);
		size_t length = strcspn(line, "\r\n");

		for (size_t i = 0; i < length; i++)
			if (line[i] < ' ' || line[i] > '~')
				fail_msg("form %d has the octet 0x%02x: %s", form,
					 (unsigned char)line[i], line);
		assert_string_equal(line + length, form == RECORD_CSV ? "\r\n" : "\n");
		free(line);
	}
	expect(RECORD_CSV, false, &v,
	       "2023-11-14T22:13:21.500Z,2023-11-14T22:13:21.500Z,0,2001:db8::1,,2001:db8::2,,6,58,"
	       "128,0,,ingress,,\"e?[2Jh,\"\"????\",,,,1,80,,DROPPED,\"R??X,\"\"?\",c?\\\r\n");
}

/* The zone of a local time is told. */
static void test_zone(void **state)
{
	const struct record_text text = {.form = RECORD_CSV};
	char *line = NULL;
	size_t size;
	FILE *file = open_memstream(&line, &size);

	(void)state;
	setenv("TZ", "EAST-05:30", 1);
	tzset();
	record_text_print(&text, &flow, file);
	fclose(file);
	setenv("TZ", "UTC", 1);
	tzset();
	assert_memory_equal(line, "2023-11-15T03:43:21.500+05:30,", 30);
	free(line);
}

/*
 * Expected is what `date -u -d @1700000001` and `TZ=EAST-05:30 date -d @1699500001` print, in the layouts of Hubble's
 * hubble/pkg/time and Go's time.StampMilli, which has a blank in front of a day of one digit.
 */
static void test_time_formats(void **state)
{
	static const struct {
		const char *name, *utc, *local;
	} rows[] = {
		{"StampMilli", "Nov 14 22:13:21.500 ", "Nov  9 08:50:01.007 "},
		{"RFC3339", "2023-11-14T22:13:21Z ", "2023-11-09T08:50:01+05:30 "},
		{"RFC3339Milli", "2023-11-14T22:13:21.500Z ", "2023-11-09T08:50:01.007+05:30 "},
		{"rfc3339micro", "2023-11-14T22:13:21.500Z ", "2023-11-09T08:50:01.007+05:30 "},
		{"RFC3339NANO", "2023-11-14T22:13:21.500Z ", "2023-11-09T08:50:01.007+05:30 "},
		{"RFC1123Z", "Tue, 14 Nov 2023 22:13:21 +0000 ",
		 "Thu, 09 Nov 2023 08:50:01 +0530 "},
	};
	struct record_view other = flow;

	(void)state;
	other.start_ms = 1699500001007;
	setenv("TZ", "EAST-05:30", 1);
	tzset();
	for (size_t i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
		const char *expected = i % 2 ? rows[i / 2].local : rows[i / 2].utc;
		struct record_text text = {.utc = i % 2 == 0};

		assert_int_equal(record_time_parse(rows[i / 2].name), i / 2);
		text.time = (enum record_time)(i / 2);
		for (int form = RECORD_COMPACT; form <= RECORD_TABLE; form++) {
			char *line, *header;

			text.form = (enum record_form)form;
			line = print_as(&text, text.utc ? &flow : &other);
			header = print_header(&text);
			if (strncmp(line, expected, strlen(expected)) != 0)
				fail_msg("%s: not '%s': %s", rows[i / 2].name, expected, line);
			if (*header)
				assert_int_equal(strstr(header, "SOURCE") - header,
						 strstr(line, "10.0.0.1") - line);
			free(line);
			free(header);
		}
	}
	setenv("TZ", "UTC", 1);
	tzset();
	assert_int_equal(record_time_parse("RFC3339 "), -1);
	assert_int_equal(record_time_parse(""), -1);
}

/* --- Hubble. */

static bool is_time(const char *text)
{
	static const char form[] = "0000-00-00T00:00:00.000000000Z";

	for (size_t i = 0; i < sizeof(form); i++)
		if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
			return false;
	return true;
}

static void check_enum(const char *type, const json_t *value)
{
	const char *name = json_string_value(value);

	assert_non_null(name);
	for (size_t i = 0; i < ARRAY_SIZE(hubble_enums); i++)
		if (!strcmp(hubble_enums[i].type, type) && !strcmp(hubble_enums[i].name, name))
			return;
	fail_msg("%s has no %s", type, name);
}

static int enum_number(const char *type, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(hubble_enums); i++)
		if (!strcmp(hubble_enums[i].type, type) && !strcmp(hubble_enums[i].name, name))
			return hubble_enums[i].number;
	return -1;
}

static void check_message(const char *message, json_t *object);

static void check_value(size_t row, json_t *value)
{
	switch (hubble_fields[row].type) {
	case HUBBLE_STRING:
		assert_true(json_is_string(value));
		break;
	case HUBBLE_BOOL:
		assert_true(json_is_true(value)); /* protojson leaves false out */
		break;
	case HUBBLE_UINT32:
	case HUBBLE_INT32:
		assert_true(json_is_integer(value));
		assert_in_range(json_integer_value(value), 0, UINT32_MAX);
		break;
	case HUBBLE_TIME:
		assert_true(is_time(json_string_value(value)));
		break;
	case HUBBLE_ANY:
		assert_string_equal(json_string_value(json_object_get(value, "@type")),
				    "type.googleapis.com/google.protobuf.Struct");
		assert_true(json_is_object(json_object_get(value, "value")));
		assert_int_equal(json_object_size(value), 2);
		break;
	case HUBBLE_ENUM:
		check_enum(hubble_fields[row].of, value);
		break;
	case HUBBLE_MESSAGE:
		check_message(hubble_fields[row].of, value);
		break;
	}
}

static void check_message(const char *message, json_t *object)
{
	const char *key;
	json_t *value;
	unsigned int alone = 0;

	assert_true(json_is_object(object));
	json_object_foreach (object, key, value) {
		size_t row = 0;

		while (row < ARRAY_SIZE(hubble_fields) &&
		       (strcmp(hubble_fields[row].message, message) != 0 ||
			strcmp(hubble_fields[row].name, key) != 0))
			row++;
		if (row == ARRAY_SIZE(hubble_fields))
			fail_msg("%s has no field %s", message, key);
		alone += hubble_fields[row].oneof;
		check_value(row, value);
	}
	assert_true(alone <= 1);
}

/* The value at a path such as "flow.IP.source". */
static json_t *at(json_t *object, const char *path)
{
	char copy[128], *rest = copy, *key;

	snprintf(copy, sizeof(copy), "%s", path);
	while ((key = strsep(&rest, ".")))
		object = json_object_get(object, key);
	return object;
}

static void want_string(json_t *object, const char *path, const char *expected)
{
	const char *text = json_string_value(at(object, path));

	if (!text || strcmp(text, expected) != 0)
		fail_msg("%s is \"%s\", not \"%s\"", path, text ? text : "", expected);
}

static void want_number(json_t *object, const char *path, int expected)
{
	if (!json_is_integer(at(object, path)) || json_integer_value(at(object, path)) != expected)
		fail_msg("%s is not %d", path, expected);
}

static json_t *hubble_of(const struct record_view *view)
{
	char *line = print(RECORD_HUBBLE_JSON, false, view);
	json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);

	if (!object || strchr(line, '\n') != line + strlen(line) - 1)
		fail_msg("no line of JSON: %s", line);
	check_message("GetFlowsResponse", object);
	free(line);
	return object;
}

static void test_hubble_flow(void **state)
{
	json_t *o = hubble_of(&flow);

	(void)state;
	want_string(o, "time", "2023-11-14T22:13:21.500000000Z");
	want_string(o, "node_name", "node \"1\"");
	want_string(o, "flow.time", "2023-11-14T22:13:21.500000000Z");
	want_string(o, "flow.node_name", "node \"1\"");
	want_string(o, "flow.verdict", "FORWARDED");
	want_string(o, "flow.Type", "L3_L4");
	want_string(o, "flow.IP.source", "10.0.0.1");
	want_string(o, "flow.IP.destination", "192.0.2.7");
	want_string(o, "flow.IP.ipVersion", "IPv4");
	want_number(o, "flow.l4.TCP.source_port", 40000);
	want_number(o, "flow.l4.TCP.destination_port", 443);
	assert_true(json_is_true(at(o, "flow.l4.TCP.flags.SYN")));
	assert_true(json_is_true(at(o, "flow.l4.TCP.flags.ACK")));
	assert_int_equal(json_object_size(at(o, "flow.l4.TCP.flags")), 2);
	want_string(o, "flow.traffic_direction", "EGRESS");
	want_number(o, "flow.event_type.type", 4);
	want_number(o, "flow.event_type.sub_type", 11);
	want_string(o, "flow.interface.name", "eth0");
	want_number(o, "flow.interface.index", 3);
	want_string(o, "flow.Summary", "TCP Flags: SYN, ACK");
	want_number(o, "flow.extensions.value.packets", 42);
	want_number(o, "flow.extensions.value.octets", 1500000);
	want_number(o, "flow.extensions.value.duration_ms", 1500);
	want_string(o, "flow.extensions.value.end_reason", "detected");
	/* Nobody knows which of the two ends began. */
	assert_null(at(o, "flow.is_reply"));
	assert_null(at(o, "flow.drop_reason_desc"));
	json_decref(o);
}

static void test_hubble_drop(void **state)
{
	struct record_view v = drop;
	json_t *o = hubble_of(&v);

	(void)state;
	want_string(o, "flow.verdict", "DROPPED");
	want_string(o, "flow.IP.ipVersion", "IPv6");
	want_number(o, "flow.l4.ICMPv6.type", 128);
	want_number(o, "flow.l4.ICMPv6.code", 0);
	want_string(o, "flow.drop_reason_desc", "POLICY_DENIED");
	want_number(o, "flow.event_type.type", 1);
	want_number(o, "flow.event_type.sub_type", 133);
	want_string(o, "flow.extensions.value.drop_reason", "NETFILTER_DROP");
	json_decref(o);
	strcpy(v.drop_reason, "TCP_ZEROWINDOW");
	o = hubble_of(&v);
	want_string(o, "flow.drop_reason_desc", "DROP_REASON_UNKNOWN");
	assert_null(at(o, "flow.event_type.sub_type"));
	want_string(o, "flow.extensions.value.drop_reason", "TCP_ZEROWINDOW");
	json_decref(o);
}

/* Each reason that is told by a name of Hubble's is one of the kernel's, and has that name's number. */
static void test_hubble_reasons(void **state)
{
	unsigned int known = 0;

	(void)state;
	for (unsigned int i = 0; i < drop_reason_text_count; i++) {
		const char *name = NULL;
		unsigned int number = hubble_drop_reason(drop_reason_texts[i].name, &name);

		assert_int_equal(enum_number("DropReason", name), number);
		known += number != 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(hubble_enums); i++) {
		const char *kernel;

		for (unsigned int j = 0;
		     (kernel = hubble_drop_reason_kernel(hubble_enums[i].name, j)); j++) {
			assert_non_null(drop_reason_text(kernel));
			known--;
		}
	}
	assert_int_equal(known, 0);
}

/* Whatever a record holds. */
static void test_hubble_random(void **state)
{
	static const struct record_context context;
	uint64_t random = 7;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		struct flow f = random_flow(&random);
		struct record_view v;

		if (i % 2) {
			f.key.kind |= FLOW_DROP;
			f.drop = &drop_reason_texts[(unsigned int)i % drop_reason_text_count];
		}
		record_view_of_flow(&v, &f, &context);
		v.parts &= (unsigned int)(random_next(&random) >> 13);
		json_decref(hubble_of(&v));
	}
	json_decref(hubble_of(&nothing));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),	      cmocka_unit_test(test_headers),
		cmocka_unit_test(test_forms),	      cmocka_unit_test(test_hostile_names),
		cmocka_unit_test(test_zone),	      cmocka_unit_test(test_hubble_flow),
		cmocka_unit_test(test_hubble_drop),   cmocka_unit_test(test_hubble_reasons),
		cmocka_unit_test(test_hubble_random), cmocka_unit_test(test_time_formats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
