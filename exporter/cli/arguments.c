/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/arguments.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "exporter/cli/verbs.h"
#include "exporter/log.h"
#include "exporter/meter/drop_reason.h"
#include "exporter/observe/record_flags.h"
#include "exporter/observe/record_text.h"
#include "exporter/util.h"
#include "exporter/value.h"

#define OPTION_BASE 1000 /* getopt's value for the first option */
#define LETTERS_MAX (3 * ARGUMENTS_OPTIONS_MAX + 4)

static void print_help(const struct arguments *a)
{
	printf("usage: flowtally %s\n\n", a->usage);
	for (size_t i = 0; i < a->option_count; i++) {
		const struct argument_option *o = &a->options[i];
		char left[64], letter[8] = "    ";

		if (!o->help)
			continue;
		if (o->letter)
			snprintf(letter, sizeof(letter), "-%c, ", o->letter);
		snprintf(left, sizeof(left), "%s--%s%s%s%s", letter, o->name,
			 o->value == ARGUMENT_MAY      ? "[="
			 : o->value == ARGUMENT_NEEDED ? " "
						       : "",
			 o->argument ? o->argument : "", o->value == ARGUMENT_MAY ? "]" : "");
		printf("  %-30s %s\n", left, o->help);
	}
	printf("  %-30s %s\n\n%s", "    --help", "print this", a->examples);
	verb_print_exits(a->verb);
}

static const struct argument_option *find_letter(const struct arguments *a, int letter)
{
	for (size_t i = 0; i < a->option_count; i++)
		if (a->options[i].letter == letter)
			return &a->options[i];
	return NULL;
}

/* Hubble's flags for what flows do not hold: a guess at a name that is alike would mislead. */
static bool is_of_kubernetes(const struct arguments *a, const char *name)
{
	static const char *const names[] = {"pod",     "namespace", "all-namespaces", "label",
					    "service", "workload",  "identity",	      "fqdn",
					    "cluster", "node-name", "node-label"};
	bool filters = false;

	for (size_t i = 0; i < a->option_count; i++)
		filters |= !strcmp(a->options[i].name, "verdict");
	name += !strncmp(name, "from-", 5) ? 5 : !strncmp(name, "to-", 3) ? 3 : 0;
	for (size_t i = 0; filters && i < ARRAY_SIZE(names); i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

/* getopt_long() answered '?' or ':' about argv[optind - 1]. */
static void fail(const struct arguments *a, int answer, char **argv)
{
	char name[64];
	struct value_guess guess = {0};
	const char *word = argv[optind - 1];
	const struct argument_option *o = optopt >= OPTION_BASE ? &a->options[optopt - OPTION_BASE]
					  : optopt		? find_letter(a, optopt)
						   : NULL; /* a word that begins with -- */

	if (o && answer == ':') {
		log_error("--%s: lacks its value, write --%s %s", o->name, o->name, o->argument);
	} else if (o) {
		log_error("%s: --%s takes no value", word, o->name);
	} else if (optopt) {
		log_error("-%c: no such option, `flowtally %s --help` lists them", optopt, a->verb);
	} else {
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
		for (size_t i = 0; i < a->option_count; i++)
			value_guess_offer(&guess, name, a->options[i].name);
		if (is_of_kubernetes(a, name))
			log_error("%s: no such option: flows have no Kubernetes names yet, choose "
				  "by --ip, --port or --interface",
				  word);
		else if (guess.word)
			log_error("%s: no such option, did you mean --%s?", word, guess.word);
		else
			log_error("%s: no such option, `flowtally %s --help` lists them", word,
				  a->verb);
	}
}

/* "'x': it can be a, b or c; did you mean a?" */
static void refuse_word(const struct argument_option *o, const char *text,
			char error[ARGUMENTS_ERROR_MAX])
{
	char words[ARGUMENT_WORDS_MAX], hint[VALUE_HINT_MAX], *rest = words, *word;
	struct value_guess guess = {0};
	size_t used = (size_t)snprintf(error, ARGUMENTS_ERROR_MAX, "'%.64s': it can be ", text);

	snprintf(words, sizeof(words), "%s", o->words);
	while ((word = strsep(&rest, " "))) {
		value_guess_offer(&guess, text, word);
		used += (size_t)snprintf(error + used, ARGUMENTS_ERROR_MAX - used, "%s%s",
					 word == words ? ""
					 : rest	       ? ", "
						       : " or ",
					 word);
	}
	snprintf(error + used, ARGUMENTS_ERROR_MAX - used, "%s", value_guess_hint(&guess, hint));
}

static bool take(const struct arguments *a, const struct argument_option *o, const char *text)
{
	char error[ARGUMENTS_ERROR_MAX] = "";

	if (a->take(a->userdata, o ? o->id : -1, text, error) >= 0)
		return true;
	if (o && !*error)
		refuse_word(o, text, error);
	if (o)
		log_error("--%s %s", o->name, error);
	else
		log_error("%s", error);
	return false;
}

/* For getopt_long(): both forms of all options. */
static void list_options(const struct arguments *a, struct option *options, char *letters)
{
	static const int kinds[] = {no_argument, required_argument, optional_argument};

	*letters++ = ':';
	*letters++ = 'h';
	for (size_t i = 0; i < a->option_count; i++) {
		const struct argument_option *o = &a->options[i];

		options[i] = (struct option){
			.name = o->name, .has_arg = kinds[o->value], .val = OPTION_BASE + (int)i};
		if (!o->letter)
			continue;
		*letters++ = o->letter;
		for (int n = 0; n < kinds[o->value]; n++)
			*letters++ = ':';
	}
	*letters = '\0';
	options[a->option_count] = (struct option){.name = "help", .val = 'h'};
}

void arguments_list_classes(char words[ARGUMENT_WORDS_MAX])
{
	size_t used = 0;

	for (int i = 0; i < _DROP_CLASS_MAX; i++)
		used += (size_t)snprintf(words + used, ARGUMENT_WORDS_MAX - used, "%s%s",
					 i ? " " : "", drop_class_name((enum drop_class)i));
}

/* A letter means what the verb says, where it is one of its own. */
static char free_letter(const struct argument_option *list, size_t count, char letter)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].letter == letter)
			return 0;
	return letter;
}

size_t arguments_add_flags(struct argument_option *list, size_t count, int base)
{
	for (size_t i = 0; i < record_flag_count && count < ARGUMENTS_OPTIONS_MAX; i++) {
		const struct record_flag *flag = &record_flags[i];

		list[count] = (struct argument_option){
			.name = flag->name,
			.letter = free_letter(list, count, flag->letter),
			.value = flag->argument ? ARGUMENT_NEEDED : ARGUMENT_NONE,
			.argument = flag->argument,
			.help = flag->help,
			.id = base + (int)i,
		};
		if (flag->words)
			snprintf(list[count].words, ARGUMENT_WORDS_MAX, "%s", flag->words);
		if (!strcmp(flag->name, "drop-class"))
			arguments_list_classes(list[count].words);
		count++;
	}
	return count;
}

int arguments_take_flag(struct record_choice *choice, int flag, const char *text,
			char error[ARGUMENTS_ERROR_MAX])
{
	char why[FILTER_ERROR_MAX] = "out of memory";
	int r = record_choice_add(choice, &record_flags[flag], text, why);

	if (r < 0)
		snprintf(error, ARGUMENTS_ERROR_MAX, "%s", why);
	return r;
}

int arguments_take_word(char *words, size_t size, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	const size_t used = strlen(words);

	if (snprintf(words + used, size - used, "%s%s", used ? " " : "", text) < (int)(size - used))
		return 0;
	snprintf(error, ARGUMENTS_ERROR_MAX, "the expression is too long");
	return -EINVAL;
}

char *arguments_filter(const struct record_choice *choice, const char *words)
{
	_cleanup_(record_filter_freep) struct record_filter *filter = NULL;
	char why[FILTER_ERROR_MAX] = "out of memory";
	char *text = NULL;

	if (record_choice_filter(&filter, &text, choice, *words ? words : NULL, why) < 0) {
		log_error("%s", why);
		return NULL;
	}
	return text ? text : strdup("");
}

int arguments_take_form(struct record_text *ret, bool *ret_objects, const char *text)
{
	const bool objects = !strcmp(text, "json") || !strcmp(text, "jsonl");
	const int form = record_form_parse(text);

	if (form < 0 && !objects)
		return -EINVAL;
	*ret_objects = objects;
	ret->form = objects ? ret->form : (enum record_form)form;
	return 0;
}

int arguments_take_time(struct record_text *ret, const char *text)
{
	const int time = record_time_parse(text);

	if (time < 0)
		return -EINVAL;
	ret->time = (enum record_time)time;
	return 0;
}

int arguments_take_color(const char **ret, const char *text)
{
	if (strcmp(text, "auto") != 0 && strcmp(text, "always") != 0 && strcmp(text, "never") != 0)
		return -EINVAL;
	*ret = text;
	return 0;
}

int arguments_take_by(enum top_by *ret, const char *text)
{
	const int by = record_top_by_parse(text);

	if (by < 0)
		return -EINVAL;
	*ret = (enum top_by)by;
	return 0;
}

bool arguments_color(const char *when)
{
	const char *no_color = getenv("NO_COLOR");

	if (when && strcmp(when, "auto") != 0)
		return !strcmp(when, "always");
	return isatty(STDOUT_FILENO) && !(no_color && *no_color);
}

int arguments_parse(const struct arguments *a, int argc, char **argv)
{
	struct option options[ARGUMENTS_OPTIONS_MAX + 2] = {0};
	char letters[LETTERS_MAX];
	const struct argument_option *o;
	bool good = true;
	int answer;

	list_options(a, options, letters);
	optind = 0; /* glibc: start anew */
	opterr = 0;
	while ((answer = getopt_long(argc, argv, letters, options, NULL)) != -1) {
		if (answer == 'h') {
			print_help(a);
			return 1;
		}
		o = answer >= OPTION_BASE ? &a->options[answer - OPTION_BASE]
					  : find_letter(a, answer);
		if (answer == '?' || answer == ':' || !o) {
			fail(a, answer, argv);
			good = false;
		} else {
			good &= take(a, o, optarg);
		}
	}
	for (; optind < argc; optind++)
		good &= take(a, NULL, argv[optind]);
	return good ? 0 : -EINVAL;
}
