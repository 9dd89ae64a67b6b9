/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Messages of a file (RFC 5655) or a stream, one behind the other. */
#include "exporter/export/format/decode.h"
#include "exporter/util.h"

struct read_file_events {
	void (*begin)(void *userdata); /* a file, without templates of another */
	void (*record)(void *userdata, const struct decode_record *record);
	void (*pause)(void *userdata); /* all there is for now has been read: it waits */
	bool (*enough)(void *userdata);
	void *userdata;
};

/*
 * "-" is standard input.  `follow`: goes on when the file grows, and with the next file of that name when it is moved,
 * removed or emptied.  What is wrong is logged, and the rest is read.  True: nothing was.
 *
 * It ends where enough() says so, which a handler of SIGINT and SIGTERM may bring about at any time, and where it waits and
 * nobody reads standard output any more.
 */
bool read_file(const char *path, bool follow, const struct read_file_events *events);
