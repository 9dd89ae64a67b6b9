/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Packets of a pcap or pcapng stream, packed by gzip or not, parsed as the datapath parses them. */
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

/* Packets of link layers that are not understood: those of some interfaces of a pcapng stream. */
struct capture_unknown {
	uint64_t packets; /* with REASON_LINK_UNKNOWN */
	int link;	  /* LINKTYPE_ value of the first */
};

/*
 * Takes the stream over, also on failure; stdin is not closed.  -EBADMSG: not a capture, or pcap of a link
 * layer that is not understood; -errno of reading, -ENOMEM; `error` says so.
 */
int capture_open(struct capture **ret, FILE *stream, char error[CAPTURE_ERROR_MAX]);
struct capture *capture_close(struct capture *capture);
DEFINE_CLEANUP(struct capture *, capture_close)

/* 1 and a packet, or 0 at the end.  -EBADMSG where the capture is damaged or cut off; -errno of reading. */
int capture_next(struct capture *capture, struct capture_packet *ret);
const char *capture_error(const struct capture *capture);

struct capture_unknown capture_unknown(const struct capture *capture);
const char *capture_link_name(int link);

/* Octets of the stream read so far. */
uint64_t capture_position(const struct capture *capture);
