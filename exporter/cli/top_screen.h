/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The full screen of `flowtally top`, by ncurses: draws the model, and makes commands of keys. */
#include "exporter/cli/top_model.h"
#include "exporter/util.h"

enum top_command {
	TOP_NOTHING, /* at most something is to be drawn */
	TOP_ASK,     /* the choice has changed: the exporter is to be asked anew */
	TOP_QUIT,
};

struct top_screen;

/*
 * The shell has given the terminal to another job (tcgetpgrp(3)).  Who draws then tears what that shows, and who sets its modes
 * or reads from it is stopped, by SIGTTOU or SIGTTIN.
 */
bool top_screen_in_background(void);

/* False: this terminal cannot show one, and `why` says so. */
bool top_screen_possible(char why[TOP_MESSAGE_MAX]);

/*
 * -ENOTTY: this terminal cannot show one, and `why` says so; -ENOMEM.  `own`: it is shown by a thread of an exporter, which is
 * not to be stopped by control-Z.
 */
int top_screen_new(struct top_screen **ret, bool own, char why[TOP_MESSAGE_MAX]);

/* Gives the terminal back, unless another job has it. */
struct top_screen *top_screen_free(struct top_screen *screen);
DEFINE_CLEANUP(struct top_screen *, top_screen_free)

/* True while another job has the terminal: nothing is to be drawn, nor a key to be read. */
bool top_screen_paused(struct top_screen *screen);

void top_screen_draw(struct top_screen *screen, const struct top_model *model);

/* All keys that were typed until now.  What the choice points to is the screen's. */
enum top_command top_screen_keys(struct top_screen *screen, struct top_model *model);
