/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The packets of a pcap or pcapng stream, whatever order of octets, resolution, link types, sections it has.
 * Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng, <https://www.tcpdump.org/linktypes.html>.
 */
#include <stdint.h>
#include <stdio.h>
#include "exporter/util.h"

#define CAPTURE_FILE_HELD  32768      /* octets of a packet that are kept: more than any headers */
#define CAPTURE_FILE_ERROR 200	      /* length of a message */
#define CAPTURE_OCTETS_MAX (1u << 20) /* of a packet in a capture; BIG TCP has 512 KiB */

struct capture_file;

struct capture_file_packet {
	const uint8_t *bytes; /* until the next call */
	uint32_t held;	      /* octets there, CAPTURE_FILE_HELD at most */
	uint32_t octets;      /* of the whole frame */
	uint16_t link;	      /* LINKTYPE_ value */
	uint64_t time_ns;     /* since 1970; 0 before that, and the year 2255 behind that */
};

/*
 * Takes the stream over, also on failure; stdin is not closed.  -EBADMSG: neither pcap nor pcapng, -errno
 * of reading, -ENOMEM; `error` says what is wrong.
 */
int capture_file_open(struct capture_file **ret, FILE *stream, char error[CAPTURE_FILE_ERROR]);
struct capture_file *capture_file_close(struct capture_file *file);
DEFINE_CLEANUP(struct capture_file *, capture_file_close)

/* The link type of all packets; -1: each has its own (pcapng). */
int capture_file_link(const struct capture_file *file);

/* 1 and a packet, or 0 at the end.  -EBADMSG: the file is damaged or cut off; -errno of reading, -ENOMEM. */
int capture_file_next(struct capture_file *file, struct capture_file_packet *ret);
const char *capture_file_error(const struct capture_file *file);

/* Octets taken from the stream so far. */
uint64_t capture_file_position(const struct capture_file *file);
