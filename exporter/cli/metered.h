/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Says on standard error which interfaces a filter asks for by a name that the exporter at `path` does not have: nothing of
 * theirs will come.  Says nothing of names with * or ?, of numbers, or where the exporter does not tell.
 */
void metered_check(const char *filter, const char *path);
