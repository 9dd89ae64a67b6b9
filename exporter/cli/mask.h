/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Takes addresses out of text, the same one always by the same name: "ipv4-1", "ipv6-2", "mac-1".  They are found wherever
 * they stand, also within a word, a URL or a string of JSON: four decimal numbers with dots, what inet_pton(3) takes for
 * IPv6, and MAC addresses with : or - between octets, or a dot between pairs of them.  ::ffff:192.0.2.1 is 192.0.2.1.  Where
 * digits in front or behind can belong to an address they do, and a number of four parts is taken for one: rather too much
 * than too little.  Loopback and the unspecified addresses tell nothing and stay; so do prefix lengths, ports and zones.
 *
 * Hosts in URLs are learnt by themselves.
 */
#include "exporter/util.h"

struct mask;

int mask_new(struct mask **ret);
struct mask *mask_free(struct mask *mask);
DEFINE_CLEANUP(struct mask *, mask_free)

/* Another word to take out, such as a host's name, as "host-1": with a dot anywhere, else as a word.  -ENOMEM. */
int mask_add(struct mask *mask, const char *word);

/* A copy of the text without them; NULL: no memory. */
char *mask_text(struct mask *mask, const char *text);
