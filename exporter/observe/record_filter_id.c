/* SPDX-License-Identifier: Apache-2.0 */
/* What stands behind a primitive's word: addresses, ports, names, numbers. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include "exporter/meter/drop_reason.h"
#include "exporter/observe/ledger.h"
#include "exporter/observe/record_filter_parse.h"

#define LOOKUP_MAX 4096 /* octets of an entry of services(5) or protocols(5) */

static const struct {
	const char *name;
	uint8_t value;
} constants[] = {
	{"tcp-fin", 0x01},
	{"tcp-syn", 0x02},
	{"tcp-rst", 0x04},
	{"tcp-push", 0x08},
	{"tcp-ack", 0x10},
	{"tcp-urg", 0x20},
	{"tcp-ece", 0x40},
	{"tcp-cwr", 0x80},
	{"icmp-echoreply", 0},
	{"icmp-unreach", 3},
	{"icmp-sourcequench", 4},
	{"icmp-redirect", 5},
	{"icmp-echo", 8},
	{"icmp-routeradvert", 9},
	{"icmp-routersolicit", 10},
	{"icmp-timxceed", 11},
	{"icmp-paramprob", 12},
	{"icmp-tstamp", 13},
	{"icmp-tstampreply", 14},
	{"icmp-ireq", 15},
	{"icmp-ireqreply", 16},
	{"icmp-maskreq", 17},
	{"icmp-maskreply", 18},
	{"icmp6-destinationunreach", 1},
	{"icmp6-packettoobig", 2},
	{"icmp6-timeexceeded", 3},
	{"icmp6-parameterproblem", 4},
	{"icmp6-echo", 128},
	{"icmp6-echoreply", 129},
	{"icmp6-multicastlistenerquery", 130},
	{"icmp6-multicastlistenerreportv1", 131},
	{"icmp6-multicastlistenerdone", 132},
	{"icmp6-routersolicit", 133},
	{"icmp6-routeradvert", 134},
	{"icmp6-neighborsolicit", 135},
	{"icmp6-neighboradvert", 136},
	{"icmp6-redirect", 137},
};

const char *filter_constant_at(size_t i)
{
	return i < ARRAY_SIZE(constants) ? constants[i].name : NULL;
}

int filter_constant(const char *text, uint64_t *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(constants); i++) {
		if (strcasecmp(constants[i].name, text) == 0) {
			*ret = constants[i].value;
			return 0;
		}
	}
	return -EINVAL;
}

int filter_number(const char *text, uint64_t most, uint64_t *ret)
{
	unsigned long long number;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	number = strtoull(text, &end, 0);
	if (errno || *end || number > most)
		return -EINVAL;
	*ret = number;
	return 0;
}

/* --- Addresses. */

/* "10.1": the first octets of an IPv4 address, decimal; a whole one has four. */
static int read_octets(const char *text, size_t length, struct value_prefix *ret)
{
	struct value_prefix prefix = {.family = AF_INET};
	unsigned int octet = 0, count = 0, digits = 0;

	for (size_t i = 0; i <= length; i++) {
		if (i < length && isdigit((unsigned char)text[i])) {
			octet = octet * 10 + (unsigned int)(text[i] - '0');
			if (++digits > 3 || octet > 255)
				return -EINVAL;
		} else if (i == length || text[i] == '.') {
			if (!digits || count == 4)
				return -EINVAL;
			prefix.address[count++] = (uint8_t)octet;
			octet = digits = 0;
		} else {
			return -EINVAL;
		}
	}
	prefix.length = (uint8_t)(count * 8);
	*ret = prefix;
	return 0;
}

/* Of `mask 255.255.0.0`, bits; -EINVAL of what is no mask of a prefix. */
static int read_mask(const char *text, uint8_t *ret)
{
	struct value_prefix mask;
	uint32_t bits;

	if (read_octets(text, strlen(text), &mask) < 0 || mask.length != 32)
		return -EINVAL;
	bits = (uint32_t)mask.address[0] << 24 | (uint32_t)mask.address[1] << 16 |
	       (uint32_t)mask.address[2] << 8 | mask.address[3];
	if (bits & (~bits >> 1))
		return -EINVAL;
	*ret = (uint8_t)__builtin_popcount(bits);
	return 0;
}

static int read_address(const char *text, enum qualifier_type type, struct value_prefix *ret)
{
	size_t length = strcspn(text, "/");
	uint64_t bits;

	if (strchr(text, ':'))
		return value_prefix(text, ret);
	/* 10 alone is a network's number; as a host's it would be 0.0.0.10, which nobody means. */
	if (type == QUALIFIER_HOST && !text[length] && !strchr(text, '.'))
		return -EINVAL;
	if (read_octets(text, length, ret) < 0)
		return -EINVAL;
	if (!text[length])
		return 0;
	if (value_number(text + length + 1, &bits) < 0 || bits > 32)
		return -EINVAL;
	ret->length = (uint8_t)bits;
	return 0;
}

static int take_mask(struct filter_parser *p, struct value_prefix *prefix)
{
	if (!filter_accept(p, "mask"))
		return 0;
	if (prefix->family != AF_INET || p->token.type != TOKEN_WORD ||
	    read_mask(p->token.text, &prefix->length) < 0)
		return filter_fail(
			p, &p->token,
			"a mask such as 255.255.0.0 is allowed here, of IPv4 and without "
			"gaps; or write 10.1.0.0/16");
	filter_advance(p);
	return 0;
}

static int id_address(struct filter_parser *p, const struct qualifier *q, const struct token *at,
		      struct filter_step *step)
{
	const char *net = q->type == QUALIFIER_NET ? "`net 10.0.0.0/8` or `net 2001:db8::/32`"
						   : "`host 192.0.2.1` or `host 2001:db8::1`";

	if (q->protocol)
		return filter_fail(p, at,
				   "tcp, udp and sctp stand in front of ports alone; write "
				   "`tcp and host ...`");
	if (read_address(at->text, q->type, &step->prefix) < 0)
		return filter_fail(p, at,
				   "an address is allowed here, as in %s; names are not "
				   "looked up",
				   net);
	if (q->version && (q->version == 6) != (step->prefix.family == AF_INET6))
		return filter_fail(p, at, "the address is not of %s",
				   q->version == 6 ? "ip6" : "ip");
	step->test = TEST_ADDRESS;
	return take_mask(p, &step->prefix);
}

/* --- Ports and protocols. */

static bool read_service(const char *name, const char *protocol, uint16_t *ret)
{
	struct servent entry, *found = NULL;
	char buffer[LOOKUP_MAX];

	if (getservbyname_r(name, protocol, &entry, buffer, sizeof(buffer), &found) != 0 || !found)
		return false;
	*ret = ntohs((uint16_t)found->s_port);
	return true;
}

/* A name without a protocol in front of it is of the protocols that have it; *protocol becomes 0 where TCP and UDP do. */
static int read_named_port(const char *name, uint8_t *protocol, uint16_t *ret)
{
	uint16_t of_tcp = 0, of_udp = 0;
	bool tcp = read_service(name, "tcp", &of_tcp), udp = read_service(name, "udp", &of_udp);

	if (*protocol == IPPROTO_SCTP && read_service(name, "sctp", ret))
		return 0;
	if ((*protocol == IPPROTO_TCP && !tcp) || (*protocol == IPPROTO_UDP && !udp) ||
	    (!tcp && !udp))
		return -EINVAL;
	*ret = *protocol == IPPROTO_UDP || !tcp ? of_udp : of_tcp;
	if (!*protocol && !(tcp && udp && of_tcp == of_udp))
		*protocol = tcp ? IPPROTO_TCP : IPPROTO_UDP;
	return 0;
}

static int read_port(const char *text, uint16_t *ret)
{
	uint64_t number;

	if (filter_number(text, UINT16_MAX, &number) < 0)
		return -EINVAL;
	*ret = (uint16_t)number;
	return 0;
}

static int read_range(const char *text, struct filter_step *step)
{
	size_t length = strcspn(text, "-");
	char low[16];
	uint16_t first, last;

	if (!text[length] || length >= sizeof(low))
		return -EINVAL;
	snprintf(low, sizeof(low), "%.*s", (int)length, text);
	if (read_port(low, &first) < 0 || read_port(text + length + 1, &last) < 0)
		return -EINVAL;
	step->low = MIN(first, last);
	step->high = MAX(first, last);
	return 0;
}

static int id_port(struct filter_parser *p, const struct qualifier *q, const struct token *at,
		   struct filter_step *step)
{
	step->protocol = q->protocol;
	if (q->version)
		return filter_fail(p, at,
				   "tcp, udp or sctp may stand in front of ports; write "
				   "`%s and port ...`",
				   q->version == 6 ? "ip6" : "ip");
	if (q->type == QUALIFIER_PORTRANGE && read_range(at->text, step) < 0)
		return filter_fail(p, at, "two ports are allowed here, as in `portrange 80-90`");
	if (q->type == QUALIFIER_PORT) {
		if (read_port(at->text, &step->low) < 0 &&
		    (isdigit((unsigned char)at->text[0]) ||
		     read_named_port(at->text, &step->protocol, &step->low) < 0))
			return filter_fail(p, at,
					   "a port is allowed here: 0 to 65535, or a name "
					   "from /etc/services");
		step->high = step->low;
	}
	step->test = TEST_PORT;
	return 0;
}

static int id_protocol(struct filter_parser *p, const struct qualifier *q, const struct token *at,
		       struct filter_step *step)
{
	const char *name = at->text + (at->text[0] == '\\');
	struct protoent entry, *found = NULL;
	char buffer[LOOKUP_MAX];
	uint64_t number;

	if (q->protocol)
		return filter_fail(p, at, "`proto` is allowed alone and behind ip and ip6");
	if (!strcasecmp(name, "icmp6"))
		number = IPPROTO_ICMPV6;
	else if (filter_number(name, UINT8_MAX, &number) < 0) {
		if (getprotobyname_r(name, &entry, buffer, sizeof(buffer), &found) != 0 || !found)
			return filter_fail(
				p, at,
				"an IP protocol is allowed here: 0 to 255, or a name from "
				"/etc/protocols");
		number = (uint64_t)found->p_proto;
	}
	step->test = TEST_PROTOCOL;
	step->version = q->version;
	step->protocol = (uint8_t)number;
	return 0;
}

/* --- What else has ids. */

static int id_number(struct filter_parser *p, const struct qualifier *q, const struct token *at,
		     struct filter_step *step)
{
	bool vlan = q->type == QUALIFIER_VLAN;
	uint64_t number;

	if (filter_number(at->text, vlan ? 4095 : UINT32_MAX, &number) < 0)
		return filter_fail(p, at,
				   vlan ? "a VLAN id is allowed here: 1 to 4094"
					: "a number of an interface is allowed here");
	if (vlan && !number)
		return filter_fail(p, at,
				   "records do not tell the id 0, a priority tag, from no "
				   "tag; a VLAN id is 1 to 4094");
	step->test = vlan ? TEST_VLAN : TEST_NUMBER;
	step->depth = q->depth;
	step->low = vlan ? (uint16_t)number : 0;
	step->quantity = QUANTITY_IFINDEX;
	step->value = number;
	return 0;
}

static int id_name(struct filter_parser *p, const struct token *at, enum filter_test test,
		   struct filter_step *step)
{
	size_t length = strlen(at->text);

	if (!length || length >= FILTER_NAME_MAX)
		return filter_fail(p, at, "a name of 1 to %d octets is allowed here",
				   FILTER_NAME_MAX - 1);
	step->test = test;
	memcpy(step->name, at->text, length + 1);
	return 0;
}

/* A reason that is not known may be one of another kernel, unless it looks like a slip. */
static int id_drop_reason(struct filter_parser *p, struct token *at, struct filter_step *step)
{
	static const char prefix[] = "SKB_DROP_REASON_";
	struct value_guess guess = {0};
	char hint[VALUE_HINT_MAX];

	if (!strncasecmp(at->text, prefix, strlen(prefix)))
		memmove(at->text, at->text + strlen(prefix), strlen(at->text + strlen(prefix)) + 1);
	for (unsigned int i = 0; i < drop_reason_text_count; i++)
		value_guess_offer(&guess, at->text, drop_reason_texts[i].name);
	if (guess.word && guess.distance > 0 && !strpbrk(at->text, "*?"))
		return filter_fail(p, at, "no reason is known by this name%s",
				   value_guess_hint(&guess, hint));
	return id_name(p, at, TEST_DROP_REASON, step);
}

static int id_drop_class(struct filter_parser *p, const struct token *at, struct filter_step *step)
{
	struct value_guess guess = {0};
	char hint[VALUE_HINT_MAX];
	enum drop_class class;

	if (drop_class_parse(&class, at->text) == 0)
		return id_name(p, at, TEST_DROP_CLASS, step);
	for (unsigned int i = 0; i < _DROP_CLASS_MAX; i++)
		value_guess_offer(&guess, at->text, drop_class_name((enum drop_class)i));
	return filter_fail(p, at,
			   "policy, congestion, no_receiver, routing, malformed, memory, "
			   "tcp_state, benign or other is allowed here%s",
			   value_guess_hint(&guess, hint));
}

static int id_end(struct filter_parser *p, const struct token *at, struct filter_step *step)
{
	struct value_guess guess = {0};
	char hint[VALUE_HINT_MAX];

	step->test = TEST_NUMBER;
	step->quantity = QUANTITY_END;
	for (int i = FLOW_END_IDLE; i < _FLOW_END_MAX; i++) {
		const char *name = flow_end_name((enum flow_end)i);

		value_guess_offer(&guess, at->text, name);
		if (strcasecmp(name, at->text) == 0)
			step->value = (uint64_t)i;
	}
	if (!step->value)
		return filter_fail(p, at,
				   "idle, active, detected, forced or resources is allowed "
				   "here%s",
				   value_guess_hint(&guess, hint));
	return 0;
}

int filter_id(struct filter_parser *p, const struct qualifier *q)
{
	struct token at = p->token;
	struct filter_step *step;
	bool missing = at.type != TOKEN_WORD && at.type != TOKEN_QUOTED;

	step = filter_step_add(p, &at);
	if (!step)
		return p->result;
	step->ends = q->ends;
	if (!missing)
		filter_advance(p);
	switch (q->type) {
	case QUALIFIER_HOST:
	case QUALIFIER_NET:
		return id_address(p, q, &at, step);
	case QUALIFIER_PORT:
	case QUALIFIER_PORTRANGE:
		return id_port(p, q, &at, step);
	case QUALIFIER_PROTO:
		return id_protocol(p, q, &at, step);
	case QUALIFIER_VLAN:
	case QUALIFIER_IFINDEX:
		return id_number(p, q, &at, step);
	case QUALIFIER_DROP_REASON:
		return missing ? filter_fail(p, &at, "a reason of a drop is allowed here")
			       : id_drop_reason(p, &at, step);
	case QUALIFIER_DROP_CLASS:
		return id_drop_class(p, &at, step);
	case QUALIFIER_END:
		return id_end(p, &at, step);
	case QUALIFIER_INTERFACE:
		return missing ? filter_fail(p, &at, "the name of an interface is allowed here")
			       : id_name(p, &at, TEST_INTERFACE, step);
	case QUALIFIER_NONE:
		break;
	}
	return filter_fail(p, &at, "not allowed here");
}

/* --- Numbers of records, and TCP flags. */

/* An octet count: as value_size() has it, or with k, m, g, t of either case, powers of 1000. */
static int read_octet_count(const char *text, uint64_t *ret)
{
	static const char units[] = "kmgt";
	size_t length = strlen(text);
	const char *unit = length ? strchr(units, tolower((unsigned char)text[length - 1])) : NULL;
	char digits[24];

	if (!unit || !*unit || length > sizeof(digits))
		return value_size(text, ret);
	snprintf(digits, sizeof(digits), "%.*s", (int)length - 1, text);
	if (value_number(digits, ret) < 0)
		return -EINVAL;
	for (; unit >= units; unit--)
		*ret = *ret > UINT64_MAX / 1000 ? UINT64_MAX : *ret * 1000;
	return 0;
}

/* RFC 2474, 2597, 3246, 5865, 8622. */
static int read_dscp(const char *text, uint64_t *ret)
{
	static const struct {
		const char *name;
		uint8_t value;
	} names[] = {{"be", 0}, {"default", 0}, {"le", 1}, {"va", 44}, {"ef", 46}};
	int class = tolower((unsigned char)text[0]), second = tolower((unsigned char)text[1]);

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcasecmp(names[i].name, text) == 0) {
			*ret = names[i].value;
			return 0;
		}
	}
	if (class == 'c' && second == 's' && text[2] >= '0' && text[2] <= '7' && !text[3])
		*ret = 8u * (unsigned int)(text[2] - '0');
	else if (class == 'a' && second == 'f' && text[2] >= '1' && text[2] <= '4' &&
		 text[3] >= '1' && text[3] <= '3' && !text[4])
		*ret = 8u * (unsigned int)(text[2] - '0') + 2u * (unsigned int)(text[3] - '0');
	else
		return filter_number(text, 63, ret);
	return 0;
}

static int read_icmp(const char *text, uint64_t *ret)
{
	static const char *const prefixes[] = {"", "icmp-", "icmp6-"};
	char name[FILTER_WORD_MAX + 8];

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		snprintf(name, sizeof(name), "%s%s", prefixes[i], text);
		if (!strncasecmp(name, "icmp", 4) && filter_constant(name, ret) == 0)
			return 0;
	}
	return filter_number(text, 255, ret);
}

static int read_quantity(enum filter_quantity quantity, const char *text, uint64_t *ret)
{
	int r;

	switch (quantity) {
	case QUANTITY_OCTETS:
	case QUANTITY_PACKETS:
		return read_octet_count(text, ret);
	case QUANTITY_DURATION:
		r = value_duration(text, ret);
		if (r == 0)
			*ret /= NSEC_PER_MSEC;
		return r;
	case QUANTITY_DSCP:
		return read_dscp(text, ret);
	case QUANTITY_ICMP_TYPE:
		return read_icmp(text, ret);
	default:
		return filter_number(text, 255, ret);
	}
}

static const char *quantity_help(enum filter_quantity quantity)
{
	switch (quantity) {
	case QUANTITY_OCTETS:
		return "octets are allowed here, such as 1500, 10k, 1m or 1MiB";
	case QUANTITY_PACKETS:
		return "a number is allowed here, such as 10 or 10k";
	case QUANTITY_DURATION:
		return "a time with its unit is allowed here, such as 500ms, 5s or 2m";
	case QUANTITY_DSCP:
		return "0 to 63, ef, af11 to af43 or cs0 to cs7 is allowed here";
	case QUANTITY_ICMP_TYPE:
		return "0 to 255 or a name such as icmp-echo is allowed here";
	default:
		return "0 to 255 is allowed here";
	}
}

/* What is told apart by values needs no sign: `dscp ef`. */
static bool is_value(enum filter_quantity quantity)
{
	return quantity != QUANTITY_OCTETS && quantity != QUANTITY_PACKETS &&
	       quantity != QUANTITY_DURATION;
}

int filter_quantity(struct filter_parser *p, enum filter_quantity quantity)
{
	struct filter_step *step = filter_step_add(p, &p->token);

	if (!step)
		return p->result;
	step->test = TEST_NUMBER;
	step->quantity = quantity;
	if (p->token.type == TOKEN_COMPARE) {
		step->compare = p->token.compare;
		filter_advance(p);
	} else if (!is_value(quantity)) {
		return filter_fail(p, &p->token, "one of = != < <= > >= is allowed here");
	}
	if (p->token.type != TOKEN_WORD || read_quantity(quantity, p->token.text, &step->value) < 0)
		return filter_fail(p, &p->token, "%s", quantity_help(quantity));
	filter_advance(p);
	return 0;
}

static const struct {
	const char *name;
	char letter; /* as pf.conf(5) has it; 0: none */
	uint16_t bit;
} flag_names[] = {
	{"fin", 'F', 0x001}, {"syn", 'S', 0x002}, {"rst", 'R', 0x004}, {"psh", 'P', 0x008},
	{"ack", 'A', 0x010}, {"urg", 'U', 0x020}, {"ece", 'E', 0x040}, {"cwr", 'W', 0x080},
	{"ns", 0, 0x100},    {"ae", 0, 0x100},	  {"push", 0, 0x008},  {"ecn", 0, 0x040},
};

static bool read_flag(const char *text, size_t length, uint64_t *bits)
{
	for (size_t i = 0; i < ARRAY_SIZE(flag_names); i++) {
		if (strlen(flag_names[i].name) == length &&
		    !strncasecmp(flag_names[i].name, text, length)) {
			*bits |= flag_names[i].bit;
			return true;
		}
	}
	return false;
}

/* "SA". */
static bool read_letters(const char *text, size_t length, uint64_t *bits)
{
	for (size_t i = 0; i < length; i++) {
		size_t j = 0;

		while (j < ARRAY_SIZE(flag_names) && flag_names[j].letter != text[i])
			j++;
		if (j == ARRAY_SIZE(flag_names))
			return false;
		*bits |= flag_names[j].bit;
	}
	return length > 0;
}

/* "syn,ack" or "SA". */
static bool read_flags(const char *text, size_t length, uint64_t *ret)
{
	uint64_t bits = 0;

	for (size_t from = 0; from <= length;) {
		size_t word = strcspn(text + from, ",/");

		if (!read_flag(text + from, word, &bits)) {
			*ret = 0;
			return read_letters(text, length, ret);
		}
		from += word + 1;
	}
	*ret = bits;
	return true;
}

int filter_tcp_flags(struct filter_parser *p)
{
	struct filter_step *step = filter_step_add(p, &p->token);
	const char *text = p->token.text;
	size_t length = strcspn(text, "/");
	uint64_t value = 0, mask;
	bool good = p->token.type == TOKEN_WORD;

	if (!step)
		return p->result;
	/* None of those behind the slash: "/syn". */
	good = good && (length == 0 ? text[0] == '/' : read_flags(text, length, &value));
	mask = value;
	if (good && text[length])
		good = read_flags(text + length + 1, strlen(text + length + 1), &mask);
	if (!good || value & ~mask)
		return filter_fail(
			p, &p->token,
			"TCP flags are allowed here: `syn,ack` (all of them), "
			"`syn/syn,ack` (of the second the first alone), of fin, syn, rst, "
			"psh, ack, urg, ece, cwr and ns");
	step->test = TEST_NUMBER;
	step->quantity = QUANTITY_TCP_FLAGS;
	step->mask = mask;
	step->value = value;
	filter_advance(p);
	return 0;
}
