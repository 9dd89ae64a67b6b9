/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/export/format/utf8.h"
#include "exporter/observe/doctor.h"
#include "exporter/observe/text.h"
#include <ctype.h>
#include <stdarg.h>
#include <string.h>
#include "exporter/meter/datapath.h"
#include "exporter/observe/doctor_check.h"

static const struct {
	const char *id;
	const char *title;
	void (*judge)(struct doctor *d);
} checks[] = {
#define CHECK(id, title, function) {id, title, function},
#include "exporter/observe/doctor_checks.def"
#undef CHECK
};

const char *doctor_check_id(size_t index)
{
	return index < ARRAY_SIZE(checks) ? checks[index].id : NULL;
}

static const char *level_name(enum doctor_level level)
{
	static const char *const names[] = {
		[DOCTOR_OK] = "OK", [DOCTOR_WARN] = "WARN", [DOCTOR_FAIL] = "FAIL"};

	return names[level];
}

static void finding_clear(struct doctor_finding *finding)
{
	free(finding->subject);
	free(finding->text);
	free(finding->fix);
}

void doctor_report_clear(struct doctor_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		finding_clear(&report->list[i]);
	free(report->list);
	*report = (struct doctor_report){0};
}

/* False without memory. */
static bool add(struct doctor_report *report, const struct doctor_finding *finding)
{
	const size_t room = report->room ? 2 * report->room : 64;
	struct doctor_finding *list = report->list;

	if (report->count == report->room) {
		list = reallocarray(list, room, sizeof(*list));
		if (!list)
			return false;
		report->list = list;
		report->room = room;
	}
	list[report->count++] = *finding;
	return true;
}

void doctor_find(struct doctor *d, enum doctor_level level, const char *subject, const char *fix,
		 const char *format, ...)
{
	struct doctor_finding finding = {.id = d->id, .title = d->title, .level = level};
	va_list args;
	bool whole;

	va_start(args, format);
	if (vasprintf(&finding.text, format, args) < 0)
		finding.text = NULL;
	va_end(args);
	finding.subject = subject ? strdup(subject) : NULL;
	finding.fix = fix ? strdup(fix) : NULL;
	whole = finding.text && !finding.subject == !subject && !finding.fix == !fix;
	if (whole && add(d->report, &finding))
		return;
	finding_clear(&finding);
	d->report->incomplete = true;
}

const char *doctor_fix(char fix[DOCTOR_FIX_MAX], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(fix, DOCTOR_FIX_MAX, format, args);
	va_end(args);
	return fix;
}

const char *doctor_quote(char quoted[DOCTOR_QUOTE_MAX], const char *word)
{
	size_t used = 0;
	bool plain = *word;

	for (const char *c = word; *c; c++)
		plain &= isalnum((unsigned char)*c) || strchr("._-/", *c);
	if (plain) {
		snprintf(quoted, DOCTOR_QUOTE_MAX, "%s", word);
		return quoted;
	}
	/* a quote itself is a blank then: shells and YAML write it in different ways */
	quoted[used++] = '\'';
	for (const char *c = word; *c && used < DOCTOR_QUOTE_MAX - 2; c++)
		quoted[used++] = *c == '\'' || (unsigned char)*c < 0x20 ? ' ' : *c;
	quoted[used++] = '\'';
	quoted[used] = '\0';
	return quoted;
}

uint64_t doctor_bank_memory(const struct doctor_wanted *wanted)
{
	return datapath_memory(wanted->bank_entries) +
	       (wanted->drop_entries ? datapath_memory(wanted->drop_entries) : 0);
}

void doctor_judge(const struct doctor_wanted *wanted, const struct doctor_facts *facts,
		  struct doctor_report *report)
{
	struct doctor d = {.wanted = wanted, .facts = facts, .report = report};

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		d.id = checks[i].id;
		d.title = checks[i].title;
		checks[i].judge(&d);
	}
}

size_t doctor_report_count(const struct doctor_report *report, enum doctor_level level)
{
	size_t count = 0;

	for (size_t i = 0; i < report->count; i++)
		count += report->list[i].level == level;
	return count;
}

/* --- As text. */

/* Each way in a line of its own. */
static void print_fixes(FILE *file, const char *fixes)
{
	const char *word = "fix";

	for (; *fixes; fixes += strcspn(fixes, "\n"), fixes += *fixes == '\n') {
		char line[DOCTOR_FIX_MAX];

		snprintf(line, sizeof(line), "%.*s", (int)strcspn(fixes, "\n"), fixes);
		fprintf(file, "%25s%3s: ", "", word);
		utf8_print(file, line);
		fputc('\n', file);
		word = "or";
	}
}

static void print_finding(FILE *file, const struct doctor_finding *finding)
{
	fprintf(file, "%-5s %-18s ", level_name(finding->level), finding->id);
	/* mistakes of a file name it themselves */
	if (finding->subject &&
	    strncmp(finding->text, finding->subject, strlen(finding->subject)) != 0) {
		utf8_print(file, finding->subject);
		fputs(": ", file);
	}
	utf8_print(file, finding->text);
	fputc('\n', file);
	if (finding->fix)
		print_fixes(file, finding->fix);
}

void doctor_report_print(FILE *file, const struct doctor_report *report)
{
	for (int level = DOCTOR_FAIL; level >= DOCTOR_OK; level--)
		for (size_t i = 0; i < report->count; i++)
			if ((int)report->list[i].level == level)
				print_finding(file, &report->list[i]);
	fprintf(file, "\n%zu OK, %zu WARN, %zu FAIL\n", doctor_report_count(report, DOCTOR_OK),
		doctor_report_count(report, DOCTOR_WARN), doctor_report_count(report, DOCTOR_FAIL));
	if (report->incomplete)
		fputs("findings are missing: there was no memory for them\n", file);
}

/* --- As JSON. */

static json_t *fixes_json(const char *fixes)
{
	json_t *array = json_array();

	for (; *fixes; fixes += strcspn(fixes, "\n"), fixes += *fixes == '\n') {
		char line[DOCTOR_FIX_MAX];

		snprintf(line, sizeof(line), "%.*s", (int)strcspn(fixes, "\n"), fixes);
		json_array_append_new(array, text_json(line));
	}
	return array;
}

static json_t *finding_json(const struct doctor_finding *finding)
{
	json_t *object = json_pack("{s:s, s:s, s:s, s:o}", "id", finding->id, "title",
				   finding->title, "level", level_name(finding->level), "text",
				   text_json(finding->text));

	if (object && finding->subject)
		json_object_set_new(object, "subject", text_json(finding->subject));
	if (object && finding->fix)
		json_object_set_new(object, "fix", fixes_json(finding->fix));
	return object;
}

json_t *doctor_report_json(const struct doctor_report *report)
{
	enum doctor_level verdict = DOCTOR_OK;
	json_t *findings = json_array();

	for (size_t i = 0; i < report->count; i++) {
		verdict = MAX(verdict, report->list[i].level);
		json_array_append_new(findings, finding_json(&report->list[i]));
	}
	return json_pack("{s:i, s:s, s:b, s:o}", "version", 1, "verdict", level_name(verdict),
			 "incomplete", report->incomplete, "findings", findings);
}
