/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: values, defaults, and every error named in one go. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include "exporter/cli/options.h"
#include "exporter/cli/summary.h"
#include "exporter/log.h"
#include "exporter/meter/datapath.h"
#include "exporter/value.h"

#define SEC	  NSEC_PER_SEC
#define WORDS_MAX 48

static struct {
	char text[8192]; /* what the last call wrote on stderr or stdout */
	unsigned int lines;
	struct config options;
} got;

/* Sends a standard stream to a file of its own; returns the descriptor to put back. */
static int capture_begin(FILE *stream)
{
	int saved = dup(fileno(stream)), file = memfd_create("captured", 0);

	fflush(stream);
	assert_true(saved >= 0 && file >= 0);
	assert_true(dup2(file, fileno(stream)) >= 0);
	close(file);
	return saved;
}

static void capture_end(FILE *stream, int saved)
{
	ssize_t length;

	fflush(stream);
	length = pread(fileno(stream), got.text, sizeof(got.text) - 1, 0);
	assert_true(length >= 0);
	assert_true(dup2(saved, fileno(stream)) >= 0);
	close(saved);
	got.text[length] = '\0';
	got.lines = 0;
	for (const char *c = got.text; *c; c++)
		got.lines += *c == '\n';
}

static enum config_verb verb_of(const char *name)
{
	return !strcmp(name, "run") ? VERB_RUN : !strcmp(name, "drops") ? VERB_DROPS : VERB_REPLAY;
}

/* Parses "run --interface eth0" and the like, divided at spaces. */
static int parse(const char *line)
{
	static char words[2048];
	char *argv[WORDS_MAX + 1] = {0}, *rest = words;
	FILE *stream = strstr(line, "--help") ? stdout : stderr;
	int argc = 0, saved, r;

	assert_true(strlen(line) < sizeof(words));
	memcpy(words, line, strlen(line) + 1);
	while ((argv[argc] = strsep(&rest, " ")) && argc < WORDS_MAX)
		argc++;
	saved = capture_begin(stream);
	r = options_parse(&got.options, verb_of(argv[0]), argc, argv);
	capture_end(stream, saved);
	return r;
}

static void expect_good(const char *line)
{
	int r = parse(line);

	if (r != 0 || got.lines != 0)
		fail_msg("%s: %d, %s", line, r, got.text);
}

/* One line on stderr, with each of two texts in it. */
static void expect_error(const char *line, const char *a, const char *b)
{
	int r = parse(line);

	if (r != -EINVAL || got.lines != 1 || !strstr(got.text, a) || !strstr(got.text, b))
		fail_msg("%s: %d, not (%s, %s): %s", line, r, a, b, got.text);
}

/* A message is one line, whole, whatever it quotes. */
static void test_log(void **state)
{
	char longest[5000];
	int saved;

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	saved = capture_begin(stderr);
	log_notice("%s end", longest);
	capture_end(stderr, saved);
	assert_int_equal(got.lines, 1);
	assert_int_equal(strspn(got.text + strlen("flowtally: "), "x"), sizeof(longest) - 1);
	assert_non_null(strstr(got.text, "x end\n"));
	saved = capture_begin(stderr);
	log_errno(LOG_ERR, ENOENT, "a\nb\x1b\x7f");
	capture_end(stderr, saved);
	assert_string_equal(got.text, "flowtally: a\\x0ab\\x1b\\x7f: No such file or directory\n");
	expect_error("run --interface e --collector ipfix://a\nb", "'ipfix://a\\x0ab'", "control");
}

/* The verdict is first, whatever follows. */
static void test_verdict(void **state)
{
	static const char verdict[] =
		"flowtally: ledger: THE LEDGER DOES NOT BALANCE; lost 0 packets\n"
		"flowtally: ledger: seen 7 packets = accounted 0 + ignored 0 + refused 0\n";
	struct ledger ledger = {.sides[RECORD_FLOW].seen[0] = 7};
	int saved;

	(void)state;
	saved = capture_begin(stderr);
	summary_print(&ledger, SUMMARY_TEXT);
	capture_end(stderr, saved);
	assert_int_equal(strncmp(got.text, verdict, sizeof(verdict) - 1), 0);
	ledger.sides[RECORD_FLOW].seen[0] = 0;
	saved = capture_begin(stderr);
	summary_print(&ledger, SUMMARY_TEXT);
	capture_end(stderr, saved);
	assert_int_equal(strncmp(got.text, "flowtally: ledger: balances, lost 0 packets\n", 44), 0);
	assert_non_null(strstr(got.text, "\nflowtally: ledger: seen 0 packets"));
	assert_null(strstr(got.text, "BALANCE"));
}

static void test_defaults(void **state)
{
	const struct config *o = &got.options;

	(void)state;
	expect_good("run --interface eth0");
	assert_int_equal(o->interface_count, 1);
	assert_string_equal(o->interfaces[0], "eth0");
	assert_int_equal(o->ingress, HOOK_MODE_AUTO);
	assert_int_equal(o->egress, HOOK_MODE_AUTO);
	assert_int_equal(o->collector_count, 0);
	assert_int_equal(o->idle_ns, 15 * SEC);
	assert_int_equal(o->active_ns, 60 * SEC);
	assert_int_equal(o->linger_ns, 2 * SEC);
	assert_int_equal(o->drain_ns, 5 * SEC);
	assert_int_equal(o->bank_entries, MAX(131072, datapath_entries_min()));
	assert_int_equal(o->cache_entries, 262144);
	assert_int_equal(o->export.domain, config_default_domain());
	assert_int_not_equal(o->export.domain, 0);
	assert_int_equal(o->export.message_max, 1400);
	assert_int_equal(o->export.template_interval_ns, 60 * SEC);
	assert_int_equal(o->summary, SUMMARY_TEXT);
	assert_null(o->mask);
	assert_null(o->capture);
	assert_false(o->live || o->verbose || o->quiet);
	config_clear(&got.options);
}

static void test_values(void **state)
{
	const struct config *o = &got.options;

	(void)state;
	expect_good(
		"run --interface=eth0 --interface wl* --ingress xdp --egress=off"
		" --collector ipfix://192.0.2.1:4739 --collector json:///x --idle-timeout 500ms"
		" --active-timeout=2m --linger 100ms --bank-entries 16777216"
		" --cache-entries=64 --domain 4294967295 --message-size 512"
		" --stop-timeout 90s --drops-budget 1000000"
		" --template-interval 24h --summary json --live --mask tcx,xdp-frags --verbose");
	assert_int_equal(o->interface_count, 2);
	assert_string_equal(o->interfaces[1], "wl*");
	assert_int_equal(o->ingress, HOOK_MODE_XDP);
	assert_int_equal(o->egress, HOOK_MODE_OFF);
	assert_int_equal(o->collector_count, 2);
	assert_string_equal(o->collectors[0].url, "ipfix://192.0.2.1:4739");
	assert_string_equal(o->collectors[1].url, "json:///x");
	assert_int_equal(o->idle_ns, SEC / 2);
	assert_int_equal(o->active_ns, 120 * SEC);
	assert_int_equal(o->linger_ns, SEC / 10);
	assert_int_equal(o->drain_ns, SEC / 2); /* no longer than the idle timeout */
	assert_int_equal(o->bank_entries, 16777216);
	assert_int_equal(o->cache_entries, 64);
	assert_int_equal(o->export.domain, UINT32_MAX);
	assert_int_equal(o->export.message_max, 512);
	assert_int_equal(o->export.template_interval_ns, 86400 * SEC);
	assert_int_equal(o->stop_timeout_ns, 90 * SEC);
	assert_int_equal(o->drops_budget, 1000000);
	assert_int_equal(o->summary, SUMMARY_JSON);
	assert_string_equal(o->mask, "tcx,xdp-frags");
	assert_true(o->live && o->verbose && !o->quiet);
	config_clear(&got.options);

	expect_error("run --interface a --interface b --domain 1 --domain 2", "--domain '2'",
		     "given twice");
	expect_good("run --interface a --live --live");
	config_clear(&got.options);
	expect_good("run --interface a --live");
	assert_int_equal(o->drain_ns, SEC);
	config_clear(&got.options);
	expect_good("run --interface a --live --drain-interval 7s");
	assert_int_equal(o->drain_ns, 7 * SEC);
	config_clear(&got.options);
}

static void test_replay(void **state)
{
	(void)state;
	expect_good("replay --collector json:- - --active-timeout 1h --quiet");
	assert_string_equal(got.options.capture, "-");
	assert_int_equal(got.options.active_ns, 3600 * SEC);
	assert_true(got.options.quiet);
	config_clear(&got.options);
	expect_good("replay --collector json:- -- --odd.pcap");
	assert_string_equal(got.options.capture, "--odd.pcap");
	config_clear(&got.options);
	expect_error("replay a.pcap", "collector", "--collector URL");
	expect_error("replay --collector json:-", "no capture", "pcapng");
	expect_error("replay a.pcap b.pcap --collector json:-", "'b.pcap'", "unexpected argument");
	expect_error("replay a.pcap --collector json:- --interface eth0", "--interface",
		     "not an option of `flowtally replay`");
	log_set_level(LOG_INFO);
}

static void test_drops(void **state)
{
	const struct config *o = &got.options;

	(void)state;
	expect_good("drops");
	assert_int_equal(o->by, DROPS_BY_FLOW);
	assert_int_equal(o->interval_ns, SEC);
	assert_int_equal(o->for_ns, 0);
	assert_int_equal(o->address.family, 0);
	assert_int_equal(o->port, 0);
	assert_int_equal(o->drop_entries, MAX(16384, datapath_entries_min()));
	assert_int_equal(o->summary, SUMMARY_TEXT);
	assert_int_equal(o->drops_budget, 50000);
	assert_int_equal(o->stop_timeout_ns, 30 * SEC);
	assert_false(o->json || o->drops_everywhere || o->drops_include || o->drops_exclude);
	config_clear(&got.options);
	expect_good(
		"drops --by=interface --for 90s --interval 500ms --port 65535 --address 2001:db8::/32"
		" --json --namespaces all --reason policy,NO_SOCKET --exclude benign --quiet");
	assert_int_equal(o->by, DROPS_BY_INTERFACE);
	assert_int_equal(o->for_ns, 90 * SEC);
	assert_int_equal(o->interval_ns, SEC / 2);
	assert_int_equal(o->port, 65535);
	assert_int_equal(o->address.length, 32);
	assert_true(o->json && o->drops_everywhere);
	assert_string_equal(o->drops_include, "policy,NO_SOCKET");
	assert_string_equal(o->drops_exclude, "benign");
	config_clear(&got.options);
	expect_error("drops --reason policy,NO_SUCH", "--reason 'NO_SUCH'", "flowtally-drops(8)");
	expect_error("run --interface e --drops-exclude benign,,memory", "--drops-exclude ''",
		     "flowtally-drops(8)");
	expect_good("drops --drops-budget off --stop-timeout 100ms");
	assert_int_equal(o->drops_budget, 0);
	assert_int_equal(o->stop_timeout_ns, SEC / 10);
	config_clear(&got.options);
	expect_good("run --interface e --drops-budget 0");
	assert_int_equal(o->drops_budget, 0);
	config_clear(&got.options);
	expect_error("drops --drops-budget some", "--drops-budget 'some'", "or off");
	expect_error("run --interface e --drops-budget 10000001", "10000001",
		     "1 to 10000000, or off");
	expect_error("run --interface e --stop-timeout 0s", "--stop-timeout '0s'", "100ms");
	expect_error("drops --by port", "'port'", "flow, reason, interface or service");
	expect_error("drops --port 65536", "'65536'", "1 to 65535");
	expect_error("drops --address 10.0.0.0/33", "--address '10.0.0.0/33'", "192.0.2.0/24");
	expect_error("drops --interface eth0", "--interface", "not an option of `flowtally drops`");
	expect_error("run --interface e --by flow", "--by", "not an option of `flowtally run`");
	expect_error("drops eth0", "'eth0'", "unexpected argument");
	log_set_level(LOG_INFO);
}

static void test_bad_values(void **state)
{
	(void)state;
	expect_error("run --interface e --idle-timeout 15x", "--idle-timeout '15x'", "15s");
	expect_error("run --interface e --idle-timeout 15", "--idle-timeout '15'", "unit");
	expect_error("run --interface e --idle-timeout -5s", "'-5s'", "not a time");
	expect_error("run --interface e --idle-timeout=", "''", "not a time");
	expect_error("run --interface e --linger 99ms", "out of range", "100ms to 24h");
	expect_error("run --interface e --active-timeout 25h", "'25h'", "100ms to 24h");
	expect_error("run --interface e --active-timeout 99999999999999999999h", "out of range",
		     "100ms to 24h");
	expect_error("run --interface e --cache-entries 63", "'63'", "64 to 16777216");
	expect_error("run --interface e --cache-entries 1e6", "'1e6'", "not a number");
	expect_error("run --interface e --bank-entries 4095", "'4095'", "to 16777216");
	expect_error("run --interface e --domain 0", "--domain '0'", "1 to 4294967295");
	expect_error("run --interface e --domain 4294967296", "out of range", "1 to 4294967295");
	expect_error("run --interface e --message-size 9001", "'9001'", "512 to 9000");
	expect_error("run --interface e --message-size 66000", "'66000'", "512 to 9000");
	expect_error("run --interface e --ingress fast", "'fast'", "auto, xdp, tc or off");
	expect_error("run --interface e --egress xdp", "'xdp'", "auto, tc or off");
	expect_error("run --interface e --summary xml", "'xml'", "text, json or off");
	expect_error("run --interface e --mask tcx,foo", "'foo'",
		     "tcx, xdp-frags, batch, ringbuf, xdp-link, coarse-clock or fetch");
	expect_error("run --interface a/b", "'a/b'", "ip link");
	expect_error("run --interface abcdefghijklmnop", "'abcdefghijklmnop'", "15 letters");
	expect_error("run --interface e --collector gopher://x", "--collector 'gopher://x'", ": ");
	expect_good("run --interface abcdefghijklmnop*");
	config_clear(&got.options);
}

/* The nearest of what there is, wherever a word is none. */
static void test_hints(void **state)
{
	(void)state;
	expect_error("run --interface e --ingress xpd", "--ingress 'xpd'", "did you mean xdp?");
	expect_error("run --interface e --drops no", "auto, on or off", "did you mean on?");
	expect_error("run --interface e --mask txc", "'txc'", "did you mean tcx?");
	expect_error("run --interface e --template defualt", "'defualt'", "did you mean default?");
	expect_error("run --interface e --template octetDeltaCuont", "metered",
		     "did you mean octetDeltaCount?");
	expect_error("run --interface e --drops-include bening", "'bening'",
		     "did you mean benign?");
	expect_error("drops --reason NO_SOKET", "'NO_SOKET'", "did you mean NO_SOCKET?");
	expect_error("run --interface e --collector 10.9.0.2:2055", "--collector '10.9.0.2:2055'",
		     "did you mean netflow9://10.9.0.2:2055?");
	expect_error("run --interface e --set idle-timout=3s", "--set 'idle-timout=3s'",
		     "did you mean idle-timeout?");
}

static void test_usage(void **state)
{
	(void)state;
	expect_error("run --interfacee eth0 --interface e", "--interfacee",
		     "did you mean --interface?");
	expect_error("run --interface e --idle-timeoutt=3s", "--idle-timeoutt=3s",
		     "did you mean --idle-timeout?");
	expect_error("run --interface e --frobnicate", "--frobnicate", "run --help");
	expect_error("run --interface e -z", "-z", "no such option");
	expect_error("run --interface e --file", "--file", "no such option");
	expect_error("run --interface e --live=yes", "--live", "takes no value");
	expect_error("run --interface e --domain", "--domain", "lacks its value");
	expect_error("run --interface", "--interface NAME|GLOB", "lacks its value");
	expect_error("run eth0 --interface e", "'eth0'", "unexpected argument");
	expect_error("run", "no interface", "--interface NAME");
	expect_error("run --interface e --ingress off --egress off", "off", "nothing to meter");
	expect_error("run --interface e --live --collector json:-", "json:-", "standard output");
	expect_error("run --interface e --quiet --verbose", "--quiet", "choose one");
}

static void test_files(void **state)
{
	char line[2048] = "run --interface e";
	size_t length = strlen(line);

	(void)state;
	for (int i = 0; i < 33; i++)
		length += (size_t)snprintf(line + length, sizeof(line) - length,
					   " --collector=ipfix://a");
	expect_error(line, "given 33 times", "can be 32");
	*strrchr(line, ' ') = '\0';
	expect_good(line);
	assert_int_equal(got.options.collector_count, 32);
	config_clear(&got.options);
	expect_error("run --interface e --collector json:///dev/shm/../nosuch --collector"
		     " ipfix://a --collector file:///dev/nosuch",
		     "--collector 'file:///dev/nosuch'", "'json:///dev/shm/../nosuch'");
	expect_error("replay /proc/self/exe --collector json:///proc/self/exe",
		     "'json:///proc/self/exe'", "overwrite the capture '/proc/self/exe'");
	expect_error(
		"replay a --collector json:///proc/self/exe --collector file:///proc/1/../self/exe",
		"'file:///proc/1/../self/exe'", "same file");
	expect_error("replay a --collector json:- --collector json:-", "json:-", "same file");
	expect_good("replay /dev/null --collector file:///dev/null --collector json:///dev/null"
		    " --collector json:///dev/nosuch --collector json:///dev/shm/nosuch");
	config_clear(&got.options);
}

static void test_all_errors(void **state)
{
	static const char *const named[] = {
		"--ingess:",  "--idle-timeout '15x'", "--message-size '1'",
		"gopher://x", "--egress 'xdp'",	      "'stray'",
		"--domain"};

	(void)state;
	assert_int_equal(parse("run --ingess tc --idle-timeout 15x --message-size 1 --collector"
			       " gopher://x --egress xdp stray --domain"),
			 -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(named); i++)
		assert_non_null(strstr(got.text, named[i]));
	assert_non_null(strstr(got.text, "no interface"));
}

static void test_help(void **state)
{
	(void)state;
	assert_int_equal(parse("run --help --nonsense"), 1);
	assert_non_null(strstr(got.text, "--idle-timeout TIME"));
	assert_non_null(strstr(got.text, "(15s)"));
	assert_non_null(strstr(got.text, "--interface NAME|GLOB"));
	assert_int_equal(parse("replay --help"), 1);
	assert_non_null(strstr(got.text, "replay FILE"));
	assert_null(strstr(got.text, "--interface"));
	assert_int_equal(parse("drops --help"), 1);
	assert_non_null(strstr(got.text, "usage: flowtally drops "));
	assert_non_null(strstr(got.text, "--by WHAT"));
	assert_null(strstr(got.text, "--collector"));
}

static void expect_prefix(const char *text, const char *address, unsigned int length)
{
	struct value_prefix prefix, expected = {0};
	int family = strchr(address, ':') ? AF_INET6 : AF_INET;

	assert_int_equal(inet_pton(family, address, expected.address), 1);
	assert_int_equal(value_prefix(text, &prefix), 0);
	assert_int_equal(prefix.family, family);
	assert_int_equal(prefix.length, length);
	assert_memory_equal(prefix.address, expected.address, sizeof(expected.address));
}

static void test_prefix(void **state)
{
	static const char *const wrong[] = {
		"",
		"/8",
		"10.0.0/8",
		"10.0.0.0/",
		"10.0.0.0/33",
		"10.0.0.0/8/8",
		"10.0.0.1 ",
		"::/129",
		"2001:db8::/-1",
		"example.org",
		":",
		"10.0.0.0/x",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa",
	};
	struct value_prefix prefix;
	uint8_t address[16] = {192, 0, 2, 129};

	(void)state;
	expect_prefix("192.0.2.1", "192.0.2.1", 32);
	expect_prefix("192.0.2.0/24", "192.0.2.0", 24);
	expect_prefix("0.0.0.0/0", "0.0.0.0", 0);
	expect_prefix("2001:db8::1", "2001:db8::1", 128);
	expect_prefix("2001:db8::/32", "2001:db8::", 32);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(value_prefix(wrong[i], &prefix), -EINVAL);
	for (unsigned int length = 0; length <= 32; length++) {
		struct value_prefix other = {.address = {192, 0, 2, 128 + 8},
					     .length = (uint8_t)length,
					     .family = AF_INET};

		assert_int_equal(value_prefix_has(&other, address), length <= 28);
	}
}

static void test_units(void **state)
{
	char text[VALUE_TEXT_MAX];
	uint64_t value;

	(void)state;
	assert_int_equal(value_size("64MiB", &value), 0);
	assert_int_equal(value, 64 << 20);
	assert_int_equal(value_size("9kB", &value), 0);
	assert_int_equal(value, 9000);
	assert_int_equal(value_size("7B", &value), 0);
	assert_int_equal(value, 7);
	assert_int_equal(value_size("99999999999999999999GiB", &value), 0);
	assert_int_equal(value, UINT64_MAX);
	assert_int_equal(value_size("7 B", &value), -EINVAL);
	assert_int_equal(value_size("7k", &value), -EINVAL);
	assert_int_equal(value_rate("10k/s", &value), 0);
	assert_int_equal(value, 10000);
	assert_int_equal(value_rate("3M", &value), 0);
	assert_int_equal(value, 3000000);
	assert_int_equal(value_rate("7/s", &value), 0);
	assert_int_equal(value, 7);
	assert_int_equal(value_rate("7/m", &value), -EINVAL);
	value_print_size(text, 64 << 20);
	assert_string_equal(text, "64MiB");
	value_print_size(text, 1400);
	assert_string_equal(text, "1400");
	value_print_rate(text, 50000);
	assert_string_equal(text, "50k");
}

static void test_value(void **state)
{
	char text[VALUE_TEXT_MAX];
	uint64_t value = 7;

	(void)state;
	assert_int_equal(value_number("18446744073709551615", &value), 0);
	assert_int_equal(value, UINT64_MAX);
	assert_int_equal(value_number("18446744073709551617", &value), 0);
	assert_int_equal(value, UINT64_MAX);
	value = 7;
	assert_int_equal(value_number("", &value), -EINVAL);
	assert_int_equal(value_number(" 1", &value), -EINVAL);
	assert_int_equal(value_number("+1", &value), -EINVAL);
	assert_int_equal(value_number("1 ", &value), -EINVAL);
	assert_int_equal(value_duration("1", &value), -EINVAL);
	assert_int_equal(value_duration("s", &value), -EINVAL);
	assert_int_equal(value_duration("1 s", &value), -EINVAL);
	assert_int_equal(value_duration("1us", &value), -EINVAL);
	assert_int_equal(value, 7);
	assert_int_equal(value_duration("3h", &value), 0);
	assert_int_equal(value, 3 * 3600 * SEC);
	value_print_duration(text, 1500 * NSEC_PER_MSEC);
	assert_string_equal(text, "1500ms");
	value_print_duration(text, 86400 * SEC);
	assert_string_equal(text, "24h");
	value_print_duration(text, 90 * SEC);
	assert_string_equal(text, "90s");
	assert_int_equal(value_distance("idle", "idle"), 0);
	assert_int_equal(value_distance("ilde", "idle"), 1); /* swapped */
	assert_int_equal(value_distance("NO_SOCKT", "no_socket"), 1);
	assert_int_equal(value_distance("ca", "abc"), 3);
	assert_int_equal(value_distance("", "abc"), 3);
	assert_int_equal(value_distance("abc", ""), 3);
	assert_int_equal(value_distance("kitten", "sitting"), 3);
	assert_true(
		value_distance("a-name-of-an-option-that-is-longer-than-any-of-the-names-there-are",
			       "a") > 1000);
}

/* What the caller's environment says is not asked of anybody here. */
static int forget_environment(void **state)
{
	static const char prefix[] = "FLOWTALLY_";
	char name[256];

	(void)state;
	for (char **e = environ; *e;) {
		size_t length = strcspn(*e, "=");

		if (strncmp(*e, prefix, strlen(prefix)) != 0) {
			e++;
			continue;
		}
		assert_true(length < sizeof(name));
		memcpy(name, *e, length);
		name[length] = 0;
		assert_int_equal(unsetenv(name), 0);
		e = environ;
	}
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults), cmocka_unit_test(test_values),
		cmocka_unit_test(test_replay),	 cmocka_unit_test(test_bad_values),
		cmocka_unit_test(test_usage),	 cmocka_unit_test(test_all_errors),
		cmocka_unit_test(test_help),	 cmocka_unit_test(test_value),
		cmocka_unit_test(test_verdict),	 cmocka_unit_test(test_log),
		cmocka_unit_test(test_files),	 cmocka_unit_test(test_drops),
		cmocka_unit_test(test_prefix),	 cmocka_unit_test(test_hints),
		cmocka_unit_test(test_units),
	};

	return cmocka_run_group_tests(tests, forget_environment, NULL);
}
