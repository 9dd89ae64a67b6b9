/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the fuzzers share: `fuzz_NAME --write-seeds FOLDER` writes the inputs that libFuzzer begins with. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Of each fuzzer: one seed after the other by fuzz_write_seed(). */
void fuzz_write_seeds(void);

static const char *fuzz_folder;

/* NULL, or the rule that is broken: the end. */
static inline void fuzz_require(const char *broken)
{
	if (!broken)
		return;
	fprintf(stderr, "broken: %s\n", broken);
	abort();
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
	if (*argc != 3 || strcmp((*argv)[1], "--write-seeds") != 0)
		return 0;
	fuzz_folder = (*argv)[2];
	fuzz_write_seeds();
	exit(EXIT_SUCCESS);
}
