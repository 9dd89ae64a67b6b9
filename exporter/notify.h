/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Tells a service manager what the exporter is at, in the datagrams of sd_notify(3), and never waits for it. */
#include <stdbool.h>

/*
 * `state` such as "READY=1".  True when it has been told, or never will be: there is no manager, or it failed, which
 * is logged.  False: the manager does not read, tell it again later.
 */
bool notify_try(const char *state);
