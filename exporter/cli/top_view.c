/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/top_view.h"
#include <errno.h>
#include <langinfo.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include "exporter/cli/top_screen.h"
#include "exporter/log.h"
#include "exporter/observe/text.h"

#define ANSWER_MS     10000
#define LOOK_MS	      200 /* keys wake at once */
#define AGAIN_NS      NSEC_PER_SEC
#define BATCH_COLUMNS 512

struct top_view {
	struct top_view_options options;
	struct client *rows;	     /* asked for the sums; NULL: not connected */
	struct client *status;	     /* likewise */
	uint64_t tried_ns, asked_ns; /* CLOCK_MONOTONIC */
	bool status_due;	     /* an answer is on its way */
	bool gone;		     /* the terminal, or who reads the text */
	bool said;		     /* in the log, that text cannot be shown for now */
	struct top_model model;
};

static bool has_ended(const struct top_view *t)
{
	return atomic_load(t->options.ended);
}

/* --- Asking.  What goes wrong is the model's message, and is tried again. */

static void say(struct top_view *t, const char *what, int error)
{
	snprintf(t->model.message, sizeof(t->model.message), "%s%s", what,
		 error ? strerror(-error) : "");
	text_make_printable(t->model.message);
}

static void hang_up(struct top_view *t)
{
	client_freep(&t->rows);
	client_freep(&t->status);
	t->rows = t->status = NULL;
	t->status_due = false;
}

int top_view_ask(struct top_view *t)
{
	char why[CLIENT_WHY_MAX];
	int r;

	t->tried_ns = clock_ns(CLOCK_MONOTONIC);
	hang_up(t);
	r = t->options.connect(t->options.userdata, &t->rows, why);
	if (r < 0) {
		say(t, why, 0);
		return r;
	}
	r = client_ask(t->rows, top_request(&t->model.choice));
	if (r < 0) {
		hang_up(t);
		say(t, "", r);
	}
	return r;
}

const char *top_view_message(const struct top_view *t)
{
	return t->model.message;
}

/* -EAGAIN: nothing has come; 1: an answer has been taken; other -errno: there will be none, as the message says. */
static int take_rows(struct top_view *t, int timeout_ms)
{
	json_t *line;
	const char *end;
	int r = client_read(t->rows, timeout_ms, &line);

	if (r == -EAGAIN)
		return r;
	if (r < 0) {
		say(t,
		    r == -EINVAL    ? client_refusal(t->rows)
		    : r == -ENODATA ? "the exporter has ended"
				    : "",
		    r == -EINVAL || r == -ENODATA ? 0 : r);
		return r;
	}
	end = json_string_value(json_object_get(line, "end"));
	if (end)
		say(t, end, 0);
	else
		t->model.message[0] = '\0';
	r = end ? -ENODATA : 1;
	if (r == 1 && !t->model.choice.paused && top_model_take(&t->model, line) < 0)
		r = -EPROTO;
	json_decref(line);
	return r;
}

/* About once a second. */
static void ask_status(struct top_view *t)
{
	char why[CLIENT_WHY_MAX];

	if (t->status_due || clock_ns(CLOCK_MONOTONIC) - t->asked_ns < AGAIN_NS)
		return;
	t->asked_ns = clock_ns(CLOCK_MONOTONIC);
	if (!t->status && t->options.connect(t->options.userdata, &t->status, why) < 0)
		return;
	t->status_due = client_ask(t->status, json_pack("{s:i,s:s}", "version", CONTROL_VERSION,
							"ask", "status")) == 0;
}

/* Where the exporter refuses, such as before the first swap, it is asked again; what else is wrong is said by the rows. */
static void take_status(struct top_view *t, int timeout_ms)
{
	json_t *line;
	int r;

	if (!t->rows)
		return;
	ask_status(t);
	r = t->status_due ? client_read(t->status, timeout_ms, &line) : -EAGAIN;
	if (r == -EAGAIN)
		return;
	t->status_due = false;
	if (r < 0) {
		client_freep(&t->status);
		t->status = NULL;
		return;
	}
	if (!t->model.choice.paused)
		top_model_take_status(&t->model, line);
	json_decref(line);
}

/* --- Text. */

static void print_line(FILE *file, const char *line)
{
	size_t size = strlen(line);

	while (size && line[size - 1] == ' ')
		size--;
	fprintf(file, "%.*s\n", (int)size, line);
}

static void print_model(FILE *file, const struct top_model *m)
{
	char line[TOP_LINE_MAX];

	print_line(file, m->head);
	print_line(file, m->losses);
	top_print_tabs(m, line, BATCH_COLUMNS);
	print_line(file, line);
	top_print_titles(m, line, BATCH_COLUMNS);
	print_line(file, line);
	for (size_t i = 0; i < m->count; i++) {
		top_print_entry(m, i, line, BATCH_COLUMNS);
		print_line(file, line);
	}
	if (m->others.all.flows) {
		top_print_others(m, line, BATCH_COLUMNS);
		print_line(file, line);
	}
	if (m->missed)
		fprintf(file, "missed %llu records\n", (unsigned long long)m->missed);
}

/* By write(2): what stdio still holds at the exit would wait for a reader who does not read. */
static int write_all(const char *text, size_t size)
{
	struct pollfd ready = {.fd = STDOUT_FILENO, .events = POLLOUT};
	size_t done = 0;
	ssize_t n;

	while (done < size) {
		n = write(STDOUT_FILENO, text + done, size - done);
		if (n < 0 && errno == EAGAIN) /* whoever shares it has made it O_NONBLOCK */
			(void)poll(&ready, 1, -1);
		else if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int fail_output(struct top_view *t, int error)
{
	say(t, "standard output: ", error);
	return error;
}

static int print_picture(struct top_view *t, bool first)
{
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);
	int r;

	if (!file)
		return -ENOMEM;
	if (!first)
		fputc('\n', file);
	print_model(file, &t->model);
	r = fclose(file) == 0 ? write_all(text, size) : -ENOMEM;
	return r < 0 ? fail_output(t, r) : 0;
}

/* keys: POLLIN, those of a screen; 0: its terminal is looked at alone; -1: there is none. */
static void wait_for_something(struct top_view *t, int keys)
{
	struct pollfd files[] = {
		{.fd = keys < 0 ? -1 : STDIN_FILENO, .events = (short)MAX(keys, 0)},
		{.fd = t->rows ? client_fd(t->rows) : -1, .events = POLLIN},
		{.fd = t->status_due ? client_fd(t->status) : -1, .events = POLLIN},
		{.fd = t->options.wake, .events = POLLIN},
		{.fd = STDOUT_FILENO},
	};

	(void)poll(files, ARRAY_SIZE(files), LOOK_MS);
	t->gone |= ((files[0].revents | files[4].revents) & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

/* A script is to be told at once; an exporter goes on for longer than what hinders it. */
static int text_failed(struct top_view *t, int error)
{
	if (!t->options.own)
		return error;
	hang_up(t);
	if (!t->said)
		log_warning("nothing can be shown for now, which is tried again each second: %s",
			    *t->model.message ? t->model.message : strerror(-error));
	t->said = true;
	return -EAGAIN;
}

/* As take_rows(). */
static int take_text(struct top_view *t)
{
	int r = t->rows ? take_rows(t, 0) : -ENOTCONN;

	if (r == -ENOTCONN && t->options.own && t->said) {
		if (clock_ns(CLOCK_MONOTONIC) - t->tried_ns < AGAIN_NS)
			return -EAGAIN;
		r = top_view_ask(t);
		if (r == 0)
			return -EAGAIN;
	}
	if (r == 1)
		t->said = false;
	return r < 0 && r != -EAGAIN ? text_failed(t, r) : r;
}

int top_view_batch(struct top_view *t, uint64_t count)
{
	int r = -EAGAIN;

	for (uint64_t i = 0; !has_ended(t) && (!count || i < count);) {
		if (r == -EAGAIN)
			wait_for_something(t, -1);
		if (t->gone)
			return fail_output(t, -EPIPE);
		r = take_text(t);
		if (r == -EAGAIN)
			continue;
		if (r < 0)
			return r;
		t->asked_ns = 0; /* of the same moment */
		take_status(t, ANSWER_MS);
		r = print_picture(t, i++ == 0);
		if (r == -ENOMEM)
			r = text_failed(t, r);
		if (r < 0 && r != -EAGAIN)
			return r;
	}
	return 0;
}

/* --- The full screen. */

/* What the exporter of this process says meanwhile is at the foot; it gets to the terminal behind the screen. */
static void take_notes(struct top_view *t)
{
	struct top_model *m = &t->model;

	m->note_count = 0;
	while (t->options.own && m->note_count < TOP_NOTES_MAX &&
	       log_held(m->note_count, m->notes[m->note_count], TOP_LINE_MAX))
		text_make_printable(m->notes[m->note_count++]);
}

static void take_all(struct top_view *t)
{
	int r = 0;

	if (!t->rows && clock_ns(CLOCK_MONOTONIC) - t->tried_ns >= AGAIN_NS)
		(void)top_view_ask(t);
	while (t->rows && (r = take_rows(t, 0)) == 1)
		;
	if (t->rows && r != -EAGAIN)
		hang_up(t);
	take_status(t, 0);
	take_notes(t);
}

int top_view_screen(struct top_view *t, char why[TOP_MESSAGE_MAX])
{
	_cleanup_(top_screen_freep) struct top_screen *screen = NULL;
	enum top_command command = TOP_NOTHING;
	int r = top_screen_new(&screen, t->options.own, why);

	while (r == 0 && !has_ended(t) && command != TOP_QUIT) {
		const bool paused = top_screen_paused(screen);

		if (paused) {
			hang_up(t);
		} else {
			take_all(t);
			top_screen_draw(screen, &t->model);
		}
		wait_for_something(t, paused ? 0 : POLLIN);
		if (t->gone)
			return -ENODATA;
		if (has_ended(t) || paused) /* whom to ask may be gone already */
			continue;
		command = top_screen_keys(screen, &t->model);
		if (command == TOP_ASK) {
			top_model_clear(&t->model);
			t->model.choice.paused = false;
			(void)top_view_ask(t);
		}
	}
	return r;
}

/* --- Making one. */

int top_view_new(struct top_view **ret, const struct top_view_options *options)
{
	struct top_view *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->options = *options;
	t->model.choice = options->choice;
	t->model.utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	*ret = t;
	return 0;
}

struct top_view *top_view_free(struct top_view *t)
{
	if (t)
		hang_up(t);
	free(t);
	return NULL;
}
