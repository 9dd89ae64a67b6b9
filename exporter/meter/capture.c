/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <pcap/pcap.h>
#include "exporter/meter/capture.h"
#include "xdp/tally.h"

#define SECONDS_MAX 9000000000ll /* the year 2255: what 64 bits of ns can hold */
#define SLL_HEADER  16		 /* Linux cooked capture */
#define SLL2_HEADER 20
#define NULL_HEADER 4 /* BSD loopback */

_Static_assert(CAPTURE_ERROR_MAX >= PCAP_ERRBUF_SIZE, "libpcap writes that much");

struct capture {
	pcap_t *pcap;
	int link;
};

/* One frame of the capture on its way through the parser. */
struct capture_frame {
	const uint8_t *bytes;
	uint32_t held; /* octets in the capture */
	uint32_t octets;
};

int capture_open(struct capture **ret, FILE *stream, char error[CAPTURE_ERROR_MAX])
{
	_cleanup_(fclosep) FILE *own_stream = stream == stdin ? NULL : stream;
	_cleanup_(capture_closep) struct capture *capture = calloc(1, sizeof(*capture));
	const char *name;

	if (!capture) {
		snprintf(error, CAPTURE_ERROR_MAX, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	capture->pcap =
		pcap_fopen_offline_with_tstamp_precision(stream, PCAP_TSTAMP_PRECISION_NANO, error);
	if (!capture->pcap)
		return -EBADMSG;
	own_stream = NULL; /* libpcap closes it */
	capture->link = pcap_datalink(capture->pcap);
	switch (capture->link) {
	case DLT_EN10MB:
	case DLT_RAW:
	case DLT_IPV4:
	case DLT_IPV6:
	case DLT_LINUX_SLL:
	case DLT_LINUX_SLL2:
	case DLT_NULL:
	case DLT_LOOP:
		*ret = TAKE_PTR(capture);
		return 0;
	}
	name = pcap_datalink_val_to_name(capture->link);
	snprintf(error, CAPTURE_ERROR_MAX,
		 "link layer %s (%d), but Ethernet, raw IP, Linux cooked or BSD loopback is needed",
		 name ?: "unknown", capture->link);
	return -EBADMSG;
}

struct capture *capture_close(struct capture *capture)
{
	if (capture) {
		if (capture->pcap)
			pcap_close(capture->pcap);
		free(capture);
	}
	return NULL;
}

/* Passes over a link-layer header, also where the capture does not hold it. */
static void skip(struct capture_frame *f, uint32_t octets)
{
	uint32_t held = MIN(octets, f->held);

	f->bytes += held;
	f->held -= held;
	f->octets -= MIN(octets, f->octets);
}

static uint16_t read16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

/* The address family, in the byte order of whoever wrote the capture; that of IPv6 differs by system. */
static uint16_t loopback_ethertype(const uint8_t *bytes)
{
	uint32_t family = (uint32_t)read16(bytes) << 16 | read16(bytes + 2);

	switch (family > 0xffff ? __builtin_bswap32(family) : family) {
	case 2:
		return ETH_P_IP;
	case 10:
	case 24:
	case 28:
	case 30:
		return ETH_P_IPV6;
	default:
		return 0xffff; /* reserved: counted as another ethertype */
	}
}

/* Passes over a link-layer header that is not Ethernet's; -1 when the frame ends inside it. */
static int take_link(int link, struct capture_frame *f, struct packet *packet, uint16_t *ret)
{
	uint32_t header = link == DLT_LINUX_SLL			 ? SLL_HEADER
			  : link == DLT_LINUX_SLL2		 ? SLL2_HEADER
			  : link == DLT_NULL || link == DLT_LOOP ? NULL_HEADER
								 : 0;
	const uint8_t *bytes = f->bytes;

	if (f->held < MAX(header, 1))
		return -1;
	switch (link) {
	case DLT_LINUX_SLL:
		if (read16(bytes + 4) == ETH_ALEN)
			parse_copy_mac(packet->src_mac, bytes + 6);
		*ret = read16(bytes + 14);
		break;
	case DLT_LINUX_SLL2:
		if (bytes[11] == ETH_ALEN)
			parse_copy_mac(packet->src_mac, bytes + 12);
		*ret = read16(bytes);
		break;
	case DLT_NULL:
	case DLT_LOOP:
		*ret = loopback_ethertype(bytes);
		break;
	case DLT_IPV6:
		*ret = ETH_P_IPV6;
		break;
	case DLT_IPV4:
		*ret = ETH_P_IP;
		break;
	default:
		*ret = bytes[0] >> 4 == 6 ? ETH_P_IPV6 : ETH_P_IP;
	}
	skip(f, header);
	return 0;
}

static int parse_frame(int link, struct capture_frame *f, struct packet *packet)
{
	struct frame frame = {0};
	struct cursor cursor;

	if (link != DLT_EN10MB && take_link(link, f, packet, &frame.ethertype) < 0)
		return f->held < f->octets ? REASON_OUT_OF_REACH : REASON_LINK_SHORT;
	frame.octets = f->octets;
	cursor.pos = (void *)f->bytes;
	cursor.end = (void *)(f->bytes + f->held);
	if (link == DLT_EN10MB)
		return parse_ethernet(&cursor, &frame, packet);
	return parse_bare(&cursor, &frame, packet);
}

/*
 * The 32 bits of seconds in a pcap file are unsigned, but libpcap reads them with a sign: without this,
 * 2038 would be 1901.  Those of pcapng, which it calls version 1, have 64 bits.  Damaged captures have
 * times that are none.
 */
static uint64_t packet_time(const struct capture *capture, const struct pcap_pkthdr *header)
{
	bool narrow = pcap_major_version(capture->pcap) != 1;
	int64_t seconds = narrow ? (int64_t)(uint32_t)header->ts.tv_sec : header->ts.tv_sec;
	int64_t ns = MIN(MAX((int64_t)header->ts.tv_usec, 0), 1000000000000);

	seconds = MIN(MAX(seconds, 0), SECONDS_MAX);
	return (uint64_t)seconds * NSEC_PER_SEC + (uint64_t)ns;
}

/* libpcap has no code for it: another interface of a pcapng file is of another kind than the first. */
static bool differs(const struct capture *capture)
{
	return strstr(pcap_geterr(capture->pcap), "different from the ");
}

int capture_next(struct capture *capture, struct capture_packet *ret)
{
	struct packet packet = {0};
	struct pcap_pkthdr *header;
	struct capture_frame f;
	const uint8_t *bytes;
	struct tally tally;
	int reason, r;

	r = pcap_next_ex(capture->pcap, &header, &bytes);
	if (r == PCAP_ERROR_BREAK)
		return 0;
	if (r != 1)
		return differs(capture) ? -ENOTSUP : -EBADMSG;
	f = (struct capture_frame){
		.bytes = bytes,
		.held = header->caplen,
		.octets = MAX(header->len, header->caplen),
	};
	*ret = (struct capture_packet){.time_ns = packet_time(capture, header), .octets = f.octets};
	reason = parse_frame(capture->link, &f, &packet);
	ret->reason = (enum flow_reason)reason;
	if (reason != REASON_NONE)
		return 1;
	tally_packet(&packet, 0, 0, &tally);
	tally_record(&packet, &tally, ret->time_ns, &ret->record);
	ret->key = packet.key;
	return 1;
}

const char *capture_error(struct capture *capture)
{
	return pcap_geterr(capture->pcap);
}

int64_t capture_position(struct capture *capture)
{
	return ftello(pcap_file(capture->pcap));
}
