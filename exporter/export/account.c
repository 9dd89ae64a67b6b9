/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include "exporter/export/account.h"
#include "exporter/log.h"

void account_send(struct account *a, const struct export_count *n, uint64_t messages,
		  uint64_t octets)
{
	count_remove(&a->stats.queued, n);
	count_add(&a->stats.exported, n);
	a->stats.messages += messages;
	a->stats.bytes += octets;
	if (!messages)
		return;
	a->stats.sent_ms = clock_ns(CLOCK_REALTIME_COARSE) / NSEC_PER_MSEC;
	a->stats.sent_boottime_ns = clock_ns(CLOCK_BOOTTIME);
}

void account_lose(struct account *a, enum export_loss loss, const struct export_count *n)
{
	if (loss == EXPORT_LOSS_QUEUE_FULL && context_overdue(a->context))
		loss = EXPORT_LOSS_UNSENT; /* with more time there would have been room */
	a->last_loss_ms = clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC;
	if (!a->first_loss_ms)
		a->first_loss_ms = a->last_loss_ms;
	count_add(&a->stats.lost[loss], n);
}

void account_drop(struct account *a, enum export_loss loss, const struct export_count *n)
{
	if (!n->records)
		return;
	count_remove(&a->stats.queued, n);
	account_lose(a, loss, n);
}

void account_revoke(struct account *a, enum export_loss loss, const struct export_count *n)
{
	if (!n->records)
		return;
	count_remove(&a->stats.exported, n);
	account_lose(a, loss, n);
}

void account_set_state(struct account *a, enum collector_state state, int error)
{
	enum collector_state before = a->stats.state;
	const char *url = a->stats.url;

	if (before == COLLECTOR_REMOVED)
		return;
	a->stats.error = state == COLLECTOR_REFUSED || state == COLLECTOR_FAILING ? error : 0;
	if (state == before)
		return;
	a->stats.state = state;
	switch (state) {
	case COLLECTOR_RESOLVING:
		break;
	case COLLECTOR_UP:
		if (before == COLLECTOR_STALLED)
			log_info("collector %s: takes records again", url);
		else if (before != COLLECTOR_RESOLVING)
			log_info("collector %s: up again", url);
		break;
	case COLLECTOR_REFUSED:
		log_errno(
			LOG_WARNING, error,
			"collector %s does not take flow records, which wait in its queue until it does",
			url);
		break;
	case COLLECTOR_FAILING:
		log_errno(LOG_WARNING, error, "collector %s: cannot send, will be tried again",
			  url);
		break;
	case COLLECTOR_STALLED:
		log_warning("collector %s has taken nothing for %u s, records wait in its queue",
			    url, (unsigned int)(ACCOUNT_STALL_NS / NSEC_PER_SEC));
		break;
	case COLLECTOR_REMOVED:
	case _COLLECTOR_STATE_MAX:
		break;
	}
}

void account_fail(struct account *a, int error)
{
	account_set_state(a, error == ECONNREFUSED ? COLLECTOR_REFUSED : COLLECTOR_FAILING, error);
}
