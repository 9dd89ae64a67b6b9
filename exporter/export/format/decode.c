/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include "exporter/export/format/decode.h"
#include "exporter/export/format/decode_names.h"
#include "exporter/export/format/wire.h"

#define BUCKETS	 1024 /* a power of 2 */
#define VARIABLE 65535

/* Elements by which RFC 5610 tells types. */
#define IE_ELEMENT_ID	303
#define IE_ELEMENT_TYPE 339
#define IE_ELEMENT_NAME 341
#define IE_ENTERPRISE	346

struct domain {
	struct domain *next;
	uint32_t number;
	uint8_t version;
	bool expecting;
	uint32_t expected; /* sequence number of the next message, if that is known */
};

struct template
{
	struct template *next;
	uint32_t domain;
	uint16_t id;
	uint8_t version;
	bool options;
	uint16_t count;
	uint32_t least; /* octets of its shortest record */
	uint64_t named; /* decoder.named when its elements were looked up */
	struct decode_element elements[];
};

struct decoder {
	struct decode_events events;
	struct decode_stats stats;
	struct template *templates[BUCKETS];
	unsigned int template_count;
	struct domain *domains;
	unsigned int domain_count;
	struct decode_names *names;
	struct decode_value values[DECODE_FIELDS_MAX];
};

/* The message that is being read. */
struct message {
	const uint8_t *data;
	uint64_t offset; /* of data */
	struct domain *domain;
	uint32_t number; /* of the domain */
	uint32_t export_time, uptime_ms;
	uint8_t version;
	bool uncertain; /* how many data records it has */
	uint32_t records;
};

static const char *const error_texts[] = {
#define DECODE_ERROR_TEXT(name, text) [DECODE_##name] = text,
	DECODE_ERRORS(DECODE_ERROR_TEXT)
#undef DECODE_ERROR_TEXT
};

const char *decode_error_text(enum decode_error error)
{
	return error_texts[error];
}

static void tell(struct decoder *d, enum decode_error error, uint64_t offset, unsigned int id)
{
	d->stats.errors[error]++;
	if (d->events.problem)
		d->events.problem(d->events.userdata, error, offset, id);
}

static void tell_at(struct decoder *d, struct message *m, enum decode_error error,
		    const uint8_t *at, unsigned int id)
{
	tell(d, error, m->offset + (uint64_t)(at - m->data), id);
}

/* --- Templates */

static struct template **find_template(struct decoder *d, const struct message *m, uint16_t id)
{
	uint32_t hash = (m->number * 2654435761u) ^ (id * 40503u) ^ m->version;
	struct template **at = &d->templates[hash & (BUCKETS - 1)];

	while (*at &&
	       ((*at)->domain != m->number || (*at)->id != id || (*at)->version != m->version))
		at = &(*at)->next;
	return at;
}

static void remove_template(struct decoder *d, struct template **at)
{
	struct template *gone = *at;

	*at = gone->next;
	free(gone);
	d->template_count--;
}

static void name_elements(struct decoder *d, struct template *t)
{
	for (unsigned int i = 0; i < t->count; i++)
		if (t->version == 9 && t->elements[i].scope)
			decode_names_scope(&t->elements[i]);
		else
			decode_names_look(d->names, &t->elements[i]);
	t->named = decode_names_version(d->names);
}

static bool has_same_name(const struct template *t, const struct decode_element *a,
			  const struct decode_element *b)
{
	return a->id == b->id && a->pen == b->pen && (t->version == 10 || a->scope == b->scope);
}

/* Once: what an element is called may change, but no two have one name at any time. */
static void count_repeats(struct template *t)
{
	for (unsigned int i = 0; i < t->count; i++) {
		unsigned int before = 0;

		for (unsigned int k = 0; k < i; k++)
			before += has_same_name(t, &t->elements[k], &t->elements[i]);
		t->elements[i].repeat = (uint8_t)MIN(before, UINT8_MAX);
	}
}

static bool is_same(const struct template *a, const struct template *b)
{
	if (a->count != b->count || a->options != b->options)
		return false;
	for (unsigned int i = 0; i < a->count; i++)
		if (a->elements[i].pen != b->elements[i].pen ||
		    a->elements[i].id != b->elements[i].id ||
		    a->elements[i].length != b->elements[i].length ||
		    a->elements[i].scope != b->elements[i].scope)
			return false;
	return true;
}

/* Takes over `t`. */
static void keep_template(struct decoder *d, struct message *m, struct template *t,
			  const uint8_t *where)
{
	struct template **at = find_template(d, m, t->id);

	d->stats.templates++;
	if (*at && is_same(*at, t)) {
		free(t);
		return;
	}
	if (*at) {
		d->stats.redefined++;
		remove_template(d, at);
	}
	if (d->template_count >= DECODE_TEMPLATES_MAX) {
		tell_at(d, m, DECODE_TEMPLATES_MANY, where, t->id);
		free(t);
		return;
	}
	name_elements(d, t);
	count_repeats(t);
	t->next = *at;
	*at = t;
	d->template_count++;
}

static void withdraw(struct decoder *d, struct message *m, uint16_t id, bool options,
		     const uint8_t *where)
{
	struct template **at;

	if (id > 3) {
		at = find_template(d, m, id);
		if (*at)
			remove_template(d, at);
		else
			tell_at(d, m, DECODE_WITHDRAWN_UNKNOWN, where, id);
		return;
	}
	for (unsigned int i = 0; i < BUCKETS; i++)
		for (at = &d->templates[i]; *at;)
			if ((*at)->domain == m->number && (*at)->version == m->version &&
			    (*at)->options == options)
				remove_template(d, at);
			else
				at = &(*at)->next;
}

/* What the head of a template says. */
struct head {
	uint16_t id, count, scopes;
	uint8_t size; /* octets */
	bool options;
};

/* 0: that is no template, and nothing behind it can be read either. */
static bool read_head(struct decoder *d, struct message *m, const uint8_t *at, const uint8_t *end,
		      struct head *head)
{
	unsigned int scope_octets, octets;

	head->id = wire_load16(at);
	head->count = wire_load16(at + 2);
	head->size = 4;
	head->scopes = 0;
	if (head->options && (m->version == 9 || head->count)) {
		if (end - at < 6)
			return tell_at(d, m, DECODE_TEMPLATE_CUT, at, head->id), false;
		head->size = 6;
		head->scopes = wire_load16(at + 4);
	}
	if (m->version == 9 && head->options) {
		scope_octets = head->count;
		octets = scope_octets + head->scopes;
		head->scopes = (uint16_t)(scope_octets / 4);
		head->count = (uint16_t)MIN(octets / 4, UINT16_MAX);
		if (scope_octets % 4 || octets % 4)
			return tell_at(d, m, DECODE_TEMPLATE_CUT, at, head->id), false;
	}
	if (head->id < SET_FIRST_DATA &&
	    (m->version == 9 || head->count || head->id < 2 || head->id > 3))
		return tell_at(d, m, DECODE_TEMPLATE_ID, at, head->id), false;
	if (head->count > DECODE_FIELDS_MAX)
		return tell_at(d, m, DECODE_TEMPLATE_FIELDS, at, head->id), false;
	return true;
}

/* Where the next one begins; NULL: the fields are cut short. */
static const uint8_t *read_fields(const struct message *m, const uint8_t *at, const uint8_t *end,
				  const struct head *head, struct template *t)
{
	for (unsigned int i = 0; i < head->count; i++) {
		struct decode_element *e = &t->elements[i];

		if (end - at < 4)
			return NULL;
		e->id = wire_load16(at);
		e->length = wire_load16(at + 2);
		e->scope = i < head->scopes;
		at += 4;
		if (m->version == 10 && (e->id & ENTERPRISE_BIT)) {
			if (end - at < 4)
				return NULL;
			e->id &= ENTERPRISE_BIT - 1;
			e->pen = wire_load32(at);
			at += 4;
		}
		t->least += m->version == 10 && e->length == VARIABLE ? 1 : e->length;
	}
	return at;
}

/* Where the next one begins; NULL: nothing behind it can be read. */
static const uint8_t *read_template(struct decoder *d, struct message *m, const uint8_t *at,
				    const uint8_t *end, bool options)
{
	_cleanup_(freep) struct template *t = NULL;
	struct head head = {.options = options};
	const uint8_t *next;

	if (!read_head(d, m, at, end, &head))
		return NULL;
	if (m->version == 10 && !head.count) {
		withdraw(d, m, head.id, options, at);
		return at + head.size;
	}
	t = calloc(1, sizeof(*t) + head.count * sizeof(t->elements[0]));
	if (!t)
		return tell_at(d, m, DECODE_NO_MEMORY, at, head.id), NULL;
	*t = (struct template){.domain = m->number,
			       .id = head.id,
			       .version = m->version,
			       .options = options,
			       .count = head.count};
	next = read_fields(m, at + head.size, end, &head, t);
	if (!next)
		tell_at(d, m, DECODE_TEMPLATE_CUT, at, head.id);
	else if (options && m->version == 10 && (!head.scopes || head.scopes > head.count))
		tell_at(d, m, DECODE_TEMPLATE_SCOPE, at, head.id);
	else if (!t->least)
		tell_at(d, m, DECODE_TEMPLATE_EMPTY, at, head.id);
	else if (t->least > DECODE_MESSAGE_MAX)
		tell_at(d, m, DECODE_TEMPLATE_LONG, at, head.id);
	else
		keep_template(d, m, TAKE_PTR(t), at);
	return next;
}

static void read_templates(struct decoder *d, struct message *m, const uint8_t *at,
			   const uint8_t *end, bool options)
{
	/* What is shorter than any template is padding, and so are zeros. */
	while (at && end - at >= 4 && wire_load32(at) != 0)
		at = read_template(d, m, at, end, options);
}

/* --- Records */

/* Behind the record; NULL: it is cut short. */
static const uint8_t *read_values(struct decoder *d, const struct template *t, const uint8_t *at,
				  const uint8_t *end)
{
	for (unsigned int i = 0; i < t->count; i++) {
		size_t length = t->elements[i].length;

		if (t->version == 10 && length == VARIABLE) {
			if (at == end)
				return NULL;
			length = *at++;
			if (length == 255) {
				if (end - at < 2)
					return NULL;
				length = wire_load16(at);
				at += 2;
			}
		}
		if ((size_t)(end - at) < length)
			return NULL;
		d->values[i] = (struct decode_value){.data = at, .length = (uint16_t)length};
		at += length;
	}
	return at;
}

static uint64_t number_of(const struct decode_value *v)
{
	return v->length && v->length <= 8 ? wire_load(v->data, v->length) : 0;
}

/* A record of RFC 5610 names an element. */
static void learn(struct decoder *d, const struct template *t)
{
	const struct decode_value *id = NULL, *pen = NULL, *name = NULL, *type = NULL;

	for (unsigned int i = 0; i < t->count; i++) {
		const struct decode_value *v = &d->values[i];

		if (t->elements[i].pen)
			continue;
		if (t->elements[i].id == IE_ELEMENT_ID)
			id = v;
		else if (t->elements[i].id == IE_ENTERPRISE)
			pen = v;
		else if (t->elements[i].id == IE_ELEMENT_NAME)
			name = v;
		else if (t->elements[i].id == IE_ELEMENT_TYPE)
			type = v;
	}
	if (id && name && type)
		decode_names_learn(d->names, pen ? (uint32_t)number_of(pen) : 0,
				   (uint16_t)number_of(id) & (ENTERPRISE_BIT - 1), name,
				   (unsigned int)number_of(type));
}

static void read_records(struct decoder *d, struct message *m, uint16_t id, const uint8_t *at,
			 const uint8_t *end)
{
	struct template *t = *find_template(d, m, id);
	struct decode_record r;

	if (!t) {
		m->uncertain = true;
		tell_at(d, m, DECODE_TEMPLATE_UNKNOWN, at - SET_HEADER, id);
		return;
	}
	if (t->named != decode_names_version(d->names))
		name_elements(d, t);
	while ((size_t)(end - at) >= t->least) {
		const uint8_t *next = read_values(d, t, at, end);

		if (!next) {
			m->uncertain = true;
			tell_at(d, m, DECODE_RECORD_CUT, at, id);
			return;
		}
		r = (struct decode_record){.version = m->version,
					   .options = t->options,
					   .template = id,
					   .count = t->count,
					   .elements = t->elements,
					   .values = d->values,
					   .domain = m->number,
					   .export_time = m->export_time,
					   .uptime_ms = m->uptime_ms,
					   .offset = m->offset + (uint64_t)(at - m->data)};
		m->records++;
		d->stats.records += !t->options;
		d->stats.options_records += t->options;
		if (t->options && m->version == 10)
			learn(d, t);
		if (d->events.record)
			d->events.record(d->events.userdata, &r);
		at = next;
	}
}

/* --- Messages */

static struct domain *find_domain(struct decoder *d, const struct message *m)
{
	struct domain *domain;

	for (domain = d->domains; domain; domain = domain->next)
		if (domain->number == m->number && domain->version == m->version)
			return domain;
	if (d->domain_count >= DECODE_DOMAINS_MAX)
		return tell(d, DECODE_DOMAINS_MANY, m->offset, m->number), NULL;
	domain = calloc(1, sizeof(*domain));
	if (!domain)
		return tell(d, DECODE_NO_MEMORY, m->offset, m->number), NULL;
	*domain = (struct domain){.next = d->domains, .number = m->number, .version = m->version};
	d->domains = domain;
	d->domain_count++;
	return domain;
}

static void check_sequence(struct decoder *d, const struct message *m, uint32_t sequence)
{
	uint32_t missing = sequence - m->domain->expected;

	if (!m->domain->expecting || !missing)
		return;
	if (missing >= 1u << 31) {
		d->stats.reordered++;
		return;
	}
	d->stats.gaps++;
	d->stats.missing += missing;
	if (d->events.gap)
		d->events.gap(d->events.userdata, m->number, missing, m->offset);
}

static void read_set(struct decoder *d, struct message *m, uint16_t id, const uint8_t *at,
		     const uint8_t *end)
{
	const uint16_t templates = m->version == 9 ? 0 : 2;

	if (id >= SET_FIRST_DATA)
		read_records(d, m, id, at, end);
	else if (id == templates || id == templates + 1)
		read_templates(d, m, at, end, id != templates);
	else
		tell_at(d, m, DECODE_SET_RESERVED, at - SET_HEADER, id);
}

static void read_sets(struct decoder *d, struct message *m, const uint8_t *at, const uint8_t *end)
{
	while (at < end) {
		uint16_t id, length;

		if (end - at < SET_HEADER) {
			m->uncertain = true;
			tell_at(d, m, DECODE_SET_HEADER_CUT, at, 0);
			return;
		}
		id = wire_load16(at);
		length = wire_load16(at + 2);
		if (length < SET_HEADER || length > end - at) {
			m->uncertain = true;
			tell_at(d, m, length < SET_HEADER ? DECODE_SET_SHORT : DECODE_SET_LONG, at,
				id);
			return;
		}
		read_set(d, m, id, at + SET_HEADER, at + length);
		at += length;
	}
}

void decoder_message(struct decoder *d, const uint8_t *data, size_t size, uint64_t offset)
{
	uint16_t version = size >= 2 ? wire_load16(data) : 0;
	const size_t header = version == 9 ? 20 : 16;
	struct message m = {.data = data, .offset = offset, .version = (uint8_t)version};
	uint32_t sequence;

	if (version != 9 && version != 10)
		return tell(d, DECODE_NO_MESSAGE, offset, version);
	if (size < header || (version == 10 && wire_load16(data + 2) < header))
		return tell(d, DECODE_HEADER_SHORT, offset, version);
	if (version == 10 && wire_load16(data + 2) > size)
		return tell(d, DECODE_MESSAGE_CUT, offset, version);
	if (version == 10)
		size = wire_load16(data + 2);
	m.export_time = wire_load32(data + (version == 9 ? 8 : 4));
	m.uptime_ms = version == 9 ? wire_load32(data + 4) : 0;
	sequence = wire_load32(data + header - 8);
	m.number = wire_load32(data + header - 4);
	m.domain = find_domain(d, &m);
	if (!m.domain)
		return;
	d->stats.messages++;
	check_sequence(d, &m, sequence);
	read_sets(d, &m, data + header, data + size);
	m.domain->expecting = version == 9 || !m.uncertain;
	m.domain->expected = sequence + (version == 9 ? 1 : m.records);
}

int64_t decode_frame(const uint8_t *data, size_t size, bool last)
{
	uint16_t version, id;
	size_t at = 20;

	if (size < 4)
		return last ? -EBADMSG : 0;
	version = wire_load16(data);
	if (version == 10 && wire_load16(data + 2) >= 16)
		return wire_load16(data + 2) <= size || last ? wire_load16(data + 2) : 0;
	if (version != 9)
		return -EBADMSG;
	for (; at + 4 <= size; at += wire_load16(data + at + 2)) {
		id = wire_load16(data + at);
		if (id == 9 || id == 10)
			return (int64_t)at;
		if (wire_load16(data + at + 2) < 4 || at > DECODE_MESSAGE_MAX)
			return -EBADMSG;
	}
	if (at > DECODE_MESSAGE_MAX)
		return -EBADMSG;
	return last ? (int64_t)at : 0;
}

const struct decode_stats *decoder_stats(const struct decoder *d)
{
	return &d->stats;
}

int decoder_new(struct decoder **ret, const struct decode_events *events)
{
	_cleanup_(decoder_freep) struct decoder *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->events = *events;
	r = decode_names_new(&d->names);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(d);
	return 0;
}

struct decoder *decoder_free(struct decoder *d)
{
	for (unsigned int i = 0; i < BUCKETS; i++)
		while (d->templates[i])
			remove_template(d, &d->templates[i]);
	while (d->domains) {
		struct domain *next = d->domains->next;

		free(d->domains);
		d->domains = next;
	}
	decode_names_freep(&d->names);
	free(d);
	return NULL;
}
