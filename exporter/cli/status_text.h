/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The status of a running exporter (observe/status.h) as lines for people: what is wrong first, with its fix. */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

struct status_form {
	bool color;
	bool all; /* a line for each interface and collector; else twelve lines and what is wrong */
};

void status_print_text(const json_t *status, const struct status_form *form, FILE *file);
