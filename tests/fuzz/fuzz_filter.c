/* SPDX-License-Identifier: Apache-2.0 */
/* Expressions over records under libFuzzer. */
#include <errno.h>
#include <stdbool.h>
#include "exporter/observe/record_filter.h"
#include "exporter/observe/record_filter_steps.h"
#include "exporter/observe/record_flags.h"
#include "exporter/util.h"
#include "tests/fuzz/fuzz.h"

static const struct record_view views[] = {
	{
		.parts = VIEW_TIMES | VIEW_ADDRESSES | VIEW_PORTS | VIEW_PROTOCOL | VIEW_TCP_FLAGS |
			 VIEW_DIRECTION | VIEW_INTERFACE | VIEW_VLAN | VIEW_TOS | VIEW_COUNTERS,
		.packets = 10,
		.octets = 1000,
		.src = {10, 1, 2, 3},
		.dst = {192, 0, 2, 1},
		.src_port = 1025,
		.dst_port = 443,
		.tcp_flags = 0x12,
		.vlan = 100,
		.ifindex = 2,
		.ip_version = 4,
		.protocol = 6,
		.interface = "eth0",
	},
	{
		.parts = VIEW_ADDRESSES | VIEW_ICMP | VIEW_PROTOCOL | VIEW_DROP | VIEW_COUNTERS,
		.src = {0x20, 1, 0x0d, 0xb8, [15] = 1},
		.dst = {0xff, 2, [15] = 1},
		.ip_version = 6,
		.protocol = 58,
		.icmp_type = 128,
		.drop_reason = "NETFILTER_DROP",
		.drop_class = "policy",
	},
	{.parts = 0},
};

static const char *check_steps(const struct record_filter *filter)
{
	if (filter->count > FILTER_NODES_MAX)
		return "too many steps";
	for (unsigned int i = 0; i < filter->count; i++) {
		const struct filter_step *s = &filter->steps[i];
		bool skips = s->op == FILTER_IF_FALSE || s->op == FILTER_IF_TRUE;

		if (skips && (s->to <= i || s->to > filter->count))
			return "a step that goes back or outside";
	}
	if (filter->count && filter->steps[0].op != FILTER_TEST)
		return "the first step needs a truth before it";
	return NULL;
}

static const char *check_error(int r, const char *error)
{
	if (r != -EINVAL && r != -E2BIG)
		return "refused by another error";
	if (!error[0] || strlen(error) >= FILTER_ERROR_MAX)
		return "refused without a word";
	for (; *error; error++)
		if (*error < ' ' || *error > '~')
			return "a message that is not printable";
	return NULL;
}

/* `not (TEXT)` is the contrary of TEXT, where there is room for it. */
static const char *check_contrary(const struct record_filter *filter, const char *text)
{
	_cleanup_(record_filter_freep) struct record_filter *contrary = NULL;
	_cleanup_(freep) char *longer = malloc(strlen(text) + 8);
	char error[FILTER_ERROR_MAX];

	if (!longer || !filter->count)
		return NULL;
	sprintf(longer, "not (%s)", text);
	if (record_filter_new(&contrary, longer, error) < 0)
		return strstr(error, "parentheses") || strstr(error, "parts")
			       ? NULL
			       : "its negation is refused";
	for (size_t i = 0; i < ARRAY_SIZE(views); i++)
		if (record_filter_matches(filter, &views[i]) ==
		    record_filter_matches(contrary, &views[i]))
			return "its negation is not the contrary";
	return NULL;
}

/* The value of some flag: it is one id, whatever it is. */
static const char *check_flag(const char *text)
{
	const struct record_flag *flag = &record_flags[(uint8_t)text[0] % record_flag_count];
	_cleanup_(record_choice_freep) struct record_choice *choice = NULL;
	_cleanup_(record_filter_freep) struct record_filter *filter = NULL;
	char error[FILTER_ERROR_MAX];
	int r;

	if (record_choice_new(&choice) < 0)
		return NULL;
	r = record_choice_add(choice, flag, flag->argument ? text : NULL, error);
	if (r < 0)
		return check_error(r, error);
	r = record_choice_filter(&filter, NULL, choice, "tcp", error);
	if (r < 0)
		return flag->expression ? "a flag that was taken makes no filter" : NULL;
	return filter->count <= 8 ? check_steps(filter) : "a flag becomes more than it says";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(record_filter_freep) struct record_filter *filter = NULL;
	_cleanup_(freep) char *text = calloc(1, size + 1);
	char error[FILTER_ERROR_MAX];
	int r;

	if (!text)
		return -1;
	memcpy(text, data, size);
	r = record_filter_new(&filter, text, error);
	if (r == 0) {
		fuzz_require(error[0] ? "taken, with a complaint" : check_steps(filter));
		fuzz_require(check_contrary(filter, text));
	} else {
		fuzz_require(filter ? "refused, and written" : check_error(r, error));
	}
	fuzz_require(check_flag(text));
	return 0;
}

void fuzz_write_seeds(void)
{
	static const char *const texts[] = {
		"host 10.1.2.3 or 10.1.2.4 and not port (80 or 443)",
		"src or dst net 10.0.0.0 mask 255.0.0.0 || ip6 net 2001:db8::/32",
		"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and tcp dst portrange 1-1023",
		"(icmp[icmptype] & 8) == icmp-echo or icmp6[0] = 0x80 + 1",
		"flags S/SA or flags syn,ack or flags /rst",
		"vlan 100 and vlan and ip proto \\tcp",
		"on \"eth 0\" or ifindex 2 and inbound",
		"packets > 10 && octets >= 1m && duration < 5s && bytes != 1KiB",
		"drop reason NETFILTER_DROP or NO_* and drop class policy or memory",
		"end idle or detected and dscp ef and tos 0xb8 and icmptype echo",
		"less 100",
		"SYN,ACK",
		">=10k",
		"10.0.0.0/8",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		fuzz_write_seed(i, NULL, 0, texts[i], strlen(texts[i]));
}
