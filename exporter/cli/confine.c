/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/confine.h"
#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <string.h>
#include "exporter/log.h"

/* Folders of one configuration. */
#define FOLDERS_MAX (2 * EXPORT_COLLECTORS_MAX + 20)

struct folders {
	char *paths[FOLDERS_MAX];
	size_t count;
};

static void folders_clear(struct folders *f)
{
	for (size_t i = 0; i < f->count; i++)
		free(f->paths[i]);
}

static void add(struct folders *f, const char *path)
{
	char *copy = f->count < FOLDERS_MAX ? strdup(path) : NULL;

	if (copy)
		f->paths[f->count++] = copy;
}

static void add_folder(struct folders *f, const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');

	snprintf(folder, sizeof(folder), "%.*s", slash ? MAX((int)(slash - path), 1) : 1,
		 slash ? path : ".");
	add(f, folder);
}

/* Of a file that is there or will be, and of the one that it leads to by links. */
static void add_folders_of(struct folders *f, const char *file)
{
	char real[PATH_MAX];

	add_folder(f, file);
	if (realpath(file, real) && strcmp(real, file) != 0)
		add_folder(f, real);
}

/* Files that collectors write to. */
static void find_files(struct folders *f, const struct config *config)
{
	struct collector_url url;
	char why[URL_WHY_MAX];

	for (size_t i = 0; i < config->collector_count; i++)
		if (url_parse(config->collectors[i].url, &url, why) == 0 &&
		    !url_in_network(&url) && *url.path)
			add_folders_of(f, url.path);
}

static void find_writable(struct folders *f, const struct config *config)
{
	find_files(f, config);
	if (config->sandbox_folder)
		add(f, config->sandbox_folder);
	if (config->control_socket && strcmp(config->control_socket, "off") != 0)
		add_folders_of(f, config->control_socket); /* it is removed at the end */
}

/*
 * What is opened again after the start: the kernel's files, names of users and addresses (resolv.conf is replaced at times, and
 * may be a link to a folder in /run), times of places, and the configuration.
 */
static void find_readable(struct folders *f, const struct config *config)
{
	static const char *const always[] = {
		"/proc", "/sys/class", "/sys/devices", "/sys/kernel/btf", "/etc",
		"/usr",	 "/lib",       "/dev/null",    "/dev/urandom",
	};

	for (size_t i = 0; i < ARRAY_SIZE(always); i++)
		add(f, always[i]);
	add_folders_of(f, "/etc/resolv.conf");
	if (!config->path)
		return;
	add(f, config->path); /* whose owner may be another than its folder's */
	add_folders_of(f, config->path);
}

int confine_begin(const struct config *config)
{
	_cleanup_(folders_clear) struct folders readable = {0}, writable = {0};

	find_readable(&readable, config);
	find_writable(&writable, config);
	return sandbox_begin(&(struct sandbox_options){
		.mode = config->sandbox,
		.uses = SANDBOX_FILES | SANDBOX_NETWORK | SANDBOX_KERNEL,
		.readable = (const char *const *)readable.paths,
		.readable_count = readable.count,
		.writable = (const char *const *)writable.paths,
		.writable_count = writable.count,
	});
}

int confine_enter(void)
{
	return sandbox_enter(SANDBOX_METERING | SANDBOX_CAP(CAP_DAC_OVERRIDE));
}

int confine_allows(const struct config *config)
{
	_cleanup_(folders_clear) struct folders folders = {0};

	find_files(&folders, config);
	for (size_t i = 0; i < folders.count; i++)
		if (!sandbox_may_write(folders.paths[i]))
			return log_errno(
				LOG_ERR, EPERM,
				"'%s' was not among the folders of collectors at the start: "
				"restart the exporter, or start it with --sandbox off",
				folders.paths[i]);
	return 0;
}
