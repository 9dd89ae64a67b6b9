/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <nss.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include "config/problems.h"
#include "exporter/cli/verbs.h"
#include "exporter/cli/version.h"
#include "exporter/commit.h"
#include "exporter/log.h"
#include "exporter/observe/metrics.h"
#include "exporter/util.h"
#include "exporter/value.h"

#define MMAP_OCTETS (256 << 10) /* what is larger is mapped by itself */
#define LAST_MS	    1000	/* for the log's reader, at the end */

/* What a newcomer needs, in that order. */
static void print_first_steps(FILE *file)
{
	fprintf(file,
		"usage: flowtally VERB [OPTION]...\n\n"
		"  flowtally doctor                  does it work here, and what mends it if not\n"
		"  flowtally run --interface eth0 --collector ipfix://192.0.2.20\n"
		"                                    meter an interface and export its flows\n"
		"  flowtally status                  what the running exporter sees and loses\n"
		"  flowtally top                     what flows most, on a full screen\n"
		"  flowtally drops                   which packets the kernel drops, and why\n"
		"\n`flowtally --help` lists all verbs, `flowtally VERB --help` the options of one.\n");
}

static void print_usage(FILE *file)
{
	fprintf(file, "usage: flowtally VERB [OPTION]...\n\n");
	for (const struct verb *v = verbs; v->name; v++)
		fprintf(file, "  %-10s %s\n", v->name, v->help);
	fprintf(file, "\n`flowtally VERB --help` lists a verb's options, and has examples.\n"
		      "The manual is flowtally(8), of a verb flowtally-VERB(8).\n");
}

/*
 * Else the first files opened get these numbers, and what is meant for the standard streams is written
 * into them.  The wrong way round, so that reading and writing fail as they did.
 */
static int fill_standard_streams(void)
{
	int fd;

	for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++) {
		if (fcntl(i, F_GETFD) >= 0 || errno != EBADF)
			continue;
		fd = open("/dev/null", i == STDIN_FILENO ? O_WRONLY : O_RDONLY);
		if (fd != i)
			return -EBADF;
	}
	return 0;
}

/*
 * What a reload frees goes back to the system.  Else each thread that loads programs or reads a file leaves an arena of its
 * own behind, and what caches and queues held stays in the heap.
 */
static void limit_heap(void)
{
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, MMAP_OCTETS);
}

/* What a verb has printed is there, or it has failed; that its reader has gone is no failure. */
static int check_output(int status)
{
	struct pollfd output = {.fd = STDOUT_FILENO};
	bool failed = fflush(stdout) != 0 || ferror(stdout);

	if (!failed || status != 0 || (poll(&output, 1, 0) == 1 && output.revents & POLLERR))
		return status;
	log_error("standard output could not be written");
	return 1;
}

/*
 * What nsswitch.conf names is loaded as a shared library, and with it the C library of the system, of another version than the
 * one that is in a static program.  Files are read by what is in the program.  Names of hosts are c-ares' business.
 */
static void look_up_in_files(void)
{
#ifdef FLOWTALLY_STATIC
	static const char *const databases[] = {"passwd",   "group",	 "initgroups",
						"services", "protocols", "hosts"};

	for (size_t i = 0; i < ARRAY_SIZE(databases); i++)
		__nss_configure_lookup(databases[i], "files");
#endif
}

static int run_verb(int (*verb)(int argc, char **argv), int argc, char **argv)
{
	int status = check_output(verb(argc, argv));

	log_flush(LAST_MS); /* a verb that metered has had its time for that already */
	return status;
}

int main(int argc, char **argv)
{
	char hint[VALUE_HINT_MAX];
	struct value_guess guess = {0};

	if (fill_standard_streams() < 0)
		return 1;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* write(2) says EFBIG, which is counted */
	limit_heap();
	look_up_in_files();
	metrics_commit = commit;
	if (argc > 2 && !strcmp(argv[1], "help")) {
		argv[1] = argv[2];
		argv[2] = "--help";
		argc = 3;
	}
	if (argc > 1 &&
	    (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))) {
		print_usage(stdout);
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "--version")) {
		version_print();
		return check_output(0);
	}
	for (const struct verb *v = verbs; argc > 1 && v->name; v++) {
		if (!strcmp(argv[1], v->name))
			return run_verb(v->main, argc - 1, argv + 1);
		value_guess_offer(&guess, argv[1], v->name);
	}
	if (argc > 1)
		value_guess_offer(&guess, argv[1], "--version");
	if (argc == 1) {
		print_first_steps(stderr);
		return 2;
	}
	problems_hide_user(argv[1]);
	log_error("no verb '%s'%s", argv[1], value_guess_hint(&guess, hint));
	print_usage(stderr);
	return 2;
}
