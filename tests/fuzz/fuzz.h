/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the fuzzers share: `fuzz_NAME --write-seeds FOLDER` writes the inputs that libFuzzer begins with. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Of each fuzzer: one seed after the other by fuzz_write_seed(). */
void fuzz_write_seeds(void);

static const char *fuzz_folder;
static int fuzz_report = STDERR_FILENO; /* what breaks is told here, wherever stderr goes */

/* NULL, or the rule that is broken: the end. */
static inline void fuzz_require(const char *broken)
{
	if (!broken)
		return;
	dprintf(fuzz_report, "broken: %s\n", broken);
	abort();
}

/*
 * From now on stderr is kept in memory, and looks like a journal's, to which each message says how bad it is.
 * libFuzzer's own words have been moved elsewhere before (-close_fd_mask=3).
 */
static inline void fuzz_listen(void)
{
	static int kept = -1;
	struct stat status;
	char name[64];

	if (kept < 0) {
		kept = memfd_create("stderr", MFD_CLOEXEC);
		if (kept < 0 || dup2(kept, STDERR_FILENO) < 0 || fstat(kept, &status) < 0)
			fuzz_require("stderr cannot be kept");
		snprintf(name, sizeof(name), "%ju:%ju", (uintmax_t)status.st_dev,
			 (uintmax_t)status.st_ino);
		setenv("JOURNAL_STREAM", name, 1);
	}
	if (ftruncate(kept, 0) < 0 || lseek(kept, 0, SEEK_SET) != 0)
		fuzz_require("stderr cannot be kept");
}

/* Whether an error has been logged since fuzz_listen(): a line that begins with its priority, and may be cut off here. */
static inline bool fuzz_heard_error(void)
{
	static char text[65536];
	ssize_t n = pread(STDERR_FILENO, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = 0;
	return strncmp(text, "<3>", 3) == 0 || strstr(text, "\n<3>");
}

/* A seed in two parts, of which the first may be empty. */
static inline void fuzz_write_seed(size_t number, const void *head, size_t head_size,
				   const void *data, size_t size)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/seed-%03zu", fuzz_folder, number);
	file = fopen(path, "wb");
	if (!file || fwrite(head, 1, head_size, file) != head_size ||
	    fwrite(data, 1, size, file) != size || fclose(file) != 0) {
		perror(path);
		exit(EXIT_FAILURE);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	fuzz_report = dup(STDERR_FILENO);
	if (*argc != 3 || strcmp((*argv)[1], "--write-seeds") != 0)
		return 0;
	fuzz_folder = (*argv)[2];
	fuzz_write_seeds();
	exit(EXIT_SUCCESS);
}
