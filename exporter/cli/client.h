/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* How verbs ask the running exporter: lines of JSON over its control socket (docs/control.md). */
#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>
#include "exporter/util.h"

#define CLIENT_WHY_MAX 1024

struct client;

/* -errno: `why` says what is wrong, and how it is mended.  -ENOENT, -ECONNREFUSED: no exporter runs there. */
int client_open(struct client **ret, const char *path, char why[CLIENT_WHY_MAX]);

/* Takes over a connected socket, also on failure.  -ENOMEM. */
int client_new(struct client **ret, int fd);
struct client *client_free(struct client *client);
DEFINE_CLEANUP(struct client *, client_free)

/* The process of the exporter, as it is numbered here; 0: not known. */
pid_t client_peer(const struct client *client);

/* To wait for: readable when client_read() may have more. */
int client_fd(const struct client *client);

/* Takes the request over.  -errno. */
int client_ask(struct client *client, json_t *request);

/*
 * The next line of the answer, an object, the caller's.  -EAGAIN: none within `timeout_ms` (-1: for ever); -ENODATA:
 * there will be no more; -EPROTO: it is no JSON; other -errno.  -EINVAL: the exporter refused, and client_refusal() says
 * why.
 */
int client_read(struct client *client, int timeout_ms, json_t **ret);

/* Of the last -EINVAL: the fault's code (control_request.h), and a sentence. */
const char *client_refusal_code(const struct client *client);
const char *client_refusal(const struct client *client);
