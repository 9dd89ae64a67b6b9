/* SPDX-License-Identifier: Apache-2.0 */
/* Collector URLs: what is accepted, and that each mistake is named. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "exporter/export/export.h"
#include "exporter/export/url.h"

#define LABEL63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void test_good(void **state)
{
	static const struct {
		const char *url, *host, *path;
		enum url_scheme scheme;
		uint16_t port;
	} cases[] = {
		{"ipfix://collector", "collector", "", URL_IPFIX, 4739},
		{"ipfix://flow_1.example-2.net.:1", "flow_1.example-2.net.", "", URL_IPFIX, 1},
		{"ipfix://192.0.2.1:65535", "192.0.2.1", "", URL_IPFIX, 65535},
		{"ipfix://[::1]", "::1", "", URL_IPFIX, 4739},
		{"ipfix://[2001:db8::192.0.2.1]:2055", "2001:db8::192.0.2.1", "", URL_IPFIX, 2055},
		{"ipfix://10.example", "10.example", "", URL_IPFIX, 4739},
		{"ipfix://" LABEL63 ".net", LABEL63 ".net", "", URL_IPFIX, 4739},
		{"file:///var/flows.ipfix", "", "/var/flows.ipfix", URL_FILE, 0},
		{"file:///a b?#%20", "", "/a b?#%20", URL_FILE, 0},
		{"json:-", "", "", URL_JSON, 0},
		{"json:///flows", "", "/flows", URL_JSON, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct collector_url url;
		char why[URL_WHY_MAX] = "";
		const char *reason = "untouched";

		assert_int_equal(url_parse(cases[i].url, &url, why), 0);
		assert_string_equal(why, "");
		assert_string_equal(url.text, cases[i].url);
		assert_string_equal(url.host, cases[i].host);
		assert_string_equal(url.path, cases[i].path);
		assert_int_equal(url.scheme, cases[i].scheme);
		assert_int_equal(url.port, cases[i].port);
		assert_true(exports_url_valid(cases[i].url, &reason));
		assert_string_equal(reason, "untouched");
	}
}

static const struct {
	const char *url, *why;
} mistakes[] = {
	{"", "it is empty"},
	{"collector", "the scheme is missing, use ipfix://, file:// or json:"},
	{"ipfx://collector", "unknown scheme 'ipfx', use ipfix://, file:// or json:"},
	{"IPFIX://collector", "unknown scheme 'IPFIX', use ipfix://, file:// or json:"},
	{"collector:4739", "unknown scheme 'collector', use ipfix://, file:// or json:"},
	{"://collector", "unknown scheme '', use ipfix://, file:// or json:"},
	{"ipfix:collector", "'//' is missing after 'ipfix:'"},
	{"file:/tmp/x", "'//' is missing after 'file:'"},
	{"ipfix://", "the host is missing"},
	{"ipfix://:4739", "the host is missing"},
	{"ipfix://[]", "the host is missing"},
	{"ipfix://c:", "port '' is not between 1 and 65535"},
	{"ipfix://c:0", "port '0' is not between 1 and 65535"},
	{"ipfix://c:65536", "port '65536' is not between 1 and 65535"},
	{"ipfix://c:99999", "port '99999' is not between 1 and 65535"},
	{"ipfix://c:18446744073709551617",
	 "port '18446744073709551617' is not between 1 and 65535"},
	{"ipfix://c:-1", "port '-1' is not between 1 and 65535"},
	{"ipfix://c:+1", "port '+1' is not between 1 and 65535"},
	{"ipfix://c: 1", "port ' 1' is not between 1 and 65535"},
	{"ipfix://c:47x", "port '47x' is not between 1 and 65535"},
	{"ipfix://[::1]:x", "port 'x' is not between 1 and 65535"},
	{"ipfix://c/x", "nothing may follow host and port"},
	{"ipfix://c:4739/", "nothing may follow host and port"},
	{"ipfix://c?a=b", "nothing may follow host and port"},
	{"ipfix://u:p@c", "a user name has no meaning here"},
	{"ipfix://::1", "an IPv6 address must be in brackets, as in ipfix://[2001:db8::1]:4739"},
	{"ipfix://[::1", "the ']' after the IPv6 address is missing"},
	{"ipfix://[::1]4739", "'4739' follows the IPv6 address where ':port' might"},
	{"ipfix://[::g]", "'::g' is not an IPv6 address"},
	{"ipfix://[collector]", "'collector' is not an IPv6 address"},
	{"ipfix://10.0.0.256", "'10.0.0.256' is not an IPv4 address"},
	{"ipfix://10.0.1", "'10.0.1' is not an IPv4 address"},
	{"ipfix://a b", "'a b' is not a host name"},
	{"ipfix://a..b", "'a..b' is not a host name"},
	{"ipfix://.", "'.' is not a host name"},
	{"ipfix://" LABEL63 "a", "'" LABEL63 "a' is not a host name"},
	{"ipfix://c\n", "it holds a control character"},
	{"file://", "the path is missing: file:///path"},
	{"file://flows.ipfix", "the path must be absolute: file:///path"},
	{"file:///var/", "'/var/' is a folder; the name of the file is missing"},
	{"json:", "'json:' is neither json:- (standard output) nor json:///path"},
	{"json:x", "'json:x' is neither json:- (standard output) nor json:///path"},
	{"json://x", "the path must be absolute: json:///path"},
	{"json:///", "'/' is a folder; the name of the file is missing"},
};

static void test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
		struct collector_url url = {.port = 7}, untouched = url;
		char why[URL_WHY_MAX];
		const char *reason = NULL;

		assert_int_equal(url_parse(mistakes[i].url, &url, why), -EINVAL);
		assert_string_equal(why, mistakes[i].why);
		assert_memory_equal(&url, &untouched, sizeof(url));
		assert_false(exports_url_valid(mistakes[i].url, &reason));
		assert_string_equal(reason, mistakes[i].why);
	}
}

/* What is too long is refused, and the reason is cut to its room. */
static void test_long(void **state)
{
	char url[8192] = "ipfix://", why[URL_WHY_MAX];
	struct collector_url parsed;

	(void)state;
	memset(url + 8, 'a', sizeof(url) - 9);
	url[sizeof(url) - 1] = '\0';
	assert_int_equal(url_parse(url, &parsed, why), -EINVAL);
	assert_string_equal(why, "the host has more than 253 characters");
	memset(url, 'a', sizeof(url) - 1);
	url[5000] = ':';
	assert_int_equal(url_parse(url, &parsed, why), -EINVAL);
	assert_true(strlen(why) < 100);
	memcpy(url, "ipfix://c:", 10);
	url[5000] = 'a';
	assert_int_equal(url_parse(url, &parsed, why), -EINVAL);
	assert_int_equal(strlen(why), URL_WHY_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
