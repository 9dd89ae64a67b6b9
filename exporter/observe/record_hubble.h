/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Records in the shape of Hubble's flows: api/v1/flow/flow.proto and observer.proto of Cilium, as protojson writes them.
 * What a record does not hold is left out, what Hubble has no field for is under flow.extensions.value.
 */
#include <stdint.h>
#include <stdio.h>
#include "exporter/observe/record_view.h"

/* One object on one line. */
void hubble_print_flow(FILE *file, const struct record_view *view, const char *node);

/* What the packets of a record were: "TCP Flags: SYN, ACK", "UDP", "ICMPv4 EchoRequest". */
#define HUBBLE_SUMMARY_MAX 96
const char *hubble_summary(char text[HUBBLE_SUMMARY_MAX], const struct record_view *view);

/* DropReason of a reason of the kernel's, where Hubble has one that says the same; 0: it has none. */
unsigned int hubble_drop_reason(const char *kernel_name, const char **ret_name);

/* The kernel's reasons that a DropReason stands for, by rising i; NULL: no more, or no such DropReason. */
const char *hubble_drop_reason_kernel(const char *hubble_name, unsigned int i);
