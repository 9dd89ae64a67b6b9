/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include "exporter/meter/kernel_clock.h"

#define AGREE_NS (50 * NSEC_PER_MSEC) /* between a close measurement and what procfs says */

/* Two clocks are not read in one instant; a shorter sleep is noticed together with the next one. */
#define SLEEP_MIN_NS (10 * NSEC_PER_MSEC)
#define READINGS     8
#define CLOSE_NS     100000 /* two readings that are as good as one */

#define FAR_S (1ull << 33) /* s since 1970: the year 2242 */

/* What a program can be run on. */
#define PACKET_OCTETS 64

void kernel_clock_measure(struct kernel_clock_measured *best, uint64_t before_ns,
			  uint64_t kernel_ns, uint64_t after_ns)
{
	if (after_ns - before_ns >= best->within_ns)
		return;
	*best = (struct kernel_clock_measured){
		.ahead_ns = (int64_t)(before_ns + (after_ns - before_ns) / 2 - kernel_ns),
		.within_ns = after_ns - before_ns,
	};
}

static bool may_be(const struct kernel_clock_measured *measured, int64_t ahead_ns)
{
	const int64_t differ_ns = measured->ahead_ns - ahead_ns;
	const int64_t agree_ns = (int64_t)(AGREE_NS + measured->within_ns / 2);

	return differ_ns < agree_ns && -differ_ns < agree_ns;
}

int64_t kernel_clock_choose(const struct kernel_clock_measured *measured, int64_t listed_ns)
{
	if (measured->within_ns == UINT64_MAX || may_be(measured, listed_ns))
		return listed_ns;
	return may_be(measured, 0) ? 0 : measured->ahead_ns;
}

/* procfs tells of the namespace of children to come, in which the process itself need not be. */
static bool in_own_namespace(void)
{
	struct stat own, children;

	return stat("/proc/self/ns/time", &own) == 0 &&
	       stat("/proc/self/ns/time_for_children", &children) == 0 &&
	       own.st_ino == children.st_ino;
}

static int64_t read_listed(void)
{
	_cleanup_(fclosep) FILE *file = fopen("/proc/self/timens_offsets", "re");
	int64_t seconds, ns;
	char line[128];

	while (file && in_own_namespace() && fgets(line, sizeof(line), file))
		if (sscanf(line, "monotonic %" SCNd64 " %" SCNd64, &seconds, &ns) == 2)
			return seconds * (int64_t)NSEC_PER_SEC + ns;
	return 0;
}

/* A program that writes what time it is to a map of one value. */
static int load_program(int map)
{
	const struct bpf_insn program[] = {
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_ktime_get_ns},
		{.code = BPF_DW, /* | BPF_LD | BPF_IMM, which are 0 */
		 .dst_reg = BPF_REG_1,
		 .src_reg = BPF_PSEUDO_MAP_VALUE,
		 .imm = map},
		{0},
		{.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_1, .src_reg = BPF_REG_0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "flowtally_clock", "Dual BSD/GPL",
			     program, ARRAY_SIZE(program), NULL);
}

/* Some microseconds about, where the process has not had to wait each time. */
static void measure(struct kernel_clock_measured *ret)
{
	_cleanup_(closep) int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "flowtally_clock",
						   sizeof(uint32_t), sizeof(uint64_t), 1, NULL);
	_cleanup_(closep) int program = map < 0 ? map : load_program(map);
	uint8_t packet[PACKET_OCTETS] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet, .data_size_in = sizeof(packet));
	uint64_t before_ns, kernel_ns = 0, after_ns;
	uint32_t zero = 0;

	*ret = (struct kernel_clock_measured){.within_ns = UINT64_MAX};
	for (int i = 0; i < READINGS && program >= 0 && ret->within_ns > CLOSE_NS; i++) {
		before_ns = clock_ns(CLOCK_MONOTONIC);
		if (bpf_prog_test_run_opts(program, &run) < 0)
			return;
		after_ns = clock_ns(CLOCK_MONOTONIC);
		if (bpf_map_lookup_elem(map, &zero, &kernel_ns) < 0)
			return;
		kernel_clock_measure(ret, before_ns, kernel_ns, after_ns);
	}
}

/* In one instant, as nearly as can be had: CLOCK_MONOTONIC is never read before the others. */
static void read_clocks(struct kernel_clock_reading *ret)
{
	uint64_t before_ns, best_ns = UINT64_MAX;

	for (int i = 0; i < READINGS && best_ns > CLOSE_NS; i++) {
		struct kernel_clock_reading now;

		before_ns = clock_ns(CLOCK_MONOTONIC);
		now.boottime_ns = clock_ns(CLOCK_BOOTTIME);
		now.realtime_ns = clock_ns(CLOCK_REALTIME);
		now.monotonic_ns = clock_ns(CLOCK_MONOTONIC);
		if (now.monotonic_ns - before_ns >= best_ns)
			continue;
		best_ns = now.monotonic_ns - before_ns;
		*ret = now;
	}
}

void kernel_clock_start(struct kernel_clock *c, int64_t ahead_ns,
			const struct kernel_clock_reading *now)
{
	*c = (struct kernel_clock){
		.ahead_ns = ahead_ns,
		.differ_ns = (int64_t)(now->boottime_ns - now->monotonic_ns),
	};
}

void kernel_clock_init(struct kernel_clock *c)
{
	struct kernel_clock_reading now;
	struct kernel_clock_measured measured;

	measure(&measured);
	read_clocks(&now);
	kernel_clock_start(c, kernel_clock_choose(&measured, read_listed()), &now);
}

uint64_t kernel_clock_now_ns(const struct kernel_clock *c)
{
	return clock_ns(CLOCK_MONOTONIC) - (uint64_t)c->ahead_ns;
}

uint64_t kernel_clock_coarse_ns(const struct kernel_clock *c)
{
	return clock_ns(CLOCK_MONOTONIC_COARSE) - (uint64_t)c->ahead_ns;
}

uint64_t kernel_clock_here_ns(const struct kernel_clock *c, uint64_t kernel_ns)
{
	return kernel_ns + (uint64_t)c->ahead_ns;
}

void kernel_clock_notice(struct kernel_clock *c, const struct kernel_clock_reading *now)
{
	int64_t differ_ns = (int64_t)(now->boottime_ns - now->monotonic_ns);
	struct kernel_clock_sleep *sleep = &c->sleeps[c->count % KERNEL_CLOCK_SLEEPS];

	if (differ_ns - c->differ_ns < (int64_t)SLEEP_MIN_NS)
		return;
	*sleep = (struct kernel_clock_sleep){
		.at_ns = now->monotonic_ns - (uint64_t)c->ahead_ns,
		.before_ns = c->slept_ns,
	};
	c->slept_ns += (uint64_t)(differ_ns - c->differ_ns);
	c->differ_ns = differ_ns;
	c->count++;
	if (c->count - c->forgotten > KERNEL_CLOCK_SLEEPS)
		c->forgotten++;
}

void kernel_clock_look(struct kernel_clock *c)
{
	struct kernel_clock_reading now;

	read_clocks(&now);
	kernel_clock_notice(c, &now);
}

uint64_t kernel_clock_told_ns(const struct kernel_clock *c, uint64_t kernel_ns)
{
	uint64_t slept_ns = c->slept_ns;

	for (unsigned int i = c->count; i-- > c->forgotten;) {
		const struct kernel_clock_sleep *sleep = &c->sleeps[i % KERNEL_CLOCK_SLEEPS];

		if (kernel_ns > sleep->at_ns)
			break;
		slept_ns = sleep->before_ns;
	}
	return kernel_ns + slept_ns;
}

uint64_t kernel_clock_boottime_ns(const struct kernel_clock *c, uint64_t kernel_ns)
{
	return kernel_clock_told_ns(c, kernel_ns) + (uint64_t)c->ahead_ns + (uint64_t)c->differ_ns -
	       c->slept_ns;
}

int64_t kernel_clock_offset_ns(const struct kernel_clock *c)
{
	return (int64_t)(clock_ns(CLOCK_REALTIME) - kernel_clock_now_ns(c) - c->slept_ns);
}

int kernel_clock_rearm(int fd)
{
	const struct itimerspec never = {.it_value = {.tv_sec = (time_t)FAR_S}};
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0 && errno != ECANCELED && errno != EAGAIN)
		return -errno;
	if (timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0 &&
	    errno != ECANCELED)
		return -errno;
	return 0;
}

int kernel_clock_fd(void)
{
	_cleanup_(closep) int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	int r = fd < 0 ? -errno : kernel_clock_rearm(fd);

	return r < 0 ? r : TAKE_FD(fd);
}
