/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/top_screen.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include "exporter/observe/record_filter.h"
#include "exporter/observe/text.h"
/* Behind the others: its macros have names of everybody's. */
#include <curses.h>
#include <term.h>
#undef tab /* of the terminal; here it is a view */

#define FILTER_MAX 1024
#define ESCAPE	   27
#define ESCAPE_MS  25 /* a key of several octets comes at once */

struct top_screen {
	SCREEN *terminal;
	bool paused;
	bool prompting;
	bool helping;
	size_t offset;		  /* of the first entry that is shown */
	char typed[FILTER_MAX];	  /* while prompting */
	char filter[FILTER_MAX];  /* the choice's */
	char wrong[TOP_LINE_MAX]; /* with what was typed; empty: nothing */
};

static const char help[] =
	"1-6 tab  s sort  / filter  space pause  b bits  h rows  enter detail  q quit";

/* --- The terminal. */

/* dumb and its like know no way to a place on the screen. */
static bool can_address(void)
{
	int error;
	const char *address;

	if (setupterm(NULL, STDOUT_FILENO, &error) != OK)
		return false;
	address = tigetstr((char *)"cup");
	return address && address != (char *)-1;
}

bool top_screen_in_background(void)
{
	const pid_t front = tcgetpgrp(STDIN_FILENO);

	return front >= 0 && front != getpgrp();
}

bool top_screen_possible(char why[TOP_MESSAGE_MAX])
{
	const char *term = getenv("TERM");
	char shown[64];

	snprintf(shown, sizeof(shown), "%s", term ? term : "");
	text_make_printable(shown);
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		snprintf(why, TOP_MESSAGE_MAX, "a full screen needs a terminal");
	else if (top_screen_in_background())
		snprintf(why, TOP_MESSAGE_MAX, "a full screen needs to be in the foreground");
	else if (!*shown || !can_address())
		snprintf(why, TOP_MESSAGE_MAX, "this terminal (TERM=%s) has no full screen", shown);
	else
		return true;
	return false;
}

/* Control-Z would stop whoever else is in the foreground too, such as sudo. */
static void take_terminal(bool own)
{
	struct termios mode;

	cbreak();
	noecho();
	nonl();
	if (own && tcgetattr(STDIN_FILENO, &mode) == 0) {
		mode.c_cc[VSUSP] = _POSIX_VDISABLE;
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &mode);
		def_prog_mode();
	}
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	set_escdelay(ESCAPE_MS);
	(void)curs_set(0);
}

/* The whole process would be, and with it the exporter.  SIGTSTP ncurses would take, in any thread. */
static void never_stop(void)
{
	signal(SIGTSTP, SIG_IGN);
	signal(SIGTTIN, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
}

int top_screen_new(struct top_screen **ret, bool own, char why[TOP_MESSAGE_MAX])
{
	_cleanup_(top_screen_freep) struct top_screen *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	if (!top_screen_possible(why))
		return -ENOTTY;
	if (own)
		never_stop();
	s->terminal = newterm(NULL, stdout, stdin);
	/* Not ncurses's, which interrupts other threads with each change of the size: top_screen_draw() looks. */
	signal(SIGWINCH, SIG_IGN);
	if (!s->terminal) {
		snprintf(why, TOP_MESSAGE_MAX, "this terminal cannot be set up");
		return -ENOTTY;
	}
	set_term(s->terminal);
	take_terminal(own);
	*ret = TAKE_PTR(s);
	return 0;
}

struct top_screen *top_screen_free(struct top_screen *s)
{
	if (s && s->terminal) {
		if (!top_screen_in_background()) /* else the shell has it */
			endwin();
		delscreen(s->terminal);
	}
	free(s);
	return NULL;
}

/* --- Drawing. */

static void put_line(int row, const char *text, attr_t attributes)
{
	move(row, 0);
	clrtoeol();
	attrset(attributes);
	addstr(text);
	/* What is inverse is so as far as the screen is wide. */
	if (attributes & A_REVERSE)
		for (int column = getcurx(stdscr);
		     column < COLS && getcury(stdscr) == row && column == getcurx(stdscr); column++)
			if (addch(' ') == ERR)
				break;
	attrset(A_NORMAL);
}

static void draw_entries(struct top_screen *s, const struct top_model *m, int first, int rows)
{
	char line[TOP_LINE_MAX];
	const size_t shown = (size_t)MAX(rows, 1);
	const struct top_sums *others = &m->others.all;
	int row = first;

	if (m->selected < s->offset)
		s->offset = m->selected;
	if (m->selected >= s->offset + shown)
		s->offset = m->selected - shown + 1;
	for (size_t i = s->offset; i < m->count && row < first + rows; i++) {
		top_print_entry(m, i, line, (unsigned int)COLS);
		put_line(row++, line, i == m->selected ? A_REVERSE : A_NORMAL);
	}
	if (row < first + rows && others->flows) {
		top_print_others(m, line, (unsigned int)COLS);
		put_line(row, line, A_DIM);
	}
}

static void draw_detail(const struct top_model *m, int first, int rows)
{
	char line[TOP_LINE_MAX];

	for (int i = 0; i < rows && top_print_detail(m, (unsigned int)i, line, (unsigned int)COLS);
	     i++)
		put_line(first + i, line, A_NORMAL);
}

/* Above the foot: what a reason means, and what the exporter says.  Returns how many lines. */
static int draw_notes(const struct top_model *m)
{
	const unsigned int most = LINES >= 16 ? TOP_NOTES_MAX : LINES >= 8 ? 1 : 0;
	char line[TOP_LINE_MAX];
	int used = 0;

	for (unsigned int i = 0; i < m->note_count && i < most; i++) {
		snprintf(line, sizeof(line), "%s", m->notes[i]);
		top_cut(line, (unsigned int)COLS);
		put_line(LINES - 2 - used++, line, A_DIM);
	}
	if (LINES >= 8 && top_print_explanation(m, line, (unsigned int)COLS))
		put_line(LINES - 2 - used++, line, A_NORMAL);
	return used;
}

static void draw_foot(const struct top_screen *s, const struct top_model *m)
{
	const size_t room = (size_t)MAX(COLS - 3, 1), typed = strlen(s->typed);
	char line[TOP_LINE_MAX];
	attr_t attributes = A_NORMAL;

	if (s->prompting && !*s->wrong) /* its end is what is being typed */
		snprintf(line, sizeof(line), "/%.1000s_",
			 s->typed + (typed > room ? typed - room : 0));
	else if (*s->wrong)
		snprintf(line, sizeof(line), "%s", s->wrong);
	else if (m->choice.paused)
		snprintf(line, sizeof(line), "paused (space goes on)");
	else if (m->missed && !s->helping)
		snprintf(line, sizeof(line), "missed %llu records  ? help",
			 (unsigned long long)m->missed);
	else
		snprintf(line, sizeof(line), "%s",
			 s->helping || COLS >= 80 ? help : "? help  q quit");
	if (*s->wrong)
		attributes = A_BOLD;
	text_make_printable(line);
	top_cut(line, (unsigned int)COLS);
	put_line(LINES - 1, line, attributes);
}

static void look_at_size(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col &&
	    is_term_resized(size.ws_row, size.ws_col))
		resizeterm(size.ws_row, size.ws_col);
}

bool top_screen_paused(struct top_screen *s)
{
	const bool paused = top_screen_in_background();

	if (s->paused && !paused)
		endwin(); /* the next picture sets the terminal up anew, and is drawn whole */
	s->paused = paused;
	return paused;
}

void top_screen_draw(struct top_screen *s, const struct top_model *m)
{
	char line[TOP_LINE_MAX];
	int row = 0, notes;

	look_at_size();
	erase();
	notes = draw_notes(m);
	snprintf(line, sizeof(line), "%s", *m->message ? m->message : m->head);
	top_cut(line, (unsigned int)COLS);
	put_line(row++, line, A_BOLD);
	if (LINES >= 8) {
		snprintf(line, sizeof(line), "%s", m->losses);
		top_cut(line, (unsigned int)COLS);
		put_line(row++, line, A_NORMAL);
	}
	top_print_tabs(m, line, (unsigned int)COLS);
	put_line(row++, line, A_NORMAL);
	if (m->detail && m->count) {
		draw_detail(m, row, LINES - 1 - notes - row);
	} else {
		top_print_titles(m, line, (unsigned int)COLS);
		put_line(row++, line, A_REVERSE);
		if (m->seconds > 0)
			draw_entries(s, m, row, LINES - 1 - notes - row);
		else if (!*m->message)
			put_line(row, "waiting for the banks", A_NORMAL);
	}
	draw_foot(s, m);
	refresh();
}

/* --- Keys. */

static void to_tab(struct top_model *m, int tab)
{
	const int count = m->choice.keys ? _TOP_TAB_MAX : TOP_KEYS;

	if (m->choice.drops_alone)
		return;
	m->choice.tab = (enum top_tab)((tab + count) % count);
}

static enum top_command end_prompt(struct top_screen *s, struct top_model *m)
{
	_cleanup_(record_filter_freep) struct record_filter *filter = NULL;
	char why[FILTER_ERROR_MAX] = "out of memory";

	if (*s->typed && record_filter_new(&filter, s->typed, why) < 0) {
		snprintf(s->wrong, sizeof(s->wrong), "%s", why);
		return TOP_NOTHING; /* the next key goes on with what was typed */
	}
	s->prompting = false;
	snprintf(s->filter, sizeof(s->filter), "%s", s->typed);
	m->choice.filter = *s->filter ? s->filter : NULL;
	return TOP_ASK;
}

static enum top_command prompt_key(struct top_screen *s, struct top_model *m, int key)
{
	const size_t used = strlen(s->typed);

	if (*s->wrong && (key == '\r' || key == '\n' || key == KEY_ENTER)) {
		s->wrong[0] = '\0';
		return TOP_NOTHING;
	}
	s->wrong[0] = '\0';
	if (key == '\r' || key == '\n' || key == KEY_ENTER)
		return end_prompt(s, m);
	if (key == ESCAPE)
		s->prompting = false;
	else if ((key == KEY_BACKSPACE || key == 127 || key == 8) && used)
		s->typed[used - 1] = '\0';
	else if (key == 21) /* control-U */
		s->typed[0] = '\0';
	else if (key >= ' ' && key <= '~' && used + 1 < sizeof(s->typed))
		snprintf(s->typed + used, sizeof(s->typed) - used, "%c", key);
	return TOP_NOTHING;
}

static void begin_prompt(struct top_screen *s, const struct top_model *m)
{
	s->prompting = true;
	snprintf(s->typed, sizeof(s->typed), "%s", m->choice.filter ? m->choice.filter : "");
}

static void move_selection(struct top_model *m, long by)
{
	const long last = m->count ? (long)m->count - 1 : 0;
	const long to = (long)m->selected + by;

	m->selected = (size_t)(to < 0 ? 0 : to > last ? last : to);
}

/* What changes only what is seen of what there is. */
static bool view_key(struct top_screen *s, struct top_model *m, int key)
{
	const long page = MAX(LINES - 5, 1);

	if (key == KEY_UP || key == 'k')
		move_selection(m, -1);
	else if (key == KEY_DOWN || key == 'j')
		move_selection(m, 1);
	else if (key == KEY_PPAGE)
		move_selection(m, -page);
	else if (key == KEY_NPAGE)
		move_selection(m, page);
	else if (key == KEY_HOME)
		move_selection(m, -CONTROL_ROWS_MAX);
	else if (key == KEY_END)
		move_selection(m, CONTROL_ROWS_MAX);
	else if (key == '\r' || key == '\n' || key == KEY_ENTER)
		m->detail = !m->detail && m->count;
	else if (key == ESCAPE)
		m->detail = false;
	else if (key == ' ' || key == 'p')
		m->choice.paused = !m->choice.paused;
	else if (key == 'b')
		m->choice.octets = !m->choice.octets;
	else if (key == '?')
		s->helping = !s->helping;
	else if (key == '/')
		begin_prompt(s, m);
	else
		return false;
	return true;
}

static enum top_command ask_key(struct top_model *m, int key)
{
	struct top_choice *c = &m->choice;

	if (key >= '1' && key < '1' + (c->keys ? _TOP_TAB_MAX : TOP_KEYS))
		to_tab(m, key - '1');
	else if (key == '\t' || key == KEY_RIGHT)
		to_tab(m, (int)c->tab + 1);
	else if (key == KEY_BTAB || key == KEY_LEFT)
		to_tab(m, (int)c->tab - 1);
	else if (key == 's')
		c->by = (enum top_by)((c->by + 1) % _TOP_BY_MAX);
	else if (key == 'h' && c->tab == TOP_HOSTS)
		c->end = (enum top_end)((c->end + 1) % _TOP_END_MAX);
	else if (key == 'h' && c->tab == TOP_DROPS)
		c->drops_by = (enum drops_by)((c->drops_by + 1) % _DROPS_BY_MAX);
	else
		return TOP_NOTHING;
	return TOP_ASK;
}

enum top_command top_screen_keys(struct top_screen *s, struct top_model *m)
{
	enum top_command command = TOP_NOTHING, one;
	int key;

	while ((key = getch()) != ERR) {
		if (key == KEY_RESIZE)
			continue; /* ncurses has the new size */
		if (s->prompting)
			one = prompt_key(s, m, key);
		else if (key == 'q' || key == 3)
			return TOP_QUIT;
		else
			one = view_key(s, m, key) ? TOP_NOTHING : ask_key(m, key);
		if (one == TOP_ASK)
			s->offset = 0;
		command = MAX(command, one);
	}
	return command;
}
