/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Packets of a pcap or pcapng stream, parsed as the datapath parses them. */
#include <stdint.h>
#include <stdio.h>
#include "exporter/util.h"
#include "xdp/flow.h"

struct capture;

struct capture_packet {
	uint64_t time_ns;	 /* since 1970, as in the capture */
	enum flow_reason reason; /* REASON_NONE, or why the packet is in no flow */
	uint32_t octets;	 /* of the whole frame, also where the capture holds less */
	struct flow_key key;	 /* direction ingress, ifindex 0; these two with REASON_NONE only */
	struct flow_record record; /* of the flow, if this packet began it */
};

#define CAPTURE_ERROR_MAX 256

/*
 * Takes the stream over, also on failure; stdin is not closed.  -EBADMSG: not a capture, or of a link
 * layer that is not understood; `error` says so.
 */
int capture_open(struct capture **ret, FILE *stream, char error[CAPTURE_ERROR_MAX]);
struct capture *capture_close(struct capture *capture);
DEFINE_CLEANUP(struct capture *, capture_close)

/*
 * 1 and a packet, or 0 at the end.  Errors, see capture_error(): -EBADMSG where the capture is damaged or
 * cut off; -ENOTSUP at an interface (of pcapng) whose link type or snapshot length is not the first one's.
 */
int capture_next(struct capture *capture, struct capture_packet *ret);
const char *capture_error(struct capture *capture);

/* Octets of the stream read so far; -1 if it cannot tell (a pipe). */
int64_t capture_position(struct capture *capture);
