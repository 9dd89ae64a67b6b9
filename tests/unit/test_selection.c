/* SPDX-License-Identifier: Apache-2.0 */
/* Which interfaces are metered, by what rtnetlink says of them; and when to try again what failed. */
#include <net/if.h> /* before the kernel's own version of it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <libmnl/libmnl.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include "exporter/meter/backoff.h"
#include "exporter/meter/selection.h"

/*
 * What the selection told, "+name:ifindex", "~name:ifindex" for a change, "-name:ifindex", and "name>name:ifindex" where an
 * interface was handed over, in one line.
 */
struct told {
	char text[1024];
	struct selection *selection;
};

static void note(struct told *told, char sign, const struct target *t)
{
	size_t length = strlen(told->text);

	snprintf(told->text + length, sizeof(told->text) - length, "%s%c%s:%u", length ? " " : "",
		 sign, t->name, t->ifindex);
}

static void on_found(void *userdata, struct target *t, const struct netdev *dev)
{
	assert_int_equal(t->ifindex, dev->ifindex);
	note(userdata, '+', t);
}

static void on_changed(void *userdata, struct target *t, const struct netdev *dev)
{
	assert_int_equal(t->ifindex, dev->ifindex);
	note(userdata, '~', t);
}

static void on_lost(void *userdata, struct target *t)
{
	note(userdata, '-', t);
}

static void on_handed(void *userdata, struct target *from, struct target *to)
{
	struct told *told = userdata;
	size_t length = strlen(told->text);

	assert_int_equal(from->ifindex, to->ifindex);
	assert_true(to->named);
	snprintf(told->text + length, sizeof(told->text) - length, "%s%s>%s:%u", length ? " " : "",
		 from->name, to->name, to->ifindex);
}

static void begin(struct told *told, const char *const *patterns, size_t count)
{
	static const struct selection_events events = {
		.found = on_found, .changed = on_changed, .lost = on_lost, .handed = on_handed};

	*told = (struct told){0};
	assert_int_equal(selection_new(&told->selection, patterns, count, &events, told), 0);
}

#define BEGIN(told, ...) \
	static const char *const begun_with[] = {__VA_ARGS__}; \
	begin(told, begun_with, ARRAY_SIZE(begun_with))

static void told_clear(struct told *told)
{
	selection_freep(&told->selection);
}

static void expect(struct told *told, const char *text)
{
	assert_string_equal(told->text, text);
	told->text[0] = '\0';
}

/* An interface as it is now; `altname` may be NULL. */
static void say(struct told *told, uint32_t ifindex, const char *name, const char *altname)
{
	struct netdev_message m = {.dev = {.ifindex = ifindex, .mtu = 1500}};

	snprintf(m.dev.name, sizeof(m.dev.name), "%s", name);
	if (altname)
		m.altnames[m.altname_count++] = altname;
	assert_int_equal(selection_update(told->selection, &m), 0);
}

static void gone(struct told *told, uint32_t ifindex)
{
	const struct netdev_message m = {.dev.ifindex = ifindex, .gone = true};

	assert_int_equal(selection_update(told->selection, &m), 0);
}

static void test_glob(void **state)
{
	_cleanup_(told_clear) struct told told;

	(void)state;
	BEGIN(&told, "veth*", "ve*");
	say(&told, 1, "lo", NULL);
	say(&told, 7, "veth1", NULL);
	say(&told, 8, "veth2", "veth-other");
	expect(&told, "+veth1:7 +veth2:8");
	say(&told, 7, "veth1", NULL); /* nothing new */
	say(&told, 1, "lo0", NULL);
	expect(&told, "");
	say(&told, 7, "veth9", NULL);
	expect(&told, "~veth9:7");
	say(&told, 7, "other", NULL);
	expect(&told, "-veth9:7");
	assert_int_equal(selection_count(told.selection), 1);
	say(&told, 7, "veth1", NULL);
	gone(&told, 8);
	gone(&told, 8);
	expect(&told, "+veth1:7 -veth2:8");
	assert_null(selection_device(told.selection, 8));
	assert_string_equal(selection_device(told.selection, 1)->name, "lo0");
}

static void test_change(void **state)
{
	_cleanup_(told_clear) struct told told;
	struct netdev_message m = {.dev = {.ifindex = 7, .name = "eth0", .mtu = 1500}};

	(void)state;
	BEGIN(&told, "eth0");
	for (uint32_t mtu = 1500; mtu < 1504; mtu++) {
		m.dev.mtu = mtu;
		assert_int_equal(selection_update(told.selection, &m), 0);
	}
	expect(&told, "+eth0:7 ~eth0:7 ~eth0:7 ~eth0:7");
	m.dev.up = true;
	assert_int_equal(selection_update(told.selection, &m), 0);
	expect(&told, "~eth0:7");
}

/* What is named stays a target: it comes, goes, and is another interface later. */
static void test_named(void **state)
{
	_cleanup_(told_clear) struct told told;

	(void)state;
	BEGIN(&told, "eth0", "uplink", "eth0");
	assert_int_equal(selection_count(told.selection), 2);
	say(&told, 2, "eth0", NULL);
	gone(&told, 2);
	say(&told, 3, "eth0", NULL);
	say(&told, 4, "enp4s0", "uplink");
	expect(&told, "+eth0:2 -eth0:2 +eth0:3 +uplink:4");
	say(&told, 4, "enp4s0", NULL); /* the alternative name was taken away */
	expect(&told, "-uplink:4");
	assert_int_equal(selection_count(told.selection), 2);
}

/* Two interfaces swap names; the messages of a list come in the order of the interfaces, not of the changes. */
static void test_swap(void **state)
{
	_cleanup_(told_clear) struct told told;

	(void)state;
	BEGIN(&told, "a", "b", "c*");
	say(&told, 1, "a", NULL);
	say(&told, 2, "b", NULL);
	expect(&told, "+a:1 +b:2");
	selection_begin(told.selection);
	say(&told, 1, "b", NULL);
	say(&told, 2, "a", NULL);
	selection_end(told.selection);
	expect(&told, "-a:1 -b:2 +b:1 +a:2");
	say(&told, 3, "c3", NULL);
	say(&told, 2, "x", NULL);
	say(&told, 3, "a", NULL); /* from a glob to a name */
	expect(&told, "+c3:3 -a:2 -c3:3 +a:3");
}

/* An interface is metered once, however many names and globs say so. */
static void test_once(void **state)
{
	_cleanup_(told_clear) struct told told;

	(void)state;
	BEGIN(&told, "eth0", "uplink", "e*");
	say(&told, 2, "eth0", "uplink");
	expect(&told, "+eth0:2");
	assert_string_equal(selection_target(told.selection, 2)->name, "eth0");
	assert_null(selection_target(told.selection, 3));
}

/* What a list does not have is gone; a list that began again counts from its last beginning. */
static void test_list(void **state)
{
	_cleanup_(told_clear) struct told told;

	(void)state;
	BEGIN(&told, "m*");
	for (uint32_t n = 1; n <= 3; n++)
		say(&told, n, (const char *[]){"m1", "m2", "m3"}[n - 1], NULL);
	expect(&told, "+m1:1 +m2:2 +m3:3");
	selection_begin(told.selection);
	say(&told, 1, "m1", NULL);
	say(&told, 2, "m2", NULL);
	selection_begin(told.selection);
	say(&told, 2, "m2", NULL);
	say(&told, 4, "m4", NULL);
	expect(&told, "+m4:4");
	selection_end(told.selection);
	assert_int_equal(selection_count(told.selection), 2);
	assert_non_null(strstr(told.text, "-m1:1"));
	assert_non_null(strstr(told.text, "-m3:3"));
}

static void test_many(void **state)
{
	_cleanup_(told_clear) struct told told;
	char name[16];

	(void)state;
	BEGIN(&told, "m*");
	for (uint32_t n = 1; n <= 3000; n++) {
		snprintf(name, sizeof(name), "m%u", n);
		say(&told, n, name, NULL);
		told.text[0] = '\0';
	}
	for (uint32_t n = 1; n <= 3000; n += 2)
		gone(&told, n);
	assert_int_equal(selection_count(told.selection), 1500);
	for (size_t n = 0; n < 1500; n++) {
		const struct target *t = selection_get(told.selection, n);

		assert_int_equal(t->index, n);
		assert_int_equal(t->ifindex % 2, 0);
		assert_ptr_equal(selection_target(told.selection, t->ifindex), t);
	}
	assert_null(selection_get(told.selection, 1500));
}

static void test_vlan(void **state)
{
	_cleanup_(told_clear) struct told told;
	struct netdev_message m = {
		.dev = {.ifindex = 9, .name = "eth0.5", .kind = "vlan", .link = 2}};

	(void)state;
	BEGIN(&told, "eth0");
	say(&told, 2, "eth0", NULL);
	assert_false(selection_has_vlan(told.selection, 2));
	assert_int_equal(selection_update(told.selection, &m), 0);
	assert_true(selection_has_vlan(told.selection, 2));
	assert_false(selection_has_vlan(told.selection, 9));
}

#define SET(told, ...) set((told), (const char *const[]){__VA_ARGS__, NULL})

static void set(struct told *told, const char *const *patterns)
{
	size_t count = 0;
	char *copies[16] = {NULL};

	for (; patterns[count]; count++)
		copies[count] = strdup(patterns[count]);
	assert_int_equal(
		selection_set_patterns(told->selection, (const char *const *)copies, count), 0);
	while (count-- > 0) {
		memset(copies[count], 'x', strlen(copies[count])); /* they need not stay */
		free(copies[count]);
	}
}

/* What the old and the new patterns mean is not touched, whether by name or by glob. */
static void test_patterns(void **state)
{
	_cleanup_(told_clear) struct told told;
	struct target *a;

	(void)state;
	BEGIN(&told, "eth*", "wan0");
	say(&told, 1, "lo", NULL);
	say(&told, 2, "eth0", "uplink");
	say(&told, 3, "eth1", NULL);
	say(&told, 4, "wan0", NULL);
	expect(&told, "+eth0:2 +eth1:3 +wan0:4");
	a = selection_get(told.selection, selection_target(told.selection, 2)->index);
	SET(&told, "eth*", "wan0");
	SET(&told, "wan0", "wan0", "et*");
	expect(&told, "");
	assert_ptr_equal(selection_target(told.selection, 2), a);
	SET(&told, "wan*", "eth?");
	expect(&told, ""); /* from a name to a glob */
	SET(&told, "wan*", "eth0", "eth1");
	expect(&told, "eth0>eth0:2 eth1>eth1:3"); /* from a glob to names */
	SET(&told, "uplink", "lo");
	expect(&told, "+lo:1 eth0>uplink:2 -eth1:3 -wan0:4");
	assert_int_equal(selection_count(told.selection), 2);
	SET(&told, "uplink", "eth0", "e*");
	expect(&told, "-lo:1 +eth1:3"); /* who is meant by a name keeps it */
	SET(&told, "e*");
	expect(&told, "-eth0:0 ~eth0:2");
	say(&told, 3, "x", NULL);
	say(&told, 5, "eth5", NULL);
	expect(&told, "-eth1:3 +eth5:5"); /* the new patterns hold for what comes */
	set(&told, (const char *const[]){NULL});
	assert_int_equal(selection_count(told.selection), 0);
	assert_non_null(strstr(told.text, "-eth0:2"));
	assert_non_null(strstr(told.text, "-eth5:5"));
}

/* A name that nothing bears yet is waited for, and not when it is asked for no more. */
static void test_patterns_absent(void **state)
{
	_cleanup_(told_clear) struct told told;

	(void)state;
	BEGIN(&told, "a");
	SET(&told, "b", "c");
	expect(&told, "-a:0");
	assert_int_equal(selection_count(told.selection), 2);
	assert_string_equal(selection_pattern(told.selection, 1), "c");
	assert_null(selection_pattern(told.selection, 2));
	say(&told, 1, "a", "b");
	say(&told, 2, "c", NULL);
	expect(&told, "+b:1 +c:2");
	say(&told, 1, "a", NULL); /* without the alternative name, which is forgotten */
	SET(&told, "b", "c");
	expect(&told, "-b:1");
	say(&told, 1, "a", "d");
	SET(&told, "d");
	expect(&told, "-b:0 +d:1 -c:2");
}

/* A thousand changes at random against plain matching of each name. */
static void test_patterns_random(void **state)
{
	static const char *const all[] = {"a*", "b*", "*1", "a0",   "a1",
					  "b0", "b1", "c0", "alt0", "alt2"};
	static const char *const names[] = {"a0", "a1", "b0", "b1", "c0", "c1"};
	_cleanup_(told_clear) struct told told;
	uint32_t seed = 1;

	(void)state;
	BEGIN(&told, "a*");
	for (uint32_t n = 0; n < ARRAY_SIZE(names); n++) {
		char alt[8];

		snprintf(alt, sizeof(alt), "alt%u", n);
		say(&told, n + 1, names[n], alt);
	}
	for (int round = 0; round < 1000; round++) {
		const char *chosen[ARRAY_SIZE(all) + 1] = {NULL};
		size_t count = 0, named = 0, bound = 0;

		seed = seed * 1103515245 + 12345;
		for (size_t i = 0; i < ARRAY_SIZE(all); i++)
			if (seed >> (8 + i) & 1)
				chosen[count++] = all[i];
		told.text[0] = '\0';
		set(&told, chosen);
		for (uint32_t n = 0; n < ARRAY_SIZE(names); n++) {
			const struct target *t = selection_target(told.selection, n + 1);
			bool wanted = false;

			for (size_t i = 0; i < count; i++)
				wanted |= !strcmp(chosen[i], names[n]) ||
					  (chosen[i][0] == names[n][0] && chosen[i][1] == '*') ||
					  (chosen[i][0] == '*' && chosen[i][1] == names[n][1]) ||
					  (chosen[i][0] == 'a' && chosen[i][1] == 'l' &&
					   (uint32_t)(chosen[i][3] - '0') == n);
			assert_int_equal(wanted, t != NULL);
			bound += wanted;
			if (t)
				assert_ptr_equal(t, selection_get(told.selection, t->index));
		}
		for (size_t i = 0; i < selection_count(told.selection); i++)
			named += !selection_get(told.selection, i)->ifindex;
		assert_int_equal(selection_count(told.selection), bound + named);
	}
}

static struct nlmsghdr *link_message(char *buffer, uint16_t type, unsigned char family, bool whole)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(message, sizeof(*info));
	struct nlattr *nest;

	message->nlmsg_type = type;
	info->ifi_family = family;
	info->ifi_index = 70000;
	info->ifi_type = ARPHRD_ETHER;
	info->ifi_flags = IFF_UP;
	mnl_attr_put_strz(message, IFLA_IFNAME, "eth7");
	if (!whole)
		return message;
	mnl_attr_put_u32(message, IFLA_MTU, 9000);
	mnl_attr_put_u32(message, IFLA_MASTER, 11);
	mnl_attr_put_u32(message, IFLA_LINK, 12);
	nest = mnl_attr_nest_start(message, IFLA_PROP_LIST);
	mnl_attr_put_strz(message, IFLA_ALT_IFNAME, "enp7s0");
	mnl_attr_put_strz(message, IFLA_ALT_IFNAME, "uplink");
	mnl_attr_nest_end(message, nest);
	nest = mnl_attr_nest_start(message, IFLA_LINKINFO);
	mnl_attr_put_strz(message, IFLA_INFO_KIND, "vlan");
	mnl_attr_nest_end(message, nest);
	nest = mnl_attr_nest_start(message, IFLA_XDP);
	mnl_attr_put_u32(message, IFLA_XDP_PROG_ID, 13);
	mnl_attr_nest_end(message, nest);
	return message;
}

static void test_parse(void **state)
{
	char buffer[1024] __attribute__((aligned(8)));
	struct netdev_message m = {.dev.ifindex = 5};

	(void)state;
	/* A port leaves its bridge; a wireless event; something else. */
	assert_false(netdev_parse(link_message(buffer, RTM_DELLINK, AF_BRIDGE, true), &m));
	assert_false(netdev_parse(link_message(buffer, RTM_NEWLINK, AF_BRIDGE, true), &m));
	assert_false(netdev_parse(link_message(buffer, RTM_NEWLINK, AF_UNSPEC, false), &m));
	assert_false(netdev_parse(link_message(buffer, RTM_NEWADDR, AF_UNSPEC, true), &m));
	assert_int_equal(m.dev.ifindex, 5);
	assert_true(netdev_parse(link_message(buffer, RTM_DELLINK, AF_UNSPEC, false), &m));
	assert_true(m.gone);
	assert_int_equal(m.dev.ifindex, 70000);
	assert_true(netdev_parse(link_message(buffer, RTM_NEWLINK, AF_UNSPEC, true), &m));
	assert_false(m.gone);
	assert_string_equal(m.dev.name, "eth7");
	assert_string_equal(m.dev.kind, "vlan");
	assert_int_equal(m.dev.mtu, 9000);
	assert_int_equal(m.dev.master, 11);
	assert_int_equal(m.dev.link, 12);
	assert_int_equal(m.dev.xdp_prog, 13);
	assert_int_equal(m.dev.type, ARPHRD_ETHER);
	assert_true(m.dev.up);
	assert_int_equal(m.altname_count, 2);
	assert_string_equal(m.altnames[1], "uplink");
}

static void test_backoff(void **state)
{
	static const uint64_t delays[] = {5, 10, 20, 40, 60, 60};
	struct backoff b = {0};
	uint64_t now = 1000 * NSEC_PER_SEC;

	(void)state;
	assert_true(backoff_due(&b, 0));
	for (size_t i = 0; i < ARRAY_SIZE(delays); i++) {
		backoff_failed(&b, now);
		assert_false(backoff_due(&b, now + delays[i] * NSEC_PER_SEC - 1));
		now += delays[i] * NSEC_PER_SEC;
		assert_true(backoff_due(&b, now));
	}
	backoff_reset(&b);
	assert_true(backoff_due(&b, 0));
	backoff_failed(&b, now);
	assert_true(backoff_due(&b, now + 5 * NSEC_PER_SEC));
}

/* Changes of the interface bring the next try nearer, however many there are, but not to less than 5 s after the last. */
static void test_hurry(void **state)
{
	struct backoff b = {0};
	const uint64_t now = 1000 * NSEC_PER_SEC;

	(void)state;
	backoff_hurry(&b);
	assert_true(backoff_due(&b, 0));
	for (int i = 0; i < 4; i++)
		backoff_failed(&b, now);
	assert_false(backoff_due(&b, now + 39 * NSEC_PER_SEC));
	for (int i = 0; i < 3; i++)
		backoff_hurry(&b);
	assert_false(backoff_due(&b, now + 5 * NSEC_PER_SEC - 1));
	assert_true(backoff_due(&b, now + 5 * NSEC_PER_SEC));
	backoff_failed(&b, now); /* the delay goes on growing */
	assert_false(backoff_due(&b, now + 59 * NSEC_PER_SEC));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_glob),
		cmocka_unit_test(test_change),
		cmocka_unit_test(test_named),
		cmocka_unit_test(test_swap),
		cmocka_unit_test(test_once),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_vlan),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_backoff),
		cmocka_unit_test(test_hurry),
		cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_patterns_absent),
		cmocka_unit_test(test_patterns_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
