/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The octets of a capture, as they stand in a stream or as gzip (RFC 1952) has packed them there. */
#include <stdint.h>
#include <stdio.h>
#include "exporter/util.h"

struct capture_input;

/* Takes the stream over, also on failure; stdin is not closed.  -ENOMEM. */
int capture_input_new(struct capture_input **ret, FILE *stream);
struct capture_input *capture_input_free(struct capture_input *input);
DEFINE_CLEANUP(struct capture_input *, capture_input_free)

/* Name of the compression that the stream begins like and that is not read; NULL: of none. */
const char *capture_input_compression(const struct capture_input *input);

/*
 * Reads so many octets; how many there were, which is less at the end alone.  `buffer` may be NULL: then
 * they are passed over.  Errors, see capture_input_error(): -errno of reading, -EINTR among them;
 * -EBADMSG where the gzip data is damaged or cut off.
 */
int64_t capture_input_read(struct capture_input *input, void *buffer, uint64_t octets);
const char *capture_input_error(const struct capture_input *input);

/* Octets taken from the stream so far. */
uint64_t capture_input_position(const struct capture_input *input);
