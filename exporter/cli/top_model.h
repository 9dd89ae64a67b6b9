/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What `flowtally top` shows: the newest answers of the exporter, what the user has chosen, and the lines that come of both.
 * It knows no terminal: the full screen and --batch print the same lines.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include "exporter/observe/control_request.h"
#include "exporter/observe/drop_table.h"
#include "exporter/observe/record_top.h"

#define TOP_HISTORY	60   /* periods that a sparkline has */
#define TOP_LINE_MAX	1024 /* octets of a line; a sign of the sparkline has three */
#define TOP_MESSAGE_MAX 1024
#define TOP_NOTES_MAX	3

enum top_tab {
	TOP_FLOWS,
	TOP_HOSTS,
	TOP_PORTS,
	TOP_PROTOCOLS,
	TOP_DROPS,
	TOP_INTERFACES,
	TOP_KEYS, /* of --keys; it is there only then */
	_TOP_TAB_MAX,
};

/* Of hosts: which end a row is of. */
enum top_end {
	TOP_END_BOTH,
	TOP_END_SOURCE,
	TOP_END_DESTINATION,
	_TOP_END_MAX,
};

struct top_entry {
	char cells[TOP_KEYS_MAX][TOP_CELL_MAX];
	struct top_sums all, recent;
	double history[TOP_HISTORY]; /* rates of octets, the newest last */
};

/* What the user has chosen. */
struct top_choice {
	enum top_tab tab;
	enum top_end end;
	enum drops_by drops_by; /* of drops: what makes a row, beside the reason */
	enum top_by by;
	bool drops_alone; /* the exporter meters nothing else, so that there is that tab alone */
	bool octets;	  /* octets a second, not bits */
	bool paused;
	const char *keys;   /* of --keys; NULL: none */
	const char *filter; /* NULL: none */
	uint64_t every_ms;
};

struct top_model {
	struct top_choice choice;
	bool utf8;
	size_t count, selected;
	bool detail; /* of the selected entry alone */
	unsigned int key_count;
	char keys[TOP_KEYS_MAX][TOP_CELL_MAX];
	struct top_entry entries[CONTROL_ROWS_MAX], older[CONTROL_ROWS_MAX];
	struct {
		struct top_sums all, recent;
	} others, total;
	double seconds; /* of the period; 0: nothing has come yet */
	uint64_t missed;
	char message[TOP_MESSAGE_MAX]; /* what is wrong; empty: nothing */
	char head[TOP_LINE_MAX], losses[TOP_LINE_MAX];
	unsigned int note_count;
	/* What the exporter has said last, the newest first. */
	char notes[TOP_NOTES_MAX][TOP_LINE_MAX];
};

const char *top_tab_name(enum top_tab tab);
int top_tab_parse(const char *name); /* -1: there is no such tab */

/* What the exporter is to be asked for; NULL without memory. */
json_t *top_request(const struct top_choice *choice);

/* Nothing of the answers before is of use any more. */
void top_model_clear(struct top_model *model);

/* Takes an answer in.  -EPROTO: it is none. */
int top_model_take(struct top_model *model, const json_t *answer);
void top_model_take_status(struct top_model *model, const json_t *status);

/* Lines, of `columns` at most.  Each writes one of TOP_LINE_MAX. */
void top_print_tabs(const struct top_model *model, char *line, unsigned int columns);
void top_print_titles(const struct top_model *model, char *line, unsigned int columns);
void top_print_entry(const struct top_model *model, size_t index, char *line, unsigned int columns);
void top_print_others(const struct top_model *model, char *line, unsigned int columns);

/* Line `index` of the selected entry's detail; false: there is none. */
bool top_print_detail(const struct top_model *model, unsigned int index, char *line,
		      unsigned int columns);

/* What the reason of the selected entry means; false: it has none, or nothing is known of it. */
bool top_print_explanation(const struct top_model *model, char *line, unsigned int columns);

/* Cuts to so many columns of a terminal; each sign has one. */
void top_cut(char *line, unsigned int columns);
