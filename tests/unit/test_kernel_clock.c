/* SPDX-License-Identifier: Apache-2.0 */
/* What kernel times mean on the wall: sleeps and time namespaces, by clocks that the test sets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "exporter/meter/kernel_clock.h"

#define SEC  ((uint64_t)NSEC_PER_SEC)
#define HOUR (3600 * SEC)
#define DAY  ((int64_t)(24 * HOUR))

/* A machine: its clocks, and those of a time namespace. */
struct machine {
	uint64_t kernel_ns, slept_ns;
	int64_t ahead_ns, boot_ahead_ns;
};

static struct kernel_clock_reading read_machine(const struct machine *m)
{
	return (struct kernel_clock_reading){
		.monotonic_ns = m->kernel_ns + (uint64_t)m->ahead_ns,
		.boottime_ns = m->kernel_ns + m->slept_ns + (uint64_t)m->boot_ahead_ns,
	};
}

static void look(struct kernel_clock *c, const struct machine *m)
{
	const struct kernel_clock_reading now = read_machine(m);

	kernel_clock_notice(c, &now);
}

static void start(struct kernel_clock *c, const struct machine *m)
{
	const struct kernel_clock_reading now = read_machine(m);

	kernel_clock_start(c, m->ahead_ns, &now);
}

/* Before, across and after: what lies between is how long it took. */
static void check_sleeps(struct machine m)
{
	uint64_t start_ns = m.kernel_ns, slept_ns = m.slept_ns;
	struct kernel_clock c;

	start(&c, &m);
	assert_int_equal(kernel_clock_told_ns(&c, start_ns), start_ns);
	for (int i = 1; i <= 3; i++) {
		m.kernel_ns += 10 * SEC;
		m.slept_ns += (uint64_t)i * HOUR;
		look(&c, &m);
		look(&c, &m); /* once is enough */
	}
	m.kernel_ns += 10 * SEC;
	look(&c, &m);
	assert_int_equal(kernel_clock_told_ns(&c, start_ns + 5 * SEC), start_ns + 5 * SEC);
	assert_int_equal(kernel_clock_told_ns(&c, start_ns + 15 * SEC), start_ns + 15 * SEC + HOUR);
	assert_int_equal(kernel_clock_told_ns(&c, start_ns + 25 * SEC),
			 start_ns + 25 * SEC + 3 * HOUR);
	assert_int_equal(kernel_clock_told_ns(&c, start_ns + 35 * SEC),
			 start_ns + 35 * SEC + 6 * HOUR);
	assert_int_equal(c.slept_ns, m.slept_ns - slept_ns);
}

static void test_sleeps(void **state)
{
	(void)state;
	check_sleeps((struct machine){.kernel_ns = 100 * SEC});
	check_sleeps((struct machine){.kernel_ns = 100 * SEC, .slept_ns = 7 * HOUR});
}

static void test_sleeps_in_namespace(void **state)
{
	(void)state;
	check_sleeps((
		struct machine){.kernel_ns = 100 * SEC, .ahead_ns = DAY, .boot_ahead_ns = 3 * DAY});
	check_sleeps((struct machine){
		.kernel_ns = 2 * 24 * HOUR, .ahead_ns = -DAY, .boot_ahead_ns = -DAY / 2});
}

/* Not read in one instant: that is no sleep. */
static void test_jitter(void **state)
{
	struct machine m = {.kernel_ns = 100 * SEC};
	struct kernel_clock c;

	(void)state;
	start(&c, &m);
	for (int i = 0; i < 1000; i++) {
		m.kernel_ns += SEC;
		m.slept_ns = (uint64_t)(i % 10) * NSEC_PER_MSEC / 2;
		look(&c, &m);
	}
	assert_int_equal(c.count, 0);
	assert_int_equal(kernel_clock_told_ns(&c, 50 * SEC), 50 * SEC);
}

/* Of more sleeps than can be remembered the oldest are taken for one. */
static void test_many(void **state)
{
	struct machine m = {.kernel_ns = 100 * SEC};
	struct kernel_clock c;

	(void)state;
	start(&c, &m);
	for (int i = 0; i < 3 * KERNEL_CLOCK_SLEEPS; i++) {
		m.kernel_ns += 10 * SEC;
		m.slept_ns += HOUR;
		look(&c, &m);
	}
	m.kernel_ns += 10 * SEC;
	assert_int_equal(kernel_clock_told_ns(&c, m.kernel_ns), m.kernel_ns + m.slept_ns);
	assert_int_equal(kernel_clock_told_ns(&c, m.kernel_ns - 15 * SEC),
			 m.kernel_ns - 15 * SEC + m.slept_ns - HOUR);
	assert_int_equal(kernel_clock_told_ns(&c, SEC), SEC + 2 * KERNEL_CLOCK_SLEEPS * HOUR);
}

/* Order is kept whatever happens. */
static void test_monotonic(void **state)
{
	struct machine m = {.kernel_ns = 100 * SEC};
	struct kernel_clock c;
	uint64_t before = 0, told;

	(void)state;
	start(&c, &m);
	for (int i = 0; i < 10; i++) {
		m.kernel_ns += 7 * SEC;
		m.slept_ns += (uint64_t)(i % 3) * HOUR;
		look(&c, &m);
	}
	for (uint64_t ns = 90 * SEC; ns < m.kernel_ns + SEC; ns += SEC / 2) {
		told = kernel_clock_told_ns(&c, ns);
		assert_true(told > before);
		before = told;
	}
}

static void test_choose(void **state)
{
	const struct kernel_clock_measured none = {.within_ns = UINT64_MAX},
					   near = {DAY + 3000000, 2000}, zero = {-2000000, 2000},
					   other = {5 * DAY, 2000};
	const int64_t listed = DAY;

	(void)state;
	assert_int_equal(kernel_clock_choose(&none, 0), 0);
	assert_int_equal(kernel_clock_choose(&none, listed), listed);
	assert_int_equal(kernel_clock_choose(&near, listed), listed); /* exact */
	assert_int_equal(kernel_clock_choose(&zero, 0), 0);
	assert_int_equal(kernel_clock_choose(&zero, listed),
			 0); /* of children, not of this process */
	assert_int_equal(kernel_clock_choose(&other, listed), other.ahead_ns);
}

/* Other programs have the CPU in the middle of a measurement, once or always. */
static void test_measure(void **state)
{
	struct kernel_clock_measured m = {.within_ns = UINT64_MAX};

	(void)state;
	kernel_clock_measure(&m, DAY + 100 * SEC, 100 * SEC, DAY + 100 * SEC + SEC);
	assert_int_equal(m.within_ns, SEC);
	assert_int_equal(kernel_clock_choose(&m, DAY), DAY);
	assert_int_equal(kernel_clock_choose(&m, DAY + SEC), DAY + SEC);
	assert_int_equal(kernel_clock_choose(&m, DAY + 2 * SEC), m.ahead_ns);
	kernel_clock_measure(&m, DAY + 102 * SEC, 102 * SEC + 10, DAY + 102 * SEC + 40);
	kernel_clock_measure(&m, DAY + 103 * SEC, 103 * SEC + SEC, DAY + 103 * SEC + SEC);
	assert_int_equal(m.ahead_ns, DAY + 10);
	assert_int_equal(m.within_ns, 40);
	assert_int_equal(kernel_clock_choose(&m, DAY + SEC), DAY + 10);
}

/* The kernel's times are this process's, and back. */
static void test_to_namespace(void **state)
{
	struct kernel_clock c = {.ahead_ns = DAY};

	(void)state;
	assert_int_equal(kernel_clock_here_ns(&c, 100 * SEC), DAY + 100 * SEC);
	c.ahead_ns = -50 * (int64_t)SEC;
	assert_int_equal(kernel_clock_here_ns(&c, 100 * SEC), 50 * SEC);
}

/* The machine that runs the test: tests may be in a time namespace, or not be allowed to ask the kernel. */
static void test_here(void **state)
{
	uint64_t before_ns, now_ns;
	struct kernel_clock c;

	(void)state;
	kernel_clock_init(&c);
	before_ns = clock_ns(CLOCK_MONOTONIC) - (uint64_t)c.ahead_ns;
	now_ns = kernel_clock_now_ns(&c);
	assert_in_range(now_ns, before_ns, before_ns + 10 * SEC);
	assert_true(kernel_clock_coarse_ns(&c) <= kernel_clock_now_ns(&c));
	kernel_clock_look(&c);
	assert_int_equal(c.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sleeps),	  cmocka_unit_test(test_sleeps_in_namespace),
		cmocka_unit_test(test_jitter),	  cmocka_unit_test(test_many),
		cmocka_unit_test(test_monotonic), cmocka_unit_test(test_choose),
		cmocka_unit_test(test_measure),	  cmocka_unit_test(test_to_namespace),
		cmocka_unit_test(test_here),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
