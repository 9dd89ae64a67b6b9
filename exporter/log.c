/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include "exporter/log.h"

static atomic_int max_level = LOG_INFO; /* any thread logs, and a reload sets it */
static pthread_once_t journal_once = PTHREAD_ONCE_INIT;
static bool journal;

void log_set_level(int level)
{
	atomic_store_explicit(&max_level, level, memory_order_relaxed);
}

/* JOURNAL_STREAM is inherited by what runs below a service; its device and inode say which stream it means. */
static void find_journal(void)
{
	const char *text = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat status;

	if (text && sscanf(text, "%llu:%llu", &device, &inode) == 2 &&
	    fstat(STDERR_FILENO, &status) == 0)
		journal = status.st_dev == device && status.st_ino == inode;
}

/* What a message quotes must not begin another line, nor steer a terminal. */
static void put_escaped(FILE *file, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text, next = (unsigned char)text[1];

		if (c < ' ' || c == 0x7f)
			fprintf(file, "\\x%02x", c);
		else if (c == 0xc2 && next >= 0x80 && next < 0xa0) /* C1 in UTF-8 */
			fprintf(file, "\\x%02x\\x%02x", c, (unsigned char)*++text);
		else
			fputc(c, file);
	}
}

static void put_line(FILE *file, int level, const char *text, int error)
{
	if (journal)
		fprintf(file, "<%d>", level);
	else
		fputs("flowtally: ", file);
	put_escaped(file, text);
	if (error)
		fprintf(file, ": %s", strerror(error));
	fputc('\n', file);
}

/* --- Writing, which never waits once log_never_wait() has been called. */

/* Messages that wait for the reader of stderr, octets at most; what log_text() was given comes on top. */
#define QUEUE_MAX     (256u * 1024)
#define PATIENCE_MS   1000
#define COUNT_MAX     128
#define NO_MEMORY_MAX 512

static struct {
	pthread_mutex_t lock;
	bool impatient; /* nothing may wait */
	bool held;	/* nothing is written */
	bool opened;	/* once and for all */
	bool gave_up;	/* waiting did not help, and nothing has been taken since */
	int own;	/* a description of our own, O_NONBLOCK; -1: none */
	dev_t device;	/* of which file that is */
	ino_t inode;
	char *queue;		   /* what the reader has not taken yet */
	size_t queued, size;	   /* octets in it, and its size */
	size_t kept;		   /* octets that waited before it was held: they stay */
	unsigned long long unsaid; /* messages for which there was no room */
	unsigned long long gone;   /* lines that made room for newer ones while it was held */
} output = {.lock = PTHREAD_MUTEX_INITIALIZER, .own = -1};

/*
 * O_NONBLOCK on the description that we were given would be shared with the shell and whoever else has
 * it.  -1 where another cannot be had.
 */
static int own_description(const struct stat *status)
{
	if (output.opened ||
	    (output.own >= 0 && output.device == status->st_dev && output.inode == status->st_ino))
		return output.own;
	closep(&output.own);
	output.own = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	output.device = status->st_dev;
	output.inode = status->st_ino;
	return output.own;
}

/* poll(2) says that a pipe has room for PIPE_BUF octets; RWF_NOWAIT (pipes: Linux 6.4) keeps that true. */
static ssize_t write_inherited(const char *data, size_t size)
{
	const struct iovec vector = {.iov_base = (void *)data,
				     .iov_len = MIN(size, (size_t)PIPE_BUF)};
	struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
	ssize_t n;

	if (poll(&ready, 1, 0) != 1)
		return -EAGAIN;
	n = pwritev2(STDERR_FILENO, &vector, 1, -1, RWF_NOWAIT);
	if (n < 0 && (errno == EOPNOTSUPP || errno == ESPIPE || errno == EINVAL || errno == ENOSYS))
		n = writev(STDERR_FILENO, &vector, 1);
	return n < 0 ? -errno : n;
}

/* Whoever reads it may be slow. */
static bool takes_time(const struct stat *status)
{
	return !S_ISREG(status->st_mode) && !S_ISBLK(status->st_mode);
}

/* As write(2), -EAGAIN rather than waiting for a reader. */
static ssize_t write_some(const char *data, size_t size)
{
	struct stat status;
	ssize_t n;
	int fd;

	if (fstat(STDERR_FILENO, &status) < 0)
		return -errno;
	if (S_ISSOCK(status.st_mode)) { /* the journal's */
		n = send(STDERR_FILENO, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		return n < 0 ? -errno : n;
	}
	fd = STDERR_FILENO;
	if (takes_time(&status)) {
		fd = own_description(&status);
		if (fd < 0)
			return write_inherited(data, size);
	}
	n = write(fd, data, size);
	return n < 0 ? -errno : n;
}

/* Octets that are done with: taken by the reader, or there is none any more. */
static size_t write_text(const char *data, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = write_some(data + done, size - done);

		if (n == -EINTR)
			continue;
		if (n == -EAGAIN)
			break;
		if (n <= 0)
			return size;
		done += (size_t)n;
		output.gave_up = false;
	}
	return done;
}

static bool enqueue(const char *data, size_t size)
{
	char *queue = output.queue;

	if (output.queued + size > output.size) {
		queue = realloc(queue, output.queued + size);
		if (!queue)
			return false;
		output.queue = queue;
		output.size = output.queued + size;
	}
	memcpy(queue + output.queued, data, size);
	output.queued += size;
	return true;
}

static void write_queue(void)
{
	size_t done = output.held ? 0 : write_text(output.queue, output.queued);

	output.queued -= done;
	if (done)
		memmove(output.queue, output.queue + done, output.queued);
}

static size_t print_count(char line[COUNT_MAX], unsigned long long count, const char *what)
{
	int length = snprintf(line, COUNT_MAX, "%s%llu %s\n",
			      journal ? "<4>" : "flowtally: ", count, what);

	return (size_t)length;
}

/* What was not said is counted once, where it would have been. */
static void enqueue_unsaid(void)
{
	char line[COUNT_MAX];

	if (output.unsaid &&
	    enqueue(line, print_count(line, output.unsaid,
				      "messages are missing here: standard error took no more")))
		output.unsaid = 0;
}

static void write_waiting(void)
{
	write_queue();
	if (output.queued || !output.unsaid)
		return;
	enqueue_unsaid();
	write_queue();
}

/* Nothing waits any more, or no octet was taken for so long. */
static bool write_patiently(int timeout_ms)
{
	struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
	uint64_t since_ns = clock_ns(CLOCK_MONOTONIC), passed_ms;

	for (;;) {
		size_t before = output.queued;

		write_waiting();
		if (!output.queued || output.held)
			return true;
		if (output.queued < before)
			since_ns = clock_ns(CLOCK_MONOTONIC);
		passed_ms = (clock_ns(CLOCK_MONOTONIC) - since_ns) / NSEC_PER_MSEC;
		if (passed_ms >= (uint64_t)timeout_ms)
			return false;
		/* a terminal may be writable, and have no room for what a character becomes */
		if (poll(&ready, 1, timeout_ms - (int)passed_ms) == 1 && output.queued == before)
			poll(NULL, 0, 1);
	}
}

/* Of what is held the oldest lines go: the newest tell how something ended. */
static void drop_oldest(size_t size)
{
	size_t held = output.queued - output.kept, left = held;
	char *begin;

	if (held + size <= QUEUE_MAX)
		return;
	begin = output.queue + output.kept;
	while (left && left + size > QUEUE_MAX) {
		const char *line = begin + held - left, *end = memchr(line, '\n', left);

		left -= end ? (size_t)(end + 1 - line) : left;
		output.gone++;
	}
	memmove(begin, begin + held - left, left);
	output.queued = output.kept + left;
}

/* The count of the lines that went stands where they stood. */
static void insert_gone(void)
{
	const size_t held = output.queued - output.kept;
	char line[COUNT_MAX], *begin;
	size_t size;

	if (!output.gone)
		return;
	size = print_count(line, output.gone, "lines are missing here: more came than can be held");
	if (!enqueue(line, size))
		return;
	begin = output.queue + output.kept;
	memmove(begin + size, begin, held);
	memcpy(begin, line, size);
	output.gone = 0;
}

/* `begun`: the rest of a line of which the reader has the first part, which must follow. */
static void add(const char *data, size_t size, bool always, bool begun)
{
	bool room;

	if (output.held)
		drop_oldest(size);
	room = always || begun || output.queued - output.kept + size <= QUEUE_MAX;
	if (room && !begun)
		enqueue_unsaid();
	if (!room || !enqueue(data, size))
		output.unsaid++;
}

static void put(const char *data, size_t size, bool always)
{
	size_t done = 0;

	pthread_mutex_lock(&output.lock);
	write_waiting();
	if (!output.impatient && !output.gave_up && output.queued)
		output.gave_up = !write_patiently(PATIENCE_MS);
	if (!output.queued && !output.held)
		done = write_text(data, size);
	if (done < size)
		add(data + done, size - done, always, done > 0);
	if (!output.impatient && !output.gave_up && output.queued)
		output.gave_up = !write_patiently(PATIENCE_MS);
	pthread_mutex_unlock(&output.lock);
}

void log_open(void)
{
	struct stat status;

	pthread_mutex_lock(&output.lock);
	if (fstat(STDERR_FILENO, &status) == 0 && takes_time(&status) && !S_ISSOCK(status.st_mode))
		(void)own_description(&status);
	output.opened = true;
	pthread_mutex_unlock(&output.lock);
}

void log_never_wait(void)
{
	pthread_mutex_lock(&output.lock);
	output.impatient = true;
	pthread_mutex_unlock(&output.lock);
}

bool log_flush(int timeout_ms)
{
	bool all;

	pthread_mutex_lock(&output.lock);
	all = write_patiently(timeout_ms);
	pthread_mutex_unlock(&output.lock);
	return all;
}

void log_hold(void)
{
	pthread_mutex_lock(&output.lock);
	if (!output.held)
		output.kept = output.queued;
	output.held = true;
	pthread_mutex_unlock(&output.lock);
}

void log_release(void)
{
	pthread_mutex_lock(&output.lock);
	if (output.held)
		insert_gone();
	output.held = false;
	output.kept = 0;
	write_waiting();
	pthread_mutex_unlock(&output.lock);
}

static const char *line_before(const char *begin, const char *end)
{
	const char *before = end > begin ? memrchr(begin, '\n', (size_t)(end - 1 - begin)) : NULL;

	return before ? before + 1 : begin;
}

bool log_held(unsigned int back, char *ret, size_t size)
{
	const char *begin, *end;
	bool found;

	pthread_mutex_lock(&output.lock);
	end = output.queue + output.queued;
	begin = line_before(output.queue, end);
	for (; back && end > output.queue; back--) {
		end = begin;
		begin = line_before(output.queue, end);
	}
	found = output.held && end > output.queue;
	if (found)
		snprintf(ret, size, "%.*s", (int)(end - 1 - begin), begin);
	pthread_mutex_unlock(&output.lock);
	return found;
}

void log_text(const char *text, size_t size)
{
	put(text, size, true);
}

/* By a single write(), so that lines of two processes do not mix. */
static void log_line(int level, const char *text, int error, bool always)
{
	_cleanup_(freep) char *line = NULL;
	char small[NO_MEMORY_MAX];
	size_t size = 0;
	FILE *file = open_memstream(&line, &size);
	bool whole;

	pthread_once(&journal_once, find_journal);
	if (file) {
		put_line(file, level, text, error);
		whole = !ferror(file);
		if (fclose(file) == 0 && whole) {
			put(line, size, always);
			return;
		}
	}
	file = fmemopen(small, sizeof(small), "w"); /* no memory */
	if (!file)
		return;
	put_line(file, level, text, error);
	size = MIN((size_t)MAX(ftell(file), 0), sizeof(small));
	fclose(file);
	put(small, size, always);
}

_printf_(4, 0) static void log_va(int level, int error, bool always, const char *format,
				  va_list args)
{
	_cleanup_(freep) char *text = NULL;

	if (level > atomic_load_explicit(&max_level, memory_order_relaxed))
		return;
	if (vasprintf(&text, format, args) < 0) {
		text = NULL;
		log_line(level, format, error, always); /* no memory */
		return;
	}
	log_line(level, text, error, always);
}

void log_message(int level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_va(level, 0, false, format, args);
	va_end(args);
}

void log_always(int level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_va(level, 0, true, format, args);
	va_end(args);
}

int log_errno(int level, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_va(level, abs(error), false, format, args);
	va_end(args);
	return -abs(error);
}
