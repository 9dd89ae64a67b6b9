/* SPDX-License-Identifier: Apache-2.0 */
/* Our NetFlow v9 as libfixbuf reads it, which listens and makes IPFIX of it: the same values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <arpa/inet.h>
#include <cmocka.h>
#include <unistd.h>
#include "exporter/export/format/wire.h"
#include "tests/unit/exporting.h"
#include <fixbuf/public.h> /* last: GLib defines MIN and MAX anew, quietly */

#define FLOWS	      60 /* whose messages fit a socket's receive buffer */
#define TID_COLLECTED 400
#define START_MS      1700000000123ull
#define TEST_SECONDS  30 /* a record that libfixbuf does not find is waited for */

/* A record in memory as libfixbuf gives it: host order, IPv4 addresses too. */
struct __attribute__((packed)) collected {
	uint64_t octets, packets, boot_ms, min_length, max_length;
	uint8_t src[16], dst[16];
	uint32_t src4, dst4, ingress, egress, first, last;
	uint16_t src_port, dst_port, tcp_flags, vlan, post_vlan;
	uint8_t protocol, version, tos, direction, reason, min_ttl, max_ttl, src_mac[6];
};

static fbInfoElementSpec_t layout[] = {
	{"octetDeltaCount", 8, 0},
	{"packetDeltaCount", 8, 0},
	{"systemInitTimeMilliseconds", 8, 0},
	{"minimumIpTotalLength", 8, 0},
	{"maximumIpTotalLength", 8, 0},
	{"sourceIPv6Address", 16, 0},
	{"destinationIPv6Address", 16, 0},
	{"sourceIPv4Address", 4, 0},
	{"destinationIPv4Address", 4, 0},
	{"ingressInterface", 4, 0},
	{"egressInterface", 4, 0},
	{"flowStartSysUpTime", 4, 0},
	{"flowEndSysUpTime", 4, 0},
	{"sourceTransportPort", 2, 0},
	{"destinationTransportPort", 2, 0},
	{"tcpControlBits", 2, 0},
	{"vlanId", 2, 0},
	{"postVlanId", 2, 0},
	{"protocolIdentifier", 1, 0},
	{"ipVersion", 1, 0},
	{"ipClassOfService", 1, 0},
	{"flowDirection", 1, 0},
	{"flowEndReason", 1, 0},
	{"minimumTTL", 1, 0},
	{"maximumTTL", 1, 0},
	{"sourceMacAddress", 6, 0},
	FB_IESPEC_NULL,
};

/* Fails the test with libfixbuf's own words. */
static void check(bool ok, GError *error)
{
	if (!ok)
		fail_msg("libfixbuf: %s", error ? error->message : "failed");
}

static struct flow flows[FLOWS];

static void make_flows(void)
{
	seed = 9;
	for (unsigned int i = 0; i < FLOWS; i++) {
		flows[i] = random_flow(&seed);
		flows[i].record.first_ns = (START_MS + 1000 * i) * NSEC_PER_MSEC;
		flows[i].record.last_ns = flows[i].record.first_ns + i * NSEC_PER_MSEC;
	}
}

static void check_record(const struct flow *f, const struct collected *c)
{
	bool egress = f->key.kind & FLOW_EGRESS, ipv6 = f->key.kind & FLOW_IPV6;

	assert_int_equal(c->octets, f->record.octets);
	assert_int_equal(c->packets, f->record.packets);
	assert_int_equal(c->boot_ms + c->first, f->record.first_ns / NSEC_PER_MSEC);
	assert_int_equal(c->boot_ms + c->last, f->record.last_ns / NSEC_PER_MSEC);
	assert_int_equal(c->min_length, f->record.min_length);
	assert_int_equal(c->max_length, f->record.max_length);
	assert_int_equal(c->version, ipv6 ? 6 : 4);
	if (ipv6) {
		assert_memory_equal(c->src, f->key.src, 16);
		assert_memory_equal(c->dst, f->key.dst, 16);
	} else {
		assert_int_equal(c->src4, wire_load32(f->key.src));
		assert_int_equal(c->dst4, wire_load32(f->key.dst));
	}
	assert_int_equal(c->ingress, egress ? 0 : f->key.ifindex);
	assert_int_equal(c->egress, egress ? f->key.ifindex : 0);
	assert_int_equal(c->src_port, ntohs(f->key.src_port));
	assert_int_equal(c->dst_port, ntohs(f->key.dst_port));
	assert_int_equal(c->tcp_flags, f->record.tcp_flags & 0xff);
	assert_int_equal(c->vlan, egress ? 0 : f->key.outer_vlan);
	assert_int_equal(c->post_vlan, egress ? f->key.outer_vlan : 0);
	assert_int_equal(c->protocol, f->key.protocol);
	assert_int_equal(c->tos, f->record.tos);
	assert_int_equal(c->direction, egress);
	assert_int_equal(c->reason, f->end);
	assert_int_equal(c->min_ttl, f->record.min_ttl);
	assert_int_equal(c->max_ttl, f->record.max_ttl);
	assert_memory_equal(c->src_mac, f->record.src_mac, 6);
}

static void send_to(const char *port)
{
	char url[100];

	snprintf(url, sizeof(url), "netflow9://127.0.0.1:%s", port);
	start(&(struct export_options){.domain = 7}, NULL);
	assert_int_equal(exports_add(exports, url), 0);
	for (unsigned int i = 0; i < FLOWS; i++)
		exports_flow(exports, &flows[i]);
	exports_send_queued(exports, DRAIN_NS, true);
	assert_int_equal(exports_stats(exports, 0)->exported.records, FLOWS);
	stop();
}

/* The i-th flow of a family is the i-th record of its template; records of options have no packets. */
static void read_back(fBuf_t *fbuf)
{
	unsigned int at[2] = {0, 0};
	GError *error = NULL;

	for (unsigned int found = 0; found < FLOWS;) {
		struct collected c = {0};
		size_t length = sizeof(c);
		unsigned int *i;

		check(fBufNext(fbuf, (uint8_t *)&c, &length, &error), error);
		if (!c.packets)
			continue;
		i = &at[c.version == 6];
		while (!(flows[*i].key.kind & FLOW_IPV6) != (c.version == 4))
			assert_in_range(++*i, 0, FLOWS - 1);
		check_record(&flows[(*i)++], &c);
		found++;
	}
}

static void test_collect(void **state)
{
	fbInfoModel_t *model = fbInfoModelAlloc();
	fbSession_t *session = fbSessionAlloc(model);
	fbTemplate_t *template = fbTemplateAlloc(model);
	fbConnSpec_t spec = {.transport = FB_UDP, .host = "127.0.0.1"};
	fbCollector_t *collector;
	fbListener_t *listener;
	GError *error = NULL;
	char port[8];
	fBuf_t *fbuf;

	(void)state;
	alarm(TEST_SECONDS);
	snprintf(port, sizeof(port), "%u", closed_port());
	spec.svc = port;
	check(fbTemplateAppendSpecArray(template, layout, 0xffffffff, &error), error);
	check(fbSessionAddTemplate(session, TRUE, TID_COLLECTED, template, &error), error);
	listener = fbListenerAlloc(&spec, session, NULL, NULL, &error);
	check(listener, error);
	check(fbListenerGetCollector(listener, &collector, &error), error);
	check(fbCollectorSetNetflowV9Translator(collector, &error), error);
	make_flows();
	send_to(port);
	fbuf = fbListenerWait(listener, &error);
	check(fbuf, error);
	check(fBufSetInternalTemplate(fbuf, TID_COLLECTED, &error), error);
	read_back(fbuf);
	assert_int_equal(fbCollectorGetNetflowMissed(collector, NULL, 0, 0), 0);
	fbListenerFree(listener); /* and the buffer */
	fbInfoModelFree(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(test_collect, stderr_release)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
