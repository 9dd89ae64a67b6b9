/* SPDX-License-Identifier: Apache-2.0 */
/* Capture files under libFuzzer: whatever the file, each packet is one that the parser could have made. */
#include "exporter/meter/capture.h"
#include "tests/fuzz/fuzz.h"
#include "tests/packets.h"

#define PACKETS_MAX 100000

static const char *check_packet(const struct capture_packet *p)
{
	if (p->reason >= _REASON_MAX || p->reason == REASON_BANK_FULL ||
	    p->reason == REASON_INSERT_ERROR)
		return "not a reason of the parser's";
	if (p->reason != REASON_NONE)
		return NULL;
	if (p->key.ifindex || p->key.kind & FLOW_EGRESS)
		return "an interface or a direction";
	if (p->record.packets != 1 || p->record.octets > p->octets)
		return "another count than one packet within its frame";
	if (p->record.first_ns != p->time_ns || p->record.last_ns != p->time_ns)
		return "another time than the packet's";
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(capture_closep) struct capture *capture = NULL;
	char error[CAPTURE_ERROR_MAX] = "";
	struct capture_packet packet;
	FILE *stream = size ? fmemopen((void *)data, size, "r") : NULL;
	int r, packets = 0;

	if (!stream)
		return -1;
	r = capture_open(&capture, stream, error);
	if (r < 0) {
		fuzz_require(error[0] ? NULL : "refused without a word");
		return 0;
	}
	while ((r = capture_next(capture, &packet)) == 1 && packets++ < PACKETS_MAX)
		fuzz_require(check_packet(&packet));
	fuzz_require(r < 0 && !capture_error(capture)[0] ? "damaged without a word" : NULL);
	return 0;
}

struct pcap_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t zone, accuracy, snaplen, link;
	uint32_t seconds, fraction, held, octets; /* of the packet */
};

/* A section, an interface with a resolution of its own, and a packet whose octets follow. */
static void write_pcapng_seed(size_t number, const struct test_packet *t)
{
	const uint32_t padded = (t->size + 3) / 4 * 4,
		       blocks[] = {
			       0x0a0d0d0a, 28,		0x1a2b3c4d, 1,	UINT32_MAX,
			       UINT32_MAX, 28,		1,	    32, 1,
			       0,	   1 << 16 | 9, 9,	    0,	32, /* tsresol */
			       6,	   32 + padded, 0,	    0,	0,
			       t->size,	   t->size,
		       };
	uint8_t body[4096] = {0};

	if (padded + 4 > sizeof(body))
		return;
	memcpy(body, t->bytes, t->size);
	memcpy(body + padded, &blocks[16], 4);
	fuzz_write_seed(number, blocks, sizeof(blocks), body, padded + 4);
}

/* As gzip has it that does not pack: one stored block (RFC 1951, 1952), and an end that is not checked. */
static void write_gzip_seed(size_t number, const struct pcap_header *header,
			    const struct test_packet *t)
{
	const uint16_t size = (uint16_t)(sizeof(*header) + t->size);
	const uint8_t head[] = {0x1f,
				0x8b,
				8,
				0,
				0,
				0,
				0,
				0,
				0,
				3,
				1,
				size & 0xff,
				size >> 8,
				~size & 0xff,
				(~size >> 8) & 0xff};
	uint8_t all[sizeof(head) + sizeof(*header)];

	memcpy(all, head, sizeof(head));
	memcpy(all + sizeof(head), header, sizeof(*header));
	fuzz_write_seed(number, all, sizeof(all), t->bytes, t->size);
}

/* A capture of each packet of the table, of one link layer and form after the other. */
void fuzz_write_seeds(void)
{
	static const uint32_t links[] = {1, 101, 113, 276, 0, 108, 228, 229};

	for (size_t i = 0; i < TEST_PACKETS; i++) {
		const struct test_packet *t = &test_packets[i];
		const struct pcap_header header = {
			.magic = i % 2 ? 0xa1b2c3d4 : 0xa1b23c4d,
			.major = 2,
			.minor = 4,
			.snaplen = 262144,
			.link = i % 3 ? 1 : links[i / 3 % ARRAY_SIZE(links)],
			.held = t->size,
			.octets = t->size + (uint32_t)(i % 7),
		};

		if (i % 5 == 0)
			write_pcapng_seed(i, t);
		else if (i % 11 == 0)
			write_gzip_seed(i, &header, t);
		else
			fuzz_write_seed(i, &header, sizeof(header), t->bytes, t->size);
	}
}
