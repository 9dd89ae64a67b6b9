/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with a running exporter, each with what mends it. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include "exporter/observe/doctor_check.h"
#include "exporter/observe/interfaces.h"
#include "exporter/observe/status.h"
#include "exporter/observe/text.h"

#define OVERDUE_INTERVALS 3
#define OVERDUE_NS	  (5 * NSEC_PER_SEC)
#define WHAT_MAX	  1024
#define FIX_MAX		  (3 * DOCTOR_QUOTE_MAX)

/* A clock that is slewed by a twelfth, as fast as any daemon does it, is off by less after two minutes. */
#define CLOCK_STEP_NS (15 * NSEC_PER_SEC)

/* Fewer readings that came early say nothing: a burst fills a bank now and then. */
#define EARLY_MIN 10

/* The tracer is interrupted in the middle of its work now and then: of so many drops it misses more than one. */
#define MISSED_OF 1000

#define DOCTOR "flowtally doctor"

static void add(json_t *list, const char *fix, const char *format, ...) _printf_(3, 4);
static void add(json_t *list, const char *fix, const char *format, ...)
{
	char what[WHAT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	text_make_printable(what); /* names of interfaces are in it */
	json_array_append_new(list, json_pack("{s:s,s:s}", "what", what, "fix", fix));
}

/* --- The exporter itself. */

static void judge_age(json_t *list, const struct snapshot *s, uint64_t age_ns)
{
	if (age_ns > OVERDUE_INTERVALS * s->interval_ns + OVERDUE_NS)
		add(list, "look at its log: its main thread hangs, or the machine is overloaded",
		    "the banks have not been read for %" PRIu64 " s",
		    (uint64_t)(age_ns / NSEC_PER_SEC));
}

static int64_t clock_offset_ns(uint64_t realtime_ns, uint64_t boottime_ns)
{
	return (int64_t)(realtime_ns - boottime_ns);
}

/* CLOCK_BOOTTIME goes on while the machine sleeps, and nobody sets it. */
static void judge_clock(json_t *list, const struct snapshot *now, const struct snapshot *since)
{
	const int64_t step_ns =
		clock_offset_ns(now->time_ns, now->boottime_ns) -
		(since ? clock_offset_ns(since->time_ns, since->boottime_ns)
		       : clock_offset_ns(now->started_ns, now->started_boottime_ns));
	const bool back = step_ns < 0;
	const uint64_t size_ns = (uint64_t)(back ? -step_ns : step_ns);

	if (size_ns >= CLOCK_STEP_NS)
		add(list,
		    "timedatectl; chronyc tracking: set it before the start, and slew it from then on",
		    "the wall clock was set %s by %" PRIu64
		    " s of late: records have times of before and after",
		    back ? "back" : "forward", (uint64_t)(size_ns / NSEC_PER_SEC));
}

static void judge_ledger(json_t *list, const struct snapshot *s, const struct snapshot *since)
{
	if (s->ledger.unsettled && since && since->ledger.unsettled)
		add(list, DOCTOR ": free memory for the kernel; the log says what failed",
		    "the ledger has not been settled for a minute: counters cannot be read");
	if (!s->ledger.unsettled && !ledger_balanced(&s->ledger))
		add(list, "report it with what `flowtally status --json` prints",
		    "the ledger does not balance: packets are in no record and no counter");
	if (s->reloads.last_failed)
		add(list, "flowtally config check FILE, then systemctl reload flowtally",
		    "the configuration was not taken at the last reload: the one before is in force");
}

/* --- Hooks. */

static void judge_interface(json_t *list, const struct hooks_interface *i)
{
	if (i->attached)
		return;
	add(list, "mend that, or take it out of `interfaces`; it is tried again by itself",
	    "interface '%s' is %s: %s", i->name,
	    hooks_interface_meters(i) ? "metered in one direction of two" : "not metered",
	    i->reason);
}

#define IN_FRONT "in front of the hook" /* of obstacle.c */

static void judge_hidden(json_t *list, const struct ifstats_interface *i, const struct sight *sight)
{
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);
	bool hidden = file && interface_print_hidden(i, sight, file);

	if (file && fclose(file) == 0 && hidden)
		add(list,
		    strstr(text, IN_FRONT)
			    ? "tc filter show, bpftool net: remove what is in front, or let it pass packets on (TC_ACT_UNSPEC)"
			    : "try --ingress tc, or meter the device whose hooks see the packets (a bond's members, a VRF's)",
		    "%s", text);
}

static void judge_hooks(json_t *list, const struct snapshot *s)
{
	const struct ifstats *stats = s->ledger.ifstats;

	if (s->starting)
		add(list, "wait: each takes 10 to 30 ms",
		    "the start is not over: interfaces are being attached");
	else if (!s->interface_count && s->kinds[RECORD_FLOW].metered)
		add(list, "ip -br link shows which there are; name them in `interfaces`",
		    "no interface matches, so nothing is metered");
	for (size_t i = 0; i < s->interface_count; i++)
		judge_interface(list, &s->interfaces[i]);
	for (size_t i = 0; stats && i < stats->count; i++)
		if (stats->interfaces[i].attached)
			judge_hidden(list, &stats->interfaces[i], s->ledger.sight);
}

/* --- Losses, since the older snapshot. */

static uint64_t count_reason(const struct snapshot *s, int kind, enum flow_reason reason)
{
	uint64_t sum = 0;

	for (int point = 0; s && point < POINTS_MAX; point++)
		sum += s->ledger.sides[kind].reasons[point][reason].packets;
	return sum;
}

static void judge_reason(json_t *list, const struct snapshot *now, const struct snapshot *since,
			 int kind, enum flow_reason reason)
{
	const char *entries = kind == RECORD_FLOW ? "bank-entries" : "drop-entries";
	const uint64_t packets =
		count_reason(now, kind, reason) - count_reason(since, kind, reason);
	char fix[128];

	if (!packets)
		return;
	if (reason == REASON_BANK_FULL)
		snprintf(fix, sizeof(fix), "%s: %" PRIu64, entries,
			 (uint64_t)now->kinds[kind].bank_limit * 2);
	else if (reason == REASON_BUDGET)
		snprintf(
			fix, sizeof(fix),
			"raise `drops-budget`, or leave reasons out (`drops-exclude`): flowtally drops shows them");
	else
		snprintf(fix, sizeof(fix), "%s: free memory for the kernel", DOCTOR);
	add(list, fix, "%" PRIu64 " packets%s of late are in no record: %s", packets,
	    kind == RECORD_DROP ? " that were dropped" : "", flow_reason_name(reason));
}

/* Banks that are nearly full again and again: nothing is lost yet. */
static void judge_early(json_t *list, const struct snapshot *now, const struct snapshot *since,
			int kind)
{
	const struct drain_stats *a = &now->kinds[kind].drain;
	const struct drain_stats *b = since ? &since->kinds[kind].drain : NULL;
	const uint64_t swaps = a->swaps - (b ? b->swaps : 0);
	const uint64_t early = a->early - (b ? b->early : 0);
	const uint64_t errors = a->errors - (b ? b->errors : 0);
	char fix[64];

	snprintf(fix, sizeof(fix), "%s: %" PRIu64,
		 kind == RECORD_FLOW ? "bank-entries" : "drop-entries",
		 (uint64_t)now->kinds[kind].bank_limit * 2);
	if (early >= EARLY_MIN && early > swaps / 2)
		add(list, fix,
		    "the banks%s fill before it is time: %" PRIu64 " of %" PRIu64
		    " readings of late came early, none was lost",
		    kind == RECORD_DROP ? " of drops" : "", early, swaps);
	if (errors)
		add(list, DOCTOR ": free memory for the kernel; the log says what failed",
		    "a bank could not be read %" PRIu64 " times of late: its packets wait there",
		    errors);
}

static void judge_missed(json_t *list, const struct snapshot *now, const struct snapshot *since)
{
	const uint64_t missed = now->ledger.drops_missed - (since ? since->ledger.drops_missed : 0);
	const uint64_t seen = now->ledger.sides[RECORD_DROP].seen[0] -
			      (since ? since->ledger.sides[RECORD_DROP].seen[0] : 0);

	if (missed && missed > seen / MISSED_OF)
		add(list,
		    "lower `drops-budget`: its work is shorter then, and less often interrupted",
		    "%" PRIu64 " drops of late were missed: the kernel did not call the tracer",
		    missed);
}

static void judge_kind(json_t *list, const struct snapshot *now, const struct snapshot *since,
		       int kind)
{
	const struct ledger_side *a = &now->ledger.sides[kind];
	const struct ledger_side *b = since ? &since->ledger.sides[kind] : NULL;
	const uint64_t unread = a->evicted.packets + a->drain_error.packets -
				(b ? b->evicted.packets + b->drain_error.packets : 0);
	const uint64_t early = a->cache.exported[FLOW_END_RESOURCES] -
			       (b ? b->cache.exported[FLOW_END_RESOURCES] : 0);
	char fix[128];

	judge_reason(list, now, since, kind, REASON_BANK_FULL);
	judge_reason(list, now, since, kind, REASON_INSERT_ERROR);
	judge_reason(list, now, since, kind, REASON_BUDGET);
	judge_early(list, now, since, kind);
	if (unread)
		add(list, "report it with what `flowtally status --json` prints",
		    "%" PRIu64 " packets of late were lost between bank and cache", unread);
	snprintf(fix, sizeof(fix), "%s: %" PRIu64,
		 kind == RECORD_FLOW ? "cache-entries" : "drop-entries",
		 (uint64_t)now->kinds[kind].cache_entries * 2);
	if (early)
		add(list, fix,
		    "the cache is full: %" PRIu64 " records of late came early, none was lost",
		    early);
}

/* --- Collectors. */

/* Where records go decides what may be wrong with it. */
enum medium {
	MEDIUM_UDP,
	MEDIUM_TCP,
	MEDIUM_FILE,
	_MEDIUM_MAX
};

struct words {
	const char *what, *fix;
};

#define NO_ADDRESS \
	{ \
		"has no address or connection yet", \
			"getent ahosts NAME; ip route get ADDRESS; start the collector; " DOCTOR \
	}
#define CANNOT_SEND \
	{ \
		"cannot be sent to", \
			"the log says why; ip route get ADDRESS; look at the collector's own log; " DOCTOR \
	}
#define NARROW \
	"template: minimal; or raise the MTU: tracepath -n ADDRESS shows where the path is narrow"
#define LOOK_AT_IT "look at the collector: it is connected, and does not read"

static const struct words states[_MEDIUM_MAX][_COLLECTOR_STATE_MAX] = {
	[MEDIUM_UDP] = {[COLLECTOR_RESOLVING] = NO_ADDRESS,
			[COLLECTOR_REFUSED] = {"cannot be reached: ICMP errors answer what is sent",
					       "start the collector, or correct its port; " DOCTOR
					       " says which of the two"},
			[COLLECTOR_FAILING] = CANNOT_SEND,
			[COLLECTOR_STALLED] = {"has taken nothing for a while", LOOK_AT_IT}},
	[MEDIUM_TCP] =
		{[COLLECTOR_RESOLVING] = NO_ADDRESS,
		 [COLLECTOR_REFUSED] = {"has refused connections: nobody listened at that port",
					"start the collector, or correct its port"},
		 [COLLECTOR_FAILING] = CANNOT_SEND,
		 [COLLECTOR_STALLED] = {"has taken nothing for a while", LOOK_AT_IT}},
	[MEDIUM_FILE] = {[COLLECTOR_RESOLVING] = {"is not open yet", "namei -l FILE; df FILE"},
			 [COLLECTOR_FAILING] = {"cannot be written",
						"the log says why; df FILE; namei -l FILE"},
			 [COLLECTOR_STALLED] = {"has taken nothing for a while",
						"look at who reads the pipe, or at the disk"}},
};

static const char *const loss_fixes[_MEDIUM_MAX][_EXPORT_LOSS_MAX] = {
	[MEDIUM_UDP] = {[EXPORT_LOSS_QUEUE_FULL] =
				"raise its `rate`, or share the flows among several (`balance`)",
			[EXPORT_LOSS_SEND_ERROR] = "the log says why; ip route get ADDRESS",
			[EXPORT_LOSS_REFUSED] = "start the collector, or correct its port",
			[EXPORT_LOSS_UNSENT] = "it was removed with records in its queue"},
	[MEDIUM_TCP] =
		{[EXPORT_LOSS_QUEUE_FULL] =
			 "look at why it reads slowly, or share the flows among several (`balance`)",
		 [EXPORT_LOSS_SEND_ERROR] =
			 "look at why it, or a host on the way, ends connections",
		 [EXPORT_LOSS_REFUSED] = "start the collector, or correct its port",
		 [EXPORT_LOSS_UNSENT] = "it was removed with records in its queue"},
	[MEDIUM_FILE] = {[EXPORT_LOSS_QUEUE_FULL] =
				 "look at who reads the pipe, or at the disk: it is too slow",
			 [EXPORT_LOSS_SEND_ERROR] = "the log says why; df FILE; namei -l FILE",
			 [EXPORT_LOSS_REFUSED] = "the log says why; df FILE; namei -l FILE",
			 [EXPORT_LOSS_UNSENT] = "it was removed with records in its queue"},
};

/* What mends an errno of a path of the file system; NULL: the words of the state are all there is. */
static const char *fix_of_file(int error)
{
	switch (error) {
	case ENOSPC:
	case EDQUOT:
		return "free space for it: df FILE";
	case EPIPE:
	case ENXIO: /* a pipe without a reader */
		return "start who reads it, or look why it ended";
	case EPERM: /* rights are not what is missing */
		return "lsattr -d FILE shows whether it may only be added to, or not be changed (i)";
	case EROFS:
		return "findmnt -T FILE shows what is mounted there, and `ro`: write elsewhere";
	case EACCES:
	case ENOENT:
		return "namei -l FILE shows the rights of all its folders";
	default:
		return NULL;
	}
}

/* Likewise of the network. */
static const char *fix_of_network(int error)
{
	switch (error) {
	case EMSGSIZE:
		return NARROW;
	case ENETUNREACH:
	case EHOSTUNREACH:
	case EACCES: /* a route of the type `prohibit`, or an address of all hosts */
		return "ip route get ADDRESS; " DOCTOR;
	case EADDRNOTAVAIL:
		return "ip -br address shows what `source` can be";
	case EPERM:
		return "a packet filter refuses it: nft list ruleset";
	default:
		return NULL;
	}
}

static enum medium medium_of(const char *url)
{
	if (!strncmp(url, "file:", 5) || !strncmp(url, "json:", 5))
		return MEDIUM_FILE;
	return !strncmp(url, "ipfix+tcp:", 10) ? MEDIUM_TCP : MEDIUM_UDP;
}

/* Whichever it is. */
static const char *fix_of(int error, enum medium medium)
{
	if (error == EMFILE || error == ENFILE)
		return "systemctl edit flowtally: LimitNOFILE=65536, then systemctl restart flowtally";
	return medium == MEDIUM_FILE ? fix_of_file(error) : fix_of_network(error);
}

/* What stands for something of the collector in a fix, for it is to be typed as it is. */
static const char *value_of(const char *word, size_t length, const struct collector_url *url,
			    char value[DOCTOR_QUOTE_MAX])
{
	if (length == 4 && !strncmp(word, "FILE", length))
		return doctor_quote(value, url->path[0] ? url->path : "/dev/stdout");
	if (length == 4 && !strncmp(word, "NAME", length))
		return url->host;
	if (length == 3 && !strncmp(word, "URL", length)) {
		snprintf(value, DOCTOR_QUOTE_MAX, "ipfix+tcp%s", strchr(url->text, ':'));
		return value;
	}
	if (length != 7 || strncmp(word, "ADDRESS", length) != 0)
		return NULL;
	if (url->numeric)
		return url->host;
	snprintf(value, DOCTOR_QUOTE_MAX, "$(getent ahosts %s | head -n 1 | cut -d ' ' -f 1)",
		 url->host);
	return value;
}

static void fill(char filled[FIX_MAX], const char *fix, const char *text)
{
	char why[URL_WHY_MAX], quoted[DOCTOR_QUOTE_MAX];
	struct collector_url url;
	const bool known = url_parse(text, &url, why) == 0;
	size_t used = 0;

	while (*fix && used < FIX_MAX - 1) {
		size_t length = strspn(fix, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
		const char *value = known ? value_of(fix, length, &url, quoted) : NULL;

		if (!length)
			length = 1;
		used += (size_t)snprintf(filled + used, FIX_MAX - used, "%.*s",
					 value ? DOCTOR_QUOTE_MAX : (int)length, value ?: fix);
		fix += length;
	}
}

/* A problem of the collector: what follows its name. */
static void add_of(json_t *list, const struct collector_stats *c, const char *fix,
		   const char *format, ...) _printf_(4, 5);
static void add_of(json_t *list, const struct collector_stats *c, const char *fix,
		   const char *format, ...)
{
	char filled[FIX_MAX], what[WHAT_MAX];
	va_list args;

	fill(filled, fix, c->url);
	text_make_printable(filled);
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	add(list, filled, "%scollector %s %s", c->state == COLLECTOR_REMOVED ? "the removed " : "",
	    c->name ? c->name : c->url, what);
}

static void judge_state(json_t *list, const struct collector_stats *c, enum medium medium)
{
	const struct words *words = &states[medium][c->state];
	const bool failing = c->state == COLLECTOR_FAILING && c->error;
	const char *fix = NULL;

	if (!words->what)
		return;
	if (failing)
		fix = fix_of(c->error, medium);
	if (fix && c->error == EMSGSIZE &&
	    !strncmp(c->url, "ipfix:", 6)) /* NetFlow v9 has UDP alone */
		fix = "url: URL; or " NARROW;
	add_of(list, c, fix ?: words->fix, "%s%s%s%s", words->what, failing ? ": " : "",
	       failing ? strerror(c->error) : "",
	       failing && c->error == EMSGSIZE && medium == MEDIUM_UDP
		       ? ": the MTU of the path is too small for its templates"
		       : "");
}

static void judge_collector(json_t *list, const struct collector_stats *c,
			    const struct collector_stats *before)
{
	const enum medium medium = medium_of(c->url);
	uint64_t records;

	if (!c->number)
		return; /* a sum of removed ones grows by what each of them has lost long before */
	judge_state(list, c, medium);
	for (int i = 0; i < _EXPORT_LOSS_MAX; i++) {
		records = before ? before->lost[i].records : 0;
		records = c->lost[i].records > records ? c->lost[i].records - records : 0;
		if (records)
			add_of(list, c, loss_fixes[medium][i],
			       "has lost %" PRIu64 " records of late (%s)", records,
			       export_loss_name((enum export_loss)i));
	}
}

json_t *status_problems(const struct snapshot *now, const struct snapshot *since, uint64_t age_ns)
{
	const struct export_copy *collectors = now->ledger.collectors;
	json_t *list = json_array();

	judge_age(list, now, age_ns);
	judge_clock(list, now, since);
	judge_ledger(list, now, since);
	judge_hooks(list, now);
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		if (now->kinds[kind].metered)
			judge_kind(list, now, since, kind);
	if (now->ledger.drops_traced)
		judge_missed(list, now, since);
	for (unsigned int i = 0; collectors && i < collectors->count; i++)
		judge_collector(list, &collectors->stats[i],
				status_find_collector(since, collectors->stats[i].number));
	return list;
}
