#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh FUZZER SECONDS [OPTION]...: a run from the fuzzer's own seeds, in a folder that is thrown away.
# $FLOWTALLY_FUZZ_SECONDS takes the place of SECONDS.  What breaks is left in the current folder.
set -eu
fuzzer=$1 seconds=${FLOWTALLY_FUZZ_SECONDS:-$2}
shift 2
corpus=$(mktemp -d)
trap 'rm -rf "$corpus"' EXIT
"$fuzzer" --write-seeds "$corpus"
"$fuzzer" -max_total_time="$seconds" -reload=0 -print_final_stats=1 -close_fd_mask=3 "$@" "$corpus"
