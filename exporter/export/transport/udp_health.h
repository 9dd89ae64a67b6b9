/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Whether a collector takes what is sent to it.  UDP has no positive sign of that: there are ICMP errors,
 * and there is silence.  Silence proves little, since hosts send an error a second (Linux:
 * net.ipv4.icmp_ratelimit), and a neighbour that is off takes three seconds to be found missing.  So:
 *
 * - an error makes a collector dead, and nothing but probes goes to it: one message at a time, without a
 *   record, at intervals that double while each is answered by an error;
 * - three probes without an answer begin a trial.  Records go, one message in the first second, then two,
 *   four, eight; an error in answer to any of them makes the collector dead again;
 * - it is up when the trial is over.  Who relapses is given longer probes and a longer trial.
 *
 * Collectors at one address share what its host has to answer: one is probed or tried at a time.
 * Times are those of CLOCK_MONOTONIC, in ns.
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

/* An address to which collectors are connected. */
struct udp_host {
	struct in6_addr address; /* IPv4: mapped */
	uint32_t scope;
	unsigned int users;
	uint64_t free_ns; /* no other collector is probed before */
	uint64_t lost_ns; /* when an error last said that the host cannot be reached; 0: never */
	uint64_t lost_sent_ns; /* when the message was sent that it answers */
	int lost_error;
};

enum udp_phase {
	UDP_UP,
	UDP_DEAD,
	UDP_TRIAL,
};

struct udp_health {
	struct udp_host *host; /* NULL: there never was a socket */
	enum udp_phase phase;
	uint64_t since_ns; /* up and trial: their beginning; dead: the first probe that is not answered */
	uint64_t next_ns; /* dead: no probe before */
	uint64_t backoff_ns;
	unsigned int silent;   /* dead: probes in a row without answer */
	unsigned int relapses; /* times that it was found dead again, soon after it was up */
	unsigned int tried;    /* trial: messages sent */
	bool was_dead;
	bool unreachable; /* the last error was about a host, not a port: the next may take seconds */
	uint64_t error_ns; /* when the last error was read */

	bool failing;	    /* the system refuses sends */
	uint64_t failed_ns; /* when it last did */
	uint64_t mended_ns; /* when that was over; 0: it never was */
	uint64_t calm_ns;   /* without a failure, until it is */
};

/* A table of `count` hosts, zeroed at first: the one of this address, with a user more; never NULL if count
 * is the number of collectors. */
struct udp_host *udp_host_get(struct udp_host *hosts, unsigned int count,
			      const struct in6_addr *address, uint32_t scope);
void udp_host_put(struct udp_host *host);

/* Another host, or the first: it is up until an error says otherwise. */
void udp_health_start(struct udp_health *h, struct udp_host *host, uint64_t now_ns);

/*
 * An error in answer to a message that was sent at sent_ns.  Returns whether it says something new: that
 * the collector is dead from now on, or still is.
 */
bool udp_health_error(struct udp_health *h, int error, uint64_t sent_ns, uint64_t now_ns);

/* Whether the probe may go now; and that it has gone. */
bool udp_health_probe_due(const struct udp_health *h, uint64_t now_ns);
void udp_health_probed(struct udp_health *h, uint64_t now_ns);

/* What time alone changes; returns whether the phase has changed. */
bool udp_health_step(struct udp_health *h, uint64_t now_ns);

/* Messages with records that may go now, and that so many have gone. */
unsigned int udp_health_allows(const struct udp_health *h, uint64_t now_ns);
void udp_health_sent(struct udp_health *h, unsigned int messages, uint64_t now_ns);

/* Whether an error would say of all that went since since_ns that it is lost. */
bool udp_health_unproven(const struct udp_health *h, uint64_t now_ns);

/*
 * A send failed in this system, by a packet filter or for want of a route; and a send succeeded: true when the failures
 * are over, which takes a second without one, and twice the time, up to a minute, each time that it was wrong.
 */
void udp_health_failed(struct udp_health *h, uint64_t now_ns);
bool udp_health_mended(struct udp_health *h, uint64_t now_ns);

/* Time until udp_health_step() or a probe is due; UINT64_MAX: neither is. */
uint64_t udp_health_wait(const struct udp_health *h, uint64_t now_ns);
