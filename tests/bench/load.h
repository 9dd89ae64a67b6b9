/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the load generators (load.bpf.c) and their driver (load.c) agree on. */
#include <linux/types.h>

/* Octets of a frame: holds the headers of all shapes. */
#define LOAD_OCTETS 64

enum load_shape {
	LOAD_IPV4,
	LOAD_IPV6,
	LOAD_VLAN, /* IPv4 behind one tag */
	_LOAD_SHAPE_MAX,
};

struct load_config {
	__u64 first; /* number of the first packet */
	__u64 last;
	__u32 ifindex;	     /* frames leave here */
	__u32 steer_ifindex; /* bench_steer sends there */
	__u32 flows;	     /* packet n is of flow n % flows, */
	__u32 random;	     /* or of a random one */
	__u32 shape;	     /* enum load_shape */
	__u8 link[20];	     /* the link-layer header, put in for LOAD_VLAN */
};

/*
 * Times are taken by the generator: the system call around it also waits for RCU grace periods, as
 * many ticks as it happens to take.
 */
struct load_state {
	__u64 next; /* number of the next packet */
	__u64 first_ns;
	__u64 last_ns;
};
