/* SPDX-License-Identifier: Apache-2.0 */
/* Expressions over records: what is of records alone, what is refused, and flags that mean the same. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "exporter/observe/record_filter.h"
#include "exporter/observe/record_filter_steps.h"
#include "exporter/observe/record_flags.h"
#include "exporter/util.h"

/* A flow of HTTPS with a tag, and a drop of DNS; what they have is written out in docs/filter.md's terms. */
static const struct record_view flow = {
	.parts = VIEW_TIMES | VIEW_ADDRESSES | VIEW_PORTS | VIEW_PROTOCOL | VIEW_TCP_FLAGS |
		 VIEW_DIRECTION | VIEW_INTERFACE | VIEW_VLAN | VIEW_TOS | VIEW_END_REASON |
		 VIEW_COUNTERS,
	.start_ms = 1700000000000,
	.end_ms = 1700000005500,
	.packets = 42,
	.octets = 1500000,
	.src = {10, 0, 0, 1},
	.dst = {192, 0, 2, 7},
	.src_port = 40000,
	.dst_port = 443,
	.tcp_flags = 0x01b, /* FIN SYN PSH ACK */
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
	.parts = VIEW_TIMES | VIEW_ADDRESSES | VIEW_PORTS | VIEW_PROTOCOL | VIEW_DIRECTION |
		 VIEW_COUNTERS | VIEW_DROP,
	.packets = 1,
	.octets = 80,
	.src = {0x20, 1, 0x0d, 0xb8, [15] = 1},
	.dst = {0x20, 1, 0x0d, 0xb8, [15] = 2},
	.src_port = 5353,
	.dst_port = 53,
	.ip_version = 6,
	.protocol = 17,
	.drop_reason = "NETFILTER_DROP",
	.drop_class = "policy",
};
static const struct record_view ping = {
	.parts = VIEW_ADDRESSES | VIEW_ICMP | VIEW_PROTOCOL,
	.src = {10, 0, 0, 1},
	.dst = {10, 0, 0, 2},
	.ip_version = 4,
	.protocol = 1,
	.icmp_type = 8,
};
static const struct record_view nothing;

static struct record_filter *make(const char *text)
{
	struct record_filter *filter = NULL;
	char error[FILTER_ERROR_MAX];

	if (record_filter_new(&filter, text, error) != 0)
		fail_msg("\"%s\" is refused: %s", text, error);
	return filter;
}

/* Which of the views match: f, d, p, n. */
static const struct {
	const char *text, *matching;
} record_rows[] = {
	{NULL, "fdpn"},
	{"", "fdpn"},
	{" \t\n", "fdpn"},
	{"packets > 10", "f"},
	{"packets>=42", "f"},
	{"packets > 42", ""},
	{"packets = 1", "d"},
	{"packets != 1", "f"},
	{"not packets = 1", "fpn"},
	{"octets >= 1m", "f"},
	{"octets >= 1500k", "f"},
	{"octets > 1500k", ""},
	{"bytes < 1KiB", "d"},
	{"bytes <= 80", "d"},
	{"duration > 5s", "f"},
	{"duration >= 5500ms", "f"},
	{"duration > 5500ms", ""},
	{"duration < 1m", "fd"},
	{"drop", "d"},
	{"not drop", "fpn"},
	{"drop reason NETFILTER_DROP", "d"},
	{"drop reason netfilter_drop", "d"},
	{"drop reason SKB_DROP_REASON_NETFILTER_DROP", "d"},
	{"drop reason NO_SOCKET or NETFILTER_DROP", "d"},
	{"drop reason NO_SOCKET", ""},
	{"drop reason NETFILTER*", "d"},
	{"drop reason A_REASON_OF_A_LATER_KERNEL", ""},
	{"drop class policy", "d"},
	{"drop class routing or POLICY", "d"},
	{"drop class routing", ""},
	{"end detected", "f"},
	{"end idle or detected", "f"},
	{"end active", ""},
	{"tos 0xb8", "f"},
	{"tos = 184", "f"},
	{"dscp ef", "f"},
	{"dscp 46", "f"},
	{"dscp > 45", "f"},
	{"dscp af41 or dscp cs5", ""},
	{"icmptype 8", "p"},
	{"icmptype icmp-echo", "p"},
	{"icmptype echo", "p"},
	{"icmpcode 0", "p"},
	{"icmptype 0", ""},
	{"flags syn", "f"},
	{"flags SYN,ACK", "f"},
	{"flags SA", "f"},
	{"flags syn,rst", ""},
	{"flags syn/syn,rst", "f"},
	{"flags S/SA", ""},
	{"flags SA/SA", "f"},
	{"flags /rst", "f"},
	{"flags /syn", ""},
	{"inbound", "d"},
	{"outbound", "f"},
	{"ingress or egress", "fd"},
	{"on eth0", "f"},
	{"on ETH*", "f"},
	{"on eth?", "f"},
	{"on eth", ""},
	{"ifname eth1 or eth0", "f"},
	{"on 3", "f"},
	{"ifindex 3", "f"},
	{"ifindex 4", ""},
	{"on \"eth0\"", "f"},
	{"on *", "f"},
	{"vlan", "f"},
	{"vlan 100", "f"},
	{"vlan 99 or 100", "f"},
	{"vlan 99 or (101 or 100)", "f"},
	{"vlan and vlan", ""},
	{"vlan 100 and tcp", "f"},
	{"10.0.0.1", "fp"},
	{"10.0.0.0/8", "fp"},
	{"src 10.0.0.0/8 and not dst 10.0.0.0/8", "f"},
	{"2001:db8::/32", "d"},
	{"HOST 10.0.0.1 AND NOT icmp", "f"},
	/* `and` and `or` bind alike, from left to right. */
	{"udp or tcp and drop", "d"},
	{"udp or (tcp and drop)", "d"},
	{"tcp or udp and drop", "d"},
	{"tcp or (udp and drop)", "fd"},
	{"not tcp and udp", "d"},
	{"not (tcp or udp)", "pn"},
	{"port not 443", "dpn"},
	{"port (443 or 53)", "fd"},
};

static void test_records(void **state)
{
	static const struct record_view *const views[] = {&flow, &drop, &ping, &nothing};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(record_rows); i++) {
		struct record_filter *filter = make(record_rows[i].text);
		char found[8] = "", *end = found;

		for (size_t v = 0; v < 4; v++)
			if (record_filter_matches(filter, views[v]))
				*end++ = "fdpn"[v];
		if (strcmp(found, record_rows[i].matching) != 0)
			fail_msg("\"%s\" matches \"%s\", not \"%s\"", record_rows[i].text, found,
				 record_rows[i].matching);
		record_filter_free(filter);
	}
}

/* The column, and words that must be in the message. */
static const struct {
	const char *text;
	unsigned int column;
	const char *words[3];
} refusal_rows[] = {
	{"hsot 10.0.0.1", 1, {"'hsot'", "did you mean host?"}},
	{"packets > 10 and octest > 5", 18, {"'octest'", "did you mean octets?"}},
	{"host", 5, {"the end", "an address", "192.0.2.1"}},
	{"host example.org", 6, {"names are not looked up"}},
	{"host 10.0.0.256", 6, {"an address"}},
	{"net 10.0.0.0 mask 255.0.255.0", 19, {"without gaps"}},
	{"host 10", 6, {"an address"}},
	{"ip host ::1", 9, {"not of ip"}},
	{"ip6 net 10.0.0.0/8", 9, {"not of ip6"}},
	{"tcp host 10.0.0.1", 10, {"in front of ports"}},
	{"icmp port 5", 6, {"not allowed behind icmp"}},
	{"port 65536", 6, {"0 to 65535"}},
	{"tcp port nosuchservice", 10, {"/etc/services"}},
	{"portrange 80", 11, {"portrange 80-90"}},
	{"ip port 80", 9, {"write `ip and port"}},
	{"proto 256", 7, {"0 to 255"}},
	{"less 100", 1, {"records cannot answer", "octets"}},
	{"greater 100", 1, {"records cannot answer"}},
	{"len > 100", 1, {"records cannot answer"}},
	{"ether host 02:00:00:00:00:01", 1, {"records cannot answer", "link-layer"}},
	{"arp", 1, {"records cannot answer", "ignored"}},
	{"tcp and mpls", 9, {"records cannot answer", "MPLS"}},
	{"ip broadcast", 4, {"mask"}},
	{"multicast", 1, {"ip multicast"}},
	{"protochain 6", 1, {"proto"}},
	{"tcp[4:4] = 5", 5, {"'4:4'", "tcp[tcpflags]"}},
	{"tcp[tcpflags]", 14, {"the end", "!= 0"}},
	{"tcp[tcpflags] & tcp-synn != 0", 17, {"did you mean tcp-syn?"}},
	{"packets 10", 9, {"one of = != < <= > >="}},
	{"packets > ten", 11, {"such as 10"}},
	{"duration > 5", 12, {"unit"}},
	{"octets > 5x", 10, {"1MiB"}},
	{"dscp 64", 6, {"0 to 63"}},
	{"flags sin", 7, {"syn,ack"}},
	{"flags syn/ack", 7, {"syn/syn,ack"}},
	{"drop class polcy", 12, {"no_receiver", "did you mean policy?"}},
	{"drop reason NETFILTER_DORP", 13, {"did you mean NETFILTER_DROP?"}},
	{"end idlex", 5, {"forced", "did you mean idle?"}},
	{"vlan 4096", 6, {"1 to 4094"}},
	{"vlan 0", 6, {"priority tag"}},
	{"vlan and vlan and vlan", 19, {"two tags"}},
	{"tcp udp", 5, {"'udp'", "`and`, `or` or the end"}},
	{"(tcp", 5, {"the end", "closing parenthesis"}},
	{"tcp)", 4, {"')'"}},
	{"()", 2, {"')'"}},
	{"tcp and", 8, {"the end"}},
	{"not", 4, {"the end"}},
	{"tcp and 5", 9, {"'5'"}},
	{"tcp ; udp", 5, {"`and`, `or` or the end"}},
	{"on \"eth0", 4, {"name of an interface"}},
	{"\033[31m", 1, {"?"}},
};

static void test_refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refusal_rows); i++) {
		struct record_filter *untouched = (void *)(uintptr_t)&refusal_rows,
				     *filter = untouched;
		char error[FILTER_ERROR_MAX] = "", column[32];

		snprintf(column, sizeof(column), "column %u: ", refusal_rows[i].column);
		assert_int_equal(record_filter_new(&filter, refusal_rows[i].text, error), -EINVAL);
		assert_ptr_equal(filter, untouched);
		if (strncmp(error, column, strlen(column)) != 0)
			fail_msg("\"%s\": not %s\"%s\"", refusal_rows[i].text, column, error);
		for (size_t w = 0; w < 3 && refusal_rows[i].words[w]; w++)
			if (!strstr(error, refusal_rows[i].words[w]))
				fail_msg("\"%s\": nothing of \"%s\" in \"%s\"",
					 refusal_rows[i].text, refusal_rows[i].words[w], error);
		for (const char *c = error; *c; c++)
			assert_in_range(*c, ' ', '~');
	}
}

/* `count` times a piece of text, between others. */
static char *repeat(const char *before, const char *piece, unsigned int count, const char *after)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	fputs(before, out);
	for (unsigned int i = 0; i < count; i++)
		fputs(piece, out);
	fputs(after, out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void expect(char *text, int expected)
{
	struct record_filter *filter = NULL;
	char error[FILTER_ERROR_MAX];

	assert_int_equal(record_filter_new(&filter, text, error), expected);
	assert_int_equal(error[0] == '\0', expected == 0);
	record_filter_freep(&filter);
	free(text);
}

static void test_bounds(void **state)
{
	char *closed = repeat("tcp", ")", FILTER_DEPTH_MAX, "");

	(void)state;
	/* A test and what passes over the next are two parts. */
	expect(repeat("tcp", " or tcp", (FILTER_NODES_MAX - 1) / 2, ""), 0);
	expect(repeat("tcp", " or tcp", FILTER_NODES_MAX / 2 + 1, ""), -E2BIG);
	expect(repeat("", "(", FILTER_DEPTH_MAX, closed), 0);
	free(closed);
	expect(repeat("", "(", FILTER_DEPTH_MAX + 1, "tcp"), -EINVAL);
	expect(repeat("port ", "(", FILTER_DEPTH_MAX + 1, "1"), -EINVAL);
	expect(repeat("tcp[13] = ", "(", FILTER_DEPTH_MAX + 1, "1"), -EINVAL);
	expect(repeat("", "(", FILTER_DEPTH_MAX + 1, "tcp[13] = 1"), -EINVAL);
	expect(repeat("", "! ", 20001, "tcp"), 0);
	expect(repeat("tcp", " ", FILTER_TEXT_MAX, ""), -E2BIG);
	expect(repeat("on ", "x", VIEW_NAME_MAX, ""), -EINVAL);
	expect(repeat("on ", "x", 1000, ""), -EINVAL);
}

static const struct record_flag *flag_of(const char *name)
{
	for (size_t i = 0; i < record_flag_count; i++)
		if (!strcmp(record_flags[i].name, name))
			return &record_flags[i];
	fail_msg("no flag --%s", name);
	return NULL;
}

/* Words NAME or NAME=VALUE. */
static int add_flags(struct record_choice *choice, const char *words, char error[FILTER_ERROR_MAX])
{
	char copy[512], *rest = copy, *word;
	int r = 0;

	snprintf(copy, sizeof(copy), "%s", words);
	while (r == 0 && (word = strsep(&rest, " "))) {
		char *value = strchr(word, '=');

		if (value)
			*value++ = '\0';
		r = record_choice_add(choice, flag_of(word), value, error);
	}
	return r;
}

/* Flags become the same steps as the expression. */
static void test_flags(void **state)
{
	static const struct {
		const char *flags, *expression, *same;
	} rows[] = {
		{"ip=10.0.0.1", NULL, "host 10.0.0.1"},
		{"ip=10.0.0.0/8 ip=::1", NULL, "host 10.0.0.0/8 or ::1"},
		{"from-ip=10.0.0.1 to-ip=10.0.0.2", NULL, "src 10.0.0.1 and dst 10.0.0.2"},
		{"port=80 ip=10.0.0.1 port=443", NULL, "(port 80 or 443) and host 10.0.0.1"},
		{"from-port=53 to-port=1024-65535", NULL,
		 "src port 53 and dst portrange 1024-65535"},
		{"not port=22", NULL, "not port 22"},
		{"not port=22 not port=23 port=80", NULL, "not (port 22 or 23) and port 80"},
		{"not not port=22", NULL, "port 22"},
		{"protocol=tcp", NULL, "tcp"},
		{"protocol=ICMP", NULL, "icmp or icmp6"},
		{"protocol=icmpv6 protocol=47", NULL, "icmp6 or proto 47"},
		{"tcp-flags=SYN,ACK", NULL, "flags syn,ack"},
		{"traffic-direction=ingress", NULL, "inbound"},
		{"interface=eth0", NULL, "on eth0"},
		{"interface=ip interface=veth*", NULL, "on ip or veth*"},
		{"verdict=DROPPED", NULL, "drop"},
		{"verdict=forwarded", NULL, "not drop"},
		{"drop-reason-desc=NO_SOCKET", NULL, "drop reason NO_SOCKET"},
		{"drop-reason-desc=POLICY_DENIED", NULL,
		 "drop reason NETFILTER_DROP or BPF_CGROUP_EGRESS"},
		{"drop-class=policy drop-class=memory", NULL, "drop class policy or memory"},
		{"ipv4", NULL, "ip"},
		{"ipv4 ip-version=v6", NULL, "ip or ip6"},
		{"octets=1m", NULL, "octets >= 1m"},
		{"octets=<10k", NULL, "octets < 10k"},
		{"packets=!=1", NULL, "packets != 1"},
		{"duration=>5s", NULL, "duration > 5s"},
		{"port=80", "host 10.0.0.1 or tcp", "port 80 and (host 10.0.0.1 or tcp)"},
		{"port=80", "  ", "port 80"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_(record_choice_freep) struct record_choice *choice = NULL;
		_cleanup_(record_filter_freep) struct record_filter *filter = NULL;
		_cleanup_(record_filter_freep) struct record_filter *same = make(rows[i].same);
		_cleanup_(freep) char *text = NULL;
		char error[FILTER_ERROR_MAX];

		assert_int_equal(record_choice_new(&choice), 0);
		if (add_flags(choice, rows[i].flags, error) != 0 ||
		    record_choice_filter(&filter, &text, choice, rows[i].expression, error) != 0)
			fail_msg("%s: %s", rows[i].flags, error);
		if (!filter || filter->count != same->count ||
		    memcmp(filter->steps, same->steps, same->count * sizeof(same->steps[0])) != 0)
			fail_msg("%s became \"%s\", not what \"%s\" is", rows[i].flags, text,
				 rows[i].same);
	}
}

static void test_flags_refused(void **state)
{
	static const struct {
		const char *flags, *words;
	} rows[] = {
		{"ip=example.org", "an address"},
		{"ip=10.0.0.1)", "one value"},
		{"port=x|y", "one value"},
		{"port=99999", "0 to 65535"},
		{"protocol=http", "port"},
		{"protocol=tpc", "protocols"},
		{"verdict=AUDIT", "'AUDIT': FORWARDED or DROPPED"},
		{"type=l7", "'l7': drop or trace"},
		{"traffic-direction=up", "ingress or egress"},
		{"ip-version=5", "v4 or v6"},
		{"interface=a\"b", "one value"},
		{"packets=many", "a number"},
		{"packets=", "a number"},
		{"tcp-flags=SIN", "TCP flags"},
		{"drop-class=polcy", "did you mean policy?"},
	};
	char error[FILTER_ERROR_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_(record_choice_freep) struct record_choice *choice = NULL;

		assert_int_equal(record_choice_new(&choice), 0);
		assert_int_equal(add_flags(choice, rows[i].flags, error), -EINVAL);
		/* The value comes first, behind the flag's name. */
		if (!strstr(error, rows[i].words) || error[0] != '\'')
			fail_msg("%s: \"%s\"", rows[i].flags, error);
	}
}

static void test_flags_ends(void **state)
{
	_cleanup_(record_choice_freep) struct record_choice *choice = NULL;
	_cleanup_(record_filter_freep) struct record_filter *filter = NULL;
	char error[FILTER_ERROR_MAX];

	(void)state;
	assert_int_equal(record_choice_new(&choice), 0);
	/* An expression's columns are its own, and it cannot close what it has not opened. */
	assert_int_equal(record_choice_add(choice, flag_of("port"), "80", error), 0);
	assert_int_equal(record_choice_filter(&filter, NULL, choice, "tcp) or (udp", error),
			 -EINVAL);
	assert_memory_equal(error, "column 4:", 9);
	assert_int_equal(record_choice_add(choice, flag_of("not"), NULL, error), 0);
	assert_int_equal(record_choice_filter(&filter, NULL, choice, NULL, error), -EINVAL);
	assert_non_null(strstr(error, "--not"));
	assert_null(filter);
	for (unsigned int i = 0; i < 255; i++)
		assert_int_equal(record_choice_add(choice, flag_of("port"), "80", error), 0);
	assert_int_equal(record_choice_add(choice, flag_of("port"), "80", error), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records),	      cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_bounds),	      cmocka_unit_test(test_flags),
		cmocka_unit_test(test_flags_refused), cmocka_unit_test(test_flags_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
