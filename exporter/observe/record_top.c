/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include "exporter/observe/ledger.h"
#include "exporter/observe/record_top.h"
#include "exporter/observe/text.h"
#include "exporter/value.h"

#define NOWHERE UINT32_MAX

enum top_part {
	PART_SRC,
	PART_DST,
	PART_SRC_PORT,
	PART_DST_PORT,
	PART_PROTOCOL,
	PART_INTERFACE,
	PART_DIRECTION,
	PART_VLAN,
	PART_TOS,
	PART_END,
	PART_REASON,
	PART_CLASS,
	PART_SERVICE,
	PART_HOST,
	PART_PORT,
};

static const char *const names[] = {
	[PART_SRC] = "src",	    [PART_DST] = "dst",	       [PART_SRC_PORT] = "sport",
	[PART_DST_PORT] = "dport",  [PART_PROTOCOL] = "proto", [PART_INTERFACE] = "iface",
	[PART_DIRECTION] = "dir",   [PART_VLAN] = "vlan",      [PART_TOS] = "tos",
	[PART_END] = "end",	    [PART_REASON] = "reason",  [PART_CLASS] = "class",
	[PART_SERVICE] = "service", [PART_HOST] = "host",      [PART_PORT] = "port",
};
static const char *const sums[_TOP_BY_MAX] = {
	[TOP_BY_OCTETS] = "octets",
	[TOP_BY_PACKETS] = "packets",
	[TOP_BY_FLOWS] = "flows",
};

struct record_top {
	enum top_part parts[TOP_KEYS_MAX];
	unsigned int part_count;
	bool by_end; /* host or port is among them */
	enum top_by by;
	uint32_t size, count;
	uint32_t *buckets; /* `size` of them: the first row of each */
	struct top_row *rows;
	struct top_row **order;
	struct top_sums others, others_recent, total, total_recent;
};

static bool has_part(const struct record_top *t, enum top_part part)
{
	for (unsigned int i = 0; i < t->part_count; i++)
		if (t->parts[i] == part)
			return true;
	return false;
}

static int read_part(struct record_top *t, const char *name, char error[TOP_ERROR_MAX])
{
	struct value_guess guess = {0};
	char hint[VALUE_HINT_MAX];

	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++) {
		value_guess_offer(&guess, name, names[i]);
		if (strcmp(names[i], name) != 0)
			continue;
		if (has_part(t, (enum top_part)i)) {
			snprintf(error, TOP_ERROR_MAX, "%s is there twice", name);
			return -EINVAL;
		}
		if (t->part_count == TOP_KEYS_MAX) {
			snprintf(error, TOP_ERROR_MAX, "more than %d keys", TOP_KEYS_MAX);
			return -EINVAL;
		}
		t->parts[t->part_count++] = (enum top_part)i;
		t->by_end |= i == PART_HOST || i == PART_PORT;
		return 0;
	}
	snprintf(error, TOP_ERROR_MAX,
		 "'%.40s': src, dst, sport, dport, proto, iface, dir, vlan, tos, end, reason, "
		 "class, service, host or port is allowed%s",
		 name, value_guess_hint(&guess, hint));
	text_make_printable(error);
	return -EINVAL;
}

static int read_parts(struct record_top *t, const char *keys, char error[TOP_ERROR_MAX])
{
	_cleanup_(freep) char *copy = strdup(keys);
	char *rest = copy, *word;
	int r = 0;

	if (!copy)
		return -ENOMEM;
	while (r == 0 && (word = strsep(&rest, ",")))
		r = read_part(t, word, error);
	return r;
}

int record_top_new(struct record_top **ret, const char *keys, enum top_by by, uint32_t rows,
		   char error[TOP_ERROR_MAX])
{
	_cleanup_(record_top_freep) struct record_top *t = calloc(1, sizeof(*t));
	int r;

	error[0] = '\0';
	if (!t)
		return -ENOMEM;
	r = read_parts(t, keys, error);
	if (r < 0)
		return r;
	t->by = by;
	t->size = MAX(rows, (uint32_t)TOP_ROWS_MIN);
	t->buckets = malloc(t->size * sizeof(*t->buckets));
	t->rows = calloc(t->size, sizeof(*t->rows));
	t->order = calloc(t->size, sizeof(*t->order));
	if (!t->buckets || !t->rows || !t->order)
		return -ENOMEM;
	memset(t->buckets, 0xff, t->size * sizeof(*t->buckets));
	*ret = TAKE_PTR(t);
	return 0;
}

struct record_top *record_top_free(struct record_top *t)
{
	if (!t)
		return NULL;
	free(t->buckets);
	free(t->rows);
	free(t->order);
	free(t);
	return NULL;
}

int record_top_by_parse(const char *name)
{
	for (int i = 0; i < _TOP_BY_MAX; i++)
		if (strcmp(sums[i], name) == 0)
			return i;
	return strcmp(name, "bytes") ? -1 : TOP_BY_OCTETS; /* as filters know it */
}

bool record_top_asks_drops(const struct record_top *t)
{
	for (unsigned int i = 0; i < t->part_count; i++)
		if (t->parts[i] == PART_REASON || t->parts[i] == PART_CLASS)
			return true;
	return false;
}

/* --- What of a record makes its row. */

static bool take_address(struct top_key *key, const struct record_view *v, const uint8_t *address,
			 uint8_t *to)
{
	if (!(v->parts & VIEW_ADDRESSES))
		return false;
	key->ip_version = v->ip_version;
	memcpy(to, address, 16);
	return true;
}

static bool take_port(const struct record_view *v, uint16_t port, uint16_t *to)
{
	if (!(v->parts & VIEW_PORTS))
		return false;
	*to = port;
	return true;
}

/* Of ICMP the type and code stand where the port of the destination does, as in NetFlow. */
static bool take_icmp(struct top_key *key, const struct record_view *v, uint16_t *to)
{
	if (!(v->parts & VIEW_ICMP))
		return false;
	key->icmp = true;
	*to = (uint16_t)(v->icmp_type << 8 | v->icmp_code);
	return true;
}

static bool take_octet(const struct record_view *v, unsigned int part, uint8_t octet, uint8_t *to)
{
	if (!(v->parts & part))
		return false;
	*to = octet;
	return true;
}

static bool take_name(const char *name, char to[VIEW_NAME_MAX])
{
	/* Not what may stand behind its end: keys are compared as octets. */
	snprintf(to, VIEW_NAME_MAX, "%s", name);
	return *to;
}

static bool take_interface(struct top_key *key, const struct record_view *v)
{
	key->ifindex = v->ifindex;
	return take_name(v->interface, key->interface) || v->ifindex;
}

static bool take_service(struct top_key *key, const struct record_view *v)
{
	uint16_t port = record_view_service(v->src_port, v->dst_port, v->tcp_flags, v->packets);

	return take_octet(v, VIEW_PROTOCOL, v->protocol, &key->protocol) &&
	       (take_port(v, port, &key->service) || take_icmp(key, v, &key->service));
}

static bool take(struct top_key *key, enum top_part part, const struct record_view *v, bool second)
{
	switch (part) {
	case PART_SRC:
		return take_address(key, v, v->src, key->src);
	case PART_DST:
		return take_address(key, v, v->dst, key->dst);
	case PART_HOST:
		return take_address(key, v, second ? v->dst : v->src, key->host);
	case PART_SRC_PORT:
		return take_port(v, v->src_port, &key->src_port);
	case PART_DST_PORT:
		return take_port(v, v->dst_port, &key->dst_port) ||
		       take_icmp(key, v, &key->dst_port);
	case PART_PORT:
		return take_port(v, second ? v->dst_port : v->src_port, &key->port);
	case PART_PROTOCOL:
		return take_octet(v, VIEW_PROTOCOL, v->protocol, &key->protocol);
	case PART_DIRECTION:
		return take_octet(v, VIEW_DIRECTION, v->direction, &key->direction);
	case PART_TOS:
		return take_octet(v, VIEW_TOS, v->tos, &key->tos);
	case PART_END:
		return take_octet(v, VIEW_END_REASON, v->end_reason, &key->end_reason);
	case PART_INTERFACE:
		return take_interface(key, v);
	case PART_VLAN:
		key->vlan = v->vlan;
		return v->vlan;
	case PART_REASON:
		return take_name(v->drop_reason, key->drop_reason);
	case PART_CLASS:
		return take_name(v->drop_class, key->drop_class);
	case PART_SERVICE:
		return take_service(key, v);
	}
	return false;
}

static void make_key(struct top_key *key, const struct record_top *t, const struct record_view *v,
		     bool second)
{
	memset(key, 0, sizeof(*key));
	for (unsigned int i = 0; i < t->part_count; i++)
		if (take(key, t->parts[i], v, second))
			key->known |= (uint8_t)(1u << i);
}

/* --- Rows. */

static uint32_t *find_bucket(const struct record_top *t, const struct top_key *key)
{
	return &t->buckets[XXH3_64bits(key, sizeof(*key)) % t->size];
}

static void add_sums(struct top_sums *to, const struct top_sums *more)
{
	to->octets += more->octets;
	to->packets += more->packets;
	to->flows += more->flows;
}

static uint64_t sum_of(const struct top_sums *sums_of, enum top_by by)
{
	return by == TOP_BY_OCTETS    ? sums_of->octets
	       : by == TOP_BY_PACKETS ? sums_of->packets
				      : sums_of->flows;
}

static int compare(uint64_t x, uint64_t y)
{
	return (x < y) - (x > y); /* falling */
}

static int compare_all(const struct top_row *x, const struct top_row *y, enum top_by by)
{
	int r = compare(sum_of(&x->sums, by), sum_of(&y->sums, by));

	return r ? r : memcmp(&x->key, &y->key, sizeof(x->key));
}

static int compare_rows(const void *a, const void *b, void *userdata)
{
	const struct top_row *x = *(const struct top_row *const *)a;
	const struct top_row *y = *(const struct top_row *const *)b;
	const enum top_by by = *(const enum top_by *)userdata;
	int r = compare(sum_of(&x->recent, by), sum_of(&y->recent, by));

	return r ? r : compare_all(x, y, by);
}

/*
 * Who stays: a row that was busy long ago makes room, and one that was busy in the last period stays until its record of
 * this one has come.
 */
static int compare_worth(const void *a, const void *b, void *userdata)
{
	const struct top_row *x = *(const struct top_row *const *)a;
	const struct top_row *y = *(const struct top_row *const *)b;
	const enum top_by by = *(const enum top_by *)userdata;
	int r = compare(sum_of(&x->recent, by) + sum_of(&x->last, by),
			sum_of(&y->recent, by) + sum_of(&y->last, by));

	return r ? r : compare_all(x, y, by);
}

static void sort_rows(struct record_top *t, int (*order)(const void *, const void *, void *))
{
	for (uint32_t i = 0; i < t->count; i++)
		t->order[i] = &t->rows[i];
	qsort_r(t->order, t->count, sizeof(struct top_row *), order, &t->by);
}

size_t record_top_sort(struct record_top *t, const struct top_row *const **ret)
{
	sort_rows(t, compare_rows);
	*ret = (const struct top_row *const *)t->order;
	return t->count;
}

/* The lesser half goes to the others; what stays moves to the front. */
static void make_room(struct record_top *t)
{
	uint32_t kept = 0;

	sort_rows(t, compare_worth);
	for (uint32_t i = t->count / 2; i < t->count; i++) {
		add_sums(&t->others, &t->order[i]->sums);
		add_sums(&t->others_recent, &t->order[i]->recent);
		t->order[i]->sums = (struct top_sums){0};
		t->order[i]->next = NOWHERE - 1; /* goes */
	}
	for (uint32_t i = 0; i < t->count / 2; i++)
		t->order[i]->next = NOWHERE;
	for (uint32_t i = 0; i < t->count; i++)
		if (t->rows[i].next == NOWHERE)
			t->rows[kept++] = t->rows[i];
	t->count = kept;
	memset(t->buckets, 0xff, t->size * sizeof(*t->buckets));
	for (uint32_t i = 0; i < kept; i++) {
		uint32_t *bucket = find_bucket(t, &t->rows[i].key);

		t->rows[i].next = *bucket;
		*bucket = i;
	}
}

static void add_to_row(struct record_top *t, const struct top_key *key, const struct top_sums *more)
{
	uint32_t *bucket = find_bucket(t, key);
	uint32_t i = *bucket;

	while (i != NOWHERE && memcmp(&t->rows[i].key, key, sizeof(*key)) != 0)
		i = t->rows[i].next;
	if (i == NOWHERE) {
		if (t->count == t->size)
			make_room(t);
		bucket = find_bucket(t, key);
		i = t->count++;
		t->rows[i] = (struct top_row){.next = *bucket};
		memcpy(&t->rows[i].key, key, sizeof(*key));
		*bucket = i;
	}
	add_sums(&t->rows[i].sums, more);
	add_sums(&t->rows[i].recent, more);
}

void record_top_add(struct record_top *t, const struct record_view *view)
{
	const struct top_sums more = {.octets = view->octets, .packets = view->packets, .flows = 1};
	struct top_key first, second;

	add_sums(&t->total, &more);
	add_sums(&t->total_recent, &more);
	make_key(&first, t, view, false);
	add_to_row(t, &first, &more);
	if (!t->by_end)
		return;
	make_key(&second, t, view, true);
	if (memcmp(&first, &second, sizeof(first)) != 0)
		add_to_row(t, &second, &more);
}

void record_top_next(struct record_top *t)
{
	for (uint32_t i = 0; i < t->count; i++) {
		t->rows[i].last = t->rows[i].recent;
		t->rows[i].recent = (struct top_sums){0};
	}
	t->others_recent = t->total_recent = (struct top_sums){0};
}

struct top_sums record_top_others_recent(const struct record_top *t)
{
	return t->others_recent;
}

struct top_sums record_top_total_recent(const struct record_top *t)
{
	return t->total_recent;
}

struct top_sums record_top_others(const struct record_top *t)
{
	return t->others;
}

struct top_sums record_top_total(const struct record_top *t)
{
	return t->total;
}

/* --- Columns. */

unsigned int record_top_keys(const struct record_top *t)
{
	return t->part_count;
}

const char *record_top_name(const struct record_top *t, unsigned int i)
{
	return names[t->parts[i]];
}

static void print_address(char text[TOP_CELL_MAX], const struct top_key *key,
			  const uint8_t *address)
{
	inet_ntop(key->ip_version == 6 ? AF_INET6 : AF_INET, address, text, TOP_CELL_MAX);
}

static void print_name(char text[TOP_CELL_MAX], const char *name)
{
	snprintf(text, TOP_CELL_MAX, "%s", name);
	text_make_printable(text);
}

static void print_interface(char text[TOP_CELL_MAX], const struct top_key *key)
{
	if (key->interface[0])
		print_name(text, key->interface);
	else
		snprintf(text, TOP_CELL_MAX, "%u", key->ifindex);
}

static void print_end(char text[TOP_CELL_MAX], uint8_t end)
{
	if (end && end < _FLOW_END_MAX)
		print_name(text, flow_end_name((enum flow_end)end));
	else
		snprintf(text, TOP_CELL_MAX, "%u", end);
}

static void print_number(char text[TOP_CELL_MAX], enum top_part part, const struct top_key *key)
{
	unsigned int number = part == PART_DST_PORT  ? key->dst_port
			      : part == PART_PORT    ? key->port
			      : part == PART_SERVICE ? key->service
			      : part == PART_VLAN    ? key->vlan
						     : key->src_port;
	char protocol[TEXT_NUMBER_MAX];

	if (key->icmp && part == PART_SERVICE)
		snprintf(text, TOP_CELL_MAX, "%s/%u/%u", text_protocol(protocol, key->protocol),
			 number >> 8, number & 255);
	else if (key->icmp && part == PART_DST_PORT)
		snprintf(text, TOP_CELL_MAX, "%u/%u", number >> 8, number & 255);
	else if (part == PART_SERVICE)
		snprintf(text, TOP_CELL_MAX, "%s/%u", text_protocol(protocol, key->protocol),
			 number);
	else if (part == PART_PROTOCOL)
		print_name(text, text_protocol(protocol, key->protocol));
	else if (part == PART_TOS)
		snprintf(text, TOP_CELL_MAX, "0x%02x", key->tos);
	else
		snprintf(text, TOP_CELL_MAX, "%u", number);
}

const char *record_top_cell(char text[TOP_CELL_MAX], const struct record_top *t,
			    const struct top_row *row, unsigned int i)
{
	const struct top_key *key = &row->key;

	if (!(key->known & 1u << i))
		return "-";
	switch (t->parts[i]) {
	case PART_SRC:
		print_address(text, key, key->src);
		break;
	case PART_HOST:
		print_address(text, key, key->host);
		break;
	case PART_DST:
		print_address(text, key, key->dst);
		break;
	case PART_INTERFACE:
		print_interface(text, key);
		break;
	case PART_DIRECTION:
		return key->direction ? "out" : "in";
	case PART_END:
		print_end(text, key->end_reason);
		break;
	case PART_REASON:
		print_name(text, key->drop_reason);
		break;
	case PART_CLASS:
		print_name(text, key->drop_class);
		break;
	case PART_SRC_PORT:
	case PART_DST_PORT:
	case PART_PORT:
	case PART_VLAN:
	case PART_TOS:
	case PART_PROTOCOL:
	case PART_SERVICE:
		print_number(text, t->parts[i], key);
		break;
	}
	return text;
}
