/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* An IP address as one writes it: an IPv6 address may have a scope, fe80::1%eth0 (RFC 4007 section 11). */
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDRESS_TEXT_MAX (INET6_ADDRSTRLEN + 3 + IF_NAMESIZE) /* octets, with scope and end */
#define ADDRESS_WHY_MAX	 200

struct ip_address {
	sa_family_t family; /* AF_INET also of an IPv4 address that is mapped, ::ffff:192.0.2.1 */
	struct in6_addr address; /* IPv4: in the first 4 octets */
	char scope[IF_NAMESIZE]; /* an interface by name or index; empty: none */
};

/*
 * The scope may also be written as in a URL, fe80::1%25eth0 (RFC 6874).  It is asked for where the address
 * says nothing without it, and only there: link-local addresses, and multicast to an interface or a link.
 * -EINVAL: `why` says then in a few words what is wrong.
 */
int address_parse(const char *text, struct ip_address *ret, char why[ADDRESS_WHY_MAX]);

/* Whether both say the same; so do two that say nothing (family 0). */
bool address_equal(const struct ip_address *a, const struct ip_address *b);

/*
 * The socket address with that port; its scope is the interface as it is now.  -ENODEV when there is none.
 * ret_length: its octets.
 */
int address_locate(const struct ip_address *a, uint16_t port, struct sockaddr_storage *ret,
		   socklen_t *ret_length);

/* An address without port; that of IPv4 mapped. */
void address_of(const struct sockaddr *address, struct in6_addr *ret, uint32_t *ret_scope);

/*
 * Makes an address that a name has one that can be connected to: a mapped one becomes IPv4.  -EINVAL when it
 * has no meaning without an interface, which a name cannot say.
 */
int address_usable(struct sockaddr *address, socklen_t *length);

/* The DSCP that a socket sets, 0 to 63.  -errno. */
int address_set_dscp(int fd, uint8_t dscp);

/* Where a socket sends from (NULL: the system's to choose) and the DSCP that it sets, 0 to 63.  -errno. */
int address_set_local(int fd, sa_family_t family, const struct ip_address *source, uint8_t dscp);
