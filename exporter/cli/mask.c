/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/mask.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define ADDRESS_OCTETS 16

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

/* Letters of which addresses and names consist: what stands between others is looked at as a whole. */
static bool in_word(char c)
{
	return isalnum((unsigned char)c) || c == '.' || c == ':' || c == '-' || c == '_';
}

static bool parse_mac(const char *word, uint8_t address[ADDRESS_OCTETS])
{
	unsigned int octets[6];
	int end = 0;

	if (sscanf(word, "%2x:%2x:%2x:%2x:%2x:%2x%n", &octets[0], &octets[1], &octets[2],
		   &octets[3], &octets[4], &octets[5], &end) != 6 ||
	    word[end] || end != 17)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(octets); i++)
		address[i] = (uint8_t)octets[i];
	return true;
}

static bool tells_nothing(enum kind kind, const uint8_t address[ADDRESS_OCTETS])
{
	static const uint8_t zeros[ADDRESS_OCTETS], one[ADDRESS_OCTETS] = {[15] = 1};

	return !memcmp(address, zeros, ADDRESS_OCTETS) ||
	       (kind == MASK_IPV4 && address[0] == 127) ||
	       (kind == MASK_IPV6 && !memcmp(address, one, ADDRESS_OCTETS));
}

/* The word itself as an address; false: it is none. */
static bool parse_address(const char *word, enum kind *ret_kind, uint8_t address[ADDRESS_OCTETS])
{
	memset(address, 0, ADDRESS_OCTETS);
	if (inet_pton(AF_INET, word, address) == 1)
		return *ret_kind = MASK_IPV4, true;
	memset(address, 0, ADDRESS_OCTETS);
	if (inet_pton(AF_INET6, word, address) == 1)
		return *ret_kind = MASK_IPV6, true;
	memset(address, 0, ADDRESS_OCTETS);
	return *ret_kind = MASK_MAC, parse_mac(word, address);
}

static const struct masked *find_host(const struct mask *mask, const char *word)
{
	for (size_t i = 0; i < mask->count; i++)
		if (mask->list[i].word && !strcasecmp(mask->list[i].word, word))
			return &mask->list[i];
	return NULL;
}

/* Writes the word as it may be seen; 0 when nothing of it was known. */
static bool put_known(FILE *file, struct mask *mask, const char *word)
{
	uint8_t address[ADDRESS_OCTETS];
	const struct masked *host = find_host(mask, word);
	enum kind kind;

	if (host) {
		fprintf(file, "host-%u", host->number);
		return true;
	}
	if (!parse_address(word, &kind, address) || tells_nothing(kind, address))
		return false;
	fprintf(file, "%s-%u", kind_names[kind], number_of(mask, kind, address));
	return true;
}

/*
 * A sentence's full stop or colon, or a port, may follow: the longest beginning that is known counts.  What begins a word
 * counts alone, so that no part of a longer number is taken for an address.
 */
static void put_word(FILE *file, struct mask *mask, const char *word, size_t length)
{
	char copy[300];

	if (length >= sizeof(copy)) {
		fwrite(word, 1, length, file);
		return;
	}
	for (size_t part = length; part > 0; part--) {
		if (part < length && word[part] != ':' && word[part] != '.' && word[part] != '-')
			continue;
		snprintf(copy, sizeof(copy), "%.*s", (int)part, word);
		if (put_known(file, mask, copy)) {
			fwrite(word + part, 1, length - part, file);
			return;
		}
	}
	fwrite(word, 1, length, file);
}

/* What stands behind :// is a host or a user, whatever else is wrong with that URL.  -ENOMEM. */
static int learn_host(struct mask *mask, const char *word)
{
	uint8_t address[ADDRESS_OCTETS];
	enum kind kind;
	char host[256];

	snprintf(host, sizeof(host), "%.*s", (int)strcspn(word, ":/?#@[]'\" \t\n\\"), word);
	if (!*host || !strcmp(host, "localhost") || find_host(mask, host) ||
	    parse_address(host, &kind, address))
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
	size_t size, length;
	FILE *file;

	if (learn_hosts(mask, text) < 0)
		return NULL;
	file = open_memstream(&copy, &size);
	if (!file)
		return NULL;
	while (*text) {
		for (length = 0; in_word(text[length]); length++)
			;
		if (length)
			put_word(file, mask, text, length);
		else
			fputc(text[length++], file);
		text += length;
	}
	if (fclose(file) != 0) {
		free(copy);
		return NULL;
	}
	return copy;
}
