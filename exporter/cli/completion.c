/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `flowtally completion SHELL`: a script by which a shell completes verbs, options and the words that are values, from the
 * tables that the command lines are read by.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "exporter/cli/arguments.h"
#include "exporter/cli/verbs.h"
#include "exporter/log.h"
#include "exporter/util.h"

#define SHELL_NAME_MAX 64

/* What a value is made of. */
enum kind {
	KIND_TEXT,
	KIND_WORDS,
	KIND_FILE,
	KIND_INTERFACE
};

static enum kind kind_of(const struct argument_option *o)
{
	static const char *const files[] = {"config", "socket", "control-socket", "bundle"};

	if (*o->words)
		return KIND_WORDS;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (!strcmp(o->name, files[i]))
			return KIND_FILE;
	return !strcmp(o->name, "interface") ? KIND_INTERFACE : KIND_TEXT;
}

static bool takes_files(const struct verb *v)
{
	return v->arguments &&
	       (!strncmp(v->arguments, "FILE", 4) || !strcmp(v->arguments, "OLD NEW"));
}

/* In single quotes: `special` with a backslash in front, a quote as that shell has it. */
static void print_quoted(const char *text, const char *special, const char *quote)
{
	for (; text && *text; text++)
		if (*text == '\'')
			fputs(quote, stdout);
		else
			printf("%s%c", strchr(special, *text) ? "\\" : "", *text);
}

/* Calls `print` for all verbs; those of `config` are "config show". */
static void for_each(void (*print)(const char *name, const struct verb *v))
{
	char name[SHELL_NAME_MAX];

	for (const struct verb *v = verbs; v->name; v++) {
		print(v->name, v);
		for (const struct verb *c = config_verbs; !strcmp(v->name, "config") && c->name;
		     c++) {
			snprintf(name, sizeof(name), "config %s", c->name);
			print(name, c);
		}
	}
}

static size_t list(const struct verb *v, struct argument_option *ret)
{
	size_t count = v->options ? v->options(ret) : 0;

	if (v->options && count < ARGUMENTS_OPTIONS_MAX)
		ret[count++] = (struct argument_option){.name = "help", .help = "print this"};
	return count;
}

static void print_names(const struct verb *table)
{
	for (const struct verb *v = table; v->name; v++)
		printf("%s%s", v == table ? "" : " ", v->name);
}

/* --- bash */

static void bash_options(const char *name, const struct verb *v)
{
	struct argument_option options[ARGUMENTS_OPTIONS_MAX];
	size_t count = list(v, options);

	if (!count && !takes_files(v))
		return;
	printf("\t'%s') options='", name);
	for (size_t i = 0; i < count; i++)
		printf("%s--%s", i ? " " : "", options[i].name);
	printf("'%s ;;\n", takes_files(v) ? " files=yes" : "");
}

static void bash_values(const char *name, const struct verb *v)
{
	struct argument_option options[ARGUMENTS_OPTIONS_MAX];
	size_t count = list(v, options);

	for (size_t i = 0; i < count; i++) {
		const struct argument_option *o = &options[i];

		if (o->value == ARGUMENT_NONE || (o->value == ARGUMENT_MAY && !*o->words))
			continue;
		printf("\t'%s --%s'", name, o->name);
		if (o->letter)
			printf("|'%s -%c'", name, o->letter);
		printf(") ");
		if (kind_of(o) == KIND_WORDS)
			printf("words='%s'", o->words);
		else if (kind_of(o) == KIND_INTERFACE)
			printf("words=$(ls /sys/class/net 2>/dev/null)");
		else if (kind_of(o) == KIND_FILE)
			printf("files=yes value=yes");
		else
			printf("value=yes");
		printf(" ;;\n");
	}
}

static void print_bash(void)
{
	fputs("# bash completion for flowtally: source <(flowtally completion bash)\n"
	      "_flowtally() {\n"
	      "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
	      "\tlocal verb=${COMP_WORDS[1]} options='' words='' files='' value=''\n"
	      "\tCOMPREPLY=()\n"
	      "\t# A = is a word of its own.\n"
	      "\tif [ \"$cur\" = = ]; then\n"
	      "\t\tcur=''\n"
	      "\telif [ \"$prev\" = = ]; then\n"
	      "\t\tprev=${COMP_WORDS[COMP_CWORD-2]}\n"
	      "\tfi\n"
	      "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
	      "\t\tmapfile -t COMPREPLY < <(compgen -W '",
	      stdout);
	print_names(verbs);
	fputs(" --help --version' -- \"$cur\")\n"
	      "\t\treturn\n"
	      "\tfi\n"
	      "\tif [ \"$verb\" = config ] && [ \"$COMP_CWORD\" -eq 2 ]; then\n"
	      "\t\tmapfile -t COMPREPLY < <(compgen -W '",
	      stdout);
	print_names(config_verbs);
	fputs(" --help' -- \"$cur\")\n"
	      "\t\treturn\n"
	      "\tfi\n"
	      "\t[ \"$verb\" = config ] && verb=\"config ${COMP_WORDS[2]}\"\n"
	      "\tcase $verb in\n"
	      "\tcompletion) words='bash zsh fish'; value=yes ;;\n",
	      stdout);
	for_each(bash_options);
	fputs("\tesac\n\tcase \"$verb $prev\" in\n", stdout);
	for_each(bash_values);
	fputs("\tesac\n"
	      "\tif [ -n \"$words\" ]; then\n"
	      "\t\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
	      "\telif [ -z \"$value\" ] && [[ $cur == -* ]]; then\n"
	      "\t\tmapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$cur\")\n"
	      "\telif [ -n \"$files\" ]; then\n"
	      "\t\tcompopt -o filenames 2>/dev/null\n"
	      "\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
	      "\tfi\n"
	      "}\n"
	      "complete -F _flowtally flowtally\n",
	      stdout);
}

/* --- zsh */

static void zsh_describe(const struct verb *table)
{
	for (const struct verb *v = table; v->name; v++) {
		printf("\t\t\t'%s:", v->name);
		print_quoted(v->help, ":", "'\\''");
		printf("'\n");
	}
}

static void zsh_value(const struct argument_option *o)
{
	if (o->value == ARGUMENT_NONE)
		return;
	printf(o->value == ARGUMENT_MAY ? "::" : ":");
	print_quoted(o->argument ? o->argument : o->name, ":[]", "'\\''");
	putchar(':');
	if (kind_of(o) == KIND_WORDS)
		printf("(%s)", o->words);
	else if (kind_of(o) == KIND_FILE)
		printf("_files");
	else if (kind_of(o) == KIND_INTERFACE)
		printf("_net_interfaces");
}

static void zsh_option(const struct argument_option *o, bool letter)
{
	static const char *const behind[][2] = {[ARGUMENT_NONE] = {"", ""},
						[ARGUMENT_NEEDED] = {"=", "+"},
						[ARGUMENT_MAY] = {"=-", "-"}};

	if (letter)
		printf("\t\t\t'*-%c%s", o->letter, behind[o->value][1]);
	else
		printf("\t\t\t'*--%s%s", o->name, behind[o->value][0]);
	if (o->help) {
		putchar('[');
		print_quoted(o->help, ":[]\\", "'\\''");
		putchar(']');
	}
	zsh_value(o);
	printf("' \\\n");
}

static void zsh_case(const char *name, const struct verb *v)
{
	struct argument_option options[ARGUMENTS_OPTIONS_MAX];
	size_t count = list(v, options);

	if (!count && !takes_files(v))
		return;
	printf("\t'%s')\n\t\t_arguments -s \\\n", name);
	for (size_t i = 0; i < count; i++) {
		zsh_option(&options[i], false);
		if (options[i].letter)
			zsh_option(&options[i], true);
	}
	printf("\t\t\t'*:%s:%s' ;;\n", v->arguments && v->options != NULL ? "argument" : "file",
	       takes_files(v) ? "_files" : "");
}

static void print_zsh(void)
{
	fputs("#compdef flowtally\n"
	      "# zsh completion for flowtally: source <(flowtally completion zsh)\n"
	      "_flowtally() {\n"
	      "\tlocal verb=$words[2]\n"
	      "\tlocal -a names\n"
	      "\tif (( CURRENT == 2 )); then\n"
	      "\t\tnames=(\n",
	      stdout);
	zsh_describe(verbs);
	fputs("\t\t)\n"
	      "\t\t_describe verb names\n"
	      "\t\treturn\n"
	      "\tfi\n"
	      "\tif [[ $verb == config && CURRENT -eq 3 ]]; then\n"
	      "\t\tnames=(\n",
	      stdout);
	zsh_describe(config_verbs);
	fputs("\t\t)\n"
	      "\t\t_describe verb names\n"
	      "\t\treturn\n"
	      "\tfi\n"
	      "\tshift words\n"
	      "\t(( CURRENT-- ))\n"
	      "\tif [[ $verb == config ]]; then\n"
	      "\t\tverb=\"config $words[2]\"\n"
	      "\t\tshift words\n"
	      "\t\t(( CURRENT-- ))\n"
	      "\tfi\n"
	      "\tcase $verb in\n"
	      "\tcompletion) _arguments '1:shell:(bash zsh fish)' ;;\n",
	      stdout);
	for_each(zsh_case);
	fputs("\tesac\n"
	      "}\n"
	      "if [[ $funcstack[1] == _flowtally ]]; then\n"
	      "\t_flowtally \"$@\"\n"
	      "else\n"
	      "\tcompdef _flowtally flowtally\n"
	      "fi\n",
	      stdout);
}

/* --- fish */

static void fish_help(const char *help)
{
	if (!help)
		return;
	printf(" -d '");
	print_quoted(help, "\\", "\\'");
	putchar('\'');
}

static void fish_verb(const char *name, const struct verb *v)
{
	struct argument_option options[ARGUMENTS_OPTIONS_MAX];
	size_t count = list(v, options);

	printf("complete -c flowtally -n '__flowtally_at%s' -a %s",
	       strchr(name, ' ') ? " config" : "", v->name);
	fish_help(v->help);
	putchar('\n');
	for (size_t i = 0; i < count; i++) {
		const struct argument_option *o = &options[i];

		printf("complete -c flowtally -n '__flowtally_in %s' -l %s", name, o->name);
		if (o->letter)
			printf(" -s %c", o->letter);
		if (o->value == ARGUMENT_NEEDED && kind_of(o) == KIND_FILE)
			printf(" -r -F");
		else if (o->value == ARGUMENT_NEEDED)
			printf(" -x");
		if (kind_of(o) == KIND_WORDS)
			printf(" -a '%s'", o->words);
		else if (o->value == ARGUMENT_NEEDED && kind_of(o) == KIND_INTERFACE)
			printf(" -a '(ls /sys/class/net 2>/dev/null)'");
		fish_help(o->help);
		putchar('\n');
	}
	if (takes_files(v))
		printf("complete -c flowtally -n '__flowtally_in %s' -F\n", name);
}

static void print_fish(void)
{
	fputs("# fish completion for flowtally: flowtally completion fish | source\n"
	      "# Whether the next word is a verb: of flowtally, or of the verb that is named.\n"
	      "function __flowtally_at\n"
	      "\tset -l words (commandline -opc)\n"
	      "\ttest \"$words[2..-1]\" = \"$argv\"\n"
	      "end\n"
	      "# Whether the command line has this verb.\n"
	      "function __flowtally_in\n"
	      "\tset -l words (commandline -opc)\n"
	      "\tset -l last (math 1 + (count $argv))\n"
	      "\ttest \"$words[2..$last]\" = \"$argv\"\n"
	      "end\n"
	      "complete -c flowtally -f\n"
	      "complete -c flowtally -n __flowtally_at -l help -d 'list the verbs'\n"
	      "complete -c flowtally -n __flowtally_at -l version -d 'print the version'\n"
	      "complete -c flowtally -n '__flowtally_at completion' -a 'bash zsh fish'\n",
	      stdout);
	for_each(fish_verb);
}

static void print_usage(FILE *file)
{
	fputs("usage: flowtally completion bash|zsh|fish\n\n"
	      "Prints a script by which that shell completes verbs, options and values.\n\n"
	      "  --help                     print this\n\n"
	      "examples:\n"
	      "  source <(flowtally completion bash)\n"
	      "  flowtally completion zsh >/usr/local/share/zsh/site-functions/_flowtally\n"
	      "  flowtally completion fish >~/.config/fish/completions/flowtally.fish\n",
	      file);
	verb_print_exits("completion");
}

int completion_main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*print)(void);
	} shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};

	if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		print_usage(stdout);
		return 0;
	}
	for (size_t i = 0; argc == 2 && i < ARRAY_SIZE(shells); i++) {
		if (strcmp(argv[1], shells[i].name) != 0)
			continue;
		shells[i].print();
		return 0;
	}
	if (argc == 2)
		log_error("no completion for '%s', it can be bash, zsh or fish", argv[1]);
	else
		log_error("one shell is to be named: bash, zsh or fish");
	return EXIT_USAGE;
}
