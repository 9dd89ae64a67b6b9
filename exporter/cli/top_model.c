/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/top_model.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include "exporter/meter/drop_reason.h"
#include "exporter/observe/text.h"

#define NUMBER_COLUMNS 8 /* of a number with a blank */

static const char *const tabs[_TOP_TAB_MAX] = {
	[TOP_FLOWS] = "flows",	       [TOP_HOSTS] = "hosts", [TOP_PORTS] = "ports",
	[TOP_PROTOCOLS] = "protocols", [TOP_DROPS] = "drops", [TOP_INTERFACES] = "interfaces",
	[TOP_KEYS] = "keys",
};

static const char *const sums[_TOP_BY_MAX] = {
	[TOP_BY_OCTETS] = "octets",
	[TOP_BY_PACKETS] = "packets",
	[TOP_BY_FLOWS] = "flows",
};

const char *top_tab_name(enum top_tab tab)
{
	return tabs[tab];
}

int top_tab_parse(const char *name)
{
	for (int i = 0; i < TOP_KEYS; i++)
		if (!strcmp(tabs[i], name))
			return i;
	return -1;
}

/* --- The request. */

static const char *keys_of(const struct top_choice *c)
{
	static const char *const ends[_TOP_END_MAX] = {"host", "src", "dst"};
	static const char *const drops[_DROPS_BY_MAX] = {
		[DROPS_BY_FLOW] = "proto,src,sport,dst,dport,iface,dir,reason",
		[DROPS_BY_REASON] = "reason,class",
		[DROPS_BY_INTERFACE] = "iface,dir,reason,class",
		[DROPS_BY_SERVICE] = "service,reason,class",
	};
	static const char *const keys[_TOP_TAB_MAX] = {
		[TOP_FLOWS] = "proto,src,sport,dst,dport,iface,dir",
		[TOP_PORTS] = "service",
		[TOP_PROTOCOLS] = "proto",
		[TOP_INTERFACES] = "iface,dir",
	};

	if (c->tab == TOP_HOSTS)
		return ends[c->end];
	if (c->tab == TOP_DROPS)
		return drops[c->drops_by];
	return c->tab == TOP_KEYS ? c->keys : keys[c->tab];
}

/* A dropped packet may have been metered too, and is not to be counted twice. */
static char *filter_of(const struct top_choice *c)
{
	const char *kind = c->tab == TOP_DROPS ? "drop" : c->tab == TOP_KEYS ? NULL : "not drop";
	char *text = NULL;
	int r;

	if (!kind)
		return strdup(c->filter ? c->filter : "");
	r = c->filter ? asprintf(&text, "(%s) and %s", c->filter, kind)
		      : asprintf(&text, "%s", kind);
	return r < 0 ? NULL : text;
}

json_t *top_request(const struct top_choice *c)
{
	_cleanup_(freep) char *filter = filter_of(c);
	json_t *request;

	if (!filter)
		return NULL;
	request = json_pack("{s:i,s:s,s:s,s:s,s:i,s:I}", "version", CONTROL_VERSION, "ask", "top",
			    "keys", keys_of(c), "by", sums[c->by], "rows", CONTROL_ROWS, "every_ms",
			    (json_int_t)c->every_ms);
	if (*filter)
		json_object_set_new(request, "filter", json_string(filter));
	return request;
}

/* --- Answers.  Nothing in them gets to a terminal as a control character. */

static void copy_text(char *to, size_t size, const json_t *value)
{
	const char *text = json_string_value(value);

	snprintf(to, size, "%s", text ? text : "");
	text_make_printable(to);
}

static uint64_t number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

static double real(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static struct top_sums take_sums(const json_t *object, const char *key)
{
	const json_t *array = json_object_get(object, key);

	return (struct top_sums){
		.octets = (uint64_t)json_integer_value(json_array_get(array, 0)),
		.packets = (uint64_t)json_integer_value(json_array_get(array, 1)),
		.flows = (uint64_t)json_integer_value(json_array_get(array, 2)),
	};
}

void top_model_clear(struct top_model *m)
{
	m->count = m->selected = 0;
	m->detail = false;
	m->seconds = 0;
	m->missed = 0;
}

static bool is_same(const struct top_model *m, const struct top_entry *a, const struct top_entry *b)
{
	for (unsigned int i = 0; i < m->key_count; i++)
		if (strcmp(a->cells[i], b->cells[i]) != 0)
			return false;
	return true;
}

static void take_history(const struct top_model *m, struct top_entry *entry, size_t older)
{
	memset(entry->history, 0, sizeof(entry->history));
	for (size_t i = 0; i < older; i++)
		if (is_same(m, &m->older[i], entry)) {
			memcpy(entry->history, m->older[i].history + 1,
			       (TOP_HISTORY - 1) * sizeof(*entry->history));
			break;
		}
	entry->history[TOP_HISTORY - 1] = m->seconds > 0 ? (double)entry->recent.octets / m->seconds
							 : 0;
}

static void take_entry(struct top_model *m, const json_t *row, size_t older)
{
	const json_t *cells = json_object_get(row, "key");
	struct top_entry *entry = &m->entries[m->count++];

	for (unsigned int i = 0; i < m->key_count; i++)
		copy_text(entry->cells[i], TOP_CELL_MAX, json_array_get(cells, i));
	entry->all = take_sums(row, "all");
	entry->recent = take_sums(row, "recent");
	take_history(m, entry, older);
}

/* Whoever has been looked at goes on to be, wherever the entry stands now. */
static void select_again(struct top_model *m, size_t older)
{
	const size_t at = m->selected;

	for (size_t i = 0; at < older && i < m->count; i++)
		if (is_same(m, &m->older[at], &m->entries[i])) {
			m->selected = i;
			return;
		}
	m->detail = false;
	m->selected = m->count ? MIN(at, m->count - 1) : 0;
}

int top_model_take(struct top_model *m, const json_t *answer)
{
	const json_t *rows = json_object_get(answer, "rows");
	const json_t *keys = json_object_get(answer, "keys");
	const size_t older = m->count;
	size_t index;
	json_t *row;

	if (!json_is_array(rows) || !json_is_array(keys))
		return -EPROTO;
	memcpy(m->older, m->entries, older * sizeof(*m->older));
	m->key_count = (unsigned int)MIN(json_array_size(keys), (size_t)TOP_KEYS_MAX);
	for (unsigned int i = 0; i < m->key_count; i++)
		copy_text(m->keys[i], TOP_CELL_MAX, json_array_get(keys, i));
	m->seconds = real(answer, "seconds");
	m->missed = number(json_object_get(answer, "missed"), "all");
	m->others.all = take_sums(json_object_get(answer, "others"), "all");
	m->others.recent = take_sums(json_object_get(answer, "others"), "recent");
	m->total.all = take_sums(json_object_get(answer, "total"), "all");
	m->total.recent = take_sums(json_object_get(answer, "total"), "recent");
	m->count = 0;
	json_array_foreach (rows, index, row)
		if (m->count < CONTROL_ROWS_MAX)
			take_entry(m, row, older);
	if (m->detail)
		select_again(m, older);
	else
		m->selected = m->count ? MIN(m->selected, m->count - 1) : 0;
	return 0;
}

/* --- The head: what status says. */

static void print_rates(const struct top_model *m, const json_t *status, char *line, size_t size)
{
	const json_t *rates = json_object_get(status, "rates");
	const json_t *in = json_object_get(rates, "ingress"),
		     *out = json_object_get(rates, "egress");
	const double factor = m->choice.octets ? 1 : 8;
	const char *unit = m->choice.octets ? "B" : "bit";
	char a[TEXT_NUMBER_MAX], b[TEXT_NUMBER_MAX], c[TEXT_NUMBER_MAX], d[TEXT_NUMBER_MAX];

	snprintf(line, size, "in %s%s/s %s pkt/s, out %s%s/s %s pkt/s",
		 text_number(a, real(in, "octets") * factor), unit,
		 text_number(b, real(in, "packets")), text_number(c, real(out, "octets") * factor),
		 unit, text_number(d, real(out, "packets")));
}

static double percent(const json_t *flows, const char *part, const char *limit)
{
	return number(flows, limit)
		       ? 100 * (double)number(flows, part) / (double)number(flows, limit)
		       : 0;
}

/* In the books of flows, or of drops. */
static uint64_t refused(const json_t *books)
{
	uint64_t sum = 0;
	const char *name;
	json_t *amount;

	json_object_foreach (json_object_get(books, "refused"), name, amount)
		sum += number(amount, "packets");
	return sum;
}

static uint64_t lost_records(const json_t *collectors)
{
	json_t *one, *amount;
	uint64_t sum = 0;
	const char *name;
	size_t index;

	json_array_foreach (collectors, index, one)
		json_object_foreach (json_object_get(one, "lost"), name, amount)
			sum += (uint64_t)json_integer_value(amount);
	return sum;
}

static void print_collectors(const json_t *collectors, char *line, size_t size)
{
	char first[64];

	copy_text(first, sizeof(first), json_object_get(json_array_get(collectors, 0), "state"));
	if (json_array_size(collectors) == 1)
		snprintf(line, size, "collector %s", first);
	else
		snprintf(line, size, "%zu collectors", json_array_size(collectors));
}

static void print_classes(const json_t *classes, char *line, size_t size)
{
	size_t used = 0;
	json_t *packets;
	const char *name;

	line[0] = '\0';
	json_object_foreach ((json_t *)classes, name, packets)
		if (used < size)
			used += (size_t)snprintf(line + used, size - used,
						 "%s%s %" JSON_INTEGER_FORMAT, used ? ", " : "",
						 name, json_integer_value(packets));
	text_make_printable(line);
}

/* Of an exporter that traces drops alone. */
static void take_drops(struct top_model *m, const json_t *status, const char *what)
{
	const json_t *drops = json_object_get(status, "drops");
	const json_t *books = json_object_get(json_object_get(status, "ledger"), "drops");
	char rate[TEXT_NUMBER_MAX];

	snprintf(m->head, sizeof(m->head),
		 "%s pkt/s dropped, seen %" PRIu64 " pkt, refused %" PRIu64 ", missed %" PRIu64
		 "%s%s",
		 text_number(rate, real(drops, "rate")), number(books, "seen"), refused(books),
		 number(books, "missed"), *what ? "  ! " : "", what);
	print_classes(json_object_get(drops, "classes"), m->losses, sizeof(m->losses));
}

void top_model_take_status(struct top_model *m, const json_t *status)
{
	const json_t *books = json_object_get(status, "ledger");
	const json_t *flows = json_object_get(status, "flows");
	const json_t *all = json_object_get(status, "collectors");
	const json_t *problem = json_array_get(json_object_get(status, "problems"), 0);
	char health[32], rates[160], collectors[128], what[256];

	copy_text(health, sizeof(health), json_object_get(status, "health"));
	copy_text(what, sizeof(what), json_object_get(problem, "what"));
	if (m->choice.drops_alone) {
		take_drops(m, status, what);
		return;
	}
	print_rates(m, status, rates, sizeof(rates));
	print_collectors(all, collectors, sizeof(collectors));
	snprintf(m->head, sizeof(m->head), "flowtally %s  %s%s%s", health, rates,
		 *what ? "  ! " : "", what);
	snprintf(m->losses, sizeof(m->losses),
		 "refused %" PRIu64 " pkt, lost %" PRIu64
		 " rec  bank %.0f%% cache %.0f%%  %s  drops %.3g/s, missed %" PRIu64,
		 refused(books), lost_records(all), percent(flows, "bank_entries", "bank_limit"),
		 percent(flows, "cache_entries", "cache_limit"), collectors,
		 real(json_object_get(status, "drops"), "rate"),
		 number(json_object_get(books, "drops"), "missed"));
}

/* --- Lines. */

_printf_(2, 3) static void append(char *line, const char *format, ...)
{
	const size_t used = strlen(line);
	va_list args;

	va_start(args, format);
	vsnprintf(line + used, TOP_LINE_MAX - used, format, args);
	va_end(args);
}

void top_cut(char *line, unsigned int columns)
{
	for (; *line; line++) {
		if (((unsigned char)*line & 0xc0) == 0x80)
			continue; /* of the sign before */
		if (columns-- == 0)
			break;
	}
	*line = '\0';
}

void top_print_tabs(const struct top_model *m, char *line, unsigned int columns)
{
	static const char *const rows[_DROPS_BY_MAX] = {"flow", "reason", "interface", "service"};
	const struct top_choice *c = &m->choice;

	line[0] = '\0';
	if (c->drops_alone || columns < 60) { /* the others are a key away, if there are any */
		append(line, "[%d %s] %s", (int)c->tab + 1, tabs[c->tab], sums[c->by]);
	} else {
		for (int i = 0; i < (c->keys ? _TOP_TAB_MAX : TOP_KEYS); i++)
			append(line, i == (int)c->tab ? "[%d %s]" : " %d %s ", i + 1, tabs[i]);
		append(line, " by %s", sums[c->by]);
	}
	if (c->tab == TOP_DROPS)
		append(line, ", rows by %s", rows[c->drops_by]);
	if (c->filter)
		append(line, "  filter: %s", c->filter);
	text_make_printable(line);
	top_cut(line, columns);
}

enum column {
	COLUMN_OCTETS_RATE,
	COLUMN_PACKETS_RATE,
	COLUMN_OCTETS,
	COLUMN_PACKETS,
	COLUMN_FLOWS,
	_COLUMN_MAX,
};

/* By how much room there is: what it is sorted by comes first, and is always there. */
static bool has_column(const struct top_model *m, enum column column, unsigned int columns)
{
	static const unsigned int least[_COLUMN_MAX] = {50, 60, 70, 90, 100};
	const enum column first = m->choice.by == TOP_BY_OCTETS	   ? COLUMN_OCTETS_RATE
				  : m->choice.by == TOP_BY_PACKETS ? COLUMN_PACKETS_RATE
								   : COLUMN_FLOWS;

	return column == first || columns >= least[column];
}

static double value_of(const struct top_model *m, enum column column, const struct top_sums *all,
		       const struct top_sums *recent)
{
	const double second = m->seconds > 0 ? m->seconds : 1;

	switch (column) {
	case COLUMN_OCTETS_RATE:
		return (double)recent->octets * (m->choice.octets ? 1 : 8) / second;
	case COLUMN_PACKETS_RATE:
		return (double)recent->packets / second;
	case COLUMN_OCTETS:
		return (double)all->octets;
	case COLUMN_PACKETS:
		return (double)all->packets;
	case COLUMN_FLOWS:
	case _COLUMN_MAX:
		break;
	}
	return (double)all->flows;
}

static void print_numbers(const struct top_model *m, char *line, unsigned int columns,
			  const struct top_sums *all, const struct top_sums *recent)
{
	char text[TEXT_NUMBER_MAX];

	for (int i = 0; i < _COLUMN_MAX; i++)
		if (has_column(m, (enum column)i, columns))
			append(line, "%*s ", NUMBER_COLUMNS - 1,
			       text_number(text, value_of(m, (enum column)i, all, recent)));
}

/* As wide as the widest of them, as far as there are any. */
static int width_of(const struct top_model *m, unsigned int key)
{
	size_t width = strlen(m->keys[key]);

	for (size_t i = 0; i < m->count; i++)
		width = MAX(width, strlen(m->entries[i].cells[key]));
	return (int)width;
}

void top_print_titles(const struct top_model *m, char *line, unsigned int columns)
{
	const char *const titles[_COLUMN_MAX] = {
		[COLUMN_OCTETS_RATE] = m->choice.octets ? "B/s" : "bit/s",
		[COLUMN_PACKETS_RATE] = "pkt/s",
		[COLUMN_OCTETS] = "octets",
		[COLUMN_PACKETS] = "packets",
		[COLUMN_FLOWS] = "records",
	};

	line[0] = '\0';
	for (int i = 0; i < _COLUMN_MAX; i++)
		if (has_column(m, (enum column)i, columns))
			append(line, "%*s ", NUMBER_COLUMNS - 1, titles[i]);
	for (unsigned int i = 0; i < m->key_count; i++)
		append(line, "%-*s ", width_of(m, i), m->keys[i]);
	top_cut(line, columns);
}

void top_print_entry(const struct top_model *m, size_t index, char *line, unsigned int columns)
{
	const struct top_entry *entry = &m->entries[index];

	line[0] = '\0';
	print_numbers(m, line, columns, &entry->all, &entry->recent);
	for (unsigned int i = 0; i < m->key_count; i++)
		append(line, "%-*s ", width_of(m, i), entry->cells[i]);
	top_cut(line, columns);
}

void top_print_others(const struct top_model *m, char *line, unsigned int columns)
{
	line[0] = '\0';
	print_numbers(m, line, columns, &m->others.all, &m->others.recent);
	append(line, "others");
	top_cut(line, columns);
}

bool top_print_explanation(const struct top_model *m, char *line, unsigned int columns)
{
	const struct drop_reason *reason = NULL;

	for (unsigned int i = 0; m->count && i < m->key_count; i++)
		if (!strcmp(m->keys[i], "reason"))
			reason = drop_reason_text(m->entries[m->selected].cells[i]);
	if (!reason)
		return false;
	line[0] = '\0';
	append(line, "%s: %s", reason->name, reason->explanation);
	top_cut(line, columns);
	return true;
}

/* --- Detail. */

static void print_spark(const struct top_model *m, const struct top_entry *entry, char *line,
			unsigned int columns)
{
	static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	static const char plain[] = "_.-=+*%#";
	const unsigned int count = MIN(columns, (unsigned int)TOP_HISTORY);
	double most = 0;

	for (unsigned int i = TOP_HISTORY - count; i < TOP_HISTORY; i++)
		most = MAX(most, entry->history[i]);
	for (unsigned int i = TOP_HISTORY - count; i < TOP_HISTORY; i++) {
		const size_t level = most > 0 ? (size_t)(entry->history[i] / most * 7) : 0;

		if (m->utf8)
			append(line, "%s", blocks[level]);
		else
			append(line, "%c", plain[level]);
	}
}

static void print_sums(const struct top_model *m, unsigned int index, const struct top_entry *e,
		       char *line)
{
	const double factor = m->choice.octets ? 1 : 8;
	char a[TEXT_NUMBER_MAX], b[TEXT_NUMBER_MAX];
	double most = 0;

	for (unsigned int i = 0; i < TOP_HISTORY; i++)
		most = MAX(most, e->history[i]);
	if (index == 0)
		append(line, "now %s%s/s, at most %s",
		       text_number(a, value_of(m, COLUMN_OCTETS_RATE, &e->all, &e->recent)),
		       m->choice.octets ? "B" : "bit", text_number(b, most * factor));
	else if (index == 1)
		append(line, "octets %" PRIu64, e->all.octets);
	else if (index == 2)
		append(line, "packets %" PRIu64, e->all.packets);
	else
		append(line, "records %" PRIu64, e->all.flows);
}

bool top_print_detail(const struct top_model *m, unsigned int index, char *line,
		      unsigned int columns)
{
	const struct top_entry *entry = &m->entries[m->selected];

	line[0] = '\0';
	if (index == 0)
		print_spark(m, entry, line, columns);
	else if (index < 5)
		print_sums(m, index - 1, entry, line);
	else if (index - 5 < m->key_count)
		append(line, "%s %s", m->keys[index - 5], entry->cells[index - 5]);
	else
		return false;
	top_cut(line, columns);
	return true;
}
