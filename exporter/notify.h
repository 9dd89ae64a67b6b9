/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Tells a service manager what the exporter is at, in the datagrams of sd_notify(3), and never waits for it. */
#include <stddef.h>
#include <stdint.h>

#define NOTIFY_ROOM \
	4 /* messages that wait for a manager that does not read; the oldest goes first */
#define NOTIFY_MAX 64 /* octets of a message, with the 0 at its end */

/* All 0 at the start. */
struct notifier {
	char waiting[NOTIFY_ROOM][NOTIFY_MAX]; /* oldest first */
	size_t count;
};

/*
 * Tells it `state`, such as "READY=1", behind what waits.  Without a manager, or when it fails, which is logged, nothing
 * waits.
 */
void notifier_tell(struct notifier *n, const char *state);

/* "RELOADING=1" with the time, as systemd.service(5) asks it of Type=notify-reload; READY=1 ends the reload. */
void notifier_tell_reloading(struct notifier *n);

/*
 * Within which time the manager wants to hear from this process, again and again, by WATCHDOG=1 (sd_watchdog_enabled(3)); 0: it
 * does not.
 */
uint64_t notifier_watchdog_ns(void);

/* "WATCHDOG=1", unless the manager has something to read before. */
void notifier_tell_alive(struct notifier *n);

/* Tells what still waits; called now and then. */
void notifier_tell_again(struct notifier *n);
