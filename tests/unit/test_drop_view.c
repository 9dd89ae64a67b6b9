/* SPDX-License-Identifier: Apache-2.0 */
/* What `flowtally drops` shows: lines, JSON, a table that fits, the end. */
#include <arpa/inet.h>
#include <bpf/btf.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "exporter/meter/drop_filter.h"
#include "exporter/observe/drop_table.h"
#include "exporter/observe/drop_text.h"
#include "tests/unit/drops.h"

static struct drop_reasons *reasons;

static struct {
	char *text;
	size_t size;
	FILE *file;
} output;

static FILE *output_begin(void)
{
	free(output.text);
	output.file = open_memstream(&output.text, &output.size);
	assert_non_null(output.file);
	return output.file;
}

static void output_end(void)
{
	fclose(output.file);
}

/* Reasons of a kernel made here, so that codes and names are the same everywhere. */
static int make_reasons(void **state)
{
	char dir[] = "/tmp/test_drop_view.XXXXXX", path[64];
	struct btf *btf = btf__new_empty();
	const void *data;
	uint32_t size;
	FILE *file;

	(void)state;
	assert_true(btf && mkdtemp(dir));
	assert_true(btf__add_enum(btf, "skb_drop_reason", 4) > 0);
	assert_int_equal(btf__add_enum_value(btf, "SKB_DROP_REASON_NETFILTER_DROP", NETFILTER_DROP),
			 0);
	assert_int_equal(btf__add_enum_value(btf, "SKB_DROP_REASON_NO_SOCKET", NO_SOCKET), 0);
	assert_int_equal(btf__add_enum_value(btf, "SKB_DROP_REASON_OTHERHOST", OTHERHOST), 0);
	data = btf__raw_data(btf, &size);
	snprintf(path, sizeof(path), "%s/vmlinux", dir);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, size, file), size);
	fclose(file);
	btf__free(btf);
	assert_int_equal(drop_reasons_new(&reasons, dir), 0);
	unlink(path);
	rmdir(dir);
	return 0;
}

static int free_reasons(void **state)
{
	(void)state;
	drop_reasons_freep(&reasons);
	free(output.text);
	return 0;
}

static struct drop_view view_of(enum drops_by by)
{
	return (struct drop_view){
		.by = by, .seconds = 2, .clock_offset_ns = 1000 * (int64_t)SEC, .reasons = reasons};
}

static void print_lines(struct drop_table *t, enum drops_by by)
{
	const struct drop_view view = view_of(by);
	const struct drop_row *const *rows;
	size_t active;
	FILE *file = output_begin();

	drop_print_columns(file, &view);
	drop_table_sort(t, &rows, &active);
	for (size_t i = 0; i < active; i++)
		drop_print_line(file, &view, rows[i]);
	drop_print_line(file, &view, drop_table_others(t));
	output_end();
}

static void test_lines(void **state)
{
	_cleanup_(drop_table_freep) struct drop_table *t = NULL;
	const struct flow_record record = {.packets = 3};
	struct flow_key key = key_of(1, UNKNOWN);

	(void)state;
	key.kind |= FLOW_IPV6 | FLOW_EGRESS;
	key.ifindex = 999999;
	assert_int_equal(drop_table_new(&t, DROPS_BY_FLOW, 2), 0);
	add_drops(t, 1, NO_SOCKET, 1234567);
	drop_table_add(t, &key, &record);
	add_drops(t, 2, NO_SOCKET, 11);
	print_lines(t, DROPS_BY_FLOW);
	assert_non_null(strstr(output.text, "TIME     PROTO SOURCE "));
	assert_non_null(
		strstr(output.text,
		       "00:16:42 UDP   10.0.0.1:40000        192.0.2.1:53          in  -"
		       "           1234567  617283.5   1234567 no_receiver NO_SOCKET            "));
	assert_non_null(
		strstr(output.text,
		       "[c000:201::]:53       out 999999            3       1.5         3 other"
		       "       0x000000c8           The kernel's BTF has no"));
	assert_non_null(strstr(output.text, " -   -                11       5.5        11 -"
					    "           others "));
	print_lines(t, DROPS_BY_INTERFACE);
	assert_null(strstr(output.text, "UDP"));
	assert_non_null(strstr(output.text, "00:16:42 in  - "));
	print_lines(t, DROPS_BY_SERVICE);
	assert_non_null(strstr(output.text, "TIME     SERVICE       PACKETS"));
	assert_non_null(strstr(output.text, "00:16:42 UDP/53 "));
	print_lines(t, DROPS_BY_REASON);
	assert_null(strstr(output.text, " in  - "));
	assert_non_null(strstr(output.text, "00:16:42   1234567 "));
}

static json_t *print_json(enum drops_by by, const struct drop_row *row)
{
	const struct drop_view view = view_of(by);
	FILE *file = output_begin();
	json_t *object;

	drop_print_json(file, &view, row);
	output_end();
	assert_ptr_equal(strchr(output.text, '\n'), output.text + output.size - 1);
	object = json_loads(output.text, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(object);
	return object;
}

static void expect_number(const json_t *object, const char *name, double value)
{
	const json_t *number = json_object_get(object, name);

	if (!json_is_number(number) || json_number_value(number) != value)
		fail_msg("%s is not %g in %s", name, value, output.text);
}

static void expect_text(const json_t *object, const char *name, const char *value)
{
	const char *text = json_string_value(json_object_get(object, name));

	if (!text || strcmp(text, value) != 0)
		fail_msg("%s is not %s in %s", name, value, output.text);
}

static void test_json(void **state)
{
	_cleanup_(drop_table_freep) struct drop_table *t = NULL;
	const struct drop_row *const *rows;
	size_t active;
	json_t *object;

	(void)state;
	for (int by = DROPS_BY_FLOW; by < _DROPS_BY_MAX; by++) {
		drop_table_freep(&t);
		assert_int_equal(drop_table_new(&t, (enum drops_by)by, 1), 0);
		add_drops(t, 1, NO_SOCKET, 5);
		drop_table_sort(t, &rows, &active);
		object = print_json((enum drops_by)by, rows[0]);
		expect_number(object, "droppedPacketDeltaCount", 5);
		expect_number(object, "droppedOctetDeltaCount", 500);
		expect_number(object, "droppedPacketTotalCount", 5);
		expect_number(object, "packetsPerSecond", 2.5);
		expect_number(object, "flowStartMilliseconds", 1001000);
		expect_number(object, "flowEndMilliseconds", 1002000);
		expect_number(object, "dropReason", NO_SOCKET);
		expect_number(object, "forwardingStatus", 141);
		expect_text(object, "dropReasonName", "NO_SOCKET");
		expect_text(object, "dropClass", "no_receiver");
		assert_non_null(json_object_get(object, "dropExplanation"));
		assert_int_equal(!!json_object_get(object, "sourceIPv4Address"),
				 by == DROPS_BY_FLOW);
		assert_int_equal(!!json_object_get(object, "ingressInterface"),
				 by == DROPS_BY_FLOW || by == DROPS_BY_INTERFACE);
		assert_int_equal(!!json_object_get(object, "destinationTransportPort"),
				 by == DROPS_BY_FLOW || by == DROPS_BY_SERVICE);
		assert_null(json_object_get(object, "interfaceName"));
		json_decref(object);
	}
	add_drops(t, 1, NETFILTER_DROP, 7);
	object = print_json(DROPS_BY_FLOW, drop_table_others(t));
	assert_true(json_is_true(json_object_get(object, "others")));
	expect_number(object, "droppedPacketDeltaCount", 7);
	expect_number(object, "packetsPerSecond", 3.5);
	json_decref(object);
}

/* lo is number 1 in every namespace. */
static void test_interface_name(void **state)
{
	const struct drop_row row = {.key = {.kind = FLOW_DROP, .ifindex = 1}, .packets = 1};
	json_t *object = print_json(DROPS_BY_INTERFACE, &row);

	(void)state;
	expect_text(object, "interfaceName", "lo");
	json_decref(object);
}

static void test_lists(void **state)
{
	uint8_t excluded[DROP_REASON_MAX];

	(void)state;
	drop_filter_make(reasons, "policy,Skb_Drop_Reason_No_Socket,BRIDGE_INGRESS_STP_STATE", NULL,
			 excluded);
	assert_false(excluded[NETFILTER_DROP] || excluded[NO_SOCKET]);
	assert_true(excluded[UNKNOWN]);
	drop_filter_make(reasons, NULL, "no_receiver,0x000000c8", excluded);
	assert_false(excluded[NETFILTER_DROP]);
	assert_true(excluded[NO_SOCKET] && excluded[UNKNOWN]);
	drop_filter_make(reasons, "no_receiver,policy", "NO_SOCKET", excluded);
	assert_false(excluded[NETFILTER_DROP]);
	assert_true(excluded[NO_SOCKET] && excluded[UNKNOWN]);
	drop_filter_make(reasons, NULL, NULL, excluded);
	assert_false(excluded[NETFILTER_DROP] || excluded[NO_SOCKET] || excluded[UNKNOWN]);
	assert_true(excluded[OTHERHOST]);
	drop_filter_make(reasons, "NO_SOCKET", NULL, excluded);
	assert_true(excluded[OTHERHOST]);
	drop_filter_make(reasons, "benign", NULL, excluded);
	assert_false(excluded[OTHERHOST]);
	drop_filter_make(reasons, NULL, "policy", excluded);
	assert_false(excluded[OTHERHOST]);
}

static void test_summary(void **state)
{
	static struct ledger_reasons counts;
	static uint64_t shown[DROP_REASON_MAX];
	struct ledger ledger = {.drop_reasons = &counts, .drop_names = reasons};
	const char *first, *second;

	(void)state;
	counts.reasons[NO_SOCKET].packets = 5;
	counts.reasons[NETFILTER_DROP].packets = 7;
	shown[NO_SOCKET] = 4;
	ledger.sides[RECORD_DROP].seen[0] = 12;
	ledger.sides[RECORD_DROP].accounted[0].packets = 9;
	ledger.sides[RECORD_DROP].reasons[0][REASON_EXCLUDED].packets = 2;
	ledger.sides[RECORD_DROP].reasons[0][REASON_BANK_FULL].packets = 1;
	ledger.sides[RECORD_DROP].drained.packets = 9;
	ledger.drops_missed = 3;
	drop_print_summary(output_begin(), &ledger, shown);
	output_end();
	first = strstr(output.text, "        7         0 policy      NETFILTER_DROP ");
	second = strstr(output.text, "        5         4 no_receiver NO_SOCKET ");
	assert_true(first && second && first < second);
	assert_non_null(strstr(output.text,
			       "\ndrops: seen 12 packets = accounted 9 + ignored 2 (excluded 2) + "
			       "refused 1 (bank_full 1); shown 4, evicted 0, drain_error 0; drops "
			       "missed 3\n"));
	ledger.sides[RECORD_DROP].seen[0] = 13;
	drop_print_summary(output_begin(), &ledger, shown);
	output_end();
	assert_non_null(strstr(output.text, "\ndrops: THE LEDGER DOES NOT BALANCE; seen 13"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),	       cmocka_unit_test(test_json),
		cmocka_unit_test(test_interface_name), cmocka_unit_test(test_lists),
		cmocka_unit_test(test_summary),
	};

	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, make_reasons, free_reasons);
}
