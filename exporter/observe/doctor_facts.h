/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What doctor.h judges, gathered from the system.  Files of /proc and /sys are read below a root, which tests make; what the
 * kernel tells by system calls has a function of its own.
 */
#include <linux/capability.h>
#include <netinet/in.h>
#include "exporter/meter/features.h"
#include "exporter/meter/netdev.h"
#include "exporter/observe/doctor.h"

#define DOCTOR_TIMEOUT_NS  (2 * NSEC_PER_SEC) /* of each thing that may wait */
#define DOCTOR_UNKNOWN	   (-1)
#define DOCTOR_WORD_MAX	   64
#define DOCTOR_WHY_MAX	   256
#define DOCTOR_PATH_MAX	   512
#define DOCTOR_FOREIGN_MAX 16
#define DOCTOR_DEVICES_MAX 64 /* of those that globs match, that are looked at */

struct doctor_kernel {
	char release[DOCTOR_WORD_MAX]; /* "6.1.0-18-amd64" */
	bool btf;
	int jit;			/* bpf_jit_enable, or DOCTOR_UNKNOWN */
	char lockdown[DOCTOR_WORD_MAX]; /* "none", "integrity", "confidentiality"; empty: there is no such thing */
	int unprivileged_bpf; /* kernel.unprivileged_bpf_disabled, or DOCTOR_UNKNOWN */
	char clock_source[DOCTOR_WORD_MAX];
	char clock_sources[DOCTOR_WORD_MAX]; /* those that there are, with blanks */
	int synchronised;		     /* the wall clock: 0, 1, or DOCTOR_UNKNOWN */
	struct feature features[FEATURES_MAX];
	size_t feature_count;
};

/* A control group on the way to the root that limits memory, the one with the least room. */
struct doctor_cgroup {
	char path[DOCTOR_PATH_MAX]; /* empty: none limits it */
	uint64_t limit, used;	    /* octets */
};

/* Octets until the limit. */
uint64_t doctor_room_of(const struct doctor_cgroup *group);

struct doctor_process {
	uint32_t user;
	uint64_t capabilities; /* effective; a bit for each CAP_* */
	int seccomp;	       /* mode: 0 none, 1 strict, 2 filter, or DOCTOR_UNKNOWN */
	int landlock;	       /* its version, or -errno: sandbox.h */
	uint64_t memlock;      /* octets; UINT64_MAX: no limit */
	uint64_t files;	       /* descriptors, hard limit */
	uint64_t available;    /* octets of the machine that can be had; UINT64_MAX: not known */
	struct doctor_cgroup cgroup;
};

enum doctor_foreign_place {
	DOCTOR_AT_XDP,
	DOCTOR_AT_TC_INGRESS,
	DOCTOR_AT_TC_EGRESS,
};

/* A program or filter on a hook, in the order in which packets meet it. */
struct doctor_program {
	enum doctor_foreign_place place;
	uint32_t id;   /* 0: of a filter without one */
	char name[64]; /* empty: it may not be read */
	bool ours;
};

struct doctor_device {
	struct netdev dev;
	bool wanted;
	bool looked_at; /* likewise, and more is known of it than `dev`: of all that are named, and of some that globs match */
	char altname[128]; /* by which it is wanted; empty: by its name */
	char driver[32];
	unsigned int offloads; /* enum netdev_offload */
	bool vlan_on_top;
	bool ingress_qdisc; /* `ingress`, which has no egress, in place of clsact */
	struct doctor_program programs[DOCTOR_FOREIGN_MAX];
	size_t program_count;
	bool programs_hidden; /* tcx may not be asked for */
};

struct doctor_devices {
	struct doctor_device *list;
	size_t count;
	bool *met; /* by the number of a wanted pattern: it means one of them */
	int error; /* -errno of listing them */
};

enum doctor_stage {
	DOCTOR_AT_NAME,
	DOCTOR_AT_ROUTE,
	DOCTOR_AT_ANSWER,
	DOCTOR_AT_END,
};

/* How far one got on the way to a collector. */
struct doctor_collector {
	struct collector_url url;
	uint16_t message_max;	  /* octets */
	size_t octets_needed;	  /* exports_octets_needed() */
	const char *source;	  /* NULL: the system's choice */
	enum doctor_stage stage;  /* that it has reached */
	char why[DOCTOR_WHY_MAX]; /* the name has no address; else empty */
	char address[ADDRESS_TEXT_MAX];
	int route_error;  /* -errno of what needs no answer: source address, route */
	int payload_max;  /* octets that the path is known to take, or DOCTOR_UNKNOWN */
	int answer_error; /* -errno: ICMP or the end of a TCP handshake; -ETIMEDOUT of TCP alone */
	int file_error;	  /* -errno of a file's folder */
	uint64_t free;	  /* octets on its file system */
};

/* The control socket. */
struct doctor_exporter {
	int error;	/* -errno; 0: it has answered */
	json_t *status; /* what it answered; NULL: nothing */
};

struct doctor_facts {
	struct doctor_kernel kernel;
	struct doctor_process process;
	struct doctor_devices devices;
	struct doctor_collector *collectors; /* that are wanted; else those of the running exporter */
	size_t collector_count;
	int listen_error; /* -errno of taking the address; 0: it is free */
	struct doctor_exporter exporter;
};

/* All of it, from this system; within some seconds.  -ENOMEM.  *ret needs doctor_facts_clear() in any case. */
int doctor_gather(const struct doctor_wanted *wanted, struct doctor_facts *ret);
void doctor_facts_clear(struct doctor_facts *facts);

/* The parts; `root` is put before the paths of files: "" for this system. */
void doctor_read_kernel(const char *root, struct doctor_kernel *ret);
void doctor_read_process(const char *root, struct doctor_process *ret);
/* service: of the group of flowtally.service, too */
void doctor_read_memory_group(const char *root, bool service, struct doctor_cgroup *ret);
int doctor_read_devices(const struct doctor_wanted *wanted, struct doctor_devices *ret);
int doctor_knock(const struct doctor_wanted *wanted, struct doctor_facts *ret);
void doctor_ask(const char *socket, struct doctor_exporter *ret);
int doctor_try_listen(const char *address);

/* A file without the end of its last line; -errno. */
int doctor_read(const char *root, const char *path, char *ret, size_t size);
/* Its number; DOCTOR_UNKNOWN where there is none. */
int doctor_read_number(const char *root, const char *path);

/* The kernel's major and minor number as one: 6.1 is 601. */
unsigned int doctor_release(const char *release);
