/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Addresses of a host name by c-ares, never blocking.  Tried again for ever, at intervals that double
 * from 1 to 60 s.  An address in place of the name is its own answer.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/util.h"

struct ares_addrinfo;
struct resolver;

int resolver_new(struct resolver **ret, const char *host, uint16_t port);
struct resolver *resolver_free(struct resolver *r);
DEFINE_CLEANUP(struct resolver *, resolver_free)

/*
 * Goes on as far as it can.  Returns 1 with the addresses (ares_freeaddrinfo() them), 0 when there is
 * no answer yet, -EAGAIN when an attempt has failed: resolver_why() says why, and it will be tried again.
 */
int resolver_step(struct resolver *r, uint64_t now_ns, struct ares_addrinfo **ret);

/* Whether an attempt is under way. */
bool resolver_busy(const struct resolver *r);

/* What the last failed attempt failed of. */
const char *resolver_why(const struct resolver *r);

/* The addresses were of no use: the name is looked up again after the interval. */
void resolver_retry(struct resolver *r, uint64_t now_ns);

/* The next attempt may begin at once. */
void resolver_hurry(struct resolver *r);

/* The next step is due when this descriptor becomes readable, or after so many ns. */
int resolver_fd(const struct resolver *r);
uint64_t resolver_wait_ns(const struct resolver *r, uint64_t now_ns);
