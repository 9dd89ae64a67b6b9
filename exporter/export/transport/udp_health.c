/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include "exporter/export/transport/udp_health.h"
#include "exporter/util.h"

/* The first probe comes so long after the error; an answered one doubles that. */
#define BACKOFF_MIN_NS (1 * NSEC_PER_SEC)
#define BACKOFF_MAX_NS (8 * NSEC_PER_SEC)

/*
 * Between probes that are not answered: more than the second in which a host sends one error, and in three
 * of them more than the three seconds in which a neighbour is looked for (RFC 4861 section 10, and ARP by
 * net.ipv4.neigh.*.mcast_solicit).
 */
#define SPACING_NS	       (1250 * NSEC_PER_MSEC)
#define SPACING_UNREACHABLE_NS (2 * NSEC_PER_SEC)
#define PROBES		       3

#define TRIAL_NS      (4 * NSEC_PER_SEC)
#define TRIAL_STEP_NS (1 * NSEC_PER_SEC)
#define TRIAL_DOUBLES 6 /* so often: 64 messages a second at most */

/* Up for so long without an error, it is not relapsing any more, and what was sent at first has arrived. */
#define PROVEN_NS (10 * NSEC_PER_SEC)

/* Without a failure of sends, until they are over. */
#define CALM_MIN_NS (1 * NSEC_PER_SEC)
#define CALM_MAX_NS (60 * NSEC_PER_SEC)

#define RELAPSES_MAX 5 /* each doubles spacing, trial and PROVEN_NS */

struct udp_host *udp_host_get(struct udp_host *hosts, unsigned int count,
			      const struct in6_addr *address, uint32_t scope)
{
	struct udp_host *free_one = NULL;

	for (unsigned int i = 0; i < count; i++) {
		struct udp_host *host = &hosts[i];

		if (!host->users) {
			free_one = free_one ? free_one : host;
		} else if (!memcmp(&host->address, address, sizeof(*address)) &&
			   host->scope == scope) {
			host->users++;
			return host;
		}
	}
	if (free_one)
		*free_one = (struct udp_host){.address = *address, .scope = scope, .users = 1};
	return free_one;
}

void udp_host_put(struct udp_host *host)
{
	if (host)
		host->users--;
}

void udp_health_start(struct udp_health *h, struct udp_host *host, uint64_t now_ns)
{
	*h = (struct udp_health){
		.host = host, .phase = UDP_UP, .since_ns = now_ns, .error_ns = now_ns};
}

static uint64_t longer(const struct udp_health *h, uint64_t ns)
{
	return ns << h->relapses;
}

static uint64_t spacing_ns(const struct udp_health *h)
{
	return longer(h, h->unreachable ? SPACING_UNREACHABLE_NS : SPACING_NS);
}

static void die(struct udp_health *h, uint64_t now_ns)
{
	bool relapse = h->phase == UDP_TRIAL ||
		       (h->was_dead && now_ns - h->since_ns < longer(h, PROVEN_NS));

	h->relapses = relapse ? MIN(h->relapses + 1, RELAPSES_MAX) : 0;
	h->phase = UDP_DEAD;
	h->was_dead = true;
	h->failing = false; /* who gets an answer has sent */
	h->silent = 0;
	h->backoff_ns = BACKOFF_MIN_NS;
	h->next_ns = now_ns + h->backoff_ns;
}

bool udp_health_error(struct udp_health *h, int error, uint64_t sent_ns, uint64_t now_ns)
{
	h->error_ns = now_ns;
	if (h->phase != UDP_DEAD) {
		h->unreachable = error != ECONNREFUSED;
		die(h, now_ns);
		return true;
	}
	if (!h->silent || sent_ns < h->since_ns)
		return false; /* about what went before the probes */
	h->unreachable = error != ECONNREFUSED;
	h->silent = 0;
	h->backoff_ns = MIN(2 * h->backoff_ns, BACKOFF_MAX_NS);
	h->next_ns = now_ns + h->backoff_ns;
	return true;
}

bool udp_health_probe_due(const struct udp_health *h, uint64_t now_ns)
{
	return h->phase == UDP_DEAD && h->silent < PROBES && now_ns >= h->next_ns &&
	       now_ns >= h->host->free_ns;
}

void udp_health_probed(struct udp_health *h, uint64_t now_ns)
{
	if (!h->silent++)
		h->since_ns = now_ns;
	h->next_ns = now_ns + spacing_ns(h);
	h->host->free_ns = now_ns + SPACING_NS;
}

bool udp_health_step(struct udp_health *h, uint64_t now_ns)
{
	if (h->phase == UDP_DEAD && h->silent == PROBES && now_ns >= h->next_ns) {
		h->phase = UDP_TRIAL;
		h->since_ns = now_ns;
		h->tried = 0;
		return true;
	}
	if (h->phase == UDP_TRIAL && now_ns - h->since_ns >= longer(h, TRIAL_NS)) {
		h->phase = UDP_UP;
		h->since_ns = now_ns;
		return true;
	}
	return false;
}

unsigned int udp_health_allows(const struct udp_health *h, uint64_t now_ns)
{
	uint64_t steps = (now_ns - h->since_ns) / TRIAL_STEP_NS;
	uint64_t allowed;

	if (h->phase == UDP_UP)
		return UINT32_MAX;
	if (h->phase == UDP_DEAD)
		return 0;
	/* 1 + 2 + 4 + ... */
	allowed = (2ull << MIN(steps, TRIAL_DOUBLES)) - 1;
	if (steps > TRIAL_DOUBLES)
		allowed += (steps - TRIAL_DOUBLES) << TRIAL_DOUBLES;
	return (unsigned int)(allowed - MIN(allowed, h->tried));
}

void udp_health_sent(struct udp_health *h, unsigned int messages, uint64_t now_ns)
{
	if (h->phase != UDP_TRIAL)
		return;
	h->tried += messages;
	h->host->free_ns = now_ns + SPACING_NS;
}

bool udp_health_unproven(const struct udp_health *h, uint64_t now_ns)
{
	return h->phase == UDP_TRIAL ||
	       (h->phase == UDP_UP && !h->was_dead && now_ns - h->since_ns < PROVEN_NS);
}

void udp_health_failed(struct udp_health *h, uint64_t now_ns)
{
	bool relapse = h->mended_ns && now_ns - h->mended_ns < CALM_MAX_NS;
	bool goes_on = h->failing && now_ns - h->failed_ns < CALM_MAX_NS;

	h->failed_ns = now_ns;
	if (goes_on)
		return;
	h->failing = true;
	h->calm_ns = relapse ? MIN(2 * h->calm_ns, CALM_MAX_NS) : CALM_MIN_NS;
}

bool udp_health_mended(struct udp_health *h, uint64_t now_ns)
{
	if (!h->failing)
		return true;
	if (now_ns - h->failed_ns < h->calm_ns)
		return false;
	h->failing = false;
	h->mended_ns = now_ns;
	return true;
}

static uint64_t until(uint64_t due_ns, uint64_t now_ns)
{
	return due_ns > now_ns ? due_ns - now_ns : 0;
}

uint64_t udp_health_wait(const struct udp_health *h, uint64_t now_ns)
{
	uint64_t steps;

	switch (h->phase) {
	case UDP_DEAD:
		return until(h->silent == PROBES ? h->next_ns : MAX(h->next_ns, h->host->free_ns),
			     now_ns);
	case UDP_TRIAL:
		steps = (now_ns - h->since_ns) / TRIAL_STEP_NS + 1;
		return until(MIN(h->since_ns + steps * TRIAL_STEP_NS,
				 h->since_ns + longer(h, TRIAL_NS)),
			     now_ns);
	case UDP_UP:
		break;
	}
	return UINT64_MAX;
}
