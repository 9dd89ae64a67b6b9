/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of collectors: what the knocking of doctor_knock.c has shown. */
#include <errno.h>
#include <string.h>
#include "exporter/observe/doctor_check.h"

#define FREE_MIN (100ull << 20) /* octets of a file system, below which it is nearly full */

static bool in_network(const struct doctor_collector *c)
{
	return url_in_network(&c->url);
}

/* Whether what comes before this stage went well. */
static bool reached(const struct doctor_collector *c, enum doctor_stage stage)
{
	return in_network(c) && c->stage >= stage;
}

void doctor_collectors(struct doctor *d)
{
	const int error = d->facts->exporter.error;

	if (d->wanted->collector_count)
		doctor_ok(d, NULL, "%zu configured", d->wanted->collector_count);
	else if (d->facts->collector_count)
		doctor_ok(d, NULL, "%zu of the running exporter", d->facts->collector_count);
	else if (error == -EACCES || error == -EPERM)
		doctor_find(d, DOCTOR_WARN, NULL, "sudo flowtally doctor",
			    "none is configured here, and this user may not ask the running "
			    "exporter for its own");
	else
		doctor_find(
			d, DOCTOR_WARN, NULL,
			"collectors: [\"json:///var/lib/flowtally/flows.json\"]  # or ipfix:// and a host",
			"none is configured: what is metered goes nowhere");
}

void doctor_collector_name(struct doctor *d)
{
	char fix[DOCTOR_FIX_MAX], quoted[DOCTOR_QUOTE_MAX];

	for (size_t i = 0; i < d->facts->collector_count; i++) {
		const struct doctor_collector *c = &d->facts->collectors[i];

		if (!in_network(c))
			continue;
		if (c->stage == DOCTOR_AT_NAME)
			doctor_find(
				d, DOCTOR_FAIL, c->url.text,
				doctor_fix(fix,
					   "getent ahosts %s  # or write the address into the URL",
					   doctor_quote(quoted, c->url.host)),
				"the name '%s' has no address: %s", c->url.host,
				c->why[0] ? c->why : "not looked up");
		else
			doctor_ok(d, c->url.text, "%s", c->address);
	}
}

static void fix_route(const struct doctor_collector *c, char fix[DOCTOR_FIX_MAX])
{
	if (c->route_error == -EADDRNOTAVAIL || c->route_error == -EAFNOSUPPORT)
		doctor_fix(fix, "ip -br address  # lists the addresses that `source` can name");
	else if (c->route_error == -ENODEV)
		doctor_fix(fix,
			   "ip -br link  # lists the interfaces that the URL can name behind %%");
	else
		doctor_fix(
			fix,
			"ip route get %s\nip route show  # none of them leads there: one is missing",
			c->address);
}

void doctor_collector_route(struct doctor *d)
{
	char fix[DOCTOR_FIX_MAX];

	for (size_t i = 0; i < d->facts->collector_count; i++) {
		const struct doctor_collector *c = &d->facts->collectors[i];

		if (!reached(c, DOCTOR_AT_ROUTE))
			continue;
		if (c->route_error < 0) {
			fix_route(c, fix);
			doctor_find(d, DOCTOR_FAIL, c->url.text, fix, "no way to %s%s%s: %s",
				    c->address, c->source ? " from " : "",
				    c->source ? c->source : "", strerror(-c->route_error));
		} else {
			doctor_ok(d, c->url.text, "there is one to %s", c->address);
		}
	}
}

static const char *fix_path(const struct doctor_collector *c, char fix[DOCTOR_FIX_MAX])
{
	return doctor_fix(fix, "tracepath -n %s  # shows whose MTU on the way is too small",
			  c->address);
}

void doctor_collector_mtu(struct doctor *d)
{
	char fix[DOCTOR_FIX_MAX];

	for (size_t i = 0; i < d->facts->collector_count; i++) {
		const struct doctor_collector *c = &d->facts->collectors[i];

		if (!reached(c, DOCTOR_AT_ANSWER) || c->url.scheme == URL_IPFIX_TCP)
			continue;
		if (c->payload_max < 0 || c->payload_max >= c->message_max)
			doctor_ok(d, c->url.text, "messages of %u octets pass, as far as is known",
				  c->message_max);
		else if ((size_t)c->payload_max < c->octets_needed)
			doctor_find(d, DOCTOR_FAIL, c->url.text, fix_path(c, fix),
				    "the path takes %d octets in a datagram, a template needs %zu: "
				    "nothing is sent",
				    c->payload_max, c->octets_needed);
		else
			doctor_find(
				d, DOCTOR_WARN, c->url.text,
				c->payload_max < URL_MESSAGE_MIN
					? fix_path(c, fix)
					: doctor_fix(fix, "message-size: %d", c->payload_max),
				"the path takes %d octets in a datagram, messages may have %u: the "
				"first long ones are lost, until the exporter has learned that",
				c->payload_max, c->message_max);
	}
}

static void judge_tcp(struct doctor *d, const struct doctor_collector *c)
{
	char fix[DOCTOR_FIX_MAX], quoted[DOCTOR_QUOTE_MAX];

	if (c->answer_error == 0)
		doctor_ok(d, c->url.text, "it takes connections");
	else if (c->answer_error == -ECONNREFUSED)
		doctor_find(
			d, DOCTOR_FAIL, c->url.text,
			doctor_fix(
				fix,
				"ssh %s ss -ltnp 'sport = :%u'  # shows whether the collector runs",
				doctor_quote(quoted, c->url.host), c->url.port),
			"nobody listens at TCP port %u of %s", c->url.port, c->address);
	else
		doctor_find(
			d, DOCTOR_FAIL, c->url.text,
			doctor_fix(
				fix,
				"ping -c 1 %s\nnft list ruleset  # TCP port %u must pass here, on the way and there",
				c->address, c->url.port),
			"no TCP connection to %s: %s", c->address, strerror(-c->answer_error));
}

static void judge_udp(struct doctor *d, const struct doctor_collector *c)
{
	char fix[DOCTOR_FIX_MAX], quoted[DOCTOR_QUOTE_MAX];

	if (c->answer_error == 0)
		doctor_ok(d, c->url.text,
			  "no ICMP error from UDP port %u; that somebody reads there shows at the "
			  "collector alone",
			  c->url.port);
	else if (c->answer_error == -ECONNREFUSED)
		doctor_find(
			d, DOCTOR_FAIL, c->url.text,
			doctor_fix(
				fix,
				"ssh %s ss -lunp 'sport = :%u'  # shows whether the collector runs",
				doctor_quote(quoted, c->url.host), c->url.port),
			"UDP port %u of %s is closed (ICMP port unreachable)", c->url.port,
			c->address);
	else if (c->answer_error == -EPERM)
		doctor_find(d, DOCTOR_FAIL, c->url.text,
			    "nft list ruleset  # what goes out to that port must pass",
			    "a packet filter of this host refuses what is sent to %s", c->address);
	else
		doctor_find(d, DOCTOR_FAIL, c->url.text,
			    doctor_fix(fix, "ip route get %s\nping -c 1 %s\nnft list ruleset",
				       c->address, c->address),
			    "ICMP answers: %s", strerror(-c->answer_error));
}

void doctor_collector_answer(struct doctor *d)
{
	for (size_t i = 0; i < d->facts->collector_count; i++) {
		const struct doctor_collector *c = &d->facts->collectors[i];

		if (!reached(c, DOCTOR_AT_ANSWER))
			continue;
		if (c->url.scheme == URL_IPFIX_TCP)
			judge_tcp(d, c);
		else
			judge_udp(d, c);
	}
}

void doctor_collector_file(struct doctor *d)
{
	char fix[DOCTOR_FIX_MAX], quoted[DOCTOR_QUOTE_MAX], name[DOCTOR_PATH_MAX];

	for (size_t i = 0; i < d->facts->collector_count; i++) {
		const struct doctor_collector *c = &d->facts->collectors[i];
		const char *path = c->url.path;
		const int folder = strrchr(path, '/') ? (int)(strrchr(path, '/') - path) : 0;

		snprintf(name, sizeof(name), "%.*s", MAX(folder, 1), path);
		doctor_quote(quoted, name);
		if (in_network(c) || c->why[0])
			continue;
		if (!path[0])
			doctor_ok(d, c->url.text, "standard output");
		else if (c->file_error == -EACCES && d->facts->process.user != 0)
			doctor_find(
				d, DOCTOR_WARN, c->url.text, "sudo flowtally doctor",
				"this user may not write its folder; whether the exporter may is not "
				"known");
		else if (c->file_error < 0)
			doctor_find(
				d, DOCTOR_FAIL, c->url.text,
				doctor_fix(fix,
					   "install -d -o root %s  # or who else runs flowtally",
					   quoted),
				"its folder cannot be written: %s", strerror(-c->file_error));
		else if (c->free < FREE_MIN)
			doctor_find(d, DOCTOR_WARN, c->url.text,
				    doctor_fix(fix, "df -h %s  # make room, or write elsewhere",
					       quoted),
				    "its file system is nearly full: %.1f MB are free",
				    (double)c->free / 1e6);
		else
			doctor_ok(d, c->url.text, "can be written, %.1f GB are free",
				  (double)c->free / 1e9);
	}
}
