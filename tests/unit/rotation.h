/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* For tests of files that are rotated: their names, what is in them, and what happens to their folder. */
#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include "tests/unit/export_files.h"

#define TEST(f) cmocka_unit_test_teardown(f, clear_folder)

#define OURS "{\"sourceIPv4Address\":\"192.0.2.1\"}\n"

static inline void name_file(const char *suffix, char ret[96])
{
	snprintf(ret, 96, "%s%s", path, suffix);
}

/* Regular, a folder, a link: whatever has that name. */
static inline bool is_there(const char *suffix)
{
	char name[96];
	struct stat st;

	name_file(suffix, name);
	return lstat(name, &st) == 0;
}

/* Lines of JSON in the file, which is removed. */
static inline unsigned int take_lines(const char *suffix, size_t *ret_size)
{
	_cleanup_(freep) uint8_t *data = NULL;
	char name[96];

	name_file(suffix, name);
	data = read_named(name, ret_size);
	assert_int_equal(unlink(name), 0);
	if (!*ret_size)
		return 0;
	assert_int_equal(data[0], '{');
	assert_int_equal(data[*ret_size - 1], '\n');
	return count_lines(data, *ret_size);
}

static inline void remove_suffixes(const char *suffix, ...)
{
	va_list more;
	char name[96];

	va_start(more, suffix);
	for (; suffix; suffix = va_arg(more, const char *)) {
		name_file(suffix, name);
		assert_int_equal(unlink(name), 0);
	}
	va_end(more);
}

static inline struct exports *open_rotated(const char *scheme, const char *options)
{
	struct exports *exports;

	given = (struct export_count){0};
	stderr_keep();
	snprintf(url, sizeof(url), "%s%s?%s", scheme, path, options);
	assert_int_equal(exports_new(&exports, &(struct export_options){.domain = 9}, NULL), 0);
	exports_set_clock(exports, CLOCK_NS);
	assert_int_equal(exports_add(exports, url), 0);
	return exports;
}

static inline void give_now(struct exports *exports, unsigned int count)
{
	give_random(exports, count);
	exports_flush(exports);
	assert_ledger(exports, &given);
}

static inline void end_periods(struct exports *exports, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		give_now(exports, 1);
		clock_skip(10 * NSEC_PER_SEC);
		exports_flush(exports);
	}
}

static inline void put_octets(const char *suffix, const void *octets, size_t size)
{
	char name[96];
	FILE *f;

	name_file(suffix, name);
	f = fopen(name, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(octets, 1, size, f), size);
	fclose(f);
}

static inline void put_file(const char *suffix, const char *text)
{
	put_octets(suffix, text, strlen(text));
}

static inline void reload(struct exports *exports, const char *options)
{
	const struct export_collector collector = {.url = url};
	struct export_changes changes;

	snprintf(url, sizeof(url), "file://%s%s", path, options);
	assert_int_equal(exports_apply(exports, &(struct export_options){.domain = 9}, &collector,
				       1, &changes),
			 0);
	assert_int_equal(changes.changed, 1);
	assert_ledger(exports, &given);
}

static inline void unmount_all(void)
{
	while (umount2(folder, MNT_DETACH) == 0)
		;
}

/* Mounts of this process alone; false: it may not. */
static inline bool mount_alone(const char *type, unsigned long flags, const char *options)
{
	return geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount(type ? "none" : folder, folder, type, flags, options) == 0;
}

/* Whatever a test that failed has left. */
static inline int clear_folder(void **state)
{
	DIR *names;
	const struct dirent *entry;

	if (getuid() == 0 && (seteuid(0) < 0 || chown(folder, 0, 0) < 0))
		return -1;
	unmount_all();
	names = opendir(folder);

	while (names && (entry = readdir(names)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    unlinkat(dirfd(names), entry->d_name, 0) < 0)
			unlinkat(dirfd(names), entry->d_name, AT_REMOVEDIR);
	if (names)
		closedir(names);
	return remove_file(state);
}
