/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/control_request.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <string.h>
#include "exporter/observe/text.h"

struct parse {
	struct control_request request;
	enum control_fault fault;
	char *error;
};

static const char *const asks[_CONTROL_ASK_MAX] = {
	[CONTROL_STATUS] = "status",
	[CONTROL_RECORDS] = "records",
	[CONTROL_TOP] = "top",
};

const char *control_fault_name(enum control_fault fault)
{
	static const char *const names[_CONTROL_FAULT_MAX] = {
		[CONTROL_FAULT_REQUEST] = "request", [CONTROL_FAULT_VERSION] = "version",
		[CONTROL_FAULT_FILTER] = "filter",   [CONTROL_FAULT_BUSY] = "busy",
		[CONTROL_FAULT_EARLY] = "early",
	};

	return names[fault];
}

void control_request_clear(struct control_request *request)
{
	free(request->filter);
	free(request->keys);
	*request = (struct control_request){0};
}

_printf_(3, 4) static int fail(struct parse *p, enum control_fault fault, const char *format, ...)
{
	va_list args;

	p->fault = fault;
	va_start(args, format);
	vsnprintf(p->error, CONTROL_ERROR_MAX, format, args);
	va_end(args);
	return -EINVAL;
}

static int read_flag(struct parse *p, const char *name, const json_t *value, bool *ret)
{
	if (!json_is_boolean(value))
		return fail(p, CONTROL_FAULT_REQUEST, "%s: true or false is needed", name);
	*ret = json_is_true(value);
	return 0;
}

static int read_number(struct parse *p, const char *name, const json_t *value, uint64_t *ret)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return fail(p, CONTROL_FAULT_REQUEST, "%s: an integer of 0 or more is needed",
			    name);
	*ret = (uint64_t)json_integer_value(value);
	return 0;
}

static int read_range(struct parse *p, const char *name, const json_t *value, uint64_t least,
		      uint64_t most, uint64_t *ret)
{
	uint64_t number = 0;
	int r = read_number(p, name, value, &number);

	if (r == 0 && (number < least || number > most))
		r = fail(p, CONTROL_FAULT_REQUEST, "%s: it can be %" PRIu64 " to %" PRIu64, name,
			 least, most);
	if (r == 0)
		*ret = number;
	return r;
}

static int read_string(struct parse *p, const char *name, const json_t *value, char **ret)
{
	if (!json_is_string(value))
		return fail(p, CONTROL_FAULT_REQUEST, "%s: a string is needed", name);
	*ret = strdup(json_string_value(value));
	return *ret ? 0 : fail(p, CONTROL_FAULT_BUSY, "out of memory");
}

static int read_by(struct parse *p, const char *name, const json_t *value)
{
	const char *text = json_string_value(value);
	int by = text ? record_top_by_parse(text) : -1;

	if (by < 0)
		return fail(p, CONTROL_FAULT_REQUEST, "%s: it can be octets, packets or flows",
			    name);
	p->request.by = (enum top_by)by;
	return 0;
}

static int read_records_member(struct parse *p, const char *name, const json_t *value)
{
	struct control_request *r = &p->request;

	if (!strcmp(name, "follow"))
		return read_flag(p, name, value, &r->follow);
	if (!strcmp(name, "last"))
		return read_number(p, name, value, &r->last);
	if (!strcmp(name, "since_ms"))
		return read_number(p, name, value, &r->since_ms);
	if (!strcmp(name, "until_ms"))
		return read_number(p, name, value, &r->until_ms);
	if (!strcmp(name, "filter"))
		return read_string(p, name, value, &r->filter);
	return -ENOENT;
}

static int read_top_member(struct parse *p, const char *name, const json_t *value)
{
	struct control_request *r = &p->request;

	if (!strcmp(name, "keys"))
		return read_string(p, name, value, &r->keys);
	if (!strcmp(name, "by"))
		return read_by(p, name, value);
	if (!strcmp(name, "rows"))
		return read_range(p, name, value, 1, CONTROL_ROWS_MAX, &r->rows);
	if (!strcmp(name, "every_ms"))
		return read_range(p, name, value, CONTROL_EVERY_MS_MIN, CONTROL_EVERY_MS_MAX,
				  &r->every_ms);
	if (!strcmp(name, "filter"))
		return read_string(p, name, value, &r->filter);
	return -ENOENT;
}

static int read_member(struct parse *p, const char *name, const json_t *value)
{
	char shown[64];
	int r = -ENOENT;

	if (!strcmp(name, "version") || !strcmp(name, "ask"))
		return 0; /* have been read */
	if (p->request.ask == CONTROL_RECORDS)
		r = read_records_member(p, name, value);
	else if (p->request.ask == CONTROL_TOP)
		r = read_top_member(p, name, value);
	if (r != -ENOENT)
		return r;
	snprintf(shown, sizeof(shown), "%s", name);
	text_make_printable(shown);
	/* It may be what a newer client relies on. */
	return fail(p, CONTROL_FAULT_REQUEST, "'%s': not known to %s of this exporter (%s)", shown,
		    asks[p->request.ask], FLOWTALLY_VERSION);
}

static int read_version(struct parse *p, const json_t *root)
{
	const json_t *version = json_object_get(root, "version");

	if (!json_is_integer(version))
		return fail(p, CONTROL_FAULT_VERSION,
			    "version: lacks, write {\"version\":%d,\"ask\":\"status\"}",
			    CONTROL_VERSION);
	if (json_integer_value(version) != CONTROL_VERSION)
		return fail(p, CONTROL_FAULT_VERSION,
			    "version %lld is asked for, this exporter (%s) speaks version %d",
			    (long long)json_integer_value(version), FLOWTALLY_VERSION,
			    CONTROL_VERSION);
	return 0;
}

static int read_ask(struct parse *p, const json_t *root)
{
	const char *text = json_string_value(json_object_get(root, "ask"));
	char shown[64];

	for (int i = 0; text && i < _CONTROL_ASK_MAX; i++)
		if (!strcmp(text, asks[i])) {
			p->request.ask = (enum control_ask)i;
			return 0;
		}
	snprintf(shown, sizeof(shown), "%s", text ? text : "");
	text_make_printable(shown);
	return fail(p, CONTROL_FAULT_REQUEST,
		    "ask: '%s' is none of status, records, top (this exporter is %s)", shown,
		    FLOWTALLY_VERSION);
}

static int read_object(struct parse *p, json_t *root)
{
	const char *name;
	json_t *value;
	int r;

	if (!json_is_object(root))
		return fail(p, CONTROL_FAULT_REQUEST, "an object of JSON is needed");
	r = read_version(p, root);
	if (r == 0)
		r = read_ask(p, root);
	if (r < 0)
		return r;
	json_object_foreach (root, name, value) {
		r = read_member(p, name, value);
		if (r < 0)
			return r;
	}
	return 0;
}

int control_request_parse(struct control_request *ret, const char *line, size_t size,
			  enum control_fault *ret_fault, char error[CONTROL_ERROR_MAX])
{
	struct parse p = {
		.request = {.last = UINT64_MAX,
			    .until_ms = UINT64_MAX,
			    .rows = CONTROL_ROWS,
			    .every_ms = CONTROL_EVERY_MS},
		.error = error,
	};
	json_error_t where;
	json_t *root = json_loadb(line, size, JSON_REJECT_DUPLICATES, &where);
	int r;

	if (root) {
		r = read_object(&p, root);
	} else {
		text_make_printable(where.text);
		r = fail(&p, CONTROL_FAULT_REQUEST, "not JSON: %s at octet %d", where.text,
			 where.position);
	}
	json_decref(root);
	if (r == 0) {
		*ret = p.request;
		return 0;
	}
	control_request_clear(&p.request);
	*ret_fault = p.fault;
	return r;
}
