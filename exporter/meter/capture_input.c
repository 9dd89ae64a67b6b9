/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>
#include "exporter/meter/capture_input.h"

#define MAGIC_MAX    6
#define PACKED_SIZE  8192      /* read at a time: a pipe is waited on for so much */
#define WINDOW_SIZE  65536     /* unpacked at a time */
#define WINDOW_GZIP  (15 + 16) /* zlib: the largest window, and a gzip header in front */
#define GZIP_MAGIC_0 0x1f
#define GZIP_MAGIC_1 0x8b

struct capture_input {
	FILE *stream;
	uint64_t position;
	uint64_t size; /* of a file, from where it began; 0: of a pipe */
	const char *error;
	const char *compression;
	z_stream zlib;
	bool packed;	 /* gzip: `zlib` is set up */
	bool member_end; /* between two members of gzip data */
	uint32_t used;	 /* of the window */
	uint32_t held;
	uint8_t window[WINDOW_SIZE]; /* what comes next; not packed: the stream's beginning alone */
	uint8_t in[PACKED_SIZE];
};

static const struct {
	const char *name;
	uint8_t size;
	uint8_t magic[MAGIC_MAX];
} compressions[] = {
	{"zstd", 4, {0x28, 0xb5, 0x2f, 0xfd}}, {"xz", 6, {0xfd, '7', 'z', 'X', 'Z', 0}},
	{"bzip2", 3, {'B', 'Z', 'h'}},	       {"lz4", 4, {0x04, 0x22, 0x4d, 0x18}},
	{"lzip", 4, {'L', 'Z', 'I', 'P'}},     {"compress", 2, {0x1f, 0x9d}},
	{"zip", 4, {'P', 'K', 3, 4}},	       {"7z", 6, {'7', 'z', 0xbc, 0xaf, 0x27, 0x1c}},
};

/* Octets from the stream; fewer at its end.  -errno. */
static int64_t take(struct capture_input *input, uint8_t *buffer, size_t octets)
{
	size_t count;

	errno = 0;
	count = fread(buffer, 1, octets, input->stream);
	input->position += count;
	if (count < octets && ferror(input->stream)) {
		int error = errno ?: EIO;

		input->error = strerror(error);
		return -error;
	}
	return (int64_t)count;
}

static uint64_t size_of(FILE *stream)
{
	off_t begin = ftello(stream);
	struct stat status;

	if (begin < 0 || fileno(stream) < 0 || fstat(fileno(stream), &status) < 0 ||
	    !S_ISREG(status.st_mode) || status.st_size < begin)
		return 0;
	return (uint64_t)(status.st_size - begin);
}

/* Passes over octets without reading them, where that is possible and worth while; how many. */
static uint64_t skip(struct capture_input *input, uint64_t octets)
{
	octets = MIN(octets, input->size - MIN(input->size, input->position));
	if (octets < WINDOW_SIZE || fseeko(input->stream, (off_t)octets, SEEK_CUR) < 0)
		return 0;
	input->position += octets;
	return octets;
}

static int begin_gzip(struct capture_input *input)
{
	if (inflateInit2(&input->zlib, WINDOW_GZIP) != Z_OK)
		return -ENOMEM;
	input->packed = true;
	memcpy(input->in, input->window, input->held);
	input->zlib.next_in = input->in;
	input->zlib.avail_in = input->held;
	input->held = 0;
	return 0;
}

int capture_input_new(struct capture_input **ret, FILE *stream)
{
	_cleanup_(capture_input_freep) struct capture_input *input = calloc(1, sizeof(*input));
	int64_t count;
	int r;

	if (!input) {
		if (stream != stdin)
			fclose(stream);
		return -ENOMEM;
	}
	input->stream = stream;
	input->size = size_of(stream);
	/* An error is found again by who reads on. */
	count = take(input, input->window, MAGIC_MAX);
	input->held = count > 0 ? (uint32_t)count : 0;
	for (size_t i = 0; i < ARRAY_SIZE(compressions); i++)
		if (input->held >= compressions[i].size &&
		    !memcmp(input->window, compressions[i].magic, compressions[i].size))
			input->compression = compressions[i].name;
	if (input->held >= 2 && input->window[0] == GZIP_MAGIC_0 &&
	    input->window[1] == GZIP_MAGIC_1) {
		r = begin_gzip(input);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(input);
	return 0;
}

struct capture_input *capture_input_free(struct capture_input *input)
{
	if (input) {
		if (input->packed)
			inflateEnd(&input->zlib);
		if (input->stream != stdin)
			fclose(input->stream);
		free(input);
	}
	return NULL;
}

static int64_t fail(struct capture_input *input, const char *error)
{
	input->error = error;
	return -EBADMSG;
}

/*
 * gzip data is one member or several in a row, as pigz(1) and cat(1) make them, and zeros may pad it.
 * 1: another member begins; 0: the end.
 */
static int64_t next_member(struct capture_input *input)
{
	z_stream *z = &input->zlib;

	while (z->avail_in && !*z->next_in) {
		z->avail_in--;
		z->next_in++;
	}
	if (!z->avail_in)
		return 0;
	if (*z->next_in != GZIP_MAGIC_0)
		return fail(input, "behind the gzip data is something else");
	input->member_end = false;
	return inflateReset(z) == Z_OK ? 1 : fail(input, "zlib fails");
}

/* Unpacks what comes next into the empty window; stays empty at the end. */
static int64_t unpack(struct capture_input *input)
{
	z_stream *z = &input->zlib;
	int64_t r;

	input->used = input->held = 0;
	z->next_out = input->window;
	z->avail_out = WINDOW_SIZE;
	while (z->avail_out == WINDOW_SIZE) {
		if (!z->avail_in) {
			r = take(input, input->in, sizeof(input->in));
			if (r < 0)
				return r;
			if (r == 0)
				return input->member_end
					       ? 0
					       : fail(input, "truncated: the gzip data is cut off");
			z->next_in = input->in;
			z->avail_in = (uInt)r;
		}
		if (input->member_end) {
			r = next_member(input);
			if (r < 0)
				return r;
			if (r == 0)
				continue;
		}
		switch (inflate(z, Z_NO_FLUSH)) {
		case Z_OK:
		case Z_BUF_ERROR:
			break;
		case Z_STREAM_END:
			input->member_end = true;
			break;
		default:
			input->held = WINDOW_SIZE - z->avail_out;
			return fail(input, "the gzip data is damaged");
		}
	}
	input->held = WINDOW_SIZE - z->avail_out;
	return 0;
}

/* Up to so many octets that the window holds. */
static uint32_t take_window(struct capture_input *input, uint8_t *buffer, uint64_t octets)
{
	uint32_t count = (uint32_t)MIN(octets, input->held - input->used);

	if (buffer)
		memcpy(buffer, input->window + input->used, count);
	input->used += count;
	return count;
}

int64_t capture_input_read(struct capture_input *input, void *buffer, uint64_t octets)
{
	uint8_t *out = buffer;
	uint64_t done = 0;
	int64_t r;

	for (;;) {
		done += take_window(input, out ? out + done : NULL, octets - done);
		if (done == octets)
			return (int64_t)done;
		if (input->packed) {
			r = unpack(input);
			if (r < 0 && !input->held)
				return r;
			if (!input->held)
				return (int64_t)done;
			continue;
		}
		if (out) {
			r = take(input, out + done, octets - done);
			return r < 0 ? r : (int64_t)done + r;
		}
		input->used = input->held = 0; /* the stream's beginning is done with */
		done += skip(input, octets - done);
		if (done == octets)
			return (int64_t)done;
		r = take(input, input->window, MIN(octets - done, WINDOW_SIZE));
		if (r <= 0)
			return r < 0 ? r : (int64_t)done;
		input->held = (uint32_t)r;
	}
}

const char *capture_input_compression(const struct capture_input *input)
{
	return input->compression;
}

const char *capture_input_error(const struct capture_input *input)
{
	return input->error ?: "";
}

uint64_t capture_input_position(const struct capture_input *input)
{
	return input->position;
}
