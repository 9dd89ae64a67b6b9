/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What a client of the control socket asks for: one line of JSON.  docs/control.md is the reference. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "exporter/observe/record_top.h"
#include "exporter/util.h"

#define CONTROL_VERSION	    1
#define CONTROL_REQUEST_MAX 16384 /* octets of a line, with its end */
#define CONTROL_ERROR_MAX   512

/* Of CONTROL_TOP. */
#define CONTROL_ROWS	     100
#define CONTROL_ROWS_MAX     500
#define CONTROL_EVERY_MS     1000
#define CONTROL_EVERY_MS_MIN 100
#define CONTROL_EVERY_MS_MAX 3600000
#define CONTROL_KEYS	     "proto,src,sport,dst,dport"

enum control_ask {
	CONTROL_STATUS,
	CONTROL_RECORDS,
	CONTROL_TOP,
	_CONTROL_ASK_MAX,
};

struct control_request {
	enum control_ask ask;
	/* Of CONTROL_RECORDS. */
	bool follow;
	uint64_t last;	   /* records at most that are there already; UINT64_MAX: all */
	uint64_t since_ms; /* since 1970; 0: from the oldest */
	uint64_t until_ms; /* likewise; UINT64_MAX: no end */
	/* Of CONTROL_TOP. */
	char *keys; /* as record_top_new() takes them */
	enum top_by by;
	uint64_t rows;	   /* that are shown at most */
	uint64_t every_ms; /* between two pictures at least */
	/* Of both. */
	char *filter; /* an expression (record_filter.h); NULL: all */
};

/* Whose fault it is, for programs: `code` of the answer. */
enum control_fault {
	CONTROL_FAULT_REQUEST, /* it is no request, or asks for what there is not */
	CONTROL_FAULT_VERSION, /* it is of a version that this exporter does not speak */
	CONTROL_FAULT_FILTER,  /* its filter is none */
	CONTROL_FAULT_BUSY,  /* there are as many clients as there can be, or there is no memory */
	CONTROL_FAULT_EARLY, /* nothing has been metered yet */
	_CONTROL_FAULT_MAX,
};

/*
 * One line without its end.  -EINVAL: *ret_fault and `error` say what is wrong; -ENOMEM likewise.  *ret needs
 * control_request_clear() after success alone.
 */
int control_request_parse(struct control_request *ret, const char *line, size_t size,
			  enum control_fault *ret_fault, char error[CONTROL_ERROR_MAX]);
void control_request_clear(struct control_request *request);

/* "request", "version" ... */
const char *control_fault_name(enum control_fault fault);
