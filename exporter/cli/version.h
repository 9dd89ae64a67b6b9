/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * `flowtally --version`: what a report of a fault must name.  Tags of the BPF programs are the kernel's own, as `bpftool prog`
 * shows them: a hash of a program's instructions, by which it is known whether a program that runs is of this build.  To
 * learn them the programs are loaded and not attached, which takes the privileges of `flowtally run`.
 */
void version_print(void);
