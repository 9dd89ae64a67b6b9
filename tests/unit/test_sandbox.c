/* SPDX-License-Identifier: Apache-2.0 */
/* What a confined process can no longer do.  Each test is a process of its own. */
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "exporter/sandbox.h"
#include "exporter/thread.h"
#include "exporter/util.h"

#define ALL_KEPT UINT64_MAX

static char folder[] = "/tmp/flowtally-sandbox-XXXXXX";
static char readable[64], writable[64], emptied[64], hidden[64];

static atomic_int go; /* what a thread or its maker waits for */

/* Where it fails in the child: the line. */
#define expect(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #condition, \
				strerror(errno)); \
			_exit(1); \
		} \
	} while (0)

/* By `errno`, which the system's own names it. */
#define expect_refused(call, error) \
	do { \
		errno = 0; \
		expect((long)(call) == -1 && errno == (error)); \
	} while (0)

/* As seccomp(2) wants it: that call fails with EPERM from here on. */
static void refuse(long number)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {.len = ARRAY_SIZE(code), .filter = code};

	expect(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	expect(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void begin(enum sandbox_mode mode)
{
	const char *const read_at[] = {readable, "/proc", "/nonexistent"};
	const char *const write_at[] = {writable};
	const struct sandbox_options options = {
		.mode = mode,
		.uses = SANDBOX_FILES | SANDBOX_NETWORK | SANDBOX_KERNEL,
		.readable = read_at,
		.readable_count = ARRAY_SIZE(read_at),
		.writable = write_at,
		.writable_count = ARRAY_SIZE(write_at),
		.removable = emptied,
	};

	expect(sandbox_begin(&options) == 0);
}

static int wait_for(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void run_child(void (*test)(void))
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		alarm(60);
		test();
		_exit(0);
	}
	assert_int_equal(wait_for(child), 0);
}

static int open_as(const char *place, const char *name, mode_t mode)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", place, name);
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC, mode);
}

static int open_in(const char *place, const char *name, int flags)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", place, name);
	return open(path, flags | O_CLOEXEC, 0600);
}

static int unlink_in(const char *place)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/file", place);
	return unlink(path);
}

/* A socket in the folder. */
static int listen_in(const char *place)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", place);
	return bind(fd, (const struct sockaddr *)&address, sizeof(address));
}

/* --- Files. */

static void files(void)
{
	expect(!sandbox_may_write("/") || true); /* nothing is confined yet */
	begin(SANDBOX_ON);
	expect(sandbox_enter(ALL_KEPT) == 0);
	expect(open_in(readable, "file", O_RDONLY) >= 0);
	expect_refused(open_in(readable, "file", O_RDWR), EACCES);
	expect_refused(open_in(readable, "new", O_RDWR | O_CREAT), EACCES);
	expect_refused(open_in(hidden, "file", O_RDONLY), EACCES);
	expect(open_in(writable, "new", O_RDWR | O_CREAT) >= 0);
	expect(unlinkat(AT_FDCWD, writable, AT_REMOVEDIR) < 0);
	expect_refused(listen_in(writable), EACCES);
	expect_refused(open_in(emptied, "file", O_RDONLY), EACCES);
	expect_refused(open_in(emptied, "new", O_RDWR | O_CREAT), EACCES);
	expect(unlink_in(emptied) == 0);
	expect_refused(unlink_in(hidden), EACCES);
	expect(sandbox_may_write(writable));
	expect(!sandbox_may_write(emptied));
	expect(!sandbox_may_write(readable));
	expect(!sandbox_may_write("/"));
	expect(sandbox_may_write("/nonexistent/folder"));
}

/* Standard output that is a folder opens none of the files in it. */
static void folder_as_output(void)
{
	expect(dup2(open(hidden, O_RDONLY | O_DIRECTORY), STDOUT_FILENO) == STDOUT_FILENO);
	begin(SANDBOX_ON);
	expect(sandbox_enter(ALL_KEPT) == 0);
	expect_refused(open_in(hidden, "file", O_RDONLY), EACCES);
	expect_refused(open_in(hidden, "file", O_WRONLY), EACCES);
}

static void test_files(_unused_ void **state)
{
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 1)
		skip(); /* this kernel has no landlock */
	run_child(files);
	run_child(folder_as_output);
}

/* --- System calls. */

static void calls(void)
{
	union bpf_attr attr = {0};
	char *const arguments[] = {"/bin/true", NULL};

	begin(SANDBOX_ON);
	expect(sandbox_enter(ALL_KEPT) == 0);
	expect_refused(execve("/bin/true", arguments, arguments), ENOSYS);
	expect_refused(fork(), ENOSYS);
	expect_refused(ptrace(PTRACE_TRACEME, 0, NULL, NULL), ENOSYS);
	expect_refused(socket(AF_PACKET, SOCK_RAW, 0), ENOSYS);
	expect_refused(socket(AF_VSOCK, SOCK_STREAM, 0), ENOSYS);
	expect_refused(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ENOSYS);
	expect_refused(socket(AF_UNIX, SOCK_SEQPACKET, 0), ENOSYS);
	expect(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) >= 0);
	expect_refused(socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER), ENOSYS);
	expect_refused(kill(getppid(), 0), ENOSYS);
	expect_refused(tgkill(getppid(), getppid(), 0), ENOSYS);
	expect_refused(setpriority(PRIO_PROCESS, (id_t)getppid(), 1), ENOSYS);
	expect_refused(chmod(writable, 0755), ENOSYS);
	expect_refused(open_as(writable, "own", 04700), ENOSYS);
	expect_refused(open_as(writable, "own", 02700), ENOSYS);
	expect_refused(syscall(SYS_bpf, BPF_OBJ_PIN, &attr, sizeof(attr)), ENOSYS);
	expect_refused(syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &attr, sizeof(attr)), ENOSYS);
	expect_refused(syscall(SYS_mount, "a", "/", "tmpfs", 0, NULL), ENOSYS);
	expect_refused(syscall(SYS_setns, 0, 0), ENOSYS);
	expect_refused(syscall(SYS_init_module, NULL, 0, ""), ENOSYS);
	expect_refused((long)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
				  -1, 0),
		       ENOSYS);
	expect(tgkill(getpid(), gettid(), 0) == 0);
	expect(setpriority(PRIO_PROCESS, 0, 1) == 0);
	expect(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0) >= 0);
	expect(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0) >= 0);
	expect(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	       MAP_FAILED);
}

/* By a descriptor that is ready others can be signalled, and as root all of them: no way to say whom, when, and by what. */
static void descriptors(void)
{
	const struct f_owner_ex owner = {.type = F_OWNER_PID, .pid = getppid()};
	int ends[2];

	expect(pipe(ends) == 0);
	begin(SANDBOX_ON);
	expect(sandbox_enter(ALL_KEPT) == 0);
	expect_refused(fcntl(ends[0], F_SETOWN, getppid()), ENOSYS);
	expect_refused(fcntl(ends[0], F_SETOWN_EX, &owner), ENOSYS);
	expect_refused(fcntl(ends[0], F_SETSIG, SIGKILL), ENOSYS);
	expect_refused(fcntl(ends[0], F_SETFL, O_ASYNC), ENOSYS);
	expect_refused(fcntl(ends[0], F_NOTIFY, DN_CREATE), ENOSYS);
	expect_refused(fcntl(ends[0], F_SETLEASE, F_RDLCK), ENOSYS);
	expect(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
	expect((fcntl(ends[0], F_GETFL) & O_NONBLOCK) == O_NONBLOCK);
	expect(fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0 && fcntl(ends[0], F_GETFD) == FD_CLOEXEC);
	expect(fcntl(ends[0], F_DUPFD, 100) == 100);
	expect(fcntl(ends[0], F_DUPFD_CLOEXEC, 101) == 101);
}

static void test_descriptors(_unused_ void **state)
{
	run_child(descriptors);
}

/* Who only reads files has neither network nor programs, and makes no file, with or without landlock. */
static void reader(void)
{
	const struct sandbox_options options = {.mode = SANDBOX_ON};
	int fd = open_in(readable, "file", O_RDONLY);
	union bpf_attr attr = {0};

	expect(sandbox_begin(&options) == 0);
	expect(sandbox_enter(SANDBOX_NOTHING) == 0);
	expect(sandbox_capabilities() == 0);
	expect_refused(open_in(writable, ".", O_WRONLY | O_TMPFILE), ENOSYS);
	expect_refused(open_in(writable, "made", O_RDONLY | O_CREAT), ENOSYS);
	expect_refused(open_in(writable, "file", O_RDONLY | O_TRUNC), ENOSYS);
	expect_refused(open_in(writable, "file", O_WRONLY), ENOSYS);
	expect_refused(open_in(writable, "file", O_RDWR), ENOSYS);
	expect(open_in(writable, "file", O_RDONLY) >= 0 || errno == EACCES); /* EACCES: landlock */
	expect_refused(unlink(writable), ENOSYS);
	expect_refused(socket(AF_INET, SOCK_DGRAM, 0), ENOSYS);
	expect_refused(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), ENOSYS);
	expect_refused(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)), ENOSYS);
	expect(read(fd, &attr, 1) == 0); /* what is open stays so */
}

static void test_reader(_unused_ void **state)
{
	run_child(reader);
}

static void test_calls(_unused_ void **state)
{
	run_child(calls);
}

/* The exit of the mode that ends the process: the kernel says which call it was. */
static void test_kill(_unused_ void **state)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		begin(SANDBOX_KILL);
		expect(sandbox_enter(ALL_KEPT) == 0);
		(void)syscall(SYS_setns, 0, 0);
		_exit(0);
	}
	status = wait_for(child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

/* All threads get the filter or none does: one that has a filter of its own, which no other has, is in the way. */
static void *filter_itself(_unused_ void *userdata)
{
	refuse(SYS_setns);
	atomic_store(&go, 1);
	pause();
	return NULL;
}

static void not_all_threads(void)
{
	pthread_t other;

	expect(pthread_create(&other, NULL, filter_itself, NULL) == 0);
	while (!atomic_load(&go))
		sched_yield();
	begin(SANDBOX_KILL);
	expect(sandbox_enter(ALL_KEPT) < 0);
}

static void test_not_all_threads(_unused_ void **state)
{
	run_child(not_all_threads);
}

/* A call in the way of 32 bits, whose numbers mean other calls, ends the process, and not the thread that made it alone. */
#ifdef __x86_64__
static void *call_old(_unused_ void *userdata)
{
	long number = 20; /* getpid() */

	__asm__ volatile("int $0x80" : "+a"(number) : : "memory");
	return NULL;
}

static void *call_x32(_unused_ void *userdata)
{
	(void)syscall(0x40000000 | SYS_getpid);
	return NULL;
}

static void check_ends(void *(*call)(void *userdata))
{
	const pid_t child = fork();
	pthread_t thread;
	int status;

	if (child == 0) {
		begin(SANDBOX_ON);
		expect(sandbox_enter(ALL_KEPT) == 0);
		expect(thread_start(&thread, SANDBOX_NOTHING, call, NULL) == 0);
		pthread_join(thread, NULL);
		_exit(0);
	}
	status = wait_for(child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void test_other_calls(_unused_ void **state)
{
	check_ends(call_old);
	check_ends(call_x32);
}
#else
static void test_other_calls(_unused_ void **state)
{
	skip();
}
#endif

/* --- Capabilities, and what is of the process. */

static uint64_t of_thread; /* capabilities that a thread had */

static void *look(_unused_ void *userdata)
{
	of_thread = sandbox_capabilities();
	return NULL;
}

static uint64_t in_thread(uint64_t keep)
{
	pthread_t thread;

	expect(thread_start(&thread, keep, look, NULL) == 0);
	expect(pthread_join(thread, NULL) == 0);
	return of_thread;
}

static void capabilities(void)
{
	const uint64_t two = SANDBOX_CAP(CAP_NET_ADMIN) | SANDBOX_CAP(CAP_BPF);
	struct rlimit core;

	expect((sandbox_capabilities() & two) == two);
	begin(SANDBOX_ON);
	expect(in_thread(SANDBOX_NOTHING) == 0);
	expect(in_thread(two) == two);
	expect((sandbox_capabilities() & two) == two); /* others have lost nothing by that */
	expect(sandbox_enter(two) == 0);
	expect(sandbox_capabilities() == two);
	expect(in_thread(ALL_KEPT) == two);
	expect(in_thread(SANDBOX_CAP(CAP_BPF)) == SANDBOX_CAP(CAP_BPF));
	expect(prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 0);
	expect(prctl(PR_CAPBSET_READ, CAP_BPF, 0, 0, 0) == 1);
	expect(getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0);
}

static void test_capabilities(_unused_ void **state)
{
	run_child(capabilities);
}

/*
 * A thread is confined however it comes: before the process is, after it, or while it is (the thread has been started,
 * and gets to its first step when all else has been done).
 */
static void *try_hidden(_unused_ void *userdata)
{
	while (!atomic_load(&go))
		sched_yield();
	return (void *)(intptr_t)(open_in(hidden, "file", O_RDONLY) < 0 ? errno : 0);
}

static int joined(pthread_t thread)
{
	void *ret;

	expect(pthread_join(thread, &ret) == 0);
	return (int)(intptr_t)ret;
}

static void threads(void)
{
	pthread_t before[50], after;

	begin(SANDBOX_KILL);
	for (size_t i = 0; i < ARRAY_SIZE(before); i++)
		expect(thread_start(&before[i], SANDBOX_NOTHING, try_hidden, NULL) == 0);
	expect(sandbox_enter(SANDBOX_NOTHING) == 0); /* some have not begun yet */
	expect(thread_start(&after, SANDBOX_NOTHING, try_hidden, NULL) == 0);
	atomic_store(&go, 1);
	for (size_t i = 0; i < ARRAY_SIZE(before); i++)
		expect(joined(before[i]) == EACCES);
	expect(joined(after) == EACCES);
}

static void test_threads(_unused_ void **state)
{
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 1)
		skip();
	for (int i = 0; i < 20; i++)
		run_child(threads);
}

/* Root goes on writing to the folder of another user, and has that one capability for it. */
static void foreign_folder(void)
{
	expect(chown(writable, 65534, 65534) == 0 && chmod(writable, 0700) == 0);
	begin(SANDBOX_ON);
	expect(sandbox_enter(SANDBOX_CAP(CAP_DAC_OVERRIDE)) == 0);
	expect(sandbox_capabilities() == SANDBOX_CAP(CAP_DAC_OVERRIDE));
	expect(open_in(writable, "foreign", O_RDWR | O_CREAT) >= 0);
}

/* As a container engine starts it: root passes modes when it writes, and has no right of its own to read. */
static void foreign_without_reading(void)
{
	expect(chown(writable, 65534, 65534) == 0 && chmod(writable, 0700) == 0);
	expect(capng_get_caps_process() == 0);
	expect(capng_update(CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_DAC_READ_SEARCH) ==
	       0);
	expect(capng_apply(CAPNG_SELECT_CAPS) == 0);
	begin(SANDBOX_ON);
	expect(sandbox_capabilities() & SANDBOX_CAP(CAP_DAC_OVERRIDE));
	expect(sandbox_enter(SANDBOX_CAP(CAP_DAC_OVERRIDE)) == 0);
	expect(sandbox_capabilities() == SANDBOX_CAP(CAP_DAC_OVERRIDE));
}

static void own_folder(void)
{
	expect(chown(writable, 0, 0) == 0);
	begin(SANDBOX_ON);
	expect(sandbox_enter(SANDBOX_CAP(CAP_DAC_OVERRIDE)) == 0);
	expect(sandbox_capabilities() == 0);
	expect(open_in(writable, "own", O_RDWR | O_CREAT) >= 0);
}

static void test_override(_unused_ void **state)
{
	run_child(foreign_folder);
	run_child(foreign_without_reading);
	run_child(own_folder);
}

/* Where they cannot be given up, or not be asked for, that is said. */
static void check_said(long refused)
{
	char said[256] = "";
	int fd = open_in(writable, "said", O_RDWR | O_CREAT | O_TRUNC);

	begin(SANDBOX_ON);
	refuse(refused);
	expect(fd >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO);
	sandbox_enter_thread(SANDBOX_NOTHING, true);
	expect(pread(fd, said, sizeof(said) - 1, 0) > 0);
	expect(strstr(said, "capabilities that are not needed cannot be given up"));
}

static void no_capset(void)
{
	check_said(SYS_capset);
}

static void no_capget(void)
{
	check_said(SYS_capget);
}

static void test_not_given_up(_unused_ void **state)
{
	run_child(no_capset);
	run_child(no_capget);
}

static void off(void)
{
	const uint64_t before = sandbox_capabilities();

	begin(SANDBOX_OFF);
	expect(sandbox_enter(SANDBOX_NOTHING) == 0);
	expect(sandbox_capabilities() == before);
	expect(open_in(hidden, "file", O_RDONLY) >= 0);
	expect(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0);
	expect(sandbox_may_write("/"));
}

static void test_off(_unused_ void **state)
{
	run_child(off);
}

static int make(char *path, size_t size, const char *name)
{
	int fd;

	snprintf(path, size, "%s/%s", folder, name);
	if (mkdir(path, 0700) < 0)
		return -1;
	fd = open_in(path, "file", O_RDWR | O_CREAT);
	return fd < 0 ? -1 : close(fd);
}

static int set_up(_unused_ void **state)
{
	return !mkdtemp(folder) || make(readable, sizeof(readable), "readable") < 0 ||
	       make(writable, sizeof(writable), "writable") < 0 ||
	       make(emptied, sizeof(emptied), "emptied") < 0 ||
	       make(hidden, sizeof(hidden), "hidden") < 0;
}

static int clean_up(_unused_ void **state)
{
	char line[128];

	snprintf(line, sizeof(line), "rm -r %s", folder);
	return system(line); /* NOLINT(cert-env33-c) */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),	     cmocka_unit_test(test_calls),
		cmocka_unit_test(test_kill),	     cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_override),     cmocka_unit_test(test_off),
		cmocka_unit_test(test_reader),	     cmocka_unit_test(test_threads),
		cmocka_unit_test(test_descriptors),  cmocka_unit_test(test_other_calls),
		cmocka_unit_test(test_not_given_up), cmocka_unit_test(test_not_all_threads),
	};

	return cmocka_run_group_tests(tests, set_up, clean_up);
}
