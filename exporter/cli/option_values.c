/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include "exporter/cli/drop_filter.h"
#include "exporter/cli/option_values.h"
#include "exporter/export/transport/address.h"
#include "exporter/export/export.h"
#include "exporter/log.h"
#include "exporter/meter/datapath.h"

#define refuse(...) (log_error(__VA_ARGS__), -EINVAL)

static void *field(struct run_options *options, const struct option_spec *spec)
{
	return (char *)options + spec->offset;
}

static uint64_t spec_min(const struct option_spec *spec)
{
	/* More than the table's on a machine with many CPUs. */
	return spec->offset == offsetof(struct run_options, bank_entries) ||
			       spec->offset == offsetof(struct run_options, drop_entries)
		       ? datapath_entries_min()
		       : spec->min;
}

static int set_duration(struct run_options *o, const struct option_spec *spec, const char *text)
{
	char min[VALUE_DURATION_MAX], max[VALUE_DURATION_MAX];
	uint64_t ns;

	if (value_number(text, &ns) == 0)
		return refuse("--%s '%s': lacks a unit, write ms, s, m or h behind the number",
			      spec->name, text);
	if (value_duration(text, &ns) < 0)
		return refuse("--%s '%s': not a time, write one like 500ms, 15s, 2m or 1h",
			      spec->name, text);
	if (ns < spec->min || ns > spec->max) {
		value_print_duration(min, spec->min);
		value_print_duration(max, spec->max);
		return refuse("--%s '%s': out of range, it can be %s to %s", spec->name, text, min,
			      max);
	}
	*(uint64_t *)field(o, spec) = ns;
	return 0;
}

static int set_number(struct run_options *o, const struct option_spec *spec, const char *text)
{
	uint64_t value, min = spec_min(spec);

	if (value_number(text, &value) < 0)
		return refuse("--%s '%s': not a number, it can be %llu to %llu", spec->name, text,
			      (unsigned long long)min, (unsigned long long)spec->max);
	if (value < min || value > spec->max)
		return refuse("--%s '%s': out of range, it can be %llu to %llu", spec->name, text,
			      (unsigned long long)min, (unsigned long long)spec->max);
	if (spec->type == OPTION_NUMBER16)
		*(uint16_t *)field(o, spec) = (uint16_t)value;
	else
		*(uint32_t *)field(o, spec) = (uint32_t)value;
	return 0;
}

static int set_limit(struct run_options *o, const struct option_spec *spec, const char *text)
{
	uint64_t value;

	if (!strcmp(text, "off")) {
		*(uint32_t *)field(o, spec) = 0;
		return 0;
	}
	if (value_number(text, &value) < 0 || value > spec->max)
		return refuse("--%s '%s': it can be a number up to %llu, or off", spec->name, text,
			      (unsigned long long)spec->max);
	*(uint32_t *)field(o, spec) = (uint32_t)value;
	return 0;
}

/* "auto, xdp, tc or off" */
static void print_words(char *text, size_t size, const struct option_word *words)
{
	size_t used = 0;

	for (; words->word; words++) {
		const char *behind = !words[1].word ? "" : words[2].word ? ", " : " or ";

		used += (size_t)snprintf(text + used, size - used, "%s%s", words->word, behind);
	}
}

static const struct option_word *find_word(const struct option_word *words, const char *text,
					   size_t length)
{
	for (; words->word; words++)
		if (strlen(words->word) == length && !memcmp(words->word, text, length))
			return words;
	return NULL;
}

static int set_word(struct run_options *o, const struct option_spec *spec, const char *text)
{
	const struct option_word *word = find_word(spec->words, text, strlen(text));
	char words[64];

	if (word) {
		*(unsigned int *)field(o, spec) = word->value;
		return 0;
	}
	print_words(words, sizeof(words), spec->words);
	return refuse("--%s '%s': no such word, it can be %s", spec->name, text, words);
}

static int set_mask(struct run_options *o, const struct option_spec *spec, const char *text)
{
	char words[96];
	int r = 0;

	*(const char **)field(o, spec) = text;
	print_words(words, sizeof(words), spec->words);
	for (;;) {
		size_t length = strcspn(text, ",");

		if (!find_word(spec->words, text, length))
			r = refuse("--%s '%.*s': no such feature, there is %s", spec->name,
				   (int)length, text, words);
		if (!text[length])
			return r;
		text += length + 1;
	}
}

static int append_interface(struct run_options *o, const char *text)
{
	if (!*text || strchr(text, '/') || strpbrk(text, " \t\n"))
		return refuse(
			"--interface '%s': no interface can have this name, `ip link` lists them",
			text);
	if (strlen(text) >= IFNAMSIZ && !strpbrk(text, "*?["))
		return refuse("--interface '%s': longer than the %d letters of an interface name",
			      text, IFNAMSIZ - 1);
	o->interfaces[o->interface_count++] = text;
	return 0;
}

static int append_collector(struct run_options *o, const char *text)
{
	const char *why;

	if (!exports_url_valid(text, &why))
		return refuse("--collector '%s': %s", text, why);
	o->collectors[o->collector_count++] = text;
	return 0;
}

static int set_template(struct run_options *o, const struct option_spec *spec, const char *text)
{
	const char *why;

	if (!exports_template_valid(text, &why))
		return refuse("--%s '%s': %s", spec->name, text, why);
	*(const char **)field(o, spec) = text;
	return 0;
}

static int set_address(struct run_options *o, const struct option_spec *spec, const char *text)
{
	char why[ADDRESS_WHY_MAX];
	struct ip_address address;

	if (address_parse(text, &address, why) < 0)
		return refuse("--%s: %s", spec->name, why);
	*(const char **)field(o, spec) = text;
	return 0;
}

static int set_prefix(struct run_options *o, const struct option_spec *spec, const char *text)
{
	if (value_prefix(text, field(o, spec)) < 0)
		return refuse(
			"--%s '%s': neither an address nor a prefix such as 192.0.2.0/24 or 2001:db8::/32",
			spec->name, text);
	return 0;
}

static int set_drops(struct run_options *o, const struct option_spec *spec, const char *text)
{
	*(const char **)field(o, spec) = text;
	return drop_filter_check(spec->name, text);
}

int option_value_set(struct run_options *o, const struct option_spec *spec, const char *text)
{
	switch (spec->type) {
	case OPTION_FLAG:
		*(bool *)field(o, spec) = true;
		return 0;
	case OPTION_DURATION:
		return set_duration(o, spec, text);
	case OPTION_NUMBER32:
	case OPTION_NUMBER16:
		return set_number(o, spec, text);
	case OPTION_LIMIT:
		return set_limit(o, spec, text);
	case OPTION_WORD:
		return set_word(o, spec, text);
	case OPTION_DROPS:
		return set_drops(o, spec, text);
	case OPTION_MASK:
		return set_mask(o, spec, text);
	case OPTION_TEMPLATE:
		return set_template(o, spec, text);
	case OPTION_ADDRESS:
		return set_address(o, spec, text);
	case OPTION_PREFIX:
		return set_prefix(o, spec, text);
	case OPTION_INTERFACE:
		return append_interface(o, text);
	case OPTION_COLLECTOR:
		return append_collector(o, text);
	}
	return -EINVAL;
}
