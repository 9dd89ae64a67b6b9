/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/verbs.h"

const struct verb verbs[] = {
	{"run", run_main, "meter interfaces and export their flows", run_options, NULL},
	{"drops", drops_main, "show which packets the kernel drops, and why", drops_options, NULL},
	{"status", status_main, "say whether the running exporter works, what it sees and loses",
	 status_options, NULL},
	{"observe", observe_main, "show what flows, now and just past", observe_options,
	 "EXPRESSION"},
	{"top", top_main, "show what flows most, on a full screen", top_options, "EXPRESSION"},
	{"replay", replay_main, "the same from a capture file, without privileges", replay_options,
	 "FILE"},
	{"doctor", doctor_main, "find what is wrong here, and what mends it", doctor_options, NULL},
	{"read", read_main, "show the records of files and streams of IPFIX and NetFlow v9",
	 read_options, "FILE..."},
	{"config", config_main, "check, show and compare configurations", NULL, NULL},
	{"completion", completion_main, "print the completion of a shell: bash, zsh or fish", NULL,
	 NULL},
	{NULL, NULL, NULL, NULL, NULL},
};
