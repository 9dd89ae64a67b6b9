/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics of the exporter itself. */
#include <bpf/libbpf.h>
#include "exporter/observe/metrics_context.h"
#include "exporter/observe/metrics_print.h"
#include "exporter/observe/metrics_writer.h"
#include "exporter/observe/snapshot.h"

typedef struct metrics_writer writer;
typedef const struct metrics_context context;

const char *metrics_commit = "";

void metrics_print_build(writer *w, context *c)
{
	metrics_add(w, 1, FLOWTALLY_VERSION, metrics_commit, libbpf_version_string(),
		    c->source->kernel ? c->source->kernel : "");
}

void metrics_print_config(writer *w, context *c)
{
	char hash[20];

	snprintf(hash, sizeof(hash), "%016llx", (unsigned long long)c->source->config_hash);
	if (c->source->config_hash)
		metrics_add(w, 1, hash);
}

void metrics_print_missed(writer *w, context *c)
{
	if (c->source->missed)
		metrics_add(w, __atomic_load_n(c->source->missed, __ATOMIC_RELAXED));
}

void metrics_print_snapshots(writer *w, context *c)
{
	metrics_add(w, c->snapshot->number);
}

void metrics_print_snapshot_time(writer *w, context *c)
{
	metrics_add_ns(w, c->snapshot->time_ns);
}

void metrics_print_interval(writer *w, context *c)
{
	metrics_add_ns(w, c->snapshot->interval_ns);
}

void metrics_print_reloads(writer *w, context *c)
{
	metrics_add(w, c->snapshot->reloads.good, "good");
	metrics_add(w, c->snapshot->reloads.failed, "failed");
}

void metrics_print_reload_good(writer *w, context *c)
{
	metrics_add(w, !c->snapshot->reloads.last_failed);
}

void metrics_print_reload_time(writer *w, context *c)
{
	if (c->snapshot->reloads.last_ns)
		metrics_add_ns(w, c->snapshot->reloads.last_ns);
}

void metrics_print_program_runs(writer *w, context *c)
{
	for (int i = 0; i < _PROGRAM_MAX; i++)
		if (c->snapshot->programs[i].runs)
			metrics_add(w, c->snapshot->programs[i].runs,
				    c->snapshot->programs[i].name);
}

void metrics_print_program_time(writer *w, context *c)
{
	for (int i = 0; i < _PROGRAM_MAX; i++)
		if (c->snapshot->programs[i].runs)
			metrics_add_ns(w, c->snapshot->programs[i].run_ns,
				       c->snapshot->programs[i].name);
}

void metrics_print_series(writer *w, context *c)
{
	for (size_t i = 0; i < metrics_family_count; i++)
		if (c->series[i] && &metrics_families[i] != w->family)
			metrics_add(w, c->series[i], metrics_families[i].name);
}

void metrics_print_overflow(writer *w, context *c)
{
	const struct traffic *t = c->snapshot->traffic;

	if (!t)
		return;
	metrics_add(w, t->interfaces.overflow, "interfaces");
	metrics_add(w, t->ports.overflow, "ports");
	metrics_add(w, t->icmp.overflow, "icmp");
	metrics_add(w, t->reasons.overflow, "drop_reasons");
}

void metrics_print_process_cpu(writer *w, context *c)
{
	metrics_add_ns(w, c->source->process->cpu_ns);
}

void metrics_print_process_resident(writer *w, context *c)
{
	metrics_add(w, c->source->process->resident_octets);
}

void metrics_print_process_virtual(writer *w, context *c)
{
	metrics_add(w, c->source->process->virtual_octets);
}

void metrics_print_process_fds(writer *w, context *c)
{
	metrics_add(w, c->source->process->descriptors);
}

void metrics_print_process_fds_max(writer *w, context *c)
{
	metrics_add(w, c->source->process->descriptors_max);
}

void metrics_print_process_threads(writer *w, context *c)
{
	metrics_add(w, c->source->process->threads);
}

void metrics_print_process_start(writer *w, context *c)
{
	metrics_add_ns(w, c->source->process->started_ns);
}
