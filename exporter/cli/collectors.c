/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/collectors.h"
#include "exporter/log.h"

int collectors_add(struct exports *exports, const struct config *config)
{
	int error;

	for (size_t i = 0; i < config->collector_count; i++) {
		const struct config_collector *c = &config->collectors[i];

		error = exports_add_collector(exports, &(struct export_collector){
							       .url = c->url,
							       .name = c->name,
							       .options = &c->options,
						       });
		if (error < 0)
			return log_errno(LOG_ERR, error, "cannot open collector '%s'", c->url);
	}
	return 0;
}
