/* SPDX-License-Identifier: Apache-2.0 */
/* `flowtally run`: flows and drops of live interfaces. */
#include <errno.h>
#include <linux/capability.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <xxhash.h>
#include "config/print.h"
#include "exporter/cli/confine.h"
#include "exporter/cli/live.h"
#include "exporter/cli/memory.h"
#include "exporter/cli/options.h"
#include "exporter/cli/summary.h"
#include "exporter/cli/verbs.h"
#include "exporter/export/format/profile.h"
#include "exporter/exporter.h"
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/meter/cache.h"
#include "exporter/meter/datapath.h"
#include "exporter/meter/hooks.h"
#include "exporter/observe/control.h"
#include "exporter/observe/doctor_check.h"
#include "exporter/observe/http.h"
#include "exporter/observe/metrics.h"
#include "exporter/reload.h"

struct run {
	struct exporter *exporter;
	struct config_request *request; /* of the start */
	struct reload *reload;		/* NULL without a file */
	struct http *http;		/* NULL: its thread could not be had */
	struct live *live;		/* NULL: nothing is shown */
	struct control *control;	/* NULL: no socket */
	struct loop_source *reader;	/* of standard output; NULL: it does not matter */
	int reader_fd;		/* watched for that: the collector may watch the other; 0: none */
	uint64_t missed;	/* atomic: records that readers of the control socket have missed */
	unsigned int terminals; /* a bit for each standard stream that was one at the start */
};

static void forget_reader(struct run *r)
{
	loop_source_freep(&r->reader);
	if (r->reader_fd > 0)
		close(r->reader_fd);
	r->reader_fd = 0;
}

static void run_clear(struct run *r)
{
	live_freep(&r->live);
	reload_freep(&r->reload);
	control_freep(&r->control);
	forget_reader(r);
	http_freep(&r->http);
	exporter_freep(&r->exporter);
	config_request_freep(&r->request);
}

/* --- What is shown. */

static void on_delta(void *userdata, _unused_ enum record_kind kind, const struct flow_key *key,
		     const struct flow_record *record)
{
	struct run *r = userdata;

	if (r->control)
		control_delta(r->control, key, record);
}

static void on_settled(void *userdata, _unused_ unsigned int kinds, _unused_ uint64_t now_ns)
{
	struct run *r = userdata;

	if (r->control)
		control_settled(r->control, kinds);
}

static void on_live_ended(void *userdata, int error, const char *why)
{
	struct run *r = userdata;

	if (error == 0)
		exporter_end(r->exporter);
	else if (!exporter_ending(r->exporter))
		log_warning("nothing is shown any more: %s", why);
}

/* When the start has been told.  Without it the exporter does its work as ever. */
static void show(struct run *r)
{
	const struct live_options options = {
		.control = r->control,
		.loop = exporter_loop(r->exporter),
		.choice = {.tab = TOP_FLOWS,
			   .drops_by = DROPS_BY_SERVICE,
			   .every_ms = CONTROL_EVERY_MS},
		.ended = on_live_ended,
		.userdata = r,
	};
	int error = !exporter_config(r->exporter)->live ? 0
		    : r->control			? live_new(&r->live, &options)
							: -ENOMEM;

	if (error < 0)
		log_errno(LOG_WARNING, error, "nothing can be shown");
}

/* --- Signals. */

/* With SIGHUP ignored (nohup) the end of the session is not to be ours. */
static unsigned int find_terminals(void)
{
	struct sigaction action;
	unsigned int terminals = 0;

	if (sigaction(SIGHUP, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
		return 0;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		terminals |= (unsigned int)isatty(fd) << fd;
	return terminals;
}

/* Nobody is there any more, as at the end of an ssh session. */
static bool terminal_gone(const struct run *r)
{
	struct termios mode;

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (r->terminals & 1u << fd && tcgetattr(fd, &mode) < 0 && errno == EIO)
			return true;
	return false;
}

static void on_hangup(void *userdata)
{
	struct run *r = userdata;

	if (exporter_ending(r->exporter))
		return;
	if (terminal_gone(r)) {
		exporter_end(r->exporter);
		return;
	}
	if (r->reload)
		reload_request(r->reload);
	else if (!r->request->file)
		log_notice(
			"SIGHUP: there is no configuration to read again, looking at the interfaces");
	exporter_rescan(r->exporter);
}

/* SIGUSR1. */
static void on_report(void *userdata)
{
	struct run *r = userdata;

	summary_print(exporter_snapshot(r->exporter), SUMMARY_TEXT);
}

/* --- Who may ask. */

/* Without it the exporter does its work as ever. */
static void open_control(struct run *r)
{
	const struct config *config = exporter_config(r->exporter);
	struct control_options options = {
		.path = strcmp(config->control_socket, "off") ? config->control_socket : NULL,
		.group = config->control_group,
		.records = config->control_records,
		.keep_ns = config->control_keep_ns,
		.enterprise = config->export.enterprise,
		.snapshots = exporter_snapshots(r->exporter),
		.drop_names = exporter_drop_names(r->exporter),
		.clock = exporter_clock(r->exporter),
		.kinds = record_kinds(exporter_drop_names(r->exporter) != NULL),
		.missed = &r->missed,
	};

	if (options.path)
		(void)control_new(&r->control, &options);
	options.path = NULL;
	if (!r->control && config->live)
		(void)control_new(&r->control, &options);
}

static void close_control(struct run *r)
{
	if (r->control)
		control_end(r->control, exporter_deadline_ns(r->exporter));
	control_freep(&r->control);
}

/* --- The reader of json:-. */

/* Records go there and nowhere else, so that nobody is left when its reader has gone. */
static bool writes_to_stdout_alone(const struct config *config)
{
	for (size_t i = 0; i < config->collector_count; i++)
		if (strncmp(config->collectors[i].url, "json:-", 6) != 0)
			return false;
	return config->collector_count > 0;
}

static int on_reader_gone(void *userdata, _unused_ uint32_t events)
{
	struct run *r = userdata;

	forget_reader(
		r); /* the loop runs on for the end, and would be told of it again and again */
	exporter_end(r->exporter);
	return 0;
}

static void watch_reader(struct run *r)
{
	const bool wanted = writes_to_stdout_alone(exporter_config(r->exporter));

	if (wanted && r->reader)
		return;
	forget_reader(r);
	if (!wanted)
		return;
	r->reader_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (r->reader_fd > 0) /* EPERM of a file, which nobody reads */
		(void)loop_add_fd(exporter_loop(r->exporter), r->reader_fd, 0, on_reader_gone, r,
				  &r->reader);
}

/* --- Another configuration. */

static void set_log_level(const struct run *r)
{
	const struct config *config = exporter_config(r->exporter);

	log_set_level(config->quiet ? LOG_NOTICE : config->verbose ? LOG_DEBUG : LOG_INFO);
}

static void warn_of_no_collector(const struct config *config)
{
	if (!config->collector_count && !config->live)
		log_warning("no --collector and no --live: flows are metered and then forgotten");
}

/* --- Metrics. */

/* Of the settings that are in force, whoever gave them, which `config show` tells in comments; 0 without memory. */
static uint64_t hash_config(const struct config *config)
{
	_cleanup_(freep) char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	int error = file ? config_print(file, config, true) : -ENOMEM;
	uint64_t hash = 0;

	if (!file || fclose(file) != 0 || error < 0)
		return 0;
	for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
		const char *comment = strstr(line, "  # ");

		size = comment ? (size_t)(comment - line) : strlen(line);
		hash = XXH3_64bits_withSeed(line, size, hash);
	}
	return hash;
}

static struct http_settings http_settings(const struct run *r)
{
	const struct config *config = exporter_config(r->exporter);

	return (struct http_settings){
		.listen = config->metrics_listen,
		.hubble = config->metrics_hubble,
		.config_hash = hash_config(config),
		.missed = &r->missed,
	};
}

static void serve_metrics(struct run *r)
{
	const struct http_settings wanted = http_settings(r);
	int error = http_new(&r->http, exporter_snapshots(r->exporter), &wanted);

	if (error < 0)
		log_errno(LOG_WARNING, error, "metrics cannot be served");
}

static void take_over(struct run *r)
{
	const struct http_settings wanted = http_settings(r);
	int error = r->http ? http_apply(r->http, &wanted) : 0;

	if (error < 0)
		log_errno(LOG_WARNING, error, "metrics are served as before");
	set_log_level(r);
	watch_reader(r);
	warn_of_no_collector(exporter_config(r->exporter));
}

static int apply(void *userdata, struct config *config)
{
	struct run *r = userdata;
	int error = confine_allows(config);

	if (error == 0)
		error = exporter_apply(r->exporter, config);

	if (error == 0)
		take_over(r);
	return error;
}

static void on_applied(void *userdata, int error)
{
	struct run *r = userdata;

	if (error == 0)
		take_over(r);
	if (r->reload)
		reload_applied(r->reload, error);
}

static void watch_file(struct run *r)
{
	const struct reload_options options = {
		.loop = exporter_loop(r->exporter),
		.request = r->request,
		.running = exporter_config(r->exporter),
		.notifier = exporter_notifier(r->exporter),
		.apply = apply,
		.userdata = r,
	};
	int error = r->request->file ? reload_new(&r->reload, &options) : 0;

	if (error < 0)
		log_errno(LOG_WARNING, error, "the configuration cannot be read again");
	else if (r->reload)
		reload_ready(r->reload);
	exporter_show_reloads(r->exporter, r->reload);
}

static void tell_reloads(const struct run *r)
{
	const struct reload_stats *s = r->reload ? reload_stats(r->reload) : NULL;

	if (s && s->good + s->failed)
		log_info("reloads: %llu good, %llu not taken", (unsigned long long)s->good,
			 (unsigned long long)s->failed);
}

static void on_overdue(void *userdata)
{
	struct run *r = userdata;

	live_abandon();
	summary_overdue(r->exporter);
}

/* --- Words. */

/* How the files are read that a user has looked at coming about; what is below the working directory as he would type it. */
static void tell_files(const struct config *config)
{
	char folder[PATH_MAX], quoted[DOCTOR_QUOTE_MAX], why[URL_WHY_MAX];
	struct collector_url url;
	const char *path;
	size_t length;

	if (!getcwd(folder, sizeof(folder)))
		folder[0] = '\0';
	length = strlen(folder);
	for (size_t i = 0; config->live && i < config->collector_count; i++) {
		if (url_parse(config->collectors[i].url, &url, why) < 0 || url.scheme != URL_FILE)
			continue;
		path = url.path;
		if (length > 1 && !strncmp(path, folder, length) && path[length] == '/')
			path += length + 1;
		log_notice("to read what was recorded: %s read %s", program_invocation_name,
			   doctor_quote(quoted, path));
	}
}

static void announce(const struct run *r)
{
	const struct config *config = exporter_config(r->exporter);
	const struct hooks *hooks = exporter_hooks(r->exporter);
	const struct hooks_interface *interface;
	size_t attached = 0, partly = 0;

	for (size_t i = 0; (interface = hooks_get(hooks, i)); i++) {
		attached += interface->attached;
		partly += !interface->attached && hooks_interface_meters(interface);
	}
	memory_announce(config, exporter_traces_drops(r->exporter));
	if (partly)
		log_warning("%zu more interface%s metered in one direction of two", partly,
			    partly == 1 ? " is" : "s are");
	warn_of_no_collector(config);
	log_notice("ready: metering %zu interface%s, domain %u, timeouts idle %g s active %g s, "
		   "banks drained every %g s",
		   attached, attached == 1 ? "" : "s", config->export.domain,
		   (double)config->idle_ns / NSEC_PER_SEC, (double)config->active_ns / NSEC_PER_SEC,
		   (double)config->drain_ns / NSEC_PER_SEC);
}

static int make(struct run *r, struct config *config)
{
	const struct exporter_events events = {
		.delta = on_delta,
		.settled = on_settled,
		.applied = on_applied,
		.hangup = on_hangup,
		.report = on_report,
		.overdue = on_overdue,
		.userdata = r,
	};
	int error;

	r->terminals = find_terminals();
	error = confine_begin(config);
	if (error < 0)
		return error;
	log_info("version %s%s%.12s", FLOWTALLY_VERSION, *metrics_commit ? ", commit " : "",
		 metrics_commit);
	memory_warn(config);
	error = exporter_new(&r->exporter, SOURCE_KERNEL, config, &events);
	if (error < 0)
		return error;
	open_control(r);
	return 0;
}

size_t run_options(struct argument_option *ret)
{
	return options_list(VERB_RUN, ret);
}

int run_main(int argc, char **argv)
{
	_cleanup_(run_clear) struct run r = {0};
	struct config config;
	int error = options_parse_request(&config, &r.request, VERB_RUN, argc, argv), ended;

	if (error != 0)
		return error < 0 ? 2 : 0; /* --help */
	if (make(&r, &config) < 0 || exporter_start(r.exporter) < 0) {
		log_notice(
			"`flowtally doctor`, with the same interfaces and collectors or --config, says what "
			"mends that");
		return 1;
	}
	serve_metrics(&r);
	if (confine_enter(SANDBOX_METERING) < 0)
		return 1;
	if (!exporter_ending(r.exporter)) {
		announce(&r);
		watch_file(&r);
		watch_reader(&r);
		show(&r);
	}
	error = exporter_run(r.exporter);
	live_freep(&r.live);
	r.live = NULL;
	tell_reloads(&r);
	exporter_show_reloads(r.exporter, NULL);
	reload_freep(&r.reload);
	ended = exporter_stop(r.exporter);
	close_control(&r);
	summary_say(r.exporter);
	tell_files(exporter_config(r.exporter));
	return error < 0 || ended < 0 ? 1 : 0;
}
