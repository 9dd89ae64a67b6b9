/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Gives frames to the programs and to the model alike, in a network namespace of its own. */
#include "tests/bpf/model.h"

struct give {
	struct datapath *datapath;
	struct tagger tagger;
	struct model model;
};

/* cmocka's setup and teardown: *state is a struct give. */
int give_open(void **state);
int give_close(void **state);

const char *give_label(char *text, size_t size, enum datapath_program program, const char *name,
		       const struct run *run);

/* A frame to one program and to the model.  False: this kernel cannot make such a frame. */
bool give_frame(struct give *g, enum datapath_program program, const char *name,
		const struct run *run);

/* Likewise to a program that stands for that one. */
bool give_fd(struct give *g, int fd, enum datapath_program program, const char *name,
	     const struct run *run);
