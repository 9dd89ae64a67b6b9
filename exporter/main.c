/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <string.h>
#include "exporter/cli/verbs.h"
#include "exporter/util.h"

static const struct {
	const char *name;
	int (*main)(int argc, char **argv);
	const char *help;
} verbs[] = {
	{"run", run_main, "meter interfaces and export their flows"},
	{"replay", replay_main, "the same from a capture file, without privileges"},
};

static void print_usage(FILE *file)
{
	fprintf(file, "usage: flowtally VERB [OPTION]...\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		fprintf(file, "  %-8s %s\n", verbs[i].name, verbs[i].help);
	fprintf(file,
		"\n`flowtally VERB --help` lists a verb's options; flowtally(8) is the manual.\n");
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc > 1 &&
	    (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))) {
		print_usage(stdout);
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "--version")) {
		printf("flowtally %s\n", FLOWTALLY_VERSION);
		return 0;
	}
	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(argv[1], verbs[i].name))
			return verbs[i].main(argc - 1, argv + 1);
	if (argc > 1)
		fprintf(stderr, "flowtally: no verb '%s'\n", argv[1]);
	print_usage(stderr);
	return 2;
}
