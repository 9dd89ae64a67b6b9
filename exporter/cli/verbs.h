/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* One file a verb.  argv[0] is the verb; the return value is the program's: 0, 1 (failed), 2 (usage). */

int run_main(int argc, char **argv);
int replay_main(int argc, char **argv);
int doctor_main(int argc, char **argv);
int drops_main(int argc, char **argv);
int read_main(int argc, char **argv);
int status_main(int argc, char **argv);
int observe_main(int argc, char **argv);
int top_main(int argc, char **argv);
int config_main(int argc, char **argv);
