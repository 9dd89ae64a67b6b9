/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * How messages leave: one interface, and one file for each kind.  A transport gets whole messages, of which
 * it knows the octets and how many records are in them.  It says what it takes, and tells the account what
 * becomes of the records.  Templates, sequences, queues and the loop are not its business.
 *
 * Nothing here blocks.  Times are those of CLOCK_MONOTONIC, in ns.
 */
#include <stddef.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "exporter/export/account.h"
#include "exporter/export/transport/address.h"

struct transport;
struct transport_options;

#define TRANSPORT_MESSAGE_MAX 9000 /* octets, as of --message-size */
#define TRANSPORT_PARTS	      3

struct transport_message {
	struct iovec parts[TRANSPORT_PARTS]; /* headers, records, padding */
	unsigned int part_count;
	size_t length;		   /* octets of all parts */
	bool last_template;	   /* all templates have been told when it has gone */
	struct export_count count; /* its flow records; none: templates or options */
};

/* What may be sent now. */
enum transport_takes {
	TRANSPORT_NOTHING,
	TRANSPORT_PROBE, /* templates alone, to see whether there is an answer */
	TRANSPORT_ALL,
};

/* What was lost, or may have been, though all that follows is read by it: bits of transport.owed. */
#define TRANSPORT_OWES_TEMPLATES 1u
#define TRANSPORT_OWES_OPTIONS	 2u

struct transport_ops {
	bool reliable; /* what is sent arrives, in order, or the session ends: templates go once in each */
	bool timed; /* sessions last: templates (if not reliable), options, statistics go at intervals */
	bool by_capture; /* of a capture that is replayed: export times are those of exports_set_time() */
	uint64_t message_ns; /* what a message costs of the pace, and what may be saved up */
	uint64_t burst_ns;

	/*
	 * Of the network: begins a session with that address, in place of any there was; or -errno.  It may
	 * take nothing until it is connected.
	 */
	int (*open)(struct transport *t, const struct sockaddr *address, socklen_t length,
		    uint64_t now_ns);
	void (*close)(struct transport *t);
	/* Looks what has happened; -errno: the session is over, which is counted and in the state. */
	int (*step)(struct transport *t, uint64_t now_ns);
	/* Of poll(2), at which step() is needed; besides POLLOUT when send() asks for it. */
	short (*events)(struct transport *t);
	enum transport_takes (*takes)(struct transport *t, uint64_t now_ns);
	/* Messages with records that may go now; UINT32_MAX: there is no limit. */
	unsigned int (*allows)(struct transport *t, uint64_t now_ns);
	/* Whether what is queued leaves as fast as can be asked for, so that it is worth waiting for. */
	bool (*keeps_up)(struct transport *t, uint64_t now_ns);
	/* Octets of a message, at most. */
	uint16_t (*limit)(struct transport *t);
	/*
	 * Takes messages, in order: how many of them, all with records or all without, or 0 to be asked again.
	 * -EAGAIN: wait until the descriptor is writable; -ENOBUFS: wait a little; -EMSGSIZE and -EPERM: this
	 * message cannot go; others: the session is over.  Failures are counted and in the state.  A count of 0
	 * says that not even one record fits into limit().
	 */
	int (*send)(struct transport *t, const struct transport_message *messages,
		    unsigned int count, uint64_t now_ns);
	/* Until step() is needed though nothing is sent; UINT64_MAX: it is not. */
	uint64_t (*wait_ns)(struct transport *t, uint64_t now_ns);
	/* Has records that count as queued. */
	bool (*busy)(struct transport *t);
	/* Forgets them; the counters are the caller's. */
	void (*discard)(struct transport *t);
	/*
	 * Of the network: the DSCP of what is sent from now on and the length of messages; the address to send from is
	 * that of the next session.
	 */
	void (*change)(struct transport *t, const struct transport_options *options);
	struct transport *(*free)(struct transport *t);
};

/* The first member of each kind. */
struct transport {
	const struct transport_ops *ops;
	struct account *account;
	int fd; /* to wait for; -1: none */
	unsigned int owed;
};

struct transport_options {
	struct account *account;
	uint16_t message_max;
	uint16_t head;		  /* octets by which a message can be told from others */
	struct ip_address source; /* family 0: the system's to choose */
	uint8_t dscp;
};

/* -ENOMEM. */
int udp_transport_new(struct transport **ret, const struct transport_options *options);
int tcp_transport_new(struct transport **ret, const struct transport_options *options);

/* The file is made if there is none, mode 0640; an empty path is standard output.  -errno. */
int file_transport_new(struct transport **ret, struct account *account, const char *path);

/*
 * Whether the path is a link that is followed: nobody but root and our user can have made it, or can put another in its
 * place.  Else whoever may write to the folder would choose which file we write to.
 */
bool file_transport_follows(const char *path);

/* When a file that holds records ends and another begins; all 0: never. */
struct file_rotation {
	uint64_t ns;   /* periods of the wall clock, from 1970 on in UTC; 0: however old it is */
	uint64_t size; /* octets: the message or line that reaches it is the last; 0: any size */
	unsigned int keep; /* finished files that are kept; 0: all */
};

/* From now on; of regular files with a path, others are not rotated. */
void file_transport_rotate(struct transport *t, const struct file_rotation *rotation);

/*
 * Before anything else: a file that holds something becomes a finished one (finished.h), and an empty one is made.
 * Where that fails the file goes on behind what is in it.
 */
void file_transport_begin(struct transport *t);

/* Opens the path again where it is not that of the file any more, or a FIFO has lost its reader: before a flush. */
void file_transport_look(struct transport *t);

/* Writes what has gathered, as far as the reader of a pipe takes it. */
void file_transport_flush(struct transport *t);
