/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/status_text.h"
#include <inttypes.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include "exporter/observe/text.h"
#include "exporter/util.h"

#define EACH_MAX       3 /* interfaces and collectors, with which there are twelve lines */
#define COLLECTORS_MAX 2
#define AGE_MAX	       32
#define LABEL_WIDTH    13 /* of what stands in front of a line, with a blank */
#define RED	       "\x1b[1;31m"
#define GREEN	       "\x1b[1;32m"
#define PLAIN	       "\x1b[0m"

/* --- Members. */

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "";
}

static uint64_t number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

static uint64_t packets(const json_t *object, const char *key)
{
	return number(json_object_get(object, key), "packets");
}

/* What strangers named. */
static void print_printable(const char *value, FILE *file)
{
	for (; *value; value++)
		fputc(*value < ' ' || *value > '~' ? '?' : *value, file);
}

/* "3 h 12 min" */
static const char *age(char out[AGE_MAX], uint64_t seconds)
{
	if (seconds < 60)
		snprintf(out, AGE_MAX, "%" PRIu64 " s", seconds);
	else if (seconds < 3600)
		snprintf(out, AGE_MAX, "%" PRIu64 " min %" PRIu64 " s", seconds / 60, seconds % 60);
	else if (seconds < 86400)
		snprintf(out, AGE_MAX, "%" PRIu64 " h %" PRIu64 " min", seconds / 3600,
			 seconds / 60 % 60);
	else
		snprintf(out, AGE_MAX, "%" PRIu64 " d %" PRIu64 " h", seconds / 86400,
			 seconds / 3600 % 24);
	return out;
}

/*
 * Seconds since a moment of the exporter's.  It says itself how long ago that was, by a clock that nobody sets; one of before
 * that says when it was, by the wall clock of then.
 */
static uint64_t since(const json_t *object, const char *ago_ms, const char *at_ms)
{
	const json_t *ago = json_object_get(object, ago_ms);
	const uint64_t now_ms = clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC;
	const uint64_t then_ms = number(object, at_ms);

	if (json_is_integer(ago))
		return (uint64_t)json_integer_value(ago) / 1000;
	return now_ms > then_ms ? (now_ms - then_ms) / 1000 : 0;
}

static void label(const char *name, FILE *file)
{
	fprintf(file, "%-*s", LABEL_WIDTH, name);
}

/* "98.1 M", for a unit behind it. */
static const char *rate_of(char out[TEXT_NUMBER_MAX + 1], const json_t *value, double factor)
{
	char plain[TEXT_NUMBER_MAX];
	const char *known =
		json_is_number(value) ? text_number(plain, json_number_value(value) * factor) : "-";
	const size_t digits = strcspn(known, "kMGTPE");

	snprintf(out, TEXT_NUMBER_MAX + 1, "%.*s %s", (int)digits, known, known + digits);
	return out;
}

/* "12.3k", or "-" where no rate is known. */
static const char *rate(char out[TEXT_NUMBER_MAX], const json_t *value, double factor)
{
	if (!json_is_number(value))
		return "-";
	return text_number(out, json_number_value(value) * factor);
}

/* --- What is wrong. */

static void print_problems(const json_t *status, bool color, FILE *file)
{
	size_t index;
	json_t *problem;

	json_array_foreach (json_object_get(status, "problems"), index, problem) {
		fprintf(file, "%s! ", color ? RED : "");
		print_printable(text(problem, "what"), file);
		fprintf(file, "%s\n  fix: ", color ? PLAIN : "");
		print_printable(text(problem, "fix"), file);
		fputc('\n', file);
	}
}

static void print_head(const json_t *status, bool color, FILE *file)
{
	const bool healthy = !strcmp(text(status, "health"), "healthy");
	char up[AGE_MAX], last[AGE_MAX];

	fprintf(file, "flowtally %s is %s%s%s: up %s, pid %" PRIu64 ", banks read %s ago\n",
		text(status, "exporter"),
		!color	  ? ""
		: healthy ? GREEN
			  : RED,
		text(status, "health"), color ? PLAIN : "",
		age(up, since(status, "uptime_ms", "started_ms")),
		number(json_object_get(status, "process"), "pid"),
		age(last, number(status, "age_ms") / 1000));
}

static void print_direction(const json_t *rates, const char *key, const char *word, FILE *file)
{
	const json_t *direction = json_object_get(rates, key);
	char a[TEXT_NUMBER_MAX], b[TEXT_NUMBER_MAX + 1];

	fprintf(file, "%s %s packets/s, %sbit/s", word,
		rate(a, json_object_get(direction, "packets"), 1),
		rate_of(b, json_object_get(direction, "octets"), 8));
}

static void print_traffic(const json_t *status, FILE *file)
{
	const json_t *rates = json_object_get(status, "rates");

	label("traffic", file);
	print_direction(rates, "ingress", "in", file);
	print_direction(rates, "egress", "; out", file);
	fputc('\n', file);
}

/* --- Interfaces. */

/* "; on the ingress hook: cilium, flowtally_tc_in": where there is anybody but us. */
static void print_neighbours(const json_t *interface, const char *key, FILE *file)
{
	const json_t *list = json_object_get(json_object_get(interface, "neighbours"), key);
	const char *separator = "";
	size_t index;
	json_t *one;

	if (json_array_size(list) < 2)
		return;
	fprintf(file, "; on the %s hook: ", key);
	json_array_foreach (list, index, one) {
		fputs(separator, file);
		print_printable(text(one, "name"), file);
		if (!*text(one, "name"))
			fprintf(file, "id %" PRIu64, number(one, "id"));
		separator = ", ";
	}
}

static void print_interface(const json_t *interface, FILE *file)
{
	const json_t *rates = json_object_get(interface, "rates");
	char a[TEXT_NUMBER_MAX], b[TEXT_NUMBER_MAX], name[LABEL_WIDTH];

	snprintf(name, sizeof(name), "%s", text(interface, "name"));
	text_make_printable(name);
	label(name, file);
	fprintf(file, "in %s/s by %s, out %s/s by %s (",
		rate(a, json_object_get(rates, "ingress"), 1), text(interface, "ingress"),
		rate(b, json_object_get(rates, "egress"), 1), text(interface, "egress"));
	print_printable(text(interface, "reason"), file);
	fputc(')', file);
	print_neighbours(interface, "ingress", file);
	print_neighbours(interface, "egress", file);
	fputc('\n', file);
}

/* Packets a second, both ways. */
static double traffic_of(const json_t *interface)
{
	const json_t *rates = json_object_get(interface, "rates");

	return json_number_value(json_object_get(rates, "ingress")) +
	       json_number_value(json_object_get(rates, "egress"));
}

static void print_busiest(const json_t *all, FILE *file)
{
	size_t index, attached = 0;
	json_t *one, *busiest = NULL;

	json_array_foreach (all, index, one) {
		attached += json_is_true(json_object_get(one, "attached"));
		if (!busiest || traffic_of(one) > traffic_of(busiest))
			busiest = one;
	}
	label("interfaces", file);
	fprintf(file, "%zu of %zu are metered (--all), the busiest: ", attached,
		json_array_size(all));
	print_interface(busiest, file);
}

static void print_interfaces(const json_t *status, bool each, FILE *file)
{
	const json_t *all = json_object_get(status, "interfaces");
	size_t index;
	json_t *one;

	if (!each && json_array_size(all) > 1) {
		print_busiest(all, file);
		return;
	}
	json_array_foreach (all, index, one)
		print_interface(one, file);
	if (!number(status, "neighbours_left_out"))
		return;
	label("", file);
	fprintf(file, "of the last %" PRIu64 " the hooks were not looked at for other programs\n",
		number(status, "neighbours_left_out"));
}

/* --- Banks, cache, ledger. */

static void print_fill(const json_t *status, FILE *file)
{
	const json_t *flows = json_object_get(status, "flows");
	char a[TEXT_NUMBER_MAX], b[TEXT_NUMBER_MAX];
	const double fill = (double)number(flows, "bank_entries"),
		     limit = (double)number(flows, "bank_limit");

	label("banks", file);
	fprintf(file,
		"%s of %s flows (%.0f %%), read every %.3g s: %" PRIu64 " times, %" PRIu64
		" early\n",
		text_number(a, fill), text_number(b, limit), limit > 0 ? 100 * fill / limit : 0,
		(double)number(status, "interval_ms") / 1000, number(flows, "swaps"),
		number(flows, "early_swaps"));
	label("cache", file);
	fprintf(file, "%s of %s flows, idle after %.3g s, a record at least every %.3g s\n",
		text_number(a, (double)number(flows, "cache_entries")),
		text_number(b, (double)number(flows, "cache_limit")),
		(double)number(status, "idle_ms") / 1000,
		(double)number(status, "active_ms") / 1000);
}

static void print_reasons(const json_t *side, const char *key, FILE *file)
{
	const char *separator = " (", *name;
	uint64_t sum = 0;
	json_t *amount;

	json_object_foreach (json_object_get(side, key), name, amount)
		sum += number(amount, "packets");
	fprintf(file, " + %s %" PRIu64, key, sum);
	json_object_foreach (json_object_get(side, key), name, amount) {
		fprintf(file, "%s%s %" PRIu64, separator, name, number(amount, "packets"));
		separator = ", ";
	}
	if (sum)
		fputc(')', file);
}

/* As ledger_handed_over() has it. */
static uint64_t in_records(const json_t *ledger)
{
	return packets(ledger, "accounted") - packets(ledger, "cache") - packets(ledger, "bank") -
	       packets(ledger, "evicted") - packets(ledger, "drain_error");
}

static void print_ledger(const json_t *status, FILE *file)
{
	const json_t *ledger = json_object_get(status, "ledger");
	char a[TEXT_NUMBER_MAX];

	label("ledger", file);
	fprintf(file, "%s: seen %" PRIu64 " packets = accounted %" PRIu64,
		json_is_true(json_object_get(ledger, "balanced")) ? "balances" : "DOES NOT BALANCE",
		number(ledger, "seen"), packets(ledger, "accounted"));
	print_reasons(ledger, "ignored", file);
	print_reasons(ledger, "refused", file);
	fputc('\n', file);
	label("accounted", file);
	fprintf(file,
		"in records %" PRIu64 " + cache %" PRIu64 " + bank %" PRIu64 " + evicted %" PRIu64
		" + drain_error %" PRIu64 "; %s octets\n",
		in_records(ledger), packets(ledger, "cache"), packets(ledger, "bank"),
		packets(ledger, "evicted"), packets(ledger, "drain_error"),
		text_number(a, (double)number(json_object_get(ledger, "accounted"), "octets")));
}

/*
 * Sums over the interfaces, in no sum of the ledger: the kernel counts what GSO or GRO has put together as one packet, a
 * hook each that is on the wire.  They are read less often than banks may be.
 */
static void print_kernel(const json_t *status, FILE *file)
{
	static const char *const losses[] = {
		"rx_errors",  "rx_dropped",  "rx_missed_errors",    "rx_nohandler",   "tx_errors",
		"tx_dropped", "qdisc_drops", "ingress_qdisc_drops", "xdp_exceptions",
	};
	const json_t *all = json_object_get(json_object_get(status, "ledger"), "interfaces");
	uint64_t sums[ARRAY_SIZE(losses)] = {0}, received = 0, sent = 0;
	char ago[AGE_MAX];
	size_t index;
	json_t *one;

	json_array_foreach (all, index, one) {
		received += number(one, "rx_packets");
		sent += number(one, "tx_packets");
		for (size_t i = 0; i < ARRAY_SIZE(losses); i++)
			sums[i] += number(one, losses[i]);
	}
	label("kernel", file);
	fprintf(file,
		"rx_packets %" PRIu64 ", tx_packets %" PRIu64 " (super-packets of GSO as one)",
		received, sent);
	if (number(status, "counters_ms"))
		fprintf(file, ", %s ago", age(ago, since(status, "", "counters_ms")));
	for (size_t i = 0; i < ARRAY_SIZE(losses); i++)
		if (sums[i])
			fprintf(file, ", %s %" PRIu64, losses[i], sums[i]);
	fputc('\n', file);
}

/* --- Collectors, drops, the process. */

static void print_collector(const json_t *c, FILE *file)
{
	json_t *lost = json_object_get(c, "lost");
	const char *name = *text(c, "name") ? text(c, "name") : text(c, "url"), *loss;
	const char *separator = ", lost ";
	char a[TEXT_NUMBER_MAX], b[AGE_MAX];
	json_t *records;

	label("collector", file);
	print_printable(name, file);
	fprintf(file, ": %s, %s records/s, %" PRIu64 " queued", text(c, "state"),
		rate(a, json_object_get(c, "records_rate"), 1), number(c, "queued"));
	json_object_foreach (lost, loss, records) {
		fprintf(file, "%s%s %" PRIu64, separator, loss,
			(uint64_t)json_integer_value(records));
		separator = ", ";
	}
	if (!json_object_size(lost))
		fputs(", lost 0", file);
	if (number(c, "sent_ms"))
		fprintf(file, ", sent %s ago\n", age(b, since(c, "sent_ago_ms", "sent_ms")));
	else
		fputs(", nothing sent yet\n", file);
}

/* Sums over them. */
static void print_all_collectors(const json_t *all, FILE *file)
{
	uint64_t queued = 0, lost = 0;
	double records_rate = 0;
	size_t index, up = 0, living = 0;
	const char *loss;
	json_t *one, *records;

	json_array_foreach (all, index, one) {
		up += !strcmp(text(one, "state"), "up");
		living += strcmp(text(one, "state"), "removed") != 0;
		records_rate += json_number_value(json_object_get(one, "records_rate"));
		queued += number(one, "queued");
		json_object_foreach (json_object_get(one, "lost"), loss, records)
			lost += (uint64_t)json_integer_value(records);
	}
	label("collectors", file);
	fprintf(file,
		"%zu of %zu are up (--all), %.0f records/s, %" PRIu64 " queued, lost %" PRIu64 "\n",
		up, living, records_rate, queued, lost);
}

static void print_collectors(const json_t *status, bool each, FILE *file)
{
	const json_t *all = json_object_get(status, "collectors");
	size_t index;
	json_t *one;

	if (!json_array_size(all)) {
		label("collectors", file);
		fputs("none: records go nowhere but to `flowtally observe`\n", file);
	} else if (!each && json_array_size(all) > COLLECTORS_MAX) {
		print_all_collectors(all, file);
	} else {
		json_array_foreach (all, index, one)
			print_collector(one, file);
	}
}

static void print_drops(const json_t *status, FILE *file)
{
	const json_t *drops = json_object_get(status, "drops");
	const char *separator = "", *class;
	char a[TEXT_NUMBER_MAX];
	json_t *count;

	label("drops", file);
	if (!json_is_true(json_object_get(drops, "traced"))) {
		fputs("not traced (--drops)\n", file);
		return;
	}
	fprintf(file, "%s/s; since the start: ", rate(a, json_object_get(drops, "rate"), 1));
	json_object_foreach (json_object_get(drops, "classes"), class, count) {
		fprintf(file, "%s%s %" PRIu64, separator, class,
			(uint64_t)json_integer_value(count));
		separator = ", ";
	}
	fputs(*separator ? "\n" : "none\n", file);
}

static void print_process(const json_t *status, FILE *file)
{
	const json_t *process = json_object_get(status, "process");
	uint64_t runs = 0, ns = 0;
	char a[TEXT_NUMBER_MAX + 1];
	size_t index;
	json_t *program;

	json_array_foreach (json_object_get(status, "programs"), index, program) {
		runs += number(program, "runs");
		ns += number(program, "run_ns");
	}
	label("cost", file);
	fprintf(file, "%.1f %% of a CPU, %sB of memory",
		json_number_value(json_object_get(process, "cpu_percent")),
		rate_of(a, json_object_get(process, "resident_octets"), 1));
	if (runs)
		fprintf(file, ", %" PRIu64 " ns a packet in the kernel\n", ns / runs);
	else
		fputs("; ns a packet: sysctl kernel.bpf_stats_enabled=1\n", file);
}

void status_print_text(const json_t *status, const struct status_form *form, FILE *file)
{
	const size_t lines = json_array_size(json_object_get(status, "interfaces")) +
			     json_array_size(json_object_get(status, "collectors"));
	const bool each = form->all || lines <= EACH_MAX;

	print_problems(status, form->color, file);
	print_head(status, form->color, file);
	print_traffic(status, file);
	print_interfaces(status, each, file);
	print_fill(status, file);
	print_ledger(status, file);
	print_kernel(status, file);
	print_collectors(status, each, file);
	print_drops(status, file);
	print_process(status, file);
}
