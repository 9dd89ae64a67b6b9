/* SPDX-License-Identifier: Apache-2.0 */
/* Files of IPFIX and NetFlow v9 under libFuzzer: whatever is in them, a record lies in its message, and becomes JSON. */
#include <jansson.h>
#include "exporter/export/format/decode_json.h"
#include "exporter/export/format/decode_seek.h"
#include "exporter/observe/record_view.h"
#include "tests/fuzz/fuzz.h"

#define RECORDS_MAX 200 /* of one input: what follows is counted alone */

static const uint8_t *first, *behind;
static unsigned int count;

static void on_record(void *userdata, const struct decode_record *r)
{
	char *text = NULL;
	size_t size;
	FILE *file;
	json_t *object;
	struct record_view view;

	(void)userdata;
	for (unsigned int i = 0; i < r->count; i++)
		fuzz_require(r->values[i].data < first ||
					     r->values[i].data + r->values[i].length > behind
				     ? "a value that is not in its message"
				     : NULL);
	if (++count > RECORDS_MAX)
		return;
	file = open_memstream(&text, &size);
	decode_json(r, true, file);
	fclose(file);
	object = json_loadb(text, size, 0, NULL);
	fuzz_require(object ? NULL : "what is no JSON");
	record_view_of_json(&view, object);
	json_decref(object);
	free(text);
}

static void on_problem(void *userdata, enum decode_error error, uint64_t offset, unsigned int id)
{
	(void)userdata, (void)id;
	fuzz_require(error >= _DECODE_ERROR_MAX || !decode_error_text(error) ? "no name" : NULL);
	fuzz_require(offset > (uint64_t)(behind - first) ? "an offset behind the message" : NULL);
}

/* Of all that is given: where the next message begins, or what can be left out until there is more; in bounded time. */
static void seek(const uint8_t *data, size_t size, bool last)
{
	struct decode_seek seek = {0};
	uint8_t *copy = malloc(size ? size : 1); /* of its size, so that reading beyond is seen */
	bool found;

	fuzz_require(copy ? NULL : "no memory");
	memcpy(copy, data, size);
	found = decode_seek(&seek, copy, size, last);
	fuzz_require(seek.at > size || (found && seek.at == size) ? "a place that is not there"
								  : NULL);
	fuzz_require(seek.steps > size * (DECODE_SEEK_SETS + 2) ? "more steps than are bounded"
								: NULL);
	fuzz_require(found && decode_frame(copy + seek.at, size - seek.at, last) < 0
			     ? "a message that is none"
			     : NULL);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct decode_events events = {.record = on_record, .problem = on_problem};
	struct decoder *decoder;
	size_t at = 0;

	count = 0;
	fuzz_require(decoder_new(&decoder, &events) < 0 ? "no memory" : NULL);
	while (at < size) {
		int64_t length = decode_frame(data + at, size - at, true);
		size_t octets = length > 0 ? MIN((size_t)length, size - at) : 1;
		uint8_t *message = malloc(octets); /* of its size, so that reading beyond is seen */

		memcpy(message, data + at, octets);
		first = message;
		behind = message + octets;
		decoder_message(decoder, message, octets, 0);
		free(message);
		at += octets;
	}
	decoder_free(decoder);
	seek(data, size, true);
	seek(data, size, false);
	return 0;
}

/* Templates with lengths of both kinds, types of RFC 5610, and NetFlow v9. */
void fuzz_write_seeds(void)
{
	static const uint8_t ipfix[] = {0, 10,	0,    59,   0x65, 0,   0,   0,	 0,    0, 0,   0,
					0, 0,	0,    7,    0,	  2,   0,   24,	 1,    0, 0,   3,
					0, 8,	0,    4,    0,	  82,  255, 255, 0x80, 1, 255, 255,
					0, 0,	0x23, 0x4f, 1,	  0,   0,   19,	 192,  0, 2,   1,
					4, 'e', 't',  'h',  '0',  255, 0,   2,	 1,    2};
	static const uint8_t types[] = {0,    10,   0, 59, 0x65, 0,   0,   0,	0,   0,	  0,  0,
					0,    0,    0, 7,  0,	 3,   0,   26,	1,   1,	  0,  4,
					0,    2,    1, 90, 0,	 4,   1,   47,	0,   2,	  1,  83,
					0,    1,    1, 85, 255,	 255, 1,   1,	0,   17,  0,  0,
					0x23, 0x4f, 0, 1,  3,	 5,   'f', 'r', 'o', 'g', 's'};
	static const uint8_t netflow9[] = {0,  9, 0, 4,	 0, 0,	0x27, 0x10, 0x65, 0,	0,  0,	0,
					   0,  0, 5, 0,	 0, 0,	1,    0,    0,	  0,	16, 1,	0,
					   0,  2, 0, 22, 0, 4,	0,    1,    0,	  2,	0,  1,	0,
					   18, 1, 1, 0,	 4, 0,	4,    0,    2,	  0,	2,  0,	34,
					   0,  2, 1, 0,	 0, 12, 0,    0,    0x23, 0x28, 0,  77, 0,
					   0,  1, 1, 0,	 8, 0,	3,    0,    100};

	fuzz_write_seed(0, NULL, 0, ipfix, sizeof(ipfix));
	fuzz_write_seed(1, types, sizeof(types), ipfix, sizeof(ipfix));
	fuzz_write_seed(2, NULL, 0, netflow9, sizeof(netflow9));
	fuzz_write_seed(3, netflow9, sizeof(netflow9), types, sizeof(types));
	fuzz_write_seed(4, "damage", 6, netflow9, sizeof(netflow9));
	fuzz_write_seed(5, "\0\012\0\377", 4, ipfix, sizeof(ipfix));
}
