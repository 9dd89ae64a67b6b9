/* SPDX-License-Identifier: Apache-2.0 */
/* Collector URLs under libFuzzer. */
#include <errno.h>
#include <stdbool.h>
#include "exporter/export/url.h"
#include "exporter/util.h"
#include "tests/fuzz/fuzz.h"

static const char *check_url(const char *text, const struct collector_url *url)
{
	bool network = url->scheme == URL_IPFIX || url->scheme == URL_IPFIX_TCP ||
		       url->scheme == URL_NETFLOW9;

	if (url->text != text)
		return "the text of another URL";
	if (url->path[0] && !strstr(text, url->path))
		return "a path outside the URL";
	if (memchr(url->host, 0, sizeof(url->host)) == NULL)
		return "a host without an end";
	if (network != (url->host[0] != 0) || network != (url->port != 0))
		return "host and port where there are none, or none where they are needed";
	if (network && !strstr(text, url->host))
		return "a host that is not in the URL";
	if (url->path[0] && url->path[0] != '/')
		return "a path that is not absolute";
	if (url->scheme == URL_FILE && !url->path[0])
		return "a file without a path";
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = calloc(1, size + 1);
	struct collector_url url, untouched;
	char why[URL_WHY_MAX] = "";
	int r;

	if (!text)
		return -1;
	memcpy(text, data, size);
	memset(&untouched, 0x5a, sizeof(untouched));
	url = untouched;
	r = url_parse(text, &url, why);
	if (r == 0) {
		fuzz_require(why[0] ? "taken, with a complaint" : check_url(text, &url));
		return 0;
	}
	fuzz_require(r == -EINVAL && why[0] ? NULL : "refused without a word");
	fuzz_require(memcmp(&url, &untouched, sizeof(url)) == 0 ? NULL : "refused, and written");
	return 0;
}

void fuzz_write_seeds(void)
{
	static const char *const urls[] = {
		"ipfix://collector",
		"ipfix://192.0.2.1:65535",
		"ipfix://[2001:db8::1]:2055",
		"ipfix://a.b-c_d.:1",
		"file:///var/flows.ipfix",
		"json:-",
		"json:///flows?rotate=1",
		"ipfix://[::ffff:1.2.3.4]",
		"netflow9://host",
		"ipfix+tcp://collector:4740?retry=5",
		"ipfix://c?rate=1&dscp=8&source=::1&template=minimal&message-size=512",
	};

	for (size_t i = 0; i < ARRAY_SIZE(urls); i++)
		fuzz_write_seed(i, NULL, 0, urls[i], strlen(urls[i]));
}
