/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include "exporter/observe/record_filter.h"
#include "exporter/observe/record_filter_steps.h"

#define PROTOCOL_SCTP 132

int record_filter_new(struct record_filter **ret, const char *text, char error[FILTER_ERROR_MAX])
{
	_cleanup_(freep) struct filter_step *steps = calloc(FILTER_NODES_MAX, sizeof(*steps));
	struct record_filter *filter;
	unsigned int count = 0;
	int r;

	error[0] = '\0';
	if (!steps)
		return -ENOMEM;
	if (text) {
		r = filter_parse(steps, &count, text, error);
		if (r < 0)
			return r;
	}
	filter = calloc(1, sizeof(*filter) + count * sizeof(*steps));
	if (!filter)
		return -ENOMEM;
	filter->count = count;
	memcpy(filter->steps, steps, count * sizeof(*steps));
	*ret = filter;
	return 0;
}

struct record_filter *record_filter_free(struct record_filter *filter)
{
	free(filter);
	return NULL;
}

/* The last * alone is gone back to: that is enough, and bounds the time. */
bool filter_name_matches(const char *pattern, const char *name)
{
	const char *star = NULL, *from = NULL;

	while (*name) {
		if (*pattern == '*') {
			star = ++pattern;
			from = name;
		} else if (*pattern == '?' ||
			   tolower((unsigned char)*pattern) == tolower((unsigned char)*name)) {
			pattern++;
			name++;
		} else if (star) {
			pattern = star;
			name = ++from;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

static bool either(enum filter_ends ends, bool src, bool dst)
{
	switch (ends) {
	case ENDS_SRC:
		return src;
	case ENDS_DST:
		return dst;
	case ENDS_BOTH:
		return src && dst;
	case ENDS_EITHER:
		break;
	}
	return src || dst;
}

static bool knows(const struct record_view *v, unsigned int parts)
{
	return (v->parts & parts) == parts;
}

static bool is_version(const struct record_view *v, uint8_t version)
{
	return !version || (knows(v, VIEW_ADDRESSES) && v->ip_version == version);
}

static bool has_protocol(const struct record_view *v, uint8_t protocol)
{
	return knows(v, VIEW_PROTOCOL) && v->protocol == protocol;
}

static bool test_address(const struct filter_step *s, const struct record_view *v)
{
	return is_version(v, s->prefix.family == AF_INET6 ? 6 : 4) &&
	       either(s->ends, value_prefix_has(&s->prefix, v->src),
		      value_prefix_has(&s->prefix, v->dst));
}

static bool test_port(const struct filter_step *s, const struct record_view *v)
{
	if (!knows(v, VIEW_PORTS))
		return false;
	if (s->protocol ? !has_protocol(v, s->protocol)
			: !has_protocol(v, IPPROTO_TCP) && !has_protocol(v, IPPROTO_UDP) &&
				  !has_protocol(v, PROTOCOL_SCTP))
		return false;
	return either(s->ends, v->src_port >= s->low && v->src_port <= s->high,
		      v->dst_port >= s->low && v->dst_port <= s->high);
}

static bool test_vlan(const struct filter_step *s, const struct record_view *v)
{
	uint16_t id = s->depth ? v->inner_vlan : v->vlan;

	return knows(v, VIEW_VLAN) && id && (!s->low || id == s->low);
}

static bool test_interface(const struct filter_step *s, const struct record_view *v)
{
	uint64_t number;

	if (!knows(v, VIEW_INTERFACE))
		return false;
	return (v->interface[0] && filter_name_matches(s->name, v->interface)) ||
	       (v->ifindex && value_number(s->name, &number) == 0 && number == v->ifindex);
}

/* What a quantity takes, and what else must be so; a protocol of 0 is any. */
static const struct {
	unsigned int parts;
	uint8_t version, protocol;
} needs[] = {
	[QUANTITY_PACKETS] = {VIEW_COUNTERS, 0, 0},
	[QUANTITY_OCTETS] = {VIEW_COUNTERS, 0, 0},
	[QUANTITY_DURATION] = {VIEW_TIMES, 0, 0},
	[QUANTITY_TOS] = {VIEW_TOS, 0, 0},
	[QUANTITY_IPV4_TOS] = {VIEW_TOS, 4, 0},
	[QUANTITY_DSCP] = {VIEW_TOS, 0, 0},
	[QUANTITY_TCP_FLAGS] = {VIEW_TCP_FLAGS, 0, IPPROTO_TCP},
	[QUANTITY_ICMP_TYPE] = {VIEW_ICMP, 0, 0},
	[QUANTITY_ICMP_CODE] = {VIEW_ICMP, 0, 0},
	[QUANTITY_ICMP4_TYPE] = {VIEW_ICMP, 4, 0},
	[QUANTITY_ICMP4_CODE] = {VIEW_ICMP, 4, 0},
	[QUANTITY_ICMP6_TYPE] = {VIEW_ICMP, 6, 0},
	[QUANTITY_ICMP6_CODE] = {VIEW_ICMP, 6, 0},
	[QUANTITY_DIRECTION] = {VIEW_DIRECTION, 0, 0},
	[QUANTITY_IFINDEX] = {VIEW_INTERFACE, 0, 0},
	[QUANTITY_END] = {VIEW_END_REASON, 0, 0},
	[QUANTITY_IPV4_PROTOCOL] = {VIEW_PROTOCOL, 4, 0},
	[QUANTITY_TCP_SRC_PORT] = {VIEW_PORTS, 0, IPPROTO_TCP},
	[QUANTITY_TCP_DST_PORT] = {VIEW_PORTS, 0, IPPROTO_TCP},
	[QUANTITY_UDP_SRC_PORT] = {VIEW_PORTS, 0, IPPROTO_UDP},
	[QUANTITY_UDP_DST_PORT] = {VIEW_PORTS, 0, IPPROTO_UDP},
	[QUANTITY_SCTP_SRC_PORT] = {VIEW_PORTS, 0, PROTOCOL_SCTP},
	[QUANTITY_SCTP_DST_PORT] = {VIEW_PORTS, 0, PROTOCOL_SCTP},
};

static uint64_t quantity_of(enum filter_quantity quantity, const struct record_view *v)
{
	switch (quantity) {
	case QUANTITY_PACKETS:
		return v->packets;
	case QUANTITY_OCTETS:
		return v->octets;
	case QUANTITY_DURATION:
		return v->end_ms - v->start_ms;
	case QUANTITY_TOS:
	case QUANTITY_IPV4_TOS:
		return v->tos;
	case QUANTITY_DSCP:
		return v->tos >> 2;
	case QUANTITY_TCP_FLAGS:
		return v->tcp_flags;
	case QUANTITY_ICMP_TYPE:
	case QUANTITY_ICMP4_TYPE:
	case QUANTITY_ICMP6_TYPE:
		return v->icmp_type;
	case QUANTITY_ICMP_CODE:
	case QUANTITY_ICMP4_CODE:
	case QUANTITY_ICMP6_CODE:
		return v->icmp_code;
	case QUANTITY_DIRECTION:
		return v->direction;
	case QUANTITY_IFINDEX:
		return v->ifindex;
	case QUANTITY_END:
		return v->end_reason;
	case QUANTITY_IPV4_PROTOCOL:
		return v->protocol;
	case QUANTITY_TCP_SRC_PORT:
	case QUANTITY_UDP_SRC_PORT:
	case QUANTITY_SCTP_SRC_PORT:
		return v->src_port;
	case QUANTITY_TCP_DST_PORT:
	case QUANTITY_UDP_DST_PORT:
	case QUANTITY_SCTP_DST_PORT:
		return v->dst_port;
	}
	return 0;
}

static bool compare(enum filter_compare how, uint64_t a, uint64_t b)
{
	switch (how) {
	case COMPARE_EQUAL:
		return a == b;
	case COMPARE_UNEQUAL:
		return a != b;
	case COMPARE_LESS:
		return a < b;
	case COMPARE_LESS_EQUAL:
		return a <= b;
	case COMPARE_GREATER:
		return a > b;
	case COMPARE_GREATER_EQUAL:
		return a >= b;
	}
	return false;
}

static bool test_number(const struct filter_step *s, const struct record_view *v)
{
	uint8_t protocol = needs[s->quantity].protocol;

	return knows(v, needs[s->quantity].parts) && is_version(v, needs[s->quantity].version) &&
	       (!protocol || has_protocol(v, protocol)) &&
	       compare(s->compare, quantity_of(s->quantity, v) & s->mask, s->value);
}

static bool test(const struct filter_step *s, const struct record_view *v)
{
	switch (s->test) {
	case TEST_FAMILY:
		return is_version(v, s->version);
	case TEST_PROTOCOL:
		return is_version(v, s->version) && has_protocol(v, s->protocol);
	case TEST_ADDRESS:
		return test_address(s, v);
	case TEST_PORT:
		return test_port(s, v);
	case TEST_MULTICAST:
		return is_version(v, s->version) &&
		       (s->version == 6 ? v->dst[0] == 0xff : v->dst[0] >= 224);
	case TEST_VLAN:
		return test_vlan(s, v);
	case TEST_NUMBER:
		return test_number(s, v);
	case TEST_INTERFACE:
		return test_interface(s, v);
	case TEST_DROP:
		return knows(v, VIEW_DROP);
	case TEST_DROP_REASON:
		return knows(v, VIEW_DROP) && filter_name_matches(s->name, v->drop_reason);
	case TEST_DROP_CLASS:
		return knows(v, VIEW_DROP) && filter_name_matches(s->name, v->drop_class);
	}
	return false;
}

const char *record_filter_interface(const struct record_filter *filter, unsigned int index)
{
	for (unsigned int i = 0; i < filter->count; i++)
		if (filter->steps[i].op == FILTER_TEST && filter->steps[i].test == TEST_INTERFACE &&
		    index-- == 0)
			return filter->steps[i].name;
	return NULL;
}

bool record_filter_matches(const struct record_filter *filter, const struct record_view *view)
{
	bool truth = true;

	for (unsigned int i = 0; i < filter->count;) {
		const struct filter_step *s = &filter->steps[i++];

		switch (s->op) {
		case FILTER_TEST:
			truth = test(s, view);
			break;
		case FILTER_NOT:
			truth = !truth;
			break;
		case FILTER_IF_FALSE:
			i = truth ? i : s->to;
			break;
		case FILTER_IF_TRUE:
			i = truth ? s->to : i;
			break;
		}
	}
	return truth;
}

static unsigned int step_asks(const struct filter_step *s)
{
	uint64_t number;

	if (s->op != FILTER_TEST)
		return 0;
	if (s->test == TEST_DROP || s->test == TEST_DROP_REASON || s->test == TEST_DROP_CLASS)
		return FILTER_ASKS_DROPS;
	return s->test == TEST_INTERFACE && value_number(s->name, &number) < 0
		       ? FILTER_ASKS_INTERFACE_NAME
		       : 0;
}

unsigned int record_filter_asks(const struct record_filter *filter)
{
	unsigned int asks = 0;

	for (unsigned int i = 0; i < filter->count; i++)
		asks |= step_asks(&filter->steps[i]);
	return asks;
}
