/* SPDX-License-Identifier: Apache-2.0 */
/* The primitives, a row each, and those of pcap-filter(7) that no record can answer. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include "exporter/observe/record_filter_parse.h"

struct primitive {
	const char *word;
	/* The token is behind the word.  1: an id must follow, as *q says. */
	int (*take)(struct filter_parser *p, const struct token *at, const struct primitive *self,
		    struct qualifier *q);
	unsigned int number; /* what `take` needs */
	uint8_t version, protocol;
	const char *why; /* of what is refused */
};

/* --- host, net, port, portrange, proto, with src and dst in front of them, with ip, ip6, tcp ... in front of those. */

static const struct {
	const char *word;
	enum qualifier_type type;
} types[] = {
	{"host", QUALIFIER_HOST},	    {"net", QUALIFIER_NET},	{"port", QUALIFIER_PORT},
	{"portrange", QUALIFIER_PORTRANGE}, {"proto", QUALIFIER_PROTO},
};

static void take_type(struct filter_parser *p, struct qualifier *q)
{
	q->type = QUALIFIER_HOST;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (filter_accept(p, types[i].word)) {
			q->type = types[i].type;
			return;
		}
	}
}

/* `src`, `dst`, `src or dst`, `src and dst`; the first of them is taken already. */
static void take_other_end(struct filter_parser *p, struct qualifier *q)
{
	enum token_type joint = p->token.type;
	struct token second;

	if (joint != TOKEN_AND && joint != TOKEN_OR)
		return;
	filter_lex(p->text, p->token.end, &second);
	if (!filter_is_word(&second, q->ends == ENDS_SRC ? "dst" : "src"))
		return;
	q->ends = joint == TOKEN_OR ? ENDS_EITHER : ENDS_BOTH;
	p->token = second;
	filter_advance(p);
}

static int take_end_and_type(struct filter_parser *p, enum filter_ends ends, struct qualifier *q)
{
	q->ends = ends;
	take_other_end(p, q);
	take_type(p, q);
	return 1;
}

static int take_ends(struct filter_parser *p, const struct token *at, const struct primitive *self,
		     struct qualifier *q)
{
	(void)at;
	return take_end_and_type(p, self->number, q);
}

static int take_address_type(struct filter_parser *p, const struct token *at,
			     const struct primitive *self, struct qualifier *q)
{
	(void)p;
	(void)at;
	q->type = self->number;
	return 1;
}

static int emit_test(struct filter_parser *p, const struct token *at, enum filter_test test,
		     uint8_t version, uint8_t protocol)
{
	struct filter_step *step = filter_step_add(p, at);

	if (!step)
		return p->result;
	step->test = test;
	step->version = version;
	step->protocol = protocol;
	return 0;
}

static bool is_type(const struct token *token)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (filter_is_word(token, types[i].word))
			return true;
	return false;
}

/* ip, tcp ...: alone, or in front of host and the like. */
static int take_protocol(struct filter_parser *p, const struct token *at,
			 const struct primitive *self, struct qualifier *q)
{
	bool src = filter_is_word(&p->token, "src"), dst = filter_is_word(&p->token, "dst");

	if (src || dst || is_type(&p->token)) {
		if (self->protocol && self->protocol != IPPROTO_TCP &&
		    self->protocol != IPPROTO_UDP && self->protocol != IPPROTO_SCTP)
			return filter_fail(p, &p->token,
					   "not allowed behind %s; write `%s and ...`", self->word,
					   self->word);
		q->version = self->protocol ? 0 : self->version;
		q->protocol = self->protocol;
		if (src || dst)
			filter_advance(p);
		if (src || dst)
			return take_end_and_type(p, src ? ENDS_SRC : ENDS_DST, q);
		take_type(p, q);
		return 1;
	}
	if (!self->protocol && filter_accept(p, "multicast"))
		return emit_test(p, at, TEST_MULTICAST, self->version, 0);
	if (!self->protocol && filter_is_word(&p->token, "broadcast"))
		return filter_fail(p, &p->token,
				   "records do not hold the network's mask; write `dst host` and "
				   "its broadcast address");
	return emit_test(p, at, self->protocol ? TEST_PROTOCOL : TEST_FAMILY, self->version,
			 self->protocol);
}

/* --- What else pcap-filter has. */

static int take_vlan(struct filter_parser *p, const struct token *at, const struct primitive *self,
		     struct qualifier *q)
{
	struct filter_step *step;

	(void)self;
	if (p->tags == 2)
		return filter_fail(p, at,
				   "records hold two tags: the first `vlan` is the outer "
				   "one, the second the inner one");
	q->type = QUALIFIER_VLAN;
	q->depth = (uint8_t)p->tags++;
	if (p->token.type == TOKEN_OPEN ||
	    (p->token.type == TOKEN_WORD && !filter_is_keyword(p->token.text)))
		return 1;
	step = filter_step_add(p, at);
	if (!step)
		return p->result;
	step->test = TEST_VLAN;
	step->depth = q->depth;
	q->type = QUALIFIER_NONE;
	return 0;
}

static int take_direction(struct filter_parser *p, const struct token *at,
			  const struct primitive *self, struct qualifier *q)
{
	struct filter_step *step = filter_step_add(p, at);

	(void)q;
	if (!step)
		return p->result;
	step->test = TEST_NUMBER;
	step->quantity = QUANTITY_DIRECTION;
	step->value = self->number;
	return 0;
}

/* What must be followed by an id of its own kind. */
static int take_qualifier(struct filter_parser *p, const struct token *at,
			  const struct primitive *self, struct qualifier *q)
{
	(void)p;
	(void)at;
	q->type = self->number;
	return 1;
}

static int take_refused(struct filter_parser *p, const struct token *at,
			const struct primitive *self, struct qualifier *q)
{
	(void)q;
	return filter_fail(p, at, "records cannot answer it: %s", self->why);
}

/* --- What is of records. */

static int take_drop(struct filter_parser *p, const struct token *at, const struct primitive *self,
		     struct qualifier *q)
{
	(void)self;
	if (filter_accept(p, "reason"))
		q->type = QUALIFIER_DROP_REASON;
	else if (filter_accept(p, "class"))
		q->type = QUALIFIER_DROP_CLASS;
	else
		return emit_test(p, at, TEST_DROP, 0, 0);
	return 1;
}

static int take_flags(struct filter_parser *p, const struct token *at, const struct primitive *self,
		      struct qualifier *q)
{
	(void)at;
	(void)self;
	(void)q;
	return filter_tcp_flags(p);
}

static int take_quantity(struct filter_parser *p, const struct token *at,
			 const struct primitive *self, struct qualifier *q)
{
	(void)at;
	(void)q;
	return filter_quantity(p, self->number);
}

#define LINK_WHY   "they hold no link-layer headers"
#define LENGTH_WHY "they hold no single packet's length; compare `octets` and `packets`"
#define NO_IP_WHY  "records are of IP alone, other protocols are counted as ignored"
#define REFUSED(word, why) \
	{ \
		word, take_refused, 0, 0, 0, why \
	}

static const struct primitive primitives[] = {
	{"host", take_address_type, QUALIFIER_HOST, 0, 0, NULL},
	{"net", take_address_type, QUALIFIER_NET, 0, 0, NULL},
	{"src", take_ends, ENDS_SRC, 0, 0, NULL},
	{"dst", take_ends, ENDS_DST, 0, 0, NULL},
	{"port", take_address_type, QUALIFIER_PORT, 0, 0, NULL},
	{"portrange", take_address_type, QUALIFIER_PORTRANGE, 0, 0, NULL},
	{"proto", take_address_type, QUALIFIER_PROTO, 0, 0, NULL},
	{"ip", take_protocol, 0, 4, 0, NULL},
	{"ip6", take_protocol, 0, 6, 0, NULL},
	{"tcp", take_protocol, 0, 0, IPPROTO_TCP, NULL},
	{"udp", take_protocol, 0, 0, IPPROTO_UDP, NULL},
	{"sctp", take_protocol, 0, 0, IPPROTO_SCTP, NULL},
	{"icmp", take_protocol, 0, 4, IPPROTO_ICMP, NULL},
	{"icmp6", take_protocol, 0, 6, IPPROTO_ICMPV6, NULL},
	{"igmp", take_protocol, 0, 4, IPPROTO_IGMP, NULL},
	{"esp", take_protocol, 0, 0, IPPROTO_ESP, NULL},
	{"ah", take_protocol, 0, 0, IPPROTO_AH, NULL},
	{"pim", take_protocol, 0, 0, IPPROTO_PIM, NULL},
	{"vrrp", take_protocol, 0, 4, 112, NULL},
	{"carp", take_protocol, 0, 4, 112, NULL},
	{"igrp", take_protocol, 0, 4, 9, NULL},
	{"vlan", take_vlan, 0, 0, 0, NULL},
	{"inbound", take_direction, 0, 0, 0, NULL},
	{"outbound", take_direction, 1, 0, 0, NULL},
	{"ingress", take_direction, 0, 0, 0, NULL},
	{"egress", take_direction, 1, 0, 0, NULL},
	{"on", take_qualifier, QUALIFIER_INTERFACE, 0, 0, NULL},
	{"ifname", take_qualifier, QUALIFIER_INTERFACE, 0, 0, NULL},
	{"ifindex", take_qualifier, QUALIFIER_IFINDEX, 0, 0, NULL},
	{"flags", take_flags, 0, 0, 0, NULL},
	{"packets", take_quantity, QUANTITY_PACKETS, 0, 0, NULL},
	{"octets", take_quantity, QUANTITY_OCTETS, 0, 0, NULL},
	{"bytes", take_quantity, QUANTITY_OCTETS, 0, 0, NULL},
	{"duration", take_quantity, QUANTITY_DURATION, 0, 0, NULL},
	{"tos", take_quantity, QUANTITY_TOS, 0, 0, NULL},
	{"dscp", take_quantity, QUANTITY_DSCP, 0, 0, NULL},
	{"icmptype", take_quantity, QUANTITY_ICMP_TYPE, 0, 0, NULL},
	{"icmpcode", take_quantity, QUANTITY_ICMP_CODE, 0, 0, NULL},
	{"drop", take_drop, 0, 0, 0, NULL},
	{"end", take_qualifier, QUALIFIER_END, 0, 0, NULL},
	REFUSED("less", LENGTH_WHY),
	REFUSED("greater", LENGTH_WHY),
	REFUSED("len", LENGTH_WHY),
	REFUSED("ether", LINK_WHY),
	REFUSED("link", LINK_WHY),
	REFUSED("fddi", LINK_WHY),
	REFUSED("tr", LINK_WHY),
	REFUSED("wlan", LINK_WHY),
	REFUSED("multicast", LINK_WHY "; write `ip multicast` or `ip6 multicast`"),
	REFUSED("broadcast", LINK_WHY),
	REFUSED("gateway", LINK_WHY),
	REFUSED("mpls", "they hold no MPLS labels"),
	REFUSED("pppoed", "they hold no PPPoE session"),
	REFUSED("pppoes", "they hold no PPPoE session"),
	REFUSED("geneve", "they hold the outermost IP header alone"),
	REFUSED("protochain",
		"they hold one protocol, the one behind IPv6 extension headers; write "
		"`proto`"),
	REFUSED("byte", "they hold no octets of packets"),
	REFUSED("arp", NO_IP_WHY),
	REFUSED("rarp", NO_IP_WHY),
	REFUSED("decnet", NO_IP_WHY),
	REFUSED("iso", NO_IP_WHY),
	REFUSED("stp", NO_IP_WHY),
	REFUSED("ipx", NO_IP_WHY),
	REFUSED("rnr", "pf's log alone has it"),
	REFUSED("rulenum", "pf's log alone has it"),
	REFUSED("action", "pf's log alone has it; write `drop` or `not drop`"),
	REFUSED("reason", "pf's log alone has it; write `drop reason`"),
};

static const struct primitive *find(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(primitives); i++)
		if (!strcasecmp(primitives[i].word, word))
			return &primitives[i];
	return NULL;
}

bool filter_is_keyword(const char *word)
{
	return find(word) || !strcasecmp(word, "mask");
}

static int fail_unknown(struct filter_parser *p, const struct token *at)
{
	struct value_guess guess = {0};
	char hint[VALUE_HINT_MAX];

	if (at->type == TOKEN_BAD)
		return filter_fail(p, at, "not of the language, or longer than a word can be");
	if (at->type == TOKEN_WORD)
		for (size_t i = 0; i < ARRAY_SIZE(primitives); i++)
			if (!primitives[i].why)
				value_guess_offer(&guess, at->text, primitives[i].word);
	return filter_fail(p, at,
			   "a primitive such as `host 192.0.2.1`, `tcp port 443`, "
			   "`packets > 10`, `flags syn` or `drop` is allowed here%s",
			   value_guess_hint(&guess, hint));
}

/* An address where a primitive must be, which tcpdump refuses, can only mean one thing. */
static bool looks_like_address(const struct token *token)
{
	struct value_prefix prefix;

	return token->type == TOKEN_WORD && value_prefix(token->text, &prefix) == 0;
}

int filter_primitive(struct filter_parser *p, struct qualifier *ret)
{
	const struct token at = p->token;
	const struct primitive *primitive = at.type == TOKEN_WORD ? find(at.text) : NULL;

	*ret = (struct qualifier){.type = QUALIFIER_NONE};
	if (filter_is_accessor(p, &at))
		return filter_arithmetic(p);
	if (!primitive && looks_like_address(&at)) {
		ret->type = QUALIFIER_HOST;
		return 1;
	}
	if (!primitive)
		return fail_unknown(p, &at);
	filter_advance(p);
	return primitive->take(p, &at, primitive, ret);
}
