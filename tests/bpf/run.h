/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Gives packets to the loaded programs by BPF_PROG_TEST_RUN; nothing is attached. */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/meter/datapath.h"

/* One frame, and what the kernel is told of it. */
struct run {
	const uint8_t *bytes;
	uint32_t size;	 /* at least ETH_HLEN: BPF_PROG_TEST_RUN takes no less */
	uint32_t linear; /* octets that the program reaches without pulling; 0: all */
	uint32_t ifindex;
	uint16_t ethertype; /* for the model: what the kernel has found it to be; 0: by the bytes */
	uint32_t network; /* likewise: octets in front of the network header, where that is not Ethernet's */
	uint16_t gso_size; /* from here on: TC alone */
	uint16_t gso_segs;
	uint32_t wire_length; /* 0: as the kernel has it, without GSO the size */
	bool vlan_tagged;
	uint16_t vlan; /* TCI of a tag beside the bytes */
	uint32_t repeat;
};

/* A TC program that puts a tag beside the bytes and goes on with another one. */
struct tagger {
	int program;
	int next; /* program array, slot 0 */
};

/* Ends the test as skipped, before it has begun. */
void run_skip(const char *why) __attribute__((noreturn));

/* First in main(): where BPF programs may not be loaded, says so and ends the test as skipped. */
void run_require(void);

/* Ends the test as failed where the programs cannot be loaded. */
struct datapath *run_open(uint32_t bank_entries);

int tagger_new(struct tagger *ret);
void tagger_clear(struct tagger *tagger);

/*
 * A tap device, or a tun device if `bare`; it lives as long as the descriptor, which is returned, or
 * -errno.  What is written to that begins with a struct virtio_net_hdr.
 */
int run_make_interface(const char *name, bool bare, uint32_t *ret_ifindex);

/*
 * 0, or -errno: what the kernel refuses.  *ret_verdict: what the program returned.  The bytes must be
 * the same afterwards: -EBADMSG.
 */
int run_program(int fd, bool xdp, const struct run *run, const struct tagger *tagger,
		int *ret_verdict);
