/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include "exporter/observe/record_filter_parse.h"
#include "exporter/observe/text.h"

static const struct sign {
	const char *text;
	enum token_type type;
	enum filter_compare compare;
} signs[] = {
	{"&&", TOKEN_AND, 0},
	{"||", TOKEN_OR, 0},
	{"!=", TOKEN_COMPARE, COMPARE_UNEQUAL},
	{"==", TOKEN_COMPARE, COMPARE_EQUAL},
	{"<=", TOKEN_COMPARE, COMPARE_LESS_EQUAL},
	{">=", TOKEN_COMPARE, COMPARE_GREATER_EQUAL},
	{"=", TOKEN_COMPARE, COMPARE_EQUAL},
	{"<", TOKEN_COMPARE, COMPARE_LESS},
	{">", TOKEN_COMPARE, COMPARE_GREATER},
	{"!", TOKEN_NOT, 0},
	{"(", TOKEN_OPEN, 0},
	{")", TOKEN_CLOSE, 0},
	{"[", TOKEN_LEFT, 0},
	{"]", TOKEN_RIGHT, 0},
	{"&", TOKEN_BITS_AND, 0},
	{"|", TOKEN_BITS_OR, 0},
	{"+", TOKEN_PLUS, 0},
};

static const struct sign operators[] = {
	{"and", TOKEN_AND, 0},
	{"or", TOKEN_OR, 0},
	{"not", TOKEN_NOT, 0},
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_of_word(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("._-:\\*?@%/~#,", c));
}

static void take_text(struct token *t, const char *text, size_t length)
{
	if (length >= sizeof(t->text)) {
		t->type = TOKEN_BAD;
		length = sizeof(t->text) - 1;
	}
	memcpy(t->text, text, length);
	t->text[length] = '\0';
}

static void lex_word(const char *text, struct token *t)
{
	const char *from = text + t->begin;
	size_t length = 0;

	while (is_of_word(from[length]))
		length++;
	t->type = TOKEN_WORD;
	t->end = t->begin + length;
	take_text(t, from, length);
	for (size_t i = 0; i < ARRAY_SIZE(operators); i++)
		if (!strcasecmp(t->text, operators[i].text))
			t->type = operators[i].type;
}

/* A name in double quotes, without escapes. */
static void lex_quoted(const char *text, struct token *t)
{
	const char *from = text + t->begin + 1, *end = strchr(from, '"');
	size_t length = end ? (size_t)(end - from) : strlen(from);

	t->type = end ? TOKEN_QUOTED : TOKEN_BAD;
	t->end = t->begin + 1 + length + (end != NULL);
	take_text(t, from, length);
}

void filter_lex(const char *text, size_t from, struct token *t)
{
	t->text[0] = '\0';
	while (is_blank(text[from]))
		from++;
	t->begin = t->end = from;
	if (!text[from]) {
		t->type = TOKEN_END;
		return;
	}
	if (text[from] == '"') {
		lex_quoted(text, t);
		return;
	}
	if (is_of_word(text[from])) {
		lex_word(text, t);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(signs); i++) {
		size_t length = strlen(signs[i].text);

		if (strncmp(text + from, signs[i].text, length) != 0)
			continue;
		t->type = signs[i].type;
		t->compare = signs[i].compare;
		t->end = from + length;
		take_text(t, text + from, length);
		return;
	}
	t->type = TOKEN_BAD;
	t->end = from + 1;
	take_text(t, text + from, 1);
}

void filter_advance(struct filter_parser *p)
{
	filter_lex(p->text, p->token.end, &p->token);
}

bool filter_is_word(const struct token *token, const char *word)
{
	return token->type == TOKEN_WORD && !strcasecmp(token->text, word);
}

bool filter_accept(struct filter_parser *p, const char *word)
{
	if (!filter_is_word(&p->token, word))
		return false;
	filter_advance(p);
	return true;
}

int filter_fail(struct filter_parser *p, const struct token *at, const char *format, ...)
{
	char word[48], why[FILTER_ERROR_MAX - 80];
	va_list args;

	if (p->error[0])
		return -EINVAL;
	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	snprintf(word, sizeof(word), "%s%.40s%s", at->type == TOKEN_END ? "" : "'",
		 at->type == TOKEN_END ? "the end" : at->text, at->type == TOKEN_END ? "" : "'");
	snprintf(p->error, FILTER_ERROR_MAX, "column %zu: %s: %s", at->begin + 1, word, why);
	text_make_printable(p->error);
	p->result = -EINVAL;
	return -EINVAL;
}

struct filter_step *filter_step_add(struct filter_parser *p, const struct token *at)
{
	struct filter_step *step;

	if (p->count == FILTER_NODES_MAX) {
		filter_fail(p, at, "the expression has more than %d parts", FILTER_NODES_MAX);
		p->result = -E2BIG;
		return NULL;
	}
	step = &p->steps[p->count++];
	*step = (struct filter_step){.op = FILTER_TEST, .mask = UINT64_MAX};
	return step;
}
