/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What has been sent, and what ICMP says of it. */
#include "exporter/export/udp.h"
#include "exporter/export/udp_sender.h"

/* A message has left: `head` is its header and that of its first set; count: its records, if it has any. */
void udp_note_sent(struct udp_sender *s, const uint8_t *head, const struct export_count *count,
		   uint64_t now_ns);

/*
 * An answer counts when it quotes a message that has been sent a moment ago, or comes from the collector
 * and quotes too little to tell.  What is lost then: that message and all that went after it; all that
 * was sent before the collector had proven to take anything; of an answer that quotes too little, one
 * message.
 */
void udp_note_answer(struct udp_sender *s, const struct udp_answer *answer, uint64_t now_ns);

/* Reads and notes answers, a bounded number of them; returns whether there was any. */
bool udp_read_answers(struct udp_sender *s, uint64_t now_ns);

/* What an answer to another collector of this host has said of the host, and what time has changed. */
void udp_note_time(struct udp_sender *s, uint64_t now_ns);
