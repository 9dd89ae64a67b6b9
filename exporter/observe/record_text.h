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

/* How people are shown times, by the names of Hubble's --time-format; records have no more than ms. */
enum record_time {
	RECORD_TIME_STAMP_MILLI,   /* Nov  9 02:06:25.123 */
	RECORD_TIME_RFC3339,	   /* 2026-11-09T02:06:25Z, or with +01:00 in place of Z */
	RECORD_TIME_RFC3339_MILLI, /* 2026-11-09T02:06:25.123Z */
	RECORD_TIME_RFC3339_MICRO, /* likewise */
	RECORD_TIME_RFC3339_NANO,  /* likewise */
	RECORD_TIME_RFC1123Z,	   /* Mon, 09 Nov 2026 02:06:25 +0100 */
	_RECORD_TIME_MAX,
};

struct record_text {
	enum record_form form;
	enum record_time time; /* of the forms for people: compact, table and wide */
	bool color;
	bool utc;
	const char *node; /* for hubble-json; NULL: the host's name */
};

/* The line of titles, where the form has one. */
void record_text_print_header(const struct record_text *text, FILE *file);
void record_text_print(const struct record_text *text, const struct record_view *view, FILE *file);

/* One value of CSV, in quotes where it needs them; what is no printable ASCII becomes '?'. */
void record_text_csv(FILE *file, const char *text);

/* -1: there is no such form. */
int record_form_parse(const char *name);

/* Of any case, as Hubble takes them; -1: there is no such name. */
int record_time_parse(const char *name);
