/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines under libFuzzer: the verb, then words with a 0 or a line's end behind each. */
#include <stdlib.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/socket.h>
#include "exporter/cli/drop_filter.h"
#include "exporter/cli/options.h"
#include "exporter/export/export.h"
#include "exporter/export/format/profile.h"
#include "exporter/export/url.h"
#include "exporter/log.h"
#include "exporter/meter/datapath.h"
#include "tests/fuzz/fuzz.h"

#define WORDS_MAX 64

static unsigned int errors;

/* In place of the log, which would say it all on stderr. */
void log_message(int level, const char *format, ...)
{
	char text[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fuzz_require(strchr(text, '\n') ? "more than one line a message" : NULL);
	errors += level <= LOG_ERR;
}

int log_errno(int level, int error, const char *format, ...)
{
	(void)format;
	errors += level <= LOG_ERR;
	return -abs(error);
}

void log_set_level(int level)
{
	(void)level;
}

/* In place of the datapath and the exports. */
/* Nothing is opened here: the options are only read. */
int exports_add(struct exports *exports, const char *url)
{
	(void)exports;
	(void)url;
	abort();
}

int drop_filter_check(const char *option, const char *list)
{
	(void)option;
	(void)list;
	return 0;
}

uint32_t datapath_entries_min(void)
{
	return 4096;
}

bool exports_url_valid(const char *url, const char **ret_why)
{
	static char why[URL_WHY_MAX];
	struct collector_url parsed;

	*ret_why = why;
	return url_parse(url, &parsed, why) == 0;
}

bool exports_template_valid(const char *text, const char **ret_why)
{
	static char why[PROFILE_WHY_MAX];
	_cleanup_(profile_freep) struct profile *profile = NULL;
	int r = profile_new(&profile, text, ENTERPRISE_DEFAULT, false, why);

	fuzz_require((r == 0) == (profile != NULL) ? NULL : "refused, and written");
	*ret_why = why;
	return r == 0;
}

static const char *check_options(enum option_verb verb, const struct run_options *o)
{
	const char *why;

	if (verb == VERB_REPLAY && !o->file)
		return "replay of no file";
	if (verb == VERB_RUN && o->interface_count == 0)
		return "run on no interface";
	for (size_t i = 0; i < o->collector_count; i++)
		if (!exports_url_valid(o->collectors[i], &why))
			return "a collector that is none";
	if (!o->idle_ns || !o->active_ns || !o->drain_ns || !o->template_interval_ns)
		return "a time of 0";
	if (verb == VERB_DROPS && (!o->interval_ns || o->drop_entries < datapath_entries_min()))
		return "drops in no time or no room";
	if (o->address.length > (o->address.family == AF_INET ? 32 : 128))
		return "a prefix longer than the address";
	if (o->domain == 0 || o->message_max < 512)
		return "a number out of its range";
	if (o->bank_entries < datapath_entries_min() || o->cache_entries == 0)
		return "no room for flows";
	return NULL;
}

static int split(char *text, size_t size, char *argv[WORDS_MAX + 1])
{
	char *word = text + 1;
	int argc = 1;

	for (size_t i = 1; i < size && argc < WORDS_MAX; i++) {
		if (text[i] != '\n' && text[i] != 0)
			continue;
		text[i] = 0;
		argv[argc++] = word;
		word = text + i + 1;
	}
	return argc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = calloc(1, size + 1);
	struct run_options options;
	char *argv[WORDS_MAX + 1] = {0};
	enum option_verb verb;
	int argc, r;

	if (!text || size == 0)
		return -1;
	memcpy(text, data, size);
	verb = text[0] & 2 ? VERB_DROPS : text[0] & 1 ? VERB_REPLAY : VERB_RUN;
	argv[0] = verb == VERB_RUN ? "run" : verb == VERB_DROPS ? "drops" : "replay";
	argc = split(text, size, argv);
	errors = 0;
	r = run_options_parse(&options, verb, argc, argv);
	if (r == 0) {
		fuzz_require(errors ? "taken, with an error" : check_options(verb, &options));
		run_options_clear(&options);
		return 0;
	}
	fuzz_require(r == 1 || (r == -EINVAL && errors) ? NULL : "refused without a word");
	return 0;
}

void fuzz_write_seeds(void)
{
	static const char *const lines[] = {
		"0--interface\neth0\n",
		"0--interface=eth*\n--ingress\nxdp\n--egress=tc\n--collector\nipfix://192.0.2.1\n",
		"0--interface\na\n--idle-timeout\n15s\n--active-timeout=1m\n--drain-interval\n500ms\n",
		"0--interface\na\n--bank-entries\n65536\n--cache-entries\n1000\n--summary\njson\n",
		"0--interface\na\n--observation-domain\n7\n--message-max\n1400\n--mask\ntcx,xdp-frags\n",
		"0--interface\na\n--template-interval\n10m\n--fin-linger\n0s\n--verbose\n--live\n--quiet\n",
		"1capture.pcap\n--collector\nfile:///tmp/a\n--summary=off\n",
		"1-\n--collector=json:-\n--help\n",
		"1--\n--collector\n",
		"1-\n--collector\njson:-\n--template=octetDeltaCount,tcpControlBits:2\n--dscp\n8\n",
		"2--by\nreason\n--for\n30s\n--address=10.0.0.0/8\n--port\n53\n--json\n--interval=2s\n",
		"2--address\n2001:db8::/32\n--reason\npolicy,NO_SOCKET\n--exclude=benign\n--namespaces\nall\n",
		"0--interface\na\n--template\nextended\n--enterprise\n9\n--balance\n--rate=5\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		fuzz_write_seed(i, NULL, 0, lines[i], strlen(lines[i]));
}
