/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-encode ROUNDS RECORDS: ns of this thread's CPU time for a record, from the flow to where it goes: into
 * messages in memory, with system calls into a file, or over UDP to a socket of this machine.  Beside them
 * libfixbuf's encoder with records that it need not convert, and a copy of the same octets.  Flows are of both
 * families, in random order.  Prints an object of JSON for each run; subjects are interleaved.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "exporter/export/collector.h"
#include "exporter/export/export.h"
#include "exporter/export/format/profile.h"
#include "exporter/export/queue.h"
#include "tests/unit/flows.h"
#include <fixbuf/public.h> /* last: GLib defines MIN and MAX anew, quietly */

#define FLOWS \
	256 /* a power of two; few enough for the first cache, so that encoding is what is measured */
#define MESSAGE_MAX 1400
#define SLOTS	    64
#define SESSION_MAX 65535

static const char *const profiles[] = {
	"minimal",
	"default",
	"extended",
	"sourceIPv4Address,destinationIPv4Address,sourceIPv6Address,destinationIPv6Address,"
	"sourceTransportPort,destinationTransportPort,protocolIdentifier,flowStartMilliseconds,"
	"flowEndMilliseconds,octetDeltaCount,packetDeltaCount",
};

/* As rows name them. */
static const char *const profile_names[] = {"minimal", "default", "extended", "own list"};

static const struct protocol *const protocols[] = {&protocol_ipfix, &protocol_netflow9};
static const char *const schemes[] = {"ipfix", "netflow9"};

static struct flow flows[FLOWS];

/* One that forgets each message. */
struct oblivion {
	struct collector collector;
	struct queue queue;
};

static uint64_t cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void make_flows(void)
{
	uint64_t seed = 4711;

	for (unsigned int i = 0; i < FLOWS; i++) {
		flows[i] = random_flow(&seed);
		/* NetFlow v9 tells the times of a message by one base: those of a day, as in life. */
		flows[i].record.first_ns = 1000 * NSEC_PER_SEC + i * NSEC_PER_MSEC;
		flows[i].record.last_ns = flows[i].record.first_ns + i * NSEC_PER_MSEC;
	}
}

static void print(const char *subject, const char *protocol, const char *profile,
		  unsigned int round, uint64_t ns, uint32_t records)
{
	printf("{\"subject\":\"%s\",\"protocol\":\"%s\",\"profile\":\"%s\",\"round\":%u,\"ns\":%.2f}\n",
	       subject, protocol, profile, round, (double)ns / records);
	fflush(stdout);
}

static void on_pushed(struct collector *c)
{
	queue_pop(c->queue);
}

static const struct collector_ops oblivion_ops = {.pushed = on_pushed};

static int make_oblivion(struct oblivion *o)
{
	o->collector.queue = &o->queue;
	o->collector.ops = &oblivion_ops;
	return queue_init(&o->queue, SLOTS);
}

/* Into messages, whose headers are written when they are sent, for so many collectors. */
static int to_memory(const char *template, const struct protocol *protocol, unsigned int members,
		     uint32_t records, uint64_t *ret_ns)
{
	struct oblivion oblivions[2] = {0};
	struct collector *all[2] = {&oblivions[0].collector, &oblivions[1].collector};
	_cleanup_(encoding_unrefp) struct encoding *encoding = NULL;
	struct stream *s = NULL;
	uint64_t base_ms = 0, start;
	struct profile *profile;
	int r = profile_new(&profile, template, ENTERPRISE_DEFAULT, 1u << RECORD_FLOW, NULL)
			?: encoding_new(&encoding, protocol, profile, MESSAGE_MAX);

	for (unsigned int i = 0; i < members && r == 0; i++)
		r = make_oblivion(&oblivions[i]);
	if (r == 0)
		r = stream_new(&s, encoding, &base_ms, all, members);
	start = cpu_ns();
	for (uint32_t i = 0; i < records && r == 0; i++)
		stream_add(s, &flows[i % FLOWS], 0);
	*ret_ns = cpu_ns() - start;
	if (s)
		stream_retire(s);
	for (unsigned int i = 0; i < members; i++)
		queue_done(&oblivions[i].queue);
	return r;
}

/* A socket whose datagrams a thread takes until it is told to stop. */
struct receiver {
	int fd;
	uint16_t port;
	pthread_t thread;
	volatile bool stop;
};

static void *receive(void *userdata)
{
	static char data[2][64][2048];
	static unsigned int used;
	unsigned int own = __atomic_fetch_add(&used, 1, __ATOMIC_RELAXED) % 2;
	struct mmsghdr messages[64] = {0};
	struct receiver *r = userdata;
	struct iovec parts[64];

	for (unsigned int i = 0; i < ARRAY_SIZE(messages); i++) {
		parts[i] = (struct iovec){data[own][i], sizeof(data[own][i])};
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	while (!r->stop)
		recvmmsg(r->fd, messages, ARRAY_SIZE(messages), MSG_WAITFORONE, NULL);
	return NULL;
}

static int receiver_open(struct receiver *r)
{
	const struct timeval patience = {.tv_usec = 50000};
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);

	r->stop = false;
	r->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (r->fd < 0 || bind(r->fd, (struct sockaddr *)&address, length) < 0 ||
	    getsockname(r->fd, (struct sockaddr *)&address, &length) < 0 ||
	    setsockopt(r->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		return -errno;
	r->port = ntohs(address.sin_port);
	return -pthread_create(&r->thread, NULL, receive, r);
}

static void receiver_close(struct receiver *r)
{
	r->stop = true;
	pthread_join(r->thread, NULL);
	close(r->fd);
}

/* The exports as `flowtally replay` uses them; what is lost is no measure. */
static int export_all(const char *const urls[2], const char *profile, uint32_t records,
		      uint64_t *ret_ns)
{
	const struct export_options options = {.domain = 1, .template = profile};
	struct exports *exports;
	uint64_t start;
	int r = exports_new(&exports, &options, NULL);

	for (unsigned int i = 0; r == 0 && i < 2 && urls[i]; i++)
		r = exports_add(exports, urls[i]);
	start = cpu_ns();
	for (uint32_t i = 0; i < records && r == 0; i++)
		exports_flow(exports, &flows[i % FLOWS]);
	exports_send_queued(exports, NSEC_PER_SEC, true);
	*ret_ns = cpu_ns() - start;
	if (r == 0 && exports_stats(exports, 0)->exported.records != records)
		r = -EIO;
	exports_free(exports);
	return r;
}

static int to_udp(const char *scheme, const char *profile, unsigned int members, uint32_t records,
		  uint64_t *ret_ns)
{
	struct receiver receivers[2] = {0};
	char urls[2][64];
	const char *list[2] = {urls[0], members > 1 ? urls[1] : NULL};
	int r = 0;

	for (unsigned int i = 0; i < members && r == 0; i++) {
		r = receiver_open(&receivers[i]);
		snprintf(urls[i], sizeof(urls[i]), "%s://127.0.0.1:%u", scheme, receivers[i].port);
	}
	if (r < 0)
		return r;
	r = export_all(list, profile, records, ret_ns);
	for (unsigned int i = 0; i < members; i++)
		receiver_close(&receivers[i]);
	return r;
}

/* Datagrams of full messages and nothing else: what the system takes for so many records. */
static int to_socket(const struct flow_template *t, uint32_t records, uint64_t *ret_ns)
{
	static char data[MESSAGE_MAX];
	uint32_t each = (MESSAGE_MAX - 20) / t->length[PROTOCOL_IPFIX];
	struct iovec part = {data, 20 + each * t->length[PROTOCOL_IPFIX]};
	struct mmsghdr messages[64] = {0};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct receiver receiver = {0};
	uint64_t start;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), r = receiver_open(&receiver);

	to.sin_port = htons(receiver.port);
	if (r < 0 || fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return r < 0 ? r : -errno;
	for (unsigned int i = 0; i < ARRAY_SIZE(messages); i++) {
		messages[i].msg_hdr.msg_iov = &part;
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	start = cpu_ns();
	for (uint32_t sent = 0; sent < records; sent += ARRAY_SIZE(messages) * each) {
		if (sendmmsg(fd, messages, ARRAY_SIZE(messages), 0) < 0)
			r = -errno;
		/* at the exporter's pace, which the receiver can follow */
		usleep(10000);
	}
	*ret_ns = cpu_ns() - start;
	close(fd);
	receiver_close(&receiver);
	return r;
}

/* --- libfixbuf */

static fbTemplate_t *fixbuf_template(fbInfoModel_t *model, const struct flow_template *t)
{
	fbTemplate_t *template = fbTemplateAlloc(model);

	for (unsigned int i = 0; i < t->count; i++) {
		const struct field *field = &flow_fields[t->fields[i]];
		fbInfoElementSpec_t spec = {(char *)field->element->name, field->length, 0};

		fbTemplateAppendSpec(template, &spec, 0, NULL);
	}
	return template;
}

static void add_own(fbInfoModel_t *model)
{
	for (unsigned int i = 0; i < _FIELD_MAX; i++)
		if (flow_fields[i].element->pen) {
			fbInfoElement_t element =
				FB_IE_INIT(flow_fields[i].element->name, ENTERPRISE_DEFAULT,
					   flow_fields[i].element->id, flow_fields[i].length, 0);

			fbInfoModelAddElement(model, &element);
		}
}

/* Records of one family that need no conversion but to network order, message after message. */
static int to_fixbuf(const struct flow_template *t, uint32_t records, uint64_t *ret_ns)
{
	static uint8_t out[SESSION_MAX];
	fbInfoModel_t *model = fbInfoModelAlloc();
	fbSession_t *session = fbSessionAlloc(model);
	uint8_t record[FLOW_RECORD_MAX] = {0};
	fbExporter_t *exporter = fbExporterAllocBuffer(out, MESSAGE_MAX);
	fBuf_t *buffer;
	GError *error = NULL;
	uint64_t start;
	bool ok;

	add_own(model);
	ok = fbSessionAddTemplate(session, TRUE, t->id, fixbuf_template(model, t), &error) &&
	     fbSessionAddTemplate(session, FALSE, t->id, fixbuf_template(model, t), &error);
	buffer = fBufAllocForExport(session, exporter);
	fBufSetAutomaticMode(buffer, TRUE);
	ok = ok && fBufSetInternalTemplate(buffer, t->id, &error) &&
	     fBufSetExportTemplate(buffer, t->id, &error);
	start = cpu_ns();
	for (uint32_t i = 0; i < records && ok; i++)
		ok = fBufAppend(buffer, record, t->length[PROTOCOL_IPFIX], &error);
	*ret_ns = cpu_ns() - start;
	if (!ok)
		fprintf(stderr, "libfixbuf: %s\n", error ? error->message : "failed");
	fBufFree(buffer);
	fbInfoModelFree(model);
	return ok ? 0 : -EIO;
}

/* The octets of those records alone, into messages. */
static void copy(const struct flow_template *t, uint32_t records, uint64_t *ret_ns)
{
	static uint8_t from[FLOW_RECORD_MAX * 64], to[FLOW_RECORD_MAX * 64];
	uint16_t length = t->length[PROTOCOL_IPFIX];
	uint64_t start = cpu_ns();

	for (uint32_t i = 0; i < records; i++) {
		memcpy(to + i % 64 * length, from + i % 64 * length, length);
		__asm__ volatile("" : : "r"(to) : "memory");
	}
	*ret_ns = cpu_ns() - start;
}

/* --- */

static int run_protocol(unsigned int which, unsigned int protocol, unsigned int round,
			uint32_t records)
{
	const char *scheme = schemes[protocol], *name = profile_names[which];
	uint64_t ns = 0;
	int r = 0;

	for (unsigned int members = 1; members <= 2 && r == 0; members++) {
		r = to_memory(profiles[which], protocols[protocol], members, records, &ns);
		if (r == 0)
			print(members == 1 ? "memory" : "memory, two collectors", scheme, name,
			      round, ns, records);
		r = r ?: to_udp(scheme, profiles[which], members, records, &ns);
		if (r == 0)
			print(members == 1 ? "udp" : "udp, two collectors", scheme, name, round, ns,
			      records);
	}
	return r;
}

static int run_profile(unsigned int which, unsigned int round, uint32_t records)
{
	const char *urls[2] = {"file:///dev/null", NULL}, *name = profile_names[which];
	struct profile *profile;
	uint64_t ns = 0;
	int r = profile_new(&profile, profiles[which], ENTERPRISE_DEFAULT, 1u << RECORD_FLOW, NULL);

	for (unsigned int p = 0; p < ARRAY_SIZE(protocols) && r == 0; p++)
		r = run_protocol(which, p, round, records);
	r = r ?: export_all(urls, profiles[which], records, &ns);
	if (r == 0)
		print("file", "ipfix", name, round, ns, records);
	r = r
		    ?: to_fixbuf(&profile->templates[template_index(RECORD_FLOW, FAMILY_IPV4)],
				 records, &ns);
	if (r == 0) {
		print("libfixbuf", "ipfix", name, round, ns, records);
		r = to_socket(&profile->templates[template_index(RECORD_FLOW, FAMILY_IPV4)],
			      records, &ns);
		print("udp, datagrams alone", "ipfix", name, round, ns, records);
		copy(&profile->templates[template_index(RECORD_FLOW, FAMILY_IPV4)], records, &ns);
		print("memcpy", "ipfix", name, round, ns, records);
	}
	profile_free(profile);
	return r;
}

int main(int argc, char **argv)
{
	unsigned int rounds;
	uint32_t records;
	int r = 0;

	if (argc != 3) {
		fprintf(stderr, "usage: bench-encode ROUNDS RECORDS\n");
		return 2;
	}
	rounds = (unsigned int)strtoul(argv[1], NULL, 10);
	records = (uint32_t)strtoul(argv[2], NULL, 10);
	make_flows();
	for (unsigned int round = 0; round < rounds; round++)
		for (unsigned int i = 0; i < ARRAY_SIZE(profiles) && r == 0; i++)
			r = run_profile(i, round, records);
	if (r < 0)
		fprintf(stderr, "bench-encode: %s\n", strerror(-r));
	return r < 0;
}
