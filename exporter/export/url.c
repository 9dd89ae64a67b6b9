/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include "exporter/export/url.h"
#include "exporter/util.h"
#include "exporter/value.h"

#define IPFIX_PORT    4739 /* IANA */
#define NETFLOW9_PORT 2055 /* by custom */
#define SCHEMES	      "ipfix://, ipfix+tcp://, netflow9://, file:// or json:"

_printf_(2, 3) static int wrong(char *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, URL_WHY_MAX, format, args);
	va_end(args);
	return -EINVAL;
}

/* Labels of letters, digits, '-' and '_', separated by single dots; one dot at the end is allowed. */
static bool is_host_name(const char *host)
{
	size_t label = 0;

	for (const char *p = host; *p; p++) {
		if (*p == '.') {
			if (!label)
				return false;
			label = 0;
		} else if (isalnum((unsigned char)*p) || *p == '-' || *p == '_') {
			if (++label > 63)
				return false;
		} else {
			return false;
		}
	}
	return true;
}

/* A last label of digits alone is no name: resolvers take such a host for an IPv4 address. */
static bool looks_like_ipv4(const char *host)
{
	const char *dot = strrchr(host, '.');
	const char *last = dot ? dot + 1 : host;

	return *last && strspn(last, "0123456789") == strlen(last);
}

/* Of that family, whatever follows a '%'. */
static bool is_address(const char *text, int family)
{
	size_t length = strcspn(text, "%");
	char number[INET6_ADDRSTRLEN];
	struct in6_addr address;

	if (length >= sizeof(number))
		return false;
	memcpy(number, text, length);
	number[length] = '\0';
	return inet_pton(family, number, &address) == 1;
}

static int parse_host(const char *text, size_t length, bool bracketed, struct collector_url *url,
		      char *why)
{
	char address_why[ADDRESS_WHY_MAX];

	if (!length)
		return wrong(why, "the host is missing");
	if (length > URL_HOST_MAX)
		return wrong(why, "the host has more than %d characters", URL_HOST_MAX);
	memcpy(url->host, text, length);
	url->host[length] = '\0';
	url->numeric = bracketed || looks_like_ipv4(url->host);
	if (url->numeric) {
		if (!is_address(url->host, bracketed ? AF_INET6 : AF_INET))
			return wrong(why, "'%s' is not an IPv%u address", url->host,
				     bracketed ? 6 : 4);
		if (address_parse(url->host, &url->address, address_why) < 0)
			return wrong(why, "%s", address_why);
		url->host[strcspn(url->host, "%")] = '\0';
		return 0;
	}
	if (!is_host_name(url->host))
		return wrong(why, "'%s' is not a host name", url->host);
	return 0;
}

/* A decimal number; false when it is none, or out of the range. */
static bool parse_number(const char *text, unsigned long min, unsigned long max, unsigned long *ret)
{
	size_t digits = strspn(text, "0123456789");

	*ret = strtoul(text, NULL, 10);
	return digits && !text[digits] && digits <= 10 && *ret >= min && *ret <= max;
}

static int parse_port(const char *text, uint16_t *ret, char *why)
{
	unsigned long port;

	if (!parse_number(text, 1, 65535, &port))
		return wrong(why, "port '%s' is not between 1 and 65535", text);
	*ret = (uint16_t)port;
	return 0;
}

/* --- Options: ?key=value&... */

static int parse_source(const char *value, struct url_options *o, char *why)
{
	char address_why[ADDRESS_WHY_MAX];
	struct ip_address address;

	if (address_parse(value, &address, address_why) < 0)
		return wrong(why, "source %s", address_why);
	snprintf(o->source, sizeof(o->source), "%s", value);
	return 0;
}

static int parse_template(const char *value, struct url_options *o, char *why)
{
	if (!*value)
		return wrong(why, "template is empty");
	if (strlen(value) >= sizeof(o->template))
		return wrong(why, "template has more than %d characters", URL_TEMPLATE_MAX - 1);
	snprintf(o->template, sizeof(o->template), "%s", value);
	return 0;
}

static int parse_rate(const char *value, struct url_options *o, char *why)
{
	uint64_t rate;

	if (value_rate(value, &rate) < 0 || rate < 1 || rate > UINT32_MAX)
		return wrong(why, "rate '%s' is not a number of records a second", value);
	o->rate = (uint32_t)rate;
	return 0;
}

static int parse_dscp(const char *value, struct url_options *o, char *why)
{
	unsigned long number;

	if (!parse_number(value, 0, URL_DSCP_MAX, &number))
		return wrong(why, "dscp '%s' is not between 0 and %d", value, URL_DSCP_MAX);
	o->dscp = (int)number;
	return 0;
}

static int parse_message_size(const char *value, struct url_options *o, char *why)
{
	uint64_t size;

	if (value_size(value, &size) < 0 || size < URL_MESSAGE_MIN || size > URL_MESSAGE_MAX)
		return wrong(why, "message-size '%s' is not between %d and %d", value,
			     URL_MESSAGE_MIN, URL_MESSAGE_MAX);
	o->message_max = (uint16_t)size;
	return 0;
}

static int parse_drops(const char *value, struct url_options *o, char *why)
{
	if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
		return wrong(why, "drops '%s' is neither on nor off", value);
	o->drops = value[1] == 'n' ? URL_DROPS_ON : URL_DROPS_OFF;
	return 0;
}

/* In seconds, with or without the unit. */
static int parse_retry(const char *value, struct url_options *o, char *why)
{
	uint64_t ns;

	if (value_number(value, &ns) == 0)
		ns = MIN(ns, 3601u) * NSEC_PER_SEC;
	else if (value_duration(value, &ns) < 0)
		ns = 0;
	if (ns < NSEC_PER_SEC || ns > 3600 * NSEC_PER_SEC || ns % NSEC_PER_SEC)
		return wrong(why, "retry '%s' is not between 1 and 3600 seconds", value);
	o->retry = (uint16_t)(ns / NSEC_PER_SEC);
	return 0;
}

/* One part of rotate: a time or a size. */
static bool parse_rotate_part(const char *part, struct url_options *o)
{
	uint64_t number;

	if (value_duration(part, &number) == 0) {
		if (o->rotate_ns || number < NSEC_PER_SEC || number % NSEC_PER_SEC ||
		    number > URL_ROTATE_MAX_S * NSEC_PER_SEC)
			return false;
		o->rotate_ns = number;
		return true;
	}
	if (value_size(part, &number) < 0 || o->rotate_size || number < URL_ROTATE_SIZE_MIN ||
	    number > URL_ROTATE_SIZE_MAX)
		return false;
	o->rotate_size = number;
	return true;
}

static int parse_rotate(const char *value, struct url_options *o, char *why)
{
	struct url_options parsed = {0};
	char part[2 * VALUE_TEXT_MAX];
	size_t length = strcspn(value, ",");
	bool good = length < sizeof(part);

	o->rotate_said = true;
	if (!strcmp(value, "off") || !strcmp(value, "0"))
		return 0;
	if (good) {
		snprintf(part, sizeof(part), "%.*s", (int)length, value);
		good = parse_rotate_part(part, &parsed) &&
		       (!value[length] || parse_rotate_part(value + length + 1, &parsed));
	}
	if (!good)
		return wrong(
			why,
			"rotate '%.40s' is not a time (1s to 8760h), a size (%d to 1000GB), both with a"
			" comma as in 1h,100MiB, or off",
			value, URL_ROTATE_SIZE_MIN);
	o->rotate_ns = parsed.rotate_ns;
	o->rotate_size = parsed.rotate_size;
	return 0;
}

static int parse_keep(const char *value, struct url_options *o, char *why)
{
	unsigned long number;

	if (!parse_number(value, 0, URL_KEEP_MAX, &number))
		return wrong(why, "keep '%.40s' is not between 0 (all files) and %d", value,
			     URL_KEEP_MAX);
	o->keep = (uint16_t)number;
	o->keep_said = true;
	return 0;
}

/* --- Their values as one can write them */

static const char *print_template(const struct url_options *o, _unused_ char *text)
{
	return o->template;
}

static const char *print_rate(const struct url_options *o, char *text)
{
	value_print_rate(text, o->rate);
	return text;
}

static const char *print_source(const struct url_options *o, _unused_ char *text)
{
	return o->source;
}

static const char *print_dscp(const struct url_options *o, char *text)
{
	snprintf(text, VALUE_TEXT_MAX, "%d", o->dscp);
	return text;
}

static const char *print_message_size(const struct url_options *o, char *text)
{
	value_print_size(text, o->message_max);
	return text;
}

static const char *print_drops(const struct url_options *o, _unused_ char *text)
{
	return o->drops == URL_DROPS_ON ? "on" : "off";
}

static const char *print_retry(const struct url_options *o, char *text)
{
	value_print_duration(text, o->retry * NSEC_PER_SEC);
	return text;
}

static const char *print_rotate(const struct url_options *o, char *text)
{
	char time[VALUE_TEXT_MAX] = "", size[VALUE_TEXT_MAX] = "";

	if (o->rotate_ns)
		value_print_duration(time, o->rotate_ns);
	if (o->rotate_size)
		value_print_size(size, o->rotate_size);
	if (*time && *size)
		snprintf(text, VALUE_TEXT_MAX, "%.9s,%.13s", time, size);
	else
		snprintf(text, VALUE_TEXT_MAX, "%s", *time ? time : *size ? size : "off");
	return text;
}

static const char *print_keep(const struct url_options *o, char *text)
{
	snprintf(text, VALUE_TEXT_MAX, "%u", o->keep);
	return text;
}

#define TCP	(1u << URL_IPFIX_TCP)
#define FILES	(1u << URL_FILE | 1u << URL_JSON)
#define NETWORK (1u << URL_IPFIX | 1u << URL_NETFLOW9 | TCP)

static const struct {
	const char *name;
	int (*parse)(const char *value, struct url_options *o, char *why);
	const char *(*print)(const struct url_options *o, char *text); /* VALUE_TEXT_MAX */
	unsigned int schemes;
} known[] = {
	{"template", parse_template, print_template, NETWORK | 1u << URL_FILE},
	{"rate", parse_rate, print_rate, NETWORK},
	{"source", parse_source, print_source, NETWORK},
	{"dscp", parse_dscp, print_dscp, NETWORK},
	{"message-size", parse_message_size, print_message_size, NETWORK},
	{"drops", parse_drops, print_drops, NETWORK | 1u << URL_FILE | 1u << URL_JSON},
	{"retry", parse_retry, print_retry, TCP},
	{"rotate", parse_rotate, print_rotate, FILES},
	{"keep", parse_keep, print_keep, FILES},
};

const char *url_option_name(unsigned int index)
{
	return index < ARRAY_SIZE(known) ? known[index].name : NULL;
}

bool url_option_applies(unsigned int index, enum url_scheme scheme)
{
	return known[index].schemes >> scheme & 1;
}

bool url_option_said(unsigned int index, const struct url_options *o)
{
	const bool said[] = {*o->template, o->rate,  *o->source,     o->dscp >= 0, o->message_max,
			     o->drops,	   o->retry, o->rotate_said, o->keep_said};

	_Static_assert(ARRAY_SIZE(said) == ARRAY_SIZE(known), "one of each");
	return said[index];
}

const char *url_option_print(unsigned int index, const struct url_options *o,
			     char text[VALUE_TEXT_MAX])
{
	return known[index].print(o, text);
}

int url_option_set(struct url_options *o, const char *key, const char *value, char why[URL_WHY_MAX])
{
	char names[128] = "", hint[VALUE_HINT_MAX];
	struct value_guess guess = {0};
	size_t used = 0;

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (!strcmp(known[i].name, key))
			return url_option_said((unsigned int)i, o)
				       ? wrong(why, "%s is given twice", key)
				       : known[i].parse(value, o, why);
		value_guess_offer(&guess, key, known[i].name);
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
					 i == 0			     ? ""
					 : i + 1 < ARRAY_SIZE(known) ? ", "
								     : " and ",
					 known[i].name);
	}
	return wrong(why, "unknown option '%.40s', there are %s%s", key, names,
		     value_guess_hint(&guess, hint));
}

static int parse_options(const char *text, struct url_options *o, char *why)
{
	char word[URL_TEMPLATE_MAX], *value;
	size_t size;
	int r;

	for (;; text += size + 1) {
		size = strcspn(text, "&");
		if (size >= sizeof(word))
			return wrong(why, "an option has more than %d characters",
				     URL_TEMPLATE_MAX - 1);
		memcpy(word, text, size);
		word[size] = '\0';
		value = strchr(word, '=');
		if (!value)
			return wrong(why, "'%.40s' is no option, write KEY=VALUE", word);
		*value = '\0';
		r = url_option_set(o, word, value + 1, why);
		if (r < 0 || !text[size])
			return r;
	}
}

/* --- Host and port */

/* host[:port], where an IPv6 address is in brackets. */
static int parse_authority(const char *text, uint16_t port, struct collector_url *url, char *why)
{
	bool bracketed = text[0] == '[';
	const char *host = bracketed ? text + 1 : text;
	size_t length = strcspn(host, bracketed ? "]" : ":");
	const char *rest = host + length;
	int r;

	url->port = port;
	if (strpbrk(text, "/#"))
		return wrong(why, "nothing may follow host and port but ?KEY=VALUE");
	if (bracketed && !*rest++)
		return wrong(why, "the ']' after the IPv6 address is missing");
	if (!bracketed && strchr(rest + (*rest != '\0'), ':'))
		return wrong(why, "an IPv6 address must be in brackets, as in [2001:db8::1]:4739");
	r = parse_host(host, length, bracketed, url, why);
	if (r < 0 || !*rest)
		return r;
	if (*rest != ':')
		return wrong(why, "'%s' follows the IPv6 address where ':port' might", rest);
	return parse_port(rest + 1, &url->port, why);
}

/* What no collector of that scheme heeds is not to be said. */
static int check_options(const struct collector_url *url, char *why)
{
	static const char *const where[] = {
		[URL_IPFIX] = "ipfix://",	[URL_IPFIX_TCP] = "ipfix+tcp://",
		[URL_NETFLOW9] = "netflow9://", [URL_FILE] = "file://",
		[URL_JSON] = "json://",
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(known); i++)
		if (url_option_said(i, &url->options) && !url_option_applies(i, url->scheme))
			return known[i].schemes == FILES
				       ? wrong(why, "%s has a meaning with files alone",
					       known[i].name)
				       : wrong(why, "%s has no meaning with %s", known[i].name,
					       where[url->scheme]);
	return 0;
}

static int parse_network(const char *text, uint16_t port, struct collector_url *url, char *why)
{
	const char *options = strchr(text, '?');
	char authority[URL_HOST_MAX + 16];
	size_t length = options ? (size_t)(options - text) : strlen(text);
	int r;

	/* also behind a '?', lest half a password be told as what is wrong */
	if (strchr(text, '@'))
		return wrong(why, "a user name has no meaning here");
	if (length >= sizeof(authority))
		return wrong(why, "the host has more than %d characters", URL_HOST_MAX);
	memcpy(authority, text, length);
	authority[length] = '\0';
	r = parse_authority(authority, port, url, why);
	if (r >= 0 && options)
		r = parse_options(options + 1, &url->options, why);
	if (r >= 0 && url->options.retry && url->scheme != URL_IPFIX_TCP)
		return wrong(why, "retry has a meaning with ipfix+tcp:// alone");
	return r < 0 ? r : check_options(url, why);
}

/* A file's name may hold a '?': options are what follows the last one, if there is a '=' in it. */
static const char *find_options(const char *path)
{
	const char *mark = strrchr(path, '?');

	return mark && strchr(mark, '=') ? mark : NULL;
}

static int parse_path(const char *text, const char *example, struct collector_url *url, char *why)
{
	const char *options = find_options(text);
	size_t length = options ? (size_t)(options - text) : strlen(text);
	int r;

	if (!length)
		return wrong(why, "the path is missing: %s", example);
	if (*text != '/')
		return wrong(why, "the path must be absolute: %s", example);
	if (length >= sizeof(url->path))
		return wrong(why, "the path has more than %d octets", URL_PATH_MAX - 1);
	memcpy(url->path, text, length);
	url->path[length] = '\0';
	if (text[length - 1] == '/')
		return wrong(why, "'%s' is a folder; the name of the file is missing", url->path);
	r = options ? parse_options(options + 1, &url->options, why) : 0;
	return r < 0 ? r : check_options(url, why);
}

/* --- Schemes */

/* Whether `host`, with a port behind it or not, could be one; *ret_port: 0 without. */
static bool is_authority(const char *text, uint16_t *ret_port)
{
	struct collector_url parsed = {0};
	char why[URL_WHY_MAX];

	if (!strpbrk(text, ".:[") || parse_network(text, 1, &parsed, why) < 0)
		return false;
	*ret_port = parsed.port;
	return true;
}

/* Ports at which collectors of NetFlow listen by custom. */
static bool is_netflow_port(uint16_t port)
{
	return port == NETFLOW9_PORT || port == 9995 || port == 9996 || port == 9555;
}

static int wrong_scheme(const char *url, size_t scheme, char *why)
{
	struct value_guess guess = {0};
	char word[URL_HOST_MAX], hint[VALUE_HINT_MAX];
	uint16_t port;

	if (is_authority(url, &port))
		return wrong(why, "the scheme is missing, use " SCHEMES "; did you mean %s%s?",
			     is_netflow_port(port) ? "netflow9://" : "ipfix://", url);
	if (*url == '/')
		return wrong(why, "the scheme is missing, use " SCHEMES "; did you mean file://%s?",
			     url);
	if (!url[scheme])
		return wrong(why, "the scheme is missing, use " SCHEMES);
	snprintf(word, sizeof(word), "%.*s", (int)scheme, url);
	value_guess_offer(&guess, word, "ipfix");
	value_guess_offer(&guess, word, "ipfix+tcp");
	value_guess_offer(&guess, word, "netflow9");
	value_guess_offer(&guess, word, "file");
	value_guess_offer(&guess, word, "json");
	return wrong(why, "unknown scheme '%.*s', use " SCHEMES "%s", (int)MIN(scheme, 40u), url,
		     value_guess_hint(&guess, hint));
}

/* "file:/tmp/x", "ipfix:host": with what was meant, unless it may hold a password. */
static int wrong_slashes(const char *url, size_t scheme, char *why)
{
	const char *rest = url + scheme + 1;
	const bool file = !strncmp(url, "file:", 5);

	if (!file)
		rest += strspn(rest, "/");
	if (file && *rest != '/')
		return wrong(why, "'//' is missing after 'file:', write file:///path");
	if (!*rest || (!file && strchr(rest, '@')))
		return wrong(why, "'//' is missing after '%.*s:'", (int)scheme, url);
	return wrong(why, "'//' is missing after '%.*s:'; did you mean %.*s://%s?", (int)scheme,
		     url, (int)scheme, url, rest);
}

int url_parse(const char *url, struct collector_url *ret, char why[URL_WHY_MAX])
{
	size_t scheme = strcspn(url, ":");
	struct collector_url parsed = {.text = url, .path = "", .options = URL_OPTIONS_NONE};
	int r;

	if (!*url)
		return wrong(why, "it is empty");
	for (const char *p = url; *p; p++)
		if (iscntrl((unsigned char)*p))
			return wrong(why, "it holds a control character");
	if (!strncmp(url, "ipfix://", 8)) {
		parsed.scheme = URL_IPFIX;
		r = parse_network(url + 8, IPFIX_PORT, &parsed, why);
	} else if (!strncmp(url, "ipfix+tcp://", 12)) {
		parsed.scheme = URL_IPFIX_TCP;
		r = parse_network(url + 12, IPFIX_PORT, &parsed, why);
	} else if (!strncmp(url, "netflow9://", 11)) {
		parsed.scheme = URL_NETFLOW9;
		r = parse_network(url + 11, NETFLOW9_PORT, &parsed, why);
	} else if (!strncmp(url, "file://", 7)) {
		parsed.scheme = URL_FILE;
		r = parse_path(url + 7, "file:///path", &parsed, why);
	} else if (!strcmp(url, "json:-")) {
		parsed.scheme = URL_JSON;
		r = 0;
	} else if (!strncmp(url, "json://", 7)) {
		parsed.scheme = URL_JSON;
		r = parse_path(url + 7, "json:///path", &parsed, why);
	} else if (!strncmp(url, "json:", 5)) {
		return wrong(why, "'%s' is neither json:- (standard output) nor json:///path", url);
	} else if (!strncmp(url, "ipfix:", 6) || !strncmp(url, "ipfix+tcp:", 10) ||
		   !strncmp(url, "netflow9:", 9) || !strncmp(url, "file:", 5)) {
		return wrong_slashes(url, scheme, why);
	} else {
		return wrong_scheme(url, scheme, why);
	}
	if (r < 0)
		return r;
	*ret = parsed;
	return 0;
}
