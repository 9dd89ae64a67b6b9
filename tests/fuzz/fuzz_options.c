/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines under libFuzzer: the verb, then words with a 0 or a line's end behind each. */
#include <errno.h>
#include "exporter/cli/options.h"
#include "tests/fuzz/settings.h"

#define WORDS_MAX 64

static const char *check_options(enum config_verb verb, const struct config *o)
{
	if (verb == VERB_REPLAY && !o->capture)
		return "replay of no file";
	if (verb == VERB_RUN && o->interface_count == 0)
		return "run on no interface";
	if (verb == VERB_DROPS && (!o->interval_ns || o->drop_entries < datapath_entries_min()))
		return "drops in no time or no room";
	if (o->address.length > (o->address.family == AF_INET ? 32 : 128))
		return "a prefix longer than the address";
	return check_settings(o);
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
	struct config options;
	char *argv[WORDS_MAX + 1] = {0};
	enum config_verb verb;
	int argc, r;

	if (!text || size == 0)
		return -1;
	memcpy(text, data, size);
	verb = text[0] & 2 ? VERB_DROPS : text[0] & 1 ? VERB_REPLAY : VERB_RUN;
	argv[0] = verb == VERB_RUN ? "run" : verb == VERB_DROPS ? "drops" : "replay";
	argc = split(text, size, argv);
	fuzz_listen();
	r = options_parse(&options, verb, argc, argv);
	if (r == 0) {
		fuzz_require(fuzz_heard_error() ? "taken, with an error"
						: check_options(verb, &options));
		config_clear(&options);
		return 0;
	}
	fuzz_require(r == 1 || (r == -EINVAL && fuzz_heard_error()) ? NULL
								    : "refused without a word");
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
