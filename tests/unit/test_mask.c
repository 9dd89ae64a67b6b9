/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses taken out of text: all of them, the same one always by the same name, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
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

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_mask)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
