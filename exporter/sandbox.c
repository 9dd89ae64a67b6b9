/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/sandbox.h"
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <linux/bpf.h>
#include <linux/landlock.h>
#include <linux/sockios.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "exporter/log.h"
#include "exporter/util.h"

/* By the versions of the interface, each with all of the one before (landlock(7)); older headers lack the later names. */
#define FILE_RIGHTS_1 ((1ull << 13) - 1)
#define RIGHT_REFER   (1ull << 13) /* 2 */
#define RIGHT_TRUNC   (1ull << 14) /* 3 */

#define READING (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITING \
	(READING | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
	 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_FIFO | \
	 LANDLOCK_ACCESS_FS_MAKE_SOCK | RIGHT_TRUNC)
#define OF_FILES (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | RIGHT_TRUNC)

#define FOLDERS_MAX 64

static struct {
	enum sandbox_mode mode;
	int ruleset; /* of landlock; -1: none */
	bool entered;
	bool overrides; /* root is to go on without minding whose files and folders are */
	/* The folders that can be written to. */
	struct {
		dev_t device;
		ino_t inode;
	} writable[FOLDERS_MAX];
	size_t writable_count;
} sandbox = {.ruleset = -1};

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

static void keep_capabilities(uint64_t keep)
{
	bool bounds;

	if (!sandbox.overrides)
		keep &= ~SANDBOX_CAP(CAP_DAC_OVERRIDE);
	if (capng_get_caps_process() < 0)
		return;
	/* Without it the bounding set stays; where there are no new privileges it gives nothing. */
	bounds = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	for (unsigned int i = 0; i <= CAP_LAST_CAP; i++)
		if (!(keep >> i & 1))
			capng_update(CAPNG_DROP,
				     CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE |
					     CAPNG_BOUNDING_SET | CAPNG_AMBIENT,
				     i);
	if (bounds)
		(void)capng_apply(CAPNG_SELECT_BOUNDS);
	if (capng_apply(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT) < 0)
		log_warning("capabilities that are not needed cannot be given up");
}

/* --- Files. */

/* In effect or not; it stays permitted. */
static void set_override(bool on)
{
	const capng_act_t act = on ? CAPNG_ADD : CAPNG_DROP;

	capng_update(act, CAPNG_EFFECTIVE, CAP_DAC_OVERRIDE);
	capng_update(act, CAPNG_EFFECTIVE, CAP_DAC_READ_SEARCH);
	(void)capng_apply(CAPNG_SELECT_CAPS);
}

/* Root opens what belongs to others by CAP_DAC_OVERRIDE alone, and does so again when a file is rotated. */
static bool needs_override(const struct sandbox_options *options)
{
	const char *path = NULL;

	if (capng_get_caps_process() < 0 ||
	    !capng_have_capability(CAPNG_EFFECTIVE, CAP_DAC_OVERRIDE))
		return false;
	set_override(false);
	for (size_t i = 0; !path && i < options->readable_count; i++)
		if (faccessat(AT_FDCWD, options->readable[i], R_OK, AT_EACCESS) < 0 &&
		    errno == EACCES)
			path = options->readable[i];
	for (size_t i = 0; !path && i < options->writable_count; i++)
		if (faccessat(AT_FDCWD, options->writable[i], W_OK | X_OK, AT_EACCESS) < 0 &&
		    errno == EACCES)
			path = options->writable[i];
	set_override(true);
	if (path)
		log_notice("the capability CAP_DAC_OVERRIDE is kept: '%s' belongs to another user",
			   path);
	return path;
}

static int make_ruleset(uint64_t rights)
{
	const struct landlock_ruleset_attr attributes = {.handled_access_fs = rights};

	return (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0);
}

/* All that this kernel can forbid. */
static uint64_t known_rights(void)
{
	long version =
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	if (version < 1)
		return 0;
	return FILE_RIGHTS_1 | (version >= 2 ? RIGHT_REFER : 0) | (version >= 3 ? RIGHT_TRUNC : 0);
}

static void allow(int ruleset, const char *path, uint64_t rights)
{
	_cleanup_(closep) int fd = open(path, O_PATH | O_CLOEXEC);
	struct stat status;
	struct landlock_path_beneath_attr rule = {.parent_fd = fd};

	if (fd < 0 || fstat(fd, &status) < 0)
		return;
	rule.allowed_access = S_ISDIR(status.st_mode) ? rights : rights & OF_FILES;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		log_errno(LOG_WARNING, errno, "landlock: '%s'", path);
	if (!(rights & LANDLOCK_ACCESS_FS_WRITE_FILE) || sandbox.writable_count == FOLDERS_MAX)
		return;
	sandbox.writable[sandbox.writable_count].device = status.st_dev;
	sandbox.writable[sandbox.writable_count++].inode = status.st_ino;
}

static void prepare_files(const struct sandbox_options *options)
{
	const uint64_t rights = known_rights();

	sandbox.ruleset = rights ? make_ruleset(rights) : -1;
	if (sandbox.ruleset < 0) {
		log_debug("landlock: this kernel does not have it, files are not confined");
		return;
	}
	/* Names in folders are no secret, and libbpf opens "/" to have a descriptor (bpf_map__reuse_fd()). */
	allow(sandbox.ruleset, "/", LANDLOCK_ACCESS_FS_READ_DIR);
	for (size_t i = 0; i < options->readable_count; i++)
		allow(sandbox.ruleset, options->readable[i], READING & rights);
	for (size_t i = 0; i < options->writable_count; i++)
		allow(sandbox.ruleset, options->writable[i], WRITING & rights);
}

static void confine_files(void)
{
	if (sandbox.ruleset >= 0 && syscall(SYS_landlock_restrict_self, sandbox.ruleset, 0) < 0)
		log_errno(LOG_WARNING, errno, "landlock: files are not confined");
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

/* --- System calls. */

/* Of memory, threads, time and the process itself; of files, of sockets, of what waits. */
static const char *const calls[] = {
	"brk",
	"munmap",
	"mremap",
	"madvise",
	"mincore",
	"mlock",
	"munlock",
	"membarrier",
	"futex",
	"futex_waitv",
	"set_robust_list",
	"get_robust_list",
	"rseq",
	"set_tid_address",
	"exit",
	"exit_group",
	"restart_syscall",
	"sched_yield",
	"sched_getaffinity",
	"getcpu",
	"clock_gettime",
	"clock_nanosleep",
	"clock_getres",
	"gettimeofday",
	"time",
	"nanosleep",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"rt_sigtimedwait",
	"rt_sigpending",
	"sigaltstack",
	"tgkill",
	"getpid",
	"gettid",
	"getppid",
	"getuid",
	"geteuid",
	"getgid",
	"getegid",
	"getgroups",
	"uname",
	"sysinfo",
	"getrusage",
	"getrlimit",
	"getrandom",
	"times",
	"capget",
	"capset",
	"read",
	"readv",
	"pread64",
	"write",
	"writev",
	"pwrite64",
	"lseek",
	"close",
	"close_range",
	"open",
	"openat",
	"openat2",
	"stat",
	"lstat",
	"fstat",
	"newfstatat",
	"statx",
	"statfs",
	"fstatfs",
	"access",
	"faccessat",
	"faccessat2",
	"readlink",
	"readlinkat",
	"getdents64",
	"getcwd",
	"dup",
	"dup2",
	"dup3",
	"fcntl",
	"flock",
	"ftruncate",
	"fallocate",
	"fsync",
	"fdatasync",
	"fadvise64",
	"mkdir",
	"mkdirat",
	"unlink",
	"unlinkat",
	"rename",
	"renameat",
	"renameat2",
	"fchmod",
	"fchmodat",
	"pipe",
	"pipe2",
	"memfd_create",
	"bind",
	"connect",
	"listen",
	"accept",
	"accept4",
	"getsockname",
	"getpeername",
	"getsockopt",
	"setsockopt",
	"shutdown",
	"sendto",
	"sendmsg",
	"sendmmsg",
	"recvfrom",
	"recvmsg",
	"recvmmsg",
	"poll",
	"ppoll",
	"select",
	"pselect6",
	"epoll_create1",
	"epoll_ctl",
	"epoll_wait",
	"epoll_pwait",
	"epoll_pwait2",
	"eventfd2",
	"signalfd4",
	"timerfd_create",
	"timerfd_settime",
	"timerfd_gettime",
	"inotify_init1",
	"inotify_add_watch",
	"inotify_rm_watch",
	"landlock_restrict_self",
	"seccomp",
};

/* Kinds of sockets: collectors and metrics; the control socket and the service manager; the kernel. */
static const int families[] = {AF_INET, AF_INET6, AF_UNIX, AF_NETLINK};

/*
 * Maps are made, read and emptied, programs loaded, tested and attached.  Not on the list: pinning, what others hold (by its
 * id), programs of control groups, statistics.
 */
static const enum bpf_cmd commands[] = {
	BPF_MAP_CREATE,
	BPF_MAP_LOOKUP_ELEM,
	BPF_MAP_UPDATE_ELEM,
	BPF_MAP_DELETE_ELEM,
	BPF_MAP_GET_NEXT_KEY,
	BPF_MAP_LOOKUP_BATCH,
	BPF_MAP_LOOKUP_AND_DELETE_BATCH,
	BPF_MAP_DELETE_BATCH,
	BPF_MAP_FREEZE,
	BPF_PROG_LOAD,
	BPF_PROG_TEST_RUN,
	BPF_PROG_QUERY,
	BPF_PROG_BIND_MAP,
	BPF_BTF_LOAD,
	BPF_OBJ_GET_INFO_BY_FD,
	BPF_RAW_TRACEPOINT_OPEN,
	BPF_LINK_CREATE,
	BPF_LINK_UPDATE,
	BPF_LINK_DETACH,
};

/* Sizes of terminals, what an unsent stream holds, drivers of interfaces. */
static const unsigned int controls[] = {
	TIOCGWINSZ, TCGETS,  TCSETS,	  TCSETSW,	TCSETSF,     TIOCOUTQ,
	FIONREAD,   FIONBIO, SIOCETHTOOL, SIOCGIFINDEX, SIOCGIFNAME,
};

/* By which threads give up capabilities, and get their names. */
static const int own[] = {PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_CAP_AMBIENT, PR_SET_NAME};

static int add(scmp_filter_ctx filter, const char *name, unsigned int count,
	       const struct scmp_arg_cmp *arguments)
{
	int number = seccomp_syscall_resolve_name(name);

	if (number == __NR_SCMP_ERROR)
		return 0; /* younger than the library */
	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, count, arguments);
}

/* Threads, but no processes.  clone3() has its flags in memory, where no filter looks: libc takes clone() then. */
static int add_threads(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp thread = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD);
	int number = seccomp_syscall_resolve_name("clone3");
	int r = add(filter, "clone", 1, &thread);

	if (r == 0 && number != __NR_SCMP_ERROR && sandbox.mode == SANDBOX_KILL)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), number, 0);
	return r;
}

/* Memory that is written and memory that is run are not the same. */
static int add_memory(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp plain = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	int r = add(filter, "mmap", 1, &plain);

	return r ?: add(filter, "mprotect", 1, &plain);
}

static int add_rules(scmp_filter_ctx filter)
{
	int r = add_threads(filter);

	if (r == 0)
		r = add_memory(filter);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(calls); i++)
		r = add(filter, calls[i], 0, NULL);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(families); i++)
		r = add(filter, "socket", 1, &SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]));
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(commands); i++)
		r = add(filter, "bpf", 1, &SCMP_A0(SCMP_CMP_EQ, commands[i]));
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(controls); i++)
		r = add(filter, "ioctl", 1, &SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, controls[i]));
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(own); i++)
		r = add(filter, "prctl", 1, &SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)own[i]));
	if (r == 0) /* its own limits */
		r = add(filter, "prlimit64", 1, &SCMP_A0(SCMP_CMP_EQ, 0));
	return r;
}

static void filter_release(scmp_filter_ctx *filter)
{
	if (*filter)
		seccomp_release(*filter);
}

/* For all threads at once. */
static int confine_calls(void)
{
	_cleanup_(filter_release) scmp_filter_ctx filter = seccomp_init(
		sandbox.mode == SANDBOX_KILL ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(ENOSYS));
	int r;

	if (!filter)
		return log_errno(LOG_ERR, ENOMEM, "seccomp");
	r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (r == 0) /* calls that are frequent are found in few steps */
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = add_rules(filter);
	if (r == 0)
		r = seccomp_load(filter);
	return r < 0 ? log_errno(LOG_ERR, r, "seccomp: system calls cannot be confined") : 0;
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
	sandbox.mode = options->mode;
	return 0;
}

void sandbox_enter_thread(uint64_t keep)
{
	if (sandbox.mode == SANDBOX_OFF)
		return;
	if (!sandbox.entered)
		confine_files();
	keep_capabilities(keep);
}

int sandbox_enter(uint64_t keep)
{
	if (sandbox.mode == SANDBOX_OFF)
		return 0;
	sandbox_enter_thread(keep);
	sandbox.entered = true;
	return confine_calls();
}
