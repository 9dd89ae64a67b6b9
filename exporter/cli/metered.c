/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/metered.h"
#include <jansson.h>
#include <string.h>
#include "exporter/cli/client.h"
#include "exporter/log.h"
#include "exporter/observe/control_request.h"
#include "exporter/observe/record_filter.h"
#include "exporter/observe/text.h"
#include "exporter/value.h"

#define ANSWER_MS 5000

/* NULL: it cannot be asked now; who asks for records hears why. */
static json_t *ask_status(const char *path)
{
	_cleanup_(client_freep) struct client *client = NULL;
	char why[CLIENT_WHY_MAX];
	json_t *status = NULL;

	if (client_open(&client, path, why) < 0 ||
	    client_ask(client,
		       json_pack("{s:i,s:s}", "version", CONTROL_VERSION, "ask", "status")) < 0 ||
	    client_read(client, ANSWER_MS, &status) < 0)
		return NULL;
	return status;
}

/* As feeds name them. */
static const char *name_of(const json_t *interface)
{
	const char *name = json_string_value(json_object_get(interface, "device"));

	return name ? name : "";
}

static void check_name(const char *name, const json_t *interfaces)
{
	struct value_guess guess = {0};
	char shown[64], hint[VALUE_HINT_MAX];
	uint64_t ifindex;
	size_t index;
	json_t *one;

	if (strpbrk(name, "*?") || value_number(name, &ifindex) == 0)
		return;
	json_array_foreach (interfaces, index, one) {
		if (!strcmp(name_of(one), name))
			return;
		value_guess_offer(&guess, name, name_of(one));
	}
	snprintf(shown, sizeof(shown), "%s", name);
	text_make_printable(shown);
	log_warning("interface '%s' is none that the exporter has, so no record is of it%s", shown,
		    value_guess_hint(&guess, hint));
}

void metered_check(const char *text, const char *path)
{
	_cleanup_(record_filter_freep) struct record_filter *filter = NULL;
	char why[FILTER_ERROR_MAX];
	const char *name;
	json_t *status, *interfaces;

	if (record_filter_new(&filter, text, why) < 0 || !filter ||
	    !record_filter_interface(filter, 0))
		return;
	status = ask_status(path);
	interfaces = json_object_get(status, "interfaces");
	for (unsigned int i = 0;
	     json_array_size(interfaces) && (name = record_filter_interface(filter, i)); i++)
		check_name(name, interfaces);
	json_decref(status);
}
