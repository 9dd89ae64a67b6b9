/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include "exporter/observe/record_flags.h"
#include "exporter/observe/record_hubble.h"
#include "exporter/observe/text.h"
#include "exporter/value.h"

#define FLAGS_MAX 256 /* on one command line */

const struct record_flag record_flags[] = {
	{"ip", 0, "ADDRESS", "source or destination; an address or a prefix", "host ADDRESS"},
	{"from-ip", 0, "ADDRESS", "source; an address or a prefix", "src host ADDRESS"},
	{"to-ip", 0, "ADDRESS", "destination; an address or a prefix", "dst host ADDRESS"},
	{"port", 0, "PORT", "source or destination port; a number, a name or LOW-HIGH",
	 "port PORT"},
	{"from-port", 0, "PORT", "source port", "src port PORT"},
	{"to-port", 0, "PORT", "destination port", "dst port PORT"},
	{"protocol", 0, "NAME", "tcp, udp, icmp, icmpv4, icmpv6, sctp ... or a number",
	 "proto NAME", "tcp udp icmp icmpv4 icmpv6 sctp"},
	{"tcp-flags", 0, "FLAGS", "all of these were seen, such as SYN,ACK; or SYN/SYN,ACK",
	 "flags FLAGS"},
	{"traffic-direction", 0, "WORD", "ingress or egress", "WORD", "ingress egress"},
	{"interface", 0, "NAME", "name, with * and ?, or number of the interface", "on NAME"},
	{"verdict", 0, "WORD", "FORWARDED or DROPPED", "drop", "FORWARDED DROPPED"},
	{"type", 't', "WORD", "drop, or trace for what was forwarded", "drop", "drop trace"},
	{"drop-reason-desc", 0, "NAME", "the kernel's reason, or Hubble's name of several",
	 "drop reason NAME"},
	{"drop-class", 0, "NAME", "policy, congestion, no_receiver, routing ...",
	 "drop class NAME"},
	{"ipv4", '4', NULL, "IPv4 alone", "ip"},
	{"ipv6", '6', NULL, "IPv6 alone", "ip6"},
	{"ip-version", 0, "VERSION", "v4 or v6", "ip", "v4 v6"},
	{"octets", 0, "[OP]N", "so many octets at least, or as OP says: '<10k'", "octets >= N"},
	{"packets", 0, "[OP]N", "so many packets at least, or as OP says", "packets >= N"},
	{"duration", 0, "[OP]TIME", "so long at least, or as OP says: '<5s'", "duration >= TIME"},
	{"not", 0, NULL, "negates the next of these flags", NULL},
};
const size_t record_flag_count = ARRAY_SIZE(record_flags);

struct choice {
	const struct record_flag *flag;
	bool negated;
	char *text; /* the expression of this one */
};

struct record_choice {
	unsigned int count;
	bool negated; /* of the next */
	struct choice choices[FLAGS_MAX];
};

int record_choice_new(struct record_choice **ret)
{
	struct record_choice *choice = calloc(1, sizeof(*choice));

	if (!choice)
		return -ENOMEM;
	*ret = choice;
	return 0;
}

struct record_choice *record_choice_free(struct record_choice *choice)
{
	if (!choice)
		return NULL;
	for (unsigned int i = 0; i < choice->count; i++)
		free(choice->choices[i].text);
	free(choice);
	return NULL;
}

/* --- What each becomes.  A value is one word of the expression, so it cannot become more than one id. */

static bool is_flag(const struct record_flag *flag, const char *name)
{
	return !strcmp(flag->name, name);
}

static bool is_one_word(const char *value)
{
	return *value && !strpbrk(value, " \t\r\n()[]!&|=<>+\"");
}

/* The value stands in front, as where an expression refuses it. */
static int fail(char error[FILTER_ERROR_MAX], const char *value, const char *allowed)
{
	snprintf(error, FILTER_ERROR_MAX, "'%.64s': %s", value, allowed);
	return -EINVAL;
}

static const char *protocol_text(const char *value)
{
	static const char *const names[][2] = {
		{"icmp", "(icmp or icmp6)"},
		{"icmpv4", "icmp"},
		{"icmpv6", "icmp6"},
		{"tcp", "tcp"},
		{"udp", "udp"},
		{"sctp", "sctp"},
		{"igmp", "igmp"},
		{"vrrp", "vrrp"},
		{"esp", "esp"},
		{"ah", "ah"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcasecmp(names[i][0], value))
			return names[i][1];
	return NULL;
}

static int print_protocol(FILE *out, const char *value, char error[FILTER_ERROR_MAX])
{
	static const char *const above[] = {"dns", "http", "kafka"};
	const char *text = protocol_text(value);

	for (size_t i = 0; i < ARRAY_SIZE(above); i++)
		if (!strcasecmp(above[i], value))
			return fail(error, value,
				    "records do not hold what is above TCP and UDP; choose by "
				    "port, as with --port 53");
	if (text)
		fputs(text, out);
	else
		fprintf(out, "proto %s", value);
	return 0;
}

/* One of two words. */
static int print_word(FILE *out, const struct record_flag *flag, const char *value,
		      char error[FILTER_ERROR_MAX])
{
	static const struct {
		const char *flag, *value, *text;
	} words[] = {
		{"traffic-direction", "ingress", "inbound"},
		{"traffic-direction", "egress", "outbound"},
		{"verdict", "forwarded", "not drop"},
		{"verdict", "dropped", "drop"},
		{"type", "drop", "drop"},
		{"type", "trace", "not drop"},
		{"ip-version", "v4", "ip"},
		{"ip-version", "4", "ip"},
		{"ip-version", "v6", "ip6"},
		{"ip-version", "6", "ip6"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (is_flag(flag, words[i].flag) && !strcasecmp(words[i].value, value)) {
			fputs(words[i].text, out);
			return 0;
		}
	}
	if (is_flag(flag, "verdict"))
		return fail(error, value,
			    "FORWARDED or DROPPED is allowed; records hold no other verdict");
	if (is_flag(flag, "type"))
		return fail(error, value, "drop or trace is allowed; flows have no other events");
	return fail(error, value,
		    is_flag(flag, "ip-version") ? "v4 or v6 is allowed"
						: "ingress or egress is allowed");
}

/* "10", ">=10", "<5s". */
static int print_number(FILE *out, const struct record_flag *flag, const char *value,
			char error[FILTER_ERROR_MAX])
{
	size_t sign = strspn(value, "<>=!");

	if (!is_one_word(value + sign + strspn(value + sign, " ")))
		return fail(error, value,
			    "one of = != < <= > >=, or none for >=, and a number are allowed");
	fprintf(out, "%s %.*s %s", flag->name, sign ? (int)sign : 2,
		sign ? value : ">=", value + sign + strspn(value + sign, " "));
	return 0;
}

/* Hubble's names stand for several of the kernel's. */
static int print_drop_reason(FILE *out, const char *value)
{
	unsigned int found = 0;
	const char *name;

	for (unsigned int i = 0; (name = hubble_drop_reason_kernel(value, i)); i++)
		fprintf(out, "%s %s", found++ ? " or" : "drop reason", name);
	if (!found)
		fprintf(out, "drop reason %s", value);
	return 0;
}

static int print_flag(FILE *out, const struct record_flag *flag, const char *value,
		      char error[FILTER_ERROR_MAX])
{
	static const char *const words[][2] = {
		{"ip", "host"},		{"from-ip", "src host"},      {"to-ip", "dst host"},
		{"port", "port"},	{"from-port", "src port"},    {"to-port", "dst port"},
		{"tcp-flags", "flags"}, {"drop-class", "drop class"}, {"ipv4", "ip"},
		{"ipv6", "ip6"},
	};

	if (is_flag(flag, "octets") || is_flag(flag, "packets") || is_flag(flag, "duration"))
		return print_number(out, flag, value, error);
	if (is_flag(flag, "interface") && !strchr(value, '"')) {
		fprintf(out, "on \"%s\"", value);
		return 0;
	}
	if (flag->argument && !is_one_word(value))
		return fail(error, value, "one value is allowed; give the flag once for each");
	if (is_flag(flag, "protocol"))
		return print_protocol(out, value, error);
	if (is_flag(flag, "drop-reason-desc"))
		return print_drop_reason(out, value);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (is_flag(flag, words[i][0])) {
			fprintf(out, "%s%s %s", words[i][1],
				strstr(words[i][1], "port") && strchr(value, '-') ? "range" : "",
				flag->argument ? value : "");
			return 0;
		}
	}
	return print_word(out, flag, value, error);
}

/* Both at once: the text, and whether it is one. */
static int make_text(char **ret, const struct record_flag *flag, const char *value,
		     char error[FILTER_ERROR_MAX])
{
	_cleanup_(record_filter_freep) struct record_filter *filter = NULL;
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int r;

	if (!out)
		return -ENOMEM;
	r = print_flag(out, flag, value, error);
	if (fclose(out) != 0)
		return -ENOMEM;
	if (r == 0)
		r = record_filter_new(&filter, text, error);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(text);
	return 0;
}

/* Of a value alone a column says nothing. */
static void drop_column(char error[FILTER_ERROR_MAX])
{
	char *colon = strncmp(error, "column ", 7) ? NULL : strstr(error, ": ");

	if (colon)
		memmove(error, colon + 2, strlen(colon + 2) + 1);
}

int record_choice_add(struct record_choice *choice, const struct record_flag *flag,
		      const char *value, char error[FILTER_ERROR_MAX])
{
	char *text = NULL;
	int r;

	error[0] = '\0';
	if (!flag->expression) {
		choice->negated = !choice->negated;
		return 0;
	}
	if (choice->count == FLAGS_MAX) {
		snprintf(error, FILTER_ERROR_MAX, "more than %d flags", FLAGS_MAX);
		return -E2BIG;
	}
	r = make_text(&text, flag, value ? value : "", error);
	if (r < 0) {
		drop_column(error);
		text_make_printable(error);
		return r;
	}
	choice->choices[choice->count++] =
		(struct choice){.flag = flag, .negated = choice->negated, .text = text};
	choice->negated = false;
	return 0;
}

/* --- All of them. */

/* -4 and --ip-version v4 say the same: flags of one family are one. */
static const char *family_of(const struct record_flag *flag)
{
	return is_flag(flag, "ipv4") || is_flag(flag, "ipv6") ? "ip-version" : flag->name;
}

static bool is_alike(const struct choice *a, const struct choice *b)
{
	return a->negated == b->negated && !strcmp(family_of(a->flag), family_of(b->flag));
}

static bool is_first(const struct record_choice *choice, unsigned int i)
{
	for (unsigned int j = 0; j < i; j++)
		if (is_alike(&choice->choices[j], &choice->choices[i]))
			return false;
	return true;
}

static void print_choices(FILE *out, const struct record_choice *choice, const char *expression)
{
	const char *joint = "";

	for (unsigned int i = 0; i < choice->count; i++) {
		const char *inner = "";

		if (!is_first(choice, i))
			continue;
		fprintf(out, "%s%s(", joint, choice->choices[i].negated ? "not " : "");
		for (unsigned int j = i; j < choice->count; j++) {
			if (!is_alike(&choice->choices[i], &choice->choices[j]))
				continue;
			fprintf(out, "%s%s", inner, choice->choices[j].text);
			inner = " or ";
		}
		fputc(')', out);
		joint = " and ";
	}
	if (expression && expression[strspn(expression, " \t\r\n")])
		fprintf(out, *joint ? "%s(%s)" : "%s%s", joint, expression);
}

int record_choice_filter(struct record_filter **ret, char **ret_text,
			 const struct record_choice *choice, const char *expression,
			 char error[FILTER_ERROR_MAX])
{
	_cleanup_(record_filter_freep) struct record_filter *filter = NULL;
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *out;
	int r;

	error[0] = '\0';
	if (choice->negated) {
		snprintf(error, FILTER_ERROR_MAX, "--not: a flag must follow it");
		return -EINVAL;
	}
	/* Alone first: its columns are those that were typed. */
	r = record_filter_new(&filter, expression, error);
	if (r < 0)
		return r;
	out = open_memstream(&text, &size);
	if (!out)
		return -ENOMEM;
	print_choices(out, choice, expression);
	if (fclose(out) != 0)
		return -ENOMEM;
	filter = record_filter_free(filter);
	r = record_filter_new(&filter, text, error);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(filter);
	if (ret_text)
		*ret_text = TAKE_PTR(text);
	return 0;
}
