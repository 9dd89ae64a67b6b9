/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <string.h>
#include "exporter/cli/read_kind.h"
#include "exporter/util.h"

#define TEXT_OCTETS 64 /* that must be text where a file is said to be text */

#define CAPTURE "it is a capture of packets; `flowtally replay FILE` meters those"

static const struct {
	const char *magic;
	size_t length;
	const char *text;
} kinds[] = {
	{"\xd4\xc3\xb2\xa1", 4, CAPTURE},
	{"\xa1\xb2\xc3\xd4", 4, CAPTURE},
	{"\x4d\x3c\xb2\xa1", 4, CAPTURE},
	{"\xa1\xb2\x3c\x4d", 4, CAPTURE},
	{"\x0a\x0d\x0d\x0a", 4, CAPTURE},
	{"\x1f\x8b", 2, "it is compressed by gzip; `zcat FILE | flowtally read -` reads it"},
	{"\x28\xb5\x2f\xfd", 4,
	 "it is compressed by zstd; `zstdcat FILE | flowtally read -` reads it"},
	{"\xfd"
	 "7zXZ",
	 5, "it is compressed by xz; `xzcat FILE | flowtally read -` reads it"},
	{"BZh", 3, "it is compressed by bzip2; `bzcat FILE | flowtally read -` reads it"},
	{"\x0c\xa5", 2, "it is a file of nfcapd; `nfdump -r FILE` reads it"},
	{"\xa5\x0c", 2, "it is a file of nfcapd; `nfdump -r FILE` reads it"},
};

static bool is_text(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < MIN(size, (size_t)TEXT_OCTETS); i++)
		if ((data[i] < ' ' && !strchr("\t\r\n", data[i])) || data[i] == 0x7f || !data[i])
			return false;
	return true;
}

const char *read_kind(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (size >= kinds[i].length && !memcmp(data, kinds[i].magic, kinds[i].length))
			return kinds[i].text;
	if (!is_text(data, size))
		return NULL;
	return *data == '{' ? "it is JSON, not IPFIX or NetFlow v9; jq reads it"
			    : "it is text, not IPFIX or NetFlow v9";
}
