/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What ICMP says of messages that have been sent. */
#include "exporter/export/udp.h"
#include "exporter/export/udp_sender.h"

/* Counts as lost what the answer is about. */
void udp_note_answer(struct udp_sender *s, const struct udp_answer *answer);

/* Reads and notes all answers; returns whether there was any. */
bool udp_read_answers(struct udp_sender *s);

/* A collector that has not answered for a while takes messages again. */
void udp_note_recovery(struct udp_sender *s, uint64_t now_ns);
