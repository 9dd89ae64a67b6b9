/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include "exporter/meter/capture_file.h"
#include "exporter/meter/capture_input.h"

#define SECONDS_MAX	9000000000ll /* the year 2255: what 64 bits of ns can hold */
#define PCAP_HEADER	24	     /* of the file */
#define PCAP_RECORD	16	     /* in front of each packet */
#define PCAP_LINK_MASK	0xffff	     /* above it the length of a frame check sequence */
#define INTERFACES_MAX	65536	     /* of a section */
#define BLOCK_MIN	12	     /* type and length, and the length again at the end */
#define SECTION_MIN	28	     /* likewise magic, version and the length of the section */
#define OPTION_TSRESOL	9
#define OPTION_TSOFFSET 14

enum block_type {
	BLOCK_INTERFACE = 1,
	BLOCK_OLD_PACKET = 2,
	BLOCK_SIMPLE_PACKET = 3,
	BLOCK_PACKET = 6,
	BLOCK_SECTION = 0x0a0d0d0a, /* the same in either order of octets */
};

#define SECTION_MAGIC 0x1a2b3c4d

/* What is to be known of the packets of an interface; pcap has just one. */
struct interface {
	uint16_t link;
	uint32_t snap_length; /* 0: no limit */
	bool binary;	      /* a second has 2^digits units of time, else 10^digits */
	uint8_t digits;
	int64_t offset_s; /* to be added to times */
};

struct capture_file {
	struct capture_input *input;
	bool pcapng;
	bool big; /* order of octets, of the section */
	bool old; /* pcap before 2.4: the two lengths of a packet may be the other way round */
	uint32_t trailing; /* pcap: octets behind the usual 16 in front of each packet */
	uint32_t left;	   /* pcapng: octets of the block's body not read yet */
	struct interface *interfaces;
	uint32_t interface_count;
	uint64_t time_ns; /* of the packet before */
	char error[CAPTURE_FILE_ERROR];
	uint8_t bytes[CAPTURE_FILE_HELD];
};

static _printf_(2, 3) int fail(struct capture_file *file, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(file->error, sizeof(file->error), format, args);
	va_end(args);
	return -EBADMSG;
}

static uint32_t load32(const struct capture_file *file, const uint8_t *b)
{
	return file->big ? (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]
			 : (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0];
}

static uint16_t load16(const struct capture_file *file, const uint8_t *b)
{
	return (uint16_t)(file->big ? b[0] << 8 | b[1] : b[1] << 8 | b[0]);
}

static uint64_t load64(const struct capture_file *file, const uint8_t *b)
{
	uint64_t first = load32(file, b), second = load32(file, b + 4);

	return file->big ? first << 32 | second : second << 32 | first;
}

/* 1: all of them are there; 0: the file ends in front of the first. */
static int take_or_end(struct capture_file *file, void *buffer, uint64_t octets, const char *what)
{
	int64_t count = capture_input_read(file->input, buffer, octets);

	if (count < 0) {
		fail(file, "%s", capture_input_error(file->input));
		return (int)count;
	}
	if (count == 0 && octets)
		return 0;
	if ((uint64_t)count < octets)
		return fail(file, "truncated inside %s", what);
	return 1;
}

/* 0, or the file is cut off there. */
static int take(struct capture_file *file, void *buffer, uint64_t octets, const char *what)
{
	int r = take_or_end(file, buffer, octets, what);

	return r > 0 ? 0 : r < 0 ? r : fail(file, "truncated in front of %s", what);
}

/* Takes the octets of a packet: `held` of the `octets` that it had. */
static int take_packet(struct capture_file *file, const struct interface *interface, uint32_t held,
		       uint32_t octets, struct capture_file_packet *ret)
{
	uint32_t kept = MIN(held, CAPTURE_FILE_HELD);
	int r;

	r = take(file, file->bytes, kept, "a packet");
	if (r == 0)
		r = take(file, NULL, held - kept, "a packet");
	if (r < 0)
		return r;
	*ret = (struct capture_file_packet){
		.bytes = file->bytes,
		.held = kept,
		.octets = MAX(octets, held),
		.link = interface->link,
		.time_ns = file->time_ns,
	};
	return 1;
}

/* Units of time since 1970 in ns.  Damaged captures have times that are none. */
static uint64_t time_ns(const struct interface *interface, uint64_t units)
{
	const __int128 latest = (__int128)SECONDS_MAX * (int64_t)NSEC_PER_SEC;
	unsigned __int128 ns = units;
	__int128 sum;

	if (interface->binary) {
		ns = ns * NSEC_PER_SEC >> MIN(interface->digits, 127);
	} else {
		for (unsigned int i = interface->digits; i < 9; i++)
			ns *= 10;
		for (unsigned int i = 9; i < interface->digits && ns; i++)
			ns /= 10;
	}
	sum = (__int128)ns + (__int128)interface->offset_s * (int64_t)NSEC_PER_SEC;
	return (uint64_t)MIN(MAX(sum, 0), latest);
}

static int set_interface(struct capture_file *file, const struct interface *interface)
{
	struct interface *more;

	if (file->interface_count == INTERFACES_MAX)
		return fail(file, "more than %d interfaces", INTERFACES_MAX);
	/* Room is made whenever the count is a power of two. */
	if (!(file->interface_count & (file->interface_count - 1))) {
		more = reallocarray(file->interfaces, MAX(file->interface_count * 2, 1),
				    sizeof(*more));
		if (!more) {
			fail(file, "%s", strerror(ENOMEM));
			return -ENOMEM;
		}
		file->interfaces = more;
	}
	file->interfaces[file->interface_count++] = *interface;
	return 0;
}

/* --- pcap. */

/* The file's first four octets in either order; `digits` of the fraction of a second. */
static const struct magic {
	uint32_t number;
	uint8_t digits;
	uint8_t trailing;
} magics[] = {
	{0xa1b2c3d4, 6, 0},
	{0xa1b23c4d, 9, 0},
	{0xa1b2cd34, 6, 8}, /* Alexey Kuznetzov's: ifindex, protocol, kind of packet */
};

static const struct magic *find_magic(struct capture_file *file, const uint8_t *bytes)
{
	for (unsigned int big = 0; big < 2; big++)
		for (size_t i = 0; i < ARRAY_SIZE(magics); i++) {
			file->big = big;
			if (load32(file, bytes) == magics[i].number)
				return &magics[i];
		}
	return NULL;
}

static int open_pcap(struct capture_file *file, const struct magic *magic, uint8_t *header)
{
	int r = take(file, header + 4, PCAP_HEADER - 4, "the file's header");

	if (r < 0)
		return r;
	if (load16(file, header + 4) != 2)
		return fail(file, "pcap of version %d.%d, but 2.4 is needed",
			    load16(file, header + 4), load16(file, header + 6));
	file->old = load16(file, header + 6) < 4;
	file->trailing = magic->trailing;
	return set_interface(file,
			     &(struct interface){.link = load32(file, header + 20) & PCAP_LINK_MASK,
						 .digits = magic->digits});
}

static int next_pcap(struct capture_file *file, struct capture_file_packet *ret)
{
	const struct interface *interface = &file->interfaces[0];
	uint32_t held, octets, fraction;
	uint8_t b[PCAP_RECORD];
	int r;

	r = take_or_end(file, b, sizeof(b), "the header of a packet");
	if (r <= 0)
		return r;
	r = take(file, NULL, file->trailing, "the header of a packet");
	if (r < 0)
		return r;
	held = load32(file, b + 8);
	octets = load32(file, b + 12);
	if (file->old && held > octets) {
		held = octets;
		octets = load32(file, b + 8);
	}
	if (held > CAPTURE_OCTETS_MAX)
		return fail(file, "a packet of %u octets, more than any has", held);
	/* Seconds have no sign, and end in 2106. */
	fraction = load32(file, b + 4);
	file->time_ns = load32(file, b) * NSEC_PER_SEC +
			(uint64_t)fraction * (interface->digits == 6 ? 1000 : 1);
	return take_packet(file, interface, held, octets, ret);
}

/* --- pcapng. */

/* Octets of the block's body, which has them, or is damaged. */
static int take_body(struct capture_file *file, void *buffer, uint32_t octets)
{
	if (octets > file->left)
		return fail(file, "a block that is too short for what is in it");
	file->left -= octets;
	return take(file, buffer, octets, "a block");
}

/* The first octets of a section tell their order: all but the type stands in it. */
static int begin_section(struct capture_file *file, const uint8_t *length, uint32_t *ret_length)
{
	uint8_t b[8]; /* magic, version */
	int r = take(file, b, sizeof(b), "the header of a section");

	if (r < 0)
		return r;
	file->big = false;
	if (load32(file, b) != SECTION_MAGIC)
		file->big = true;
	if (load32(file, b) != SECTION_MAGIC)
		return fail(file, "a section without its magic number");
	if (load16(file, b + 4) != 1)
		return fail(file, "pcapng of version %d.%d, but 1.0 is needed", load16(file, b + 4),
			    load16(file, b + 6));
	*ret_length = load32(file, length);
	if (*ret_length < SECTION_MIN || *ret_length % 4)
		return fail(file, "a section's header of %u octets", *ret_length);
	file->left = *ret_length - BLOCK_MIN - (uint32_t)sizeof(b);
	file->interface_count = 0;
	return 0;
}

static int take_options(struct capture_file *file, struct interface *interface)
{
	uint8_t header[4], value[8];
	uint32_t length, padded;
	uint16_t code;
	int r;

	while (file->left >= sizeof(header)) {
		r = take_body(file, header, sizeof(header));
		if (r < 0)
			return r;
		code = load16(file, header);
		length = load16(file, header + 2);
		padded = (length + 3) & ~3u;
		if (code == 0)
			return 0;
		if ((code == OPTION_TSRESOL && length == 1) ||
		    (code == OPTION_TSOFFSET && length == 8)) {
			r = take_body(file, value, padded);
			if (r < 0)
				return r;
			if (code == OPTION_TSOFFSET) {
				interface->offset_s = (int64_t)load64(file, value);
				continue;
			}
			interface->binary = value[0] & 0x80;
			interface->digits = value[0] & 0x7f;
			continue;
		}
		r = take_body(file, NULL, padded);
		if (r < 0)
			return r;
	}
	return 0;
}

static int take_interface(struct capture_file *file)
{
	struct interface interface = {.digits = 6};
	uint8_t b[8]; /* link type, reserved, snap length */
	int r = take_body(file, b, sizeof(b));

	if (r < 0)
		return r;
	interface.link = load16(file, b);
	interface.snap_length = load32(file, b + 4);
	r = take_options(file, &interface);
	return r < 0 ? r : set_interface(file, &interface);
}

/* A packet without time: it came after the one before it. */
static int take_simple_packet(struct capture_file *file, struct capture_file_packet *ret)
{
	const struct interface *interface = file->interfaces;
	uint32_t octets, held;
	uint8_t b[4];
	int r = take_body(file, b, sizeof(b));

	if (r < 0)
		return r;
	if (!file->interface_count)
		return fail(file, "a packet of an interface that is not described");
	octets = load32(file, b);
	held = MIN(octets, interface->snap_length ?: UINT32_MAX);
	held = MIN(held, file->left); /* there are files whose snap length is not true */
	if (held > CAPTURE_OCTETS_MAX)
		return fail(file, "a packet of %u octets, more than any has", held);
	file->left -= held;
	return take_packet(file, interface, held, octets, ret);
}

static int take_full_packet(struct capture_file *file, bool old, struct capture_file_packet *ret)
{
	const struct interface *interface;
	uint8_t b[20]; /* interface, time, lengths */
	uint32_t number, held;
	int r = take_body(file, b, sizeof(b));

	if (r < 0)
		return r;
	number = old ? load16(file, b) : load32(file, b);
	if (number >= file->interface_count)
		return fail(file, "a packet of interface %u, which is not described", number);
	interface = &file->interfaces[number];
	held = load32(file, b + 12);
	if (held > file->left)
		return fail(file, "a packet of %u octets in a block of %u", held, file->left);
	if (held > CAPTURE_OCTETS_MAX)
		return fail(file, "a packet of %u octets, more than any has", held);
	file->left -= held;
	file->time_ns =
		time_ns(interface, (uint64_t)load32(file, b + 4) << 32 | load32(file, b + 8));
	return take_packet(file, interface, held, load32(file, b + 16), ret);
}

/* Type and length of the next block, of whose body `left` octets follow; 0 at the end. */
static int begin_block(struct capture_file *file, uint32_t *ret_type, uint32_t *ret_length)
{
	uint8_t b[8];
	int r = take_or_end(file, b, sizeof(b), "the header of a block");

	if (r <= 0)
		return r;
	*ret_type = load32(file, b);
	if (*ret_type == BLOCK_SECTION) {
		r = begin_section(file, b + 4, ret_length);
		if (r < 0)
			return r;
	} else {
		*ret_length = load32(file, b + 4);
		file->left = *ret_length - BLOCK_MIN;
	}
	if (*ret_length < BLOCK_MIN || *ret_length % 4)
		return fail(file, "a block of %u octets", *ret_length);
	return 1;
}

static int end_block(struct capture_file *file, uint32_t length)
{
	uint8_t b[4];
	int r;

	r = take_body(file, NULL, file->left);
	if (r == 0)
		r = take(file, b, sizeof(b), "the end of a block");
	if (r < 0)
		return r;
	if (load32(file, b) != length)
		return fail(file, "a block that begins with length %u and ends with %u", length,
			    load32(file, b));
	return 0;
}

static int next_pcapng(struct capture_file *file, struct capture_file_packet *ret)
{
	uint32_t type, length;
	int r, end;

	for (;;) {
		r = begin_block(file, &type, &length);
		if (r <= 0)
			return r;
		switch (type) {
		case BLOCK_INTERFACE:
			r = take_interface(file);
			break;
		case BLOCK_OLD_PACKET:
		case BLOCK_PACKET:
			r = take_full_packet(file, type == BLOCK_OLD_PACKET, ret);
			break;
		case BLOCK_SIMPLE_PACKET:
			r = take_simple_packet(file, ret);
			break;
		default:
			r = 0; /* names, statistics, a section's own options */
		}
		end = r < 0 ? r : end_block(file, length);
		if (end < 0 || r > 0)
			return end < 0 ? end : r;
	}
}

static int open_pcapng(struct capture_file *file, uint8_t *b)
{
	uint32_t length;
	int r = take(file, b + 4, 4, "the header of a section");

	if (r == 0)
		r = begin_section(file, b + 4, &length);
	if (r < 0)
		return r;
	file->pcapng = true;
	return end_block(file, length);
}

/* --- Both. */

static int begin(struct capture_file *file)
{
	const char *compression = capture_input_compression(file->input);
	const struct magic *magic;
	uint8_t b[PCAP_HEADER];
	int r;

	if (compression)
		return fail(
			file,
			"it is compressed with %s, of which gzip alone is read: unpack it first",
			compression);
	r = take(file, b, 4, "the file's header");
	if (r < 0)
		return r;
	magic = find_magic(file, b);
	if (magic)
		return open_pcap(file, magic, b);
	if (load32(file, b) == BLOCK_SECTION)
		return open_pcapng(file, b);
	return fail(file, "unknown file format, neither pcap nor pcapng");
}

int capture_file_open(struct capture_file **ret, FILE *stream, char error[CAPTURE_FILE_ERROR])
{
	_cleanup_(capture_file_closep) struct capture_file *file = calloc(1, sizeof(*file));
	struct capture_input *input = NULL;
	int r = capture_input_new(&input, stream);

	if (!file) {
		capture_input_freep(&input);
		r = -ENOMEM;
	}
	if (r < 0) {
		snprintf(error, CAPTURE_FILE_ERROR, "%s", strerror(-r));
		return r;
	}
	file->input = input;
	r = begin(file);
	if (r < 0) {
		memcpy(error, file->error, CAPTURE_FILE_ERROR);
		return r;
	}
	*ret = TAKE_PTR(file);
	return 0;
}

struct capture_file *capture_file_close(struct capture_file *file)
{
	if (file) {
		capture_input_freep(&file->input);
		free(file->interfaces);
		free(file);
	}
	return NULL;
}

int capture_file_link(const struct capture_file *file)
{
	return file->pcapng ? -1 : file->interfaces[0].link;
}

int capture_file_next(struct capture_file *file, struct capture_file_packet *ret)
{
	return file->pcapng ? next_pcapng(file, ret) : next_pcap(file, ret);
}

const char *capture_file_error(const struct capture_file *file)
{
	return file->error;
}

uint64_t capture_file_position(const struct capture_file *file)
{
	return capture_input_position(file->input);
}
