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
		{"netflow9://collector", "collector", "", URL_NETFLOW9, 2055},
		{"ipfix+tcp://collector", "collector", "", URL_IPFIX_TCP, 4739},
		{"ipfix+tcp://[::1]:4740?retry=5", "::1", "", URL_IPFIX_TCP, 4740},
		{"netflow9://[::1]:9996?dscp=8", "::1", "", URL_NETFLOW9, 9996},
		{"ipfix://[fe80::1%eth0]", "fe80::1", "", URL_IPFIX, 4739},
		{"ipfix://[fe80::1%25eth0.7]:9995", "fe80::1", "", URL_IPFIX, 9995},
		{"ipfix://[ff05::1]", "ff05::1", "", URL_IPFIX, 4739},
		{"ipfix://224.0.0.9", "224.0.0.9", "", URL_IPFIX, 4739},
		{"file:///var/flows.ipfix", "", "/var/flows.ipfix", URL_FILE, 0},
		{"file:///a b?#%20", "", "/a b?#%20", URL_FILE, 0},
		{"file:///a?b?rotate=1h,100MiB&keep=24", "", "/a?b", URL_FILE, 0},
		{"json:///flows?rotate=off", "", "/flows", URL_JSON, 0},
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

/* An address as it was meant: what is mapped is IPv4, and a scope may be written in two ways. */
static void test_address(void **state)
{
	static const struct {
		const char *url, *scope;
		sa_family_t family;
		uint8_t first;
	} cases[] = {
		{"ipfix://192.0.2.1", "", AF_INET, 192},
		{"ipfix://[::ffff:192.0.2.1]", "", AF_INET, 192},
		{"ipfix://[2001:db8::1]", "", AF_INET6, 0x20},
		{"ipfix://[fe80::1%eth0]", "eth0", AF_INET6, 0xfe},
		{"ipfix://[fe80::1%25eth0]", "eth0", AF_INET6, 0xfe},
		{"ipfix://[fe80::1%25]", "25", AF_INET6, 0xfe}, /* an index */
		{"ipfix://[ff02::1%3]", "3", AF_INET6, 0xff},
		{"ipfix://[ff01::1%lo]", "lo", AF_INET6, 0xff},
	};
	struct sockaddr_storage at;
	socklen_t length;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct collector_url url;
		char why[URL_WHY_MAX];

		assert_int_equal(url_parse(cases[i].url, &url, why), 0);
		assert_true(url.numeric);
		assert_int_equal(url.address.family, cases[i].family);
		assert_string_equal(url.address.scope, cases[i].scope);
		assert_int_equal(url.address.address.s6_addr[0], cases[i].first);
	}
	assert_int_equal(address_locate(&(struct ip_address){.family = AF_INET6, .scope = "lo"}, 7,
					&at, &length),
			 0);
	assert_int_equal(((struct sockaddr_in6 *)&at)->sin6_scope_id, 1); /* Linux: always */
	assert_int_equal(address_locate(&(struct ip_address){.family = AF_INET6, .scope = "12"}, 7,
					&at, &length),
			 0);
	assert_int_equal(((struct sockaddr_in6 *)&at)->sin6_scope_id, 12);
	assert_int_equal(address_locate(&(struct ip_address){.family = AF_INET6, .scope = "none0"},
					7, &at, &length),
			 -ENODEV);
}

static const struct {
	const char *url, *why;
} mistakes[] = {
	{"", "it is empty"},
	{"collector",
	 "the scheme is missing, use ipfix://, ipfix+tcp://, netflow9://, file:// or json:"},
	{"ipfx://collector",
	 "unknown scheme 'ipfx', use ipfix://, ipfix+tcp://, netflow9://, file:// or json:;"
	 " did you mean ipfix?"},
	{"IPFIX://collector",
	 "unknown scheme 'IPFIX', use ipfix://, ipfix+tcp://, netflow9://, file:// or json:;"
	 " did you mean ipfix?"},
	{"netfow9://collector",
	 "unknown scheme 'netfow9', use ipfix://, ipfix+tcp://, netflow9://, file:// or json:;"
	 " did you mean netflow9?"},
	{"gopher://x",
	 "unknown scheme 'gopher', use ipfix://, ipfix+tcp://, netflow9://, file:// or json:"},
	{"collector:4739",
	 "the scheme is missing, use ipfix://, ipfix+tcp://, netflow9://, file:// or json:;"
	 " did you mean ipfix://collector:4739?"},
	{"10.9.0.2:2055",
	 "the scheme is missing, use ipfix://, ipfix+tcp://, netflow9://, file:// or json:;"
	 " did you mean netflow9://10.9.0.2:2055?"},
	{"10.9.0.2",
	 "the scheme is missing, use ipfix://, ipfix+tcp://, netflow9://, file:// or json:;"
	 " did you mean ipfix://10.9.0.2?"},
	{"[2001:db8::1]:9995",
	 "the scheme is missing, use ipfix://, ipfix+tcp://, netflow9://, file:// or json:;"
	 " did you mean netflow9://[2001:db8::1]:9995?"},
	{"/var/flows.ipfix",
	 "the scheme is missing, use ipfix://, ipfix+tcp://, netflow9://, file:// or json:;"
	 " did you mean file:///var/flows.ipfix?"},
	{"://collector",
	 "unknown scheme '', use ipfix://, ipfix+tcp://, netflow9://, file:// or json:"},
	{"ipfix:collector", "'//' is missing after 'ipfix:'; did you mean ipfix://collector?"},
	{"ipfix:/collector:4739",
	 "'//' is missing after 'ipfix:'; did you mean ipfix://collector:4739?"},
	{"ipfix:u:p@c", "'//' is missing after 'ipfix:'"},
	{"ipfix:", "'//' is missing after 'ipfix:'"},
	{"file:/tmp/x", "'//' is missing after 'file:'; did you mean file:///tmp/x?"},
	{"file:x", "'//' is missing after 'file:', write file:///path"},
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
	{"ipfix://c/x", "nothing may follow host and port but ?KEY=VALUE"},
	{"ipfix://c:4739/", "nothing may follow host and port but ?KEY=VALUE"},
	{"ipfix://c?a=b",
	 "unknown option 'a', there are template, rate, source, dscp, message-size, drops, retry, rotate and keep"},
	{"ipfix://c?", "'' is no option, write KEY=VALUE"},
	{"ipfix://c?rate", "'rate' is no option, write KEY=VALUE"},
	{"ipfix://c?rotate=1h", "rotate has a meaning with files alone"},
	{"file:///f?keep=1001", "keep '1001' is not between 0 (all files) and 1000"},
	{"json:///f?rotate=1h,2h",
	 "rotate '1h,2h' is not a time (1s to 8760h), a size (1024 to 1000GB), both with a comma as in 1h,100MiB, or off"},
	{"json:///f?rotate=1023",
	 "rotate '1023' is not a time (1s to 8760h), a size (1024 to 1000GB), both with a comma as in 1h,100MiB,"
	 " or off"},
	{"file:///f?rate=5", "rate has no meaning with file://"},
	{"ipfix://c?rate=0", "rate '0' is not a number of records a second"},
	{"ipfix://c?rate=1&rate=2", "rate is given twice"},
	{"ipfix://c?template=", "template is empty"},
	{"ipfix://c?dcsp=8",
	 "unknown option 'dcsp', there are template, rate, source, dscp, message-size, drops, retry, rotate and keep;"
	 " did you mean dscp?"},
	{"ipfix://c?rate=1x", "rate '1x' is not a number of records a second"},
	{"ipfix://c?dscp=64", "dscp '64' is not between 0 and 63"},
	{"netflow9://c?dscp=", "dscp '' is not between 0 and 63"},
	{"ipfix://c?message-size=511", "message-size '511' is not between 512 and 9000"},
	{"ipfix://c?source=eth0", "source 'eth0' is not an address"},
	{"ipfix://c?dscp=1&x=2",
	 "unknown option 'x', there are template, rate, source, dscp, message-size, drops, retry, rotate and keep"},
	{"netflow9:c", "'//' is missing after 'netflow9:'; did you mean netflow9://c?"},
	{"ipfix+tcp:c", "'//' is missing after 'ipfix+tcp:'; did you mean ipfix+tcp://c?"},
	{"ipfix+tcp://", "the host is missing"},
	{"ipfix+tcp://c?retry=0", "retry '0' is not between 1 and 3600 seconds"},
	{"ipfix+tcp://c?retry=3601", "retry '3601' is not between 1 and 3600 seconds"},
	{"ipfix://c?retry=5", "retry has a meaning with ipfix+tcp:// alone"},
	{"ipfix://u:p@c", "a user name has no meaning here"},
	{"ipfix://::1", "an IPv6 address must be in brackets, as in [2001:db8::1]:4739"},
	{"ipfix://[::1", "the ']' after the IPv6 address is missing"},
	{"ipfix://[::1]4739", "'4739' follows the IPv6 address where ':port' might"},
	{"ipfix://[::g]", "'::g' is not an IPv6 address"},
	{"ipfix://[fe80::1]",
	 "'fe80::1' is there on each link: name the interface, as in 'fe80::1%eth0'"},
	{"ipfix://[ff02::1]:4739",
	 "'ff02::1' is there on each link: name the interface, as in 'ff02::1%eth0'"},
	{"ipfix://[2001:db8::1%eth0]",
	 "'2001:db8::1%eth0' has an interface, which only link-local addresses have"},
	{"ipfix://[fe80::1%]", "'' is no name of an interface"},
	{"ipfix://[fe80::1%a/b]", "nothing may follow host and port but ?KEY=VALUE"},
	{"ipfix://[fe80::1%0123456789abcdef]", "'0123456789abcdef' is no name of an interface"},
	{"ipfix://192.0.2.1%eth0", "'192.0.2.1%eth0' is not a host name"},
	{"ipfix://c?source=fe80::1",
	 "source 'fe80::1' is there on each link: name the interface, as in 'fe80::1%eth0'"},
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

static void test_options(void **state)
{
	struct collector_url url;
	const char *reason = "untouched";
	char why[URL_WHY_MAX];

	(void)state;
	assert_int_equal(url_parse("ipfix://c", &url, why), 0);
	assert_string_equal(url.options.template, "");
	assert_string_equal(url.options.source, "");
	assert_int_equal(url.options.rate, 0);
	assert_int_equal(url.options.message_max, 0);
	assert_int_equal(url.options.dscp, -1);
	assert_int_equal(url_parse("ipfix://c:1?template=minimal&rate=500&dscp=0&source=2001:db8::1"
				   "&message-size=600",
				   &url, why),
			 0);
	assert_string_equal(url.options.template, "minimal");
	assert_string_equal(url.options.source, "2001:db8::1");
	assert_int_equal(url.options.rate, 500);
	assert_int_equal(url.options.message_max, 600);
	assert_int_equal(url.options.dscp, 0);
	assert_int_equal(url.port, 1);
	assert_true(exports_url_valid("ipfix://c?template=extended", &reason));
	assert_string_equal(reason, "untouched");
	assert_false(exports_url_valid("ipfix://c?template=octets,octetDeltaCount:4", &reason));
	assert_string_equal(
		reason, "template: 'octets' is no element that is metered, docs/fields.md lists "
			"them; 'octetDeltaCount:4': there is no such length of octetDeltaCount");
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
	assert_true(strlen(why) < 120);
	memcpy(url, "file:///aa", 10);
	url[5000] = 'a';
	assert_int_equal(url_parse(url, &parsed, why), -EINVAL);
	assert_string_equal(why, "the path has more than 4095 octets");
	memcpy(url + 4000, "/", 2);
	assert_int_equal(url_parse(url, &parsed, why), -EINVAL);
	assert_int_equal(strlen(why), URL_WHY_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good), cmocka_unit_test(test_address),
		cmocka_unit_test(test_bad),  cmocka_unit_test(test_options),
		cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
