/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Finished files: PATH becomes PATH.1, the next one PATH.2 and so on.  A file that is finished keeps its name, so
 * that the highest number is the newest, and a rotation is one rename however many files there are.
 *
 * Numbers have 1 to 7 digits, and behind 9999999 comes 100000000000000000, of 18 digits: no number looks like a date or
 * a time, by which others name files.  They last for longer than any file system, whatever the rate.
 *
 * Whoever can write into the folder can put names there.  No name is ever replaced, symbolic links are not
 * followed, and only what proves to be a file of ours is deleted: regular, of our user, with one name, beginning
 * as we begin files, and open in no collector.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/*
 * Higher numbers that are there at the start do not count: whatever names there are, as many numbers are left for a
 * run as here lie below.
 */
#define FINISHED_FOUND_MAX 499999999999999999ull

struct finished {
	const char *path;  /* of the file that is written, not owned */
	uint64_t last;	   /* place of the newest number in the row of numbers; 0: none */
	uint64_t unlooked; /* the lowest place that may have to be deleted */
};

/* The number behind PATH and a dot; 0: it is none as we write it. */
uint64_t finished_number(const char *suffix);

/* The newest number, once there is one. */
uint64_t finished_newest(const struct finished *f);

/* Looks in the folder which numbers there are: at the start, for it may be a large one. */
void finished_find(struct finished *f, const char *path);

/*
 * PATH becomes the next finished file, which is the newest now.  -ELOOP: PATH is a symbolic link, or no regular file;
 * -EEXIST: the next numbers are taken by others; -EOVERFLOW: there are no more; -ENAMETOOLONG; else -errno of rename(2).
 */
int finished_add(struct finished *f);

/*
 * Deletes files of ours but the newest `keep` numbers, some at a time: what is left over is deleted the next time.
 * What is not ours stays, and so does what is_open() knows by device and inode.  -errno of the first that could not be
 * deleted, which is tried again the next time.
 */
int finished_trim(struct finished *f, unsigned int keep, bool (*is_open)(const struct stat *st));
