/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/confine.h"
#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <string.h>
#include "config/schema.h"
#include "exporter/export/transport/transport.h"
#include "exporter/log.h"

/* Of folders and files. */
struct places {
	char **paths;
	size_t count, room;
};

static void places_clear(struct places *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->paths[i]);
	free(p->paths);
}

/* What there is no memory for cannot be opened later, and that is told then. */
static void add(struct places *p, const char *path)
{
	const size_t room = p->count < p->room ? p->room : 2 * p->room + 16;
	char **paths = reallocarray(p->paths, room, sizeof(*paths)), *copy = strdup(path);

	if (paths) {
		p->paths = paths;
		p->room = room;
	}
	if (paths && copy)
		p->paths[p->count++] = TAKE_PTR(copy);
	free(copy);
}

static void add_folder(struct places *p, const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');

	snprintf(folder, sizeof(folder), "%.*s", slash ? MAX((int)(slash - path), 1) : 1,
		 slash ? path : ".");
	add(p, folder);
}

/* Of a file that is there or will be, and of the one that it leads to by links. */
static void add_folders_of(struct places *p, const char *file)
{
	char real[PATH_MAX];

	add_folder(p, file);
	if (realpath(file, real) && strcmp(real, file) != 0)
		add_folder(p, real);
}

/* What is read from standard input is open. */
static bool is_named(const char *path)
{
	return path && strcmp(path, "-") != 0;
}

/*
 * The name servers: /etc/resolv.conf, and folders in /run to which it leads on systems where a service writes it.  All of
 * these, for it becomes a link to one, or to another one, when such a service is put in place later.
 */
static void add_name_servers(struct places *p)
{
	static const char *const folders[] = {"/run/systemd/resolve", "/run/NetworkManager",
					      "/run/resolvconf", "/run/netconfig", "/run/connman"};

	add_folders_of(p, "/etc/resolv.conf");
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
		add(p, folders[i]);
}

/* One to be read, whose owner may be another than its folder's, in which others come into its place. */
static void add_file(struct places *p, const char *path)
{
	if (!is_named(path))
		return;
	add(p, path);
	add_folders_of(p, path);
}

/* Files that collectors write to.  Where a link leads matters if it is followed. */
static void find_files(struct places *p, const struct config *config)
{
	struct collector_url url;
	char why[URL_WHY_MAX];

	for (size_t i = 0; i < config->collector_count; i++) {
		if (url_parse(config->collectors[i].url, &url, why) < 0 || url_in_network(&url) ||
		    !*url.path)
			continue;
		if (file_transport_follows(url.path))
			add_folders_of(p, url.path);
		else
			add_folder(p, url.path);
	}
}

static void find_writable(struct places *p, const struct config *config)
{
	find_files(p, config);
	if (config->sandbox_folder)
		add(p, config->sandbox_folder);
}

/* The socket is removed at the end. */
static void find_removable(struct places *p, const struct config *config)
{
	if (config->control_socket && strcmp(config->control_socket, "off") != 0)
		add_folder(p, config->control_socket);
}

/*
 * What is opened again after the start: the kernel's files, names of users and addresses (resolv.conf is replaced at times, and
 * may be a link to a folder in /run), times of places, and the configuration.
 */
static void find_readable(struct places *p, const struct config *config)
{
	static const char *const always[] = {
		"/proc", "/sys/class", "/sys/devices", "/sys/kernel/btf", "/etc",
		"/usr",	 "/lib",       "/dev/null",    "/dev/urandom",
	};

	for (size_t i = 0; i < ARRAY_SIZE(always); i++)
		add(p, always[i]);
	add_name_servers(p);
	add_file(p, config->path);
	if (is_named(config->capture))
		add(p, config->capture);
}

/* A capture is a file among others; what comes from the kernel takes all there is. */
static unsigned int find_uses(const struct config *config)
{
	struct collector_url url;
	char why[URL_WHY_MAX];
	unsigned int uses = SANDBOX_FILES;

	if (!config->capture)
		return SANDBOX_FILES | SANDBOX_NETWORK | SANDBOX_KERNEL;
	for (size_t i = 0; i < config->collector_count; i++)
		if (url_parse(config->collectors[i].url, &url, why) == 0 && url_in_network(&url))
			uses |= SANDBOX_NETWORK;
	return uses;
}

int confine_begin(const struct config *config)
{
	_cleanup_(places_clear) struct places readable = {0}, writable = {0}, removable = {0};

	find_readable(&readable, config);
	find_writable(&writable, config);
	find_removable(&removable, config);
	return sandbox_begin(&(struct sandbox_options){
		.mode = config->sandbox,
		.uses = find_uses(config),
		.readable = (const char *const *)readable.paths,
		.readable_count = readable.count,
		.writable = (const char *const *)writable.paths,
		.writable_count = writable.count,
		.removable = removable.count ? removable.paths[0] : NULL,
	});
}

int confine_enter(uint64_t keep)
{
	return sandbox_enter(keep | SANDBOX_CAP(CAP_DAC_OVERRIDE));
}

static enum sandbox_mode mode_of_environment(void)
{
	const struct setting *s = setting_find("sandbox");
	char name[SETTING_ENVIRONMENT_MAX];
	const char *value = getenv(setting_environment(s, name));

	for (const struct setting_word *word = s->words; value && word->word; word++)
		if (!strcmp(word->word, value))
			return (enum sandbox_mode)word->value;
	return SANDBOX_ON;
}

int confine_reader(const char *const *paths, size_t count, bool follow)
{
	/* The time zone, names of what a terminal can, and what the thread may do. */
	static const char *const always[] = {"/etc/localtime", "/usr/share", "/usr/lib/locale",
					     "/proc"};
	_cleanup_(places_clear) struct places readable = {0};
	int error;

	for (size_t i = 0; i < ARRAY_SIZE(always); i++)
		add(&readable, always[i]);
	for (size_t i = 0; i < count; i++)
		if (follow)
			add_file(&readable, paths[i]);
		else if (is_named(paths[i]))
			add(&readable, paths[i]);
	log_open(); /* nothing is opened for writing from here on */
	error = sandbox_begin(&(struct sandbox_options){
		.mode = mode_of_environment(),
		.readable = (const char *const *)readable.paths,
		.readable_count = readable.count,
	});
	return error ?: confine_enter(SANDBOX_NOTHING);
}

int confine_allows(const struct config *config)
{
	_cleanup_(places_clear) struct places folders = {0};

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
