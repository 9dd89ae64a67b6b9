/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations: every setting by every way, and who counts more. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "config/print.h"
#include "tests/unit/configs.h"

/* The line of `config show --effective` about a key, without its comment. */
static const char *shown(const char *key)
{
	static char line[512];
	char *text = NULL, *at, wanted[64];
	size_t size;
	FILE *file = open_memstream(&text, &size);

	assert_int_equal(config_print(file, &got.config, true), 0);
	assert_int_equal(fclose(file), 0);
	snprintf(wanted, sizeof(wanted), "\n%s: ", key);
	at = strstr(text, wanted + 1) == text ? text - 1 : strstr(text, wanted);
	if (at) {
		snprintf(line, sizeof(line), "%s", at + strlen(wanted));
		line[strcspn(line, "\n")] = '\0';
		if (strstr(line, " #"))
			*strstr(line, " #") = '\0';
		while (*line && line[strlen(line) - 1] == ' ')
			line[strlen(line) - 1] = '\0';
	}
	free(text);
	return at ? line : "";
}

/* --- Good files */

/* What a program writes that has read on and off as truths; where they are no words it is a mistake. */
static void test_truths(void **state)
{
	const struct config *c = &got.config;

	(void)state;
	assert_int_equal(load_text("egress: false\ndrops: true\nsummary: false\n"
				   "watch: false\ndrops-budget: false\nmetrics-listen: false\n"
				   "interfaces: [eth0]\nlive: true\ncontrol: false\n"
				   "collectors: [{url: \"ipfix://192.0.2.20\", drops: false}]\n"),
			 0);
	assert_int_equal(c->egress, HOOK_MODE_OFF);
	assert_int_equal(c->drops, DROPS_ON);
	assert_int_equal(c->summary, SUMMARY_OFF);
	assert_false(c->watch);
	assert_int_equal(c->drops_budget, 0);
	assert_string_equal(c->metrics_listen, "off");
	assert_string_equal(c->control_socket, "off");
	assert_true(c->live);
	assert_int_equal(c->collectors[0].options.drops, URL_DROPS_OFF);
	config_done();
	assert_int_equal(load_text("metrics-listen: true\n"), -EINVAL);
	assert_int_equal(load_text("drops: \"false\"\n"), -EINVAL);
	assert_int_equal(load_text("idle-timeout: false\n"), -EINVAL);
	assert_int_equal(load_text("interfaces: false\n"), -EINVAL);
}

static void test_file(void **state)
{
	const struct config *c = &got.config;

	(void)state;
	assert_int_equal(load_text("# ours\n"
				   "interfaces: [eth0, \"veth*\"]\n"
				   "ingress: tc\n"
				   "collectors:\n"
				   "  - url: ipfix://192.0.2.20\n"
				   "    name: main\n"
				   "    template: extended\n"
				   "    rate: 10k/s\n"
				   "    dscp: 8\n"
				   "    source: 192.0.2.1\n"
				   "    message-size: 1KiB\n"
				   "  - netflow9://192.0.2.21:2055?rate=7\n"
				   "  - {url: \"file:///dev/null\", template: minimal}\n"
				   "idle-timeout: 1500ms\n"
				   "rate: 5000\n"
				   "drops-budget: off\n"
				   "message-size: 9kB\n"
				   "live: yes\n"
				   "template: 'octetDeltaCount,packetDeltaCount'\n"
				   "domain: \"7\"\n"),
			 0);
	assert_string_equal(got.text, "");
	assert_int_equal(c->interface_count, 2);
	assert_string_equal(c->interfaces[1], "veth*");
	assert_int_equal(c->ingress, HOOK_MODE_TC);
	assert_int_equal(c->egress, HOOK_MODE_AUTO);
	assert_int_equal(c->collector_count, 3);
	assert_string_equal(c->collectors[0].url, "ipfix://192.0.2.20");
	assert_string_equal(c->collectors[0].name, "main");
	assert_string_equal(c->collectors[0].options.template, "extended");
	assert_string_equal(c->collectors[0].options.source, "192.0.2.1");
	assert_int_equal(c->collectors[0].options.rate, 10000);
	assert_int_equal(c->collectors[0].options.dscp, 8);
	assert_int_equal(c->collectors[0].options.message_max, 1024);
	assert_int_equal(c->collectors[1].options.rate, 7);
	assert_int_equal(c->collectors[1].options.dscp, -1);
	assert_string_equal(c->collectors[2].options.template, "minimal");
	assert_int_equal(c->idle_ns, 1500 * NSEC_PER_MSEC);
	assert_int_equal(c->drain_ns, NSEC_PER_SEC); /* as for a live table */
	assert_int_equal(c->export.rate, 5000);
	assert_int_equal(c->drops_budget, 0);
	assert_int_equal(c->export.message_max, 9000);
	assert_true(c->live);
	assert_string_equal(c->export.template, "octetDeltaCount,packetDeltaCount");
	assert_int_equal(c->export.domain, 7);
	config_done();
}

/* A collector by its parts is the one that its URL names. */
static void test_parts(void **state)
{
	static const char *const urls[] = {"ipfix://192.0.2.20",
					   "ipfix+tcp://[2001:db8::1]:4740",
					   "netflow9://c.example:2055",
					   "file:///dev/null",
					   "json:-",
					   "ipfix://[fe80::1%lo]"};

	(void)state;
	assert_int_equal(
		load_text(
			"collectors:\n"
			"  - {protocol: ipfix, host: 192.0.2.20, rate: 7}\n"
			"  - port: 4740\n    host: \"2001:db8::1\"\n    protocol: ipfix+tcp\n    retry: 3\n"
			"  - {protocol: netflow9, host: c.example, port: \"2055\", name: n9}\n"
			"  - {protocol: file, path: /dev/null, template: minimal}\n"
			"  - {protocol: json, path: \"-\"}\n"
			"  - {protocol: ipfix, host: \"fe80::1%lo\"}\n"),
		0);
	assert_string_equal(got.text, "");
	assert_int_equal(got.config.collector_count, ARRAY_SIZE(urls));
	for (size_t i = 0; i < ARRAY_SIZE(urls); i++)
		assert_string_equal(got.config.collectors[i].url, urls[i]);
	assert_int_equal(got.config.collectors[0].options.rate, 7);
	assert_int_equal(got.config.collectors[1].options.retry, 3);
	assert_string_equal(got.config.collectors[2].name, "n9");
	assert_string_equal(got.config.collectors[3].options.template, "minimal");
	config_done();
}

static void test_empty(void **state)
{
	static const char *const texts[] = {
		"",
		"\n",
		"# nothing\n",
		"---\n",
		"--- \n...\n",
		"{}\n",
		"~\n",
		"\xef\xbb\xbf# mark\n",
		"\xef\xbb\xbfidle-timeout: 15s\nlinger: 2s\n",
		"\xef\xbb\xbf",
		"# \xef\xbb\xbf\xf0\x9f\x90\xa7\xc2\x85# \xc2\xa0\xe2\x80\xa8",
		"interfaces:\n  # - eth0\ncollectors: []\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (load_text(texts[i]) != 0)
			fail_msg("%s: %s", texts[i], got.text);
		assert_string_equal(got.text,
				    i < ARRAY_SIZE(texts) - 1
					    ? ""
					    : "f:3:13: collectors: an empty list; flows are metered"
					      " and then forgotten\n");
		assert_int_equal(got.config.collector_count, 0);
		assert_int_equal(got.config.idle_ns, 15 * NSEC_PER_SEC);
		config_done();
	}
}

/* What stands in a section is the setting of the longer name. */
static void test_sections(void **state)
{
	static const char *const texts[] = {
		"metrics: {listen: \"[::]:99\", hubble: true}\n",
		"metrics:\n  hubble: true\n  listen: '[::]:99'\n",
		"metrics-listen: \"[::]:99\"\nmetrics: {hubble: true}\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		assert_int_equal(load_text(texts[i]), 0);
		assert_string_equal(got.config.metrics_listen, "[::]:99");
		assert_true(got.config.metrics_hubble);
		config_done();
	}
	assert_int_equal(load_text("metrics: {listen: off}\n"), 0);
	assert_string_equal(got.config.metrics_listen, "off");
	assert_false(got.config.metrics_hubble);
	config_done();
}

/* --- Every setting, by every way */

static const char *as_shown(const struct setting *s)
{
	/* In the greatest unit, and quoted where a reader could take it for something else. */
	return !strcmp(s->name, "drops-budget")	    ? "10k"
	       : !strcmp(s->name, "rate")	    ? "20k"
	       : !strcmp(s->name, "drop-entries")   ? "32768"
	       : !strcmp(s->name, "drops")	    ? "\"on\""
	       : !strcmp(s->name, "watch")	    ? "\"off\""
	       : !strcmp(s->name, "sandbox")	    ? "\"off\""
	       : !strcmp(s->name, "drops-include")  ? "\"policy,NO_SOCKET\""
	       : !strcmp(s->name, "drops-exclude")  ? "\"benign,tcp_state\""
	       : !strcmp(s->name, "metrics-listen") ? "\"[::1]:9718\""
	       : !strcmp(s->name, "source")	    ? "\"192.0.2.1\""
						    : s->sample;
}

static void expect_setting(const struct setting *s, const struct config_request *request,
			   const char *way, const char *value)
{
	const char *text;

	if (load(request) != 0)
		fail_msg("%s by %s: %s", s->name, way, got.text);
	if (setting_is_list(s)) {
		text = s->type == SETTING_INTERFACES ? got.config.interfaces[0]
						     : got.config.collectors[0].url;
		assert_int_equal(s->type == SETTING_INTERFACES ? got.config.interface_count
							       : got.config.collector_count,
				 1);
	} else {
		text = shown(s->name);
	}
	if (strcmp(text, value) != 0)
		fail_msg("%s by %s: '%s' and not '%s'", s->name, way, text, value);
	config_done();
}

static void test_every_setting(void **state)
{
	size_t count = 0;

	(void)state;
	for (size_t i = 0; i < settings_count; i++) {
		const struct setting *s = &settings[i];
		const char *value = setting_is_list(s) ? s->sample : as_shown(s);
		char name[SETTING_ENVIRONMENT_MAX], variable[256], pair[256], text[256];
		char *environment[] = {variable, NULL};
		struct config_request request = {.verb = VERB_RUN, .partial = true};
		struct config_assignment option = {.setting = s, .text = s->sample};

		if (!setting_in_file(s))
			continue;
		count++;
		assert_non_null(s->sample);
		assert_true(!s->standard || strcmp(s->standard, s->sample) != 0);
		snprintf(text, sizeof(text), setting_is_list(s) ? "%s: [\"%s\"]\n" : "%s: \"%s\"\n",
			 setting_key(s), s->sample);
		write_file(text, strlen(text));
		request.file = path;
		expect_setting(s, &request, "file", value);
		request.file = NULL;
		snprintf(variable, sizeof(variable), "%s=%s", setting_environment(s, name),
			 s->sample);
		request.environment = environment;
		expect_setting(s, &request, "environment", value);
		request.environment = NULL;
		option.text = s->type == SETTING_FLAG ? NULL : s->sample;
		request.assignments = &option;
		request.assignment_count = 1;
		expect_setting(s, &request, "option", value);
		snprintf(pair, sizeof(pair), "%s=%s", setting_key(s), s->sample);
		option = (struct config_assignment){.setting = settings + 1, .text = pair};
		assert_int_equal(option.setting->type, SETTING_PAIR);
		expect_setting(s, &request, "--set", value);
	}
	assert_true(count > 25);
}

/* Who comes later counts; a list is taken whole. */
static void test_precedence(void **state)
{
	const struct setting *set = settings + 1;
	char *environment[] = {"FLOWTALLY_IDLE_TIMEOUT=3s", "FLOWTALLY_ACTIVE_TIMEOUT=33s",
			       "FLOWTALLY_LINGER=333ms",    "FLOWTALLY_INTERFACES=b1 b2",
			       "FLOWTALLY_DOMAIN=",	    NULL};
	struct config_assignment a[] = {
		{.setting = set, .text = "active-timeout=44s"},
		{.setting = set, .text = "linger=444ms"},
		{.setting = setting_find("linger"), .text = "555ms"},
		{.setting = setting_find("collectors"), .text = "ipfix://d"},
		{.setting = setting_find("collectors"), .text = "ipfix://e"},
	};
	const struct config_request request = {.verb = VERB_RUN,
					       .file = path,
					       .environment = environment,
					       .assignments = a,
					       .assignment_count = ARRAY_SIZE(a)};
	static const char text[] =
		"drain-interval: 2s\nidle-timeout: 22s\nactive-timeout: 222s\nlinger: 222ms\n"
		"domain: 2\ninterfaces: [a]\ncollectors: [ipfix://a, ipfix://b, ipfix://c]\n";

	(void)state;
	write_file(text, sizeof(text) - 1);
	assert_int_equal(load(&request), 0);
	assert_string_equal(got.text, "");
	assert_string_equal(shown("statistics-interval"), "1m");
	assert_string_equal(shown("drain-interval"), "2s");
	assert_string_equal(shown("idle-timeout"), "3s");
	assert_string_equal(shown("active-timeout"), "44s");
	assert_string_equal(shown("linger"), "555ms");
	assert_string_equal(shown("domain"), "2"); /* an empty variable is none */
	assert_int_equal(got.config.interface_count, 2);
	assert_string_equal(got.config.interfaces[1], "b2");
	assert_int_equal(got.config.collector_count, 2);
	assert_string_equal(got.config.collectors[1].url, "ipfix://e");
	config_done();
}

static void test_environment(void **state)
{
	char *good[] = {"FLOWTALLY_COLLECTORS=[ipfix://a, {url: 'netflow9://b', rate: 10k/s}]",
			"FLOWTALLY_PCAPS=/x", "HOME=/", NULL};
	char *globs[] = {"FLOWTALLY_INTERFACES=[ve]th* [[:digit:]]x*", "FLOWTALLY_SET=a=b", NULL};
	char *bad[] = {"FLOWTALLY_IDLE_TIMOUT=3s", "FLOWTALLY_DSCP=64",
		       "FLOWTALLY_COLLECTORS=[ipfix://a, {url: ipfix://b, rate: x}]", NULL};
	struct config_request request = {.verb = VERB_RUN, .environment = good, .partial = true};

	(void)state;
	assert_int_equal(load(&request), 0);
	assert_string_equal(got.text, "");
	assert_int_equal(got.config.collector_count, 2);
	assert_int_equal(got.config.collectors[1].options.rate, 10000);
	config_done();
	request.environment = globs;
	request.assignments = &(struct config_assignment){
		.setting = settings + 1, .text = "collectors=[{url: 'ipfix://c'}] "};
	request.assignment_count = 1;
	assert_int_equal(load(&request), 0);
	assert_string_equal(got.text, "FLOWTALLY_SET: --set has no variable, ignored; write"
				      " FLOWTALLY_KEY=VALUE\n");
	assert_int_equal(got.config.interface_count, 2);
	assert_string_equal(got.config.interfaces[0], "[ve]th*");
	assert_string_equal(got.config.interfaces[1], "[[:digit:]]x*");
	assert_string_equal(got.config.collectors[0].url, "ipfix://c");
	config_done();
	request.assignment_count = 0;
	request.environment = bad;
	assert_int_equal(load(&request), -EINVAL);
	assert_string_equal(
		got.text,
		"FLOWTALLY_IDLE_TIMOUT: no setting has this name, ignored; did you mean"
		" FLOWTALLY_IDLE_TIMEOUT?\n"
		"FLOWTALLY_DSCP '64': out of range; it can be 0 to 63\n"
		"FLOWTALLY_COLLECTORS rate: rate 'x' is not a number of records a second\n");
}

/* The file can be named by the environment, but an option counts more. */
static void test_file_of_environment(void **state)
{
	char variable[128];
	char *environment[] = {variable, NULL};
	struct config_request request = {
		.verb = VERB_RUN, .environment = environment, .partial = true};
	struct config_request *copy;

	(void)state;
	snprintf(variable, sizeof(variable), "FLOWTALLY_CONFIG=%s", path);
	write_file("domain: 7\n", 10);
	assert_int_equal(load(&request), 0);
	assert_string_equal(got.text, "");
	assert_int_equal(got.config.export.domain, 7);
	assert_string_equal(got.config.path, path);
	config_done();
	copy = config_request_copy(&request);
	assert_string_equal(copy->file, path); /* to be read again */
	config_request_free(copy);
	request.file = "/dev/shm/nosuch";
	assert_int_equal(load(&request), -EINVAL);
	assert_string_equal(got.text, "/dev/shm/nosuch: No such file or directory\n");
	request.file = NULL;
	snprintf(variable, sizeof(variable), "FLOWTALLY_CONFIG=");
	assert_int_equal(load(&request), 0);
	assert_null(got.config.path);
	config_done();
}

/* --- What is printed can be read */

static char *print_all(void)
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	assert_int_equal(config_print(file, &got.config, true), 0);
	assert_int_equal(fclose(file), 0);
	return text;
}

/* Without the comments, which tell where a value comes from. */
static void cut_comments(char *text)
{
	char *to = text;

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		char *comment = strstr(line, "  #");

		if (*line == '#')
			continue;
		to += sprintf(to, "%.*s\n", (int)(comment ? comment - line : (long)strlen(line)),
			      line);
	}
}

static void test_round_trip(void **state)
{
	char *first, *second;

	(void)state;
	assert_int_equal(
		load_text(
			"interfaces: [eth0, \"*\", \"5\", \"off\"]\n"
			"collectors:\n  - {url: \"ipfix://[2001:db8::1]:4739\", name: \"a #'b\\\\\\\"\","
			" rate: 10k/s, dscp: 8, source: \"2001:db8::2\", message-size: 1KiB}\n"
			"  - \"json:///dev/null\"\nsource: 2001:db8::3\ndrops: off\n"
			"mask: tcx,xdp-frags\nquiet: true\n"),
		0);
	first = print_all();
	config_done();
	assert_int_equal(load_text(first), 0);
	second = print_all();
	config_done();
	cut_comments(first);
	cut_comments(second);
	assert_string_equal(first, second);
	assert_non_null(strstr(first, "    name: \"a #'b\\\\\\\"\"\n"));
	free(first);
	free(second);
}

/* The example is the defaults; and what is a comment in it is right as well. */
static void test_example(void **state)
{
	char *text = NULL, *of_example, *of_nothing, *to;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	(void)state;
	config_print_example(file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(load_text(text), 0);
	assert_string_equal(got.text, "");
	of_example = print_all();
	config_done();
	assert_int_equal(load_text(""), 0);
	of_nothing = print_all();
	config_done();
	cut_comments(of_example);
	cut_comments(of_nothing);
	assert_string_equal(of_example, of_nothing);
	to = text;
	for (const char *from = text; *from; from++) /* "#key", not "# text" */
		if (*from != '#' || (from > text && from[-1] != '\n') ||
		    (from[1] == ' ' && from[2] != ' '))
			*to++ = *from;
	*to = '\0';
	assert_int_equal(load_text(text), 0);
	assert_int_equal(got.config.interface_count, 2);
	assert_int_equal(got.config.collector_count, 3);
	assert_string_equal(got.config.collectors[0].name, "main");
	assert_string_equal(got.config.collectors[1].url, "netflow9://192.0.2.21:2055");
	for (size_t i = 0; i < settings_count; i++)
		if (setting_in_file(&settings[i]))
			assert_int_equal(got.config.origins[i].layer, CONFIG_FILE);
	config_done();
	free(text);
	free(of_example);
	free(of_nothing);
}

static void test_difference(void **state)
{
	struct config before;
	char *text = NULL;
	size_t size, count;
	FILE *file = open_memstream(&text, &size);

	(void)state;
	assert_int_equal(load_text("collectors:\n  - ipfix://a\n  - {url: \"ipfix://b\", rate: 5}\n"
				   "domain: 5\nlive: true\n"),
			 0);
	before = got.config;
	assert_int_equal(load_text("collectors:\n  - {url: \"ipfix://b\", rate: 6}\n  - ipfix://a\n"
				   "domain: 6\nlive: true\nsource: 192.0.2.1\n"),
			 0);
	assert_int_equal(config_print_difference(file, &before, &got.config, &count), 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(count, 3);
	assert_string_equal(text, "collector: ipfix://b, rate: \"6\", was ipfix://b, rate: \"5\"\n"
				  "domain: 6, was 5 (takes a restart)\n"
				  "source: 192.0.2.1, was not set\n");
	free(text);
	config_clear(&before);
	config_done();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_truths),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_sections),
		cmocka_unit_test(test_every_setting),
		cmocka_unit_test(test_precedence),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_file_of_environment),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_example),
		cmocka_unit_test(test_difference),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
