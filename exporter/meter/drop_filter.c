/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include "exporter/meter/drop_filter.h"

#define WORD_MAX 64

/* What has no name is of class other. */
static void mark_class(struct drop_reasons *names, enum drop_class class, uint8_t *marks,
		       uint8_t mark)
{
	bool named[DROP_REASON_MAX] = {false};

	for (unsigned int i = 0; i < drop_reasons_count(names); i++) {
		uint16_t packed = drop_reason_pack(drop_reasons_at(names, i)->code);

		named[packed] = true;
		if (drop_reasons_at(names, i)->class == class)
			marks[packed] = mark;
	}
	for (unsigned int i = 0; class == DROP_OTHER && i < DROP_REASON_MAX; i++)
		if (!named[i])
			marks[i] = mark;
}

/* All of a class, or one reason; a name that other kernels have matches nothing here. */
static void mark_word(struct drop_reasons *names, const char *word, uint8_t *marks, uint8_t mark)
{
	const struct drop_reason *reason = drop_reasons_find(names, word);
	enum drop_class class;

	if (drop_class_parse(&class, word) == 0) {
		mark_class(names, class, marks, mark);
	} else if (reason) {
		marks[drop_reason_pack(reason->code)] = mark;
	}
}

static void mark_list(struct drop_reasons *names, const char *list, uint8_t *marks, uint8_t mark)
{
	char word[WORD_MAX];
	size_t length;

	for (;; list += length + 1) {
		length = strcspn(list, ",");
		snprintf(word, sizeof(word), "%.*s", (int)length, list);
		if (length < sizeof(word))
			mark_word(names, word, marks, mark);
		if (!list[length])
			return;
	}
}

void drop_filter_make(struct drop_reasons *names, const char *include, const char *exclude,
		      uint8_t excluded[DROP_REASON_MAX])
{
	memset(excluded, include ? 1 : 0, DROP_REASON_MAX);
	for (unsigned int i = 0; i < drop_reasons_count(names); i++)
		if (!drop_reason_is_drop(drop_reasons_at(names, i)))
			excluded[drop_reason_pack(drop_reasons_at(names, i)->code)] = 1;
	if (include)
		mark_list(names, include, excluded, 0);
	if (!include && !exclude)
		exclude = drop_class_name(DROP_BENIGN);
	if (exclude)
		mark_list(names, exclude, excluded, 1);
}
