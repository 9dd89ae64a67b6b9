/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Finished files: PATH becomes PATH.1, the next one PATH.2 and so on.  A file that is finished keeps its name, so
 * that the highest number is the newest, and a rotation is one rename however many files there are.
 *
 * Whoever can write into the folder can put names there.  No name is ever replaced, symbolic links are not
 * followed, and only what proves to be a file of ours is deleted: regular, of our user, with one name, beginning
 * as we begin files.
 */
#include <stdbool.h>

#define FINISHED_NUMBER_MAX 9999999u /* 7 digits: a date has 8 */

struct finished {
	const char *path;      /* of the file that is written, not owned */
	unsigned int last;     /* the newest number; 0: none */
	unsigned int unlooked; /* the lowest number that may have to be deleted */
};

/* Looks in the folder which numbers there are: at the start, for it may be a large one. */
void finished_find(struct finished *f, const char *path);

/*
 * PATH becomes the next finished file; returns its number.  -ELOOP: PATH is a symbolic link, or no regular file;
 * -EEXIST: the next numbers are taken by others; -EOVERFLOW: there are no more; -ENAMETOOLONG; else -errno of rename(2).
 */
int finished_add(struct finished *f);

/*
 * Deletes files of ours but the newest `keep` numbers, some at a time: what is left over is deleted the next time.
 * What is not ours stays.  -errno of the first that could not be deleted, which is tried again the next time.
 */
int finished_trim(struct finished *f, unsigned int keep);
