/* SPDX-License-Identifier: Apache-2.0 */
/* The status for people: twelve lines when all is well, what is wrong first, and no control character of anybody's. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include "exporter/cli/status_text.h"
#include "exporter/util.h"

static const char healthy[] =
	"{\"version\":1,\"health\":\"healthy\",\"exporter\":\"9.9\",\"problems\":[],\"started_ms\":1,"
	"\"age_ms\":2100,\"interval_ms\":5000,\"idle_ms\":15000,\"active_ms\":60000,"
	"\"rates\":{\"seconds\":5.0,\"ingress\":{\"packets\":12300.0,\"octets\":12262500.0},"
	"\"egress\":{\"packets\":null,\"octets\":null}},"
	"\"interfaces\":[{\"name\":\"e\\u001bth\",\"ingress\":\"xdp\",\"egress\":\"tcx\",\"attached\":true,"
	"\"reason\":\"native \\u009bXDP\",\"rates\":{\"ingress\":10.0,\"egress\":null},\"neighbours\":{\"ingress\":"
	"[{\"hook\":\"xdp\",\"id\":7,\"name\":\"cil\\u001bium\"},{\"hook\":\"tcx\",\"id\":8}],\"egress\":[]}}],"
	"\"flows\":{\"bank_entries\":1210,\"bank_limit\":121000,\"swaps\":12,\"early_swaps\":1,\"cache_entries\":5,"
	"\"cache_limit\":10},\"collectors\":[{\"url\":\"ipfix://a\\u0007b\",\"state\":\"up\",\"records_rate\":1.5,"
	"\"queued\":3,\"lost\":{\"queue_full\":4,\"unsent\":1},\"sent_ms\":0}],"
	"\"drops\":{\"traced\":true,\"rate\":0.0,\"classes\":{\"policy\":10,\"memory\":2}},\"programs\":["
	"{\"name\":\"a\",\"runs\":10,\"run_ns\":300},{\"name\":\"b\",\"runs\":10,\"run_ns\":100}],"
	"\"process\":{\"pid\":4711,\"cpu_percent\":0.34,\"resident_octets\":34100000},"
	"\"ledger\":{\"seen\":120,\"accounted\":{\"packets\":100,\"octets\":9000},\"ignored\":{\"arp\":{\"packets\":12,"
	"\"octets\":1},\"llc\":{\"packets\":5,\"octets\":1}},\"refused\":{\"bank_full\":{\"packets\":3,\"octets\":9}},"
	"\"bank\":{\"packets\":1,\"octets\":1},\"cache\":{\"flows\":1,\"packets\":20,\"octets\":2},\"evicted\":"
	"{\"packets\":2,\"octets\":2},\"drain_error\":{\"packets\":4,\"octets\":4},\"balanced\":true,\"interfaces\":"
	"[{\"rx_packets\":5,\"tx_packets\":6,\"rx_dropped\":1},{\"rx_packets\":50,\"tx_packets\":60,\"rx_dropped\":2}]}}";

static char text[16384];

static void print_form(const json_t *status, const struct status_form *form)
{
	FILE *file = fmemopen(text, sizeof(text), "w");

	assert_non_null(file);
	status_print_text(status, form, file);
	assert_int_equal(fclose(file), 0);
}

static void print(const json_t *status, bool color)
{
	print_form(status, &(struct status_form){.color = color});
}

static unsigned int lines(void)
{
	unsigned int count = 0;

	for (const char *at = text; *at; at++)
		count += *at == '\n';
	return count;
}

static void test_healthy(void **state)
{
	static const char *const parts[] = {
		"flowtally 9.9 is healthy: up ",
		", pid 4711, banks read 2 s ago\n",
		"in 12.3k packets/s, 98.1 Mbit/s; out - packets/s, - bit/s\n",
		"e?th         in 10/s by xdp, out -/s by tcx (native ??XDP); on the ingress hook: cil?ium, id 8\n",
		"1.21k of 121k flows (1 %), read every 5 s: 12 times, 1 early\n",
		"balances: seen 120 packets = accounted 100 + ignored 17 (arp 12, llc 5) + refused 3 (bank_full 3)\n",
		"in records 73 + cache 20 + bank 1 + evicted 2 + drain_error 4; 9.00k octets\n",
		"kernel       rx_packets 55, tx_packets 66 (super-packets of GSO as one), rx_dropped 3\n",
		"ipfix://a?b: up, 2 records/s, 3 queued, lost queue_full 4, unsent 1, nothing sent yet\n",
		"0/s; since the start: policy 10, memory 2\n",
		"0.3 % of a CPU, 34.1 MB of memory, 20 ns a packet in the kernel\n",
	};
	json_t *status = json_loads(healthy, 0, NULL);

	(void)state;
	assert_non_null(status);
	print(status, false);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		if (!strstr(text, parts[i]))
			print_error("lacks: %sin:\n%s", parts[i], text);
		assert_non_null(strstr(text, parts[i]));
	}
	assert_true(lines() <= 12);
	for (const char *at = text; *at; at++)
		assert_true(*at == '\n' || (*at >= ' ' && *at <= '~'));
	json_decref(status);
}

static void test_problems(void **state)
{
	static const char expected[] = "! what\x3f is wrong\n  fix: mend it\n! more\n  fix: too\n"
				       "flowtally 9.9 is healthy";
	json_t *status = json_loads(healthy, 0, NULL);

	(void)state;
	json_object_set_new(status, "problems",
			    json_pack("[{s:s,s:s},{s:s,s:s}]", "what", "what\a is wrong", "fix",
				      "mend it", "what", "more", "fix", "too"));
	print(status, false);
	assert_int_equal(strncmp(text, expected, strlen(expected)), 0);
	print(status, true);
	assert_int_equal(strncmp(text, "\x1b[1;31m! what", 13), 0);
	json_decref(status);
}

/* However many there are, twelve lines, unless all are asked for. */
static void test_many(void **state)
{
	json_t *status = json_loads(healthy, 0, NULL);
	json_t *interfaces = json_object_get(status, "interfaces");
	json_t *collectors = json_object_get(status, "collectors"), *busy;

	(void)state;
	for (int many = 2; many < 40; many++) {
		json_array_append(many % 3 ? interfaces : collectors,
				  json_array_get(many % 3 ? interfaces : collectors, 0));
		print(status, false);
		assert_true(lines() <= 12);
		print_form(status, &(struct status_form){.all = true});
		assert_int_equal(lines(), 10 + many);
	}
	busy = json_deep_copy(json_array_get(interfaces, 0));
	json_object_set_new(busy, "name", json_string("busy0"));
	json_object_set_new(json_object_get(busy, "rates"), "egress", json_real(1e6));
	json_array_append_new(interfaces, busy);
	print(status, false);
	assert_non_null(strstr(text, "of 27 are metered (--all), the busiest: busy0  "));
	assert_non_null(
		strstr(text, "14 of 14 are up (--all), 21 records/s, 42 queued, lost 70\n"));
	json_decref(status);
}

/* Of an exporter that tells less, such as an older one: lines of little sense, but no crash. */
static void test_little(void **state)
{
	json_t *status = json_loads(healthy, 0, NULL), *empty = json_object(), *part;
	const char *key;
	void *next;

	(void)state;
	print(empty, false);
	assert_true(lines() > 0);
	json_object_foreach_safe(status, next, key, part)
	{
		json_t *without = json_copy(status), *other = json_copy(status);

		json_object_del(without, key);
		print(without, false);
		json_object_set_new(other, key, json_string("no such thing"));
		print(other, false);
		json_decref(without);
		json_decref(other);
	}
	json_decref(status);
	json_decref(empty);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_healthy),
					   cmocka_unit_test(test_problems),
					   cmocka_unit_test(test_many),
					   cmocka_unit_test(test_little)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
