/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the configuration again: what is noticed, what is handed on, and what is refused, with real files and inotify. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include "exporter/notify.h"
#include "exporter/reload.h"
#include "exporter/log.h"
#include "exporter/loop.h"

static char folder[64], path[96];

static struct {
	struct loop *loop;
	struct loop_source *timer;
	struct config running;
	struct reload *reload;
	struct notifier notifier;
	struct config_request request;
	unsigned int applied;
	int answer;	       /* of apply() */
	uint64_t good, failed; /* waited for */
	int log;	       /* stands in for stderr */
	char said[1 << 14];
	int stderr_fd;
	bool ask_again; /* in apply() */
} t;

/* --- What is under test is given */

static int apply(void *userdata, struct config *config)
{
	(void)userdata;
	t.applied++;
	if (t.ask_again) {
		t.ask_again = false;
		reload_request(t.reload);
	}
	if (t.answer < 0) {
		log_error("no way");
		return t.answer;
	}
	config_clear(&t.running);
	t.running = *config;
	*config = (struct config){0};
	return 0;
}

static void put(const char *name, const char *text)
{
	char full[256];
	int fd;

	snprintf(full, sizeof(full), "%s/%s", folder, name);
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void move(const char *from, const char *to)
{
	char a[256], b[256];

	snprintf(a, sizeof(a), "%s/%s", folder, from);
	snprintf(b, sizeof(b), "%s/%s", folder, to);
	assert_int_equal(rename(a, b), 0);
}

static void link_to(const char *target, const char *name)
{
	char full[256];

	snprintf(full, sizeof(full), "%s/%s", folder, name);
	assert_int_equal(symlink(target, full), 0);
}

static void make_folder(const char *name)
{
	char full[256];

	snprintf(full, sizeof(full), "%s/%s", folder, name);
	assert_int_equal(mkdir(full, 0755), 0);
}

static void begin_loop(void)
{
	assert_int_equal(loop_new(&t.loop), 0);
}

static void load_running(void)
{
	struct problems problems = {0};

	t.request = (struct config_request){.verb = VERB_RUN, .file = path};
	if (config_load(&t.running, &t.request, &problems) < 0)
		fail_msg("%s", problems.list[0].text);
	problems_clear(&problems);
}

/* The configuration of the start, from a file of this text. */
static void begin_running(const char *text)
{
	put("f.yaml", text);
	load_running();
}

static void begin_reload(void)
{
	const struct reload_options options = {.loop = t.loop,
					       .request = &t.request,
					       .running = &t.running,
					       .notifier = &t.notifier,
					       .apply = apply};

	assert_int_equal(reload_new(&t.reload, &options), 0);
}

/* --- Waiting: for what is asked of the reload, and never longer than ten seconds */

static int on_look(void *userdata, uint32_t events)
{
	const struct reload_stats *s = reload_stats(t.reload);
	unsigned int *left = userdata;

	(void)events;
	if ((s->good >= t.good && s->failed >= t.failed && !reload_busy(t.reload)) || !--*left)
		loop_stop(t.loop);
	return 0;
}

static void wait_until(uint64_t good, uint64_t failed)
{
	unsigned int left = 2000;

	t.good = good;
	t.failed = failed;
	assert_int_equal(loop_add_timer(t.loop, on_look, &left, &t.timer), 0);
	assert_int_equal(loop_set_timer(t.timer, 5 * NSEC_PER_MSEC, 5 * NSEC_PER_MSEC), 0);
	assert_int_equal(loop_run(t.loop), 0);
	loop_source_freep(&t.timer);
	if (!left)
		fail_msg("%llu good and %llu failed, not %llu and %llu",
			 (unsigned long long)reload_stats(t.reload)->good,
			 (unsigned long long)reload_stats(t.reload)->failed,
			 (unsigned long long)good, (unsigned long long)failed);
	assert_int_equal(reload_stats(t.reload)->good, good);
	assert_int_equal(reload_stats(t.reload)->failed, failed);
}

/* All that was said since the last call, the folder as "@". */
static const char *said(void)
{
	static char text[sizeof(t.said)];
	char *at, *rest = t.said;
	ssize_t size = pread(t.log, t.said, sizeof(t.said) - 1, 0);

	assert_true(size >= 0);
	assert_int_equal(ftruncate(t.log, 0), 0);
	t.said[size] = text[0] = '\0';
	while ((at = strstr(rest, folder))) {
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%.*s@",
			 (int)(at - rest), rest);
		rest = at + strlen(folder);
	}
	snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s", rest);
	return text;
}

static void expect_said(const char *expected)
{
	const char *text = said();

	if (strcmp(text, expected) == 0)
		return;
	dup2(t.stderr_fd, STDERR_FILENO); /* for what follows */
	fail_msg("not\n%sbut\n%s", expected, text);
}

/* --- What a reading does */

#define START "interfaces: [a]\ncollectors: [ipfix://x]\nidle-timeout: 20s\ndomain: 5\n"

static void begin(const char *text)
{
	begin_loop();
	begin_running(text);
	begin_reload();
	wait_until(0, 0); /* the look after the start has found nothing */
	expect_said("");
	assert_int_equal(t.applied, 0);
}

static void test_request(void **state)
{
	(void)state;
	begin("watch: off\n" START);
	reload_request(t.reload);
	wait_until(1, 0);
	expect_said("flowtally: '@/f.yaml' has changed nothing\n");
	assert_int_equal(t.applied, 0);
	put("f.yaml",
	    "watch: off\ninterfaces: [a, b]\nidle-timeout: 15s\ndomain: 5\n"
	    "collectors: [{url: \"ipfix://x\", rate: 9}, {url: \"ipfix://y\", name: near}]\n");
	reload_request(t.reload);
	wait_until(2, 0);
	expect_said("flowtally: interface: b is added\n"
		    "flowtally: collector: ipfix://x, rate: \"9\", was ipfix://x\n"
		    "flowtally: collector: ipfix://y, name: near is added\n"
		    "flowtally: idle-timeout: 15s, was 20s\n"
		    "flowtally: '@/f.yaml' is in force\n");
	assert_int_equal(t.applied, 1);
	assert_int_equal(t.running.idle_ns, 15 * NSEC_PER_SEC);
	assert_int_equal(t.running.interface_count, 2);
}

/* All that is wrong is said, and then all stays as it was. */
static void test_bad(void **state)
{
	uint64_t last;

	(void)state;
	begin("watch: off\n" START);
	put("f.yaml", "idle-timeout: 5\nlingr: 2s\n");
	reload_request(t.reload);
	wait_until(0, 1);
	expect_said(
		"flowtally: @/f.yaml:1:15: idle-timeout '5': lacks a unit; write ms, s, m or h behind the number\n"
		"flowtally: @/f.yaml:2:1: 'lingr': no such key; did you mean linger?\n"
		"flowtally: no interface: add --interface NAME, or interfaces: [NAME] to the file, `ip link` lists"
		" them\n"
		"flowtally: '@/f.yaml' is not taken: all stays as it was\n");
	assert_int_equal(t.applied, 0);
	assert_int_equal(t.running.idle_ns, 20 * NSEC_PER_SEC);
	assert_true(reload_stats(t.reload)->last_failed);
	last = reload_stats(t.reload)->last_ns;
	assert_true(last / NSEC_PER_SEC <= (uint64_t)time(NULL) &&
		    last / NSEC_PER_SEC + 30 > (uint64_t)time(NULL));
	put("f.yaml", "watch: off\n" START "linger: 1s\n");
	reload_request(t.reload);
	wait_until(1, 1);
	assert_false(reload_stats(t.reload)->last_failed);
	assert_int_equal(t.running.linger_ns, NSEC_PER_SEC);
}

/* With one setting that takes a restart nothing at all is applied. */
static void test_fixed(void **state)
{
	(void)state;
	begin("watch: off\n" START "balance: true\n");
	put("f.yaml",
	    "watch: off\ninterfaces: [a]\ncollectors: [ipfix://x]\nidle-timeout: 9s\ndomain: 6\n"
	    "mask: tcx\n");
	reload_request(t.reload);
	wait_until(0, 1);
	expect_said(
		"flowtally: @/f.yaml:5:9: domain cannot change without a restart: '5' runs, '6' is wanted\n"
		"flowtally: @/f.yaml: balance cannot change without a restart: 'true' runs, 'false' is wanted\n"
		"flowtally: @/f.yaml:6:7: mask cannot change without a restart: 'nothing' runs, 'tcx' is wanted\n"
		"flowtally: '@/f.yaml' is not taken: all stays as it was\n");
	assert_int_equal(t.applied, 0);
	assert_int_equal(t.running.idle_ns, 20 * NSEC_PER_SEC);
}

static void test_not_applied(void **state)
{
	(void)state;
	begin("watch: off\n" START);
	t.answer = -EIO;
	put("f.yaml", "watch: off\n" START "linger: 1s\n");
	reload_request(t.reload);
	wait_until(0, 1);
	expect_said("flowtally: linger: 1s, was 2s\nflowtally: no way\n"
		    "flowtally: '@/f.yaml' is not taken: all stays as it was\n");
	assert_int_equal(t.applied, 1);
	assert_int_equal(t.running.linger_ns, 2 * NSEC_PER_SEC);
}

/* The environment and the command line of the start keep their say; what they were made from may be gone. */
static void test_precedence(void **state)
{
	char variable[] = "FLOWTALLY_IDLE_TIMEOUT=7s", text[] = "8s";
	char *environment[] = {variable, NULL};
	struct config_assignment option = {.setting = setting_find("active-timeout"), .text = text};
	struct problems problems = {0};

	(void)state;
	begin_loop();
	put("f.yaml", START);
	t.request = (struct config_request){.verb = VERB_RUN,
					    .file = path,
					    .environment = environment,
					    .assignments = &option,
					    .assignment_count = 1};
	assert_int_equal(config_load(&t.running, &t.request, &problems), 0);
	begin_reload();
	wait_until(0, 0);
	memset(variable, 'x', sizeof(variable) - 1);
	memset(text, 'x', sizeof(text) - 1);
	put("f.yaml", START "active-timeout: 33s\nlinger: 3s\n");
	wait_until(1, 0);
	assert_int_equal(t.running.idle_ns, 7 * NSEC_PER_SEC);
	assert_int_equal(t.running.active_ns, 8 * NSEC_PER_SEC);
	assert_int_equal(t.running.linger_ns, 3 * NSEC_PER_SEC);
}

/* What is asked for during a reading is one more, however often. */
static void test_request_meanwhile(void **state)
{
	(void)state;
	begin("watch: off\n" START);
	put("f.yaml", "watch: off\n" START "linger: 1s\n");
	for (int i = 0; i < 5; i++)
		reload_request(t.reload);
	wait_until(2, 0);
	assert_int_equal(t.applied, 1);
	put("f.yaml", "watch: off\n" START "linger: 3s\n");
	t.ask_again = true;
	reload_request(t.reload);
	wait_until(4, 0);
	assert_int_equal(t.applied, 2);
}

/* Between the start's reading and the watch the file may have changed. */
static void test_first_look(void **state)
{
	(void)state;
	begin_loop();
	begin_running(START);
	put("f.yaml", START "linger: 1s\n");
	begin_reload();
	wait_until(1, 0);
	assert_int_equal(t.running.linger_ns, NSEC_PER_SEC);
}

/* A FIFO in the place of the file: nobody waits for who writes into it. */
static void test_fifo(void **state)
{
	(void)state;
	begin(START);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0644), 0);
	reload_request(t.reload);
	wait_until(0, 1);
	assert_non_null(strstr(said(), "f.yaml: a pipe, socket or device; a file is needed\n"));
	assert_int_equal(unlink(path), 0);
	put("f.yaml", START "linger: 1s\n");
	wait_until(1, 1);
	assert_int_equal(t.applied, 1);
}

/* --- What is noticed */

static void test_written_in_place(void **state)
{
	(void)state;
	begin(START);
	put("f.yaml", START "linger: 1s\n");
	wait_until(1, 0);
	expect_said("flowtally: '@/f.yaml' has changed, reading it again\n"
		    "flowtally: linger: 1s, was 2s\nflowtally: '@/f.yaml' is in force\n");
	put("other", "");
	put("f.yaml~", "");
	put("f.yaml", START "linger: 3s\n");
	wait_until(2, 0);
	assert_int_equal(t.applied, 2);
}

static void test_bad_then_good(void **state)
{
	(void)state;
	begin(START);
	put("f.yaml", START "linger: 1\n");
	wait_until(0, 1);
	put("f.yaml", START "linger: 1s\n");
	wait_until(1, 1);
	assert_int_equal(t.running.linger_ns, NSEC_PER_SEC);
}

static void test_renamed_over(void **state)
{
	(void)state;
	begin(START);
	for (unsigned int i = 1; i <= 3; i++) {
		char text[256];

		snprintf(text, sizeof(text), START "linger: %us\n", i + 2);
		put("new", text);
		move("new", "f.yaml");
		wait_until(i, 0);
		assert_int_equal(t.running.linger_ns, (i + 2) * NSEC_PER_SEC);
	}
}

static void test_removed_and_back(void **state)
{
	(void)state;
	begin(START);
	assert_int_equal(unlink(path), 0);
	wait_until(0, 1);
	assert_non_null(strstr(said(), "f.yaml: No such file or directory\n"));
	put("f.yaml", START "linger: 1s\n");
	wait_until(1, 1);
	assert_int_equal(t.running.linger_ns, NSEC_PER_SEC);
}

/* A mode that is refused is mended without the contents being touched. */
static void test_mode(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	begin(START);
	put("f.yaml", START "linger: 1s\n");
	assert_int_equal(chmod(path, 0666), 0);
	wait_until(0, 1);
	assert_int_equal(chmod(path, 0644), 0);
	wait_until(1, 1);
	assert_int_equal(t.running.linger_ns, NSEC_PER_SEC);
}

/* As Kubernetes does it: f.yaml -> ..data/f.yaml, ..data -> a folder that is made anew, and the link swapped by a rename. */
static void test_config_map(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "%s/..1/f.yaml", folder);
	make_folder("..1");
	begin_loop();
	put("..1/f.yaml", START);
	link_to("..1", "..data");
	link_to("..data/f.yaml", "f.yaml");
	snprintf(path, sizeof(path), "%s/f.yaml", folder);
	load_running();
	begin_reload();
	wait_until(0, 0);
	for (unsigned int i = 2; i <= 4; i++) {
		char name[16], file[32], text[256];

		snprintf(name, sizeof(name), "..%u", i);
		snprintf(file, sizeof(file), "..%u/f.yaml", i);
		snprintf(text, sizeof(text), START "linger: %us\n", i + 2);
		make_folder(name);
		put(file, text);
		link_to(name, "..data_tmp");
		move("..data_tmp", "..data");
		wait_until(i - 1, 0);
		assert_int_equal(t.running.linger_ns, (i + 2) * NSEC_PER_SEC);
	}
}

/* The folder itself is put in another's place, and with it the file. */
static void test_folder(void **state)
{
	(void)state;
	make_folder("a");
	make_folder("b");
	snprintf(path, sizeof(path), "%s/a/f.yaml", folder);
	begin_loop();
	put("a/f.yaml", START);
	put("b/f.yaml", START "linger: 1s\n");
	load_running();
	begin_reload();
	wait_until(0, 0);
	move("a", "c");
	wait_until(0, 1);
	move("b", "a");
	wait_until(1, 1);
	assert_int_equal(t.running.linger_ns, NSEC_PER_SEC);
}

/* So is one higher up on the path. */
static void test_folder_above(void **state)
{
	(void)state;
	make_folder("a");
	make_folder("a/b");
	make_folder("a/b/c");
	make_folder("x");
	make_folder("x/b");
	make_folder("x/b/c");
	snprintf(path, sizeof(path), "%s/a/b/c/f.yaml", folder);
	begin_loop();
	put("a/b/c/f.yaml", START);
	put("x/b/c/f.yaml", START "linger: 1s\n");
	load_running();
	begin_reload();
	wait_until(0, 0);
	move("a", "old");
	wait_until(0, 1);
	move("x", "a");
	wait_until(1, 1);
	assert_int_equal(t.running.linger_ns, NSEC_PER_SEC);
	move("a/b", "a/z");
	wait_until(1, 2);
	move("old/b", "a/b");
	wait_until(2, 2);
	assert_int_equal(t.running.linger_ns, 2 * NSEC_PER_SEC);
}

/* It is read once the last of many writes is over, and what was there between them is never read. */
static int grow(void *userdata, uint32_t events)
{
	static const char *const parts[] = {"interfaces: [a]\ncollec",
					    "tors: [ipfix://x]\nidle-time",
					    "out: 20s\ndomain: 5\nlinger: 1s\n"};
	int *fd = userdata;
	static unsigned int next;

	(void)events;
	if (next == ARRAY_SIZE(parts)) {
		next = 0;
		close(*fd);
		*fd = -1;
		t.timer = loop_source_free(t.timer);
		loop_stop(t.loop);
		return 0;
	}
	assert_int_equal(write(*fd, parts[next], strlen(parts[next])), strlen(parts[next]));
	next++;
	return 0;
}

static void test_growing(void **state)
{
	int fd;

	(void)state;
	begin(START);
	unlink(path); /* so that its creation is a change, and the writes come behind it */
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(loop_add_timer(t.loop, grow, &fd, &t.timer), 0);
	assert_int_equal(loop_set_timer(t.timer, 60 * NSEC_PER_MSEC, 60 * NSEC_PER_MSEC), 0);
	assert_int_equal(loop_run(t.loop), 0);
	wait_until(1, 0);
	assert_int_equal(t.running.linger_ns, NSEC_PER_SEC);
	assert_int_equal(t.applied, 1);
}

/* `watch` itself can be changed: off and nothing is noticed, on and all is. */
static void test_watch_setting(void **state)
{
	(void)state;
	begin(START);
	put("f.yaml", "watch: off\n" START);
	wait_until(1, 0);
	put("f.yaml", "watch: on\n" START "linger: 1s\n");
	usleep(300000); /* longer than it would take */
	wait_until(1, 0);
	assert_int_equal(t.applied, 1);
	reload_request(t.reload);
	wait_until(3, 0); /* once more, now with a watch */
	put("f.yaml", START "linger: 3s\n");
	wait_until(4, 0);
	assert_int_equal(t.running.linger_ns, 3 * NSEC_PER_SEC);
}

/* Without a descriptor for inotify it is said once, and requests work. */
static void test_no_inotify(void **state)
{
	int taken[512], count = 0;
	FILE *limit = fopen("/proc/sys/fs/inotify/max_user_instances", "re");
	int max = 0;

	(void)state;
	assert_non_null(limit);
	assert_int_equal(fscanf(limit, "%d", &max), 1);
	fclose(limit);
	while (count < (int)ARRAY_SIZE(taken) && (taken[count] = inotify_init1(IN_CLOEXEC)) >= 0)
		count++;
	if (count == (int)ARRAY_SIZE(taken)) {
		while (count)
			close(taken[--count]);
		skip(); /* there are too many of them here */
	}
	begin_loop();
	begin_running(START);
	begin_reload();
	wait_until(0, 0);
	expect_said(
		"flowtally: cannot watch '@/f.yaml', SIGHUP reads it again: Too many open files\n");
	put("f.yaml", START "linger: 1s\n");
	reload_request(t.reload);
	wait_until(1, 0);
	assert_null(strstr(said(), "cannot watch"));
	assert_int_equal(t.running.linger_ns, NSEC_PER_SEC);
	while (count)
		close(taken[--count]);
}

/* --- The service manager */

static int open_manager(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", folder);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	return fd;
}

static void test_notify(void **state)
{
	char message[256];
	uint64_t before_us, after_us;
	unsigned long long told_us;
	int fd = open_manager();
	ssize_t size;

	(void)state;
	begin("watch: off\n" START);
	reload_request(t.reload);
	wait_until(1, 0);
	assert_true(recv(fd, message, sizeof(message), 0) < 0); /* not ready yet */
	reload_ready(t.reload);
	before_us = clock_ns(CLOCK_MONOTONIC) / 1000;
	put("f.yaml", "x\n"); /* a bad one ends like a good one */
	reload_request(t.reload);
	wait_until(1, 1);
	after_us = clock_ns(CLOCK_MONOTONIC) / 1000;
	size = recv(fd, message, sizeof(message) - 1, 0);
	assert_true(size > 0);
	message[size] = '\0';
	assert_int_equal(sscanf(message, "RELOADING=1\nMONOTONIC_USEC=%llu", &told_us), 1);
	assert_true(told_us >= before_us && told_us <= after_us);
	size = recv(fd, message, sizeof(message), 0);
	assert_int_equal(size, 7);
	assert_memory_equal(message, "READY=1", 7);
	assert_true(recv(fd, message, sizeof(message), 0) < 0);
	close(fd);
	unsetenv("NOTIFY_SOCKET");
}

/* New threads are to have this much stack. */
static void set_stack(size_t size)
{
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	assert_int_equal(pthread_attr_setstacksize(&attributes, size), 0);
	assert_int_equal(pthread_setattr_default_np(&attributes), 0);
	pthread_attr_destroy(&attributes);
}

/* What the manager has been told since the last call: R for a reload, r for READY=1. */
static const char *told(int fd)
{
	static char letters[32];
	char message[256];
	size_t count = 0;
	ssize_t size;

	while ((size = recv(fd, message, sizeof(message), 0)) > 0 && count < sizeof(letters) - 1)
		letters[count++] = size == 7 && !memcmp(message, "READY=1", 7)		? 'r'
				   : size > 12 && !memcmp(message, "RELOADING=1\n", 12) ? 'R'
											: '?';
	letters[count] = '\0';
	return letters;
}

/* Where no thread can be had for a reading: each reload that was told of has its end, now and later. */
static void test_notify_without_thread(void **state)
{
	int fd = open_manager();
	pthread_attr_t attributes;
	size_t stack;

	(void)state;
	pthread_getattr_default_np(&attributes);
	pthread_attr_getstacksize(&attributes, &stack);
	pthread_attr_destroy(&attributes);
	begin_loop();
	begin_running("watch: on\n" START);
	set_stack((size_t)1 << 50); /* more than there are addresses */
	begin_reload();		    /* the look after the start is the first that has none */
	set_stack(stack);
	expect_said("flowtally: cannot read '@/f.yaml' again: Resource temporarily unavailable\n");
	reload_ready(t.reload);
	reload_request(t.reload);
	wait_until(1, 1);
	assert_string_equal(told(fd), "Rr");
	expect_said("flowtally: '@/f.yaml' has changed nothing\n");
	set_stack((size_t)1 << 50);
	reload_request(t.reload);
	set_stack(stack);
	wait_until(1, 2);
	assert_string_equal(told(fd), "Rr");
	close(fd);
	unsetenv("NOTIFY_SOCKET");
}

/* A manager that does not read is told later, in order. */
static void test_notify_later(void **state)
{
	int fd = open_manager();
	char message[256] = "";
	struct notifier n = {0};
	unsigned int sent = 0;

	(void)state;
	while (!n.count && sent++ < 10000)
		notifier_tell(&n, "STATUS=full");
	assert_int_equal(n.count, 1);
	notifier_tell_reloading(&n);
	notifier_tell(&n, "READY=1");
	assert_int_equal(n.count, 3);
	while (recv(fd, message, sizeof(message), 0) > 0)
		;
	notifier_tell_again(&n);
	assert_int_equal(n.count, 0);
	assert_int_equal(recv(fd, message, sizeof(message), 0), 11);
	assert_true(recv(fd, message, sizeof(message), 0) > 26);
	assert_memory_equal(message, "RELOADING=1\nMONOTONIC_USEC=", 27);
	assert_int_equal(recv(fd, message, sizeof(message), 0), 7);
	for (int i = 0; i < 10000 && n.count < NOTIFY_ROOM; i++)
		notifier_tell(&n, "STATUS=full");
	notifier_tell(&n, "READY=1"); /* the oldest makes room for it */
	assert_int_equal(n.count, NOTIFY_ROOM);
	assert_string_equal(n.waiting[NOTIFY_ROOM - 1], "READY=1");
	close(fd);
	unsetenv("NOTIFY_SOCKET");
}

/* --- Around each */

static int set_up(void **state)
{
	(void)state;
	memset(&t, 0, sizeof(t));
	snprintf(folder, sizeof(folder), "/tmp/flowtally-reload-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/f.yaml", folder);
	t.log = open("/tmp", O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
	t.stderr_fd = dup(STDERR_FILENO);
	return t.log < 0 || dup2(t.log, STDERR_FILENO) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	dup2(t.stderr_fd, STDERR_FILENO);
	close(t.stderr_fd);
	reload_freep(&t.reload);
	loop_source_freep(&t.timer);
	loop_freep(&t.loop);
	config_clear(&t.running);
	close(t.log);
	snprintf(command, sizeof(command), "rm -r '%s'", folder);
	return system(command);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_request),
		CASE(test_bad),
		CASE(test_fixed),
		CASE(test_not_applied),
		CASE(test_precedence),
		CASE(test_request_meanwhile),
		CASE(test_first_look),
		CASE(test_fifo),
		CASE(test_written_in_place),
		CASE(test_bad_then_good),
		CASE(test_renamed_over),
		CASE(test_removed_and_back),
		CASE(test_mode),
		CASE(test_config_map),
		CASE(test_folder),
		CASE(test_folder_above),
		CASE(test_growing),
		CASE(test_watch_setting),
		CASE(test_no_inotify),
		CASE(test_notify),
		CASE(test_notify_later),
		CASE(test_notify_without_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
