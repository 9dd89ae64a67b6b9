/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of others, octet by octet: the examples of RFC 7011 (appendix A), NetFlow v9, and each way to be wrong. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "exporter/export/format/decode_json.h"
#include "exporter/export/format/decode_names.h"
#include "exporter/export/format/elements.h"

static struct {
	char text[16384]; /* lines of JSON */
	size_t used;
	enum decode_error error;
	uint64_t offset;
	unsigned int problems, gaps;
	uint32_t missing;
} seen;

static void on_record(void *userdata, const struct decode_record *r)
{
	FILE *file = fmemopen(seen.text + seen.used, sizeof(seen.text) - seen.used, "w");

	(void)userdata;
	decode_json(r, false, file);
	putc('\n', file);
	seen.used += (size_t)ftell(file);
	fclose(file);
}

static void on_problem(void *userdata, enum decode_error error, uint64_t offset, unsigned int id)
{
	(void)userdata, (void)id;
	seen.error = error;
	seen.offset = offset;
	seen.problems++;
}

static void on_gap(void *userdata, uint32_t domain, uint32_t missing, uint64_t offset)
{
	(void)userdata, (void)domain, (void)offset;
	seen.gaps++;
	seen.missing += missing;
}

static struct decoder *decoder;

static int begin(void **state)
{
	const struct decode_events events = {
		.record = on_record, .problem = on_problem, .gap = on_gap};

	(void)state;
	memset(&seen, 0, sizeof(seen));
	seen.error = _DECODE_ERROR_MAX;
	return decoder_new(&decoder, &events);
}

static int end(void **state)
{
	(void)state;
	decoder_freep(&decoder);
	return 0;
}

/* A message of IPFIX with these sets, of domain 7. */
static void give(uint32_t sequence, const uint8_t *sets, size_t size)
{
	uint8_t *m = malloc(16 + size); /* of its size, so that reading beyond is seen */
	const uint8_t head[16] = {0,
				  10,
				  (uint8_t)((16 + size) >> 8),
				  (uint8_t)(16 + size),
				  0x65,
				  0,
				  0,
				  0,
				  (uint8_t)(sequence >> 24),
				  (uint8_t)(sequence >> 16),
				  (uint8_t)(sequence >> 8),
				  (uint8_t)sequence,
				  0,
				  0,
				  0,
				  7};

	memcpy(m, head, 16);
	memcpy(m + 16, sets, size);
	decoder_message(decoder, m, 16 + size, 1000);
	free(m);
}

#define GIVE(sequence, ...) \
	do { \
		const uint8_t sets[] = {__VA_ARGS__}; \
		give(sequence, sets, sizeof(sets)); \
	} while (0)

#define TEMPLATE_A2 \
	0, 2, 0, 28, 1, 0, 0, 5, 0, 8, 0, 4, 0, 12, 0, 4, 0, 15, 0, 4, 0, 2, 0, 4, 0, 1, 0, 4

/* RFC 7011 A.2.1 and A.3. */
static void test_rfc7011_data(void **state)
{
	(void)state;
	GIVE(0, TEMPLATE_A2, 1, 0, 0, 64, 192, 0, 2, 12, 192, 0, 2, 254, 192, 0, 2, 1, 0, 0, 0x13,
	     0x91, 0, 0x51, 0x8c, 0x81, 192, 0, 2, 27, 192, 0, 2, 23, 192, 0, 2, 2, 0, 0, 2, 0xec,
	     0, 5, 0xef, 0x46, 192, 0, 2, 56, 192, 0, 2, 65, 192, 0, 2, 3, 0, 0, 0, 5, 0, 0, 0x19,
	     0x86);
	assert_string_equal(seen.text,
			    "{\"sourceIPv4Address\":\"192.0.2.12\","
			    "\"destinationIPv4Address\":\"192.0.2.254\","
			    "\"ipNextHopIPv4Address\":\"192.0.2.1\",\"packetDeltaCount\":5009,"
			    "\"octetDeltaCount\":5344385}\n"
			    "{\"sourceIPv4Address\":\"192.0.2.27\","
			    "\"destinationIPv4Address\":\"192.0.2.23\","
			    "\"ipNextHopIPv4Address\":\"192.0.2.2\",\"packetDeltaCount\":748,"
			    "\"octetDeltaCount\":388934}\n"
			    "{\"sourceIPv4Address\":\"192.0.2.56\","
			    "\"destinationIPv4Address\":\"192.0.2.65\","
			    "\"ipNextHopIPv4Address\":\"192.0.2.3\",\"packetDeltaCount\":5,"
			    "\"octetDeltaCount\":6534}\n");
	assert_int_equal(seen.problems, 0);
}

/* RFC 7011 A.4: options with reduced sizes, scope lineCardId, and padding behind template and data. */
static void test_rfc7011_options(void **state)
{
	(void)state;
	GIVE(0, 0, 3, 0, 24, 1, 2, 0, 3, 0, 1, 0, 141, 0, 4, 0, 41, 0, 2, 0, 42, 0, 2, 0, 0, 1, 2,
	     0, 23, 0, 0, 0, 1, 1, 0x59, 0x27, 0xd9, 0, 0, 0, 2, 2, 0xb2, 0x4f, 0xb2, 0, 0, 0);
	assert_string_equal(
		seen.text,
		"{\"lineCardId\":1,\"exportedMessageTotalCount\":345,\"exportedFlowRecordTotalCount\":10201}\n"
		"{\"lineCardId\":2,\"exportedMessageTotalCount\":690,\"exportedFlowRecordTotalCount\":20402}\n");
	assert_int_equal(seen.problems, 0);
	assert_int_equal(decoder_stats(decoder)->options_records, 2);
}

/* RFC 7011 section 7: lengths of one octet and of three; enterprise elements, hex while nobody has named them. */
static void test_variable(void **state)
{
	(void)state;
	GIVE(0, 0, 2, 0, 20, 1, 0, 0, 2, 0, 82, 255, 255, 0x80, 1, 255, 255, 0, 0, 0x23, 0x4f, 1, 0,
	     0, 17, 4, 'e', 't', 'h', '"', 255, 0, 3, 0xc0, 0xff, 0xee, 0, 0);
	assert_string_equal(seen.text, "{\"interfaceName\":\"eth\\\"\",\"9039/1\":\"c0ffee\"}\n"
				       "{\"interfaceName\":\"\",\"9039/1\":\"\"}\n");
}

/* What steers a terminal or turns the text around is escaped (ECMA-48; Unicode, annex 9); other letters are as they are. */
static void test_controls(void **state)
{
	(void)state;
	GIVE(0, 0, 2, 0, 12, 1, 0, 0, 1, 0, 82, 255, 255, 1, 0, 0, 22, 17, 0x1b, '[', 0x7f, 0xc2,
	     0x9b, 0xe2, 0x80, 0xae, 0xe2, 0x81, 0xa6, 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0x9b);
	assert_string_equal(seen.text, "{\"interfaceName\":\"\\u001b[\\u007f\\u009b\\u202e\\u2066"
				       "\xc3\xa9\xe2\x82\xac?\"}\n");
}

/* Who gives an element another name again and again makes nothing slow: from some point on it has the last one. */
static void test_renames(void **state)
{
	struct decode_names *names = NULL;
	struct decode_element element = {.pen = 9, .id = 1};
	char text[16];

	(void)state;
	assert_int_equal(decode_names_new(&names), 0);
	for (unsigned int i = 0; i < 3 * DECODE_RENAMES_MAX; i++) {
		snprintf(text, sizeof(text), "name%u", i);
		decode_names_learn(names, 9, 1,
				   &(struct decode_value){.data = (const uint8_t *)text,
							  .length = (uint16_t)strlen(text)},
				   DECODE_U8);
	}
	assert_int_equal(decode_names_version(names), DECODE_RENAMES_MAX + 1);
	decode_names_look(names, &element);
	snprintf(text, sizeof(text), "name%u", DECODE_RENAMES_MAX);
	assert_string_equal(element.name, text);
	decode_names_free(names);
}

/* RFC 5610, section 4: what 9039/1 is, and the next record has its name. */
static void test_types(void **state)
{
	(void)state;
	GIVE(0, 0, 2, 0, 16, 1, 0, 0, 1, 0x80, 1, 0, 4, 0, 0, 0x23, 0x4f, 1, 0, 0, 8, 0, 0, 0, 9);
	GIVE(1, 0, 3, 0, 26, 1, 1, 0, 4, 0, 2, 1, 90, 0, 4, 1, 47, 0, 2, 1, 83, 0, 1, 1, 85, 255,
	     255, 1, 1, 0, 17, 0, 0, 0x23, 0x4f, 0, 1, 3, 5, 'f', 'r', 'o', 'g', 's', 1, 0, 0, 8, 0,
	     0, 0, 9);
	assert_string_equal(
		seen.text,
		"{\"9039/1\":\"00000009\"}\n"
		"{\"privateEnterpriseNumber\":9039,\"informationElementId\":1,"
		"\"informationElementDataType\":3,\"informationElementName\":\"frogs\"}\n"
		"{\"frogs\":9}\n");
}

/* NetFlow v9 (RFC 3954): times by the uptime, scope of its own, sequence of messages. */
static void test_netflow9(void **state)
{
	static const uint8_t m[] = {0,	  9,	0, 4,  0, 0, 0x27, 0x10, 0x65, 0,  0, 0, 0,  0,	 0,
				    5,	  0,	0, 0,  1, 0, 0,	   0,	 16,   1,  0, 0, 2,  0,	 22,
				    0,	  4,	0, 1,  0, 2, 0,	   1,	 0,    18, 1, 1, 0,  4,	 0,
				    4,	  0,	2, 0,  2, 0, 34,   0,	 2,    1,  0, 0, 12, 0,	 0,
				    0x23, 0x28, 0, 77, 0, 0, 1,	   1,	 0,    8,  0, 3, 0,  100};

	(void)state;
	decoder_message(decoder, m, sizeof(m), 0);
	assert_string_equal(seen.text,
			    "{\"flowStartMilliseconds\":1694498815000,\"octetDeltaCount\":77}\n"
			    "{\"scopeInterface\":3,\"samplingInterval\":100}\n");
	assert_int_equal(seen.problems, 0);
	assert_int_equal(decode_frame(m, sizeof(m), true), sizeof(m));
	assert_int_equal(decode_frame(m, sizeof(m), false), 0); /* more may follow */
}

/* Each mistake by its name, at its octet; what is before it is read. */
static void test_mistakes(void **state)
{
	static const struct {
		enum decode_error error;
		uint64_t offset; /* in the sets */
		uint8_t size;
		uint8_t sets[40];
	} mistakes[] = {
		{DECODE_SET_HEADER_CUT, 0, 3, {0, 2, 0}},
		{DECODE_SET_SHORT, 0, 4, {0, 2, 0, 3}},
		{DECODE_SET_LONG, 0, 4, {0, 2, 0, 5}},
		{DECODE_SET_RESERVED, 0, 4, {0, 4, 0, 4}},
		{DECODE_TEMPLATE_ID, 4, 12, {0, 2, 0, 12, 0, 255, 0, 1, 0, 1, 0, 4}},
		{DECODE_TEMPLATE_CUT, 4, 12, {0, 2, 0, 12, 1, 0, 0, 2, 0, 1, 0, 4}},
		{DECODE_TEMPLATE_CUT, 4, 12, {0, 2, 0, 12, 1, 0, 0, 1, 0x80, 1, 0, 4}},
		{DECODE_TEMPLATE_EMPTY, 4, 12, {0, 2, 0, 12, 1, 0, 0, 1, 0, 1, 0, 0}},
		{DECODE_TEMPLATE_FIELDS, 4, 12, {0, 2, 0, 12, 1, 0, 2, 1, 0, 1, 0, 4}},
		{DECODE_TEMPLATE_LONG,
		 4,
		 16,
		 {0, 2, 0, 16, 1, 0, 0, 2, 0, 1, 255, 254, 0, 2, 255, 254}},
		{DECODE_TEMPLATE_SCOPE, 4, 14, {0, 3, 0, 14, 1, 0, 0, 1, 0, 0, 0, 1, 0, 4}},
		{DECODE_TEMPLATE_SCOPE, 4, 14, {0, 3, 0, 14, 1, 0, 0, 1, 0, 2, 0, 1, 0, 4}},
		{DECODE_TEMPLATE_UNKNOWN, 0, 8, {1, 0, 0, 8, 1, 2, 3, 4}},
		{DECODE_WITHDRAWN_UNKNOWN, 4, 8, {0, 2, 0, 8, 1, 0, 0, 0}},
		{DECODE_RECORD_CUT,
		 16,
		 18,
		 {0, 2, 0, 12, 1, 0, 0, 1, 0, 82, 255, 255, 1, 0, 0, 6, 9, 'x'}},
		{DECODE_RECORD_CUT,
		 16,
		 18,
		 {0, 2, 0, 12, 1, 0, 0, 1, 0, 82, 255, 255, 1, 0, 0, 6, 255, 0}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
		end(state);
		begin(state);
		give(0, mistakes[i].sets, mistakes[i].size);
		assert_int_equal(seen.error, mistakes[i].error);
		assert_int_equal(seen.offset, 1016 + mistakes[i].offset);
		assert_int_equal(seen.problems, 1);
		assert_int_equal(decoder_stats(decoder)->errors[mistakes[i].error], 1);
	}
}

static void test_messages(void **state)
{
	static const uint8_t head[20] = {0, 10, 0, 20};
	static const uint8_t old[20] = {0, 5};

	(void)state;
	decoder_message(decoder, old, 20, 3);
	assert_int_equal(seen.error, DECODE_NO_MESSAGE);
	assert_int_equal(seen.offset, 3);
	decoder_message(decoder, head, 15, 0);
	assert_int_equal(seen.error, DECODE_HEADER_SHORT);
	decoder_message(decoder, head, 19, 0);
	assert_int_equal(seen.error, DECODE_MESSAGE_CUT);
	assert_int_equal(decode_frame(old, 20, false), -EBADMSG);
	assert_int_equal(decode_frame(head, 19, false), 0);
	assert_int_equal(decode_frame(head, 20, false), 20);
}

/* A withdrawn template is none, and its id may mean something else then; one that changes without is counted. */
static void test_withdrawn(void **state)
{
	(void)state;
	GIVE(0, 0, 2, 0, 12, 1, 0, 0, 1, 0, 4, 0, 1, 0, 2, 0, 8, 1, 0, 0, 0, 1, 0, 0, 5, 6);
	assert_int_equal(seen.error, DECODE_TEMPLATE_UNKNOWN);
	GIVE(0, 0, 2, 0, 12, 1, 0, 0, 1, 0, 5, 0, 1, 1, 0, 0, 5, 6);
	assert_string_equal(seen.text, "{\"ipClassOfService\":6}\n");
	assert_int_equal(decoder_stats(decoder)->redefined, 0);
	GIVE(1, 0, 2, 0, 12, 1, 0, 0, 1, 0, 4, 0, 1);
	assert_int_equal(decoder_stats(decoder)->redefined, 1);
	GIVE(1, 0, 2, 0, 8, 0, 2, 0, 0, 1, 0, 0, 5, 6); /* all of them */
	assert_int_equal(seen.problems, 2);
}

static void test_sequence(void **state)
{
	(void)state;
	GIVE(0xffffffff, 0, 2, 0, 12, 1, 0, 0, 1, 0, 4, 0, 1, 1, 0, 0, 6, 6, 17);
	GIVE(1, 1, 0, 0, 5, 6);
	assert_int_equal(seen.gaps, 0);
	GIVE(12, 1, 0, 0, 5, 6); /* 2 was due */
	assert_int_equal(seen.gaps, 1);
	assert_int_equal(seen.missing, 10);
	GIVE(2, 1, 0, 0, 5, 6);
	assert_int_equal(seen.gaps, 1);
	assert_int_equal(decoder_stats(decoder)->reordered, 1);
}

/* More templates than are kept: refused by name, and those that there are stay. */
static void test_bounds(void **state)
{
	(void)state;
	for (unsigned int i = 0; i <= DECODE_TEMPLATES_MAX; i++)
		GIVE(0, 0, 2, 0, 12, (uint8_t)((256 + i) >> 8), (uint8_t)i, 0, 1, 0, 4, 0, 1);
	assert_int_equal(seen.error, DECODE_TEMPLATES_MANY);
	assert_int_equal(seen.problems, 1);
	GIVE(0, 1, 0, 0, 5, 6);
	assert_string_equal(seen.text, "{\"protocolIdentifier\":6}\n");
}

/* The two tables of elements say the same; the types of both have RFC 5610's numbers. */
static void test_registered(void **state)
{
	static const struct {
		uint16_t id;
		const char *name;
		int type;
	} registered[] = {
#define REGISTERED(id, name, type) {id, #name, DECODE_##type},
#include "exporter/export/format/registered.def"
	};

	(void)state;
	for (size_t i = 0; i < _ELEMENT_MAX; i++) {
		bool found = elements[i].pen != 0;

		for (size_t k = 0; k < ARRAY_SIZE(registered); k++) {
			if (elements[i].pen || elements[i].id != registered[k].id)
				continue;
			found = true;
			assert_string_equal(registered[k].name, elements[i].name);
			assert_int_equal(registered[k].type, (int)elements[i].type);
		}
		assert_true(found);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_rfc7011_data), TEST(test_rfc7011_options), TEST(test_variable),
		TEST(test_controls),	 TEST(test_renames),	     TEST(test_types),
		TEST(test_netflow9),	 TEST(test_mistakes),	     TEST(test_messages),
		TEST(test_withdrawn),	 TEST(test_sequence),	     TEST(test_bounds),
		TEST(test_registered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
