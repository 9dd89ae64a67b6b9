/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Collectors that come, change and go: what the tests of exports_apply() have in common.  After cmocka.h. */
#include <dirent.h>
#include "exporter/loop.h"
#include "exporter/meter/drop_reason.h"
#include "tests/unit/exporting.h"

#define LIST_A "sourceIPv4Address,sourceIPv6Address,octetDeltaCount,packetDeltaCount"
#define LIST_B "sourceIPv4Address,sourceIPv6Address,packetDeltaCount"

static struct loop *loop;
static struct export_changes changes;

/* These URLs, with NULL behind them, each a collector; '#' and a name may follow. */
static inline int try_apply(const struct export_options *options, const char *const *urls)
{
	struct export_collector collectors[EXPORT_COLLECTORS_MAX + 1];
	char texts[EXPORT_COLLECTORS_MAX + 1][1600];
	unsigned int count = 0;
	int r;

	for (; urls[count]; count++) {
		char *text = texts[count], *name;

		snprintf(text, sizeof(texts[0]), "%s", urls[count]);
		name = strchr(text, '#');
		if (name)
			*name++ = '\0';
		collectors[count] = (struct export_collector){.url = text, .name = name};
	}
	r = exports_apply(exports, options, collectors, count, &changes);
	memset(texts, 'x', sizeof(texts)); /* all has been copied */
	assert_ledgers(exports, &given);
	return r;
}

#define apply(...) \
	assert_int_equal(try_apply(&(struct export_options){0}, \
				   (const char *const[]){__VA_ARGS__, NULL}), \
			 0)

static inline void expect_changes(unsigned int added, unsigned int changed, unsigned int removed,
				  unsigned int kept)
{
	assert_int_equal(changes.added, added);
	assert_int_equal(changes.changed, changed);
	assert_int_equal(changes.removed, removed);
	assert_int_equal(changes.kept, kept);
}

/* Flows of IPv4, whose records count them: packets 1, 2, 3, ... */
static inline void give_numbered(unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct flow flow = {.record = {.packets = given.records + 1, .octets = 100}};

		flow.key.src_port = (uint16_t)given.records;
		given.records++;
		given.packets += flow.record.packets;
		given.octets += 100;
		exports_flow(exports, &flow);
	}
	assert_ledgers(exports, &given);
}

/* Of both families. */
static inline void give_random(unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct flow flow = random_flow(&seed);

		given.records++;
		given.packets += flow.record.packets;
		given.octets += flow.record.octets;
		exports_flow(exports, &flow);
	}
	assert_ledgers(exports, &given);
}

static inline void give_drops(unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct flow drop = {.key = {.kind = FLOW_DROP, .src_port = (uint16_t)i},
				    .record = {.packets = 1, .octets = 60},
				    .drop = &drop_reason_texts[0]};

		given.records++;
		given.packets += 1;
		given.octets += 60;
		exports_flow(exports, &drop);
	}
	assert_ledgers(exports, &given);
}

static inline void pass(unsigned int milliseconds)
{
	exports_flush(exports);
	assert_ledgers(exports, &given);
	run_for(loop, milliseconds);
	assert_ledgers(exports, &given);
}

static inline const struct collector_stats *stats_at(unsigned int index)
{
	const struct collector_stats *stats = exports_stats(exports, index);

	assert_non_null(stats);
	return stats;
}

static inline const char *url_of(const struct sink *s, const char *rest)
{
	static char texts[8][1600];
	static unsigned int next;
	char *text = texts[next++ % 8];

	snprintf(text, sizeof(texts[0]), "ipfix://127.0.0.1:%u%s", s->port, rest);
	return text;
}

static inline void begin(const struct export_options *options, struct sink *sinks,
			 unsigned int count)
{
	assert_int_equal(loop_new(&loop), 0);
	start(options, loop);
	for (unsigned int i = 0; i < count; i++)
		assert_true(sink_open(&sinks[i], "127.0.0.1", 0));
}

static inline void end(struct sink *sinks, unsigned int count)
{
	stop();
	loop = loop_free(loop);
	for (unsigned int i = 0; i < count; i++) {
		assert_false(sinks[i].gap);
		assert_false(sinks[i].data_first);
		sink_close(&sinks[i]);
	}
}

static inline unsigned int descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int count = 0;

	assert_non_null(d);
	while (readdir(d))
		count++;
	closedir(d);
	return count;
}
