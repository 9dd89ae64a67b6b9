/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grammar, as pcap-filter(7) has it: `and` and `or` bind alike and from left to right, `not` binds closer, and an id
 * alone behind one of them has what stood in front of the one before.
 */
#include <errno.h>
#include <string.h>
#include "exporter/observe/record_filter_parse.h"

static int parse_expression(struct filter_parser *p, struct qualifier *ret);

/* The step that passes over what follows, as `and` and `or` do; the token is one of them. */
static int begin_skip(struct filter_parser *p, unsigned int *ret)
{
	struct filter_step *step = filter_step_add(p, &p->token);

	if (!step)
		return p->result;
	step->op = p->token.type == TOKEN_AND ? FILTER_IF_FALSE : FILTER_IF_TRUE;
	*ret = p->count - 1;
	filter_advance(p);
	return 0;
}

static void end_skip(struct filter_parser *p, unsigned int skip)
{
	p->steps[skip].to = p->count;
}

static bool is_joint(const struct token *token)
{
	return token->type == TOKEN_AND || token->type == TOKEN_OR;
}

static bool take_nots(struct filter_parser *p)
{
	bool negated = false;

	for (; p->token.type == TOKEN_NOT; filter_advance(p))
		negated = !negated;
	return negated;
}

static int negate(struct filter_parser *p)
{
	struct filter_step *step = filter_step_add(p, &p->token);

	if (!step)
		return p->result;
	step->op = FILTER_NOT;
	return 0;
}

int filter_open(struct filter_parser *p)
{
	if (p->depth == FILTER_DEPTH_MAX)
		return filter_fail(p, &p->token, "more than %d parentheses are open",
				   FILTER_DEPTH_MAX);
	p->depth++;
	filter_advance(p);
	return 0;
}

int filter_close(struct filter_parser *p, const char *allowed)
{
	if (p->token.type != TOKEN_CLOSE)
		return filter_fail(p, &p->token, "%s is allowed here", allowed);
	p->depth--;
	filter_advance(p);
	return 0;
}

/* An id, or several in parentheses: `port (80 or 443)`. */
static int parse_id(struct filter_parser *p, const struct qualifier *q)
{
	bool negated = take_nots(p);
	unsigned int skip = 0;
	int r;

	if (p->token.type == TOKEN_OPEN) {
		r = filter_open(p);
		if (r == 0)
			r = parse_id(p, q);
		while (r == 0 && is_joint(&p->token)) {
			r = begin_skip(p, &skip);
			if (r == 0)
				r = parse_id(p, q);
			if (r == 0)
				end_skip(p, skip);
		}
		if (r == 0)
			r = filter_close(p, "`and`, `or` or a closing parenthesis");
	} else {
		r = filter_id(p, q);
	}
	return r == 0 && negated ? negate(p) : r;
}

/* Whether what stands in these parentheses is a number: (tcp[13] & 2) != 0. */
static bool holds_arithmetic(const struct filter_parser *p)
{
	struct token t = p->token;
	unsigned int open = 0;

	while (t.type == TOKEN_OPEN) {
		open++;
		filter_lex(p->text, t.end, &t);
	}
	if (!filter_is_accessor(p, &t))
		return false;
	while (open && t.type != TOKEN_END) {
		open += t.type == TOKEN_OPEN;
		open -= t.type == TOKEN_CLOSE;
		filter_lex(p->text, t.end, &t);
	}
	return t.type == TOKEN_COMPARE || t.type == TOKEN_BITS_AND;
}

static int parse_term(struct filter_parser *p, struct qualifier *ret)
{
	bool negated = take_nots(p);
	int r;

	*ret = (struct qualifier){.type = QUALIFIER_NONE};
	if (p->token.type == TOKEN_OPEN && holds_arithmetic(p)) {
		r = filter_arithmetic(p);
	} else if (p->token.type == TOKEN_OPEN) {
		r = filter_open(p);
		if (r == 0)
			r = parse_expression(p, ret);
		if (r == 0)
			r = filter_close(p, "`and`, `or` or a closing parenthesis");
	} else {
		r = filter_primitive(p, ret);
		if (r > 0)
			r = parse_id(p, ret);
	}
	return r == 0 && negated ? negate(p) : r;
}

/* Whether what comes is the id of what stood in front of the one before, and no primitive. */
static bool is_id_next(const struct filter_parser *p, const struct qualifier *q)
{
	struct token t = p->token;

	if (q->type == QUALIFIER_NONE)
		return false;
	while (t.type == TOKEN_NOT || t.type == TOKEN_OPEN)
		filter_lex(p->text, t.end, &t);
	return t.type == TOKEN_QUOTED || (t.type == TOKEN_WORD && !filter_is_keyword(t.text));
}

static int parse_expression(struct filter_parser *p, struct qualifier *ret)
{
	unsigned int skip = 0;
	int r = parse_term(p, ret);

	while (r == 0 && is_joint(&p->token)) {
		r = begin_skip(p, &skip);
		if (r < 0)
			break;
		r = is_id_next(p, ret) ? parse_id(p, ret) : parse_term(p, ret);
		if (r == 0)
			end_skip(p, skip);
	}
	return r;
}

int filter_parse(struct filter_step *steps, unsigned int *ret_count, const char *text,
		 char error[FILTER_ERROR_MAX])
{
	struct filter_parser p = {.text = text, .steps = steps, .error = error};
	struct qualifier q;
	int r;

	error[0] = '\0';
	if (strlen(text) > FILTER_TEXT_MAX) {
		snprintf(error, FILTER_ERROR_MAX, "the expression has more than %d octets",
			 FILTER_TEXT_MAX);
		return -E2BIG;
	}
	filter_lex(text, 0, &p.token);
	if (p.token.type == TOKEN_END) {
		*ret_count = 0;
		return 0;
	}
	r = parse_expression(&p, &q);
	if (r == 0 && p.token.type != TOKEN_END)
		r = filter_fail(&p, &p.token, "`and`, `or` or the end is allowed here");
	if (r < 0)
		return p.result;
	*ret_count = p.count;
	return 0;
}
