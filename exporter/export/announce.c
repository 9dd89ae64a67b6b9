/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/export/announce.h"
#include "exporter/export/format/option_data.h"
#include "exporter/export/queue.h"

/* selectorAlgorithm, RFC 5477: so many packets of so many, by count. */
#define SYSTEMATIC_COUNT 1

struct builder {
	struct collector *c;
	const struct protocol *protocol;
	struct wire w;
	struct announce_message *m;
};

static unsigned int room(const struct builder *b)
{
	return (unsigned int)(b->w.end - b->w.at);
}

static void put_template(struct builder *b, enum option_template_symbol t)
{
	const struct session *s = &b->c->session;

	if (s->reliable && s->timed && s->options_told >> t & 1)
		return;
	b->m->options_told |= 1u << t;
	option_put_template(&b->w, t, b->protocol);
	b->m->header.records++;
}

static void put_record(struct builder *b, enum option_template_symbol t,
		       const struct option_values *values)
{
	option_put_record(&b->w, t, b->protocol, values);
	b->m->header.records++;
	b->m->data_records++;
}

/* A template and its only record, each in a set. */
static void put_pair(struct builder *b, enum option_template_symbol t,
		     const struct option_values *values)
{
	uint8_t *set;

	if (!option_exists(t, b->protocol))
		return;
	put_template(b, t);
	set = set_begin(&b->w, option_template_id(t));
	put_record(b, t, values);
	set_end(&b->w, set, b->protocol);
}

static void put_flow_template(struct wire *w, const struct flow_template *t,
			      const struct protocol *p, uint32_t enterprise)
{
	wire_put(w, t->id, 2);
	wire_put(w, template_fields(t, p->id), 2);
	for (unsigned int i = 0; i < t->count; i++)
		p->put_field(w, &flow_fields[t->fields[i]], enterprise);
}

size_t announce_template_octets(const struct profile *profile, const struct protocol *p)
{
	uint8_t data[ANNOUNCE_MESSAGE_MAX], *set;
	size_t longest = 0;

	for (unsigned int i = 0; i < PROFILE_TEMPLATES_MAX; i++) {
		struct wire w = {.at = data + p->header, .end = data + sizeof(data)};
		size_t octets;

		if (!profile_has(profile, i))
			continue;
		set = set_begin(&w, p->set_template);
		put_flow_template(&w, &profile->templates[i], p, profile->enterprise);
		set_end(&w, set, p);
		octets = w.overflow ? SIZE_MAX : (size_t)(w.at - data);
		longest = MAX(longest, octets);
	}
	return longest;
}

bool announce_fits(const struct collector *c, uint16_t limit)
{
	return announce_template_octets(c->announced->profile, c->session.protocol) <= limit;
}

static void build_templates(struct builder *b)
{
	const struct profile *profile = b->c->announced->profile;
	unsigned int i = b->c->session.next[ANNOUNCE_TEMPLATES];
	uint8_t *set;

	set = set_begin(&b->w, b->protocol->set_template);
	for (; i < PROFILE_TEMPLATES_MAX; i++) {
		const struct flow_template *t = &profile->templates[i];

		if (!profile_has(profile, i) || session_knows(&b->c->session, t->id))
			continue;
		/* 8 octets a field at most, and the padding. */
		if (b->m->header.records && room(b) < 4 + 8u * t->count + 3)
			break;
		put_flow_template(&b->w, t, b->protocol, profile->enterprise);
		b->m->header.records++;
	}
	set_end(&b->w, set, b->protocol);
	b->m->next = i % PROFILE_TEMPLATES_MAX;
}

static void build_sampling(struct builder *b)
{
	struct option_values values = {
		.number = {[ELEMENT_observationDomainId] = b->c->context->options.domain,
			   [ELEMENT_samplingInterval] = 1,
			   [ELEMENT_selectorId] = 1,
			   [ELEMENT_selectorAlgorithm] = SYSTEMATIC_COUNT,
			   [ELEMENT_samplingPacketInterval] = 1,
			   [ELEMENT_samplingPacketSpace] = 0},
	};

	/* This one first: goflow2 takes the first that it finds. */
	put_pair(b, OPTIONS_SAMPLING, &values);
	put_pair(b, OPTIONS_SELECTOR, &values);
}

static void build_keys(struct builder *b)
{
	const struct profile *profile = b->c->announced->profile;
	uint8_t *set;

	put_template(b, OPTIONS_FLOW_KEYS);
	set = set_begin(&b->w, option_template_id(OPTIONS_FLOW_KEYS));
	for (unsigned int i = 0; i < PROFILE_TEMPLATES_MAX; i++) {
		const struct flow_template *t = &profile->templates[i];
		struct option_values values = {
			.number = {[ELEMENT_templateId] = t->id,
				   [ELEMENT_flowKeyIndicator] = template_keys(t, b->protocol->id)}};

		if (!profile_has(profile, i))
			continue;
		put_record(b, OPTIONS_FLOW_KEYS, &values);
	}
	set_end(&b->w, set, b->protocol);
}

static bool in_profile(const struct profile *profile, unsigned int symbol)
{
	for (unsigned int t = 0; t < PROFILE_TEMPLATES_MAX; t++)
		for (unsigned int i = 0; profile_has(profile, t) && i < profile->templates[t].count;
		     i++)
			if (profile->templates[t].fields[i] == symbol)
				return true;
	return false;
}

static void build_types(struct builder *b)
{
	const struct profile *profile = b->c->announced->profile;
	uint8_t *set = NULL;

	if (!option_exists(OPTIONS_TYPES, b->protocol))
		return;
	for (unsigned int i = 0; i < _FIELD_MAX; i++) {
		const struct field *field = &flow_fields[i];
		struct option_values values = {
			.number = {[ELEMENT_privateEnterpriseNumber] = profile->enterprise,
				   [ELEMENT_informationElementId] = field->element->id,
				   [ELEMENT_informationElementDataType] = field->element->type,
				   [ELEMENT_informationElementSemantics] =
					   field->element->semantics,
				   [ELEMENT_informationElementUnits] = field->element->units},
			.string = {[ELEMENT_informationElementName] = field->element->name},
		};

		if (!field->element->pen || !in_profile(profile, i))
			continue;
		if (!set) {
			put_template(b, OPTIONS_TYPES);
			set = set_begin(&b->w, option_template_id(OPTIONS_TYPES));
		}
		put_record(b, OPTIONS_TYPES, &values);
	}
	if (set)
		set_end(&b->w, set, b->protocol);
}

static void build_interfaces(struct builder *b)
{
	const struct export_context *context = b->c->context;
	unsigned int i = b->c->session.next[ANNOUNCE_INTERFACES];
	uint8_t *set;

	if (i >= context->interface_count)
		return;
	put_template(b, OPTIONS_INTERFACES);
	set = set_begin(&b->w, option_template_id(OPTIONS_INTERFACES));
	for (; i < context->interface_count; i++) {
		const struct export_interface *interface = &context->interfaces[i];
		struct option_values values = {
			.number = {[ELEMENT_observationDomainId] = context->options.domain,
				   [ELEMENT_ingressInterface] = interface->ifindex},
			.string = {[ELEMENT_interfaceName] = interface->name,
				   [ELEMENT_interfaceDescription] = interface->description},
		};

		if (room(b) < option_record_max(OPTIONS_INTERFACES, b->protocol) + 3)
			break;
		put_record(b, OPTIONS_INTERFACES, &values);
	}
	set_end(&b->w, set, b->protocol);
	b->m->next = i < context->interface_count ? i : 0;
}

static void build_statistics(struct builder *b)
{
	const struct collector_stats *stats = &b->c->account.stats;
	const struct export_context *context = b->c->context;
	struct export_count lost = {0};
	struct option_values values = {
		.number = {[ELEMENT_observationDomainId] = context->options.domain,
			   [ELEMENT_meteringProcessId] = 1,
			   [ELEMENT_exportedMessageTotalCount] = stats->messages,
			   [ELEMENT_exportedFlowRecordTotalCount] = stats->exported.records,
			   [ELEMENT_exportedOctetTotalCount] = stats->bytes},
	};

	b->m->sequence = SEQUENCE_STATISTICS;
	put_pair(b, OPTIONS_METERING_STATISTICS, &values);

	values.number[ELEMENT_ignoredPacketTotalCount] = context->unmetered.packets;
	values.number[ELEMENT_ignoredOctetTotalCount] = context->unmetered.octets;
	values.number[ELEMENT_observationTimeMilliseconds] = context->unmetered.first_ms;
	values.last_ms = context->unmetered.last_ms;
	put_pair(b, OPTIONS_METERING_RELIABILITY, &values);

	for (unsigned int i = 0; i < _EXPORT_LOSS_MAX; i++)
		count_add(&lost, &stats->lost[i]);
	values.number[ELEMENT_exportingProcessId] = stats->number;
	values.number[ELEMENT_notSentFlowTotalCount] = lost.records;
	values.number[ELEMENT_notSentPacketTotalCount] = lost.packets;
	values.number[ELEMENT_notSentOctetTotalCount] = lost.octets;
	values.number[ELEMENT_observationTimeMilliseconds] = b->c->account.first_loss_ms;
	values.last_ms = b->c->account.last_loss_ms;
	put_pair(b, OPTIONS_EXPORTING_RELIABILITY, &values);
}

static void (*const builders[_ANNOUNCE_MAX])(struct builder *b) = {
	[ANNOUNCE_TEMPLATES] = build_templates,
	[ANNOUNCE_SAMPLING] = build_sampling,
	[ANNOUNCE_KEYS] = build_keys,
	[ANNOUNCE_TYPES] = build_types,
	[ANNOUNCE_INTERFACES] = build_interfaces,
	[ANNOUNCE_STATISTICS] = build_statistics,
};

/* That of the data which follows. */
static uint64_t base_ms(const struct collector *c)
{
	return c->queue->count ? queue_at(c->queue, 0)->message->base_ms : c->context->base_ms;
}

/* What is pending goes on with another part, or is not any more. */
static void go_on(struct session *s, enum announcement kind, unsigned int next)
{
	s->next[kind] = next;
	if (!next)
		s->pending &= ~(1u << kind);
}

bool announce_build(struct collector *c, uint16_t limit, struct announce_message *m)
{
	const struct protocol *p = c->session.protocol;

	for (unsigned int kind = 0; kind < _ANNOUNCE_MAX; kind++) {
		struct builder b = {.c = c, .protocol = p, .m = m};

		if (!(c->session.pending & 1u << kind))
			continue;
		m->header = (struct protocol_header){.base_ms = base_ms(c)};
		m->sequence = SEQUENCE_DOMAIN;
		m->data_records = 0;
		m->kind = (enum announcement)kind;
		m->next = 0;
		m->options_told = 0;
		b.w = (struct wire){.at = m->data + p->header,
				    .end = m->data +
					   MIN(limit, (unsigned int)ANNOUNCE_MESSAGE_MAX)};
		builders[kind](&b);
		if ((kind == ANNOUNCE_TEMPLATES ? m->header.records : m->data_records) &&
		    !b.w.overflow) {
			m->header.length = (uint16_t)(b.w.at - m->data);
			return true;
		}
		go_on(&c->session, m->kind, m->next);
	}
	return false;
}

void announce_advance(struct collector *c, const struct announce_message *m)
{
	const struct profile *profile = c->announced->profile;
	unsigned int end = m->next ? m->next : PROFILE_TEMPLATES_MAX;

	for (unsigned int i = c->session.next[m->kind]; m->kind == ANNOUNCE_TEMPLATES && i < end;
	     i++)
		if (profile_has(profile, i))
			session_note_told(&c->session, profile->templates[i].id);
	c->session.options_told |= m->options_told;
	go_on(&c->session, m->kind, m->next);
}
