/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files under libFuzzer: the text of a file. */
#include "config/load.h"
#include "config/set.h"
#include "config/yaml.h"
#include "tests/fuzz/settings.h"

/* What every message keeps to. */
static const char *check_problems(const struct problems *p)
{
	size_t seen = 0;

	for (size_t i = 0; i < p->count; i++) {
		const char *text = p->list[i].text;

		seen += !p->list[i].warning;
		if (strncmp(text, "f:", 2) != 0 || strlen(text) > 20000)
			return "an error without its place, or without end";
	}
	return p->left_out || seen == p->errors ? NULL : "errors that are not counted";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct problems problems = {0};
	struct config config = {0};
	int r = config_read_yaml(&config, "f", (const char *)data, size, &problems);

	fuzz_require((r == 0) == (problems.errors == 0) ? NULL : "refused without a word");
	fuzz_require(check_problems(&problems));
	if (config.collector_count > EXPORT_COLLECTORS_MAX)
		fuzz_require("more collectors than there can be");
	config_clear(&config);
	problems_clear(&problems);
	return 0;
}

void fuzz_write_seeds(void)
{
	static const char *const files[] = {
		"interfaces: [eth0, \"veth*\"]\ningress: auto\n",
		"collectors:\n  - url: ipfix://192.0.2.20\n    name: a\n    template: extended\n",
		"collectors:\n- json:-\n- netflow9://192.0.2.21:2055?rate=5\n",
		"collectors: [{url: ipfix://a, rate: 10k/s, dscp: 8, source: 192.0.2.1}]\n",
		"collectors:\n- protocol: ipfix+tcp\n  host: \"2001:db8::1\"\n  port: 4739\n  retry: 5\n",
		"\xef\xbb\xbf---\ncollectors: [{protocol: json, path: \"-\"}, {protocol: file, path: /x}]\r\n",
		"collectors: [\"ipfix://user:secret@a\", {url: ipfix://a, host: b, \"rate\\0\": 5}]\n",
		"idle-timeout: 15s\nrate: 10k/s\nmessage-size: 1KiB\ndrops-budget: off\n",
		"live: true\nquiet: no\ntemplate: 'octetDeltaCount,tcpControlBits:2'\n",
		"a: &x [1]\nb: *x\n? c\n: !!str d\n<<: *x\n",
		"--- # one\nidle-timeout: 15s\n...\n--- two\n",
		"idle-timout: 15\n\tingress: tc\n",
		"e:\nu\rt\n ", /* ends in the blanks of a line, which were taken for those of an error */
		"[[[[[[[[[[[[[[[[[[",
		"drops-include: policy,NO_SOCKET\nmask: tcx\nsource:\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		fuzz_write_seed(i, NULL, 0, files[i], strlen(files[i]));
}
