/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Answers over HTTP what others ask of the exporter: /metrics, /healthz, /readyz.  A thread of its own answers from the
 * newest snapshot; the loop never waits for it, nor for who asks.
 *
 * Connections, their time and the memory of answers that nobody reads are bounded.  An address that cannot be had is a
 * warning and is tried again.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/export/transport/address.h"
#include "exporter/util.h"

struct http;
struct snapshots;

#define HTTP_CONNECTIONS_MAX 256
#define HTTP_TIMEOUT_S	     10 /* a connection on which nothing moves */
#define HTTP_CROWD	     192 /* more than that, and the one that has been there longest is sent away */
#define HTTP_ANSWER_S	     30 /* a request and its answer */
#define HTTP_MEMORY_MAX \
	(64u * 1024 * 1024) /* octets of answers that are on their way; beyond it is 503 */
#define HTTP_RETRY_S 5

struct http_settings {
	const char *listen;   /* http_listen_parse(); "off": nothing is answered.  Copied */
	bool hubble;	      /* metrics by Hubble's names too */
	uint64_t config_hash; /* metrics_source */
	const uint64_t
		*missed; /* likewise, read atomically; it outlives the thread.  NULL: not known */
};

/* Starts the thread.  -ENOMEM, -errno. */
int http_new(struct http **ret, struct snapshots *snapshots, const struct http_settings *settings);

/* Other settings from now on; waits for nothing.  -ENOMEM: all is as it was. */
int http_apply(struct http *http, const struct http_settings *settings);

/* Before the snapshots are freed.  Waits for the thread, which takes as long as one answer at most. */
struct http *http_free(struct http *http);
DEFINE_CLEANUP(struct http *, http_free)

#define HTTP_WHY_MAX (ADDRESS_WHY_MAX + 100)

/*
 * "127.0.0.1:9717", "[::1]:9717"; localhost stands for 127.0.0.1, and [::] is IPv4 too.  Other names are refused: what they
 * mean would have to be asked for, and may change.  -EINVAL: `why` says then in a few words what is wrong.
 */
int http_listen_parse(const char *text, struct ip_address *ret, uint16_t *ret_port,
		      char why[HTTP_WHY_MAX]);
