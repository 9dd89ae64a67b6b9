/* SPDX-License-Identifier: Apache-2.0 */
/* `tcp[tcpflags] & (tcp-syn|tcp-fin) != 0`: of the octets of a packet those that records hold. */
#include <string.h>
#include "exporter/observe/record_filter_parse.h"

static const struct accessor {
	const char *protocol;
	const char *offset; /* as it is written in the brackets */
	enum filter_quantity quantity;
	uint64_t mask; /* what the octets hold of the quantity */
} accessors[] = {
	{"tcp", "tcpflags", QUANTITY_TCP_FLAGS, 0xff},
	{"tcp", "13", QUANTITY_TCP_FLAGS, 0xff},
	{"tcp", "0:2", QUANTITY_TCP_SRC_PORT, UINT64_MAX},
	{"tcp", "2:2", QUANTITY_TCP_DST_PORT, UINT64_MAX},
	{"udp", "0:2", QUANTITY_UDP_SRC_PORT, UINT64_MAX},
	{"udp", "2:2", QUANTITY_UDP_DST_PORT, UINT64_MAX},
	{"sctp", "0:2", QUANTITY_SCTP_SRC_PORT, UINT64_MAX},
	{"sctp", "2:2", QUANTITY_SCTP_DST_PORT, UINT64_MAX},
	{"icmp", "icmptype", QUANTITY_ICMP4_TYPE, UINT64_MAX},
	{"icmp", "0", QUANTITY_ICMP4_TYPE, UINT64_MAX},
	{"icmp", "icmpcode", QUANTITY_ICMP4_CODE, UINT64_MAX},
	{"icmp", "1", QUANTITY_ICMP4_CODE, UINT64_MAX},
	{"icmp6", "icmp6type", QUANTITY_ICMP6_TYPE, UINT64_MAX},
	{"icmp6", "0", QUANTITY_ICMP6_TYPE, UINT64_MAX},
	{"icmp6", "icmp6code", QUANTITY_ICMP6_CODE, UINT64_MAX},
	{"icmp6", "1", QUANTITY_ICMP6_CODE, UINT64_MAX},
	{"ip", "1", QUANTITY_IPV4_TOS, UINT64_MAX},
	{"ip", "9", QUANTITY_IPV4_PROTOCOL, UINT64_MAX},
};

bool filter_is_accessor(const struct filter_parser *p, const struct token *token)
{
	struct token bracket;

	if (token->type != TOKEN_WORD)
		return false;
	filter_lex(p->text, token->end, &bracket);
	return bracket.type == TOKEN_LEFT;
}

static const struct accessor *find(const char *protocol, const char *offset)
{
	char without[FILTER_WORD_MAX];
	size_t length = strlen(offset);

	/* An octet alone may have its length told. */
	snprintf(without, sizeof(without), "%s", offset);
	if (length > 2 && !strcmp(without + length - 2, ":1"))
		without[length - 2] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(accessors); i++)
		if (!strcasecmp(accessors[i].protocol, protocol) &&
		    !strcasecmp(accessors[i].offset, without))
			return &accessors[i];
	return NULL;
}

static int parse_accessor(struct filter_parser *p, struct filter_step *step)
{
	const struct token protocol = p->token;
	const struct accessor *accessor;

	filter_advance(p); /* the bracket */
	filter_advance(p);
	accessor = p->token.type == TOKEN_WORD ? find(protocol.text, p->token.text) : NULL;
	if (!accessor)
		return filter_fail(
			p, &p->token,
			"records hold no such octets of %.16s; they have "
			"tcp[tcpflags], [icmptype], [icmpcode], [icmp6type], [icmp6code], ip[1], ip[9], "
			"ports as [2:2]",
			protocol.text);
	filter_advance(p);
	if (p->token.type != TOKEN_RIGHT)
		return filter_fail(p, &p->token, "`]` is allowed here");
	filter_advance(p);
	step->quantity = accessor->quantity;
	step->mask = accessor->mask;
	return 0;
}

static int parse_bits(struct filter_parser *p, uint64_t *ret);

static int parse_value(struct filter_parser *p, uint64_t *ret)
{
	struct value_guess guess = {0};
	char hint[VALUE_HINT_MAX];
	const char *name;

	if (p->token.type == TOKEN_OPEN)
		return filter_open(p)
			       ?: parse_bits(p, ret)
				       ?: filter_close(p, "`|`, `&`, `+` or `)`");
	if (p->token.type == TOKEN_WORD && (filter_number(p->token.text, UINT32_MAX, ret) == 0 ||
					    filter_constant(p->token.text, ret) == 0)) {
		filter_advance(p);
		return 0;
	}
	for (size_t i = 0; p->token.type == TOKEN_WORD && (name = filter_constant_at(i)); i++)
		value_guess_offer(&guess, p->token.text, name);
	return filter_fail(p, &p->token,
			   "a number or a name such as tcp-syn or icmp-echo is allowed here%s",
			   value_guess_hint(&guess, hint));
}

/* 32 bits, as in pcap-filter. */
static int parse_sum(struct filter_parser *p, uint64_t *ret)
{
	uint64_t more = 0;
	int r = parse_value(p, ret);

	while (r == 0 && p->token.type == TOKEN_PLUS) {
		filter_advance(p);
		r = parse_value(p, &more);
		if (r == 0)
			*ret = (*ret + more) & UINT32_MAX;
	}
	return r;
}

/* & binds closer than |; both join operands of the next lower level. */
static int parse_level(struct filter_parser *p, uint64_t *ret, enum token_type sign)
{
	const bool ands = sign == TOKEN_BITS_AND;
	uint64_t more = 0;
	int r = ands ? parse_sum(p, ret) : parse_level(p, ret, TOKEN_BITS_AND);

	while (r == 0 && p->token.type == sign) {
		filter_advance(p);
		r = ands ? parse_sum(p, &more) : parse_level(p, &more, TOKEN_BITS_AND);
		if (r == 0)
			*ret = ands ? *ret & more : *ret | more;
	}
	return r;
}

static int parse_bits(struct filter_parser *p, uint64_t *ret)
{
	return parse_level(p, ret, TOKEN_BITS_OR);
}

/* What is compared: an accessor, in parentheses or not, with `& bits` behind it or not. */
static int parse_left(struct filter_parser *p, struct filter_step *step)
{
	uint64_t mask = 0;
	int r;

	if (p->token.type == TOKEN_OPEN)
		r = filter_open(p) ?: parse_left(p, step) ?: filter_close(p, "`&` or `)`");
	else
		r = parse_accessor(p, step);
	if (r < 0)
		return r;
	while (p->token.type == TOKEN_BITS_AND) {
		filter_advance(p);
		r = parse_sum(p, &mask);
		if (r < 0)
			return r;
		step->mask &= mask;
	}
	return 0;
}

int filter_arithmetic(struct filter_parser *p)
{
	struct filter_step *step = filter_step_add(p, &p->token);
	int r;

	if (!step)
		return p->result;
	step->test = TEST_NUMBER;
	r = parse_left(p, step);
	if (r < 0)
		return r;
	if (p->token.type != TOKEN_COMPARE)
		return filter_fail(p, &p->token,
				   "`&` or one of = != < <= > >= is allowed here, as in "
				   "`tcp[tcpflags] & (tcp-syn|tcp-fin) != 0`");
	step->compare = p->token.compare;
	filter_advance(p);
	return parse_bits(p, &step->value);
}
