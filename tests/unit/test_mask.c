/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses taken out of text: all of them, the same one always by the same name, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "exporter/cli/mask.h"

static void check_masked(struct mask *mask, const char *text, const char *wanted)
{
	char *got = mask_text(mask, text);

	assert_string_equal(got, wanted);
	free(got);
}

static void test_mask(void **state)
{
	struct mask *mask;

	(void)state;
	assert_int_equal(mask_new(&mask), 0);
	assert_int_equal(mask_add(mask, "collector.example"), 0);
	check_masked(mask, "ipfix://192.0.2.20:4739 and 192.0.2.21.",
		     "ipfix://ipv4-1:4739 and ipv4-2.");
	check_masked(mask, "[2001:db8::1]:4739, 2001:DB8:0::1", "[ipv6-1]:4739, ipv6-1");
	check_masked(mask, "192.0.2.21 192.0.2.20/24", "ipv4-2 ipv4-1/24");
	check_masked(mask, "02:42:ac:11:00:02 02:42:AC:11:00:02", "mac-1 mac-1");
	check_masked(mask, "ipfix+tcp://Collector.example:4739", "ipfix+tcp://host-1:4739");
	/* a host is one whatever else is wrong with the URL, and so is a user */
	check_masked(mask, "'ipfix://far.example:99999?x=1': wrong; is far.example up?",
		     "'ipfix://host-2:99999?x=1': wrong; is host-2 up?");
	check_masked(mask, "gopher://someone:x@deep.example/ file:///var/log/x",
		     "gopher://host-3:x@host-4/ file:///var/log/x");
	check_masked(mask, "http://127.0.0.1:9717/metrics http://localhost:9717",
		     "http://127.0.0.1:9717/metrics http://localhost:9717");
	/* what says nothing about anybody, and what is no address */
	check_masked(mask, "127.0.0.1:9717 [::1] 0.0.0.0 ::", "127.0.0.1:9717 [::1] 0.0.0.0 ::");
	check_masked(mask, "6.18.44-fc 0.1.0 f.yaml:3:5: 12:30:01 10.5",
		     "6.18.44-fc 0.1.0 f.yaml:3:5: 12:30:01 10.5");
	mask_free(mask);
}

static void test_places(void **state)
{
	struct mask *mask;

	(void)state;
	assert_int_equal(mask_new(&mask), 0);
	assert_int_equal(mask_add(mask, "collector.example"), 0);
	assert_int_equal(mask_add(mask, "nas"), 0);
	check_masked(mask, "key=192.0.2.1 a:192.0.2.1 x192.0.2.1y", "key=ipv4-1 a:ipv4-1 xipv4-1y");
	check_masked(mask, "{\"a\":\"192.0.2.1\",\"b\":[\"\\n192.0.2.9\"]}",
		     "{\"a\":\"ipv4-1\",\"b\":[\"\\nipv4-2\"]}");
	check_masked(mask, "0x1f;192.0.2.1.in-addr.arpa", "0x1f;ipv4-1.in-addr.arpa");
	check_masked(mask, "src=2001:db8::1,dst=2001:0db8:0:0:0:0:0:1", "src=ipv6-1,dst=ipv6-1");
	check_masked(mask, "via fe80::1%eth0 dev", "via ipv6-2%eth0 dev");
	check_masked(mask, "::ffff:192.0.2.1 ::ffff:c000:201 ::FFFF:127.0.0.1",
		     "ipv4-1 ipv4-1 ::FFFF:127.0.0.1");
	check_masked(mask, "lladdr=00:00:5e:00:53:01 00-00-5E-00-53-01 0000.5e00.5301",
		     "lladdr=mac-1 mac-1 mac-1");
	check_masked(mask, "u=https://who@collector.example/x tocollector.example",
		     "u=https://host-3@host-1/x tohost-1");
	/* a short name is part of many words */
	check_masked(mask, "nas: nasal, nas-2, (NAS)", "host-2: nasal, nas-2, (host-2)");
	/* part of something longer is not what tells nothing */
	check_masked(mask, "127.0.0.1.5 127.0.0.1. 127.0.0.1:9",
		     "127.ipv4-3 127.0.0.1. 127.0.0.1:9");
	check_masked(mask, "2026-11-29T14:05:30.5 5.15.0-91 1:2:3 deadbeef cafe:1 99.5%",
		     "2026-11-29T14:05:30.5 5.15.0-91 1:2:3 deadbeef cafe:1 99.5%");
	mask_free(mask);
}

/* Wherever an address is put into a line, it cannot be read in what comes out. */
static void test_anywhere(void **state)
{
	static const char *const lines[] = {
		"Nov 29 05:52:11 node7 systemd[1]: Started flow exporter, pid=4711.",
		"level=warn ts=2026-11-29T05:52:11.137Z msg=\"dial tcp: i/o timeout\" n=127.3.5",
		"{\"spec\":{\"ports\":[{\"port\":4739,\"proto\":\"UDP\"}],\"hash\":\"9f:3c:::b.7\"}}",
		"default via dev ens3 proto dhcp metric 100 ::1 fe:80:0:0:0:0:a0:1 [::]:80",
		"https://user:pw@/path?x=1&y=2#frag 00:11:22:33 ff-ff 1.1.1 127.0.0.1 0.0",
	};
	static const char *const addresses[] = {"198.51.100.27",      "2001:db8:7::beef:1",
						"00:00:5e:00:53:af",  "203.0.113.199",
						"::ffff:203.0.113.8", "2001:db8:1:2:3:4:5:6789"};

	(void)state;
	for (size_t l = 0; l < ARRAY_SIZE(lines); l++)
		for (size_t a = 0; a < ARRAY_SIZE(addresses); a++)
			for (size_t at = 0; at <= strlen(lines[l]); at++) {
				struct mask *mask;
				char line[256], *got;

				assert_int_equal(mask_new(&mask), 0);
				snprintf(line, sizeof(line), "%.*s%s%s", (int)at, lines[l],
					 addresses[a], lines[l] + at);
				got = mask_text(mask, line);
				if (strstr(got, addresses[a]))
					fail_msg("%s", line);
				free(got);
				mask_free(mask);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mask),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
