/* SPDX-License-Identifier: Apache-2.0 */
/* `flowtally replay`: the flows of a capture file. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "exporter/cli/confine.h"
#include "exporter/cli/options.h"
#include "exporter/cli/summary.h"
#include "exporter/cli/verbs.h"
#include "exporter/exporter.h"
#include "exporter/log.h"

#define PROGRESS_STEP_NS (250 * NSEC_PER_MSEC)

struct replay {
	struct exporter *exporter;
	bool progress;
	uint64_t size;	      /* of the file; 0: unknown */
	uint64_t progress_ns; /* when it was last shown, or the start */
	bool progress_shown;
};

static void replay_clear(struct replay *r)
{
	exporter_freep(&r->exporter);
}

static void on_progress(void *userdata, uint64_t packets, uint64_t position)
{
	struct replay *r = userdata;
	const char *path = exporter_config(r->exporter)->capture;
	uint64_t now = clock_ns(CLOCK_MONOTONIC);

	if (position == UINT64_MAX && r->progress_shown)
		fprintf(stderr, "\r\033[K");
	if (!r->progress || position == UINT64_MAX || now - r->progress_ns < PROGRESS_STEP_NS)
		return;
	r->progress_ns = now;
	r->progress_shown = true;
	if (r->size)
		fprintf(stderr, "\r\033[K%s: %d %%, %llu packets", path,
			(int)(MIN(position, r->size) * 100 / r->size), (unsigned long long)packets);
	else
		fprintf(stderr, "\r\033[K%s: %llu packets", path, (unsigned long long)packets);
}

static void prepare_progress(struct replay *r, const struct config *config)
{
	struct stat status;
	bool standard = strcmp(config->capture, "-") == 0;
	int error = standard ? fstat(STDIN_FILENO, &status) : stat(config->capture, &status);

	if (error == 0 && S_ISREG(status.st_mode))
		r->size = (uint64_t)status.st_size;
	r->progress = isatty(STDERR_FILENO) && !config->quiet;
	r->progress_ns = clock_ns(CLOCK_MONOTONIC);
}

static void on_overdue(void *userdata)
{
	struct replay *r = userdata;

	summary_overdue(r->exporter);
}

/* Says which collectors did not get everything; 0 if none. */
static int report_lost(const struct ledger *ledger)
{
	int lost = 0;

	for (unsigned int i = 0; ledger->collectors && i < ledger->collectors->count; i++) {
		const struct collector_stats *stats = &ledger->collectors->stats[i];

		for (unsigned int loss = 0; loss < _EXPORT_LOSS_MAX; loss++)
			if (stats->lost[loss].records) {
				log_error("%s: %llu records lost (%s)", stats->url,
					  (unsigned long long)stats->lost[loss].records,
					  export_loss_name((enum export_loss)loss));
				lost = -EIO;
			}
	}
	return lost;
}

size_t replay_options(struct argument_option *ret)
{
	return options_list(VERB_REPLAY, ret);
}

int replay_main(int argc, char **argv)
{
	_cleanup_(replay_clear) struct replay r = {0};
	const struct exporter_events events = {
		.progress = on_progress, .overdue = on_overdue, .userdata = &r};
	struct config config;
	int error = options_parse(&config, VERB_REPLAY, argc, argv);

	if (error != 0)
		return error < 0 ? 2 : 0; /* --help */
	prepare_progress(&r, &config);
	error = confine_begin(&config);
	if (error == 0)
		error = exporter_new(&r.exporter, SOURCE_CAPTURE, &config, &events);
	if (error == 0)
		error = confine_enter(SANDBOX_NOTHING);
	if (error == 0)
		error = exporter_start(r.exporter);
	if (error < 0)
		return 1;
	error = exporter_run(r.exporter);
	exporter_stop(r.exporter);
	summary_say(r.exporter);
	return report_lost(exporter_snapshot(r.exporter)) < 0 || error < 0 ? 1 : 0;
}
