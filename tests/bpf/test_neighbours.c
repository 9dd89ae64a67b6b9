/* SPDX-License-Identifier: Apache-2.0 */
/* Programs on the hooks of one interface, asked for on a node with many: what the kernel has to tell is of that one alone. */
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>
#include "exporter/cli/neighbours.h"
#include "exporter/meter/hook.h"
#include "exporter/meter/netdev.h"
#include "tests/bpf/run.h"

#define OCTETS 8192 /* more than the kernel tells of one interface and its filters */

static size_t received; /* octets, by all that this program asks the kernel by netlink */

/* In place of libc's, for libraries too. */
ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	const ssize_t n = syscall(SYS_recvmsg, fd, message, flags);

	if (n > 0 && !(flags & MSG_PEEK))
		received += (size_t)n;
	return n;
}

static void run_command(const char *command)
{
	assert_int_equal(system(command), 0);
}

static int open_many(_unused_ void **state)
{
	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	run_command("for i in $(seq 1 100); do echo link add d$i type veth peer name p$i; done | "
		    "ip -batch -");
	return 0;
}

static void test_find(_unused_ void **state)
{
	const uint32_t ifindex = if_nametoindex("d50");
	struct netdev dev = {.mtu = 7};

	run_command("ip link set d50 mtu 1400");
	assert_int_equal(netdev_find(ifindex, &dev), 0);
	assert_int_equal(dev.ifindex, ifindex);
	assert_string_equal(dev.name, "d50");
	assert_string_equal(dev.kind, "veth");
	assert_int_equal(dev.mtu, 1400);
	assert_int_equal(dev.link, if_nametoindex("p50"));
	dev.mtu = 7;
	assert_int_equal(netdev_find(0, &dev), -ENODEV);
	assert_int_equal(netdev_find(999999, &dev), -ENODEV);
	assert_int_equal(dev.mtu, 7);
}

static void test_one(_unused_ void **state)
{
	_cleanup_(datapath_freep) struct datapath *datapath = run_open(65536);
	const uint32_t ifindex = if_nametoindex("d50");
	struct hook hook = HOOK_INIT;
	json_t *list;

	assert_int_equal(hook_attach_xdp(&hook, datapath, ifindex), 0);
	received = 0;
	list = neighbours_json(ifindex, DIRECTION_INGRESS);
	assert_in_range(received, 1, OCTETS);
	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "hook")),
			    "xdp");
	assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "name")),
			    "flowtally_xdp");
	json_decref(list);
	hook_detach(&hook);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_one),
	};

	run_require();
	return cmocka_run_group_tests_name("neighbours", tests, open_many, NULL);
}
