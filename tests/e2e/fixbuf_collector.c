/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libfixbuf's own collector over TCP: fixbuf_collector HOST PORT.  A line "PORT PORT PACKETS OCTETS" for each record
 * of a flow, a line "end" for each connection that has ended, "error" and why for each that libfixbuf cannot read.
 */
#include <stdint.h>
#include <stdio.h>
#include <fixbuf/public.h>

#define TID_COLLECTED 400

struct __attribute__((packed)) collected {
	uint64_t octets, packets;
	uint16_t source, destination;
};

static fbInfoElementSpec_t layout[] = {
	{"octetDeltaCount", 8, 0},
	{"packetDeltaCount", 8, 0},
	{"sourceTransportPort", 2, 0},
	{"destinationTransportPort", 2, 0},
	FB_IESPEC_NULL,
};

static int failed(GError *error)
{
	printf("error %s\n", error ? error->message : "of no name");
	return 1;
}

/* All records of a connection. */
static void read_records(fBuf_t *buffer)
{
	GError *error = NULL;

	for (;;) {
		struct collected c = {0};
		size_t length = sizeof(c);

		if (!fBufNext(buffer, (uint8_t *)&c, &length, &error))
			break;
		if (c.packets)
			printf("%u %u %llu %llu\n", c.source, c.destination,
			       (unsigned long long)c.packets, (unsigned long long)c.octets);
	}
	if (g_error_matches(error, FB_ERROR_DOMAIN, FB_ERROR_EOF))
		printf("end\n");
	else
		failed(error);
	g_clear_error(&error);
	fBufFree(buffer);
}

int main(int argc, char **argv)
{
	fbInfoModel_t *model = fbInfoModelAlloc();
	fbSession_t *session = fbSessionAlloc(model);
	fbTemplate_t *template = fbTemplateAlloc(model);
	fbConnSpec_t spec = {.transport = FB_TCP};
	fbListener_t *listener;
	GError *error = NULL;

	if (argc != 3)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	spec.host = argv[1];
	spec.svc = argv[2];
	if (!fbTemplateAppendSpecArray(template, layout, 0xffffffff, &error) ||
	    !fbSessionAddTemplate(session, TRUE, TID_COLLECTED, template, &error))
		return failed(error);
	listener = fbListenerAlloc(&spec, session, NULL, NULL, &error);
	if (!listener)
		return failed(error);
	printf("ready\n");
	for (;;) {
		fBuf_t *buffer = fbListenerWait(listener, &error);

		if (!buffer || !fBufSetInternalTemplate(buffer, TID_COLLECTED, &error))
			return failed(error);
		read_records(buffer);
	}
}
