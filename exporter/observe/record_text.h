/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Records as text: one line each.  Nothing that a stranger chose (names in records) gets to a terminal as a control
 * character.
 */
#include <stdbool.h>
#include <stdio.h>
#include "exporter/observe/record_view.h"

enum record_form {
	RECORD_COMPACT, /* TIME SOURCE -> DESTINATION PROTOCOL VERDICT (SUMMARY) */
	RECORD_TABLE,
	RECORD_WIDE,
	RECORD_CSV,
	RECORD_HUBBLE_JSON, /* Hubble's flow (api/v1/flow/flow.proto), an object a line */
	_RECORD_FORM_MAX,   /* json and jsonl are the object itself, see record_view_of_json() */
};

struct record_text {
	enum record_form form;
	bool color;
	bool utc;
	const char *node; /* for hubble-json; NULL: the host's name */
};

/* With its line's end; NULL: this form has none. */
const char *record_text_header(const struct record_text *text);
void record_text_print(const struct record_text *text, const struct record_view *view, FILE *file);

/* One value of CSV, in quotes where it needs them; what is no printable ASCII becomes '?'. */
void record_text_csv(FILE *file, const char *text);

/* -1: there is no such form. */
int record_form_parse(const char *name);
