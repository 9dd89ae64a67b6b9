/* SPDX-License-Identifier: Apache-2.0 */
/* `flowtally config`: looks at configurations, and runs nothing. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include "config/load.h"
#include "config/print.h"
#include "config/problems.h"
#include "exporter/cli/options.h"
#include "exporter/cli/verbs.h"
#include "exporter/log.h"

/* A line as it is, for editors to read; what a value brings along does nothing to a terminal. */
static void print_line(FILE *file, const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			fprintf(file, "\\x%02x", (unsigned char)*text);
		else
			fputc(*text, file);
	fputc('\n', file);
}

/* The file alone, by its own layer; what is wrong goes to stderr as it is, for editors to read.  0 or the exit status. */
static int load_file(struct config *ret, const char *path)
{
	const struct config_request request = {.verb = VERB_RUN, .file = path, .partial = true};
	struct problems problems = {0};
	struct config config = {0};
	int r = config_load(&config, &request, &problems);

	for (size_t i = 0; i < problems.count; i++)
		print_line(stderr, problems.list[i].text);
	if (problems.left_out)
		fprintf(stderr, "%s: more is wrong than these %d lines tell\n", path, PROBLEMS_MAX);
	problems_clear(&problems);
	if (r == -ENOMEM)
		return log_errno(LOG_ERR, r, "cannot read '%s'", path), 1;
	if (r < 0)
		return EXIT_USAGE;
	*ret = config;
	return 0;
}

_printf_(1, 2) static int fail_usage(const char *format, ...)
{
	_cleanup_(freep) char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	log_error("%s", text ? text : format);
	return EXIT_USAGE;
}

static int check(int argc, char **argv)
{
	int status =
		argc == 2
			? 0
			: fail_usage("usage: flowtally config check FILE: one file is to be named");

	if (status == 0) {
		_cleanup_(config_clear) struct config config = {0};

		status = load_file(&config, argv[1]);
		if (status == 0)
			printf("%s: good\n", argv[1]);
	}
	return status;
}

static int show(int argc, char **argv)
{
	_cleanup_(config_clear) struct config config = {0};
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *file;
	int r;

	argv[0] = "config show";
	r = options_parse(&config, VERB_SHOW, argc, argv);
	if (r != 0)
		return r < 0 ? EXIT_USAGE : 0; /* --help */
	file = open_memstream(&text, &size);   /* columns are counted, whatever stdout is */
	r = file ? config_print(file, &config, config.effective) : -ENOMEM;
	if (file && fclose(file) != 0)
		r = -ENOMEM;
	if (r < 0)
		return log_errno(LOG_ERR, r, "cannot print the configuration"), 1;
	fwrite(text, 1, size, stdout);
	return 0;
}

/* As diff(1): 0 when they are the same, 1 when they differ. */
static int diff(int argc, char **argv)
{
	_cleanup_(config_clear) struct config before = {0}, after = {0};
	size_t differences;
	int status, r;

	if (argc != 3)
		return fail_usage(
			"usage: flowtally config diff OLD NEW: two files are to be named");
	status = load_file(&before, argv[1]);
	r = load_file(&after, argv[2]); /* its mistakes too */
	if (status || r)
		return status ? status : r;
	r = config_print_difference(stdout, &before, &after, &differences);
	if (r < 0)
		return log_errno(LOG_ERR, r, "cannot compare the files"), EXIT_USAGE;
	return differences ? 1 : 0;
}

static int schema(int argc, char **argv)
{
	int r;

	if (argc != 1)
		return fail_usage("'%s': unexpected argument", argv[1]);
	r = config_print_schema(stdout);
	return r < 0 ? (log_errno(LOG_ERR, r, "cannot print the schema"), 1) : 0;
}

static int example(int argc, char **argv)
{
	if (argc != 1)
		return fail_usage("'%s': unexpected argument", argv[1]);
	config_print_example(stdout);
	return 0;
}

static size_t show_options(struct argument_option *ret)
{
	return options_list(VERB_SHOW, ret);
}

const struct verb config_verbs[] = {
	{"check", check, "tell all mistakes of a file", NULL, "FILE", {NULL}},
	{"show",
	 show,
	 "what `run` would have with these options, and from where",
	 show_options,
	 "[--effective] [OPTION]...",
	 {NULL}},
	{"diff",
	 diff,
	 "what differs between two files; exit status 1 if anything does",
	 NULL,
	 "OLD NEW",
	 {NULL}},
	{"schema", schema, "a JSON schema of the file, for editors", NULL, "", {NULL}},
	{"example", example, "a file of all settings with their defaults", NULL, "", {NULL}},
	{NULL},
};

static void print_usage(FILE *file)
{
	fprintf(file, "usage: flowtally config VERB\n\n");
	for (const struct verb *v = config_verbs; v->name; v++)
		fprintf(file, "  %-8s %-26s %s\n", v->name, v->arguments, v->help);
	fputs("\n  --help  print this; `flowtally config show --help` lists its options\n\n"
	      "examples:\n"
	      "  flowtally config check /etc/flowtally/flowtally.yaml\n"
	      "  flowtally config show --effective --interface eth0\n"
	      "  flowtally config diff old.yaml new.yaml\n"
	      "  flowtally config schema >flowtally.schema.json\n"
	      "  flowtally config example >flowtally.yaml\n",
	      file);
	if (file == stdout)
		verb_print_exits("config");
}

static bool wants_help(const char *word)
{
	return word && (!strcmp(word, "--help") || !strcmp(word, "-h"));
}

int config_main(int argc, char **argv)
{
	char hint[VALUE_HINT_MAX];
	struct value_guess guess = {0};

	if (argc < 2) {
		print_usage(stderr);
		return EXIT_USAGE;
	}
	if (wants_help(argv[1]) || (wants_help(argv[2]) && strcmp(argv[1], "show") != 0)) {
		print_usage(stdout);
		return 0;
	}
	for (const struct verb *v = config_verbs; v->name; v++) {
		value_guess_offer(&guess, argv[1], v->name);
		if (strcmp(argv[1], v->name) != 0)
			continue;
		return v->main(argc - 1, argv + 1);
	}
	problems_hide_user(argv[1]);
	log_error("no verb 'config %s'%s", argv[1], value_guess_hint(&guess, hint));
	print_usage(stderr);
	return EXIT_USAGE;
}
