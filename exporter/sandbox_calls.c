/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/sandbox_calls.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "exporter/log.h"
#include "exporter/util.h"

/*
 * A table has all names by which libraries and architectures ask for the same: stat() is newfstatat() here and statx()
 * there.  Calls with conditions follow the tables.
 */
static const char *const common[] = {
	/* memory and threads */
	"brk",
	"munmap",
	"mremap",
	"madvise",
	"futex",
	"set_robust_list",
	"rseq",
	"exit",
	"exit_group",
	"restart_syscall",
	"sched_yield",
	"sched_getaffinity",
	"getcpu",
	"landlock_restrict_self", /* a thread that begins */
	"capget",
	"capset",
	/* time and signals */
	"clock_gettime",
	"clock_nanosleep",
	"gettimeofday",
	"time",
	"nanosleep",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"sigaltstack",
	/* the process and the machine */
	"getpid",
	"gettid",
	"getuid",
	"geteuid",
	"getgid",
	"getegid",
	"getpgrp", /* whether it is in the foreground of its terminal */
	"getpgid",
	"uname",
	"sysinfo",
	"getrandom",
	/* files, and what is open */
	"read",
	"write",
	"writev",
	"pwritev2",
	"lseek",
	"close",
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
	"dup3",
	"pipe2",
	/* waiting */
	"poll",
	"ppoll",
	"epoll_create1",
	"epoll_ctl",
	"epoll_wait",
	"epoll_pwait",
	"eventfd2",
	"signalfd4",
	"timerfd_create",
	"timerfd_settime",
	"inotify_init1",
	"inotify_add_watch",
	"inotify_rm_watch",
};

static const char *const files[] = {
	"ftruncate", "unlink", "unlinkat", "rename", "renameat", "renameat2",
};

static const char *const network[] = {
	"bind",	      "connect",  "listen", "accept4", "getsockname", "getpeername", "getsockopt",
	"setsockopt", "shutdown", "sendto", "sendmsg", "sendmmsg",    "recvfrom",    "recvmsg",
};

static const char *const kernel[] = {
	"memfd_create", /* an empty BTF, where the kernel has none */
};

/*
 * Maps are made, read and emptied, programs loaded, tested and attached, whatever they are: what kind stands in memory, where
 * no filter looks.  Not on the list: pinning, what others hold (by its id), statistics.
 */
static const enum bpf_cmd bpf_commands[] = {
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

/* Interfaces and their filters; who has a socket of this process; what libbpf asks of XDP, from its version 1.3 on. */
static const int netlink_protocols[] = {NETLINK_ROUTE, NETLINK_USERSOCK, NETLINK_GENERIC};

/* The size and the mode of a terminal, what an unsent stream holds, drivers of interfaces. */
static const unsigned int ioctl_requests[] = {
	TIOCGWINSZ, TIOCGPGRP, TCFLSH,	TCGETS,	     TCSETS,	   TCSETSW,	TCSETSF,
	TIOCOUTQ,   FIONREAD,  FIONBIO, SIOCETHTOOL, SIOCGIFINDEX, SIOCGIFNAME,
};

/* By which threads give up capabilities, and get their names. */
static const int prctl_options[] = {PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_CAP_AMBIENT, PR_SET_NAME};

/* A descriptor once more, and its flags.  Not on the list: its owner and its signal, by which others are signalled. */
static const int fcntl_commands[] = {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL};

/* Of open(): a file is made, emptied, made without a name, or written. */
#define MAKING (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY) | O_ACCMODE)

/* Of socket(), without SOCK_CLOEXEC and SOCK_NONBLOCK. */
#define SOCK_TYPE 0xf

struct filter {
	scmp_filter_ctx context;
	int error; /* of the first rule that failed; 0: none */
};

/* The call is allowed where all `count` conditions hold. */
static void allow(struct filter *f, const char *name, unsigned int count,
		  const struct scmp_arg_cmp *conditions)
{
	int number = seccomp_syscall_resolve_name(name);

	if (f->error == 0 && number != __NR_SCMP_ERROR) /* else it is younger than the library */
		f->error = seccomp_rule_add_array(f->context, SCMP_ACT_ALLOW, number, count,
						  conditions);
}

static void allow_if(struct filter *f, const char *name, struct scmp_arg_cmp condition)
{
	allow(f, name, 1, &condition);
}

static void allow_all(struct filter *f, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		allow(f, names[i], 0, NULL);
}

/* Threads, but no processes.  clone3() has its flags in memory, where no filter looks: libc takes clone() then. */
static void allow_threads(struct filter *f, enum sandbox_mode mode)
{
	int number = seccomp_syscall_resolve_name("clone3");

	allow_if(f, "clone", SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	if (f->error == 0 && number != __NR_SCMP_ERROR && mode == SANDBOX_KILL)
		f->error = seccomp_rule_add(f->context, SCMP_ACT_ERRNO(ENOSYS), number, 0);
}

/* What concerns this process alone: its memory, its threads, its limits. */
static void allow_own(struct filter *f)
{
	/* Memory that is written and memory that is run are not the same. */
	allow_if(f, "mmap", SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	allow_if(f, "mprotect", SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	allow_if(f, "tgkill", SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
	allow_if(f, "prlimit64", SCMP_A0(SCMP_CMP_EQ, 0));
	allow(f, "setpriority", 2,
	      (const struct scmp_arg_cmp[]){SCMP_A0(SCMP_CMP_EQ, PRIO_PROCESS),
					    SCMP_A1(SCMP_CMP_EQ, 0)});
	for (size_t i = 0; i < ARRAY_SIZE(prctl_options); i++)
		allow_if(f, "prctl", SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)prctl_options[i]));
	for (size_t i = 0; i < ARRAY_SIZE(ioctl_requests); i++)
		allow_if(f, "ioctl", SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, ioctl_requests[i]));
	for (size_t i = 0; i < ARRAY_SIZE(fcntl_commands); i++)
		allow_if(f, "fcntl",
			 SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)fcntl_commands[i]));
	/* O_ASYNC on a terminal signals all processes in its foreground. */
	allow(f, "fcntl", 2,
	      (const struct scmp_arg_cmp[]){SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, F_SETFL),
					    SCMP_A2(SCMP_CMP_MASKED_EQ, O_ASYNC, 0)});
}

/*
 * openat2() has its flags in memory, and libc does without.  No file that is made here runs as its owner: the user may be
 * root, and others may reach the folder.
 */
static void allow_open(struct filter *f, unsigned int uses)
{
	if (uses & SANDBOX_FILES) {
		allow_if(f, "openat", SCMP_A3(SCMP_CMP_MASKED_EQ, S_ISUID | S_ISGID, 0));
		allow_if(f, "open", SCMP_A2(SCMP_CMP_MASKED_EQ, S_ISUID | S_ISGID, 0));
	} else {
		allow_if(f, "openat", SCMP_A2(SCMP_CMP_MASKED_EQ, MAKING, 0));
		allow_if(f, "open", SCMP_A1(SCMP_CMP_MASKED_EQ, MAKING, 0));
	}
}

/*
 * Of AF_UNIX datagrams alone: for the service manager, and for libc, which asks by such a socket what number an interface has.
 * Streams to other programs, such as a container engine's, would let a user who is root do all.
 */
static void allow_network(struct filter *f)
{
	allow_all(f, network, ARRAY_SIZE(network));
	allow_if(f, "socket", SCMP_A0(SCMP_CMP_EQ, AF_INET));
	allow_if(f, "socket", SCMP_A0(SCMP_CMP_EQ, AF_INET6));
	allow(f, "socket", 2,
	      (const struct scmp_arg_cmp[]){SCMP_A0(SCMP_CMP_EQ, AF_UNIX),
					    SCMP_A1(SCMP_CMP_MASKED_EQ, SOCK_TYPE, SOCK_DGRAM)});
	allow_if(f, "socketpair", SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
}

static void allow_kernel(struct filter *f)
{
	allow_all(f, kernel, ARRAY_SIZE(kernel));
	for (size_t i = 0; i < ARRAY_SIZE(bpf_commands); i++)
		allow_if(f, "bpf", SCMP_A0(SCMP_CMP_EQ, bpf_commands[i]));
	for (size_t i = 0; i < ARRAY_SIZE(netlink_protocols); i++) {
		const scmp_datum_t protocol = (scmp_datum_t)netlink_protocols[i];

		allow(f, "socket", 2,
		      (const struct scmp_arg_cmp[]){SCMP_A0(SCMP_CMP_EQ, AF_NETLINK),
						    SCMP_A2(SCMP_CMP_EQ, protocol)});
	}
}

static void filter_clear(struct filter *f)
{
	if (f->context)
		seccomp_release(f->context);
}

int sandbox_calls_confine(enum sandbox_mode mode, unsigned int uses)
{
	_cleanup_(filter_clear) struct filter f = {
		.context = seccomp_init(mode == SANDBOX_KILL ? SCMP_ACT_KILL_PROCESS
							     : SCMP_ACT_ERRNO(ENOSYS))};

	if (!f.context) /* or there is no memory */
		f.error = -EOPNOTSUPP;
	if (f.error == 0)
		f.error = seccomp_attr_set(f.context, SCMP_FLTATR_CTL_TSYNC, 1); /* all threads */
	/* A call in the way of 32 bits has other numbers.  None is ours, and to end one thread alone helps nobody. */
	if (f.error == 0)
		f.error =
			seccomp_attr_set(f.context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (f.error == 0) /* calls that are frequent are found in few steps */
		f.error = seccomp_attr_set(f.context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	allow_threads(&f, mode);
	allow_own(&f);
	allow_all(&f, common, ARRAY_SIZE(common));
	allow_open(&f, uses);
	if (uses & SANDBOX_FILES)
		allow_all(&f, files, ARRAY_SIZE(files));
	if (uses & SANDBOX_NETWORK)
		allow_network(&f);
	if (uses & SANDBOX_KERNEL)
		allow_kernel(&f);
	if (f.error == 0)
		f.error = seccomp_load(f.context);
	if (f.error < 0)
		return log_errno(mode == SANDBOX_KILL ? LOG_ERR : LOG_WARNING, f.error,
				 "seccomp: system calls cannot be confined");
	return 0;
}
