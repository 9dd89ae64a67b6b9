/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * YAML into a configuration, by the events of libyaml.  One document, a mapping of keys to values, lists and mappings; no
 * anchors, aliases and tags.  It is bounded: CONFIG_TEXT_MAX octets, a few levels, values of some KiB, PROBLEMS_MAX
 * mistakes.
 */
#include "config/problems.h"

#define CONFIG_TEXT_MAX (1u << 20) /* octets of a file */

/* All that is wrong is added to `problems`; -EINVAL then, or -ENOMEM.  The values go to the layer of files. */
int config_read_yaml(struct config *config, const char *path, const char *text, size_t size,
		     struct problems *problems);

/* The value of a list in YAML, such as "[eth0, veth1]", from another layer. */
int config_read_list(struct config *config, const struct config_source *source, const char *text,
		     struct problems *problems);

/* Reads the file: a regular one, and for root one that nobody else can write.  Errors as above. */
int config_read_file(struct config *config, const char *path, struct problems *problems);

/* Whether libyaml and older readers take the text without quotes for the same text. */
bool yaml_is_plain(const char *text);
