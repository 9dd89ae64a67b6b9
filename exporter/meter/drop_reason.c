/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/btf.h>
#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include "exporter/meter/drop_reason.h"

#define NAME_UNNAMED_MAX 11 /* 0x00030007 */

const struct drop_reason drop_reason_texts[] = {
#define DROP_REASON(symbol, symbol_class, status, text) \
	{.name = #symbol, \
	 .class = DROP_##symbol_class, \
	 .explanation = (text), \
	 .forwarding_status = DROP_STATUS_##status},
#include "exporter/meter/drop_reasons.def"
};
const unsigned int drop_reason_text_count = ARRAY_SIZE(drop_reason_texts);

static const char *const class_names[] = {
	[DROP_POLICY] = "policy",
	[DROP_CONGESTION] = "congestion",
	[DROP_NO_RECEIVER] = "no_receiver",
	[DROP_ROUTING] = "routing",
	[DROP_MALFORMED] = "malformed",
	[DROP_MEMORY] = "memory",
	[DROP_TCP_STATE] = "tcp_state",
	[DROP_BENIGN] = "benign",
	[DROP_OTHER] = "other",
};
_Static_assert(ARRAY_SIZE(class_names) == _DROP_CLASS_MAX, "a class without name");

/* A code that was seen but has no name. */
struct unnamed {
	struct unnamed *next;
	struct drop_reason reason;
	char name[NAME_UNNAMED_MAX];
};

struct drop_reasons {
	struct drop_reason *reasons; /* by code; they own their names */
	unsigned int count;
	_Atomic(struct unnamed *) unnamed; /* those that were asked for, in any thread */
};

static void btf_freep(struct btf **btf)
{
	btf__free(*btf);
}

static void closedirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* "SKB_DROP_REASON_NO_SOCKET" is NO_SOCKET, "SKB_CONSUMED" is CONSUMED: so does the kernel print them. */
static const char *short_name(const char *name)
{
	static const char *const prefixes[] = {"SKB_DROP_REASON_", "SKB_"};

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (strncasecmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return name + strlen(prefixes[i]);
	return name;
}

/* As given first: SKB_CSUM and its like begin so without a prefix. */
static bool is_name_of(const struct drop_reason *reason, const char *given)
{
	return strcasecmp(reason->name, given) == 0 ||
	       strcasecmp(reason->name, short_name(given)) == 0;
}

const struct drop_reason *drop_reason_text(const char *name)
{
	for (unsigned int i = 0; i < drop_reason_text_count; i++)
		if (is_name_of(&drop_reason_texts[i], name))
			return &drop_reason_texts[i];
	return NULL;
}

const char *drop_class_name(enum drop_class class)
{
	return class_names[class];
}

int drop_class_parse(enum drop_class *ret, const char *name)
{
	for (unsigned int i = 0; i < _DROP_CLASS_MAX; i++)
		if (strcasecmp(class_names[i], name) == 0) {
			*ret = (enum drop_class)i;
			return 0;
		}
	return -EINVAL;
}

static int compare_codes(const void *a, const void *b)
{
	const struct drop_reason *x = a, *y = b;

	return (x->code > y->code) - (x->code < y->code);
}

/* The first name of a code stays: modules may repeat enums of others. */
static int add_reason(struct drop_reasons *r, uint32_t code, const char *name)
{
	const struct drop_reason *text = drop_reason_text(name);
	struct drop_reason *grown;
	char *own;

	for (unsigned int i = 0; i < r->count; i++)
		if (r->reasons[i].code == code)
			return 0;
	grown = reallocarray(r->reasons, r->count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	r->reasons = grown;
	own = strdup(name);
	if (!own)
		return -ENOMEM;
	grown[r->count] = (struct drop_reason){
		.code = code,
		.name = own,
		.class = text ? text->class : DROP_OTHER,
		.explanation = text ? text->explanation
				    : "New to flowtally; perf trace -e skb:kfree_skb shows "
				      "where it was dropped",
		.forwarding_status = text ? text->forwarding_status : DROP_STATUS_UNKNOWN,
	};
	r->count++;
	return 0;
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);

	return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/*
 * The enumerators of subsystems first ... last that are reasons: not the bounds, which begin with an
 * underscore or end with MAX, nor, being of no such subsystem, masks and what enums borrow from others.
 */
static int add_enum(struct drop_reasons *r, const struct btf *btf, const struct btf_type *type,
		    uint32_t first, uint32_t last)
{
	const struct btf_enum *e = btf_enum(type);

	for (unsigned int i = 0; i < btf_vlen(type); i++, e++) {
		const char *name = btf__name_by_offset(btf, e->name_off);
		uint32_t code = (uint32_t)e->val;
		int err;

		if (!name || name[0] == '_' || ends_with(name, "_MAX") || code >> 16 < first ||
		    code >> 16 > last)
			continue;
		err = add_reason(r, code, short_name(name));
		if (err)
			return err;
	}
	return 0;
}

/* From `id` on: enums of subsystems are called ovs_drop_reason, mac80211_drop_reason ... */
static int add_subsystems(struct drop_reasons *r, const struct btf *btf, uint32_t id, uint32_t last)
{
	for (; id < btf__type_cnt(btf); id++) {
		const struct btf_type *type = btf__type_by_id(btf, id);
		const char *name;
		int err;

		if (!btf_is_enum(type))
			continue;
		name = btf__name_by_offset(btf, type->name_off);
		if (!name || !ends_with(name, "_drop_reason"))
			continue;
		err = add_enum(r, btf, type, 1, last);
		if (err)
			return err;
	}
	return 0;
}

/* The number of the last subsystem: the enum's greatest value is their count.  0 before kernel 6.4. */
static uint32_t last_subsystem(const struct btf *btf)
{
	int id = btf__find_by_name_kind(btf, "skb_drop_reason_subsys", BTF_KIND_ENUM);
	const struct btf_type *type;
	uint32_t count = 1;

	if (id < 0)
		return 0;
	type = btf__type_by_id(btf, (uint32_t)id);
	for (unsigned int i = 0; i < btf_vlen(type); i++)
		count = MAX(count, (uint32_t)btf_enum(type)[i].val);
	return count - 1;
}

/* A module whose BTF cannot be read has codes without names. */
static int add_modules(struct drop_reasons *r, const char *dir_path, struct btf *vmlinux,
		       uint32_t last)
{
	_cleanup_(closedirp) DIR *dir = opendir(dir_path);
	const struct dirent *entry;
	int err = 0;

	while (dir && !err && (entry = readdir(dir))) {
		_cleanup_(btf_freep) struct btf *btf = NULL;
		_cleanup_(freep) char *path = NULL;

		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "vmlinux") == 0)
			continue;
		if (asprintf(&path, "%s/%s", dir_path, entry->d_name) < 0) {
			path = NULL; /* undefined on failure */
			return -ENOMEM;
		}
		btf = btf__parse_split(path, vmlinux);
		if (btf)
			err = add_subsystems(r, btf, btf__type_cnt(vmlinux), last);
	}
	return err;
}

static int read_btf(struct drop_reasons *r, const char *dir)
{
	_cleanup_(btf_freep) struct btf *btf = NULL;
	_cleanup_(freep) char *path = NULL;
	uint32_t last;
	int id, err;

	if (asprintf(&path, "%s/vmlinux", dir) < 0) {
		path = NULL; /* undefined on failure */
		return -ENOMEM;
	}
	btf = btf__parse(path, NULL);
	if (!btf)
		return errno == ENOMEM ? -ENOMEM : 0;
	id = btf__find_by_name_kind(btf, "skb_drop_reason", BTF_KIND_ENUM);
	if (id < 0)
		return 0;
	err = add_enum(r, btf, btf__type_by_id(btf, (uint32_t)id), 0, 0);
	last = last_subsystem(btf);
	if (err || !last)
		return err;
	err = add_subsystems(r, btf, 1, last);
	return err ?: add_modules(r, dir, btf, last);
}

int drop_reasons_new(struct drop_reasons **ret, const char *btf_dir)
{
	_cleanup_(drop_reasons_freep) struct drop_reasons *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	err = read_btf(r, btf_dir ?: "/sys/kernel/btf");
	if (err)
		return err;
	if (r->count)
		qsort(r->reasons, r->count, sizeof(*r->reasons), compare_codes);
	*ret = TAKE_PTR(r);
	return 0;
}

struct drop_reasons *drop_reasons_free(struct drop_reasons *r)
{
	if (!r)
		return NULL;
	for (unsigned int i = 0; i < r->count; i++)
		free((char *)r->reasons[i].name);
	free(r->reasons);
	for (struct unnamed *u = atomic_load(&r->unnamed), *next; u; u = next) {
		next = u->next;
		free(u);
	}
	free(r);
	return NULL;
}

bool drop_reasons_named(const struct drop_reasons *r)
{
	return r->count > 0;
}

static const struct drop_reason *get_unnamed(struct drop_reasons *r, uint32_t code)
{
	static const struct drop_reason any = {
		.code = UINT32_MAX,
		.name = "0xffffffff",
		.class = DROP_OTHER,
		.explanation = "No memory to tell which",
		.forwarding_status = DROP_STATUS_UNKNOWN,
	};
	struct unnamed *u;

	for (u = atomic_load(&r->unnamed); u; u = u->next)
		if (u->reason.code == code)
			return &u->reason;
	u = calloc(1, sizeof(*u));
	if (!u)
		return &any;
	snprintf(u->name, sizeof(u->name), "0x%08x", code);
	u->reason = any;
	u->reason.code = code;
	u->reason.name = u->name;
	u->reason.explanation = "The kernel's BTF has no name for this code; was its module loaded "
				"after the start?";
	/* two threads at once may add the same, which does no harm */
	u->next = atomic_load(&r->unnamed);
	while (!atomic_compare_exchange_weak(&r->unnamed, &u->next, u))
		;
	return &u->reason;
}

const struct drop_reason *drop_reasons_get(struct drop_reasons *r, uint32_t code)
{
	const struct drop_reason key = {.code = code}, *found = NULL;

	if (r->count)
		found = bsearch(&key, r->reasons, r->count, sizeof(key), compare_codes);
	return found ?: get_unnamed(r, code);
}

/* Exactly as get_unnamed() writes it, but for the letters' case. */
static bool parse_digits(const char *name, uint32_t *ret)
{
	char again[NAME_UNNAMED_MAX];
	uint32_t code = (uint32_t)strtoul(name, NULL, 16);

	snprintf(again, sizeof(again), "0x%08x", code);
	if (strcasecmp(name, again) != 0)
		return false;
	*ret = code;
	return true;
}

const struct drop_reason *drop_reasons_find(struct drop_reasons *r, const char *name)
{
	uint32_t code;

	for (unsigned int i = 0; i < r->count; i++)
		if (is_name_of(&r->reasons[i], name))
			return &r->reasons[i];
	return parse_digits(name, &code) ? drop_reasons_get(r, code) : NULL;
}

unsigned int drop_reasons_count(const struct drop_reasons *r)
{
	return r->count;
}

const struct drop_reason *drop_reasons_at(const struct drop_reasons *r, unsigned int i)
{
	return &r->reasons[i];
}
