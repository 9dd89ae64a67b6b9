/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/verbs.h"
#include <stdio.h>
#include <string.h>

#define USAGE "a wrong command line"

const struct verb verbs[] = {
	{"run",
	 run_main,
	 "meter interfaces and export their flows",
	 run_options,
	 NULL,
	 {"ended by a signal, in time",
	  "no interface could be attached, a collector could not be opened, no permission, or the end "
	  "was cut short",
	  "a wrong command line or configuration"}},
	{"drops",
	 drops_main,
	 "show which packets the kernel drops, and why",
	 drops_options,
	 NULL,
	 {"ended by a signal, by --for or by its reader, in time",
	  "no permission, a kernel that tells no reasons, standard output could not be written, or the "
	  "end was cut short",
	  USAGE}},
	{"status",
	 status_main,
	 "say whether the running exporter works, what it sees and loses",
	 status_options,
	 NULL,
	 {"all is well", "something is wrong, or the exporter gives no answer",
	  "no exporter runs that has this socket, it may not be asked, or a wrong command line"}},
	{"observe",
	 observe_main,
	 "show what flows, now and just past",
	 observe_options,
	 "EXPRESSION",
	 {"all was shown", "the exporter ended, or gave no answer",
	  "no exporter runs that has this socket, it may not be asked, or a wrong command line"}},
	{"top",
	 top_main,
	 "show what flows most, on a full screen",
	 top_options,
	 "EXPRESSION",
	 {"ended by its user, or as many pictures as wanted were shown",
	  "with --batch: the exporter ended, or gave no answer",
	  "no exporter runs that has this socket, it may not be asked, the terminal has no full "
	  "screen, or a wrong command line"}},
	{"replay",
	 replay_main,
	 "the same from a capture file, without privileges",
	 replay_options,
	 "FILE",
	 {"the whole capture was replayed, and every collector got every record",
	  "the capture is damaged or of a kind that cannot be read, a collector lost records, or a "
	  "signal came before the end",
	  USAGE}},
	{"doctor",
	 doctor_main,
	 "find what is wrong here, and what mends it",
	 doctor_options,
	 NULL,
	 {"all is OK or WARN", "something is FAIL, or the bundle could not be written", USAGE}},
	{"read",
	 read_main,
	 "show the records of files and streams of IPFIX and NetFlow v9",
	 read_options,
	 "FILE...",
	 {"all files were read", "a file could not be read in full", USAGE}},
	{"config",
	 config_main,
	 "check, show and compare configurations",
	 NULL,
	 NULL,
	 {"nothing is wrong", "with diff: the files differ", "a wrong command line or file"}},
	{"completion",
	 completion_main,
	 "print the completion of a shell: bash, zsh or fish",
	 NULL,
	 NULL,
	 {"it is printed", "standard output could not be written", USAGE}},
	{NULL},
};

const struct verb *verb_find(const char *name)
{
	for (const struct verb *v = verbs; v->name; v++)
		if (!strcmp(v->name, name))
			return v;
	return NULL;
}

void verb_print_exits(const char *name)
{
	const struct verb *v = verb_find(name);

	printf("\nexit status:\n");
	for (int i = 0; v && i < VERB_EXITS; i++)
		printf("  %d  %s\n", i, v->exits[i]);
}
