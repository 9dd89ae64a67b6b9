/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include "exporter/export/url.h"
#include "exporter/util.h"

#define IPFIX_PORT 4739 /* IANA */

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

static int parse_host(const char *text, size_t length, bool bracketed, struct collector_url *url,
		      char *why)
{
	struct in6_addr address;

	if (!length)
		return wrong(why, "the host is missing");
	if (length > URL_HOST_MAX)
		return wrong(why, "the host has more than %d characters", URL_HOST_MAX);
	memcpy(url->host, text, length);
	url->host[length] = '\0';
	if (bracketed) {
		if (inet_pton(AF_INET6, url->host, &address) != 1)
			return wrong(why, "'%s' is not an IPv6 address", url->host);
		return 0;
	}
	if (looks_like_ipv4(url->host)) {
		if (inet_pton(AF_INET, url->host, &address) != 1)
			return wrong(why, "'%s' is not an IPv4 address", url->host);
		return 0;
	}
	if (!is_host_name(url->host))
		return wrong(why, "'%s' is not a host name", url->host);
	return 0;
}

static int parse_port(const char *text, uint16_t *ret, char *why)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long port = strtoul(text, NULL, 10);

	if (!digits || text[digits] || digits > 9 || port < 1 || port > 65535)
		return wrong(why, "port '%s' is not between 1 and 65535", text);
	*ret = (uint16_t)port;
	return 0;
}

/* host[:port], where an IPv6 address is in brackets. */
static int parse_authority(const char *text, struct collector_url *url, char *why)
{
	bool bracketed = text[0] == '[';
	const char *host = bracketed ? text + 1 : text;
	size_t length = strcspn(host, bracketed ? "]" : ":");
	const char *rest = host + length;
	int r;

	url->port = IPFIX_PORT;
	if (strchr(text, '@'))
		return wrong(why, "a user name has no meaning here");
	if (strpbrk(text, "/?#"))
		return wrong(why, "nothing may follow host and port");
	if (bracketed && !*rest++)
		return wrong(why, "the ']' after the IPv6 address is missing");
	if (!bracketed && strchr(rest + (*rest != '\0'), ':'))
		return wrong(
			why,
			"an IPv6 address must be in brackets, as in ipfix://[2001:db8::1]:4739");
	r = parse_host(host, length, bracketed, url, why);
	if (r < 0 || !*rest)
		return r;
	if (*rest != ':')
		return wrong(why, "'%s' follows the IPv6 address where ':port' might", rest);
	return parse_port(rest + 1, &url->port, why);
}

static int parse_path(const char *text, const char *example, struct collector_url *url, char *why)
{
	if (!*text)
		return wrong(why, "the path is missing: %s", example);
	if (*text != '/')
		return wrong(why, "the path must be absolute: %s", example);
	if (text[strlen(text) - 1] == '/')
		return wrong(why, "'%s' is a folder; the name of the file is missing", text);
	url->path = text;
	return 0;
}

int url_parse(const char *url, struct collector_url *ret, char why[URL_WHY_MAX])
{
	size_t scheme = strcspn(url, ":");
	struct collector_url parsed = {.text = url, .path = ""};
	int r;

	if (!*url)
		return wrong(why, "it is empty");
	for (const char *p = url; *p; p++)
		if (iscntrl((unsigned char)*p))
			return wrong(why, "it holds a control character");
	if (!strncmp(url, "ipfix://", 8)) {
		parsed.scheme = URL_IPFIX;
		r = parse_authority(url + 8, &parsed, why);
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
	} else if (!strncmp(url, "ipfix:", 6) || !strncmp(url, "file:", 5)) {
		return wrong(why, "'//' is missing after '%.*s:'", (int)scheme, url);
	} else if (!url[scheme]) {
		return wrong(why, "the scheme is missing, use ipfix://, file:// or json:");
	} else {
		return wrong(why, "unknown scheme '%.*s', use ipfix://, file:// or json:",
			     (int)MIN(scheme, 40u), url);
	}
	if (r < 0)
		return r;
	*ret = parsed;
	return 0;
}
