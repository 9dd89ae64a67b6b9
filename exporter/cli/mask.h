/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Takes addresses out of text, the same one always by the same name: "ipv4-1", "ipv6-2", "mac-1".  Loopback and the
 * unspecified addresses tell nothing and stay.
 */
#include "exporter/util.h"

struct mask;

int mask_new(struct mask **ret);
struct mask *mask_free(struct mask *mask);
DEFINE_CLEANUP(struct mask *, mask_free)

/* Another word to take out, such as a host's name, as "host-1".  -ENOMEM. */
int mask_add(struct mask *mask, const char *word);

/* A copy of the text without them; NULL: no memory. */
char *mask_text(struct mask *mask, const char *text);
