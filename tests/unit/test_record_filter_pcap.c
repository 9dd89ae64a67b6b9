/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Expressions that libpcap understands too: for each packet, the view of its flow must match where libpcap says that the
 * packet does.  With captures as arguments, for their packets as well.  Left out is where records are meant to say more
 * than libpcap, see docs/filter.md: behind tags, PPPoE and IPv6 extension headers, and TCP flags in IPv6.
 */
#include <arpa/inet.h>
#include <pcap/pcap.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "exporter/export/format/fields.h"
#include "exporter/export/format/wire.h"
#include "exporter/observe/record_filter.h"
#include "tests/packets.h"
#include "tests/unit/flows.h"

#define FRAME_MAX   128
#define EXPRESSIONS 4000
#define FRAMES	    300
#define TEXT_MAX    1024

/* A packet, and what flowtally makes of it. */
struct sample {
	uint8_t frame[FRAME_MAX];
	uint32_t length;
	unsigned int tags;
	struct record_view view;
};

static struct sample samples[FRAMES];
static pcap_t *judge;
static uint64_t state = 0x1234567;

static unsigned int pick(unsigned int count)
{
	return (unsigned int)((random_next(&state) >> 20) % count);
}

#define PICK(list) ((list)[pick(ARRAY_SIZE(list))])

/* False: the packet is in no flow. */
static bool view_frame(struct record_view *ret, const uint8_t *frame, uint32_t length)
{
	static const struct record_context context;
	const struct frame f = {.octets = length};
	struct cursor c = {.pos = (void *)(uintptr_t)frame,
			   .end = (void *)(uintptr_t)(frame + length)};
	struct packet p = {0};
	struct flow flow;

	if (parse_ethernet(&c, &f, &p) != REASON_NONE)
		return false;
	flow = (struct flow){
		.key = p.key,
		.record = {.packets = 1, .octets = p.octets, .tcp_flags = p.tcp_flags, .tos = p.tos},
	};
	record_view_of_flow(ret, &flow, &context);
	return true;
}

/* --- Frames of few addresses and ports, so that expressions meet them. */

static const char *const addresses4[] = {"10.1.2.3",  "10.1.2.4",  "10.1.200.1",     "10.9.0.1",
					 "192.0.2.1", "224.0.0.5", "255.255.255.255"};
static const char *const addresses6[] = {"2001:db8::1", "2001:db8::2", "2001:db8:1::1", "fe80::1",
					 "ff02::1"};
static const uint16_t ports[] = {1, 53, 80, 443, 1023, 1024, 8080, 65535};
static const uint8_t protocols[] = {6, 6, 6, 17, 17, 132, 1, 58, 2, 50, 51, 103, 112, 47, 136, 33};
static const uint16_t tags[] = {1, 100, 200, 4094};

#define L4_OCTETS 24

static void put_l4(uint8_t *at, uint8_t protocol)
{
	static const uint8_t types[] = {0, 1, 3, 8, 11, 128, 135};

	memset(at, 0, L4_OCTETS);
	if (protocol == 1 || protocol == 58) {
		at[0] = PICK(types);
		at[1] = (uint8_t)pick(5);
		return;
	}
	wire_store16(at, PICK(ports));
	wire_store16(at + 2, PICK(ports));
	if (protocol == 6) {
		at[12] = 0x50;
		at[13] = (uint8_t)pick(256);
	} else if (protocol == 17) {
		wire_store16(at + 4, L4_OCTETS);
	}
}

static uint32_t put_ipv4(uint8_t *at, uint8_t protocol)
{
	memset(at, 0, 20);
	at[0] = 0x45;
	at[1] = (uint8_t)(pick(2) ? 0xb8 : pick(256));
	wire_store16(at + 2, 20 + L4_OCTETS);
	at[8] = 64;
	at[9] = protocol;
	inet_pton(AF_INET, PICK(addresses4), at + 12);
	inet_pton(AF_INET, PICK(addresses4), at + 16);
	put_l4(at + 20, protocol);
	return 20 + L4_OCTETS;
}

static uint32_t put_ipv6(uint8_t *at, uint8_t protocol)
{
	/* AH is an extension header there. */
	uint8_t next = protocol == 51 ? 6 : protocol;

	memset(at, 0, 40);
	at[0] = 0x60;
	wire_store16(at + 4, L4_OCTETS);
	at[6] = next;
	at[7] = 64;
	inet_pton(AF_INET6, PICK(addresses6), at + 8);
	inet_pton(AF_INET6, PICK(addresses6), at + 24);
	put_l4(at + 40, next);
	return 40 + L4_OCTETS;
}

static void make_sample(struct sample *s, unsigned int tag_count)
{
	bool ipv6 = pick(3) == 0;
	uint8_t *at = s->frame + 12;

	memset(s, 0, sizeof(*s));
	s->tags = tag_count;
	for (unsigned int i = 0; i < tag_count; i++, at += 4) {
		wire_store16(at, 0x8100);
		wire_store16(at + 2, PICK(tags));
	}
	wire_store16(at, ipv6 ? 0x86dd : 0x0800);
	at += 2;
	at += ipv6 ? put_ipv6(at, PICK(protocols)) : put_ipv4(at, PICK(protocols));
	s->length = (uint32_t)(at - s->frame);
	assert_true(view_frame(&s->view, s->frame, s->length));
}

/* --- Expressions: primitives that both know, joined in every way. */

static void print_ids(FILE *out, const char *(*id)(void))
{
	static const char *const joints[] = {"or", "and", "||", "or not", "&& !"};
	unsigned int more = pick(3);

	if (more == 2 && pick(2)) {
		fprintf(out, " (%s or not %s)", id(), id());
		return;
	}
	fprintf(out, " %s", id());
	for (unsigned int i = 0; i < more && pick(2); i++)
		fprintf(out, " %s %s", PICK(joints), id());
}

static const char *id_host(void)
{
	return pick(3) ? PICK(addresses4) : PICK(addresses6);
}

static const char *id_host4(void)
{
	static const char *const short_ones[] = {"10.1", "10.1.2", "192.0.2"};

	return pick(4) ? PICK(addresses4) : PICK(short_ones);
}

static const char *id_net(void)
{
	static const char *const nets[] = {
		"10",
		"10.1",
		"10.1.2",
		"10.1.0.0/16",
		"10.1.2.0/24",
		"10.1.2.2/31",
		"10.1.2.0/25",
		"0.0.0.0/0",
		"10.1.2.3",
		"192.0.2.1/32",
		"2001:db8::/32",
		"2001:db8::/48",
		"fe80::/10",
		"ff00::/8",
		"2001:db8::1",
		"::/0",
		"2001:db8::2/127",
		"10.1/16",
		"128.0.0.0/1",
		"10.1.2.0 mask 255.255.255.0",
		"10.0.0.0 mask 255.0.0.0",
	};

	return PICK(nets);
}

static const char *id_port(void)
{
	static const char *const names[] = {"1",    "53",   "80",    "443",  "1023",
					    "1024", "8080", "65535", "0x50", "0120"};

	return PICK(names);
}

static const char *id_range(void)
{
	static const char *const ranges[] = {"0-1023", "80-443", "1024-65535", "443-80", "53-53"};

	return PICK(ranges);
}

static const char *id_protocol(void)
{
	static const char *const names[] = {"6", "17", "\\tcp", "\\udp", "132", "1", "58", "0x2f"};

	return PICK(names);
}

static const char *const ends[] = {
	"", "src ", "dst ", "src or dst ", "dst or src ", "src and dst "};

static void print_simple(FILE *out)
{
	static const char *const simple[] = {
		"ip",
		"ip6",
		"tcp",
		"udp",
		"sctp",
		"icmp",
		"icmp6",
		"igmp",
		"esp",
		"ah",
		"vrrp",
		"pim",
		"ip multicast",
		"ip6 multicast",
		"port http",
		"tcp port http",
		"udp port domain",
		"src port domain",
	};

	fprintf(out, "%s", PICK(simple));
}

static void print_octets(FILE *out)
{
	static const char *const octets[] = {
		"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
		"tcp[tcpflags] & tcp-rst != 0",
		"tcp[tcpflags] == tcp-syn",
		"tcp[13] & 2 == 2",
		"(tcp[tcpflags] & tcp-ack) == 0",
		"tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn",
		"tcp[13:1] & 0x12 = 0x12",
		"tcp[tcpflags] >= 0x80",
		"icmp[icmptype] = icmp-echo",
		"icmp[icmptype] != icmp-echo",
		"icmp[1] > 1",
		"icmp[icmpcode] <= 1",
		"ip[1] & 0xfc = 0xb8",
		"ip[9] != 6",
		"ip[9] < 18",
		"tcp[2:2] >= 443",
		"tcp[0:2] = 80",
		"udp[0:2] < 1024",
		"udp[2:2] == 53",
		"sctp[0:2] > 80",
	};

	fprintf(out, "%s", PICK(octets));
}

/* Whether records say more of IPv6 than libpcap. */
static bool print_primitive(FILE *out)
{
	static const char *const of[] = {"", "", "tcp ", "udp ", "sctp "};

	switch (pick(9)) {
	case 0:
		fprintf(out, "%shost", PICK(ends));
		print_ids(out, id_host);
		return false;
	case 1:
		fprintf(out, "ip %shost", PICK(ends));
		print_ids(out, id_host4);
		return false;
	case 2:
		fprintf(out, "%snet", PICK(ends));
		print_ids(out, id_net);
		return false;
	case 3:
		fprintf(out, "%s%sport", PICK(of), PICK(ends));
		print_ids(out, id_port);
		return false;
	case 4:
		fprintf(out, "%s%sportrange", PICK(of), PICK(ends));
		print_ids(out, id_range);
		return false;
	case 5:
		fprintf(out, "%sproto", pick(2) ? "" : pick(2) ? "ip " : "ip6 ");
		print_ids(out, id_protocol);
		return false;
	case 6:
		print_octets(out);
		return true;
	default:
		print_simple(out);
		return false;
	}
}

static bool print_expression(FILE *out, unsigned int depth)
{
	static const char *const joints[] = {" and ", " or ", " && ", " || "};
	unsigned int terms = 1 + pick(3);
	bool more = false;

	for (unsigned int i = 0; i < terms; i++) {
		fprintf(out, "%s%s", i ? PICK(joints) : "",
			pick(4)	  ? ""
			: pick(2) ? "not "
				  : "! ! !");
		if (depth && pick(3) == 0) {
			fputc('(', out);
			more |= print_expression(out, depth - 1);
			fputc(')', out);
		} else {
			more |= print_primitive(out);
		}
	}
	return more;
}

/* --- The comparison. */

struct both {
	struct bpf_program program;
	struct record_filter *filter;
};

static void both_compile(struct both *both, const char *text)
{
	char error[FILTER_ERROR_MAX];

	if (pcap_compile(judge, &both->program, text, 0, PCAP_NETMASK_UNKNOWN) != 0)
		fail_msg("libpcap refuses \"%s\": %s", text, pcap_geterr(judge));
	if (record_filter_new(&both->filter, text, error) != 0)
		fail_msg("\"%s\" is refused: %s", text, error);
}

static void both_free(struct both *both)
{
	pcap_freecode(&both->program);
	record_filter_freep(&both->filter);
}

static bool judge_frame(const struct both *both, const uint8_t *frame, uint32_t length)
{
	const struct pcap_pkthdr header = {.caplen = length, .len = length};

	return pcap_offline_filter(&both->program, &header, frame) != 0;
}

static void compare(const struct both *both, const char *text, const char *what,
		    const uint8_t *frame, uint32_t length, const struct record_view *view)
{
	bool expected = judge_frame(both, frame, length);

	if (record_filter_matches(both->filter, view) != expected)
		fail_msg("\"%s\" %s of %s, and libpcap says the contrary", text,
			 expected ? "is false" : "is true", what);
}

static void compare_samples(const char *text, bool ipv4_alone, unsigned int *ret_true)
{
	struct both both = {0};
	char what[32];

	both_compile(&both, text);
	for (unsigned int i = 0; i < FRAMES; i++) {
		if (ipv4_alone && samples[i].view.ip_version == 6)
			continue;
		snprintf(what, sizeof(what), "sample %u", i);
		compare(&both, text, what, samples[i].frame, samples[i].length, &samples[i].view);
		*ret_true += judge_frame(&both, samples[i].frame, samples[i].length);
	}
	both_free(&both);
}

static void test_random_expressions(void **unused)
{
	unsigned int truths = 0;

	(void)unused;
	for (unsigned int i = 0; i < FRAMES; i++)
		make_sample(&samples[i], 0);
	for (unsigned int i = 0; i < EXPRESSIONS; i++) {
		char text[TEXT_MAX] = "";
		FILE *out = fmemopen(text, sizeof(text), "w");
		bool ipv4_alone;

		assert_non_null(out);
		ipv4_alone = print_expression(out, 2);
		fclose(out);
		compare_samples(text, ipv4_alone, &truths);
	}
	/* Neither all nor nothing is true, or nothing would have been compared. */
	assert_in_range(truths, EXPRESSIONS * FRAMES / 5, EXPRESSIONS * FRAMES * 4 / 5);
}

/* What has as many tags as the expression follows, or none. */
static void test_tags(void **unused)
{
	static const struct {
		const char *text;
		unsigned int tags;
	} rows[] = {
		{"vlan", 1},
		{"vlan 100", 1},
		{"vlan 0x64", 1},
		{"not vlan 200", 1},
		{"vlan and tcp", 1},
		{"vlan 1 and (host 10.1.2.3 or 10.1.2.4)", 1},
		{"vlan and ip6 and not udp port 53", 1},
		{"vlan and vlan", 2},
		{"vlan 100 and vlan 200", 2},
		{"vlan and vlan 1", 2},
		{"vlan and vlan and (port 80 or 443)", 2},
		{"vlan 100 or vlan 200", 2},
	};
	unsigned int truths;

	(void)unused;
	for (unsigned int row = 0; row < ARRAY_SIZE(rows); row++) {
		struct both both = {0};

		truths = 0;
		both_compile(&both, rows[row].text);
		for (unsigned int i = 0; i < FRAMES; i++) {
			make_sample(&samples[i], pick(2) ? rows[row].tags : 0);
			compare(&both, rows[row].text, "a sample with tags", samples[i].frame,
				samples[i].length, &samples[i].view);
			truths += judge_frame(&both, samples[i].frame, samples[i].length);
		}
		assert_in_range(truths, 1, FRAMES - 1);
		both_free(&both);
	}
}

static const char *const common[] = {
	"ip",
	"ip6",
	"tcp",
	"udp",
	"icmp",
	"icmp6",
	"sctp",
	"igmp",
	"esp",
	"vrrp",
	"port 443",
	"src port 1025",
	"udp dst port 53",
	"not port 53",
	"portrange 0-1024 or portrange 5000-6000",
	"src net 8.0.0.0/8",
	"dst host 198.51.100.2 and not tcp",
	"net 2001:db8::/32",
	"host 2001:db8::2",
	"proto 47 or proto 41",
	"tcp port 443 or (udp and not port 53)",
};

/*
 * What libpcap follows as far as flowtally: neither tags nor PPPoE, nor IPv6 extension headers.  It takes ports from
 * where they would be, in a fragment that has no room for them too.
 */
static bool is_plain(const uint8_t *frame, uint32_t length)
{
	uint16_t type = length >= 54 ? wire_load16(frame + 12) : 0;
	uint8_t next = frame[20];

	if (type == 0x86dd)
		return next != 0 && next != 43 && next != 44 && next != 51 && next != 60 &&
		       next != 135 && next != 139 && next != 140;
	return length >= 34 && wire_load16(frame + 12) == 0x0800 &&
	       wire_load16(frame + 16) >= (frame[14] & 15) * 4 + 4;
}

static void test_packet_table(void **unused)
{
	unsigned int compared = 0;

	(void)unused;
	for (unsigned int e = 0; e < ARRAY_SIZE(common); e++) {
		struct both both = {0};

		both_compile(&both, common[e]);
		for (size_t i = 0; i < TEST_PACKETS; i++) {
			const struct test_packet *t = &test_packets[i];
			struct record_view view;

			if (t->ethertype || t->vlan_tagged || t->gso_size ||
			    !is_plain(t->bytes, t->size) || !view_frame(&view, t->bytes, t->size))
				continue;
			compare(&both, common[e], t->name, t->bytes, t->size, &view);
			compared++;
		}
		both_free(&both);
	}
	assert_true(compared > 50 * ARRAY_SIZE(common));
}

/* For who looks for differences in captures: prints them, and returns how many. */
static unsigned int compare_capture(const char *path, unsigned int *ret_compared)
{
	char error[PCAP_ERRBUF_SIZE];
	struct both both[ARRAY_SIZE(common)] = {0};
	pcap_t *capture = pcap_open_offline(path, error);
	struct pcap_pkthdr *header;
	unsigned int differ = 0, number = 0;
	struct record_view view;
	const u_char *frame;

	if (!capture || pcap_datalink(capture) != DLT_EN10MB)
		return capture ? pcap_close(capture), 0 : 0;
	for (unsigned int e = 0; e < ARRAY_SIZE(common); e++)
		both_compile(&both[e], common[e]);
	while (pcap_next_ex(capture, &header, &frame) == 1) {
		number++;
		if (header->caplen < header->len || !is_plain(frame, header->caplen) ||
		    !view_frame(&view, frame, header->caplen))
			continue;
		for (unsigned int e = 0; e < ARRAY_SIZE(common); e++) {
			(*ret_compared)++;
			if (judge_frame(&both[e], frame, header->caplen) ==
			    record_filter_matches(both[e].filter, &view))
				continue;
			fprintf(stderr, "%s: packet %u: \"%s\"\n", path, number, common[e]);
			differ++;
		}
	}
	for (unsigned int e = 0; e < ARRAY_SIZE(common); e++)
		both_free(&both[e]);
	pcap_close(capture);
	return differ;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_expressions),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_packet_table),
	};
	unsigned int differ = 0, compared = 0;
	int r;

	judge = pcap_open_dead(DLT_EN10MB, 65535);
	for (int i = 1; i < argc; i++)
		differ += compare_capture(argv[i], &compared);
	if (argc > 1)
		fprintf(stderr, "%u comparisons, %u differ\n", compared, differ);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	pcap_close(judge);
	return r || differ ? 1 : 0;
}
