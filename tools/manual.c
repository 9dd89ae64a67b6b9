/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a page of the manual for scdoc(1): reads docs/man/NAME.scd from standard input, and puts what the tables say in
 * place of the lines that begin with @.  docs/development.md lists these.
 */
#include <ctype.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "config/schema.h"
#include "exporter/cli/arguments.h"
#include "exporter/cli/verbs.h"
#include "exporter/export/url.h"
#include "exporter/observe/metrics.h"
#include "exporter/observe/record_flags.h"
#include "tools/setting_range.h"

#define NOTES_MAX 128

/* What the page says of an option by hand, behind what the table says. */
struct note {
	char *name;
	char *text; /* whole lines, each with a tab in front */
	bool used;
};

struct page {
	const char *name;	 /* "flowtally-run" */
	const struct verb *verb; /* NULL: the page is of no verb */
	char *help;		 /* what the verb prints for --help; "" without one */
	struct note notes[NOTES_MAX];
	size_t note_count;
};

_printf_(1, 2) _Noreturn static void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* --- Text for scdoc */

static void print_plain(const char *text)
{
	for (; *text; text++)
		printf("%s%c", strchr("_*\\", *text) ? "\\" : "", *text);
}

/* Whether `word`, of so many octets, stands in the text by itself. */
static bool has_word(const char *text, const char *word, size_t length)
{
	for (const char *at = text; (at = memmem(at, strlen(at), word, length)); at++)
		if ((at == text || !isalnum((unsigned char)at[-1])) &&
		    !isalnum((unsigned char)at[length]))
			return true;
	return false;
}

/* A sentence: begins with a capital, unless its first word is a value, and ends with a full stop. */
static void print_sentence(const char *text, const char *words)
{
	if (!has_word(words, text, strcspn(text, " ,")))
		putchar(toupper((unsigned char)*text++));
	print_plain(text);
	putchar('.');
}

/* What is typed is bold, what stands for something (capitals) is underlined. */
static void print_usage(const char *text)
{
	while (*text && *text != '\n') {
		size_t length = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
		const char *mark = "_";

		if (!length) {
			length = strspn(text, "abcdefghijklmnopqrstuvwxyz-");
			mark = "*";
		}
		if (length)
			printf("%s%.*s%s", mark, (int)length, text, mark);
		else
			printf("%c", *text);
		text += length ? length : 1;
	}
}

/* --- Notes */

static struct note *find_note(struct page *page, const char *name)
{
	for (size_t i = 0; i < page->note_count; i++)
		if (!strcmp(page->notes[i].name, name))
			return &page->notes[i];
	return NULL;
}

static void print_note(struct page *page, const char *name)
{
	struct note *note = find_note(page, name);

	if (!note)
		return;
	note->used = true;
	fputs(note->text, stdout);
}

/* --- What verbs print for --help: usage, a blank line, a description, a blank line, options, a blank line, examples. */

static char *capture_help(const struct verb *verb)
{
	char *argv[] = {(char *)verb->name, (char *)"--help", NULL};
	FILE *screen = stdout;
	char *text = NULL;
	size_t size;

	stdout = open_memstream(&text, &size);
	if (!stdout || verb->main(2, argv) != 0)
		fail("%s --help fails", verb->name);
	fclose(stdout);
	stdout = screen;
	return text;
}

static void print_description(const struct page *page)
{
	const char *text = strstr(page->help, "\n\n");
	const char *end = text ? strstr(text + 2, "\n\n") : NULL;

	if (!end)
		fail("%s --help has no description", page->verb->name);
	for (text += 2; text < end; text++)
		printf("%s%c", strchr("_*\\", *text) ? "\\" : "", *text);
	putchar('\n');
}

static void print_examples(const struct page *page)
{
	const char *text = strstr(page->help, "\nexamples:\n");
	const char *end = text ? strstr(text, "\n\n") : NULL;

	if (!text)
		fail("%s --help has no examples", page->verb->name);
	text = strchr(text + 1, '\n') + 1;
	end = end ? end + 1 : text + strlen(text);
	printf("```\n%.*s```\n", (int)(end - text), text);
}

static void print_exits(const struct verb *verb)
{
	for (int i = 0; i < VERB_EXITS; i++) {
		printf("*%d*\n\t", i);
		print_sentence(verb->exits[i], "");
		printf("\n\n");
	}
}

/* --- Options */

/* Values with spaces between, unless the text has them all. */
static void print_words(const char *words, const char *text)
{
	bool known = true;

	for (const char *at = words; *at; at += strcspn(at, " "), at += strspn(at, " "))
		known &= has_word(text, at, strcspn(at, " "));
	if (known)
		return;
	printf(" Values: ");
	for (const char *at = words; *at; at++) {
		char letter[] = {*at, '\0'};

		print_plain(*at == ' ' ? ", " : letter);
	}
	putchar('.');
}

static void print_value_of(const struct setting *s)
{
	bool known = s->type == SETTING_WORD;

	for (const struct setting_word *w = s->words; w && w->word; w++)
		known &= has_word(s->help, w->word, strlen(w->word));
	if (known || s->type == SETTING_FLAG || s->type == SETTING_FILE ||
	    s->type == SETTING_PAIR || s->type == SETTING_PREFIX)
		return;
	printf(" Values: ");
	setting_range_print(s);
	putchar('.');
}

static void print_default_of(const struct setting *s)
{
	if (!s->standard)
		return;
	printf(" Default: ");
	print_plain(s->standard);
	putchar('.');
}

static const struct setting *find_setting(const struct argument_option *o)
{
	for (size_t i = 0; i < settings_count; i++)
		if (settings[i].help == o->help)
			return &settings[i];
	return NULL;
}

static const struct record_flag *find_flag(const struct argument_option *o)
{
	for (size_t i = 0; i < record_flag_count; i++)
		if (record_flags[i].help == o->help)
			return &record_flags[i];
	return NULL;
}

static void print_option(struct page *page, const struct argument_option *o)
{
	const struct setting *s = find_setting(o);
	const struct record_flag *flag = find_flag(o);

	if (o->letter)
		printf("*-%c*, ", o->letter);
	printf("*--%s*%s", o->name,
	       o->value == ARGUMENT_MAY	     ? "[="
	       : o->value == ARGUMENT_NEEDED ? " "
					     : "");
	if (o->value != ARGUMENT_NONE)
		print_usage(o->argument);
	printf("%s\n\t", o->value == ARGUMENT_MAY ? "]" : "");
	print_sentence(o->help, o->words);
	if (s) {
		print_value_of(s);
		print_default_of(s);
	} else {
		print_words(o->words, o->help);
	}
	if (flag && flag->expression && flag->argument &&
	    strstr(flag->expression, flag->argument[0] == '[' ? ">=" : flag->argument) >
		    flag->expression) {
		printf(" As an expression: *");
		print_plain(flag->expression);
		printf("*.");
	}
	putchar('\n');
	print_note(page, o->name);
	putchar('\n');
}

static void print_options(struct page *page, const struct verb *verb)
{
	struct argument_option options[ARGUMENTS_OPTIONS_MAX];
	size_t count = verb->options ? verb->options(options) : 0;

	for (size_t i = 0; i < count; i++)
		if (options[i].help)
			print_option(page, &options[i]);
	printf("*--help*\n\tPrint usage, options and examples.\n");
}

static void print_options_of_config(struct page *page)
{
	for (const struct verb *v = config_verbs; v->name; v++)
		if (v->options)
			print_options(page, v);
}

/* --- The file */

static void print_setting(struct page *page, const struct setting *s)
{
	char name[SETTING_ENVIRONMENT_MAX];

	printf("*%s*\n\t", setting_key(s));
	print_sentence(s->help, "");
	print_value_of(s);
	print_default_of(s);
	printf(" %s Variable: ",
	       s->reload == RELOAD_APPLIES ? "A reload applies it." : "It takes a restart.");
	print_plain(setting_environment(s, name));
	printf(".\n");
	print_note(page, setting_key(s));
	putchar('\n');
}

static void print_settings(struct page *page)
{
	for (size_t i = 0; i < settings_count; i++)
		if (setting_in_file(&settings[i]))
			print_setting(page, &settings[i]);
}

/* What has a setting's name means the same; of the others the page has a note. */
static void print_collector_options(struct page *page)
{
	const char *name;

	for (unsigned int i = 0; (name = url_option_name(i)); i++) {
		const struct setting *s = setting_find(name);
		char note[NAME_MAX];

		snprintf(note, sizeof(note), "?%s", name);
		printf("*%s*\n", name);
		if (find_note(page, note)) {
			print_note(page, note);
		} else if (s) {
			printf("\t");
			print_sentence(s->help, "");
			print_value_of(s);
			putchar('\n');
		} else {
			fail("%s: the collectors' option needs '@note %s'", page->name, note);
		}
		putchar('\n');
	}
}

/* --- Metrics */

static void print_metrics(bool hubble)
{
	static const char *const types[] = {"counter", "gauge", "info"};
	static const char *const suffixes[] = {"_total", "", "_info"};

	for (size_t i = 0; i < metrics_family_count; i++) {
		const struct metrics_family *f = &metrics_families[i];

		if (f->hubble != hubble)
			continue;
		putchar('*');
		print_plain(f->name);
		print_plain(suffixes[f->type]);
		printf("* (%s)\n\t", types[f->type]);
		print_plain(f->help);
		if (f->when)
			printf(" Exists when %s", f->when);
		for (unsigned int k = 0; f->labels[k]; k++) {
			printf("%s", k ? ", " : " Labels: ");
			print_plain(f->labels[k]);
		}
		printf("%s\n\n", f->labels[0] ? "." : "");
	}
}

/* --- Pages */

static void print_verbs(const struct verb *table, const char *in_front, bool pages)
{
	for (const struct verb *v = table; v->name; v++) {
		printf("*flowtally %s%s*", in_front, v->name);
		if (!pages && v->arguments && *v->arguments) {
			putchar(' ');
			print_usage(v->arguments);
		}
		printf("\n\t");
		print_sentence(v->help, "");
		if (pages)
			printf(" *flowtally-%s*(8)", v->name);
		printf("\n\n");
	}
}

static void print_head(const struct page *page)
{
	printf("%s(8)\n\n# NAME\n\n%s - %s\n\n# SYNOPSIS\n\n*flowtally* ", page->name, page->name,
	       page->verb->help);
	print_usage(page->help + strlen("usage: flowtally "));
	putchar('\n');
}

static void print_line(struct page *page, const char *line)
{
	const bool verb = page->verb;

	if (*line != '@')
		fputs(line, stdout);
	else if (verb && !strcmp(line, "@head\n"))
		print_head(page);
	else if (verb && !strcmp(line, "@description\n"))
		print_description(page);
	else if (verb && !strcmp(line, "@options\n"))
		print_options(page, page->verb);
	else if (verb && !strcmp(line, "@examples\n"))
		print_examples(page);
	else if (verb && !strcmp(line, "@exits\n"))
		print_exits(page->verb);
	else if (!strcmp(line, "@verbs\n"))
		print_verbs(verbs, "", true);
	else if (!strcmp(line, "@config-verbs\n"))
		print_verbs(config_verbs, "config ", false);
	else if (!strcmp(line, "@config-options\n"))
		print_options_of_config(page);
	else if (!strcmp(line, "@settings\n"))
		print_settings(page);
	else if (!strcmp(line, "@collector-options\n"))
		print_collector_options(page);
	else if (!strcmp(line, "@metrics\n"))
		print_metrics(false);
	else if (!strcmp(line, "@metrics hubble\n"))
		print_metrics(true);
	else
		fail("%s: no table for %s", page->name, line);
}

/* The lines of standard input but the notes, which go to page->notes. */
static size_t read_page(struct page *page, char ***ret)
{
	char *line = NULL, **lines = NULL;
	size_t size = 0, count = 0;
	struct note *note = NULL;

	while (getline(&line, &size, stdin) > 0) {
		if (!strncmp(line, "@note ", 6)) {
			if (page->note_count == NOTES_MAX)
				fail("%s: too many notes", page->name);
			note = &page->notes[page->note_count++];
			*note = (struct note){.name = strndup(line + 6, strcspn(line + 6, "\n")),
					      .text = strdup("")};
		} else if (note && *line == '\t') {
			char *text = NULL;

			if (asprintf(&text, "%s%s", note->text, line) < 0)
				fail("no memory");
			free(note->text);
			note->text = text;
		} else if (!note || *line != '\n') {
			note = NULL;
			lines = reallocarray(lines, count + 1, sizeof(*lines));
			lines[count++] = strdup(line);
		}
	}
	free(line);
	*ret = lines;
	return count;
}

int main(int argc, char **argv)
{
	struct page page = {.name = argc == 2 ? argv[1] : "", .help = strdup("")};
	char **lines;
	size_t count;

	if (argc != 2)
		fail("usage: manual NAME <docs/man/NAME.scd");
	if (!strncmp(page.name, "flowtally-", 10))
		page.verb = verb_find(page.name + 10);
	if (page.verb) {
		free(page.help);
		page.help = capture_help(page.verb);
	}
	count = read_page(&page, &lines);
	for (size_t i = 0; i < count; i++) {
		print_line(&page, lines[i]);
		free(lines[i]);
	}
	free(lines);
	for (size_t i = 0; i < page.note_count; i++) {
		if (!page.notes[i].used)
			fail("%s: there is no '%s' for its note", page.name, page.notes[i].name);
		free(page.notes[i].name);
		free(page.notes[i].text);
	}
	free(page.help);
	return fflush(stdout) != 0;
}
