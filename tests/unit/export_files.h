/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* For tests of collectors that are files: a folder of their own, records, and what is in the file. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "tests/unit/flows.h"
#include "tests/unit/sink.h"

#define FLOWS	 500
#define DRAIN_NS (500 * NSEC_PER_MSEC)
#define CLOCK_NS (int64_t)(1700000000ull * NSEC_PER_SEC)

static char folder[] = "/tmp/flowtally-test-XXXXXX", path[64], url[120];
static struct export_count given;

static inline int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/flows", folder);
	return 0;
}

static inline int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

static inline int remove_file(void **state)
{
	unlink(path);
	clock_reset();
	return stderr_release(state);
}

static inline struct exports *open_exports(const char *scheme)
{
	struct exports *exports;

	given = (struct export_count){0};
	stderr_keep();
	snprintf(url, sizeof(url), "%s%s", scheme, path);
	assert_int_equal(exports_new(&exports, &(struct export_options){.domain = 9}, NULL), 0);
	exports_set_clock(exports, CLOCK_NS);
	assert_int_equal(exports_add(exports, url), 0);
	return exports;
}

static inline void give(struct exports *exports, const struct flow *flow)
{
	given.records++;
	given.packets += flow->record.packets;
	given.octets += flow->record.octets;
	exports_flow(exports, flow);
	assert_ledger(exports, &given);
}

static inline void give_random(struct exports *exports, unsigned int count)
{
	uint64_t seed = 7;

	for (unsigned int i = 0; i < count; i++) {
		struct flow flow = random_flow(&seed);

		give(exports, &flow);
	}
}

/* The whole file, which the caller frees. */
static inline uint8_t *read_named(const char *name, size_t *ret_size)
{
	_cleanup_(fclosep) FILE *f = fopen(name, "r");
	uint8_t *data = malloc(4 * 1024 * 1024);

	assert_non_null(f);
	assert_non_null(data);
	*ret_size = fread(data, 1, 4 * 1024 * 1024, f);
	return data;
}

static inline uint8_t *read_file(size_t *ret_size)
{
	return read_named(path, ret_size);
}

/* Walks over the messages, which must end where the file ends; their export times become 0. */
static inline unsigned int walk(uint8_t *data, size_t size)
{
	unsigned int messages = 0;

	for (size_t at = 0; at < size; messages++) {
		uint16_t length = (uint16_t)(data[at + 2] << 8 | data[at + 3]);

		assert_true(at + 16 <= size);
		assert_int_equal(data[at + 1], 10);
		assert_true(length > 20 && at + length <= size);
		memset(data + at + 4, 0, 4);
		at += length;
	}
	return messages;
}

static inline unsigned int count_lines(const uint8_t *data, size_t size)
{
	unsigned int lines = 0;

	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	return lines;
}

/* The file holds whole messages, templates first, or whole lines; it is removed.  Returns its octets. */
static inline size_t take_file(bool json)
{
	_cleanup_(freep) uint8_t *data = NULL;
	size_t size;

	data = read_file(&size);
	assert_true(size > 0);
	if (json) {
		assert_int_equal(data[0], '{');
		assert_int_equal(data[size - 1], '\n');
		assert_true(count_lines(data, size) > 0);
	} else {
		assert_int_equal(data[16] << 8 | data[17], 2); /* a template set */
		assert_true(walk(data, size) > 1);
	}
	assert_int_equal(unlink(path), 0);
	return size;
}
