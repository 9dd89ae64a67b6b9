/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "exporter/meter/capture.h"
#include "exporter/meter/capture_file.h"
#include "xdp/tally.h"

#define SLL_HEADER  16 /* Linux cooked capture */
#define SLL2_HEADER 20
#define NULL_HEADER 4 /* BSD loopback */

/* Link types, <https://www.tcpdump.org/linktypes.html>; raw IP has had other numbers. */
enum link_type {
	LINK_NULL = 0,
	LINK_ETHERNET = 1,
	LINK_RAW_BSD = 12,
	LINK_RAW_OPENBSD = 14,
	LINK_RAW = 101,
	LINK_LOOP = 108,
	LINK_SLL = 113,
	LINK_IPV4 = 228,
	LINK_IPV6 = 229,
	LINK_SLL2 = 276,
};

/* Some that are not understood, by name. */
static const struct {
	int link;
	const char *name;
} link_names[] = {
	{9, "PPP"},
	{105, "IEEE802_11"},
	{127, "IEEE802_11_RADIOTAP"},
	{187, "BLUETOOTH_HCI_H4"},
	{189, "USB_LINUX"},
	{195, "IEEE802_15_4"},
	{201, "BLUETOOTH_HCI_H4_WITH_PHDR"},
	{220, "USB_LINUX_MMAPPED"},
	{239, "NFLOG"},
	{249, "USBPCAP"},
	{253, "NETLINK"},
};

_Static_assert(CAPTURE_ERROR_MAX >= CAPTURE_FILE_ERROR, "the file's error fits");

struct capture {
	struct capture_file *file;
	struct capture_unknown unknown;
};

/* One frame of the capture on its way through the parser. */
struct capture_frame {
	const uint8_t *bytes;
	uint32_t held; /* octets in the capture */
	uint32_t octets;
};

static bool understood(int link)
{
	switch (link) {
	case LINK_NULL:
	case LINK_ETHERNET:
	case LINK_RAW_BSD:
	case LINK_RAW_OPENBSD:
	case LINK_RAW:
	case LINK_LOOP:
	case LINK_SLL:
	case LINK_IPV4:
	case LINK_IPV6:
	case LINK_SLL2:
		return true;
	default:
		return false;
	}
}

const char *capture_link_name(int link)
{
	for (size_t i = 0; i < ARRAY_SIZE(link_names); i++)
		if (link_names[i].link == link)
			return link_names[i].name;
	return "unknown";
}

int capture_open(struct capture **ret, FILE *stream, char error[CAPTURE_ERROR_MAX])
{
	_cleanup_(capture_closep) struct capture *capture = calloc(1, sizeof(*capture));
	struct capture_file *file = NULL;
	int r = capture_file_open(&file, stream, error);

	if (!capture) {
		capture_file_closep(&file);
		snprintf(error, CAPTURE_ERROR_MAX, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	if (r < 0)
		return r;
	capture->file = file;
	r = capture_file_link(file);
	if (r >= 0 && !understood(r)) {
		snprintf(
			error, CAPTURE_ERROR_MAX,
			"link layer %s (%d), but Ethernet, raw IP, Linux cooked or BSD loopback is needed",
			capture_link_name(r), r);
		return -EBADMSG;
	}
	*ret = TAKE_PTR(capture);
	return 0;
}

struct capture *capture_close(struct capture *capture)
{
	if (capture) {
		capture_file_closep(&capture->file);
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
	uint32_t header = link == LINK_SLL			   ? SLL_HEADER
			  : link == LINK_SLL2			   ? SLL2_HEADER
			  : link == LINK_NULL || link == LINK_LOOP ? NULL_HEADER
								   : 0;
	const uint8_t *bytes = f->bytes;

	if (f->held < MAX(header, 1))
		return -1;
	switch (link) {
	case LINK_SLL:
		if (read16(bytes + 4) == ETH_ALEN)
			parse_copy_mac(packet->src_mac, bytes + 6);
		*ret = read16(bytes + 14);
		break;
	case LINK_SLL2:
		if (bytes[11] == ETH_ALEN)
			parse_copy_mac(packet->src_mac, bytes + 12);
		*ret = read16(bytes);
		break;
	case LINK_NULL:
	case LINK_LOOP:
		*ret = loopback_ethertype(bytes);
		break;
	case LINK_IPV6:
		*ret = ETH_P_IPV6;
		break;
	case LINK_IPV4:
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
	struct frame frame = {.captured = true};
	struct cursor cursor;

	if (!understood(link))
		return REASON_LINK_UNKNOWN;
	if (link != LINK_ETHERNET && take_link(link, f, packet, &frame.ethertype) < 0)
		return f->held < f->octets ? REASON_OUT_OF_REACH : REASON_LINK_SHORT;
	frame.octets = f->octets;
	cursor.pos = (void *)f->bytes;
	cursor.end = (void *)(f->bytes + f->held);
	if (link == LINK_ETHERNET)
		return parse_ethernet(&cursor, &frame, packet);
	return parse_bare(&cursor, &frame, packet);
}

int capture_next(struct capture *capture, struct capture_packet *ret)
{
	struct capture_file_packet raw;
	struct packet packet = {0};
	struct capture_frame f;
	struct tally tally;
	int r;

	r = capture_file_next(capture->file, &raw);
	if (r <= 0)
		return r;
	f = (struct capture_frame){.bytes = raw.bytes, .held = raw.held, .octets = raw.octets};
	*ret = (struct capture_packet){.time_ns = raw.time_ns, .octets = f.octets};
	ret->reason = (enum flow_reason)parse_frame(raw.link, &f, &packet);
	if (ret->reason == REASON_LINK_UNKNOWN && !capture->unknown.packets++)
		capture->unknown.link = raw.link;
	if (ret->reason != REASON_NONE)
		return 1;
	tally_packet(&packet, 0, 0, &tally);
	tally_record(&packet, &tally, ret->time_ns, &ret->record);
	ret->key = packet.key;
	return 1;
}

struct capture_unknown capture_unknown(const struct capture *capture)
{
	return capture->unknown;
}

const char *capture_error(const struct capture *capture)
{
	return capture_file_error(capture->file);
}

uint64_t capture_position(const struct capture *capture)
{
	return capture_file_position(capture->file);
}
