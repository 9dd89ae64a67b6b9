/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Of the source, in hex, as git told it when this was built; empty: it was no git tree. */
extern const char commit[];
