/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in until the filters are there. */
#include <errno.h>
#include "exporter/observe/record_filter.h"

int record_filter_new(_unused_ struct record_filter **ret, _unused_ const char *text,
		      char error[FILTER_ERROR_MAX])
{
	snprintf(error, FILTER_ERROR_MAX, "there are no filters yet");
	return -EINVAL;
}

struct record_filter *record_filter_free(_unused_ struct record_filter *filter)
{
	return NULL;
}

bool record_filter_matches(_unused_ const struct record_filter *filter,
			   _unused_ const struct record_view *view)
{
	return true;
}

void record_view_of_flow(_unused_ struct record_view *ret, _unused_ const struct flow *flow,
			 _unused_ const struct record_context *context)
{
}
