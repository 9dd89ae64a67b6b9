/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/mask.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define ADDRESS_OCTETS 16
#define MAC_OCTETS     6
#define HEX	       "0123456789abcdefABCDEF"

enum kind {
	MASK_IPV4,
	MASK_IPV6,
	MASK_MAC,
	MASK_HOST,
	_MASK_MAX
};

static const char *const kind_names[] = {"ipv4", "ipv6", "mac", "host"};

struct masked {
	enum kind kind;
	unsigned int number; /* from 1, of its kind */
	uint8_t address[ADDRESS_OCTETS];
	char *word; /* of a host */
};

struct mask {
	struct masked *list;
	size_t count;
	unsigned int numbers[_MASK_MAX];
};

int mask_new(struct mask **ret)
{
	struct mask *mask = calloc(1, sizeof(*mask));

	if (!mask)
		return -ENOMEM;
	*ret = mask;
	return 0;
}

struct mask *mask_free(struct mask *mask)
{
	if (!mask)
		return NULL;
	for (size_t i = 0; i < mask->count; i++)
		free(mask->list[i].word);
	free(mask->list);
	free(mask);
	return NULL;
}

/* Its number; 0 without memory. */
static unsigned int number_of(struct mask *mask, enum kind kind, const uint8_t *address)
{
	struct masked *list;

	for (size_t i = 0; i < mask->count; i++)
		if (mask->list[i].kind == kind && kind != MASK_HOST &&
		    !memcmp(mask->list[i].address, address, ADDRESS_OCTETS))
			return mask->list[i].number;
	list = reallocarray(mask->list, mask->count + 1, sizeof(*list));
	if (!list)
		return 0;
	mask->list = list;
	list += mask->count++;
	*list = (struct masked){.kind = kind, .number = ++mask->numbers[kind]};
	memcpy(list->address, address, ADDRESS_OCTETS);
	return list->number;
}

int mask_add(struct mask *mask, const char *word)
{
	static const uint8_t none[ADDRESS_OCTETS];
	char *copy = strdup(word);

	if (!copy || !number_of(mask, MASK_HOST, none)) {
		free(copy);
		return -ENOMEM;
	}
	mask->list[mask->count - 1].word = copy;
	return 0;
}

static bool tells_nothing(enum kind kind, const uint8_t address[ADDRESS_OCTETS])
{
	static const uint8_t zeros[ADDRESS_OCTETS], one[ADDRESS_OCTETS] = {[15] = 1};

	return !memcmp(address, zeros, ADDRESS_OCTETS) ||
	       (kind == MASK_IPV4 && address[0] == 127) ||
	       (kind == MASK_IPV6 && !memcmp(address, one, ADDRESS_OCTETS));
}

/* --- What an address at the very beginning of a text is.  Each returns how many octets of the text it takes; 0: none. */

static size_t read_ipv4(const char *text, uint8_t address[ADDRESS_OCTETS])
{
	const char *at = text;

	for (int i = 0; i < 4; i++) {
		unsigned int value = 0;
		int digits = 0;

		if (i && *at++ != '.')
			return 0;
		for (; digits < 3 && isdigit((unsigned char)*at); digits++, at++) {
			if (value * 10 + (unsigned int)(*at - '0') > UINT8_MAX)
				break;
			value = value * 10 + (unsigned int)(*at - '0');
		}
		if (!digits)
			return 0;
		address[i] = (uint8_t)value;
	}
	return (size_t)(at - text);
}

/* The longest beginning that is one. */
static size_t read_ipv6(const char *text, uint8_t address[ADDRESS_OCTETS])
{
	char copy[INET6_ADDRSTRLEN];
	size_t length = MIN(strspn(text, HEX ":."), sizeof(copy) - 1);

	snprintf(copy, sizeof(copy), "%.*s", (int)length, text);
	if (!strchr(copy, ':') || strchr(copy, ':') == strrchr(copy, ':'))
		return 0;
	for (; length > 1; length--) {
		copy[length] = '\0';
		if (inet_pton(AF_INET6, copy, address) == 1)
			return length;
	}
	return 0;
}

static bool is_hex(const char *text, size_t count)
{
	return strspn(text, HEX) >= count;
}

static unsigned int hex_value(const char *two)
{
	const char digits[] = {two[0], two[1], '\0'};

	return (unsigned int)strtoul(digits, NULL, 16);
}

/* 00:00:5e:00:53:01, with - too, and 0000.5e00.5301. */
static size_t read_mac(const char *text, uint8_t address[ADDRESS_OCTETS])
{
	static const struct {
		char separator;
		unsigned int octets; /* between two of them */
	} forms[] = {{':', 1}, {'-', 1}, {'.', 2}};

	for (size_t form = 0; form < ARRAY_SIZE(forms); form++) {
		const char *at = text;
		unsigned int i = 0;

		for (; i < MAC_OCTETS; i++, at += 2) {
			if (i && i % forms[form].octets == 0 && *at++ != forms[form].separator)
				break;
			if (!is_hex(at, 2))
				break;
			address[i] = (uint8_t)hex_value(at);
		}
		if (i == MAC_OCTETS)
			return (size_t)(at - text);
	}
	return 0;
}

/* The longest of all; an IPv4 address that is written as one of IPv6 is the same address. */
static size_t read_address(const char *text, enum kind *ret_kind, uint8_t ret[ADDRESS_OCTETS])
{
	static const uint8_t mapped[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	static size_t (*const readers[])(const char *text, uint8_t address[ADDRESS_OCTETS]) = {
		[MASK_IPV4] = read_ipv4, [MASK_IPV6] = read_ipv6, [MASK_MAC] = read_mac};
	size_t best = 0;

	if (!isxdigit((unsigned char)*text) && *text != ':')
		return 0;
	for (size_t kind = 0; kind < ARRAY_SIZE(readers); kind++) {
		uint8_t address[ADDRESS_OCTETS] = {0};
		size_t length = readers[kind](text, address);

		if (length <= best)
			continue;
		best = length;
		*ret_kind = (enum kind)kind;
		memcpy(ret, address, ADDRESS_OCTETS);
	}
	if (best && *ret_kind == MASK_IPV6 && !memcmp(ret, mapped, sizeof(mapped))) {
		*ret_kind = MASK_IPV4;
		memmove(ret, ret + sizeof(mapped), 4);
		memset(ret + 4, 0, ADDRESS_OCTETS - 4);
	}
	return best;
}

/* --- Hosts */

static const struct masked *find_host(const struct mask *mask, const char *word)
{
	for (size_t i = 0; i < mask->count; i++)
		if (mask->list[i].word && !strcasecmp(mask->list[i].word, word))
			return &mask->list[i];
	return NULL;
}

static bool in_name(char c)
{
	return isalnum((unsigned char)c) || c == '-' || c == '_';
}

/*
 * The longest host at the beginning of the text, NULL: none.  One with a dot counts wherever it stands, others as a whole
 * word alone, for they may be part of any.
 */
static const struct masked *read_host(const struct mask *mask, const char *text, bool inside)
{
	const struct masked *best = NULL;

	for (size_t i = 0; i < mask->count; i++) {
		const char *word = mask->list[i].word;
		size_t length = word ? strlen(word) : 0;

		if (!length || strncasecmp(word, text, length) != 0 ||
		    (best && strlen(best->word) >= length))
			continue;
		if (strchr(word, '.') || (!inside && !in_name(text[length])))
			best = &mask->list[i];
	}
	return best;
}

/* How much of an address that tells nothing stays: up to another one that begins within it and goes on behind it. */
static size_t length_alone(const char *text, size_t length)
{
	uint8_t address[ADDRESS_OCTETS];
	enum kind kind;

	for (size_t at = 1; at < length; at++)
		if (read_address(text + at, &kind, address) > length - at)
			return at;
	return length;
}

/* Writes what stands at the beginning of the text as it may be seen, and returns how much of the text that was. */
static size_t put_next(FILE *file, struct mask *mask, const char *text, bool inside)
{
	const struct masked *host = read_host(mask, text, inside);
	uint8_t address[ADDRESS_OCTETS] = {0};
	enum kind kind = MASK_IPV4;
	size_t length = read_address(text, &kind, address);

	if (host && strlen(host->word) >= length) {
		fprintf(file, "host-%u", host->number);
		return strlen(host->word);
	}
	if (length && !tells_nothing(kind, address)) {
		fprintf(file, "%s-%u", kind_names[kind], number_of(mask, kind, address));
		return length;
	}
	length = length ? length_alone(text, length) : 1;
	fwrite(text, 1, length, file);
	return length;
}

/* What stands behind :// is a host or a user, whatever else is wrong with that URL.  -ENOMEM. */
static int learn_host(struct mask *mask, const char *word)
{
	uint8_t address[ADDRESS_OCTETS];
	enum kind kind;
	char host[256];

	snprintf(host, sizeof(host), "%.*s", (int)strcspn(word, ":/?#@[]'\" \t\n\\"), word);
	if (!*host || !strcmp(host, "localhost") || find_host(mask, host) ||
	    read_address(host, &kind, address) == strlen(host))
		return 0;
	return mask_add(mask, host);
}

/* All of them, so that they are also known where they stand alone. */
static int learn_hosts(struct mask *mask, const char *text)
{
	const char *at;
	int r = 0;

	while (r == 0 && (text = strstr(text, "://"))) {
		text += 3;
		r = learn_host(mask, text);
		at = memchr(text, '@', strcspn(text, "/?# '\"\n"));
		if (r == 0 && at)
			r = learn_host(mask, at + 1);
	}
	return r;
}

char *mask_text(struct mask *mask, const char *text)
{
	char *copy = NULL;
	size_t size;
	FILE *file;

	if (learn_hosts(mask, text) < 0)
		return NULL;
	file = open_memstream(&copy, &size);
	if (!file)
		return NULL;
	for (size_t at = 0; text[at];)
		at += put_next(file, mask, text + at, at > 0 && in_name(text[at - 1]));
	if (fclose(file) != 0) {
		free(copy);
		return NULL;
	}
	return copy;
}
