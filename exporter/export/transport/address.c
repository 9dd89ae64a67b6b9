/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "exporter/export/transport/address.h"
#include "exporter/util.h"

_printf_(2, 3) static int wrong(char *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, ADDRESS_WHY_MAX, format, args);
	va_end(args);
	return -EINVAL;
}

/* The address is of no use without a scope. */
static bool needs_scope(const struct in6_addr *a)
{
	return IN6_IS_ADDR_LINKLOCAL(a) || IN6_IS_ADDR_MC_LINKLOCAL(a) ||
	       IN6_IS_ADDR_MC_NODELOCAL(a);
}

static bool is_interface(const char *name)
{
	if (!*name || strlen(name) >= IF_NAMESIZE || strpbrk(name, "/%"))
		return false;
	for (const char *p = name; *p; p++)
		if (isspace((unsigned char)*p))
			return false;
	return true;
}

/* "25" in front is the '%' of a URL. */
static int parse_scope(const char *text, struct ip_address *a, char *why)
{
	const char *name = !strncmp(text, "25", 2) && text[2] ? text + 2 : text;

	if (!is_interface(name))
		return wrong(why, "'%.40s' is no name of an interface", name);
	snprintf(a->scope, sizeof(a->scope), "%s", name);
	return 0;
}

static int parse_ipv6(const char *text, const char *percent, struct ip_address *a, char *why)
{
	bool needs = needs_scope(&a->address);

	if (percent && !needs)
		return wrong(why, "'%.80s' has an interface, which only link-local addresses have",
			     text);
	if (!percent && needs)
		return wrong(why,
			     "'%s' is there on each link: name the interface, as in '%s%%eth0'",
			     text, text);
	if (percent)
		return parse_scope(percent + 1, a, why);
	if (IN6_IS_ADDR_V4MAPPED(&a->address)) {
		a->family = AF_INET;
		memmove(&a->address, &a->address.s6_addr[12], 4);
		memset(&a->address.s6_addr[4], 0, 12);
	}
	return 0;
}

int address_parse(const char *text, struct ip_address *ret, char why[ADDRESS_WHY_MAX])
{
	const char *percent = strchr(text, '%');
	size_t length = percent ? (size_t)(percent - text) : strlen(text);
	struct ip_address a = {.family = AF_INET};
	char number[INET6_ADDRSTRLEN];
	int r = 0;

	if (length >= sizeof(number))
		return wrong(why, "'%.80s' is not an address", text);
	memcpy(number, text, length);
	number[length] = '\0';
	if (percent || inet_pton(AF_INET, number, &a.address) != 1) {
		if (inet_pton(AF_INET6, number, &a.address) != 1)
			return wrong(why, "'%.80s' is not an address", text);
		a.family = AF_INET6;
		r = parse_ipv6(text, percent, &a, why);
	}
	if (r < 0)
		return r;
	*ret = a;
	return 0;
}

/* By name, or by the index that it may be. */
static unsigned int find_interface(const char *scope)
{
	unsigned int index = if_nametoindex(scope);
	char *end;

	if (index || !isdigit((unsigned char)*scope))
		return index;
	index = (unsigned int)strtoul(scope, &end, 10);
	return *end ? 0 : index;
}

bool address_equal(const struct ip_address *a, const struct ip_address *b)
{
	return a->family == b->family && !memcmp(&a->address, &b->address, sizeof(a->address)) &&
	       !strcmp(a->scope, b->scope);
}

int address_locate(const struct ip_address *a, uint16_t port, struct sockaddr_storage *ret,
		   socklen_t *ret_length)
{
	struct sockaddr_in6 v6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = a->address};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};

	if (a->family == AF_INET) {
		memcpy(&v4.sin_addr, &a->address, sizeof(v4.sin_addr));
		memcpy(ret, &v4, sizeof(v4));
		*ret_length = sizeof(v4);
		return 0;
	}
	if (*a->scope) {
		v6.sin6_scope_id = find_interface(a->scope);
		if (!v6.sin6_scope_id)
			return -ENODEV;
	}
	memcpy(ret, &v6, sizeof(v6));
	*ret_length = sizeof(v6);
	return 0;
}

/* -EADDRNOTAVAIL when it is of the other family, -ENODEV when its interface is not there. */
static int bind_source(int fd, sa_family_t family, const struct ip_address *source)
{
	struct sockaddr_storage address;
	socklen_t length;
	int r;

	if (source->family != family)
		return -EADDRNOTAVAIL;
	r = address_locate(source, 0, &address, &length);
	if (r < 0)
		return r;
	if (bind(fd, (struct sockaddr *)&address, length) < 0)
		return -errno;
	return 0;
}

void address_of(const struct sockaddr *address, struct in6_addr *ret, uint32_t *ret_scope)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;

	*ret = (struct in6_addr){0};
	*ret_scope = 0;
	if (address->sa_family == AF_INET6) {
		*ret = v6->sin6_addr;
		*ret_scope = v6->sin6_scope_id;
	} else if (address->sa_family == AF_INET) {
		ret->s6_addr[10] = ret->s6_addr[11] = 0xff;
		memcpy(&ret->s6_addr[12], &v4->sin_addr, sizeof(v4->sin_addr));
	}
}

int address_usable(struct sockaddr *address, socklen_t *length)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
	struct sockaddr_in v4 = {.sin_family = AF_INET};

	if (address->sa_family != AF_INET6)
		return 0;
	if (needs_scope(&v6->sin6_addr) && !v6->sin6_scope_id)
		return -EINVAL;
	if (!IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		return 0;
	v4.sin_port = v6->sin6_port;
	memcpy(&v4.sin_addr, &v6->sin6_addr.s6_addr[12], sizeof(v4.sin_addr));
	memcpy(address, &v4, sizeof(v4));
	*length = sizeof(v4);
	return 0;
}

int address_set_dscp(int fd, uint8_t dscp)
{
	int tos = dscp << 2, family = 0;
	socklen_t length = sizeof(family);
	bool ipv6;

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) < 0)
		return -errno;
	ipv6 = family == AF_INET6;
	return setsockopt(fd, ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, ipv6 ? IPV6_TCLASS : IP_TOS, &tos,
			  sizeof(tos)) < 0
		       ? -errno
		       : 0;
}

int address_set_local(int fd, sa_family_t family, const struct ip_address *source, uint8_t dscp)
{
	int r = dscp ? address_set_dscp(fd, dscp) : 0;

	return r >= 0 && source ? bind_source(fd, family, source) : r;
}
