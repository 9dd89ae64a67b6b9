/* SPDX-License-Identifier: Apache-2.0 */
/* Drop reasons: the table, and names and codes as BTF made here, and the running kernel's, have them. */
#include <bpf/btf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "exporter/meter/drop_reason.h"
#include "xdp/flow.h"

#define KERNEL_BTF "/sys/kernel/btf/vmlinux"

struct enumerator {
	const char *name;
	uint32_t value;
};

/* A directory like /sys/kernel/btf. */
struct kernel {
	char dir[32];
	struct btf *vmlinux;
};

static const struct enumerator subsystems[] = {
	{"SKB_DROP_REASON_SUBSYS_CORE", 0}, {"SKB_DROP_REASON_SUBSYS_OPENVSWITCH", 1},
	{"SKB_DROP_REASON_SUBSYS_NEW", 2},  {"SKB_DROP_REASON_SUBSYS_MAC80211_UNUSABLE", 3},
	{"SKB_DROP_REASON_SUBSYS_NUM", 4},  {},
};
static const struct enumerator core[] = {
	{"SKB_NOT_DROPPED_YET", 0},
	{"SKB_DROP_REASON_NETFILTER_DROP", 2},
	{"SKB_DROP_REASON_FROM_THE_FUTURE", 3},
	{"SKB_DROP_REASON_NO_SOCKET", 9},
	{"SKB_DROP_REASON_SKB_CSUM", 7},
	{"SKB_CONSUMED", 5},
	{"SKB_DROP_REASON_MAX", 10},
	{"SKB_DROP_REASON_SUBSYS_MASK", 0xffff0000},
	{},
};
static const struct enumerator ovs[] = {
	{"__OVS_DROP_REASON", 0x10000},
	{"OVS_DROP_METER", 0x10001},
	{"OVS_DROP_MAX", 0x10002},
	{},
};
static const struct enumerator mac80211[] = {
	{"RX_CONTINUE", 4}, {"RX_QUEUED", 0}, {"RX_DROP", 0x30000}, {"RX_DROP_U_OOM", 0x30009}, {},
};
static const struct enumerator foreign[] = {{"A_DROP", 0x20003}, {"B_DROP", 0x40001}, {}};

static void add_enum(struct btf *btf, const char *name, const struct enumerator *e)
{
	assert_true(btf__add_enum(btf, name, 4) > 0);
	for (; e->name; e++)
		assert_int_equal(btf__add_enum_value(btf, e->name, (int32_t)e->value), 0);
}

static void write_file(const struct kernel *k, const char *name, const void *data, size_t size)
{
	_cleanup_(fclosep) FILE *file = NULL;
	char path[64];

	snprintf(path, sizeof(path), "%s/%s", k->dir, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, size, file), size);
}

static void write_btf(const struct kernel *k, const char *name, const struct btf *btf)
{
	uint32_t size;
	const void *data = btf__raw_data(btf, &size);

	assert_non_null(data);
	write_file(k, name, data, size);
}

static void write_module(const struct kernel *k, const char *name, const char *enum_name,
			 const struct enumerator *e)
{
	struct btf *btf = btf__new_empty_split(k->vmlinux);

	assert_non_null(btf);
	add_enum(btf, enum_name, e);
	write_btf(k, name, btf);
	btf__free(btf);
}

static struct kernel kernel_new(void)
{
	struct kernel k = {.dir = "/tmp/test_drop_reason.XXXXXX", .vmlinux = btf__new_empty()};

	assert_non_null(mkdtemp(k.dir));
	assert_non_null(k.vmlinux);
	/* Enums that are none of ours come first. */
	add_enum(k.vmlinux, "sk_rst_reason", (struct enumerator[]){{"SK_RST_REASON_X", 0}, {}});
	return k;
}

/* What drop_reasons_new() makes of it; the directory is gone then. */
static struct drop_reasons *kernel_read(struct kernel *k)
{
	static const char *const files[] = {"vmlinux", "openvswitch", "mac80211", "broken"};
	struct drop_reasons *reasons = NULL;
	char path[64];

	write_btf(k, "vmlinux", k->vmlinux);
	assert_int_equal(drop_reasons_new(&reasons, k->dir), 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", k->dir, files[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(k->dir), 0);
	btf__free(k->vmlinux);
	return reasons;
}

static void expect(const struct drop_reason *reason, uint32_t code, const char *name,
		   enum drop_class class, uint8_t status)
{
	assert_non_null(reason);
	assert_int_equal(reason->code, code);
	assert_string_equal(reason->name, name);
	assert_string_equal(drop_class_name(reason->class), drop_class_name(class));
	assert_int_equal(reason->forwarding_status, status);
	assert_true(strlen(reason->explanation) > 0 && strlen(reason->explanation) <= 100);
}

static bool status_fits(enum drop_class class, uint8_t status)
{
	static const uint8_t allowed[_DROP_CLASS_MAX][8] = {
		[DROP_POLICY] = {130, 137, 138},
		[DROP_CONGESTION] = {128, 139, 141},
		[DROP_NO_RECEIVER] = {141},
		[DROP_ROUTING] = {128, 131, 132, 133, 137, 140},
		[DROP_MALFORMED] = {128, 134, 135, 136, 137},
		[DROP_MEMORY] = {128, 141},
		[DROP_TCP_STATE] = {141},
		[DROP_BENIGN] = {128, 141, 192},
		[DROP_OTHER] = {128, 142},
	};

	return memchr(allowed[class], status, sizeof(allowed[class])) && status != 0;
}

static void test_table(void **state)
{
	(void)state;
	assert_true(drop_reason_text_count > 150);
	for (unsigned int i = 0; i < drop_reason_text_count; i++) {
		const struct drop_reason *reason = &drop_reason_texts[i];

		/* Of duplicates the later one would not be found. */
		assert_ptr_equal(drop_reason_text(reason->name), reason);
		expect(reason, 0, reason->name, reason->class, reason->forwarding_status);
		if (strpbrk(reason->explanation, "\n|") ||
		    !status_fits(reason->class, reason->forwarding_status))
			fail_msg("%s: status %u, '%s'", reason->name, reason->forwarding_status,
				 reason->explanation);
		assert_int_equal(drop_reason_is_drop(reason),
				 strcmp(reason->name, "CONSUMED") != 0);
	}
	expect(drop_reason_text("NETFILTER_DROP"), 0, "NETFILTER_DROP", DROP_POLICY, 130);
	expect(drop_reason_text("no_socket"), 0, "NO_SOCKET", DROP_NO_RECEIVER, 141);
	expect(drop_reason_text("SKB_DROP_REASON_QDISC_DROP"), 0, "QDISC_DROP", DROP_CONGESTION,
	       128);
	expect(drop_reason_text("SKB_CSUM"), 0, "SKB_CSUM", DROP_MALFORMED, 134);
	expect(drop_reason_text("skb_consumed"), 0, "CONSUMED", DROP_BENIGN, 192);
	expect(drop_reason_text("IP_RPFILTER"), 0, "IP_RPFILTER", DROP_ROUTING, 140);
	assert_null(drop_reason_text("NO_SOCKE"));
	assert_null(drop_reason_text(""));
}

static void test_class(void **state)
{
	static const char *const names[] = {"policy",	 "congestion", "no_receiver",
					    "routing",	 "malformed",  "memory",
					    "tcp_state", "benign",     "other"};

	(void)state;
	assert_int_equal(ARRAY_SIZE(names), _DROP_CLASS_MAX);
	for (unsigned int i = 0; i < _DROP_CLASS_MAX; i++) {
		enum drop_class class = _DROP_CLASS_MAX;

		assert_string_equal(drop_class_name((enum drop_class)i), names[i]);
		assert_int_equal(drop_class_parse(&class, names[i]), 0);
		assert_int_equal(class, i);
		assert_int_equal(drop_class_parse(&class, "polic"), -EINVAL);
		assert_int_equal(class, i);
	}
}

static void test_pack(void **state)
{
	(void)state;
	assert_int_equal(drop_reason_pack(2), 2);
	assert_int_equal(drop_reason_pack(0x20007), 0x207);
	assert_int_equal(drop_reason_unpack(0x207), 0x20007);
	assert_int_equal(drop_reason_pack(0x700fe), 0x7fe);
	assert_int_equal(drop_reason_pack(0x100), DROP_REASON_OTHER);
	assert_int_equal(drop_reason_pack(0x80000), DROP_REASON_OTHER);
	assert_int_equal(drop_reason_pack(0xffffffff), DROP_REASON_OTHER);
	for (unsigned int i = 0; i < DROP_REASON_MAX; i++)
		assert_int_equal(drop_reason_pack(drop_reason_unpack((uint16_t)i)), i);
}

/* Another order of codes, no subsystems: what modules say is of none. */
static void test_old_kernel(void **state)
{
	struct kernel k = kernel_new();
	_cleanup_(drop_reasons_freep) struct drop_reasons *r = NULL;

	(void)state;
	add_enum(k.vmlinux, "skb_drop_reason", core);
	write_module(&k, "openvswitch", "ovs_drop_reason", ovs);
	r = kernel_read(&k);
	assert_true(drop_reasons_named(r));
	assert_int_equal(drop_reasons_count(r), 6);
	for (unsigned int i = 1; i < drop_reasons_count(r); i++)
		assert_true(drop_reasons_at(r, i - 1)->code < drop_reasons_at(r, i)->code);
	expect(drop_reasons_get(r, 0), 0, "NOT_DROPPED_YET", DROP_OTHER, 128);
	expect(drop_reasons_get(r, 2), 2, "NETFILTER_DROP", DROP_POLICY, 130);
	expect(drop_reasons_get(r, 3), 3, "FROM_THE_FUTURE", DROP_OTHER, 128);
	expect(drop_reasons_get(r, 5), 5, "CONSUMED", DROP_BENIGN, 192);
	expect(drop_reasons_get(r, 7), 7, "SKB_CSUM", DROP_MALFORMED, 134);
	expect(drop_reasons_get(r, 9), 9, "NO_SOCKET", DROP_NO_RECEIVER, 141);
	expect(drop_reasons_get(r, 10), 10, "0x0000000a", DROP_OTHER, 128);
	expect(drop_reasons_get(r, 0x10001), 0x10001, "0x00010001", DROP_OTHER, 128);
	assert_false(drop_reason_is_drop(drop_reasons_get(r, 5)));
	assert_true(drop_reason_is_drop(drop_reasons_get(r, 10)));
}

static void test_subsystems(void **state)
{
	struct kernel k = kernel_new();
	_cleanup_(drop_reasons_freep) struct drop_reasons *r = NULL;

	(void)state;
	add_enum(k.vmlinux, "skb_drop_reason_subsys", subsystems);
	add_enum(k.vmlinux, "skb_drop_reason", core);
	add_enum(k.vmlinux, "new_drop_reason", foreign);
	write_module(&k, "openvswitch", "ovs_drop_reason", ovs);
	write_module(&k, "mac80211", "mac80211_drop_reason", mac80211);
	write_file(&k, "broken", "not BTF", 7);
	r = kernel_read(&k);
	assert_int_equal(drop_reasons_count(r), 6 + 1 + 1 + 2);
	expect(drop_reasons_get(r, 0), 0, "NOT_DROPPED_YET", DROP_OTHER, 128);
	expect(drop_reasons_get(r, 5), 5, "CONSUMED", DROP_BENIGN, 192);
	expect(drop_reasons_get(r, 4), 4, "0x00000004", DROP_OTHER, 128);
	expect(drop_reasons_get(r, 0x10000), 0x10000, "0x00010000", DROP_OTHER, 128);
	expect(drop_reasons_get(r, 0x10001), 0x10001, "OVS_DROP_METER", DROP_POLICY, 138);
	expect(drop_reasons_get(r, 0x10002), 0x10002, "0x00010002", DROP_OTHER, 128);
	expect(drop_reasons_get(r, 0x20003), 0x20003, "A_DROP", DROP_OTHER, 128);
	expect(drop_reasons_get(r, 0x30000), 0x30000, "RX_DROP", DROP_OTHER, 128);
	expect(drop_reasons_get(r, 0x30009), 0x30009, "RX_DROP_U_OOM", DROP_MEMORY, 128);
	expect(drop_reasons_get(r, 0x40001), 0x40001, "0x00040001", DROP_OTHER, 128);
	expect(drop_reasons_at(r, 9), 0x30009, "RX_DROP_U_OOM", DROP_MEMORY, 128);
}

static void test_find(void **state)
{
	struct kernel k = kernel_new();
	_cleanup_(drop_reasons_freep) struct drop_reasons *r = NULL;
	const struct drop_reason *unnamed;

	(void)state;
	add_enum(k.vmlinux, "skb_drop_reason", core);
	r = kernel_read(&k);
	assert_ptr_equal(drop_reasons_find(r, "NO_SOCKET"), drop_reasons_get(r, 9));
	assert_ptr_equal(drop_reasons_find(r, "no_Socket"), drop_reasons_get(r, 9));
	assert_ptr_equal(drop_reasons_find(r, "SKB_DROP_REASON_NO_SOCKET"), drop_reasons_get(r, 9));
	assert_ptr_equal(drop_reasons_find(r, "SKB_CONSUMED"), drop_reasons_get(r, 5));
	assert_ptr_equal(drop_reasons_find(r, "SKB_CSUM"), drop_reasons_get(r, 7));
	assert_ptr_equal(drop_reasons_find(r, "from_the_future"), drop_reasons_get(r, 3));
	assert_ptr_equal(drop_reasons_find(r, "0x00000009"), drop_reasons_get(r, 9));
	/* In the table, but not of this kernel. */
	assert_non_null(drop_reason_text("QDISC_DROP"));
	assert_null(drop_reasons_find(r, "QDISC_DROP"));
	assert_null(drop_reasons_find(r, "NO"));
	assert_null(drop_reasons_find(r, ""));
	assert_null(drop_reasons_find(r, "0x9"));
	assert_null(drop_reasons_find(r, "0x00000009x"));
	unnamed = drop_reasons_get(r, 0xABCD);
	assert_string_equal(unnamed->name, "0x0000abcd");
	drop_reasons_get(r, 0xABCE);
	assert_ptr_equal(drop_reasons_find(r, "0x0000ABCD"), unnamed);
	assert_ptr_equal(drop_reasons_get(r, 0xABCD), unnamed);
}

static void expect_nameless(struct drop_reasons *r)
{
	assert_false(drop_reasons_named(r));
	assert_int_equal(drop_reasons_count(r), 0);
	expect(drop_reasons_get(r, 2), 2, "0x00000002", DROP_OTHER, 128);
	expect(drop_reasons_get(r, 0x30007), 0x30007, "0x00030007", DROP_OTHER, 128);
	assert_null(drop_reasons_find(r, "NO_SOCKET"));
}

static void test_no_names(void **state)
{
	struct kernel without_enum = kernel_new();
	_cleanup_(drop_reasons_freep) struct drop_reasons *a = kernel_read(&without_enum);
	_cleanup_(drop_reasons_freep) struct drop_reasons *b = NULL;

	(void)state;
	expect_nameless(a);
	assert_int_equal(drop_reasons_new(&b, "/nonexistent"), 0);
	expect_nameless(b);
}

/* The table has every reason of the kernel this runs on, and its codes are found. */
static void test_running_kernel(void **state)
{
	_cleanup_(drop_reasons_freep) struct drop_reasons *r = NULL;
	struct btf *btf = btf__parse(KERNEL_BTF, NULL);
	const struct btf_type *type;
	unsigned int missing = 0;
	int id;

	(void)state;
	assert_non_null(btf);
	id = btf__find_by_name(btf, "skb_drop_reason");
	assert_true(id > 0);
	type = btf__type_by_id(btf, (uint32_t)id);
	assert_int_equal(drop_reasons_new(&r, NULL), 0);
	assert_true(drop_reasons_named(r));
	for (unsigned int i = 0; i < btf_vlen(type); i++) {
		const struct btf_enum *e = &btf_enum(type)[i];
		const char *name = btf__name_by_offset(btf, e->name_off);

		if (strcmp(name, "SKB_DROP_REASON_MAX") == 0 ||
		    strcmp(name, "SKB_DROP_REASON_SUBSYS_MASK") == 0)
			continue;
		if (!drop_reason_text(name)) {
			print_error("not in drop_reasons.def: %s\n", name);
			missing++;
		}
		assert_ptr_equal(drop_reasons_find(r, name), drop_reasons_get(r, (uint32_t)e->val));
	}
	btf__free(btf);
	assert_int_equal(missing, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),	   cmocka_unit_test(test_class),
		cmocka_unit_test(test_pack),	   cmocka_unit_test(test_old_kernel),
		cmocka_unit_test(test_subsystems), cmocka_unit_test(test_find),
		cmocka_unit_test(test_no_names),   cmocka_unit_test(test_running_kernel),
	};
	size_t count = ARRAY_SIZE(tests);

	if (access(KERNEL_BTF, R_OK) != 0) {
		print_message("# no %s: the running kernel's reasons are not tested\n", KERNEL_BTF);
		count--;
	}
	return _cmocka_run_group_tests("drop_reason", tests, count, NULL, NULL);
}
