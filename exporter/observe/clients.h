/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The clients of the control socket: what each has asked, and what is on its way to it.  A client has one answer at a time,
 * and its next request is read when that has been taken.  In the thread of the control socket.
 *
 * What waits for a client is the feed of records (feed.h) in a buffer of its own, or one text that all who asked for the
 * status share.  A client that takes nothing goes after CLIENTS_STALLED_NS, one that asks nothing after CLIENTS_SILENT_NS.
 */
#include <stdbool.h>
#include "exporter/observe/feed.h"
#include "exporter/observe/snapshot.h"

#define CLIENTS_SILENT_NS  (10 * NSEC_PER_SEC)
#define CLIENTS_STALLED_NS (60 * NSEC_PER_SEC)

struct clients;
struct loop;

struct clients_options {
	const struct ring *ring;
	struct loop *loop;
	struct snapshots *snapshots;
	struct drop_reasons *drop_names; /* NULL: no drops are traced */
	const char *path;		 /* of the socket */
	uint32_t enterprise;
	uint64_t keep_ns;
	uint64_t *missed; /* as of the feeds' context */
	int (*serve)(
		void *userdata); /* something has come from a client: clients_serve() is to be called */
	void *userdata;
};

/* -ENOMEM. */
int clients_new(struct clients **ret, const struct clients_options *options);
struct clients *clients_free(struct clients *clients);
DEFINE_CLEANUP(struct clients *, clients_free)

/* Takes the descriptor over.  Where there is no room somebody who has not moved for a while goes, or this one is told so. */
void clients_add(struct clients *clients, int fd);

enum clients_state {
	CLIENTS_DONE,	 /* nothing is on its way to anybody */
	CLIENTS_WAITING, /* for somebody to take what is on its way */
	CLIENTS_BUSY,	 /* to be called again soon */
};

/* Does a bounded part of what is to be done for each.  `ending`: no records come any more, and nobody is listened to. */
enum clients_state clients_serve(struct clients *clients, bool ending);

/* About once a second: whose time is over goes; remembers what rates are taken from. */
void clients_look(struct clients *clients);

/* Lets all go. */
void clients_clear(struct clients *clients);
