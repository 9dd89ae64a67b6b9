/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* When templates, options and statistics are sent over UDP: by time, by count, and at the start. */
#include "exporter/export/udp_sender.h"

/* A session begins. */
void udp_schedule_start(struct udp_sender *s, uint64_t now_ns);

/* Makes pending what is due. */
void udp_schedule(struct udp_sender *s, uint64_t now_ns);

/* The templates have been sent. */
void udp_schedule_sent(struct udp_sender *s, uint64_t now_ns);

/* Time until a step is needed though nothing is queued; UINT64_MAX: none is. */
uint64_t udp_schedule_wait(const struct udp_sender *s, uint64_t now_ns);
