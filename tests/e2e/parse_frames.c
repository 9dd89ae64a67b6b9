/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parser makes of each frame, one line each, for a judge that has another parser (test_parse_judge.py).
 *
 *   parse_frames captures FILE...   frames of captures
 *   parse_frames table FILE         the rows of tests/packets.h, which are written to the capture FILE
 *   parse_frames cut FILE           each of them as a frame that ends after each of its octets, likewise
 *
 * What a hook knows of a row beside its bytes is put into the frame that is written: a tag, an Ethernet header.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include "exporter/meter/capture.h"
#include "exporter/observe/ledger.h"
#include "tests/packets.h"
#include "xdp/tally.h"

#define FRAME_MAX 4096

static void print_address(const struct flow_key *key, const uint8_t *address)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(key->kind & FLOW_IPV6 ? AF_INET6 : AF_INET, address, text, sizeof(text));
	printf("\t%s", text);
}

static void print_mac(const uint8_t *mac)
{
	printf("\t%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

/* Where it comes from, and a reason or, behind "flow", what is in its key and record. */
static void print_frame(const char *name, unsigned int number, const struct capture_packet *p)
{
	const struct flow_record *r = &p->record;
	const struct flow_key *k = &p->key;

	printf("%s\t%u\t", name, number);
	if (p->reason != REASON_NONE) {
		printf("%s\n", flow_reason_name(p->reason));
		return;
	}
	printf("flow\t%u", k->kind & FLOW_IPV6 ? 6 : 4);
	print_address(k, k->src);
	print_address(k, k->dst);
	printf("\t%u\t%u\t%u\t%u\t%u", k->protocol, ntohs(k->src_port), ntohs(k->dst_port),
	       k->outer_vlan, k->inner_vlan);
	printf("\t%u\t%u\t%u\t%u\t%llu\t%u", r->min_ttl, r->tos, r->flow_label, r->tcp_flags,
	       (unsigned long long)r->octets, r->link_octets);
	print_mac(r->src_mac);
	print_mac(r->dst_mac);
	printf("\n");
}

/* A broken test is better seen at once. */
static void need(bool ok, const char *what, const char *name)
{
	if (ok)
		return;
	fprintf(stderr, "parse_frames: %s: %s\n", name, what);
	exit(1);
}

static void read_capture(const char *path)
{
	const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	_cleanup_(capture_closep) struct capture *capture = NULL;
	char error[CAPTURE_ERROR_MAX] = "";
	FILE *stream = fopen(path, "re");
	struct capture_packet packet;
	unsigned int number = 0;

	need(stream, "cannot be read", path);
	need(capture_open(&capture, stream, error) == 0, error, path);
	while (capture_next(capture, &packet) == 1)
		print_frame(name, ++number, &packet);
}

static void write_words(FILE *file, const uint32_t *words, size_t count)
{
	need(fwrite(words, sizeof(*words), count, file) == count, "cannot write", "the capture");
}

static void write_frame(FILE *file, const uint8_t *frame, unsigned int octets)
{
	const uint32_t head[] = {0, 0, octets, octets};

	write_words(file, head, 4);
	need(fwrite(frame, 1, octets, file) == octets, "cannot write", "the capture");
}

/* The row's first octets as a frame of Ethernet; returns how many there are. */
static unsigned int whole_frame(const struct test_packet *t, unsigned int octets, uint8_t *frame)
{
	uint8_t type[] = {BE16(t->ethertype)}, tag[] = {BE16(0x8100), BE16(t->vlan)};
	unsigned int head = t->ethertype ? 12 : octets < 12 ? octets : 12, used = head;

	memset(frame, 0, 12);
	if (!t->ethertype)
		memcpy(frame, t->bytes, head);
	if (t->vlan_tagged) {
		memcpy(frame + used, tag, sizeof(tag));
		used += sizeof(tag);
	}
	if (t->ethertype) {
		memcpy(frame + used, type, sizeof(type));
		used += sizeof(type);
		head = 0;
	}
	memcpy(frame + used, t->bytes + head, octets - head);
	return used + octets - head;
}

static void parse_row(FILE *file, const struct test_packet *t, unsigned int octets)
{
	const struct frame f = {.octets = octets,
				.ethertype = t->ethertype,
				.vlan = t->vlan,
				.vlan_tagged = t->vlan_tagged};
	uint8_t frame[FRAME_MAX], *copy = malloc(octets ? octets : 1);
	struct cursor c = {.pos = copy, .end = copy + octets};
	struct capture_packet out = {0};
	struct packet p = {0};
	struct tally tally;

	need(copy, "no memory", t->name);
	memcpy(copy, t->bytes, octets);
	out.reason = (enum flow_reason)(t->ethertype ? parse_bare(&c, &f, &p)
						     : parse_ethernet(&c, &f, &p));
	if (out.reason == REASON_NONE) {
		tally_packet(&p, 0, 0, &tally);
		tally_record(&p, &tally, 0, &out.record);
		out.record.link_octets = (uint8_t)(p.link_octets + (t->ethertype ? 14 : 0));
		out.key = p.key;
	}
	free(copy);
	write_frame(file, frame, whole_frame(t, octets, frame));
	print_frame(t->name, octets, &out);
}

static void parse_rows(FILE *file, bool cut)
{
	/* pcap 2.4, of Ethernet */
	const uint32_t head[] = {0xa1b2c3d4, 4 << 16 | 2, 0, 0, FRAME_MAX, 1};

	need(file, "cannot be written", "the capture");
	write_words(file, head, 6);
	for (size_t i = 0; i < TEST_PACKETS; i++) {
		const struct test_packet *t = &test_packets[i];

		/* A tag that is put in comes behind the addresses. */
		for (unsigned int octets = t->vlan_tagged ? 12 : 0; cut && octets < t->size;
		     octets++)
			parse_row(file, t, octets);
		if (!cut)
			parse_row(file, t, t->size);
	}
	need(fclose(file) == 0, "cannot write", "the capture");
}

int main(int argc, char **argv)
{
	need(argc > 2, "captures|table|cut FILE...", "usage");
	if (strcmp(argv[1], "captures") != 0)
		parse_rows(fopen(argv[2], "we"), !strcmp(argv[1], "cut"));
	else
		for (int i = 2; i < argc; i++)
			read_capture(argv[i]);
	return 0;
}
