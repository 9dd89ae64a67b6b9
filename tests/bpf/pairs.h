/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Four pairs of veth that join two network namespaces, v0 to v3 in the one that is metered, w0 to w3 in the other; two
 * datapaths to meter them by; and a thread on each of two CPUs that sends: from the near namespace what leaves by v0 to v3,
 * from the far one what arrives there.  Each function fails the test where something goes wrong.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "tests/bpf/run.h"

#define NEAR	 0 /* the namespace that is metered; the caller's */
#define FAR	 1
#define DEVICES	 4
#define IP_BYTES 28 /* of each packet */

struct sender {
	pthread_t thread;
	int socket;
	uint32_t ifindexes[DEVICES];
	uint64_t sent[DEVICES];
	bool each_its_flow;
	atomic_bool stop;
};

struct counted {
	uint64_t packets[DEVICES][_DIRECTION_MAX];
	uint64_t octets[DEVICES][_DIRECTION_MAX];
	uint64_t most; /* packets of one flow */
};

extern struct pairs {
	int namespaces[2];
	uint32_t ifindexes[DEVICES];   /* of v0 to v3 */
	struct datapath *datapaths[2]; /* the second replaces the first */
	struct sender senders[2];
	bool sending;
	uint32_t seed;
	int descriptors; /* before anything was opened */
} pairs;

void pairs_open(const char *mask);

/* 0, or -1: there are more descriptors open than before pairs_open(). */
int pairs_close(void);

int pairs_descriptors(void);
uint32_t pairs_random(uint32_t limit);

/* A shell command; false when it fails. */
bool pairs_try_run(int namespace, const char *format, ...) _printf_(2, 3);
#define pairs_run(...) assert_true(pairs_try_run(__VA_ARGS__))

void pairs_frame(uint8_t frame[14 + IP_BYTES], uint32_t flow);

/* Goes on until pairs_send_end().  `each_its_flow`: by the first pair alone, slowly, no two packets of one flow. */
void pairs_send_begin(bool each_its_flow);

/* When it returns all that was sent has arrived. */
void pairs_send_end(void);

/* What was sent to that device and reached it. */
uint64_t pairs_arrived(unsigned int device);

/* Takes all that was counted, by both datapaths. */
struct counted pairs_collect(void);
