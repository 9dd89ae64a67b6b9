/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/sandbox.h"
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "exporter/log.h"
#include "exporter/sandbox_calls.h"
#include "exporter/util.h"

/* By the versions of the interface, each with all of the one before (landlock(7)); older headers lack the later names. */
#define FILE_RIGHTS_1 ((1ull << 13) - 1)
#define RIGHT_REFER   (1ull << 13) /* 2 */
#define RIGHT_TRUNC   (1ull << 14) /* 3 */
#define RIGHT_IOCTL   (1ull << 15) /* 5, of devices; nothing gets it */

#define READING (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITING \
	(READING | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
	 LANDLOCK_ACCESS_FS_MAKE_REG | RIGHT_TRUNC)
#define OF_FILES (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | RIGHT_TRUNC)

#define FOLDERS_MAX 256 /* more than collectors have */

static struct {
	enum sandbox_mode mode;
	unsigned int uses;
	int ruleset;	/* of landlock; -1: none */
	bool overrides; /* root is to go on without minding whose files and folders are */
	/* The folders that can be written to. */
	struct {
		dev_t device;
		ino_t inode;
	} writable[FOLDERS_MAX];
	size_t writable_count;
} sandbox = {.ruleset = -1};

/* The files of this thread, by itself or by the thread that started it. */
static _Thread_local bool confined;

/* --- Capabilities. */

uint64_t sandbox_capabilities(void)
{
	uint64_t ret = 0;

	if (capng_get_caps_process() < 0)
		return 0;
	for (unsigned int i = 0; i <= CAP_LAST_CAP; i++)
		ret |= (uint64_t)capng_have_capability(CAPNG_EFFECTIVE, i) << i;
	return ret;
}

/* Whether the thread has none beside these, by what the kernel says of it afterwards. */
static bool has_only(uint64_t keep)
{
	if (capng_get_caps_process() < 0)
		return false;
	for (unsigned int i = 0; i <= CAP_LAST_CAP; i++)
		if (!(keep >> i & 1) && (capng_have_capability(CAPNG_EFFECTIVE, i) ||
					 capng_have_capability(CAPNG_PERMITTED, i)))
			return false;
	return true;
}

static void drop_capabilities(uint64_t keep)
{
	bool bounds;

	if (capng_get_caps_process() < 0)
		return;
	/* Without it the bounding set stays; where there are no new privileges it gives nothing. */
	bounds = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	for (unsigned int i = 0; i <= CAP_LAST_CAP; i++) {
		/* What a program gets that is executed: none is. */
		capng_update(CAPNG_DROP, CAPNG_INHERITABLE | CAPNG_AMBIENT, i);
		if (!(keep >> i & 1))
			capng_update(CAPNG_DROP,
				     CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET, i);
	}
	if (bounds)
		(void)capng_apply(CAPNG_SELECT_BOUNDS);
	(void)capng_apply(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT);
}

static void keep_capabilities(uint64_t keep)
{
	if (!sandbox.overrides)
		keep &= ~SANDBOX_CAP(CAP_DAC_OVERRIDE);
	drop_capabilities(keep);
	if (!has_only(keep))
		log_warning("capabilities that are not needed cannot be given up");
}

/* --- Files. */

/* Root opens what belongs to others by CAP_DAC_OVERRIDE alone, and does so again when a file is rotated. */
static bool needs_override(const struct sandbox_options *options)
{
	const char *path = NULL;
	void *before;

	if (capng_get_caps_process() < 0 ||
	    !capng_have_capability(CAPNG_EFFECTIVE, CAP_DAC_OVERRIDE))
		return false;
	before = capng_save_state(); /* a container may have given the one and not the other */
	if (!before)
		return true;
	capng_update(CAPNG_DROP, CAPNG_EFFECTIVE, CAP_DAC_OVERRIDE);
	capng_update(CAPNG_DROP, CAPNG_EFFECTIVE, CAP_DAC_READ_SEARCH);
	(void)capng_apply(CAPNG_SELECT_CAPS);
	for (size_t i = 0; !path && i < options->readable_count; i++)
		if (faccessat(AT_FDCWD, options->readable[i], R_OK, AT_EACCESS) < 0 &&
		    errno == EACCES)
			path = options->readable[i];
	for (size_t i = 0; !path && i < options->writable_count; i++)
		if (faccessat(AT_FDCWD, options->writable[i], W_OK, AT_EACCESS) < 0 &&
		    errno == EACCES)
			path = options->writable[i];
	capng_restore_state(&before);
	(void)capng_apply(CAPNG_SELECT_CAPS);
	if (path && options->uses & SANDBOX_KERNEL) /* no news of a verb that somebody calls */
		log_notice("the capability CAP_DAC_OVERRIDE is kept: '%s' belongs to another user",
			   path);
	return path;
}

static int make_ruleset(uint64_t rights)
{
	const struct landlock_ruleset_attr attributes = {.handled_access_fs = rights};

	return (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0);
}

int sandbox_landlock(void)
{
	long version =
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return version < 0 ? -errno : (int)version;
}

/* All that this kernel can forbid. */
static uint64_t known_rights(void)
{
	const int version = sandbox_landlock();

	if (version < 1)
		return 0;
	return FILE_RIGHTS_1 | (version >= 2 ? RIGHT_REFER : 0) | (version >= 3 ? RIGHT_TRUNC : 0) |
	       (version >= 5 ? RIGHT_IOCTL : 0);
}

static void allow(int ruleset, const char *path, uint64_t rights)
{
	_cleanup_(closep) int fd = open(path, O_PATH | O_CLOEXEC);
	struct stat status;
	struct landlock_path_beneath_attr rule = {.parent_fd = fd};

	if (fd < 0 || fstat(fd, &status) < 0)
		return;
	rule.allowed_access = S_ISDIR(status.st_mode) ? rights : rights & OF_FILES;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 &&
	    errno != EBADFD) /* pipes and sockets have no place, and none is forbidden */
		log_errno(LOG_WARNING, errno, "landlock: '%s'", path);
	if (!S_ISDIR(status.st_mode) || !(rights & LANDLOCK_ACCESS_FS_WRITE_FILE) ||
	    sandbox.writable_count == FOLDERS_MAX)
		return;
	sandbox.writable[sandbox.writable_count].device = status.st_dev;
	sandbox.writable[sandbox.writable_count++].inode = status.st_ino;
}

/*
 * The terminal or file of a standard stream is opened once more, for a description with flags of its own.  Not a folder,
 * of which the right would be that of all files in it.
 */
static void allow_stream(int ruleset, const char *path, uint64_t rights)
{
	struct stat status;

	if (stat(path, &status) == 0 && !S_ISDIR(status.st_mode))
		allow(ruleset, path, rights & OF_FILES);
}

static void prepare_files(const struct sandbox_options *options)
{
	/* No news of a verb that somebody calls. */
	const int level = !(options->uses & SANDBOX_KERNEL) ? LOG_DEBUG
			  : geteuid() == 0		    ? LOG_WARNING
							    : LOG_INFO;
	const uint64_t rights = known_rights();

	sandbox.ruleset = rights ? make_ruleset(rights) : -1;
	if (sandbox.ruleset < 0) {
		log_message(level,
			    "this kernel does not have landlock: files that are opened later are "
			    "not confined, all else is%s",
			    geteuid() == 0 ? ", and root's are open to it: run it as a user of "
					     "its own"
					   : "");
		return;
	}
	/* Names in folders are no secret, and libbpf opens "/" to have a descriptor (bpf_map__reuse_fd()). */
	allow(sandbox.ruleset, "/", LANDLOCK_ACCESS_FS_READ_DIR);
	allow_stream(sandbox.ruleset, "/proc/self/fd/1", rights);
	allow_stream(sandbox.ruleset, "/proc/self/fd/2", rights);
	for (size_t i = 0; i < options->readable_count; i++)
		allow(sandbox.ruleset, options->readable[i], READING & rights);
	for (size_t i = 0; i < options->writable_count; i++)
		allow(sandbox.ruleset, options->writable[i], WRITING & rights);
	if (options->removable)
		allow(sandbox.ruleset, options->removable, LANDLOCK_ACCESS_FS_REMOVE_FILE & rights);
}

static void confine_files(void)
{
	if (sandbox.ruleset >= 0 && !confined &&
	    syscall(SYS_landlock_restrict_self, sandbox.ruleset, 0) < 0)
		log_errno(LOG_WARNING, errno, "landlock: files are not confined");
	confined = true;
}

static bool is_writable(const struct stat *status)
{
	for (size_t i = 0; i < sandbox.writable_count; i++)
		if (sandbox.writable[i].device == status->st_dev &&
		    sandbox.writable[i].inode == status->st_ino)
			return true;
	return false;
}

bool sandbox_may_write(const char *folder)
{
	_cleanup_(closep) int fd = -1;
	struct stat status, below = {0};

	if (sandbox.ruleset < 0)
		return true;
	fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	while (fd >= 0 && fstat(fd, &status) == 0) {
		int above = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

		close(fd);
		fd = above;
		if (is_writable(&status))
			return true;
		if (status.st_dev == below.st_dev && status.st_ino == below.st_ino)
			return false; /* the root */
		below = status;
	}
	return fd < 0 && errno == ENOENT; /* that it is missing is said elsewhere */
}

/* --- All of it. */

int sandbox_begin(const struct sandbox_options *options)
{
	const struct rlimit none = {0};

	if (options->mode == SANDBOX_OFF)
		return 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return log_errno(LOG_ERR, errno, "no_new_privs cannot be set");
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	sandbox.overrides = needs_override(options);
	prepare_files(options);
	sandbox.uses = options->uses;
	sandbox.mode = options->mode;
	return 0;
}

bool sandbox_is_confined(void)
{
	return confined;
}

void sandbox_enter_thread(uint64_t keep, bool inherits)
{
	if (sandbox.mode == SANDBOX_OFF)
		return;
	confined = inherits;
	confine_files();
	keep_capabilities(keep);
}

int sandbox_enter(uint64_t keep)
{
	int r;

	if (sandbox.mode == SANDBOX_OFF)
		return 0;
	sandbox_enter_thread(keep, confined);
	r = sandbox_calls_confine(sandbox.mode, sandbox.uses);
	return sandbox.mode == SANDBOX_KILL ? r : 0;
}
