/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Types and codes of ICMP as gopacket (layers/icmp4.go, icmp6.go) calls them, from which Hubble has their names. */
#include "exporter/util.h"

struct icmp_name {
	uint8_t type;
	const char *name;
	const char *codes[16]; /* of which there are names, from 0; NULL: none */
};

/* `version` of IP: 4 or 6.  NULL: it has no name. */
const struct icmp_name *icmp_name_find(unsigned int version, unsigned int type);
