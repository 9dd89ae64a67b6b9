/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that libfixbuf writes: fixbuf_writer FILE.  Records of all types of elements in two observation domains, with
 * integers of reduced size, strings of variable length, a list, elements of an enterprise that are told by RFC 5610, and a
 * template that is withdrawn and told anew with fewer fields.  Record n has the values that wanted_rows() of test_read.py has.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <fixbuf/public.h>

#define ENTERPRISE   32473 /* RFC 5612: for examples */
#define RECORDS	     5	   /* of a domain, and again after the withdrawal */
#define TID_INTERNAL 400
#define TID_FULL     500
#define TID_TYPES    600
#define SECONDS	     1700000000u
#define NTP_1970     2208988800ull

struct record {
	uint64_t octets, packets, start_ms;
	uint64_t start_us, start_ns;
	double probability, wide;
	int64_t signed64;
	uint64_t reduced64;
	uint32_t source, start_s, ingress;
	int32_t signed32;
	float narrow;
	uint16_t port;
	int16_t signed16;
	uint8_t protocol, reliable;
	int8_t signed8;
	uint8_t mac[6], source6[16];
	uint8_t padding[7]; /* up to what is aligned */
	fbVarfield_t name, section;
	fbBasicList_t ports;
};

static fbInfoElement_t own[] = {
	FB_IE_INIT_FULL("testSigned64", ENTERPRISE, 1, 8, FB_IE_F_ENDIAN, 0, 0, FB_INT_64, NULL),
	FB_IE_INIT_FULL("testReduced64", ENTERPRISE, 2, 8, FB_IE_F_ENDIAN, 0, 0, FB_UINT_64, NULL),
	FB_IE_INIT_FULL("testSigned32", ENTERPRISE, 3, 4, FB_IE_F_ENDIAN, 0, 0, FB_INT_32, NULL),
	FB_IE_INIT_FULL("testFloat32", ENTERPRISE, 4, 4, FB_IE_F_ENDIAN, 0, 0, FB_FLOAT_32, NULL),
	FB_IE_INIT_FULL("testSigned16", ENTERPRISE, 5, 2, FB_IE_F_ENDIAN, 0, 0, FB_INT_16, NULL),
	FB_IE_INIT_FULL("testSigned8", ENTERPRISE, 6, 1, 0, 0, 0, FB_INT_8, NULL),
	FB_IE_INIT_FULL("testFloat64", ENTERPRISE, 7, 8, FB_IE_F_ENDIAN, 0, 0, FB_FLOAT_64, NULL),
	FB_IE_NULL,
};

static fbInfoElementSpec_t layout[] = {
	{"octetDeltaCount", 8, 0},
	{"packetDeltaCount", 8, 0},
	{"flowStartMilliseconds", 8, 0},
	{"flowStartMicroseconds", 8, 0},
	{"flowStartNanoseconds", 8, 0},
	{"samplingProbability", 8, 0},
	{"testFloat64", 8, 0},
	{"testSigned64", 8, 0},
	{"testReduced64", 8, 0},
	{"sourceIPv4Address", 4, 0},
	{"flowStartSeconds", 4, 0},
	{"ingressInterface", 4, 0},
	{"testSigned32", 4, 0},
	{"testFloat32", 4, 0},
	{"sourceTransportPort", 2, 0},
	{"testSigned16", 2, 0},
	{"protocolIdentifier", 1, 0},
	{"dataRecordsReliability", 1, 0},
	{"testSigned8", 1, 0},
	{"sourceMacAddress", 6, 0},
	{"sourceIPv6Address", 16, 0},
	{"paddingOctets", 7, 0},
	{"interfaceName", FB_IE_VARLEN, 0},
	{"ipPayloadPacketSection", FB_IE_VARLEN, 0},
	{"basicList", FB_IE_VARLEN, 0},
	FB_IESPEC_NULL,
};

/* On the wire: the same, where integers have fewer octets. */
static fbInfoElementSpec_t full[] = {
	{"octetDeltaCount", 4, 0},
	{"packetDeltaCount", 3, 0},
	{"flowStartMilliseconds", 8, 0},
	{"flowStartMicroseconds", 8, 0},
	{"flowStartNanoseconds", 8, 0},
	{"samplingProbability", 8, 0},
	{"testFloat64", 8, 0},
	{"testSigned64", 5, 0},
	{"testReduced64", 7, 0},
	{"sourceIPv4Address", 4, 0},
	{"flowStartSeconds", 4, 0},
	{"ingressInterface", 1, 0},
	{"testSigned32", 3, 0},
	{"testFloat32", 4, 0},
	{"sourceTransportPort", 2, 0},
	{"testSigned16", 1, 0},
	{"protocolIdentifier", 1, 0},
	{"dataRecordsReliability", 1, 0},
	{"testSigned8", 1, 0},
	{"sourceMacAddress", 6, 0},
	{"sourceIPv6Address", 16, 0},
	{"interfaceName", FB_IE_VARLEN, 0},
	{"ipPayloadPacketSection", FB_IE_VARLEN, 0},
	{"basicList", FB_IE_VARLEN, 0},
	FB_IESPEC_NULL,
};
static fbInfoElementSpec_t short_one[] = {
	{"protocolIdentifier", 1, 0},
	{"octetDeltaCount", 8, 0},
	FB_IESPEC_NULL,
};

static int failed(const GError *error)
{
	fprintf(stderr, "%s\n", error ? error->message : "of no name");
	return 1;
}

static void fill(struct record *r, unsigned int n, fbInfoModel_t *model)
{
	static char text[300];
	static uint8_t section[4];
	uint16_t *ports;

	memset(r, 0, sizeof(*r));
	memset(text, 'a', sizeof(text));
	r->octets = 1000 + n;
	r->packets = 70000 + n;
	r->start_ms = SECONDS * 1000ull + n;
	r->start_us = (SECONDS + NTP_1970) << 32 | 0x80000000u; /* half a second */
	r->start_ns = (SECONDS + NTP_1970) << 32 | 0x40000000u;
	r->probability = 0.1;
	r->wide = -1e300;
	r->signed64 = -5000000000ll - n;
	r->reduced64 = 1ull << 50 | n;
	r->source = 0xc0000200u + n;
	r->start_s = SECONDS + n;
	r->ingress = 200 + n;
	r->signed32 = -70000 - (int32_t)n;
	r->narrow = 0.5f;
	r->port = (uint16_t)(65530 + n);
	r->signed16 = (int16_t)(-100 - (int)n);
	r->protocol = 17;
	r->reliable = n % 2 ? 1 : 2;
	r->signed8 = (int8_t)(-128 + (int)n);
	memcpy(r->mac, "\x02\x00\x5e\x00\x53\xff", sizeof(r->mac));
	memcpy(r->source6, "\x20\x01\x0d\xb8", 4);
	r->source6[15] = (uint8_t)n;
	r->name = (fbVarfield_t){.buf = (uint8_t *)text, .len = n == 1 ? 299 : n};
	section[0] = (uint8_t)n;
	section[3] = 0xff;
	r->section = (fbVarfield_t){.buf = section, .len = 4};
	ports = fbBasicListInit(&r->ports, 3,
				fbInfoModelGetElementByName(model, "destinationTransportPort"), 2);
	ports[0] = 80;
	ports[1] = 443;
}

static fbTemplate_t *make(fbInfoModel_t *model, fbInfoElementSpec_t *fields, GError **error)
{
	fbTemplate_t *template = fbTemplateAlloc(model);

	return fbTemplateAppendSpecArray(template, fields, 0xffffffff, error) ? template : NULL;
}

static bool put(fBuf_t *buffer, uint16_t tid, unsigned int from, fbInfoModel_t *model,
		GError **error)
{
	struct record record;
	bool good = fBufSetInternalTemplate(buffer, TID_INTERNAL, error) &&
		    fBufSetExportTemplate(buffer, tid, error);

	for (unsigned int n = from; n < from + RECORDS && good; n++) {
		fill(&record, n, model);
		good = fBufAppend(buffer, (uint8_t *)&record, sizeof(record), error);
		fbBasicListClear(&record.ports);
	}
	return good && fBufEmit(buffer, error);
}

static bool begin(fbSession_t *session, fbTemplate_t *template, uint16_t tid, GError **error)
{
	return fbSessionAddTemplate(session, FALSE, tid, template, error);
}

int main(int argc, char **argv)
{
	fbInfoModel_t *model = fbInfoModelAlloc();
	fbSession_t *session = fbSessionAlloc(model);
	fbTemplate_t *internal;
	GError *error = NULL;
	fBuf_t *buffer;

	if (argc != 2)
		return 2;
	fbInfoModelAddElementArray(model, own);
	internal = make(model, layout, &error);
	if (!internal || !fbSessionAddTemplate(session, TRUE, TID_INTERNAL, internal, &error))
		return failed(error);
	buffer = fBufAllocForExport(session, fbExporterAllocFile(argv[1]));
	for (uint32_t domain = 1; domain <= 2; domain++) {
		fbSessionSetDomain(session, domain);
		if (!fbSessionSetMetadataExportElements(session, TRUE, TID_TYPES, &error) ||
		    !begin(session, make(model, full, &error), TID_FULL, &error) ||
		    !fbSessionExportTemplates(session, &error) ||
		    !put(buffer, TID_FULL, (domain - 1) * RECORDS, model, &error))
			return failed(error);
	}
	if (!fbSessionRemoveTemplate(session, FALSE, TID_FULL, &error) ||
	    !begin(session, make(model, short_one, &error), TID_FULL, &error) ||
	    !put(buffer, TID_FULL, 2 * RECORDS, model, &error))
		return failed(error);
	fBufFree(buffer);
	return 0;
}
