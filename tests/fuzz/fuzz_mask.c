/* SPDX-License-Identifier: Apache-2.0 */
/* Texts with an address in them under libFuzzer: wherever it stands, it is taken out. */
#include "exporter/cli/mask.h"
#include "tests/fuzz/fuzz.h"

static const char *const addresses[] = {"198.51.100.27", "2001:db8:7::beef:1", "00:00:5e:00:53:af"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = NULL, *masked = NULL;
	_cleanup_(mask_freep) struct mask *mask = NULL;
	const char *address = addresses[size ? data[0] % ARRAY_SIZE(addresses) : 0];
	const char *rest = (const char *)data;
	const size_t place = size > 1 ? data[1] % size : 0;

	/* A NUL ends its part of the text. */
	if (mask_new(&mask) < 0 || asprintf(&text, "%.*s%s%.*s", (int)place, rest, address,
					    (int)(size - place), rest + place) < 0)
		return -1;
	masked = mask_text(mask, text);
	fuzz_require(!masked ? "no text" : strstr(masked, address) ? "an address is left" : NULL);
	return 0;
}

void fuzz_write_seeds(void)
{
	static const char *const lines[] = {
		"a(ipfix://192.0.2.20:4739 and fe80::1%eth0, 127.0.0.1",
		"b&{\"a\": \"::ffff:192.0.2.1\", \"mac\": \"0000.5e00.5301\"}",
		"c!https://who@far.example:80/ 1.2.3.4.5 1:2:3:4:5:6:7:8:9",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		fuzz_write_seed(i, "", 0, lines[i], strlen(lines[i]));
}
