/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include "config/set.h"
#include "exporter/export/url.h"

/* What is being made of the parts. */
struct task {
	const struct config_part *parts;
	struct config_source source;
	struct problems *problems;
	bool failed;
};

static const char *const names[] = {
	[PART_PROTOCOL] = "protocol",
	[PART_HOST] = "host",
	[PART_PORT] = "port",
	[PART_PATH] = "path",
};

static const struct {
	const char *name;
	bool network; /* has host and port, the others a path */
} protocols[] = {
	{"ipfix", true}, {"ipfix+tcp", true}, {"netflow9", true}, {"file", false}, {"json", false},
};

const char *config_part_name(enum config_part_key key)
{
	return names[key];
}

const char *config_protocol(size_t i, bool *ret_network)
{
	if (i >= ARRAY_SIZE(protocols))
		return NULL;
	*ret_network = protocols[i].network;
	return protocols[i].name;
}

/* An error about a part; one that is not there is wrong where the collector begins. */
_printf_(3, 4) static void wrong(struct task *t, enum config_part_key key, const char *format, ...)
{
	const struct config_part *part = &t->parts[key];
	struct config_source source = t->source;
	_cleanup_(freep) char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	if (part->text) {
		source.within = names[key];
		source.line = part->line;
		source.column = part->column;
	}
	t->failed = true;
	problems_at(t->problems, &source, "%s", text ? text : "");
}

/* The number of the protocol, or -1. */
static int find_protocol(struct task *t)
{
	const char *text = t->parts[PART_PROTOCOL].text;
	char hint[VALUE_HINT_MAX];
	struct value_guess guess = {0};

	if (!text) {
		wrong(t, PART_PROTOCOL,
		      ": a collector without url or protocol; write url: ipfix://192.0.2.20");
		return -1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		if (!strcmp(protocols[i].name, text))
			return (int)i;
		value_guess_offer(&guess, text, protocols[i].name);
	}
	wrong(t, PART_PROTOCOL,
	      "'%s': no such protocol; it can be ipfix, ipfix+tcp, netflow9, file or json%s", text,
	      value_guess_hint(&guess, hint));
	return -1;
}

static void refuse(struct task *t, enum config_part_key key, const char *instead)
{
	if (t->parts[key].text)
		wrong(t, key, "'%s': of no use to protocol %s, which has %s", t->parts[key].text,
		      t->parts[PART_PROTOCOL].text, instead);
}

/* What a URL would make something else of has no place in it. */
static void check_network(struct task *t)
{
	const char *host = t->parts[PART_HOST].text, *port = t->parts[PART_PORT].text;
	uint64_t number;

	refuse(t, PART_PATH, "host and port");
	if (!host)
		wrong(t, PART_HOST, ": a collector without host; write host: 192.0.2.20");
	else if (!*host || strpbrk(host, "/?#@[]"))
		wrong(t, PART_HOST, "'%s': neither a host name nor an address", host);
	if (port && (value_number(port, &number) < 0 || number < 1 || number > 65535))
		wrong(t, PART_PORT, "'%s': not a port; it can be 1 to 65535", port);
}

static void check_path(struct task *t)
{
	const char *path = t->parts[PART_PATH].text;
	bool json = !strcmp(t->parts[PART_PROTOCOL].text, "json");

	refuse(t, PART_HOST, "path");
	refuse(t, PART_PORT, "path");
	if (!path)
		wrong(t, PART_PATH, ": a collector without path; write path: /var/lib/flows.%s",
		      json ? "json" : "ipfix");
	else if (*path != '/' && !(json && !strcmp(path, "-")))
		wrong(t, PART_PATH, "'%s': the path must be absolute%s", path,
		      json ? ", or - for standard output" : "");
}

/* NULL without memory. */
static char *make_url(const struct config_part *parts, bool network)
{
	const char *protocol = parts[PART_PROTOCOL].text, *host = parts[PART_HOST].text;
	const char *port = parts[PART_PORT].text, *path = parts[PART_PATH].text;
	bool six = network && strchr(host, ':');
	char *url;
	int r;

	if (network)
		r = asprintf(&url, "%s://%s%s%s%s%s", protocol, six ? "[" : "", host,
			     six ? "]" : "", port ? ":" : "", port ? port : "");
	else
		r = asprintf(&url, "%s:%s%s", protocol, *path == '/' ? "//" : "", path);
	return r < 0 ? NULL : url;
}

int config_make_url(const struct config_part parts[_PART_MAX], const struct config_source *source,
		    struct problems *problems, char **ret)
{
	struct task t = {.parts = parts, .source = *source, .problems = problems};
	_cleanup_(freep) char *url = NULL;
	struct collector_url parsed;
	char why[URL_WHY_MAX];
	int protocol = find_protocol(&t);

	if (protocol < 0)
		return -EINVAL;
	if (protocols[protocol].network)
		check_network(&t);
	else
		check_path(&t);
	if (t.failed)
		return -EINVAL;
	url = make_url(parts, protocols[protocol].network);
	if (!url)
		return -ENOMEM;
	if (url_parse(url, &parsed, why) < 0) {
		wrong(&t, protocols[protocol].network ? PART_HOST : PART_PATH, ": %s", why);
		return -EINVAL;
	}
	*ret = TAKE_PTR(url);
	return 0;
}
