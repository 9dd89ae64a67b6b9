/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The parts of the parser: words of the text, the grammar, and what primitives take.  For record_filter*.c alone. */
#include "exporter/observe/record_filter_steps.h"
#include "exporter/util.h"

enum token_type {
	TOKEN_END,
	TOKEN_WORD,
	TOKEN_QUOTED, /* a word in any case, never a keyword */
	TOKEN_OPEN,
	TOKEN_CLOSE,
	TOKEN_LEFT, /* [ */
	TOKEN_RIGHT,
	TOKEN_AND, /* and && */
	TOKEN_OR,
	TOKEN_NOT,
	TOKEN_COMPARE,
	TOKEN_BITS_AND, /* & */
	TOKEN_BITS_OR,
	TOKEN_PLUS,
	TOKEN_BAD, /* no letter of the language, or a word that is too long */
};

struct token {
	enum token_type type;
	enum filter_compare compare;
	size_t begin, end; /* octets of the text */
	char text[FILTER_WORD_MAX];
};

/* What the id of a primitive is, with what stood in front of it; `host a or b` has it twice. */
enum qualifier_type {
	QUALIFIER_NONE, /* no id can follow */
	QUALIFIER_HOST,
	QUALIFIER_NET,
	QUALIFIER_PORT,
	QUALIFIER_PORTRANGE,
	QUALIFIER_PROTO,
	QUALIFIER_VLAN,
	QUALIFIER_INTERFACE,
	QUALIFIER_IFINDEX,
	QUALIFIER_DROP_REASON,
	QUALIFIER_DROP_CLASS,
	QUALIFIER_END,
};

struct qualifier {
	enum qualifier_type type;
	enum filter_ends ends;
	uint8_t version;  /* ip, ip6; 0: neither */
	uint8_t protocol; /* tcp, udp, sctp; 0: none */
	uint8_t depth;	  /* of the tag */
};

struct filter_parser {
	const char *text;
	struct token token; /* the next one */
	struct filter_step *steps;
	unsigned int count, depth, tags;
	char *error; /* FILTER_ERROR_MAX, empty as long as all is well */
	int result;
};

/* record_filter_lex.c */
void filter_lex(const char *text, size_t from, struct token *ret);
void filter_advance(struct filter_parser *p);

/* record_filter_parse.c: takes a parenthesis that opens, and one that closes, in whose place `allowed` stands.  -EINVAL. */
int filter_open(struct filter_parser *p);
int filter_close(struct filter_parser *p, const char *allowed);

/* Whether the next token is this word, which may be a keyword; takes it. */
bool filter_accept(struct filter_parser *p, const char *word);
bool filter_is_word(const struct token *token, const char *word);

/* The first complaint stays.  -EINVAL. */
int filter_fail(struct filter_parser *p, const struct token *at, const char *format, ...)
	_printf_(3, 4);

/* The next step, of FILTER_TEST; NULL: there are too many. */
struct filter_step *filter_step_add(struct filter_parser *p, const struct token *at);

/* record_filter_primitive.c: a primitive that begins with the next token; *ret is what its id has in front of it. */
int filter_primitive(struct filter_parser *p, struct qualifier *ret);
bool filter_is_keyword(const char *word);

/* Arithmetic: tcp[tcpflags] & tcp-syn != 0. */
bool filter_is_accessor(const struct filter_parser *p, const struct token *token);
int filter_arithmetic(struct filter_parser *p);

/* record_filter_id.c: the next token as one. */
int filter_id(struct filter_parser *p, const struct qualifier *q);

/* As pcap-filter has numbers: 10, 0x0a, 012. */
int filter_number(const char *text, uint64_t most, uint64_t *ret);
int filter_tcp_flags(struct filter_parser *p);
int filter_quantity(struct filter_parser *p, enum filter_quantity quantity);

/* tcp-syn, icmp-echo, icmp6-echo. */
int filter_constant(const char *text, uint64_t *ret);
const char *filter_constant_at(size_t i); /* NULL: the end */
