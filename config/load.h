/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A configuration from all who have a say in it.  Each layer counts more than the one before: defaults, the file, the
 * environment, --set, options.  A list is taken whole from the last that gives it.
 */
#include "config/problems.h"

/* An option of the command line. */
struct config_assignment {
	const struct setting *setting;
	const char *text; /* NULL: a flag, or a value that is missing, as has been said */
};

struct config_request {
	enum config_verb verb;
	const char *capture;	  /* of replay */
	const char *file;	  /* that an option names; NULL: none */
	char *const *environment; /* "NAME=VALUE", NULL at the end; NULL: it has no say */
	const struct config_assignment *assignments;
	size_t assignment_count;
	bool partial; /* it may name no interface: not to be run as it is */
};

/*
 * A copy that depends on nothing else, to load the configuration once more later.  Of the environment it has our variables
 * alone.  NULL without memory.
 */
struct config_request *config_request_copy(const struct config_request *request);
struct config_request *config_request_free(struct config_request *request);
DEFINE_CLEANUP(struct config_request *, config_request_free)

/* The file to read: that of the request, or $FLOWTALLY_CONFIG; NULL: none. */
const char *config_request_file(const struct config_request *request);

/*
 * What is wrong is added to `problems`, all of it, warnings too.  -EINVAL when there are errors, also those that were
 * there before; -ENOMEM.  *ret needs config_clear() after success alone.
 */
int config_load(struct config *ret, const struct config_request *request,
		struct problems *problems);
